"""What a folder of outcomes was measured with, so that a later run cannot mix in something else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alpharay.serve.errors import OutcomesError

_FILE = "eval.json"


def keep_settings(folder: Path, problems: Path, members: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes down what the members are measured with, or checks it against what they were measured with before.

    members: per name its checkpoint, the seed, and the options of every request.

    Raises OutcomesError, naming what differs.
    """
    now: dict[str, Any] = {
        "problems": hashlib.sha256(problems.read_bytes()).hexdigest(),
        "members": {name: dict(settings) for name, settings in members.items()},
    }
    path = folder / _FILE
    try:
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"members": {}}
    except (OSError, ValueError) as error:
        raise OutcomesError(f"{path} cannot be read: {error}") from error
    if before.get("problems", now["problems"]) != now["problems"]:
        raise OutcomesError(
            f"{folder} holds outcomes of other problems than those in {problems}; use another --out"
        )
    for name, settings in now["members"].items():
        for key, value in before["members"].get(name, settings).items():
            if settings.get(key) != value:
                raise OutcomesError(
                    f"{folder} holds outcomes of {name} with another {key} ({value}, now {settings.get(key)}); "
                    "use another --out, or --label"
                )
    part = path.with_suffix(".tmp")
    whole = {"problems": now["problems"], "members": {**before["members"], **now["members"]}}
    part.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    part.replace(path)
