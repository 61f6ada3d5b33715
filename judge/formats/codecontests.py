"""CodeContests (DeepMind): public, private and generated tests of programs that read standard input."""

from __future__ import annotations

from typing import Any

from alpharay.judge.formats.graded import levels
from alpharay.judge.formats.row import ONE_BLOCK, PROGRAM, Unusable, limits, statement, text

Json = dict[str, Any]

_HIDDEN = ("private_tests", "generated_tests")


def convert(row: Json) -> Json:
    """Public tests have level 0, the others one by their inputs' sizes. Raises Unusable."""
    for name in ("input_file", "output_file"):
        if text(row, name, default=""):
            raise Unusable(
                f"its programs use a file instead of standard streams ({name})", str(row[name])[:60]
            )
    description = statement(row)
    public = _cases(row, "public_tests")
    hidden = [case for name in _HIDDEN for case in _cases(row, name)]
    cases = [{**case, "level": 0} for case in public]
    cases += [
        {**case, "level": level}
        for case, level in zip(hidden, levels([case["input"] for case in hidden]), strict=True)
    ]
    if not cases:
        raise Unusable("it has no tests (public_tests, private_tests, generated_tests)")
    return {
        "id": text(row, "name"),
        "prompt": f"{description}\n\n{PROGRAM} {ONE_BLOCK}\n",
        "tests": {"kind": "stdio", "cases": cases},
        **_limits(row),
    }


def _cases(row: Json, name: str) -> list[Json]:
    tests = row.get(name) or {}
    inputs, outputs = (tests.get("input"), tests.get("output")) if isinstance(tests, dict) else (None, None)
    inputs, outputs = inputs or [], outputs or []
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
        raise Unusable(f"{name} has not as many outputs as inputs")
    return [{"input": each, "output": output} for each, output in zip(inputs, outputs, strict=True)]


def _limits(row: Json) -> Json:
    """Seconds and nanoseconds apart, as protocol buffers have it; bytes."""
    duration, memory = row.get("time_limit"), row.get("memory_limit_bytes")
    seconds = 0.0
    if isinstance(duration, dict):
        seconds = (duration.get("seconds") or 0) + (duration.get("nanos") or 0) / 1e9
    megabytes = memory / (1 << 20) if isinstance(memory, int) else 0
    return limits(max(seconds, 0), max(megabytes, 0))
