"""Compressed request bodies, decoded within a bound: a few kilobytes may say that they are gigabytes."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from alpharay.serve.errors import RequestError, malformed

# As Accept-Encoding names them.
KNOWN = "gzip, deflate, zstd"
_GZIP = 16 + zlib.MAX_WBITS


def decompressed(data: bytes, encoding: str, limit: int) -> bytes:
    """What the data was before that Content-Encoding.

    Raises RequestError: 415 for an encoding that is not known, 413 beyond the limit, 400 for data that is not so encoded.
    """
    decode = _DECODERS.get(encoding)
    if decode is None:
        raise unknown_encoding(encoding)
    try:
        plain = decode(data, limit + 1)
    except (zlib.error, OSError, EOFError) as error:
        raise malformed(f"the body is not {encoding}, which its Content-Encoding says") from error
    if len(plain) > limit:
        raise RequestError(
            413,
            f"the request is larger than {limit / 1e6:g} MB when decoded; "
            "raise server.max_request_mb or send fewer tests",
        )
    return plain


def is_known(encoding: str) -> bool:
    return encoding in _DECODERS


def unknown_encoding(encoding: str) -> RequestError:
    return RequestError(
        415,
        f"the body's Content-Encoding {encoding[:100]!r} is not known; known are {KNOWN}",
        code="unsupported_encoding",
    )


def _gzip(data: bytes, most: int) -> bytes:
    return _members(data, most, _GZIP)


def _deflate(data: bytes, most: int) -> bytes:
    """As zlib's format, which the name stands for, or without its header, as some clients send it."""
    has_header = len(data) > 1 and data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0
    return _members(data, most, zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)


def _members(data: bytes, most: int, window: int) -> bytes:
    plain = bytearray()
    while data and len(plain) < most:
        member = zlib.decompressobj(window)
        plain += member.decompress(data, most - len(plain))
        if not member.eof:
            if len(plain) >= most:
                break
            raise EOFError
        data = member.unused_data
    return bytes(plain)


def _zstd(data: bytes, most: int) -> bytes:
    import pyarrow as pa  # what is compressed so is rare, and this import is not free

    if not data:
        return b""
    with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
        plain = bytearray()
        while len(plain) < most and (part := stream.read(min(1 << 20, most - len(plain)))):
            plain += part
    return bytes(plain)


_DECODERS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "zstd": _zstd,
}
