"""A test program and a candidate in processes of their own: the candidate cannot see or patch its tests."""

import ast
import builtins
import contextlib
import os
import sys
from types import CodeType, ModuleType
from typing import Any

from alpharay.judge.inside import candidate
from alpharay.judge.inside.account import TESTS_FACTOR, Account
from alpharay.judge.inside.remote import Peer
from alpharay.judge.inside.together import BROKEN_TESTS, ERROR, PASSED, TESTS_NAME, describe, report
from alpharay.judge.inside.wire import Gone

HEARS, SAYS = 4, 5
NEEDS_TOGETHER, HEARD_MUCH = "N", "V"
# Names in a test program that mean: it looks into the candidate's own process.
INTROSPECTION = frozenset(
    [
        "asyncio",
        "await",
        "capsys",
        "eval",
        "exec",
        "gc",
        "getsource",
        "globals",
        "inspect",
        "locals",
        "mock",
        "monkeypatch",
        "patch",
        "redirect_stdout",
        "redirect_stderr",
        "stdin",
        "stdout",
        "stderr",
        "StringIO",
        "vars",
        "__annotations__",
        "__code__",
        "__dict__",
        "__doc__",
        "__globals__",
        "__name__",
        "__wrapped__",
    ]
)


def run_candidate(source: bytes, entry_point: str) -> int:
    """Loads the candidate, then answers the tests' questions until they end."""
    codes = candidate.compiled(source)
    if codes is None:
        os.write(candidate.REPORT, candidate.UNPARSABLE)
        return 1
    os.write(candidate.REPORT, candidate.READY)
    os.close(candidate.REPORT)
    space = candidate.candidate_module(codes, entry_point)
    peer = Peer(HEARS, SAYS, open_to_all=True)
    try:
        candidate.execute(codes, space)
    except SystemExit as error:
        os.write(2, f"the program exited ({candidate.exit_code(error)}) before it could be tested".encode())
        return 1
    except BaseException as error:
        candidate.print_error(error, keep=2)
        return 1

    def names(wanted: list[str], entry_point: str) -> list[Any]:
        """What the program calls by these names: a module by its own name, anything else itself."""
        found = []
        for name in wanted:
            value = space.get(name)
            kind = "module" if isinstance(value, ModuleType) else "value" if name in space else "missing"
            found.append((kind, value.__name__ if isinstance(value, ModuleType) else value))
        try:
            found.append(("value", candidate.find(space, entry_point) if entry_point else None))
        except (NameError, AttributeError):
            found.append(("missing", None))
        return found

    peer.names = names
    with contextlib.suppress(Gone):
        peer.serve()
    return 0


def run_tests(tests: bytes, entry_point: str, cpu_s: float) -> int:
    """Runs the test program against the candidate at the other end and reports how that went.

    cpu_s: CPU seconds after which the server ends this process.
    """
    os.write(candidate.REPORT, candidate.READY)
    try:
        tree = ast.parse(tests, TESTS_NAME)
        code = compile(tree, TESTS_NAME, "exec", dont_inherit=True)
    except BaseException as error:
        report(BROKEN_TESTS, f"{type(error).__name__}: {error}")
        return 1
    wanted = foreign_names(code)
    reason = why_together(tree, set(wanted))
    if reason:
        report(NEEDS_TOGETHER, reason)
        return 1
    space = candidate.main_module("tests")
    try:
        account = Account(cpu_s / TESTS_FACTOR, lambda: report(HEARD_MUCH, ""))
        peer = Peer(HEARS, SAYS, open_to_all=False, account=account)
        _introduce(space, peer.ask("names", wanted, entry_point), wanted, modules_used(tree))
        entry = space.pop(ENTRY, None)
        if entry is not None:
            space.setdefault(entry_point.split(".", maxsplit=1)[0], entry)
        exec(code, space)  # noqa: S102
        check = space.get("check")
        if entry_point and callable(check):
            if entry is None:
                raise NameError(f"the program defines no {entry_point!r}")
            check(entry)
    except Gone:
        report(ERROR, "the program ended before its tests did")
        return 1
    except BaseException as error:
        kind, said = describe(error)
        notes = getattr(error, "__notes__", None)
        report(*((ERROR, notes[0]) if notes else (kind, said)))
        return 1
    report(PASSED, "")
    return 0


ENTRY = " entry point"  # no identifier: it cannot clash with a name of the tests


def _introduce(space: dict[str, Any], found: Any, wanted: list[str], modules: set[str]) -> None:
    """Puts what the tests take from the candidate under its name; modules are our own."""
    *values, (entry_kind, entry) = found
    if entry_kind == "value" and entry is not None:
        space[ENTRY] = entry
    for name, (kind, value) in zip(wanted, values, strict=True):
        if name in sys.stdlib_module_names and (name in modules or kind == "module"):
            space[name] = __import__(name)
        elif kind == "value":
            space[name] = value


def foreign_names(code: CodeType) -> list[str]:
    """Names that the tests use but do not define and Python does not have."""
    used: set[str] = set()
    stack = [code]
    while stack:
        one = stack.pop()
        used |= set(one.co_names)
        stack += [constant for constant in one.co_consts if isinstance(constant, CodeType)]
    return sorted(name for name in used if not hasattr(builtins, name))


def modules_used(tree: ast.AST) -> set[str]:
    """Names of which the tests only ever take attributes, as one does of modules."""
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return {node.id for node in names} - {node.id for node in names if id(node) not in bare}


def why_together(tree: ast.AST, foreign: set[str]) -> str:
    """Why the tests need the candidate in their own process; empty: they do not.

    Judged by the tests alone, so that no candidate can bring it about.
    """
    defined = set()
    asks_class: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            name = node.id if isinstance(node, ast.Name) else node.attr
            if name in INTROSPECTION:
                return f"they use {name}"
        if isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith):
            return "they await it"
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            defined.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            defined |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            defined.add(node.id)
        asks_class |= _names_of_classes(node)
    for name in sorted((asks_class & foreign) - defined):
        return f"they need its class {name}"
    return ""


def _names_of_classes(node: ast.AST) -> set[str]:
    places: list[ast.expr] = []
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("isinstance", "issubclass")
    ):
        places = node.args[1:]
    elif isinstance(node, ast.ClassDef):
        places = node.bases
    elif isinstance(node, ast.ExceptHandler) and node.type is not None:
        places = [node.type]
    elif isinstance(node, ast.Raise) and node.exc is not None:
        places = [node.exc]
    return {each.id for place in places for each in ast.walk(place) if isinstance(each, ast.Name)}
