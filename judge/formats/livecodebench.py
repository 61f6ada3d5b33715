"""LiveCodeBench: public and private cases, on standard input or as calls of one function."""

from __future__ import annotations

import base64
import binascii
import io
import json
import pickle
import zlib
from typing import Any

from alpharay.judge.formats.row import ONE_BLOCK, PROGRAM, Unusable, decoded, identity, text
from alpharay.judge.guest import furnish

Json = dict[str, Any]

# Of one problem's private cases, unpacked.
_MOST_BYTES = 1 << 30


def convert(row: Json) -> Json:
    """The levels of its cases are 0 for public and 1 for private ones. Raises Unusable."""
    cases = [(0, case) for case in _cases(row.get("public_test_cases"), "public_test_cases")]
    cases += [(1, case) for case in _cases(row.get("private_test_cases"), "private_test_cases")]
    if not cases:
        raise Unusable("it has no test cases")
    kinds = {case.get("testtype", "stdin") for _, case in cases}
    start = text(row, "starter_code", default="").rstrip()
    if kinds == {"stdin"}:
        tests: Json = {
            "kind": "stdio",
            "cases": [
                {"input": text(case, "input"), "output": text(case, "output"), "level": level}
                for level, case in cases
            ],
            # As its harness: lines of numbers by their exact values.
            "float_tolerance": 0,
            "numeric_lines": True,
            # Functions find these without it.
            "preamble": f"{furnish.imports(more=True)}sys.setrecursionlimit({furnish.RECURSION})\n",
        }
        instruction = PROGRAM
    elif kinds == {"functional"}:
        name = (decoded(row.get("metadata") or {}, "metadata") or {}).get("func_name")
        if not isinstance(name, str):
            raise Unusable("metadata names no function (func_name)")
        tests = {
            "kind": "call",
            "entry_point": name,
            "cases": [_call(level, case) for level, case in cases],
            "strict_types": False,
        }
        instruction = (
            "Complete this Python class." if "class " in start else f"Write a Python function `{name}`."
        )
    else:
        raise Unusable(
            f"its cases are of the kinds {', '.join(map(str, sorted(kinds)))}, not of one known kind"
        )
    prompt = f"{text(row, 'question_content').strip()}\n\n{instruction} {ONE_BLOCK}"
    if start:
        prompt += f"\n\n```python\n{start}\n```"
    return {"id": identity(row, "question_id"), "prompt": f"{prompt}\n", "tests": tests}


def _call(level: int, case: Json) -> Json:
    """A case of a function: one JSON value a line for its arguments."""
    args = [decoded(line, "a case's input") for line in text(case, "input").split("\n") if line.strip()]
    return {"args": args, "output": decoded(text(case, "output"), "a case's output"), "level": level}


def _cases(value: Any, name: str) -> list[Json]:
    if value is None or value == "":
        return []
    if isinstance(value, str) and not value.lstrip().startswith("["):
        value = _unpacked(value, name)
    cases = decoded(value, name)
    if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
        raise Unusable(f"{name} is not a list of cases")
    return cases


def _unpacked(packed: str, name: str) -> str:
    """Private cases are published as base64 of zlib of a pickled string of JSON.

    A pickle can run anything; this reader knows no classes, so that a string is all that it can make.
    """
    try:
        unzip = zlib.decompressobj()
        data = unzip.decompress(base64.b64decode(packed, validate=True), _MOST_BYTES)
        if unzip.unconsumed_tail:
            raise Unusable(f"{name} is larger than {_MOST_BYTES >> 20} MiB")
        content = _OnlyPlain(io.BytesIO(data)).load() if not data.lstrip().startswith(b"[") else data.decode()
    except (
        binascii.Error,
        zlib.error,
        pickle.UnpicklingError,
        EOFError,
        UnicodeDecodeError,
        ValueError,
    ) as error:
        if isinstance(error, Unusable):
            raise
        raise Unusable(f"{name} cannot be unpacked: {error}") from error
    if not isinstance(content, str):
        content = json.dumps(content)
    return content


class _OnlyPlain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")
