"""The languages that programs are written in.

Python runs in a fork of a warm interpreter. Any other language is compiled first, by tools that
`sandbox/toolchain.py` finds, to one static program; what a further one needs is a toolchain and a line here.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """labels: what its code blocks are called. kinds: of tests that can be run. compiled: to a program of its own."""

    labels: frozenset[str]
    kinds: frozenset[str]
    compiled: bool


LANGUAGES = {
    "python": Language(
        labels=frozenset({"python", "py", "python3", "py3", "pypy", "pypy3"}),
        kinds=frozenset({"stdio", "call", "code"}),
        compiled=False,
    ),
    "cpp": Language(
        labels=frozenset({"cpp", "c++", "cc", "cxx", "c++17", "c++20", "cpp17", "cpp20"}),
        kinds=frozenset({"stdio"}),
        compiled=True,
    ),
}
