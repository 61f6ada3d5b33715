"""The schedule that an audit recommends, as written to portfolio.yaml.

    schedule:                  # samples 1, 2, 3, … of a request, in runs
    - frontier@1: 1
    - frontier@0.75: 2
    split:                     # what it amounts to at each budget; for people, not read
      1: {frontier@1: 1}

A file of an earlier version has `weights` instead, the parts of a budget; it is read as before.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import yaml

from alpharay.router.passk import budgets_up_to
from alpharay.router.schedule import Recommendation, expanded, runs_of, splits_of
from alpharay.serve.errors import ConfigError
from alpharay.serve.spelling import did_you_mean, shown

# Samples of a schedule, over all its runs.
LONGEST = 100_000


def portfolio_text(schedule: Sequence[str], comments: Sequence[str]) -> str:
    """portfolio.yaml. comments: lines at its top."""
    splits = splits_of(schedule, budgets_up_to(len(schedule)))
    document = {"schedule": [{name: length} for name, length in runs_of(schedule)], "split": splits}
    head = "".join(f"# {' '.join(line.split())}\n" for line in comments)
    return head + yaml.safe_dump(document, sort_keys=False, default_flow_style=None, allow_unicode=True)


def read_portfolio(path: Path, members: Collection[str]) -> Recommendation:
    """Its `schedule`, or its `weights` where it has none.

    members: those that are served. Raises ConfigError.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"router.portfolio: {path} cannot be read: {' '.join(str(error).split())}"
        ) from error
    if isinstance(document, dict) and "schedule" in document:
        return Recommendation(schedule=_schedule(path, document["schedule"], members))
    weights = document.get("weights") if isinstance(document, dict) else None
    if not isinstance(weights, dict) or not weights:
        raise ConfigError(
            f"router.portfolio: {path} has no `schedule`, a list of runs such as `- {{{min(members)}: 2}}`; "
            "`alpharay audit` writes such files"
        )
    for name, weight in weights.items():
        _check_served(path, name, members)
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not (number and math.isfinite(weight) and weight >= 0):
            raise ConfigError(
                f"router.portfolio: {path}: the part of {name} must be a number from 0, got {shown(weight)}"
            )
    if not sum(weights.values()):
        raise ConfigError(f"router.portfolio: {path} gives every member nothing")
    return Recommendation(weights={str(name): float(weight) for name, weight in weights.items()})


def _schedule(path: Path, runs: Any, members: Collection[str]) -> tuple[str, ...]:
    pairs: list[tuple[str, int]] = []
    for run in runs if isinstance(runs, list) else []:
        if not (isinstance(run, dict) and len(run) == 1):
            raise ConfigError(
                f"router.portfolio: {path}: a run of the schedule is a member and a number of samples such as "
                f"`- {{{min(members)}: 2}}`, got {shown(run)}"
            )
        ((name, length),) = run.items()
        _check_served(path, name, members)
        if not isinstance(length, int) or isinstance(length, bool) or not 1 <= length <= LONGEST:
            raise ConfigError(
                f"router.portfolio: {path}: the samples of {name} must be a whole number from 1 to {LONGEST}, "
                f"got {shown(length)}"
            )
        pairs.append((name, length))
    samples = sum(length for _, length in pairs)
    if not 1 <= samples <= LONGEST:
        raise ConfigError(
            f"router.portfolio: {path}: a schedule has between 1 and {LONGEST} samples in a list of runs such as "
            f"`- {{{min(members)}: 2}}`, this one {samples}"
        )
    return expanded(pairs)


def _check_served(path: Path, name: Any, members: Collection[str]) -> None:
    if name not in members:
        raise ConfigError(
            f"router.portfolio: {path} gives samples to {shown(name)}, which is not served"
            f"{did_you_mean(str(name), members)}"
        )
