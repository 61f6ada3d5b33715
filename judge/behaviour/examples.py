"""The examples in a prompt as tests: doctests, asserts, LeetCode's `Input: x = …`, and contests' sample blocks.

Nothing of the prompt is run: values are read as literals. What is not surely an example is left out, because a
wrong test does more harm than none. So are examples of one right answer among several.
"""

import ast
import builtins
import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from alpharay.judge.behaviour.answer_rules import AnswerRules, answer_rules
from alpharay.judge.behaviour.markup import plain
from alpharay.judge.behaviour.samples import samples
from alpharay.judge.behaviour.signature import signature
from alpharay.judge.errors import ProblemError
from alpharay.judge.problem import Tests, parse_tests

MOST = 20
LONGEST = 1 << 16

# Of results with a fraction, about whose precision nothing is said.
TOLERANCE = 1e-6
LONG_FRACTION = 6

Json = dict[str, Any]
Call = tuple[str, list[Any], dict[str, Any], Any]

# A prompt is anybody's text: possessive quantifiers (`*+`) keep every search linear in it.
DEFINED = re.compile(r"^[ \t]*+(?:async )?def (\w+)\(", re.MULTILINE)
_NAMED = re.compile(r"\b(?:function|method)\s++(?:called |named )?`?(\w++)`?\s*+(?:\(|`|that\b|which\b)")
_CALLED = re.compile(r"^[\s*>`-]*+(?:For example:?|Example:?|e\.g\.:?)?[\s`]*+(\w++)\(", re.IGNORECASE)
_ARROW = re.compile(r"`?\s*+(?:#\s*+)?(?:➞|→|=++>|-++>|==?|(?:should |must |will )?returns?\b:?)\s*+(.+)$")
_ASIDE = re.compile(r"(?<!\s)\s++(?:#|//|\(|because|since|as )")
_INPUT_LINE = re.compile(r"^[^\w\n]*+Input[^\w\n:]*+:[^\w\n]*+(\w++\s*+=.+)$")
_OUTPUT_LINE = re.compile(r"^[^\w\n]*+Output[^\w\n:]*+:[*_]*+\s*+(.+)$")
_FRACTION = re.compile(r"(?<![\w.])[+-]?\d*\.(\d+)(?:[eE][+-]?\d+)?(?![\w.])")
_ONE_NUMBER = re.compile(r"^\s*+[+-]?[\d.]++\s*+$")
_VERDICT = re.compile(r"^\s*+(?:yes|no|true|false|possible|impossible|none)\s*+$", re.IGNORECASE)
_ROUNDED = re.compile(
    r"\b(?:decimals?|digits? (?:after|behind)|places?|round(?:ed|ing)?|truncated?|formatted|%\.\d|\.\df)\b",
    re.IGNORECASE,
)


def examples(prompt: str) -> Tests | None:
    """Tests of kind `call` or `stdio`, at most 20 cases; None where the prompt has no example, or other answers are right too."""
    prompt = plain(prompt[:LONGEST])
    rules = answer_rules(prompt)
    if rules.interactive or rules.several:
        return None
    raw = _shown(prompt)
    return None if raw is None else _compared(raw, rules, prompt)


def shown(prompt: str) -> Tests | None:
    """The examples as they stand in the prompt, also where other answers than theirs are right."""
    raw = _shown(plain(prompt[:LONGEST]))
    return None if raw is None else parse_tests(raw)


def _compared(raw: Json, rules: AnswerRules, prompt: str) -> Tests | None:
    """The examples, compared as the statement asks; None where no comparison can."""
    outputs = [case["output"] for case in raw["cases"]]
    if rules.any_order and any(map(_has_order, outputs)):
        return None
    tests = dict(raw)
    decimals = max(map(_decimals, outputs))
    if rules.tolerance is not None:
        tests["float_tolerance"] = rules.tolerance
    elif decimals and rules.rough:
        return None
    elif decimals and raw["kind"] == "call":
        tests["float_tolerance"] = TOLERANCE
    elif decimals and not _ROUNDED.search(prompt):
        # Nothing says how many digits to print.
        tests["float_tolerance"] = TOLERANCE if decimals >= LONG_FRACTION else 0
    if rules.any_case and raw["kind"] == "stdio":
        tests["case_sensitive"] = False
    return parse_tests(tests)


def _has_order(output: Any) -> bool:
    """Whether something else comes of it in another order."""
    if isinstance(output, str):
        return len(output.split()) > 1 or not (_ONE_NUMBER.match(output) or _VERDICT.match(output))
    return isinstance(output, list | dict) and (len(output) > 1 or any(map(_has_order, output)))


def _decimals(output: Any) -> int:
    """The most digits after a decimal point."""
    if isinstance(output, str):
        return max((len(digits) for digits in _FRACTION.findall(output)), default=0)
    if isinstance(output, list | dict):
        return max(map(_decimals, output.values() if isinstance(output, dict) else output), default=0)
    return LONG_FRACTION if isinstance(output, float) else 0


def _shown(prompt: str) -> Json | None:
    defined = DEFINED.findall(prompt)
    calls = [*_doctests(prompt), *_asserts(prompt)] or [*_arrows(prompt, defined)] or [*_leetcode(prompt)]
    calls = [call for call in calls if call[0] in defined or not hasattr(builtins, call[0])]
    if calls:
        # Other functions are helpers of the examples, or other problems' examples.
        name = _entry(defined, calls)
        header = signature(prompt, name)
        if header is not None and not header.plain:
            return None  # its values are no JSON values, or it is a method that cannot be called alone
        cases = [
            {"args": args, "kwargs": kwargs, "output": output}
            for called, args, kwargs, output in calls
            if called == name and not (header is not None and header.returns_nothing and output is not None)
        ]
        return _valid({"kind": "call", "entry_point": name, "cases": cases[:MOST]})
    if any(_named_arguments(prompt)) or set(defined) - {"main", "solve", "solution"}:
        return None  # about a function, whose examples cannot be read
    pairs = [{"input": input_text, "output": output} for input_text, output in samples(prompt)[:MOST]]
    return _valid({"kind": "stdio", "cases": pairs})


