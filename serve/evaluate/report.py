"""An audit as files for people and programs: report.md, report.json, portfolio.yaml."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from alpharay.router.audit import FOLDS, Audit, Ensemble, Interval, advice, why
from alpharay.router.redundancy import Redundancy
from alpharay.router.schedule import runs_of
from alpharay.serve.portfolio_file import portfolio_text

PICTURE = "frontier.png"
_RUNS_SHOWN = 24

Json = dict[str, Any]


def as_json(result: Audit) -> str:
    """`report.json`: shares in [0, 1], gains in percentage points."""
    report: Json = {
        "problems": result.problems,
        "members": {
            name: {
                "alpha": member.alpha,
                "samples": member.samples,
                "pass_at": _by_k(member.pass_at),
                "correctness_failures": round(member.incorrect.value, 6),
                "efficiency_failures": round(member.inefficient.value, 6),
            }
            for name, member in result.members.items()
        },
        "best_single": result.best_single,
        "ensembles": {
            "uniform": {"pass_at": _by_k(result.uniform.pass_at)},
            "portfolio": {"weights": _weights(result), "pass_at": _by_k(result.portfolio.pass_at)},
            "oracle": {"pass_at": _by_k(result.oracle.pass_at)},
        },
        "gain": {str(k): _points(gain) for k, gain in result.portfolio.gain.items()},
        "advice": advice(result),
        "why": {
            str(k): {
                "single": reason.single,
                "other": reason.other,
                "worth": round(reason.worth, 6),
                "low": round(reason.low, 6),
                "high": round(reason.high, 6),
            }
            for k, reason in result.reasons.items()
        },
        "redundancy": {
            "members": {name: _redundancy(each) for name, each in result.redundancy.items()},
            "across": _redundancy(result.redundancy_across) if result.redundancy_across else None,
        },
    }
    if result.baselines:
        report["baselines"] = {
            name: {
                "members": list(result.baseline_members[name]),
                "pass_at": _by_k(ensemble.pass_at),
                "gain": {str(k): _points(gain) for k, gain in ensemble.gain.items()},
            }
            for name, ensemble in result.baselines.items()
        }
    return json.dumps(report, indent=2) + "\n"


def as_portfolio(result: Audit) -> str:
    """`portfolio.yaml`: the recommended schedule, or that of the one member to serve where an ensemble does not pay."""
    pays = len(result.frontier) > 1 and result.pays_at(result.budget)
    schedule = result.schedule if pays else (result.best_single,) * len(result.schedule)
    return portfolio_text(
        schedule, [advice(result), f"Measured by `alpharay audit` on {result.problems} problems."]
    )


def as_markdown(result: Audit) -> str:
    """`report.md`."""
    parts = [
        "# Does an ensemble pay?",
        f"**{advice(result)}**",
        *filter(None, [why(result)]),
        _what_was_measured(result),
        "## Solved problems, by number of samples",
        _pass_table(result),
        (
            f"The best single member is chosen on other problems than it is judged on ({FOLDS} folds), and so is the "
            f"portfolio. *With hindsight* it is chosen on the very problems, which flatters it. On all problems together {result.best_single} is the best at {result.budget} samples. "
            "*Uniform* gives every member the same share, *portfolio* follows one schedule, whatever the number of samples. *Oracle* would know "
            "each problem's best member beforehand: what a perfect choice of members could gain at most. It is measured "
            "on two halves of the samples, so up to half as many, and errs on the low side."
        ),
        "## Gain over the best single member, in percentage points",
        _gain_table(result),
        (
            "In brackets: 95 % intervals by a paired bootstrap over problems. They tell how another draw of problems "
            "would change the figures, not how another kind of problems would."
        ),
        "## Recommended schedule",
        _schedule_text(result),
        _split_table(result),
        "## Why members fail",
        f"![Correctness failures against efficiency failures, and solved problems against samples]({PICTURE})",
        _failure_table(result),
        "## Who solves what others do not",
        (
            f"Share of problems (%) that the member of the row solves with {result.complement_at} samples while the "
            f"member of the column does not; last, the share that it alone solves."
        ),
        _complement_table(result),
        "## How often samples repeat each other",
        (
            "Distinct programs, and distinct behaviours (verdict and level of the first case that failed), among so many "
            "samples of a problem, on average; *across*: samples of all members of the frontier in equal parts."
        ),
        _redundancy_table(result),
    ]
    if result.baselines:
        parts += ["## Baselines", _baselines(result)]
    return "\n\n".join(parts) + "\n"


def lines(result: Audit) -> Iterable[str]:
    """The same in a few lines for a terminal."""
    k = result.budget
    yield advice(result)
    if reason := why(result):
        yield reason
    yield ""
    for name, member in result.members.items():
        shown = f"{100 * member.pass_at[k]:6.2f}" if k in member.pass_at else "     -"
        yield f"  {shown} %  {name}{'  (best single)' if name == result.best_single else ''}"
    yield f"  {100 * result.single[k]:6.2f} %  best single, chosen on other problems than it is judged on"
    for name, ensemble in _ensembles(result):
        if k in ensemble.pass_at:
            yield f"  {100 * ensemble.pass_at[k]:6.2f} %  {name}  {_plus(ensemble.gain[k])}"
    yield f"  solved with {k} sample{'s' * (k > 1)}, of {result.problems} problems"


def _what_was_measured(result: Audit) -> str:
    samples = sorted({member.samples // result.problems for member in result.members.values()})
    each = f"{samples[0]}" if len(samples) == 1 else f"{samples[0]} to {samples[-1]}"
    text = f"{result.problems} problems, {len(result.members)} members, about {each} judged samples of each per problem."
    if result.left_out:
        text += f" {result.left_out} problems were left out, because some member has too few samples of them."
    if result.judge_errors:
        text += f" {result.judge_errors} samples that the judge could not judge count neither way."
    return text


def _pass_table(result: Audit) -> str:
    budgets = sorted({k for member in result.members.values() for k in member.pass_at})
    rows = [
        [f"`{name}`", *(_percent(member.pass_at.get(k)) for k in budgets)]
        for name, member in result.members.items()
    ]
    rows.append(["best single, cross-validated", *(_percent(result.single.get(k)) for k in budgets)])
    rows.append(["best single, with hindsight", *(_percent(result.hindsight.get(k)) for k in budgets)])
    rows += [
        [name, *(_percent(ensemble.pass_at.get(k)) for k in budgets)] for name, ensemble in _ensembles(result)
    ]
    return table(["solved, %", *(f"{k}" for k in budgets)], rows)


def _gain_table(result: Audit) -> str:
    budgets = list(result.portfolio.gain)
    rows = [
        [name, *(_plus(ensemble.gain[k]) if k in ensemble.gain else "" for k in budgets)]
        for name, ensemble in _ensembles(result)
    ]
    return table(["points", *(f"{k}" for k in budgets)], rows)


def _schedule_text(result: Audit) -> str:
    runs = [
        f"`{name}` x {length}" if length > 1 else f"`{name}`" for name, length in runs_of(result.schedule)
    ]
    more = ", …" if len(runs) > _RUNS_SHOWN else ""
    return (
        "A request ends at its first pass, so the order of its samples is what counts: each goes to the member that "
        f"covers most of what the samples before it leave unsolved: {', '.join(runs[:_RUNS_SHOWN])}{more}. "
        "What it amounts to at each budget:"
    )


def _split_table(result: Audit) -> str:
    rows = [
        [f"{k}", ", ".join(f"{samples} of `{name}`" for name, samples in split.items())]
        for k, split in result.portfolio.splits.items()
    ]
    return table(["budget", "samples"], rows)


def _failure_table(result: Audit) -> str:
    rows = [
        [f"`{name}`", _alpha(member.alpha), _range(member.incorrect), _range(member.inefficient)]
        for name, member in result.members.items()
    ]
    return table(["member", "alpha", "correctness failures, %", "time or memory limit, %"], rows)


def _complement_table(result: Audit) -> str:
    rows = [
        [
            f"`{name}`",
            *(
                "" if row == column else f"{100 * share:.1f}"
                for column, share in enumerate(result.solves_alone[row])
            ),
            f"{100 * result.only_one[name]:.1f}",
        ]
        for row, name in enumerate(result.frontier)
    ]
    return table(["solves", *(f"not `{name}`" for name in result.frontier), "alone"], rows)


def _redundancy_table(result: Audit) -> str:
    named = [(f"`{name}`", each) for name, each in result.redundancy.items()]
    if result.redundancy_across:
        named.append(("across", result.redundancy_across))
    rows = [
        [
            name,
            f"{each.samples}",
            "" if each.programs is None else f"{each.programs:.1f}",
            f"{each.behaviours:.2f}",
        ]
        for name, each in named
    ]
    return table(["", "samples", "programs", "behaviours"], rows)


def _redundancy(each: Redundancy) -> Json:
    return {
        "samples": each.samples,
        "programs": None if each.programs is None else round(each.programs, 4),
        "behaviours": round(each.behaviours, 4),
    }


def _baselines(result: Audit) -> str:
    paragraphs = []
    for name, ensemble in result.baselines.items():
        members = ", ".join(f"`{member}`" for member in result.baseline_members[name])
        k = max((k for k in ensemble.gain if k <= result.budget), default=None)
        if k is None:
            continue
        mine, theirs = result.portfolio.pass_at[k], ensemble.pass_at[k]
        paragraphs.append(
            f"*{name}* ({members}), samples shared equally: {100 * theirs:.1f} % solved with {k} samples, "
            f"the portfolio of the frontier {100 * mine:.1f} %. Against the best single member: {_plus(ensemble.gain[k])}."
        )
    return "\n\n".join(paragraphs)


def _ensembles(result: Audit) -> list[tuple[str, Ensemble]]:
    named = [("uniform", result.uniform), ("portfolio", result.portfolio), ("oracle", result.oracle)]
    return named + [(f"baseline {name}", ensemble) for name, ensemble in result.baselines.items()]


def _weights(result: Audit) -> dict[str, float]:
    split = result.portfolio.splits[result.budget]
    return {name: round(samples / result.budget, 6) for name, samples in split.items()}


def _by_k(shares: Mapping[int, float]) -> Json:
    return {str(k): round(share, 6) for k, share in shares.items()}


def _points(gain: Interval) -> Json:
    return {
        name: round(100 * getattr(gain, part), 4)
        for name, part in (("points", "value"), ("low", "low"), ("high", "high"))
    }


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _plus(gain: Interval) -> str:
    return f"{100 * gain.value:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"


def _range(share: Interval) -> str:
    return f"{100 * share.value:.1f} [{100 * share.low:.1f}, {100 * share.high:.1f}]"


def _alpha(alpha: float | None) -> str:
    return "" if alpha is None else f"{alpha:g}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    whole = [[cell.replace("|", "\\|").replace("\n", " ") for cell in cells] for cells in (head, *rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (whole[0], ["---"] * len(head), *whole[1:]))
