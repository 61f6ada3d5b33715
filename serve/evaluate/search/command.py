"""`alpharay search`: finds the points of the checkpoints' span that are worth serving, and their schedule."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from alpharay.serve.arguments import add_problems, add_sampling, config_path, positive, sampling_options

if TYPE_CHECKING:
    from alpharay.router.search.halving import Subject
    from alpharay.serve.config import Config
    from alpharay.serve.evaluate.search.rounds import Searched


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_problems(parser, "configuration (YAML) that names the checkpoints; without it, the embedded frontier")
    parser.add_argument(
        "--k", type=_numbers, default=(1, 10, 50), metavar="K,…",
        help="numbers of samples that a request may get (default: 1,10,50)",
    )  # fmt: skip
    parser.add_argument(
        "--samples", type=positive(), required=True, metavar="TOTAL", help="over all points and problems"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="where frontier.yaml and the reports go"
    )
    parser.add_argument(
        "--checkpoints",
        nargs="+",
        metavar="NAME",
        help="those to combine (default: all of the configuration)",
    )
    parser.add_argument(
        "--baseline", nargs="+", default=[], metavar="NAME",
        help="checkpoints to compare with and never to choose, such as an earlier one",
    )  # fmt: skip
    parser.add_argument(
        "--bounds", type=_bounds, default=None, metavar="LOW,HIGH",
        help="of each checkpoint's weight (default: -0.5,1.5)",
    )  # fmt: skip
    parser.add_argument(
        "--members", type=positive(), default=8, metavar="N", help="to end with, at most (default: 8)"
    )
    parser.add_argument(
        "--no-random", action="store_true",
        help="without the null baseline, a checkpoint as far from the first as the last is, in a random direction",
    )  # fmt: skip
    add_sampling(parser, "search")
    parser.epilog = (
        "example:\n  alpharay search problems.jsonl frontier.yaml --k 1,10,50 --samples 40000 --out found\n"
        "  alpharay serve found/frontier.yaml\n\n"
        "Started again with the same DIR it goes on where it stopped, also after a kill."
    )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(sorted({positive()(part.strip()) for part in text.split(",")}))


def _bounds(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low <= 0 and high >= 1):
        raise argparse.ArgumentTypeError(
            f"must be two numbers, the first at most 0 and the second at least 1, such as -0.5,1.5, got {text!r}"
        )
    return low, high


def run(arguments: argparse.Namespace) -> int:
    from dataclasses import replace

    from alpharay.judge.command import read_problems
    from alpharay.judge.compare import any_digits
    from alpharay.merge.errors import UsageError
    from alpharay.progress import ProgressLine, timed_lines
    from alpharay.router.search.halving import SearchPlan
    from alpharay.router.search.nested import measured
    from alpharay.router.search.points import BOUNDS, checkpoint, lattice
    from alpharay.serve import config as configuration
    from alpharay.serve.cluster.checks import check_engine, check_sandbox
    from alpharay.serve.errors import OutcomesError
    from alpharay.serve.evaluate.search.picture import draw
    from alpharay.serve.evaluate.search.random_direction import (
        RANDOM,
        has_random_direction,
        with_random_direction,
    )
    from alpharay.serve.evaluate.search.report import PICTURE, lines, write_report
    from alpharay.serve.evaluate.search.rounds import Searched, run_search

    with any_digits():
        problems = list(read_problems(arguments.problems).values())
    config = configuration.load(config_path(arguments))
    names = _searched(config, arguments)
    bounds = arguments.bounds or BOUNDS
    random = has_random_direction(config, names) and not arguments.no_random
    baselines = (*arguments.baseline, *((RANDOM,) if random else ()))
    try:
        points = lattice(len(names), bounds=bounds, seed=arguments.seed)
        plan = SearchPlan(
            points=points,
            problems=len(problems),
            budgets=arguments.k,
            total=arguments.samples,
            kept=tuple(checkpoint(number, len(names)) for number in range(len(names))),
            baselines=baselines,
            seed=arguments.seed,
            finalists=arguments.members,
            bounds=bounds,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    check_engine()
    check_sandbox(config.judge.sandbox, config.judge.packages)
    say = timed_lines()
    searched = Searched(
        config=config,
        plan=plan,
        names=names,
        checkpoints=config.named_checkpoints,
        problems=problems,
        problems_file=arguments.problems,
        folder=arguments.out,
        seed=arguments.seed,
        options=sampling_options(arguments),
        in_flight=arguments.in_flight,
        address=arguments.address,
    )
    _check_names(searched)
    if random:  # written only where nothing else is wrong
        checkpoints = with_random_direction(config, names, arguments.out, seed=arguments.seed, say=say)
        searched = replace(searched, checkpoints=checkpoints)
    with ProgressLine(every_s=30) as progress:
        search = run_search(
            searched,
            say,
            lambda tally: progress.show(tally.done, tally.total, lambda: tally.text(progress.seconds)),
        )
    result = measured(search)
    try:
        written = write_report(searched, search, result, arguments.out)
        draw(searched, search, result, arguments.out / PICTURE)
    except OSError as error:
        raise OutcomesError(f"{arguments.out} cannot be written: {error.strerror}") from error
    for line in lines(searched, result):
        print(line)
    print(f"written: {', '.join(map(str, (*written, arguments.out / PICTURE)))}")
    return 0


def _searched(config: Config, arguments: argparse.Namespace) -> tuple[str, ...]:
    """The checkpoints to combine. Raises UsageError: one is not in the configuration, or is a baseline too."""
    from alpharay.merge.errors import UsageError
    from alpharay.serve.spelling import did_you_mean

    known = config.named_checkpoints
    for option, chosen in (
        ("--checkpoints", arguments.checkpoints or []),
        ("--baseline", arguments.baseline),
    ):
        for name in chosen:
            if name not in known:
                raise UsageError(f"{option}: there is no checkpoint {name!r}{did_you_mean(name, known)}")
    if twice := set(arguments.checkpoints or []) & set(arguments.baseline):
        raise UsageError(f"--baseline: {min(twice)!r} is combined already; leave it out of one of the two")
    chosen = arguments.checkpoints or known
    return tuple(name for name in known if name in chosen and name not in arguments.baseline)


def _check_names(searched: Searched) -> None:
    """Raises UsageError: two points would have one name, or a checkpoint's name cannot be a member's."""
    from pydantic import ValidationError

    from alpharay.merge.errors import UsageError

    taken: dict[str, object] = {}
    subjects: list[Subject] = [*searched.plan.points, *searched.plan.baselines]
    for subject in subjects:
        try:
            name = searched.name(subject)
        except ValidationError as error:
            raise UsageError(
                f"checkpoints: {error.errors()[0]['msg'].removeprefix('Value error, ')}"
            ) from None
        if name in taken:
            raise UsageError(
                f"two points would both be named {name}; give the checkpoints names that differ in letters"
            )
        taken[name] = subject
