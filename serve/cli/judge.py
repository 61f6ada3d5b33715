"""Judge a file of candidates, or, with `--serve`, whatever comes by HTTP."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from alpharay.judge import command
from alpharay.serve.cli.serve import port_number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    command.add_arguments(parser)
    parser.epilog = f"{parser.epilog}\n         alpharay judge --serve --port 8080"
    serving = parser.add_argument_group(
        "serving", "POST /v1/judge and POST /run_code, without engines and Ray"
    )
    serving.add_argument("--serve", action="store_true", help="judge what comes by HTTP")
    serving.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    serving.add_argument(
        "--port",
        type=port_number,
        default=8000,
        help="port to listen on, 0 takes a free one (default: %(default)s)",
    )
    serving.add_argument(
        "--api-keys-file",
        type=Path,
        metavar="FILE",
        help="who may ask, and how much (`alpharay keys`); default: anybody",
    )
    serving.add_argument(
        "--verdict-detail",
        choices=("full", "outcome"),
        default="full",
        help="`outcome`: nothing but the verdict leaves (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Raises what `judge.command.run` does, ServeError, and with `--serve` SandboxUnavailable."""
    if not arguments.serve:
        return command.run(arguments)
    if arguments.problems is not None:
        arguments.wrong_usage("--serve takes no files: problems come with the requests")
    from alpharay.serve.environment import ONE_MACHINE
    from alpharay.serve.gateway.door import alone
    from alpharay.serve.sections import Judge, Server

    server = Server(
        host=arguments.host, port=arguments.port, api_keys_file=arguments.api_keys_file, max_queued=4096
    )
    judge = Judge(
        sandbox=arguments.sandbox,
        workers=arguments.workers or "auto",
        verdict_detail=arguments.verdict_detail,
        packages=arguments.packages,
    )
    os.environ[ONE_MACHINE] = "1"
    alone.serve(server, judge, lambda line: print(line, flush=True))
    print("stopped", file=sys.stderr)
    return 0
