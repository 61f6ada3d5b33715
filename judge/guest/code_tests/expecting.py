"""What a test program expects of what it tests, read from its text alone: no candidate can influence it."""

import ast
import builtins
from collections import Counter, OrderedDict, deque
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from types import CodeType

from alpharay.judge.guest.code_tests.values import words

# Names in a test program that mean: it looks into the candidate's own process.
INTROSPECTION = words(
    "asyncio await eval exec gc getsource globals inspect locals mock monkeypatch patch stdin vars __dict__ "
    "__globals__ tracemalloc settrace setprofile setrecursionlimit asdict astuple is_dataclass get_type_hints "
    "pickle environ putenv assertLogs assertNoLogs assertWarns assertWarnsRegex catch_warnings"
)
# By these the tests read what was printed.
PRINTED = words("capsys capfd redirect_stdout redirect_stderr stdout stderr")
DATA = (list, dict, set, str, int, float, tuple, bytes, frozenset, complex, bool, deque, Counter, OrderedDict, date, datetime,
        time, timedelta, Decimal, Fraction, range)  # fmt: skip
# Of a result that is data, its own attributes would show no more than that.
OF_DATA = frozenset(name for kind in DATA for name in dir(kind))
# The library that is not Python's own, as far as the tests use it on values of the candidate's.
FOREIGN = words("numpy pandas matplotlib scipy sklearn seaborn sympy torch tensorflow PIL networkx")


def foreign_names(code: CodeType) -> list[str]:
    """Names that the tests use and Python does not have."""
    used: set[str] = set()
    stack = [code]
    while stack:
        inner = stack.pop()
        used |= set(inner.co_names)
        stack += [constant for constant in inner.co_consts if isinstance(constant, CodeType)]
    return sorted(name for name in used if not hasattr(builtins, name))


def modules_used(tree: ast.AST) -> set[str]:
    """Names of which the tests only ever take attributes, as one does of modules."""
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return {node.id for node in names} - {node.id for node in names if id(node) not in bare}


def all_names(tree: ast.AST) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {part for alias in node.names for part in alias.name.split(".")}
            if isinstance(node, ast.ImportFrom) and node.module:
                names |= set(node.module.split("."))
    return frozenset(names)


def why_together(tree: ast.AST, names: frozenset[str], foreign: set[str]) -> str:
    """Why the tests need the candidate in their own process; empty: they do not."""
    for name in sorted(names & INTROSPECTION):
        return f"they use {name}"
    modules = {
        part.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for part in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    }
    for name in sorted(modules & FOREIGN):
        return f"they use {name}"
    own = defined(tree)
    imported = _imported(tree)
    for node in ast.walk(tree):
        # What one process has of it the other would not: `builtins.input = …`. What is printed goes its own way.
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id in imported
            and node.attr not in PRINTED
        ):
            return f"they change {node.value.id}.{node.attr}"
        if isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith):
            return "they await it"
        if isinstance(node, ast.ClassDef):
            bases = {each.id for base in node.bases for each in ast.walk(base) if isinstance(each, ast.Name)}
            for name in sorted(bases & foreign - own):
                return f"they derive from its class {name}"
    return ""


def _imported(tree: ast.AST) -> set[str]:
    """Names of modules."""
    return {
        alias.asname or alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }


def needs_files(tree: ast.AST) -> bool:
    """Whether the tests make temporary files, which the sandbox has no place for."""
    from_there = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "tempfile"
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Name) and function.id in from_there:
                return True
            owner = function.value if isinstance(function, ast.Attribute) else None
            if isinstance(owner, ast.Name) and owner.id == "tempfile":
                return True
    return False