def _valid(value: Json) -> Json | None:
    try:
        parse_tests(value)
    except ProblemError:
        return None
    return value


def _entry(defined: list[str], calls: list[Call]) -> str:
    """The function that the prompt defines, if it is called; else the one that is called most."""
    counts = Counter(name for name, *_ in calls)
    called = [name for name in defined if name in counts]
    return called[0] if called else counts.most_common(1)[0][0]


def _doctests(prompt: str) -> Iterator[Call]:
    lines = prompt.split("\n")
    index = 0
    while index < len(lines):
        bare = lines[index].strip()
        index += 1
        if not bare.startswith(">>> "):
            continue
        source = [bare[4:]]
        while index < len(lines) and lines[index].strip().startswith("... "):
            source.append(lines[index].strip()[4:])
            index += 1
        wanted: list[str] = []
        while (
            index < len(lines)
            and (line := lines[index].strip())
            and not line.startswith((">>>", "```", '"""', "'''"))
        ):
            wanted.append(line)
            index += 1
        call = literal_call("\n".join(source), " ".join(wanted))
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
            call = literal_call(ast.unparse(test.left), ast.unparse(test.comparators[0]))
        elif isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            call = literal_call(ast.unparse(test.operand), "False")
        else:
            call = literal_call(ast.unparse(test), "True") if isinstance(test, ast.Call) else None
        if call is not None:
            yield call


def _arrows(prompt: str, defined: list[str]) -> Iterator[Call]:
    """Lines such as `f(2) => 4`, `f(2) == 4` or "f(2) returns 4", of functions that the prompt defines."""
    for line in prompt.split("\n"):
        call_match = _CALLED.match(line)
        if call_match is None or call_match[1] not in defined:
            continue
        end = _closing(line, call_match.end() - 1)
        arrow = _ARROW.match(line, end)
        if arrow is None:
            continue
        wanted = arrow[1].strip().strip("`")
        # A full stop first: `16.` would be read as a number with a fraction.
        for text in (wanted.rstrip("."), wanted, _ASIDE.split(wanted)[0]):
            call = literal_call(line[call_match.start(1) : end], text)
            if call is not None:
                yield call
                break


def _closing(line: str, start: int) -> int:
    """Where the bracket that opens at `start` has been closed; strings may hold brackets."""
    depth, quote = 0, ""
    for index in range(start, len(line)):
        character = line[index]
        if quote:
            quote = "" if character == quote and line[index - 1] != "\\" else quote
        elif character in "'\"":
            quote = character
        else:
            depth += (character in "([{") - (character in ")]}")
            if depth == 0:
                return index + 1
    return len(line)


def _leetcode(prompt: str) -> Iterator[Call]:
    names = DEFINED.findall(prompt) or _NAMED.findall(prompt)
    if not names:
        return
    header = signature(prompt, names[0])
    for arguments, output in _named_arguments(prompt):
        call = literal_call(f"{names[0]}({arguments.strip(' `*')})", output.strip("`* "))
        if call is not None:  # the names are the prompt's, a candidate may call its arguments otherwise
            name, args, kwargs, value = call
            if header is not None and set(header.parameters) == set(kwargs) and not args:
                kwargs = {parameter: kwargs[parameter] for parameter in header.parameters}
            yield name, [*args, *kwargs.values()], {}, value


def _named_arguments(prompt: str) -> Iterator[tuple[str, str]]:
    """`Input: x = …` and the `Output: …` that follows."""
    lines = [line for line in prompt.split("\n") if line.strip()]
    for line, after in pairwise(lines):
        inputs, outputs = _INPUT_LINE.match(line), _OUTPUT_LINE.match(after)
        if inputs and outputs:
            yield inputs[1], outputs[1]


def literal_call(source: str, wanted: str) -> Call | None:
    """The call of one function with literal arguments and its literal value, all of which JSON can hold."""
    try:
        node = ast.parse(source.strip(), mode="eval").body
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            return None
        # A list in place of a tuple can be an error in a right program: it has no hash, and adds to no tuple.
        args = [_plain(ast.literal_eval(arg), tuples=False) for arg in node.args]
        kwargs = {
            str(each.arg): _plain(ast.literal_eval(each.value), tuples=False)
            for each in node.keywords
            if each.arg
        }
        return node.func.id, args, kwargs, _plain(_value(wanted))
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None


def _value(text: str) -> Any:
    """A literal of Python, or of JSON (`true`, `null`), as problem statements write them."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return json.loads(text)


def _plain(value: Any, *, tuples: bool = True) -> Any:
    """Tuples as lists, which is how answers are compared. Raises TypeError for sets and bytes, ValueError for an integer
    of more digits than Python writes.
    """
    if isinstance(value, list) or (tuples and isinstance(value, tuple)):
        return [_plain(item, tuples=tuples) for item in value]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("JSON has no such keys")
        return {key: _plain(item, tuples=tuples) for key, item in value.items()}
    if isinstance(value, int):
        str(value)  # hexadecimal ones are read however long they are, and could then not be sent
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError("not a JSON value")
