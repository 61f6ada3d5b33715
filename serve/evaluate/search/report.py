"""What a search found, as files: frontier.yaml, portfolio.yaml, report.md, report.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from alpharay.merge.compute.span import shown_weights
from alpharay.router.schedule import runs_of
from alpharay.router.search.halving import Search, Subject, expected_failures
from alpharay.router.search.nested import Measured
from alpharay.router.search.points import Point
from alpharay.serve.evaluate.report import table
from alpharay.serve.evaluate.search.rounds import Searched
from alpharay.serve.portfolio_file import portfolio_text
from alpharay.serve.span import AdapterCheckpoint, NamedMember, point_of

FRONTIER, PORTFOLIO, REPORT, FIGURES, PICTURE = (
    "frontier.yaml", "portfolio.yaml", "report.md", "report.json", "plane.png",
)  # fmt: skip
_RUNS_SHOWN = 24

Json = dict[str, Any]


def expected(search: Search) -> dict[Subject, dict[int, float]]:
    """Of every point and baseline that was sampled, the expected share of problems solved with k samples.

    Beyond the samples that a point has, its chances are extrapolated from the counts.
    """
    subjects = list(search.samples)
    samples, solved = search.counts(subjects)
    shares = {k: 1 - expected_failures(samples, solved, k).mean(axis=0) for k in search.plan.budgets}
    return {
        subject: {k: float(share[column]) for k, share in shares.items()}
        for column, subject in enumerate(subjects)
    }


def schedule_of(searched: Searched, result: Measured) -> tuple[str, ...]:
    """The recommended member of each sample: one member throughout, where one suffices."""
    if result.one_suffices:
        return (searched.name(result.point),) * len(result.recommended)
    return tuple(map(searched.name, result.recommended))


def members_of(searched: Searched, result: Measured) -> list[float | NamedMember]:
    """The members that the schedule names."""
    points: list[Point] = [result.point] if result.one_suffices else list(dict.fromkeys(result.recommended))
    return [searched.member(point) for point in points]


def advice(searched: Searched, result: Measured) -> str:
    """One sentence for people."""
    point = searched.name(result.point)
    if not result.gain:
        return (
            f"Too few samples to compare at any of the numbers asked for; the schedule begins with {point}."
        )
    if result.one_suffices:
        return (
            f"One point suffices: {point}. At no number of samples does a schedule over several points solve more than it "
            "beyond chance."
        )
    k = max(result.gain, key=lambda budget: result.gain[budget][1])  # the surest
    value, low, high = result.gain[k]
    return (
        f"Several points pay: with {k} sample{'s' * (k > 1)} the schedule solves {100 * value:.1f} points more "
        f"[{100 * low:.1f}, {100 * high:.1f}] than the one point that would be served for all numbers of samples, {point}."
    )


def as_frontier(searched: Searched, result: Measured) -> str:
    """`frontier.yaml`: the configuration as it was given, with the members that were found and their schedule."""
    document = searched.config.model_dump(mode="json", exclude_unset=True)
    for key in ("endpoints", "adapters", "checkpoints", "members"):
        document.pop(key, None)
    members = members_of(searched, result)
    # All that were combined, also those that no member has a part of: a member on the line low..high needs both, and
    # hosting `adapters` its adapters.
    values = {name: searched.checkpoints[name] for name in searched.names}
    bases = {value.base for value in values.values() if isinstance(value, AdapterCheckpoint)}
    document["checkpoints"] = {
        name: _checkpoint(value)
        for name, value in searched.checkpoints.items()
        if name in values.keys() | bases
    }
    if searched.config.differing_config:
        document["allow_config"] = list(searched.config.differing_config)
    document["members"] = [_member(member) for member in members]
    router = {key: value for key, value in document.get("router", {}).items() if key != "policy"}
    document["router"] = {**router, "portfolio": PORTFOLIO}
    head = f"# Found by `alpharay search`: {advice(searched, result)}\n"
    return head + yaml.safe_dump(document, sort_keys=False, default_flow_style=None, allow_unicode=True)


def as_portfolio(searched: Searched, result: Measured) -> str:
    """`portfolio.yaml`."""
    problems = searched.plan.problems
    return portfolio_text(
        schedule_of(searched, result),
        [advice(searched, result), f"Found by `alpharay search` on {problems} problems."],
    )


def as_json(searched: Searched, search: Search, result: Measured) -> str:
    """`report.json`: shares in [0, 1], gains in percentage points."""
    shares = expected(search)
    report: Json = {
        "problems": searched.plan.problems,
        "checkpoints": list(searched.names),
        "k": list(searched.plan.budgets),
        "samples": search.recorded,
        "advice": advice(searched, result),
        "one_suffices": result.one_suffices,
        "gain_intervals": "95 %, of all k together",
        "point": searched.name(result.point),
        "members": {
            searched.name(point): _named(searched, point) for point in dict.fromkeys(result.recommended)
        },
        "schedule": [list(run) for run in runs_of(schedule_of(searched, result))],
        "solved_at": {
            "schedule": _by_k(result.schedule),
            "best_point_of_each": _by_k(result.per_budget),
            "one_point": _by_k(result.single_point),
            "hindsight": _by_k(result.hindsight),
        },
        "gain": {
            str(k): {"points": _points(value), "low": _points(low), "high": _points(high)}
            for k, (value, low, high) in result.gain.items()
        },
        "alone": {searched.name(subject): _by_k(solved) for subject, solved in result.subjects.items()},
        "points": {
            searched.name(subject): {
                "weights": _named(searched, subject),
                "samples": search.samples[subject],
                "expected_solved_at": _by_k(shares[subject]),
            }
            for subject in search.samples
        },
    }
    return json.dumps(report, indent=2) + "\n"


def as_markdown(searched: Searched, search: Search, result: Measured) -> str:
    """`report.md`."""
    plan = searched.plan
    parts = [
        "# Which points of the span pay?",
        f"**{advice(searched, result)}**",
        (
            f"{plan.problems} problems, {search.recorded} samples of {len(search.samples)} points made of "
            f"{', '.join(f'`{name}`' for name in searched.names)}. Points were left out by halves; each of "
            f"{plan.folds} folds of the problems is solved by what was chosen on the others, so no figure of the next table "
            "is of problems that were in its choice. *With hindsight* is chosen on the very problems, which flatters it."
        ),
        "## Solved, by number of samples",
        _solved_table(result),
        _gain_table(result),
        (
            "In brackets: intervals that hold together in 95 % of cases, by a paired bootstrap over problems that keeps "
            "the choices. Numbers of samples that are not shown were searched for, and are more than every finalist has."
        ),
        "## Recommended schedule",
        _schedule(searched, result),
        "## Each point alone",
        _alone_table(searched, result),
        "Checkpoints are measured to the end whatever they solve. Baselines are never chosen.",
        "## All that was sampled",
        f"![Expected share of problems solved over the span]({PICTURE})",
        _points_table(searched, search),
        (
            "Expected from the samples that a point has, also for numbers of samples beyond them: what the search "
            "decided by, not what it measured."
        ),
    ]
    return "\n\n".join(parts) + "\n"


def lines(searched: Searched, result: Measured) -> list[str]:
    """The same in a few lines for a terminal."""
    return [
        advice(searched, result),
        *(
            f"  with {k} samples: schedule {100 * result.schedule[k]:.1f} %, best point of {k} "
            f"{100 * result.per_budget[k]:.1f} %, one point for all {100 * result.single_point[k]:.1f} %"
            for k in result.schedule
        ),
    ]


def write_report(searched: Searched, search: Search, result: Measured, folder: Path) -> list[Path]:
    """Writes all files but the picture; gives their paths. Raises OSError."""
    texts = {
        FRONTIER: as_frontier(searched, result),
        PORTFOLIO: as_portfolio(searched, result),
        REPORT: as_markdown(searched, search, result),
        FIGURES: as_json(searched, search, result),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def _solved_table(result: Measured) -> str:
    rows = [
        ["the schedule", *_percents(result.schedule)],
        ["the best point of each number", *_percents(result.per_budget)],
        ["one point for all numbers", *_percents(result.single_point)],
        ["the best point of each number, with hindsight", *_percents(result.hindsight)],
    ]
    return table(["solved, %", *map(str, result.schedule)], rows)


def _gain_table(result: Measured) -> str:
    gains = [
        f"{100 * value:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
        for value, low, high in result.gain.values()
    ]
    return table(["points", *map(str, result.gain)], [["schedule against the one point", *gains]])


def _schedule(searched: Searched, result: Measured) -> str:
    runs = [
        f"`{name}` x {length}" if length > 1 else f"`{name}`"
        for name, length in runs_of(schedule_of(searched, result))
    ]
    return f"{', '.join(runs[:_RUNS_SHOWN])}{', …' if len(runs) > _RUNS_SHOWN else ''}."


def _alone_table(searched: Searched, result: Measured) -> str:
    rows = [
        [f"`{searched.name(subject)}`", _shown(searched, subject), *_percents(solved)]
        for subject, solved in result.subjects.items()
    ]
    return table(["solved, %", "weights", *map(str, result.schedule)], rows)


def _points_table(searched: Searched, search: Search) -> str:
    k = max(searched.plan.budgets)
    shares = expected(search)
    ranked = sorted(shares, key=lambda subject: -shares[subject][k])
    rows = [
        [f"`{searched.name(subject)}`", f"{search.samples[subject]}", *_percents(shares[subject])]
        for subject in ranked
    ]
    return table(["expected, %", "samples", *map(str, searched.plan.budgets)], rows)


def _named(searched: Searched, subject: Subject) -> dict[str, float]:
    return dict(_weights(searched.member(subject)))


def _shown(searched: Searched, subject: Subject) -> str:
    return shown_weights(_named(searched, subject))


def _weights(member: float | NamedMember) -> Mapping[str, float]:
    return {name: weight for name, weight in point_of(member).weights.items() if weight}


def _member(member: float | NamedMember) -> Any:
    return member if not isinstance(member, NamedMember) else member.model_dump()


def _checkpoint(value: Path | AdapterCheckpoint) -> Any:
    if isinstance(value, AdapterCheckpoint):
        return {"adapter": str(value.adapter.resolve()), "base": value.base}
    return str(value.resolve())


def _by_k(shares: Mapping[int, float]) -> Json:
    return {str(k): round(share, 6) for k, share in shares.items()}


def _points(share: float) -> float:
    return round(100 * share, 4)


def _percents(shares: Mapping[int, float]) -> list[str]:
    return [f"{100 * share:.1f}" for share in shares.values()]
