"""APPS and TACO: `input_output`, on standard input or (with `fn_name`) as calls of one function."""

from __future__ import annotations

import re
from typing import Any

from alpharay.judge.formats.row import ONE_BLOCK, PROGRAM, Unusable, decoded, identity, limits, text

Json = dict[str, Any]

_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)")
# What APPS's harness makes of outputs of numbers: np.allclose, else equal once rounded to three decimals. Integers stay
# exact here: by np.allclose a count of a million could be off by ten.
_NUMBERS = {"float_absolute_tolerance": 5e-4, "float_relative_tolerance": 1e-5, "numeric_lines": True}


def convert(row: Json) -> Json:
    """Raises Unusable."""
    examples = decoded(row.get("input_output") or {}, "input_output")
    if not isinstance(examples, dict) or not examples.get("inputs"):
        raise Unusable("it has no tests (input_output)")
    inputs, outputs = examples["inputs"], examples.get("outputs")
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
        raise Unusable("input_output has not as many outputs as inputs")
    start, name = text(row, "starter_code", default="").rstrip(), examples.get("fn_name")
    if name:
        tests = {
            "kind": "call",
            "entry_point": name,
            "cases": _calls(inputs, outputs),
            "strict_types": False,
        }
        instruction = f"Write a Python function `{name}`." if not start else "Complete this Python code."
    else:
        tests = {
            "kind": "stdio",
            "cases": [
                {"input": _lines(a), "output": _lines(b)} for a, b in zip(inputs, outputs, strict=True)
            ],
            **_NUMBERS,
        }
        instruction = PROGRAM
    prompt = f"{text(row, 'question').strip()}\n\n{instruction} {ONE_BLOCK}"
    if start:
        prompt += f"\n\n```python\n{start}\n```"
    return {
        "id": identity(row, "problem_id", "id", "name"),
        "prompt": f"{prompt}\n",
        "tests": tests,
        **limits(_number(row.get("time_limit")), _number(row.get("memory_limit"))),
    }


def _calls(inputs: list[Any], outputs: list[Any]) -> list[Json]:
    """Some files wrap each expected value in a list of its own: then all of them are such lists."""
    if all(isinstance(value, list) and len(value) == 1 for value in outputs):
        outputs = [value[0] for value in outputs]
    cases = []
    for args, output in zip(inputs, outputs, strict=True):
        if not isinstance(args, list):
            raise Unusable("a call's input is not a list of arguments")
        if any(
            isinstance(value, dict) and value and all(map(_is_integer, value)) for value in (*args, output)
        ):
            raise Unusable("its calls take or give dictionaries with integer keys, which JSON cannot hold")
        cases.append({"args": args, "output": output})
    return cases


def _is_integer(key: str) -> bool:
    return key.removeprefix("-").isdecimal()


def _lines(value: Any) -> str:
    """Text as it is; a list is one line each."""
    if isinstance(value, list):
        return "\n".join(map(str, value))
    return value if isinstance(value, str) else str(value)


def _number(value: Any) -> float | None:
    """2, "2 seconds", "256.0 megabytes": the number; None where there is none."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    match = _NUMBER.match(value) if isinstance(value, str) else None
    return float(match[1]) if match else None
