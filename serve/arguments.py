"""Arguments that several commands share: what `eval`, `search` and `solve` draw from, and how."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alpharay.serve.frontiers import DEFAULT, EMBEDDED, embedded_config

_SAMPLING = ("temperature", "top_p", "max_tokens")
MOST = 1_000_000_000


def positive(most: int = MOST) -> Callable[[str], int]:
    """A type of arguments: whole numbers from 1."""

    def read(text: str) -> int:
        # No int() of a number of ten thousand digits.
        if not (text.isascii() and text.isdigit() and len(text) <= 18 and 1 <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {most}, got {text[:60]!r}")
        return int(text)

    return read


def price(text: str) -> float:
    """A type of arguments: what 1000 tokens cost."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number from 0, got {text!r}")
    return value


def positive_seconds(text: str) -> float:
    """A type of arguments: seconds above 0, not infinite."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, got {text!r}")
    return seconds


def add_config(
    parser: argparse.ArgumentParser, config: str = "configuration (YAML); without it, the embedded frontier"
) -> None:
    """CONFIG or `--embedded`; `config_path` reads them. config: help of CONFIG."""
    either = parser.add_mutually_exclusive_group()
    either.add_argument("config", nargs="?", type=Path, metavar="CONFIG", help=config)
    either.add_argument(
        "--embedded", choices=EMBEDDED, metavar="NAME",
        help=f"instead of CONFIG, a frontier that comes with the package: {' or '.join(EMBEDDED)} (default: {DEFAULT})",
    )  # fmt: skip


def config_path(arguments: argparse.Namespace) -> Path | None:
    """The configuration that the arguments of `add_config` name; None where they name none."""
    if arguments.embedded is not None:
        return embedded_config(arguments.embedded)
    path: Path | None = arguments.config
    return path


def add_problems(
    parser: argparse.ArgumentParser, config: str = "configuration (YAML); without it, the embedded frontier"
) -> None:
    """PROBLEMS and a configuration. config: help of CONFIG."""
    parser.add_argument("problems", type=Path, metavar="PROBLEMS", help="problems with their tests, JSONL")
    add_config(parser, config)


def add_sampling(
    parser: argparse.ArgumentParser, whole: str = "run", in_flight: str = "samples at once"
) -> None:
    """How samples are drawn, and on which cluster. whole: what `--seed` is of. in_flight: help of `--in-flight`."""
    parser.add_argument("--temperature", type=float, metavar="T", help="instead of the checkpoint's own")
    parser.add_argument("--top-p", type=float, metavar="P", help="instead of the checkpoint's own")
    parser.add_argument("--max-tokens", type=positive(), metavar="N", help="of one completion")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help=f"of the whole {whole} (default: 0)")
    parser.add_argument(
        "--in-flight", type=positive(), default=128, metavar="N", help=f"{in_flight} (default: 128)"
    )
    parser.add_argument("--address", help="a Ray cluster to join, instead of starting one here")


def sampling_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fields of every request, by the arguments of `add_sampling` that were given."""
    options = {name: getattr(arguments, name) for name in _SAMPLING}
    return {name: value for name, value in options.items() if value is not None}
