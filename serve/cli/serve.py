"""Serve a frontier over an OpenAI-compatible endpoint."""

from __future__ import annotations

import argparse

from alpharay.serve.arguments import add_config, config_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument("--host", help="address to listen on, instead of the configuration's")
    parser.add_argument(
        "--port",
        type=port_number,
        help="port to listen on, instead of the configuration's; 0 takes a free one",
    )
    parser.add_argument(
        "--engine-metrics-port",
        type=port_number,
        metavar="PORT",
        help="port on which the engines' metrics are exported, instead of a free one",
    )
    parser.add_argument(
        "--address", help="a Ray cluster to join (`auto` or HOST:PORT), instead of starting one here"
    )
    parser.epilog = (
        "example:\n  alpharay serve                     # the embedded frontier on http://127.0.0.1:8000/v1\n"
        "  alpharay serve --embedded parts    # one whose programs take two decisions\n"
        "  alpharay serve frontier.yaml --port 9000\n\n"
        "Ends on SIGINT or SIGTERM, after the requests under way. On SIGHUP it reads CONFIG again, and moves to other\n"
        "checkpoints without failing a request."
    )


def port_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"must be a number between 0 and 65535, got {text!r}")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    from alpharay.progress import timed_lines
    from alpharay.serve import config
    from alpharay.serve.cluster import lifecycle

    own = ("host", "port", "engine_metrics_port")
    server = {name: value for name in own if (value := getattr(arguments, name)) is not None}

    def reread() -> config.Config:
        loaded = config.load(config_path(arguments))
        return loaded.model_copy(update={"server": loaded.server.model_copy(update=server)})

    lifecycle.serve(reread, address=arguments.address, say=timed_lines())
    return 0
