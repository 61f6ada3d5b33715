"""Runs tests that a test program only defines: `unittest` classes, else functions and classes named as pytest finds them."""

import inspect
import sys
import unittest
from collections.abc import Callable
from typing import Any


class NothingRan(Exception):
    """The test program defines no test that can be run here."""


# ruff: noqa: ARG002, N802 - `unittest` calls these by its own names.
class _First(unittest.TestResult):
    """Keeps the first failure as the error that it was."""

    def __init__(self) -> None:
        super().__init__()
        self.failfast = True
        self.error: BaseException | None = None
        self.skips = 0

    def _keep(self, error: BaseException | None) -> None:
        self.error = self.error or error
        self.shouldStop = True

    def addError(self, test: Any, err: Any) -> None:
        self._keep(err[1])

    def addFailure(self, test: Any, err: Any) -> None:
        self._keep(err[1])

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        if err is not None:
            self._keep(err[1])

    def addUnexpectedSuccess(self, test: Any) -> None:
        self._keep(AssertionError("a test that is expected to fail passed"))

    def addSkip(self, test: Any, reason: str) -> None:
        self.skips += 1

    def _setupStdout(self) -> None:
        pass

    def _restoreStdout(self) -> None:
        pass


def run_cases(classes: list[type[unittest.TestCase]]) -> None:
    """Raises the first failure, and NothingRan when no test was run."""
    loader = unittest.TestLoader()
    suite = unittest.TestSuite(loader.loadTestsFromTestCase(each) for each in classes)
    result = _First()
    suite.run(result)
    if result.error is not None:
        raise result.error
    if result.testsRun <= result.skips:
        raise NothingRan("the test program's test classes hold no test that is run")


def unittest_cases(space: dict[str, Any], module: str) -> list[type[unittest.TestCase]]:
    return [
        each
        for each in list(space.values())
        if isinstance(each, type) and issubclass(each, unittest.TestCase) and each.__module__ == module
    ]


def pytest_functions(space: dict[str, Any], module: str) -> list[Callable[[], Any]]:
    """Raises NothingRan for a test that needs what only pytest has."""
    functions: list[Callable[[], Any]] = []
    for name, value in list(space.items()):
        own = getattr(value, "__module__", None) == module
        if own and name.startswith("Test") and isinstance(value, type):
            functions += [_method(value, each) for each in vars(value) if each.startswith("test")]
        elif own and name.startswith("test") and inspect.isfunction(value):
            if _required(value):
                raise NothingRan(f"{name} takes arguments, which only pytest would give it")
            functions.append(value)
    return functions


def _method(kind: type, name: str) -> Callable[[], Any]:
    def run() -> None:
        instance = kind()
        for before in ("setup_method", "setUp"):
            if hasattr(instance, before):
                getattr(instance, before)()
        getattr(instance, name)()
        for after in ("teardown_method", "tearDown"):
            if hasattr(instance, after):
                getattr(instance, after)()

    return run


def _required(function: Any) -> bool:
    parameters = inspect.signature(function).parameters.values()
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(each.default is inspect.Parameter.empty and each.kind in plain for each in parameters)


def run_all(space: dict[str, Any], module: str, check: Callable[[], Any] | None, *, ran: bool) -> None:
    """The tests of a program whose text was run already. ran: it tested something while it was.

    Raises the first failure, and NothingRan when no test is found.
    """
    if check is not None:
        check()
        return
    # A program that does not even name it defines no class of it.
    cases = unittest_cases(space, module) if "unittest" in sys.modules else []
    if cases:
        run_cases(cases)
        return
    if ran:
        return
    functions = pytest_functions(space, module)
    for function in functions:
        function()
    if not functions:
        raise NothingRan("the test program defines tests and runs none of them")
