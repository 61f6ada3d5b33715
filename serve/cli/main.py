"""The command line. Heavy parts are imported by the command that needs them: `--help` is instant."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version

from alpharay.errors import AlpharayError
from alpharay.merge.errors import UsageError

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 0 done, 1 it failed, 2 wrong usage, 130 interrupted."""
    parsed = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = parsed.run
    try:
        code = run(parsed)
        sys.stdout.flush()  # here, where a reader that has gone is no error
        return code
    except UsageError as error:
        return _fail(error, WRONG_USAGE)
    except AlpharayError as error:
        return _fail(error, FAILED)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has had enough; Python would complain again while it closes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def _fail(error: Exception, code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    from alpharay.judge.formats import command as formats
    from alpharay.merge import command as merge
    from alpharay.serve.cli import doctor, judge, keys, serve
    from alpharay.serve.cli.attempt import command as attempt
    from alpharay.serve.evaluate import audit_command, eval_command, explain_command, replay_command
    from alpharay.serve.evaluate.search import command as search
    from alpharay.serve.evaluate.solve import command as solve

    parser = argparse.ArgumentParser(
        prog="alpharay",
        description="Serves the frontier between and beyond two checkpoints of a code model as one "
        "OpenAI-compatible model whose answers have been run.",
        epilog="`alpharay doctor` says what this machine can do.",
    )
    parser.add_argument("--version", action="version", version=f"alpharay {version('alpharay')}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, module, summary in [
        ("serve", serve, "Serve a frontier over an OpenAI-compatible endpoint."),
        ("merge", merge, "Merge checkpoints: one checkpoint per alpha, in one pass."),
        ("judge", judge, "Judge candidates in a sandbox: a file of them, or by HTTP."),
        ("import", formats, "Turn problems of known formats into a problem file."),
        ("eval", eval_command, "Sample and judge every problem under every member."),
        ("solve", solve, "Solve as many problems of a batch as one budget of samples can."),
        ("attempt", attempt, "Run a coding agent n times, and offer the best run as a branch."),
        (
            "search",
            search,
            "Find the points of the checkpoints' span that pay, and write a frontier of them.",
        ),
        ("audit", audit_command, "Say whether an ensemble pays, from recorded outcomes."),
        ("keys", keys, "Make an API key: for its user, and for the server's keys file."),
        ("replay", replay_command, "Say how router policies would have done on recorded outcomes."),
        ("explain", explain_command, "Say why a served request was answered as it was, from the store."),
        ("doctor", doctor, "Say what this machine can do, and what is missing."),
    ]:
        command = commands.add_parser(
            name, help=summary, description=summary, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
