"""The input files: opened once each, read in any order, hashed along the way where the order allows."""

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from types import MappingProxyType
from typing import Self

from alpharay.merge.checkpoints.checkpoint import Checkpoint, Shard, Tensor, stamp
from alpharay.merge.checkpoints.fingerprint import StreamingHash
from alpharay.merge.errors import InputChanged, TruncatedFile


class Inputs:
    """The input files of a merge.

    known: hashes by path, from an earlier run over the same files.
    """

    def __init__(
        self, checkpoints: Iterable[Checkpoint], known: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._stack = ExitStack()
        self._known = dict(known)
        self._shards = [shard for checkpoint in checkpoints for shard in checkpoint.shards]
        self._descriptors = {shard.path: -1 for shard in self._shards}
        self._hashes = {shard.path: StreamingHash(shard.path, shard.nbytes) for shard in self._shards}
        for shard in self._shards:
            if not shard.header:
                continue  # a delta file, whose blocks are not read in order
            self._hashes[shard.path].feed(0, len(shard.header).to_bytes(8, "little") + shard.header)

    def __enter__(self) -> Self:
        for shard in self._shards:
            descriptor = os.open(shard.path, os.O_RDONLY)
            self._stack.callback(os.close, descriptor)
            self._descriptors[shard.path] = descriptor
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self, tensor: Tensor, start: int, into: memoryview) -> None:
        """Fills `into` with the bytes of `tensor` from its byte `start` on."""
        position, view = tensor.start + start, into
        while len(view):
            count = os.preadv(self._descriptors[tensor.file], [view], position)
            if count == 0:
                raise TruncatedFile(
                    f"{tensor.file} ended within {tensor.name} while it was read; download it again"
                )
            position, view = position + count, view[count:]

    def read_raw(self, shard: Shard, start: int, size: int) -> bytes:
        """`size` bytes of a file from byte `start` on."""
        data = os.pread(self._descriptors[shard.path], size, start)
        if len(data) < size:
            raise TruncatedFile(f"{shard.path} ended while it was read; download it again")
        return data

    def feed(self, tensor: Tensor, start: int, data: memoryview) -> None:
        """Hashes what was read."""
        self._hashes[tensor.file].feed(tensor.start + start, data)

    def sha256(self, shard: Shard) -> str:
        """The hash of a whole input file, which must not have changed since its header was read."""
        digest = self._known.get(str(shard.path)) or self._hashes[shard.path].hexdigest()
        if stamp(shard.path) != shard.stat:
            raise InputChanged(
                f"{shard.path} changed while it was merged; wait until it is complete and run again"
            )
        return digest

    def finished(self) -> dict[str, str]:
        """The hashes, by path, of the files that have been read to their end."""
        done = {str(path): part.hexdigest() for path, part in self._hashes.items() if part.complete}
        return self._known | done
