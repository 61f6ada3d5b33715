"""What is evaluated: points on the line between the endpoints, and what they are compared with."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from alpharay.serve.config import load as load_config
from bench.frontier.lora import merged
from bench.frontier.model import Llama, load_checkpoint
from bench.frontier.sample import Weighted

ALPHAS = (-1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
ADAPTER_ALPHAS = (-0.5, 0.0, 0.5, 1.0, 1.5)
LOGIT_ALPHAS = (0.5, 1.5)
HOT = 1.3


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to sample. alpha: NaN for what has no place on the line. load: makes its model. weights: of checkpoints."""

    name: str
    alpha: float
    load: Callable[[], Llama | Weighted]
    temperature: float = 1.0
    weights: Mapping[str, float] | None = None


def place_of(weights: Mapping[str, float]) -> frozenset[tuple[str, float]]:
    """Equal for equal points, whatever their names."""
    return frozenset((name, weight) for name, weight in weights.items() if weight)


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
        for target, low_weight, high_weight in zip(
            start.parameters(), low.parameters(), high.parameters(), strict=True
        ):
            target.add_(scale * ((low_weight + high_weight) / 2 - target))
    return start


def frontier(folder: Path, alphas: tuple[float, ...] = ALPHAS) -> list[Candidate]:
    return [
        Candidate(f"frontier@{alpha:g}", alpha, lambda a=alpha: on_the_line(folder, a)) for alpha in alphas
    ]


# Of `init`, `low`, `high` and what the adapters make of `init`. What a frontier over them is compared with.
SINGLES = {
    **{f"frontier@{alpha:g}": {"low": 1 - alpha, "high": alpha} for alpha in (0, 0.25, 0.5, 0.75, 1, 1.5)},
    "init": {"init": 1.0},
    "wise-ft low": {"init": 0.5, "low": 0.5},
    "wise-ft high": {"init": 0.5, "high": 0.5},
    "lora_high": {"lora_high": 1.0},
    "lora_high 1.5": {"init": -0.5, "lora_high": 1.5},
    "high and lora_high": {"high": 0.5, "lora_high": 0.5},
}


def in_span(folder: Path, weights: Mapping[str, float]) -> Llama:
    """theta = the sum of weight * checkpoint, the weights summing to 1; `lora_…` is what that adapter makes of `init`."""
    adapted = {name: weight for name, weight in weights.items() if name.startswith("lora_")}
    full = {name: weight for name, weight in weights.items() if name not in adapted}
    full["init"] = full.get("init", 0.0) + sum(adapted.values())  # an adapter is a step from `init`
    theta = merged(load_checkpoint(folder / "init"), {folder / name: w for name, w in adapted.items()})
    start = dict(load_checkpoint(folder / "init").named_parameters())
    with torch.no_grad():
        for name, weight in full.items():
            if name == "init" or not weight:
                continue  # theta begins there
            for key, end in load_checkpoint(folder / name).named_parameters():
                theta.get_parameter(key).add_(weight * (end - start[key]))
    return theta


def points(folder: Path, weights: Mapping[str, Mapping[str, float]]) -> list[Candidate]:
    """Points of the span, by name."""
    return [
        Candidate(name, _alpha(each), lambda w=each: in_span(folder, w), weights=each)
        for name, each in weights.items()
    ]


def _alpha(weights: Mapping[str, float]) -> float:
    return weights.get("high", 0.0) if weights.keys() <= {"low", "high"} else math.nan


def served(folder: Path) -> list[Candidate]:
    """The members off the line that the package serves, and all that a search over these checkpoints found."""
    report = folder / "search" / "report.json"
    named: dict[str, Mapping[str, float]] = {
        f"frontier@{point.name}": point.weights for point in load_config(None).points if point.alpha is None
    }
    if report.exists():
        named |= json.loads(report.read_text())["members"]
    return points(folder, named)


def singles(folder: Path) -> list[Candidate]:
    return points(folder, SINGLES)


# Of a pair that was trained on problems of several parts. Points off the line are tried on validation problems.
PARTS_SINGLES = {
    **{
        f"frontier@{alpha:g}": {"low": 1 - alpha, "high": alpha}
        for alpha in (0, 0.25, 0.5, 0.75, 0.9, 1, 1.5)
    },
    "init": {"init": 1.0},
    "wise-ft high": {"init": 0.5, "high": 0.5},
}
PARTS_PLANE = {
    "both steps": {"init": -1.0, "low": 1.0, "high": 1.0},
    "half of both": {"init": 0.5, "low": 0.25, "high": 0.25},
    "wise-ft low": {"init": 0.5, "low": 0.5},
}


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
