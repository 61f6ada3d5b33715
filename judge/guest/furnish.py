"""Names that a function may use without importing them, as on the sites and in the harnesses that test functions.

LeetCode's starting code says `List[int]` and `Optional[TreeNode]` and imports nothing; LiveCodeBench's harness puts the
imports below before an answer.
"""

import sys
from types import CodeType, ModuleType

# As deep as LiveCodeBench's harness lets functions call themselves.
RECURSION = 50_000
# In the order of that harness: where two modules have one name, the later one's counts.
STARS = (
    "string re {more} collections heapq bisect copy math random {rarest} itertools functools operator io sys json "
    "builtins typing"
)
MORE, RAREST = "datetime", "statistics"
CLASSES = """
class ListNode:
    def __init__(self, val=0, next=None):
        self.val = val
        self.next = next


class TreeNode:
    def __init__(self, val=0, left=None, right=None):
        self.val = val
        self.left = left
        self.right = right
"""
_ready = [ModuleType("candidate")]


def imports(*, more: bool) -> str:
    """As program text. more: with the modules that only some programs get, since each makes every fork dearer."""
    names = STARS.format(more=MORE if more else "", rarest=RAREST if more else "").split()
    stars = [f"from {name} import *\n" for name in names]
    return "".join([*stars, *(f"import {name}\n" for name in names if name not in ("builtins", "typing"))])


def prepare(*, more: bool = False) -> None:
    """In the server: made once, since each child that uses it is the only one to do so."""
    _ready[:] = [ModuleType("candidate")]
    exec(compile(imports(more=more) + CLASSES, "names.py", "exec", dont_inherit=True), _ready[0].__dict__)  # noqa: S102


def module(entry_point: str) -> ModuleType:
    """One with those names, but for the one that the program itself is to define."""
    sys.setrecursionlimit(RECURSION)
    _ready[0].__dict__.pop(entry_point.partition(".")[0], None)
    return _ready[0]


def is_wanted(codes: list[CodeType]) -> bool:
    """Whether a program has the class that LeetCode asks for."""
    return any("Solution" in code.co_names for code in codes)
