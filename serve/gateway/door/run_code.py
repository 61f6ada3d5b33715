"""`POST /run_code` in SandboxFusion's wire form, so that its clients need but another address.

`run_timeout` is held against CPU time, which a busy machine does not change; a program that sleeps is ended after three
times as long. A compilation has the judge's own ten seconds, whatever `compile_timeout` says.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from alpharay.judge.errors import ProblemError
from alpharay.judge.languages import LANGUAGES
from alpharay.judge.limits import Limits
from alpharay.judge.program import Program
from alpharay.judge.verdict import Captured, Verdict, VerdictKind
from alpharay.judge.workspace.files import check_path, parse_files
from alpharay.judge.workspace.repo import RepoTests
from alpharay.serve.errors import malformed
from alpharay.serve.sections import Judge

Json = dict[str, Any]

_SUCCESS, _FAILED, _SANDBOX_ERROR = "Success", "Failed", "SandboxError"
_FINISHED, _TIME_LIMIT = "Finished", "TimeLimitExceeded"
_KILLED = -9
# Paths go to the sandbox in one message, and files come back in one: each may have the size of the output limit.
_FETCHED, _FETCHED_FILES = 1000, 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One program to run on that input. folder: with files beside it, or of which some are wanted back."""

    program: Program
    stdin: str
    language: str
    limits: Limits
    folder: RepoTests | None = None


def parse(body: Json, config: Judge) -> Run:
    """Fields beyond SandboxFusion's are passed over, as it does. Raises RequestError (400)."""
    code, language = body.get("code"), body.get("language")
    if not isinstance(code, str):
        raise malformed("code must be a string, the program to run", param="code")
    if not isinstance(language, str) or language not in LANGUAGES:
        raise malformed(
            f"language must be one of {', '.join(LANGUAGES)}, got {str(language)[:60]!r}", param="language"
        )
    stdin = body.get("stdin")
    if stdin is not None and not isinstance(stdin, str):
        raise malformed("stdin must be a string", param="stdin")
    seconds = _number(body, "run_timeout", 10.0)
    memory = _number(body, "memory_limit_MB", -1)
    try:
        limits = Limits(
            cpu_s=min(max(seconds, 0.01), 600.0),
            memory_mb=config.memory_limit_mb if memory <= 0 else int(memory),
        )
    except (ProblemError, OverflowError) as error:
        raise malformed(str(error), param="memory_limit_MB") from None
    return Run(
        program=Program(code, fenced=True),
        stdin=stdin or "",
        language=str(language),
        limits=limits,
        folder=_folder(body, language, stdin or ""),
    )


def _folder(body: Json, language: str, stdin: str) -> RepoTests | None:
    """None: no file is asked for. Raises RequestError."""
    contents, fetch = body.get("files") or {}, body.get("fetch_files") or []
    if not contents and not fetch:
        return None
    if language != "python":
        raise malformed(
            f"files are for python programs, and this is {language}; put data into stdin", param="files"
        )
    if not isinstance(fetch, list) or not all(isinstance(path, str) for path in fetch):
        raise malformed("fetch_files must be a list of paths", param="fetch_files")
    if sum(map(len, fetch)) > _FETCHED or len(fetch) > _FETCHED_FILES:
        bounds = f"at most {_FETCHED_FILES} paths of {_FETCHED} characters in all"
        raise malformed(f"fetch_files must be {bounds}", param="fetch_files")
    # Clients send null for a file that they have no contents of.
    contents = (
        {path: "" if content is None else content for path, content in contents.items()}
        if isinstance(contents, dict)
        else contents
    )
    try:
        files = parse_files(contents, "files", encoded=True)
        for path in fetch:
            check_path(path, "fetch_files")
    except ProblemError as error:
        raise malformed(str(error), param="files") from None
    name = next(name for name in map("main{}.py".format, ("", *range(len(files) + 1))) if name not in files)
    return RepoTests(
        files=tuple(files.items()),
        answer=name,
        verify=((name,),),
        stdin=stdin.encode("utf-8", "surrogatepass"),
        fetch=tuple(dict.fromkeys(fetch)),
    )


def response(run: Run, verdict: Verdict) -> Json:
    """SandboxFusion's answer."""
    captured = verdict.captured
    if verdict.verdict is VerdictKind.JUDGE_ERROR or captured is None:
        return _answer(_SANDBOX_ERROR, verdict.detail)
    if not captured.compiled:
        refused = {"status": _FINISHED, "execution_time": None, "return_code": 1}
        return _answer(_FAILED, "", compiled=refused | {"stdout": "", "stderr": captured.stderr})
    compiled = None
    if LANGUAGES[run.language].compiled:
        compiled = {
            "status": _FINISHED,
            "execution_time": None,
            "return_code": 0,
            "stdout": "",
            "stderr": "",
        }
    ran = {
        "status": _TIME_LIMIT if verdict.verdict is VerdictKind.TIME_LIMIT else _FINISHED,
        "execution_time": verdict.wall_s,
        "cpu_time": verdict.cpu_s,
        "return_code": _code(verdict, captured),
        "stdout": captured.stdout,
        "stderr": captured.stderr,
    }
    status = _SUCCESS if verdict.accepted else _FAILED
    files = {path: base64.b64encode(content).decode() for path, content in captured.files}
    return _answer(
        status, "" if verdict.accepted else verdict.detail, compiled=compiled, ran=ran, files=files
    )


def _code(verdict: Verdict, captured: Captured) -> int | None:
    if verdict.verdict is VerdictKind.TIME_LIMIT:
        return None
    if captured.code is None:
        return _KILLED
    # A run past a limit may have ended by itself, and well.
    return captured.code if verdict.accepted or captured.code else 1


def _answer(
    status: str,
    message: str,
    *,
    compiled: Json | None = None,
    ran: Json | None = None,
    files: dict[str, str] | None = None,
) -> Json:
    return {
        "status": status,
        "message": message,
        "compile_result": compiled,
        "run_result": ran,
        "executor_pod_name": None,
        "files": files or {},
    }


def _number(body: Json, name: str, default: float) -> float:
    value = body.get(name, default)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124 - NaN
        raise malformed(f"{name} must be a number", param=name)
    try:
        return float(value)
    except OverflowError:
        raise malformed(f"{name} is a larger number than any", param=name) from None
