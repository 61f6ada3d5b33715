"""`alpharay replay`: how router policies would have done on recorded outcomes."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alpharay.serve.arguments import positive, price

if TYPE_CHECKING:
    from alpharay.router import Member
    from alpharay.router.replay import Replay, Replayed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "outcomes", type=Path, metavar="OUTCOMES", help="outcomes (Parquet), as `alpharay eval` writes them"
    )
    parser.add_argument(
        "--policy",
        action="append",
        required=True,
        metavar="P",
        help="a policy: uniform, single, portfolio, bandit or adaptive, or single:MEMBER; may be repeated",
    )
    parser.add_argument(
        "--budget",
        action="append",
        type=positive(4096),
        required=True,
        metavar="B",
        help="samples; may be repeated",
    )
    parser.add_argument(
        "--seeds", type=positive(4096), default=20, metavar="N", help="runs of each (default: 20)"
    )
    parser.add_argument(
        "--price",
        type=price,
        default=0.0,
        metavar="X",
        help="what 1000 tokens cost, in solved problems; policies that look at it stop when no sample is worth it",
    )
    parser.add_argument(
        "--problems", type=Path, metavar="FILE", help="the problems, for policies that read prompts"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = (
        "example:\n  alpharay replay run/outcomes.parquet --policy uniform --policy adaptive --budget 16\n\n"
        "Draws without replacement from recorded samples, and stops at the first pass. single, portfolio, bandit\n"
        "and adaptive have learnt from other problems than they are tried on (5 folds)."
    )


def run(arguments: argparse.Namespace) -> int:
    from alpharay.progress import ProgressLine
    from alpharay.router.replay import NotRecorded, Replay
    from alpharay.serve.errors import OutcomesError
    from alpharay.serve.evaluate.baselines import baselines_of
    from alpharay.serve.evaluate.outcomes import read_outcomes

    outcomes = read_outcomes(arguments.outcomes)
    besides = {
        name for group in baselines_of([m.name for m in outcomes.members], []).values() for name in group
    }
    frontier = tuple(
        member.name
        for member in outcomes.members
        if member.name not in besides and (member.alpha is not None or member.weights)
    )
    if not frontier:
        raise OutcomesError(
            f"{arguments.outcomes} has no member with an alpha or weights: there is no frontier to draw from"
        )
    replay = Replay(outcomes.only(frontier), features=_features(arguments.problems))
    wanted = [(name, *_policy(name, replay.members)) for name in dict.fromkeys(arguments.policy)]
    if len(replay.problems) < 2:
        raise OutcomesError(f"{arguments.outcomes} has fewer than 2 problems with samples of every member")
    budgets = sorted(set(arguments.budget))
    results: dict[int, dict[str, Any]] = {budget: {} for budget in budgets}
    steps = [(budget, *policy) for budget in budgets for policy in wanted]
    with ProgressLine() as line:
        for step, (budget, name, policy, members) in enumerate(steps):
            line.show(step, len(steps), partial("budget {}: {}".format, budget, name))
            try:
                replayed = replay.run(
                    policy, budget, arguments.seeds, members=members, price=arguments.price / 1000
                )
            except NotRecorded as error:
                raise OutcomesError(f"{arguments.outcomes}: {name}: {error}") from error
            results[budget][name] = _summary(replayed)
    if arguments.json:
        tables = {str(budget): {"policies": policies} for budget, policies in results.items()}
        print(json.dumps(next(iter(tables.values())) if len(tables) == 1 else {"budgets": tables}, indent=2))
    else:
        _print_table(replay, results, arguments.seeds)
    return 0


def _features(problems: Path | None) -> Any:
    if problems is None:
        return None
    from alpharay.judge.command import read_problems
    from alpharay.router.learn.features import features_of

    by_id = {name: features_of(problem.prompt) for name, problem in read_problems(problems).items()}
    return lambda name: by_id.get(name, ())


def _policy(text: str, members: tuple[Member, ...]) -> tuple[str, tuple[Member, ...]]:
    """The policy's name and the members it is restricted to; none: all."""
    from alpharay.merge.errors import UsageError
    from alpharay.router import POLICIES
    from alpharay.serve.spelling import did_you_mean

    name, _, wanted = text.partition(":")
    if name not in POLICIES:
        raise UsageError(f"--policy: there is no policy {name!r}{did_you_mean(name, POLICIES)}")
    if not wanted:
        return name, ()
    for member in members:
        alpha = None if member.alpha is None else f"{member.alpha:g}"
        if wanted in (member.name, member.name.rpartition("@")[2], alpha):
            return name, (member,)
    raise UsageError(
        f"--policy {text}: there is no member {wanted!r}{did_you_mean(wanted, [m.name for m in members])}"
    )


def _summary(replayed: Replayed) -> dict[str, Any]:
    """Means over seeds and problems; the interval is over problems, whose draw is what is left to chance."""
    import numpy as np

    solved = replayed.solved.mean(axis=0)
    count = len(solved)
    weights = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), 4000) / count
    low, high = np.percentile(weights @ solved, [2.5, 97.5])
    passed = replayed.first_pass[replayed.solved]
    return {
        "solved": round(float(solved.mean()), 6),
        "low": round(float(low), 6),
        "high": round(float(high), 6),
        "samples": round(float(replayed.samples.mean()), 4),
        "tokens": round(float(replayed.tokens.mean()), 2),
        "first_pass": round(float(passed.mean()), 4) if len(passed) else None,
    }


def _print_table(replay: Replay, results: dict[int, dict[str, Any]], seeds: int) -> None:
    print(
        f"{len(replay.problems)} problems, {len(replay.members)} members, {seeds} runs of each; per problem:\n"
        f"{'budget':>7}  {'policy':<24} {'solved %':>8}  {'95 % interval':<14} {'samples':>8} {'tokens':>9} {'to first pass':>14}"
    )
    for budget, policies in results.items():
        for name, result in policies.items():
            interval = f"{100 * result['low']:.1f} - {100 * result['high']:.1f}"
            first = "-" if result["first_pass"] is None else f"{result['first_pass']:.2f}"
            print(
                f"{budget:>7}  {name:<24} {100 * result['solved']:>8.2f}  {interval:<14} "
                f"{result['samples']:>8.2f} {result['tokens']:>9.0f} {first:>14}"
            )
    if replay.left_out:
        print(f"{replay.left_out} problems were left out, because some member has too few samples of them.")
