"""The languages that programs are written in.

Python runs in a fork of a warm interpreter. Any other language is compiled first, by tools that
`sandbox/toolchain.py` finds, to one static program; what a further one needs is a toolchain and a line here.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """labels: what its code blocks are called. near: what blocks are called that hold it now and then.
    kinds: of tests that can be run. compiled: to a program of its own.
    """

    labels: re.Pattern[str]
    near: re.Pattern[str]
    kinds: frozenset[str]
    compiled: bool


LANGUAGES = {
    "python": Language(
        # By name, with a version (python3.11, pypy3-64), and as a file (main.py).
        labels=re.compile(r"(?:[ci]?python|py|pypy)[-_]?(?:3(?:\.?\d+)*)?(?:[-_]64)?|.*\.py3?"),
        near=re.compile(r"(?:python|py|pypy)[-_]?2(?:\.?\d+)*"),
        kinds=frozenset({"stdio", "call", "code"}),
        compiled=False,
    ),
    "cpp": Language(
        labels=re.compile(
            r"(?:c\+\+|cpp|cxx|cc|g\+\+|gnu\+\+|clang\+\+)[-_]?(?:\d[\da-z])?|.*\.(?:cpp|cxx|cc|c\+\+)"
        ),
        # Most of C is C++ too; headers hold whole programs at times.
        near=re.compile(r"(?:c|gnu)(?:\d[\da-z])?|h|hh|hpp|hxx|h\+\+|.*\.(?:c|h|hpp)"),
        kinds=frozenset({"stdio"}),
        compiled=True,
    ),
}
