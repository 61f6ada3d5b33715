"""What a folder of outcomes was measured with, so that a later run cannot mix in something else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alpharay.serve.errors import OutcomesError
from alpharay.serve.learn.rollouts.outcome import replace_whole

_FILE = "eval.json"
_ROLLOUTS = "rollouts"
_FLAGS = {
    None: "without --save-rollouts",
    "texts": "with --save-rollouts and without --logprobs",
    "logprobs": "with --save-rollouts --logprobs",
}
_OTHER_PROBLEMS = "{folder} holds outcomes of other problems than those in {problems}; use another --out"


def check_settings(folder: Path, problems: Path, settings: Mapping[str, Any]) -> None:
    """Checks what all members of a folder have in common against what was measured there before, if anything was.

    settings: the seed, and the options of every request. Raises OutcomesError, naming what differs.
    """
    before = _read(folder / _FILE)
    if before.get("problems", _hash(problems)) != _hash(problems):
        raise OutcomesError(_OTHER_PROBLEMS.format(folder=folder, problems=problems))
    for name, known in before["members"].items():
        for key, value in settings.items():
            if known.get(key, value) != value:
                raise OutcomesError(
                    f"{folder} holds outcomes of {name} with another {key} ({known[key]}, now {value}); use another --out"
                )


def keep_settings(folder: Path, problems: Path, members: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes down what the members are measured with, or checks it against what they were measured with before.

    members: per name its checkpoint, the seed, the options of every request, and under `rollouts` what is kept of each
    sample, where anything is.

    Raises OutcomesError, naming what differs.
    """
    now: dict[str, Any] = {
        "problems": _hash(problems),
        "members": {name: dict(settings) for name, settings in members.items()},
    }
    path = folder / _FILE
    before = _read(path)
    if before.get("problems", now["problems"]) != now["problems"]:
        raise OutcomesError(_OTHER_PROBLEMS.format(folder=folder, problems=problems))
    for name, settings in now["members"].items():
        known = before["members"].get(name, settings)
        if known.get(_ROLLOUTS) != settings.get(_ROLLOUTS):
            raise OutcomesError(
                f"{folder} holds outcomes of {name} that were drawn {_FLAGS[known.get(_ROLLOUTS)]}, "
                f"now it is {_FLAGS[settings.get(_ROLLOUTS)]}; use another --out, or --label"
            )
        for key, value in known.items():
            if settings.get(key) != value:
                raise OutcomesError(
                    f"{folder} holds outcomes of {name} with another {key} ({value}, now {settings.get(key)}); "
                    "use another --out, or --label"
                )
    whole = {"problems": now["problems"], "members": {**before["members"], **now["members"]}}
    with replace_whole(path) as part:
        part.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


def read_settings(folder: Path) -> dict[str, Any]:
    """What `keep_settings` wrote: `problems`, a hash of their file, and `members`. Raises OutcomesError."""
    return _read(folder / _FILE)


def _hash(problems: Path) -> str:
    return hashlib.sha256(problems.read_bytes()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {"members": {}}
    except (OSError, ValueError) as error:
        raise OutcomesError(f"{path} cannot be read: {error}") from error
