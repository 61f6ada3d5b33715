"""Reading a request's body: of the right type, in time, within its size, as a JSON object."""

from __future__ import annotations

import asyncio
import gc
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from starlette.requests import Request

from alpharay.serve.errors import RequestError, malformed
from alpharay.serve.gateway.admission import ClientGone, Share
from alpharay.serve.gateway.http.decompress import decompressed, is_known, unknown_encoding

T = TypeVar("T")

# A body that trickles in holds a place among `server.max_queued` meanwhile.
_BODY_S = 60.0
# Work on a larger request leaves the event loop, on which all others wait.
_LARGE = 256_000
# One thread: large bodies are worked on one after the other, so that they share what the loop leaves them.
_ASIDE = ThreadPoolExecutor(1, thread_name_prefix="bodies")
# What a JSON value takes of memory beyond its text, about.
_VALUE_BYTES = 64
_MANY_VALUES = 1_000_000
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


async def json_body(http: Request, share: Share, max_mb: float) -> dict[str, Any]:
    """share: of what all bodies may hold, to which this one is added.

    Raises RequestError: 415 for another type or encoding; 413 beyond the size limit, which is checked while reading
    and decoding; 503 while other bodies leave no room; 400 for bad JSON; 408 for a body that does not arrive. Raises
    ClientGone.
    """
    _check_type(http)
    encoding = http.headers.get("content-encoding", "").strip().lower()
    if encoding == "identity":
        encoding = ""
    if encoding and not is_known(encoding):
        raise unknown_encoding(encoding)
    limit = int(max_mb * 1e6)
    data: bytes | bytearray = await _read(http, share, limit)
    if encoding:
        data = await _aside(decompressed, bytes(data), encoding, limit)
        share.release()
        share.add(len(data))
    if len(data) <= _LARGE:
        return _loaded(data)
    share.add(_VALUE_BYTES * await _aside(_count_values, data))
    return await _aside(_loaded, data)


async def apart(share: Share, work: Callable[..., T], *arguments: Any) -> T:
    """What `work` gives for a request, done beside the event loop where the request is large."""
    return await _aside(work, *arguments) if share.size > _LARGE else work(*arguments)


async def _aside(work: Callable[..., T], *arguments: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(_ASIDE, partial(work, *arguments))


def _check_type(http: Request) -> None:
    """A page of strangers may send any other type without asking (CORS's simple requests)."""
    content_type = http.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json")):
        return
    actual = f"this is {content_type[:100]!r}" if content_type else "this has none"
    raise RequestError(
        415,
        f"the body's Content-Type must be application/json, {actual}; send the header `Content-Type: application/json`",
        code="unsupported_media_type",
    )


async def _read(http: Request, share: Share, limit: int) -> bytearray:
    data = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for chunk in http.stream():
                if not chunk:  # the last, of some servers
                    continue
                share.add(len(chunk))
                data += chunk
                if len(data) > limit:
                    raise RequestError(
                        413,
                        f"the request is larger than {limit / 1e6:g} MB; "
                        "raise server.max_request_mb or send fewer tests",
                    )
    except TimeoutError:
        raise RequestError(408, f"the request's body did not arrive within {_BODY_S:g} s") from None
    except RequestError:
        raise
    except Exception as error:
        # Starlette and Ray have a name each for the one reason why a body cannot be read to its end.
        raise ClientGone from error
    return data


def _count_values(data: bytes | bytearray) -> int:
    """About how many JSON values there are. Strings may be full of commas: they are left out where that matters."""
    count = _separators(data)
    return count if count < _MANY_VALUES else _separators(_STRING.sub(b"", data))


def _separators(data: bytes | bytearray) -> int:
    return sum(data.count(mark) for mark in (b",", b"[", b"{"))


def _loaded(data: bytes | bytearray) -> dict[str, Any]:
    # The garbage collector would go through what is being made over and over: most of the time for many small lists.
    collects = gc.isenabled()
    if len(data) > _LARGE:
        gc.disable()
    try:
        body = json.loads(data)
    except RecursionError:
        raise malformed("the request's JSON is nested too deeply") from None
    except ValueError as error:
        raise malformed(f"the request is not JSON: {error}") from error
    finally:
        if collects:
            gc.enable()
    if not isinstance(body, dict):
        raise malformed("the request must be a JSON object")
    return body
