"""The named checkpoints of a span, open for as long as an engine moves among its points.

A point's weights are formed from them tensor by tensor, with the bits of a written merge. The checkpoints are kept on
the engine's device, in pinned host memory, or in their files, which are mapped and of which the kernel keeps in memory
what it has room for.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from alpharay.merge.checkpoints.checkpoint import Tensor, stamp
from alpharay.merge.checkpoints.layout import output_code
from alpharay.merge.combine import Combination
from alpharay.merge.compute.plan import Settings, Source, open_sources
from alpharay.merge.compute.span import check_weights, involved
from alpharay.merge.dtypes import BITS, FLOATS
from alpharay.merge.engine.kernel import combined
from alpharay.merge.errors import InputChanged, IntegerMismatch, NonFinite, OverflowedOutput, UsageError


class Place(StrEnum):
    """Where the checkpoints of a span are kept."""

    DEVICE = "device"
    PINNED = "pinned"
    FILES = "files"


def choose_place(
    *, span: int, total: int, free: int, share: float, cache: int | None, host: int, workers: int
) -> Place:
    """Where a GPU engine keeps the checkpoints of its span, once its own weights are loaded.

    span: bytes of all checkpoints. total, free: of the GPU. share: of the GPU that the engine may use. cache: bytes set
    aside for keys and values; None: what is left, of which the checkpoints then take half at most. host: bytes of
    memory that are free on the host. workers: of the engine, each of which needs all checkpoints.
    """
    left = int(share * total) - (total - free)
    if span <= (left // 2 if cache is None else left - cache):
        return Place.DEVICE
    # PyTorch rounds each pinned block up to a power of two. Files that are mapped are shared by all workers.
    return Place.PINNED if workers == 1 and 2 * span <= host else Place.FILES


class HeldSpan:
    """Named checkpoints, the first of which says how the model's tensors are called and shaped."""

    def __init__(self, checkpoints: Mapping[str, Path], settings: Settings, device: torch.device) -> None:
        """Opens the checkpoints, in their files. All but the first may be sparse deltas on it.

        Raises MergeError: one cannot be read or is of another model; or the rounding is stochastic.
        """
        if settings.rounding != "nearest":
            raise UsageError(
                f"an engine that moves rounds to nearest, not {settings.rounding}; write the members by a merge"
            )
        self.location = Place.FILES
        self._settings = settings
        self._device = device
        self._sources = dict(zip(checkpoints, map(_Reader, open_sources(checkpoints, settings)), strict=True))
        first = next(iter(self._sources.values()))
        for reader in self._sources.values():
            reader.base = first
        self._tensors = first.tensors

    @property
    def nbytes(self) -> int:
        """Bytes of all checkpoints, as they are stored."""
        return sum(reader.nbytes for reader in self._sources.values())

    def keep(self, location: Place) -> None:
        """Reads all checkpoints once, to that location. Raises MergeError."""
        for reader in self._sources.values():
            reader.keep(location, self._device)
        self.location = location

    def theta(self, weights: Mapping[str, float]) -> Iterator[tuple[str, torch.Tensor]]:
        """The tensors of a point as (name, tensor on the device), as vLLM's models take them.

        Raises UsageError: the weights are none of this span. Raises MergeError, when the tensor concerned is reached:
        it is not finite, does not fit the dtype, or its file has changed.
        """
        check_weights(weights, self._sources)
        names = involved(self._sources, weights)
        readers = [self._sources[name] for name in names]
        combination = Combination(coefficients=tuple(weights.get(name, 0.0) for name in names[1:]))
        for reader in readers:
            reader.check_unchanged()
        for name in self._tensors:
            yield name, self._point(name, readers, combination, [reader.read(name) for reader in readers])

    def _point(
        self,
        name: str,
        readers: Sequence["_Reader"],
        combination: Combination,
        stored: Sequence[torch.Tensor],
    ) -> torch.Tensor:
        anchor = readers[0].tensors[name]
        if not anchor.is_float:
            for reader, values in zip(readers[1:], stored[1:], strict=True):
                if not torch.equal(stored[0], values):
                    raise IntegerMismatch(
                        f"{name} is {anchor.dtype} and differs between {anchor.file} and {reader.tensors[name].file}; "
                        "integers have no average: give checkpoints of one model"
                    )
            return stored[0].to(self._device)
        target = FLOATS[output_code(anchor, self._settings.dtype)]
        point, finite = combined(combination, stored, target, self._device)
        if finite:
            return point
        for reader, values in zip(readers, stored, strict=True):
            if not bool(torch.isfinite(values).all()):
                raise NonFinite(
                    f"{name} in {reader.tensors[name].file} has a NaN or Inf; that checkpoint is broken, give an earlier one"
                )
        raise OverflowedOutput(
            f"{name} reaches more than {target.name} can hold; take bfloat16 or float32, or weights nearer to the checkpoints"
        )


class _Reader:
    """One checkpoint. base: what it leads on from, where it is a sparse delta."""

    base: "_Reader"

    def __init__(self, source: Source) -> None:
        self.tensors: dict[str, Tensor] = source.checkpoint.tensors
        self._source = source
        self._files: dict[Path, Any] = {}
        self._kept: dict[str, torch.Tensor] = {}

    @property
    def nbytes(self) -> int:
        return sum(tensor.size * BITS[tensor.dtype] // 8 for tensor in self.tensors.values())

    def keep(self, location: Place, device: torch.device) -> None:
        if location is Place.FILES:
            return
        for name in self.tensors:
            values = self.read(name)
            self._kept[name] = values.to(device) if location is Place.DEVICE else values.pin_memory()
        self._files.clear()

    def check_unchanged(self) -> None:
        """Raises InputChanged: a file that is still needed is not what it was when it was opened."""
        if self._kept:
            return
        for shard in self._source.checkpoint.shards:
            try:
                same = stamp(shard.path) == shard.stat
            except OSError:
                same = False
            if not same:
                raise InputChanged(
                    f"{shard.path} changed while it was served; give new checkpoints a new folder, and have the configuration "
                    "read again"
                )

    def read(self, name: str) -> torch.Tensor:
        if name in self._kept:
            return self._kept[name]
        tensor = self.tensors[name]
        if self._source.delta is not None:
            return self._after_delta(tensor)
        if tensor.file not in self._files:
            self._files[tensor.file] = safe_open(tensor.file, framework="pt")
        values: torch.Tensor = self._files[tensor.file].get_tensor(name)
        return values

    def _after_delta(self, tensor: Tensor) -> torch.Tensor:
        delta, values = self._source.delta, self.base.read(tensor.name).cpu()
        assert delta is not None
        if not tensor.size:
            return values
        low = values.contiguous().reshape(-1).view(torch.uint8).numpy().data
        result = torch.empty(tensor.shape, dtype=values.dtype)
        start, size = delta.extent(tensor, 0, tensor.size)
        with tensor.file.open("rb") as file:
            file.seek(start)
            blocks = file.read(size)
        delta.apply(tensor, 0, low, result.reshape(-1).view(torch.uint8).numpy().data, blocks)
        return result
