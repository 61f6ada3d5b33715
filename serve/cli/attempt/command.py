"""`alpharay attempt`: n runs of an agent, each in a worktree of its own and by one member; the first that passes is a branch."""

from __future__ import annotations

import argparse
from pathlib import Path

from alpharay.serve.arguments import positive, positive_seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-n", dest="attempts", type=positive(256), default=4, metavar="N", help="runs (default: %(default)s)"
    )
    parser.add_argument(
        "--verify", required=True, metavar="COMMAND",
        help="a line for the shell, run where the agent ran: it decides by its exit code, 0 passes",
    )  # fmt: skip
    parser.add_argument("command", nargs="+", metavar="AGENT", help="the agent's command, after `--`")
    parser.add_argument(
        "--server", default="http://127.0.0.1:8000", metavar="URL",
        help="of alpharay (default: %(default)s); its key is read from ALPHARAY_API_KEY",
    )  # fmt: skip
    parser.add_argument("--members", nargs="+", metavar="M", help="only these, by name or alpha")
    parser.add_argument(
        "--at-once", type=positive(256), metavar="N", help="runs at the same time (default: all)"
    )
    parser.add_argument(
        "--time-limit", type=positive_seconds, default=1800.0, metavar="SECONDS",
        help="of one run, its verification included (default: 1800)",
    )  # fmt: skip
    parser.add_argument("--all", action="store_true", help="verify every run, also after one has passed")
    parser.add_argument(
        "--logs", type=Path, metavar="DIR", help="keep what each agent and verification printed"
    )
    parser.epilog = (
        'example:\n  alpharay attempt -n 8 --verify "pytest -q" -- codex exec "make the tests pass"\n\n'
        "Agents find the server by OPENAI_BASE_URL, OPENAI_API_BASE and ANTHROPIC_BASE_URL, which pin a run to its member; in the\n"
        "agent's command {url}, {root} and {member} stand for the same. Agent and verification are your own programs: they run as\n"
        "you, with your rights, in a git worktree and in no sandbox."
    )


def run(arguments: argparse.Namespace) -> int:
    """0: an attempt passes. Raises AttemptFailed, and KeyboardInterrupt."""
    import asyncio
    import os

    from alpharay.merge.errors import UsageError
    from alpharay.progress import timed_lines
    from alpharay.serve.cli.attempt.runs import Runs, Wanted, interruptible
    from alpharay.serve.cli.attempt.table import outcome_table
    from alpharay.serve.cli.attempt.worktrees import Worktrees
    from alpharay.serve.errors import RequestError
    from alpharay.serve.evaluate.solve.over_http import OverHttp
    from alpharay.serve.state.members import members_asked

    say = timed_lines()
    key = os.environ.get("ALPHARAY_API_KEY")

    async def attempt() -> int:
        server = OverHttp(arguments.server, key, {}, 1)
        try:
            known = await server.members()
        finally:
            await server.aclose()
        try:
            members = members_asked(known, arguments.members)
        except RequestError as error:
            raise UsageError(f"--members: {error.message}") from None
        wanted = Wanted(
            command=arguments.command,
            verify=arguments.verify,
            members=[members[number % len(members)].name for number in range(arguments.attempts)],
            server=arguments.server.rstrip("/").removesuffix("/v1"),
            key=key,
            at_once=arguments.at_once or arguments.attempts,
            time_limit_s=arguments.time_limit,
            verify_all=arguments.all,
            logs=arguments.logs,
        )
        with Worktrees(Path.cwd()) as worktrees:
            runs = await Runs(wanted, worktrees, say).run()
            best = runs[0]
            branch = worktrees.offer(best.commit) if best.commit else None
            print(outcome_table(runs, branch))
        return 0 if best.passed else 1

    return asyncio.run(interruptible(attempt()))