def defined(tree: ast.AST) -> set[str]:
    """Names that the tests give a meaning of their own, anywhere but in an assignment to a global of the candidate's."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            names.add(node.id)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
    return names


def classes_to_share(tree: ast.Module) -> list[str]:
    """Classes of the tests that a candidate may use by name, such as `ListNode`: none that holds tests.

    Such a class would let it run its own tests, whose errors say what is expected, and read what they are made with.
    """
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    testing: set[str] = set()
    for node in classes:
        bases = {
            each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "") for each in node.bases
        }
        methods = {
            each.name for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        if (
            bases & testing
            or any("TestCase" in each for each in bases)
            or node.name.startswith("Test")
            or any(each.startswith("test") for each in methods)
        ):
            testing.add(node.name)
    return [node.name for node in classes if node.name not in testing]


def changed_globals(tree: ast.Module) -> set[str]:
    """Names of the candidate's that the tests give another value: they read them before, or call them global.

    One that the tests give a value first is their own, and what it is worth no business of the candidate's.
    """
    read: set[str] = set()
    own: set[str] = set()
    changed: set[str] = set()
    globals_named: set[str] = set()
    for statement in tree.body:
        globals_named |= {
            name for node in ast.walk(statement) if isinstance(node, ast.Global) for name in node.names
        }
        if isinstance(statement, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            own.add(statement.name)
            continue
        names = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
        stored = {node.id for node in names if isinstance(node.ctx, ast.Store)}
        loaded = {node.id for node in names if isinstance(node.ctx, ast.Load)}
        if isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
            loaded.add(statement.target.id)
        if isinstance(statement, ast.For | ast.While | ast.With | ast.Try | ast.If):
            loaded -= stored
        changed |= stored & (read | loaded) - own
        read |= loaded - own
        own |= stored - read
    return changed | (globals_named - own)


def reads_at_top(tree: ast.Module) -> set[str]:
    """Names that are read whenever the tests are run, outside of any function."""
    names: set[str] = set()
    stack: list[ast.AST] = list(tree.body)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            names.add(node.id)
        stack += ast.iter_child_nodes(node)
    return names


def objects_of(tree: ast.AST, entry_point: str) -> tuple[set[str], set[str]]:
    """Functions and classes of which the tests expect an object of a class of its own, and not data.

    Returns also those of them whose objects the tests themselves compare, and not only what their methods return.

    They do where they ask such an object for an attribute that data does not have, ask for its class, or, under a name that
    is written as classes are, compare two of them or put two together. A name alone shows nothing: a function's may be
    written like that, and what a candidate makes of it is the candidate's.
    """
    made: dict[str, set[str]] = {}
    alias = _parameter_of_check(tree)

    def makers(node: ast.AST | None, *, itself: bool = False) -> set[str]:
        """Whose results the value may be, or be reckoned from. itself: not what a method or attribute of one gave."""
        if itself and isinstance(node, ast.Attribute | ast.Subscript):
            return made.get(_attribute_name(node), set())
        if itself and isinstance(node, ast.BinOp):
            return makers(node.left, itself=True) | makers(node.right, itself=True)
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                name = entry_point if node.func.id == alias and entry_point else node.func.id
                return {name} | {
                    each for arg in node.args for each in makers(arg) if node.func.id in ("abs", "next")
                }
            return set() if itself else makers(node.func)
        if isinstance(node, ast.Attribute):
            own = made.get(_attribute_name(node), set())
            return own or makers(node.value)
        if isinstance(node, ast.Name):
            return made.get(node.id, set())
        if isinstance(node, ast.BinOp):
            return makers(node.left) | makers(node.right)
        if isinstance(node, ast.UnaryOp):
            return makers(node.operand)
        if isinstance(node, ast.Subscript | ast.Starred | ast.Await):
            return makers(node.value)
        return set()

    nodes = list(ast.walk(tree))
    for node in nodes:
        targets: list[ast.expr] = []
        value: ast.AST | None = None
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr):
            targets, value = [node.target], node.value
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            targets, value = [node.optional_vars], node.context_expr
        for target in targets:
            name = target.id if isinstance(target, ast.Name) else _attribute_name(target)
            if name:
                made.setdefault(name, set()).update(makers(value, itself=True))
    expected: set[str] = set()
    compared: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Compare):
            compared |= {
                name for side in (node.left, *node.comparators) for name in makers(side, itself=True)
            }
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr.startswith("assert")
        ):
            compared |= {name for side in node.args for name in makers(side, itself=True)}
        if isinstance(node, ast.Attribute) and node.attr not in OF_DATA and _attribute_name(node) not in made:
            expected |= makers(node.value)
        elif isinstance(node, ast.Attribute) or (
            isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load)
        ):
            expected |= _classes(makers(node.value))
        elif isinstance(node, ast.withitem):
            expected |= makers(node.context_expr)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("isinstance", "issubclass"):
                expected |= {e.id for arg in node.args[1:] for e in ast.walk(arg) if isinstance(e, ast.Name)}
            elif node.func.id in ("hasattr", "getattr", "setattr") and node.args:
                expected |= makers(node.args[0])
        elif isinstance(node, ast.Compare):
            sides = [makers(side) for side in (node.left, *node.comparators)]
            expected |= _classes(set.intersection(*sides))
        elif isinstance(node, ast.BinOp):
            expected |= _classes(makers(node.left) & makers(node.right))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if (
                node.func.attr in ("assertEqual", "assertNotEqual", "assertLess", "assertGreater")
                and len(node.args) > 1
            ):
                expected |= _classes(makers(node.args[0]) & makers(node.args[1]))
            elif node.func.attr == "assertIsInstance" and len(node.args) > 1:
                expected |= {e.id for e in ast.walk(node.args[1]) if isinstance(e, ast.Name)}
    expected = {entry_point if name == alias and entry_point else name for name in expected}
    return expected, expected & compared


def _classes(names: set[str]) -> set[str]:
    """Those that are written as a class's name."""
    return {name for name in names if name[:1].isupper() and "_" not in name}


def _attribute_name(node: ast.AST) -> str:
    if (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("self", "cls")
    ):
        return f"self.{node.attr}"
    return ""


def _parameter_of_check(tree: ast.AST) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "check" and node.args.args:
            return node.args.args[0].arg
    return ""
