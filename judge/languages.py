"""The languages that programs are written in.

Python runs in a fork of a warm interpreter. Any other language is compiled first, by tools that
`sandbox/toolchains/` finds: to a static program, or to what the language's runtime runs. What a further one needs is a
row here, a toolchain there, its steps in `compile/compiling.py`, and programs for its trial in `compile/trial.py`.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Startup:
    """What a runtime takes before a program's first line: a run has it beside its limits. CPU seconds and MiB."""

    cpu_s: float = 0.0
    memory_mb: int = 0


NO_STARTUP = Startup()


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """labels: what its code blocks are called. near: what blocks are called that hold it now and then.
    kinds: of tests that can be run. compiled: before it runs. startup: of its runtime.
    judges: checkers and interactors may be written in it. one_number: 1 and 1.0 are the same value in it.
    """

    labels: re.Pattern[str]
    near: re.Pattern[str]
    kinds: frozenset[str]
    compiled: bool = True
    startup: Startup = NO_STARTUP
    judges: bool = False
    one_number: bool = False


NOTHING = re.compile(r"(?!)")
STDIO, CALLED = frozenset({"stdio"}), frozenset({"stdio", "call"})
LANGUAGES = {
    "python": Language(
        # By name, with a version (python3.11, pypy3-64), and as a file (main.py).
        labels=re.compile(r"(?:[ci]?python|py|pypy)[-_]?(?:3(?:\.?\d+)*)?(?:[-_]64)?|.*\.py3?"),
        near=re.compile(r"(?:python|py|pypy)[-_]?2(?:\.?\d+)*"),
        kinds=frozenset({"stdio", "call", "code"}),
        compiled=False,
        judges=True,
    ),
    "cpp": Language(
        labels=re.compile(
            r"(?:c\+\+|cpp|cxx|cc|g\+\+|gnu\+\+|clang\+\+)[-_]?(?:\d[\da-z])?|.*\.(?:cpp|cxx|cc|c\+\+)"
        ),
        # Most of C is C++ too; headers hold whole programs at times.
        near=re.compile(r"(?:c|gnu)(?:\d[\da-z])?|h|hh|hpp|hxx|h\+\+|.*\.(?:c|h|hpp)"),
        kinds=STDIO,
        judges=True,
    ),
    "rust": Language(
        labels=re.compile(r"(?:rust|rs)[-_]?(?:20\d\d|1\.\d+(?:\.\d+)?)?|.*\.rs"), near=NOTHING, kinds=STDIO
    ),
    "go": Language(
        labels=re.compile(r"(?:golang|go)[-_]?(?:1(?:\.\d+)*)?|.*\.go"), near=NOTHING, kinds=STDIO
    ),
    "java": Language(
        labels=re.compile(r"(?:java|openjdk|jdk)[-_]?\d*|.*\.java"),
        near=NOTHING,
        kinds=STDIO,
        startup=Startup(cpu_s=0.3, memory_mb=128),
    ),
    "javascript": Language(
        labels=re.compile(
            r"(?:javascript|js|mjs|cjs|node|nodejs|node\.js|ecmascript|es)[-_]?\d*|.*\.[cm]?js"
        ),
        near=re.compile("jsx"),
        kinds=CALLED,
        startup=Startup(cpu_s=0.1, memory_mb=96),
        one_number=True,
    ),
    "typescript": Language(
        labels=re.compile(r"(?:typescript|ts|mts|cts)[-_]?\d*(?:\.\d+)*|.*\.[cm]?ts"),
        # Most of JavaScript is TypeScript too.
        near=re.compile(r"tsx|(?:javascript|js|mjs|cjs|node|nodejs)|.*\.[cm]?js"),
        kinds=CALLED,
        startup=Startup(cpu_s=0.1, memory_mb=96),
        one_number=True,
    ),
}
JUDGING = tuple(name for name, language in LANGUAGES.items() if language.judges)
