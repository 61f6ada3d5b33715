"""`--save-rollouts` of `eval` and `solve`: the arguments, and the folder's data set card."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def add_rollouts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--save-rollouts",
        action="store_true",
        help="keep prompts and answers too, in DIR/rollouts/*.parquet, to train on; DIR/README.md describes them",
    )
    parser.add_argument(
        "--logprobs",
        action="store_true",
        help="with --save-rollouts: token ids and log-probabilities as well",
    )


def check_rollouts(arguments: argparse.Namespace) -> None:
    """Raises UsageError."""
    from alpharay.merge.errors import UsageError

    if arguments.logprobs and not arguments.save_rollouts:
        raise UsageError("--logprobs says what --save-rollouts keeps; give both")


def describe(folder: Path, command: str, say: Callable[[str], None]) -> None:
    """Writes the card of a folder whose settings are kept, unless the user has a README.md there."""
    from alpharay.serve.evaluate.settings import read_settings
    from alpharay.serve.learn.rollouts.card import write_card

    settings = read_settings(folder)
    rows = [_member(name, member) for name, member in settings["members"].items() if "rollouts" in member]
    how = [
        f"The file of problems had the SHA-256 `{settings['problems']}`.",
        "`outcomes.parquet` has the same samples without their texts.",
        "",
        "| member | checkpoint | seed | options | kept |",
        "| --- | --- | --- | --- | --- |",
        *rows,
    ]
    if not write_card(folder, f"`alpharay {command} --save-rollouts`", "\n".join(how)):
        say(f"{folder / 'README.md'} is not alpharay's, and stays; the rollouts have no card")


def _member(name: str, settings: dict[str, Any]) -> str:
    options = json.dumps(settings["options"], sort_keys=True)
    kept = "texts, token ids, logprobs" if settings["rollouts"] == "logprobs" else "texts"
    return f"| `{name}` | `{settings['checkpoint']}` | {settings['seed']} | `{options}` | {kept} |"
