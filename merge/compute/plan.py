"""What one merge does: the inputs, the outputs as combinations of them, how to round."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, get_args

from alpharay.merge.checkpoints.checkpoint import Checkpoint, open_checkpoint
from alpharay.merge.checkpoints.compatible import check_compatible
from alpharay.merge.checkpoints.delta import Delta, is_delta, open_delta
from alpharay.merge.combine import Combination, Sums
from alpharay.merge.dtypes import WRITABLE, Dtype
from alpharay.merge.effective import Realised, realised
from alpharay.merge.errors import UsageError
from alpharay.merge.rounding import Rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One checkpoint to write: the directory `name` under the output directory.

    alpha: counted as its method does; 1 where a method has none (the whole of the intended move).
    tensors: (glob, combination) for tensors that are combined otherwise; the first that matches counts.
    """

    name: str
    alpha: float
    combination: Combination
    tensors: tuple[tuple[str, Combination], ...] = ()

    def combination_of(self, tensor: str) -> Combination:
        """How the tensor of this name is combined."""
        for glob, combination in self.tensors:
            if fnmatchcase(tensor, glob):
                return combination
        return self.combination


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to write. dtype: None keeps every tensor's own. shard_bytes: None keeps the anchor's files.

    allow_config: fields of config.json that may differ between the inputs.
    """

    dtype: Dtype | None = None
    rounding: Rounding = "nearest"
    seed: int = 0
    shard_bytes: int | None = None
    allow_config: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One checkpoint to read. `role` is its part in the method: low, high, base ...

    delta: where the checkpoint is a sparse delta on source 0.
    """

    role: str
    checkpoint: Checkpoint
    delta: Delta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A merge whose inputs have been checked. Source 0 is the anchor of all combinations.

    companions_from: the source whose tokenizer and configs are carried over. along_delta: what rounding left is measured
    along the delta of each source from the anchor; else along each output's own intended move, of which 1 is the whole.
    """

    method: str
    sources: tuple[Source, ...]
    outputs: tuple[Output, ...]
    settings: Settings
    companions_from: int = 0
    along_delta: bool = True

    def realised(self, output: Output, sums: Sums) -> Realised:
        """What rounding left of an output."""
        ideal = output.combination.coefficients if self.along_delta else (output.alpha,)
        return realised(sums, output.alpha, ideal)

    def effective_weights(self, measured: Realised) -> dict[str, float]:
        """The weight of each source, by its role; empty where rounding was not measured source by source."""
        if not self.along_delta:
            return {}
        roles = [source.role for source in self.sources]
        anchor = 1.0 - math.fsum(measured.coefficients)
        return dict(zip(roles, (anchor, *measured.coefficients), strict=True))

    @property
    def companion_path(self) -> Path:
        """The directory whose tokenizer and configs are carried over."""
        return self.sources[self.companions_from].checkpoint.path

    @property
    def companion_paths(self) -> list[Path]:
        """That directory, then the other inputs, which help out where it has no tokenizer."""
        others = [source.checkpoint.path for source in self.sources]
        return [self.companion_path, *(path for path in others if path != self.companion_path)]

    @property
    def dtype_name(self) -> str:
        """The dtype in words, for tables and warnings."""
        if self.settings.dtype:
            return self.settings.dtype.name
        anchor = self.sources[0].checkpoint
        return "+".join(
            sorted({tensor.dtype.lower() for tensor in anchor.tensors.values() if tensor.is_float})
        )

    def identity(self) -> dict[str, Any]:
        """What makes two merges of the same inputs the same; goes into the manifest."""
        return {
            "method": self.method,
            "alphas": [output.alpha for output in self.outputs],
            "dtype": self.settings.dtype.name if self.settings.dtype else None,
            "rounding": self.settings.rounding,
            # Nothing is drawn when rounding to nearest.
            "seed": self.settings.seed if self.settings.rounding == "stochastic" else None,
            "shard_bytes": self.settings.shard_bytes,
            "weights": {
                output.name: {
                    glob: [combination.scale, *combination.coefficients]
                    for glob, combination in (*output.tensors, ("*", output.combination))
                }
                for output in self.outputs
            },
        }


def alpha_name(alpha: float) -> str:
    """The directory of one alpha: `alpha=1.5`, `alpha=0`, `alpha=-0.5`."""
    return f"alpha={number(alpha)}"


def check_alphas(alphas: Sequence[float]) -> tuple[float, ...]:
    """The alphas as floats. Raises UsageError for none, one that is not finite, or one twice."""
    if not alphas:
        raise UsageError("no alpha given; name at least one, as in --alpha 1.5")
    values = tuple(float(alpha) + 0.0 for alpha in alphas)
    for i, value in enumerate(values):
        if not math.isfinite(value):
            raise UsageError(f"alpha {value} is not a finite number; 0 is LOW, 1 is HIGH")
        if value in values[:i]:
            raise UsageError(f"alpha {value:g} is given twice; name each once")
    return values


def read_settings(
    *,
    dtype: str | None = None,
    rounding: str = "nearest",
    seed: int = 0,
    shard_size: str | None = None,
    allow_config: Iterable[str] = (),
) -> Settings:
    """The settings of a command's or a recipe's options. Raises UsageError naming the choices."""
    if dtype is not None and dtype not in WRITABLE:
        raise UsageError(f"dtype {dtype!r} cannot be written; choose one of {', '.join(WRITABLE)}")
    modes: tuple[Rounding, ...] = get_args(Rounding)
    mode = next((mode for mode in modes if mode == rounding), None)
    if mode is None:
        raise UsageError(f"rounding {rounding!r} is unknown; choose one of {', '.join(modes)}")
    if seed < 0:
        raise UsageError(f"seed {seed} is negative; give 0 or more")
    return Settings(
        dtype=WRITABLE[dtype] if dtype else None,
        rounding=mode,
        seed=seed,
        shard_bytes=parse_size(shard_size) if shard_size is not None else None,
        allow_config=tuple(allow_config),
    )


def parse_size(text: str) -> int:
    """`5GB`, `500MB` or a number of bytes, in powers of ten as model hubs count. Raises UsageError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)B?", text.strip(), re.IGNORECASE)
    size = float(match[1]) * {"": 1, "K": 1e3, "M": 1e6, "G": 1e9}[match[2].upper()] if match else 0
    if size < 1:
        raise UsageError(f"shard size {text!r} is no size; write it like 5GB or 500MB")
    return int(size)


def number(value: float) -> str:
    """The shortest spelling of a number in a directory name: 1.5, 0, -0.5."""
    return repr(value + 0.0).removesuffix(".0")  # -0.0 is 0


def open_sources(paths: Mapping[str, Path], settings: Settings) -> tuple[Source, ...]:
    """Opens the checkpoints and checks every one against the first.

    All but the first may be delta files (see delta.py), which stand for what they lead to from the first.
    """
    sources: list[Source] = []
    for role, path in paths.items():
        if sources and is_delta(Path(path)):
            delta = open_delta(Path(path))
            sources.append(Source(role=role, checkpoint=delta.checkpoint, delta=delta))
        else:
            sources.append(Source(role=role, checkpoint=open_checkpoint(Path(path))))
    for source in sources[1:]:
        check_compatible(
            sources[0].checkpoint,
            source.checkpoint,
            any_dtype=settings.dtype is not None,
            allow_config=settings.allow_config,
        )
    return tuple(sources)
