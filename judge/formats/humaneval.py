"""HumanEval, and HumanEval+ in either of its forms: with a test program, or with inputs and a reference."""

from __future__ import annotations

from typing import Any

from alpharay.judge.formats import evalplus
from alpharay.judge.formats.row import identity, text

Json = dict[str, Any]


def convert(row: Json) -> Json:
    """Raises Unusable."""
    entry_point, start = text(row, "entry_point"), text(row, "prompt")
    if evalplus.has_inputs(row):
        tests = evalplus.tests(row, entry_point, start + text(row, "canonical_solution"), list)
    else:
        tests = {"kind": "code", "entry_point": entry_point, "code": text(row, "test")}
    return {
        "id": identity(row, "task_id"),
        "prompt": "Complete this Python function. Answer with the whole function, imports included, in one code "
        f"block.\n\n```python\n{start.rstrip()}\n```\n",
        # Its harness runs the prompt before the answer, which may be the body alone, or leave out the prompt's imports.
        "tests": {**tests, "preamble": start},
    }
