"""What is evaluated: points on the line between the endpoints, and what they are compared with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.frontier.lora import merged
from bench.frontier.model import Llama, load_checkpoint
from bench.frontier.sample import Weighted

ALPHAS = (-1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
ADAPTER_ALPHAS = (-0.5, 0.0, 0.5, 1.0, 1.5)
LOGIT_ALPHAS = (0.5, 1.5)
HOT = 1.3


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to sample. alpha: NaN for what has no place on the line. load: makes its model."""

    name: str
    alpha: float
    load: Callable[[], Llama | Weighted]
    temperature: float = 1.0


def on_the_line(folder: Path, alpha: float) -> Llama:
    """theta = low + alpha * (high - low), in float32 as trained."""
    low, high = load_checkpoint(folder / "low"), load_checkpoint(folder / "high")
    with torch.no_grad():
        for ours, other in zip(low.parameters(), high.parameters(), strict=True):
            ours.add_(alpha * (other - ours))
    return low


def from_start(folder: Path, endpoint: str, scale: float) -> Llama:
    """theta = init + scale * (endpoint - init): WiSE-FT below 1, ExPO above (its alpha is scale - 1)."""
    start, end = load_checkpoint(folder / "init"), load_checkpoint(folder / endpoint)
    with torch.no_grad():
        for ours, other in zip(start.parameters(), end.parameters(), strict=True):
            ours.add_(scale * (other - ours))
    return start


def extrapolated_mean(folder: Path, scale: float) -> Llama:
    """theta = init + scale * (mean of low and high - init): ExMe."""
    start = load_checkpoint(folder / "init")
    low, high = load_checkpoint(folder / "low"), load_checkpoint(folder / "high")
    with torch.no_grad():
        for ours, one, other in zip(start.parameters(), low.parameters(), high.parameters(), strict=True):
            ours.add_(scale * ((one + other) / 2 - ours))
    return start


def frontier(folder: Path, alphas: tuple[float, ...] = ALPHAS) -> list[Candidate]:
    return [
        Candidate(f"frontier@{alpha:g}", alpha, lambda a=alpha: on_the_line(folder, a)) for alpha in alphas
    ]


def adapters(folder: Path) -> list[Candidate]:
    """The line between the two adapters: theta = init + D_low + alpha * (D_high - D_low), D = SCALE * B A."""
    ends = {"low": folder / "lora_low", "high": folder / "lora_high"}

    def at(alpha: float) -> Llama:
        return merged(load_checkpoint(folder / "init"), {ends["low"]: 1 - alpha, ends["high"]: alpha})

    return [Candidate(f"adapters@{alpha:g}", alpha, lambda a=alpha: at(a)) for alpha in ADAPTER_ALPHAS]


def logits(folder: Path) -> list[Candidate]:
    """logits = logits of low + alpha * (logits of high - logits of low): two models run for every token."""

    def at(alpha: float) -> Weighted:
        return [(1 - alpha, load_checkpoint(folder / "low")), (alpha, load_checkpoint(folder / "high"))]

    return [Candidate(f"logits@{alpha:g}", alpha, lambda a=alpha: at(a)) for alpha in LOGIT_ALPHAS]


def baselines(folder: Path) -> list[Candidate]:
    """Other ways to get several members: the start, earlier checkpoints, a hotter sampler, other mergings."""
    earlier = [path for endpoint in ("low", "high") for path in _steps(folder / endpoint)]
    return [
        Candidate("init", math.nan, lambda: load_checkpoint(folder / "init")),
        *(
            Candidate(f"{path.parent.name}/{path.name}", math.nan, lambda p=path: load_checkpoint(p))
            for path in earlier
        ),
        *(
            Candidate(f"frontier@{alpha:g} hot", math.nan, lambda a=alpha: on_the_line(folder, a), HOT)
            for alpha in (0.0, 0.5, 1.0)
        ),
        *(
            Candidate(f"{label} {endpoint}", math.nan, lambda e=endpoint, s=scale: from_start(folder, e, s))
            for label, scale in (("wise-ft", 0.5), ("expo", 1.5))
            for endpoint in ("low", "high")
        ),
        Candidate("exme", math.nan, lambda: extrapolated_mean(folder, 1.5)),
    ]


def _steps(folder: Path) -> list[Path]:
    """Intermediate checkpoints in order; the last one kept is the endpoint itself, and left out."""
    return sorted(folder.glob("step=*"), key=lambda path: int(path.name.split("=")[1]))[:-1]
