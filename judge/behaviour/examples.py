"""The examples in a prompt as tests: doctests, asserts, LeetCode's `Input: x = …`, and contests' sample blocks.

Nothing of the prompt is run: values are read as literals. What is not surely an example is left out, because a
wrong test does more harm than none.
"""

import ast
import builtins
import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from alpharay.judge.behaviour.samples import samples
from alpharay.judge.errors import ProblemError
from alpharay.judge.problem import Tests, parse_tests

MOST = 20
LONGEST = 1 << 16

Call = tuple[str, list[Any], dict[str, Any], Any]

# A prompt is anybody's text: possessive quantifiers (`*+`) keep every search linear in it.
_DEFINED = re.compile(r"^[ \t]*+(?:async )?def (\w+)\(", re.MULTILINE)
_NAMED = re.compile(r"\b(?:function|method)\s++(?:called |named )?`?(\w++)`?\s*+(?:\(|`|that\b|which\b)")
_CALLED = re.compile(r"^[\s*>`-]*+(?:For example:?|Example:?|e\.g\.:?)?[\s`]*+(\w++)\(", re.IGNORECASE)
_ARROW = re.compile(r"`?\s*+(?:#\s*+)?(?:➞|→|=++>|-++>|==?|(?:should |must |will )?returns?\b:?)\s*+(.+)$")
_ASIDE = re.compile(r"(?<!\s)\s++(?:#|//|\(|because|since|as )")
_GIVEN = re.compile(r"^[^\w\n]*+Input[^\w\n:]*+:[^\w\n]*+(\w++\s*+=.+)$")
_GIVES = re.compile(r"^[^\w\n]*+Output[^\w\n:]*+:[*_]*+\s*+(.+)$")


def examples(prompt: str) -> Tests | None:
    """Tests of kind `call` or `stdio`, at most 20 cases; None where the prompt has no example."""
    prompt = prompt[:LONGEST].replace("\r\n", "\n")
    defined = _DEFINED.findall(prompt)
    calls = [*_doctests(prompt), *_asserts(prompt)] or [*_arrows(prompt, defined)] or [*_leetcode(prompt)]
    calls = [call for call in calls if call[0] in defined or not hasattr(builtins, call[0])]
    if calls:
        # Other functions are helpers of the examples, or other problems' examples.
        name = _entry(defined, calls)
        cases = [
            {"args": args, "kwargs": kwargs, "output": output}
            for called, args, kwargs, output in calls
            if called == name
        ]
        found = _tests({"kind": "call", "entry_point": name, "cases": cases[:MOST]})
        if found is not None:
            return found
    if any(_named_arguments(prompt)) or set(defined) - {"main", "solve", "solution"}:
        return None  # about a function, whose examples cannot be read
    pairs = [{"input": given, "output": output} for given, output in samples(prompt)[:MOST]]
    return _tests({"kind": "stdio", "cases": pairs}) if pairs else None


def _tests(value: dict[str, Any]) -> Tests | None:
    try:
        return parse_tests(value)
    except ProblemError:
        return None


def _entry(defined: list[str], calls: list[Call]) -> str:
    """The function that the prompt defines, if it is called; else the one that is called most."""
    counts = Counter(name for name, *_ in calls)
    called = [name for name in defined if name in counts]
    return called[0] if called else counts.most_common(1)[0][0]


def _doctests(prompt: str) -> Iterator[Call]:
    lines = prompt.split("\n")
    place = 0
    while place < len(lines):
        bare = lines[place].strip()
        place += 1
        if not bare.startswith(">>> "):
            continue
        source = [bare[4:]]
        while place < len(lines) and lines[place].strip().startswith("... "):
            source.append(lines[place].strip()[4:])
            place += 1
        wanted: list[str] = []
        while (
            place < len(lines)
            and (line := lines[place].strip())
            and not line.startswith((">>>", "```", '"""', "'''"))
        ):
            wanted.append(line)
            place += 1
        call = _call("\n".join(source), " ".join(wanted))
        if call is not None:
            yield call


def _asserts(prompt: str) -> Iterator[Call]:
    for line in prompt.split("\n"):
        bare = line.strip()
        if not bare.startswith("assert "):
            continue
        try:
            statement = ast.parse(bare).body[0]
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        test = statement.test if isinstance(statement, ast.Assert) else None
        if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq):
            call = _call(ast.unparse(test.left), ast.unparse(test.comparators[0]))
        elif isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            call = _call(ast.unparse(test.operand), "False")
        else:
            call = _call(ast.unparse(test), "True") if isinstance(test, ast.Call) else None
        if call is not None:
            yield call


def _arrows(prompt: str, defined: list[str]) -> Iterator[Call]:
    """Lines such as `f(2) => 4`, `f(2) == 4` or "f(2) returns 4", of functions that the prompt defines."""
    for line in prompt.split("\n"):
        found = _CALLED.match(line)
        if found is None or found[1] not in defined:
            continue
        end = _closing(line, found.end() - 1)
        arrow = _ARROW.match(line, end)
        if arrow is None:
            continue
        wanted = arrow[1].strip().strip("`")
        # A full stop first: `16.` would be read as a number with a fraction.
        for text in (wanted.rstrip("."), wanted, _ASIDE.split(wanted)[0]):
            call = _call(line[found.start(1) : end], text)
            if call is not None:
                yield call
                break


def _closing(line: str, start: int) -> int:
    """Where the bracket that opens at `start` has been closed; strings may hold brackets."""
    depth, quote = 0, ""
    for place in range(start, len(line)):
        character = line[place]
        if quote:
            quote = "" if character == quote and line[place - 1] != "\\" else quote
        elif character in "'\"":
            quote = character
        else:
            depth += (character in "([{") - (character in ")]}")
            if depth == 0:
                return place + 1
    return len(line)


def _leetcode(prompt: str) -> Iterator[Call]:
    names = _DEFINED.findall(prompt) or _NAMED.findall(prompt)
    if not names:
        return
    for given, output in _named_arguments(prompt):
        call = _call(f"{names[0]}({given.strip(' `*')})", output.strip("`* "))
        if call is not None:  # the names are the prompt's, a candidate may call its arguments otherwise
            name, args, kwargs, value = call
            yield name, [*args, *kwargs.values()], {}, value


def _named_arguments(prompt: str) -> Iterator[tuple[str, str]]:
    """`Input: x = …` and the `Output: …` that follows."""
    lines = [line for line in prompt.split("\n") if line.strip()]
    for line, after in pairwise(lines):
        given, gives = _GIVEN.match(line), _GIVES.match(after)
        if given and gives:
            yield given[1], gives[1]


def _call(source: str, wanted: str) -> Call | None:
    """The call of one function with literal arguments and its literal value, all of which JSON can hold."""
    try:
        node = ast.parse(source.strip(), mode="eval").body
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            return None
        args = [_plain(ast.literal_eval(arg)) for arg in node.args]
        kwargs = {str(each.arg): _plain(ast.literal_eval(each.value)) for each in node.keywords if each.arg}
        return node.func.id, args, kwargs, _plain(_value(wanted))
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None


def _value(text: str) -> Any:
    """A literal of Python, or of JSON (`true`, `null`), as problem statements write them."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return json.loads(text)


def _plain(value: Any) -> Any:
    """Tuples as lists, which is how answers are compared. Raises TypeError for sets and bytes."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("JSON has no such keys")
        return {key: _plain(item) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError("not a JSON value")
