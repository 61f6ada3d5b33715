"""Typed access to parsed JSON: every refusal names the field and what to write instead."""

import difflib
import math
from typing import Any, NoReturn

from alpharay.judge.compare import Comparison
from alpharay.judge.errors import ProblemError

# Names travel to the sandbox in one message, which is bounded.
LONGEST_NAME = 200


class Fields:
    """Typed access to one JSON object; every refusal names the field.

    notes: whether it may have further fields (a source, a reference solution). One that looks like a known field
    misspelled is refused even so.
    """

    def __init__(self, value: object, where: str, known: str, *, notes: bool = False) -> None:
        if not isinstance(value, dict):
            wrong(where, "an object", value)
        self.values: dict[str, Any] = value
        self._prefix = "" if where == "the problem" else f"{where}."
        names = known.split()
        for name in value:
            if name in names:
                continue  # before anything is compared: there may be very many cases
            # Cut: what compares words takes seconds for one of megabytes.
            near = difflib.get_close_matches(name[:LONGEST_NAME], names, n=1, cutoff=0.75)
            if near or not notes:
                raise ProblemError(
                    f"{self._prefix}{name[:LONGEST_NAME]} is not known; known are {', '.join(names)}"
                )

    def required(self, name: str) -> Any:
        if name not in self.values:
            raise ProblemError(f"{self._prefix}{name} is missing")
        return self.values[name]

    def text(self, name: str, default: str | None = None) -> str:
        value = self.required(name) if default is None else self.values.get(name, default)
        if not isinstance(value, str):
            wrong(f"{self._prefix}{name}", "a string", value)
        return value

    def name(self, name: str) -> str:
        value = self.text(name)
        if len(value) > LONGEST_NAME or not all(part.isidentifier() for part in value.split(".")):
            raise ProblemError(
                f"{self._prefix}{name} must be a function's name of at most {LONGEST_NAME} characters, "
                f"got {short(value)}"
            )
        return value

    def number(self, name: str) -> float | None:
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            wrong(f"{self._prefix}{name}", "a number", value)
        try:
            return float(value)
        except OverflowError:
            raise ProblemError(f"{self._prefix}{name} is too large a number") from None

    def integer(self, name: str) -> int | None:
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            wrong(f"{self._prefix}{name}", "an integer", value)
        return value

    def boolean(self, name: str, *, default: bool) -> bool:
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            wrong(f"{self._prefix}{name}", "true or false", value)
        return value

    def preamble(self) -> str:
        value = self.text("preamble", "")
        if "\0" in value:
            raise ProblemError(f"{self._prefix}preamble holds a null character, which no program may")
        return value

    def tolerance(self, name: str) -> float | None:
        value = self.number(name)
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise ProblemError(f"{self._prefix}{name} must be a finite number >= 0, got {value}")
        return value

    def comparison(self) -> Comparison:
        return Comparison(
            case_sensitive=self.boolean("case_sensitive", default=True),
            space_change_sensitive=self.boolean("space_change_sensitive", default=False),
            float_absolute_tolerance=self.tolerance("float_absolute_tolerance"),
            float_relative_tolerance=self.tolerance("float_relative_tolerance"),
            numeric_lines=self.boolean("numeric_lines", default=False),
        )

    def cases(self) -> list[tuple[Any, str]]:
        value = self.required("cases")
        if not isinstance(value, list):
            wrong(f"{self._prefix}cases", "a list", value)
        if not value:
            raise ProblemError(f"{self._prefix}cases is empty; give at least one case")
        return [(case, f"{self._prefix}cases[{index}]") for index, case in enumerate(value)]


def wrong(field: str, wanted: str, value: object) -> NoReturn:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    raise ProblemError(f"{field} must be {wanted}, got {names.get(type(value), short(value))}")


def short(value: object) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**20 else "a very large number"
    return text if len(text) <= 60 else text[:57] + "..."
