"""Judges programs that a model wrote, in a sandbox, and trusts nothing that they report.

::

    async with JudgePool(workers=2) as pool:
        verdict = await pool.judge(parse_tests({...}), completion)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from alpharay.callable_package import make_callable

if TYPE_CHECKING:
    from alpharay.judge.compile.trial import LanguageReport, examine_languages, probe_languages
    from alpharay.judge.errors import (
        CandidateFileError,
        JudgeError,
        LanguageUnavailable,
        ProblemError,
        QueueFull,
        RunRefused,
        SandboxUnavailable,
        WorkerDied,
    )
    from alpharay.judge.limits import Limits
    from alpharay.judge.pool.pool import JudgePool
    from alpharay.judge.problem import (
        CallCase,
        CallTests,
        CodeTests,
        Problem,
        StdioCase,
        StdioTests,
        Tests,
        parse_problem,
        parse_tests,
    )
    from alpharay.judge.program import Program, extract_program
    from alpharay.judge.sandbox.choice import LayerReport, examine, probe
    from alpharay.judge.verdict import CORRECTNESS_FAILURES, EFFICIENCY_FAILURES, Verdict, VerdictKind

__all__ = [
    "CORRECTNESS_FAILURES",
    "EFFICIENCY_FAILURES",
    "CallCase",
    "CallTests",
    "CandidateFileError",
    "CodeTests",
    "JudgeError",
    "JudgePool",
    "LanguageReport",
    "LanguageUnavailable",
    "LayerReport",
    "Limits",
    "Problem",
    "ProblemError",
    "Program",
    "QueueFull",
    "RunRefused",
    "SandboxUnavailable",
    "StdioCase",
    "StdioTests",
    "Tests",
    "Verdict",
    "VerdictKind",
    "WorkerDied",
    "examine",
    "examine_languages",
    "extract_program",
    "parse_problem",
    "parse_tests",
    "probe",
    "probe_languages",
]

# Loaded at first use: the router imports only `verdict`, and should not pay for the pool.
_NAMES_IN_MODULE = {
    "errors": "CandidateFileError JudgeError LanguageUnavailable ProblemError QueueFull RunRefused SandboxUnavailable WorkerDied",
    "limits": "Limits",
    "pool.pool": "JudgePool",
    "problem": "CallCase CallTests CodeTests Problem StdioCase StdioTests Tests parse_problem parse_tests",
    "program": "Program extract_program",
    "sandbox.choice": "LayerReport examine probe",
    "compile.trial": "LanguageReport examine_languages probe_languages",
    "verdict": "CORRECTNESS_FAILURES EFFICIENCY_FAILURES Verdict VerdictKind",
}
_MODULE_OF = {name: module for module, names in _NAMES_IN_MODULE.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


make_callable(__name__, lambda: import_module("alpharay._judge").judge)
