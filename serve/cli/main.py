"""The command line. Of the commands only the one that runs is imported: `--help` is instant."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version

from alpharay.errors import AlpharayError
from alpharay.merge.errors import UsageError

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

# Its name: the module with its `add_arguments` and `run`, and what it does.
COMMANDS = {
    "serve": ("alpharay.serve.cli.serve", "Serve a frontier over an OpenAI-compatible endpoint."),
    "merge": ("alpharay.merge.command", "Merge checkpoints: one checkpoint per alpha, in one pass."),
    "judge": ("alpharay.serve.cli.judge", "Judge candidates in a sandbox: a file of them, or by HTTP."),
    "import": ("alpharay.judge.formats.command", "Turn problems of known formats into a problem file."),
    "eval": (
        "alpharay.serve.evaluate.eval_command",
        "Sample and judge every problem under every member.",
    ),
    "solve": (
        "alpharay.serve.evaluate.solve.command",
        "Solve as many problems of a batch as one budget of samples can.",
    ),
    "attempt": (
        "alpharay.serve.cli.attempt.command",
        "Run a coding agent n times, and offer the best run as a branch.",
    ),
    "search": (
        "alpharay.serve.evaluate.search.command",
        "Find the points of the checkpoints' span that pay, and write a frontier of them.",
    ),
    "audit": (
        "alpharay.serve.evaluate.audit_command",
        "Say whether an ensemble pays, from recorded outcomes.",
    ),
    "keys": ("alpharay.serve.cli.keys", "Make an API key: for its user, and for the server's keys file."),
    "replay": (
        "alpharay.serve.evaluate.replay_command",
        "Say how router policies would have done on recorded outcomes.",
    ),
    "explain": (
        "alpharay.serve.evaluate.explain_command",
        "Say why a served request was answered as it was, from the store.",
    ),
    "doctor": ("alpharay.serve.cli.doctor", "Say what this machine can do, and what is missing."),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 0 done, 1 it failed, 2 wrong usage, 130 interrupted."""
    words = sys.argv[1:] if arguments is None else arguments
    parsed = _parser(words).parse_args(words)
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


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Knows every command's name, and the arguments of the requested one."""
    parser = argparse.ArgumentParser(
        prog="alpharay",
        description="Serves the frontier between and beyond two checkpoints of a code model as one "
        "OpenAI-compatible model whose answers have been run.",
        epilog="`alpharay doctor` says what this machine can do.",
    )
    parser.add_argument("--version", action="version", version=f"alpharay {version('alpharay')}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    requested = next((word for word in arguments if not word.startswith("-")), None)
    for name, (module_name, summary) in COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, description=summary, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if name == requested:
            module = import_module(module_name)
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
