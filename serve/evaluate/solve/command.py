"""`alpharay solve`: one budget of samples over a batch of problems, on engines of its own or on a server that is up."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from alpharay.serve.arguments import (
    add_problems,
    add_sampling,
    config_path,
    positive,
    positive_seconds,
    price,
    sampling_options,
)
from alpharay.serve.evaluate.saving import add_rollouts, check_rollouts

if TYPE_CHECKING:
    from collections.abc import Callable

    from alpharay.serve.evaluate.journal import Journal
    from alpharay.serve.evaluate.solve.solving import Wanted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_problems(parser)
    parser.add_argument(
        "--server", metavar="URL",
        help="draw from and judge on this server instead of starting engines here; its key is read from ALPHARAY_API_KEY",
    )  # fmt: skip
    parser.add_argument(
        "--budget", type=positive(), required=True, metavar="SAMPLES",
        help="over all problems, those that are in DIR already included",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR",
        help="where outcomes.parquet, solved.jsonl and report.md go",
    )  # fmt: skip
    parser.add_argument(
        "--portfolio", type=Path, metavar="FILE",
        help="the schedule of members that each problem follows (default: the configuration's; without one it is "
        "learnt from the batch)",
    )  # fmt: skip
    parser.add_argument("--max-per-problem", type=positive(), metavar="N", help="samples of one problem")
    parser.add_argument(
        "--stop-after-passes", type=positive(), default=1, metavar="N",
        help="passes after which a problem gets no more samples (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--deadline", type=positive_seconds, default=math.inf, metavar="SECONDS",
        help="of sampling, after which what is under way is cancelled; started again, it goes on",
    )  # fmt: skip
    parser.add_argument(
        "--price", type=price, default=0.0, metavar="X",
        help="what 1000 tokens cost, in solved problems: a problem ends where its next sample is not worth it",
    )  # fmt: skip
    add_sampling(parser)
    add_rollouts(parser)
    parser.epilog = (
        "example:\n  alpharay solve problems.jsonl frontier.yaml --budget 20000 --out solved\n"
        "  alpharay solve problems.jsonl --server http://127.0.0.1:8000 --budget 20000 --out solved\n\n"
        "Started again it goes on where it stopped, also after a kill, and with a larger budget it adds to what is there."
    )


def run(arguments: argparse.Namespace) -> int:
    import asyncio

    from alpharay.judge.limits import Limits
    from alpharay.merge.errors import UsageError
    from alpharay.progress import timed_lines
    from alpharay.serve import config as configuration
    from alpharay.serve.cluster.checks import check_engine, check_sandbox
    from alpharay.serve.evaluate.hosting import hosted
    from alpharay.serve.evaluate.journal import Journal
    from alpharay.serve.evaluate.solve.solving import Solving, solve

    say = timed_lines()
    check_rollouts(arguments)
    if arguments.server is not None:
        for name in ("config", "embedded", "address"):
            if getattr(arguments, name) is not None:
                option = "CONFIG" if name == "config" else f"--{name}"
                raise UsageError(f"{option} is of engines that are started here; leave it out with --server")
    wanted = _wanted(arguments)
    if arguments.server is not None:
        with Journal(arguments.out) as journal:
            asyncio.run(_on_server(arguments, wanted, journal, say))
        return 0
    config = configuration.load(config_path(arguments))
    check_engine()
    check_sandbox(config.judge.sandbox, config.judge.packages)
    portfolio = arguments.portfolio or config.router.portfolio
    with Journal(arguments.out) as journal, hosted(config, arguments.address, say) as hosting:

        async def on_engines() -> None:
            async with hosting.clients() as (engines, judging):
                solving = Solving(
                    members=hosting.members,
                    engines=engines,
                    judging=judging,
                    portfolio=portfolio,
                    limits=Limits(cpu_s=config.judge.time_limit_s, memory_mb=config.judge.memory_limit_mb),
                )
                await solve(wanted, solving, journal, say)

        asyncio.run(on_engines())
    return 0


async def _on_server(
    arguments: argparse.Namespace, wanted: Wanted, journal: Journal, say: Callable[[str], None]
) -> None:
    import os

    from alpharay.serve.evaluate.solve.over_http import OverHttp, judge_fields
    from alpharay.serve.evaluate.solve.solving import Solving, solve

    key = os.environ.get("ALPHARAY_API_KEY")
    server = OverHttp(arguments.server, key, judge_fields(arguments.problems), arguments.in_flight)
    try:
        members = await server.members()
        solving = Solving(members=members, engines=server, judging=server, portfolio=arguments.portfolio)
        await solve(wanted, solving, journal, say)
    finally:
        await server.aclose()


def _wanted(arguments: argparse.Namespace) -> Wanted:
    from alpharay.judge.command import read_problems
    from alpharay.judge.compare import any_digits
    from alpharay.serve.evaluate.solve.solving import Wanted

    with any_digits():
        problems = read_problems(arguments.problems)
    return Wanted(
        file=arguments.problems,
        problems=tuple(problems.values()),
        out=arguments.out,
        budget=arguments.budget,
        most_per_problem=arguments.max_per_problem,
        passes=arguments.stop_after_passes,
        deadline_s=arguments.deadline,
        price=arguments.price / 1000,
        seed=arguments.seed,
        options=sampling_options(arguments),
        in_flight=arguments.in_flight,
        rollouts=("logprobs" if arguments.logprobs else "texts") if arguments.save_rollouts else None,
    )
