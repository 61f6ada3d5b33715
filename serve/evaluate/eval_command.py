"""`alpharay eval`: samples and judges every problem under every member, with the engines that `serve` would use."""

from __future__ import annotations

import argparse
from pathlib import Path

from alpharay.serve.arguments import add_problems, add_sampling, config_path, positive, sampling_options
from alpharay.serve.evaluate.saving import add_rollouts, check_rollouts, describe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_problems(parser)
    parser.add_argument(
        "--samples", type=positive(1_000_000), required=True, metavar="N", help="of each problem and member"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="where outcomes.parquet is, or will be"
    )
    parser.add_argument("--members", nargs="+", metavar="M", help="only these, by name or alpha")
    add_sampling(parser, in_flight="samples at once per member")
    parser.add_argument(
        "--label",
        metavar="NAME",
        help="record the members as NAME:MEMBER, as a baseline beside the frontier in the same folder: "
        "`temporal` for ordinary training checkpoints, `temperature` for the same members at another one",
    )
    add_rollouts(parser)
    parser.epilog = (
        "example:\n  alpharay eval problems.jsonl frontier.yaml --samples 64 --out run\n"
        "  alpharay eval problems.jsonl frontier.yaml --samples 64 --out run --members 1 --temperature 1.2 "
        "--label temperature\n  alpharay audit run/outcomes.parquet --out run/audit\n\n"
        "Started again it goes on where it stopped, also after a kill, and with a larger N it adds to what is there."
    )


def run(arguments: argparse.Namespace) -> int:
    import asyncio

    from alpharay.judge.command import read_problems
    from alpharay.judge.compare import any_digits
    from alpharay.judge.limits import Limits
    from alpharay.merge.errors import UsageError
    from alpharay.progress import ProgressLine, timed_lines
    from alpharay.serve import config as configuration
    from alpharay.serve.cluster.checks import check_engine, check_sandbox
    from alpharay.serve.evaluate.hosting import hosted
    from alpharay.serve.evaluate.journal import Journal
    from alpharay.serve.evaluate.sampling import Drawn, Plan, Run
    from alpharay.serve.evaluate.settings import keep_settings
    from alpharay.serve.learn.rollouts.fields import Saving, hashes_of_tests
    from alpharay.serve.spelling import did_you_mean

    check_rollouts(arguments)
    with any_digits():
        problems = read_problems(arguments.problems)
        tests = hashes_of_tests(arguments.problems) if arguments.save_rollouts else {}
    config = configuration.load(config_path(arguments))
    if arguments.members is not None:
        names = [f"{config.name}@{point.name}" for point in config.points]
        kept = set()
        for wanted in arguments.members:
            number = next(
                (n for n, point in enumerate(config.points) if wanted in (names[n], point.name)),
                next((n for n, point in enumerate(config.points) if _same(wanted, point.alpha)), None),
            )
            if number is None:
                raise UsageError(
                    f"--members: {wanted!r} is not in the configuration{did_you_mean(wanted, names)}"
                )
            kept.add(number)
        members = tuple(entry for n, entry in enumerate(config.members) if n in kept)
        config = config.model_copy(update={"members": members})
    options = sampling_options(arguments)
    check_engine()
    check_sandbox(config.judge.sandbox, config.judge.packages)
    say = timed_lines()
    label = f"{arguments.label}:" if arguments.label else ""
    with Journal(arguments.out) as journal, hosted(config, arguments.address, say) as hosting:
        drawn = [
            Drawn(
                served=member.name,
                name=f"{label}{member.name}",
                alpha=None if label else member.alpha,
                weights=None if label else member.weights,
            )
            for member in hosting.members
        ]
        checkpoints = {
            point.name: member.sha256 for point, member in zip(drawn, hosting.members, strict=True)
        }
        saving = None
        if arguments.save_rollouts:
            saving = Saving(tests=tests, checkpoints=checkpoints, logprobs=arguments.logprobs)
        settings: dict[str, object] = {"seed": arguments.seed, "options": options}
        if saving is not None:
            settings["rollouts"] = saving.kind
        keep_settings(
            arguments.out,
            arguments.problems,
            {name: {"checkpoint": sha256, **settings} for name, sha256 in checkpoints.items()},
        )
        if saving is not None:
            describe(arguments.out, "eval", say)
        plan = Plan(
            problems=list(problems.values()),
            members=drawn,
            samples=arguments.samples,
            limits=Limits(cpu_s=config.judge.time_limit_s, memory_mb=config.judge.memory_limit_mb),
            seed=arguments.seed,
            options=options,
            in_flight=arguments.in_flight,
            one_by_one=config.hosting == "shift",
            saving=saving,
        )

        async def draw() -> None:
            async with hosting.clients() as clients:
                todo = Run(plan, *clients, journal)
                if todo.tally.done:
                    say(f"{todo.tally.done} of {todo.tally.total} samples are there already")
                with ProgressLine(every_s=30) as line:
                    await todo.run(
                        lambda tally: line.show(tally.done, tally.total, lambda: tally.text(line.seconds))
                    )
                    line.end(todo.tally.text(line.seconds))

        asyncio.run(draw())
        say(f"written: {journal.path}")
        if saving is not None:
            say(f"written: {arguments.out / 'rollouts'}")
    return 0


def _same(text: str, alpha: float | None) -> bool:
    try:
        return float(text) == alpha
    except ValueError:
        return False
