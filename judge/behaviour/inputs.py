"""Inputs without known answers, mutated from the tests' own, on which candidates may differ.

Mutation follows the types of values, as EvalPlus does, and the shape of a text: numbers that count what follows
stay right, signs and widths stay as they are, so that most of the results are still valid inputs.
"""

import json
import random
from collections.abc import Iterator
from typing import Any

from alpharay.judge.problem import CallCase, CallTests, CodeTests, StdioCase, StdioTests, Tests
from alpharay.judge.workspace.repo import RepoTests

# A grown input has this many times the length of the largest given one, in steps.
GROWTH = (8, 64)
LONGEST = 1 << 20
# Larger inputs than this many characters are shared as they are.
SMALL = 1 << 16
TRIES = 5


def shared_inputs(tests: Tests, count: int, seed: int, *, grown: bool = True) -> Tests | None:
    """Tests whose outputs are empty: the given inputs first, then mutated and, at the end, grown ones.

    count: inputs at most. None for test programs, which hold no inputs. The same seed gives the same inputs.
    """
    if isinstance(tests, CodeTests | RepoTests):
        return None
    dice = random.Random(seed)
    inputs: list[Any] = [_input(case) for case in tests.cases][:count]
    kept, seen = list(inputs), {json.dumps(each) for each in inputs}
    room = max(0, count - len(kept))
    small = [each for each in inputs if len(json.dumps(each)) <= SMALL]
    largest = max(small, key=lambda each: len(json.dumps(each)), default=None)
    larger = [_grown(largest, times) for times in GROWTH if grown and largest is not None]
    larger = [each for each in larger if each is not None]
    larger = larger[: room // 2]
    for _ in range(TRIES * room):
        if not small or len(kept) >= count - len(larger):
            break
        _add(kept, seen, _mutated(dice.choice(small), dice))
    for each in larger:
        _add(kept, seen, each)
    if isinstance(tests, StdioTests):
        return StdioTests(
            tuple(StdioCase(each, "") for each in kept), tests.float_tolerance, preamble=tests.preamble
        )
    cases = tuple(CallCase(tuple(args), kwargs, None) for args, kwargs in kept)
    return CallTests(tests.entry_point, cases, tests.float_tolerance, preamble=tests.preamble)


def _add(kept: list[Any], seen: set[str], value: Any) -> None:
    text = json.dumps(value)
    if text not in seen and len(text) <= LONGEST:
        seen.add(text)
        kept.append(value)


def _input(case: StdioCase | CallCase) -> Any:
    return case.input if isinstance(case, StdioCase) else [list(case.args), case.kwargs]


def _mutated(value: Any, dice: random.Random) -> Any:
    if isinstance(value, str):
        return _mutated_text(value, dice)
    args, kwargs = value
    keys = [*range(len(args)), *kwargs]
    if not keys:
        return value
    key = dice.choice(keys)
    if isinstance(key, int):
        return [[*args[:key], mutated_value(args[key], dice), *args[key + 1 :]], kwargs]
    return [args, {**kwargs, key: mutated_value(kwargs[key], dice)}]


def mutated_value(value: Any, dice: random.Random) -> Any:
    """A value of the same type: lists keep the type of their items, numbers their sign."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return _number(value, dice)
    if isinstance(value, float):
        return dice.choice([value + 1.0, value / 2, value * 2, -value if value < 0 else value + 0.5])
    if isinstance(value, str):
        return _word(value, dice)
    if isinstance(value, list):
        return _list(value, dice)
    if isinstance(value, dict) and value:
        key = dice.choice(sorted(value))
        return {**value, key: mutated_value(value[key], dice)}
    return value


def _number(value: int, dice: random.Random) -> int:
    lowest = 1 if value > 0 else 0
    near = [value - 1, value + 1, 2 * value, value // 2, dice.randint(lowest, max(lowest, 2 * abs(value), 9))]
    if value < 0:
        return min(-abs(dice.choice(near)), -1)
    return max(lowest, dice.choice(near))


def _word(text: str, dice: random.Random) -> str:
    """From the letters that it has: their kind is often the only thing that a statement promises."""
    if not text:
        return text
    letters, index = list(text), dice.randrange(len(text))
    change = dice.randrange(4)
    if change == 0:
        letters[index] = dice.choice(text)
    elif change == 1 and len(text) > 1:
        del letters[index]
    elif change == 2:
        letters.insert(index, dice.choice(text))
    else:
        dice.shuffle(letters)
    return "".join(letters)


def _list(value: list[Any], dice: random.Random) -> list[Any]:
    if not value:
        return value
    index, change = dice.randrange(len(value)), dice.randrange(5)
    if change == 0 and len(value) > 1:
        return value[:index] + value[index + 1 :]
    if change == 1:
        return [*value[:index], value[index], *value[index:]]
    if change == 2:
        return dice.sample(value, len(value))
    if change == 3:
        return [*value, mutated_value(value[index], dice)]
    return [*value[:index], mutated_value(value[index], dice), *value[index + 1 :]]


def _mutated_text(text: str, dice: random.Random) -> str:
    lines = [line.split(" ") for line in text.split("\n")]
    fixed = {(row, column) for row, column, _ in _counts(lines)}
    places = [
        (row, column)
        for row, line in enumerate(lines)
        for column, token in enumerate(line)
        if token and (row, column) not in fixed
    ]
    if not places:
        return text
    for row, column in dice.sample(places, min(len(places), dice.randint(1, 3))):
        lines[row][column] = _token(lines[row][column], dice)
    return "\n".join(" ".join(line) for line in lines)


def _token(token: str, dice: random.Random) -> str:
    try:
        return str(_number(int(token), dice))
    except ValueError:
        pass
    try:
        digits = len(token.partition(".")[2])
        return f"{mutated_value(float(token), dice):.{digits}f}"
    except ValueError:
        # A word keeps its length, which another number may count.
        letters = list(token)
        letters[dice.randrange(len(letters))] = dice.choice(token)
        return "".join(letters)


def _counts(lines: list[list[str]]) -> Iterator[tuple[int, int, int]]:
    """(row, column, row counted): numbers that equal the tokens of a later line, the letters of its word, or, as -1,
    the lines that are left.
    """
    last = len(lines)
    while last and lines[last - 1] == [""]:
        last -= 1
    for row, line in enumerate(lines[:last]):
        for column, token in enumerate(line):
            if not token.isascii() or not token.isdigit():
                continue
            number = int(token) if len(token) < 8 else -1
            counted = next(
                (
                    below
                    for below in range(row + 1, last)
                    if len(lines[below]) == number > 1
                    or (len(lines[below]) == 1 and len(lines[below][0]) == number > 1)
                ),
                None,
            )
            if counted is not None:
                yield row, column, counted
            elif number > 0 and number == last - row - 1:
                yield row, column, -1


def _grown(value: Any, times: int) -> Any:
    """The same with its longest part repeated; None where nothing in it can be longer."""
    if isinstance(value, str):
        return _grown_text(value, times)
    args, kwargs = value
    longest = max(
        (index for index, item in enumerate(args) if isinstance(item, list | str) and item),
        key=lambda index: len(args[index]),
        default=None,
    )
    if longest is None:
        return None
    return [[*args[:longest], args[longest] * times, *args[longest + 1 :]], kwargs]


def _grown_text(text: str, times: int) -> str | None:
    lines = [line.split(" ") for line in text.split("\n")]
    counts = list(_counts(lines))
    rows = {counted for _, _, counted in counts if counted >= 0}
    if not rows:
        return None
    for row in rows:
        lines[row] = [lines[row][0] * times] if len(lines[row]) == 1 else lines[row] * times
    for row, column, counted in counts:
        if counted >= 0:
            lines[row][column] = str(int(lines[row][column]) * times)
    return "\n".join(" ".join(line) for line in lines)
