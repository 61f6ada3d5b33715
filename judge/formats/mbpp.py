"""MBPP and MBPP+: asserts that call the function by its name, or inputs and a reference."""

from __future__ import annotations

from functools import partial
from typing import Any

from alpharay.judge.formats import evalplus
from alpharay.judge.formats.mbpp_inputs import restored
from alpharay.judge.formats.row import Unusable, decoded, identity, text

Json = dict[str, Any]


def convert(row: Json) -> Json:
    """Raises Unusable."""
    statement = text(row, "prompt", "text").strip().strip('"').strip()
    if evalplus.has_inputs(row):
        entry_point = text(row, "entry_point")
        restore = partial(restored, identity(row, "task_id"))
        tests = evalplus.tests(row, entry_point, text(row, "canonical_solution"), restore)
        shown = [
            line for line in text(row, "assertion", default="").splitlines() if line.startswith("assert")
        ][:1]
    else:
        shown = _asserts(row)
        imports = decoded(row.get("test_imports") or [], "test_imports")
        if not isinstance(imports, list) or not all(isinstance(import_line, str) for import_line in imports):
            raise Unusable("test_imports is not a list of imports")
        before = [*imports, text(row, "test_setup_code", default="")]
        whole = text(row, "test", default="").strip() or "\n".join(shown)
        if not whole:
            raise Unusable("it has no tests")
        code = "\n".join([*filter(None, before), whole])
        tests = {"kind": "code", "code": f"{code}\n"}
        if imports:
            # Its harness runs them, the answer and the asserts as one program.
            tests["preamble"] = "".join(f"{import_line}\n" for import_line in imports)
    prompt = f"{statement}\n\nAnswer with a Python function in one code block."
    if shown:
        prompt += f" It must satisfy:\n\n```python\n{chr(10).join(shown)}\n```"
    return {
        "id": f"Mbpp/{identity(row, 'task_id').removeprefix('Mbpp/')}",
        "prompt": f"{prompt}\n",
        "tests": tests,
    }


def _asserts(row: Json) -> list[str]:
    asserts = decoded(row.get("test_list") or [], "test_list")
    if not isinstance(asserts, list) or not all(isinstance(line, str) for line in asserts):
        raise Unusable("test_list is not a list of asserts")
    return asserts
