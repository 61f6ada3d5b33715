"""The signature of a function that a prompt defines: whether JSON values can be its arguments and its result."""

import re
from dataclasses import dataclass

_WORD = re.compile(r"\w+")
_CLASS = re.compile(r"^class[ \t]++(\w++)", re.MULTILINE)
_CONTAINERS = frozenset(
    [
        "List",
        "list",
        "Dict",
        "dict",
        "Optional",
        "Union",
        "Any",
        "Literal",
        "Sequence",
        "Number",
        "Final",
        "Annotated",
        "Mapping",
        "typing",
        "t",
    ]
)
_VALUES = frozenset(["int", "float", "str", "bool", "None", "NoneType", "object"])
# What they give may be no list; what they take may be one.
_OF_ARGUMENTS = frozenset(["Iterable", "Collection", "MutableSequence", "MutableMapping"])
_OF_RESULTS = frozenset(["Tuple", "tuple"])
LONGEST = 2000


@dataclass(frozen=True, slots=True)
class Signature:
    """plain: all of its annotations are of values that JSON has, and it can be called by its name alone."""

    parameters: tuple[str, ...]
    plain: bool
    returns_nothing: bool


def signature(prompt: str, name: str) -> Signature | None:
    """None where the prompt does not define it."""
    start = re.search(rf"^([ \t]*+)(?:async )?def {re.escape(name)}\(", prompt, re.MULTILINE)
    if start is None:
        return None
    end = _closing(prompt, start.end() - 1)
    tail = re.match(r"\s*+->([^:\n]{0,300}):", prompt[end : end + LONGEST])
    parameters, annotations = _parameters(prompt[start.end() : end - 1])
    result = "" if tail is None else tail[1]
    allowed = _CONTAINERS | _VALUES
    plain = (
        all(_is_of(each, allowed | _OF_ARGUMENTS) for each in annotations)
        and _is_of(result, allowed | _OF_RESULTS)
        and _is_alone(prompt, start.start(), bool(start[1]), parameters)
    )
    return Signature(tuple(each for each in parameters if each != "self"), plain, result.strip() == "None")


def _is_of(annotation: str, allowed: frozenset[str]) -> bool:
    return all(
        word in allowed or word.isdigit() for word in _WORD.findall(annotation.split("=", maxsplit=1)[0])
    )


def _is_alone(prompt: str, start: int, indented: bool, parameters: list[str]) -> bool:
    """A method of LeetCode's Solution is called as a function is; one of another class needs an object."""
    if not indented or "self" not in parameters:
        return True
    classes = [class_match[1] for class_match in _CLASS.finditer(prompt, 0, start)]
    return not classes or classes[-1] == "Solution"


def _parameters(text: str) -> tuple[list[str], list[str]]:
    """Their names and annotations, split at the commas outside of brackets."""
    parts, depth, last = [], 0, 0
    for index, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append(text[last:index])
            last = index + 1
    parts.append(text[last:])
    names, annotations = [], []
    for part in parts:
        name, _, annotation = part.partition(":")
        name = name.split("=")[0].strip()
        if name and name not in ("/", "*"):
            names.append(name.lstrip("*"))
            annotations.append(annotation)
    return names, annotations


def _closing(text: str, start: int) -> int:
    depth = 0
    for index in range(start, min(len(text), start + LONGEST)):
        depth += (text[index] in "([{") - (text[index] in ")]}")
        if depth == 0:
            return index + 1
    return min(len(text), start + LONGEST)
