"""Arguments that several commands share: what `eval`, `search` and `solve` draw from, and how."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def positive_seconds(text: str) -> float:
    """A type of arguments: seconds above 0, not infinite."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, got {text!r}")
    return seconds


def add_problems(
    parser: argparse.ArgumentParser, config: str = "configuration (YAML); without it, the embedded frontier"
) -> None:
    """PROBLEMS and CONFIG. config: its help."""
    parser.add_argument("problems", type=Path, metavar="PROBLEMS", help="problems with their tests, JSONL")
    parser.add_argument("config", nargs="?", type=Path, metavar="CONFIG", help=config)


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
