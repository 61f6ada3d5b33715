"""`alpharay judge PROBLEMS CANDIDATES`: judges a file of candidates, one line of JSON each, in their order."""

import argparse
import asyncio
import json
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from alpharay.judge.compare import any_digits
from alpharay.judge.compile.trial import probe_languages
from alpharay.judge.errors import CandidateFileError, JudgeError, ProblemError
from alpharay.judge.pool.pool import JudgePool
from alpharay.judge.problem import Problem, parse_problem
from alpharay.judge.verdict import Verdict, VerdictKind
from alpharay.judge.writing import destination
from alpharay.progress import ProgressLine

# Enough to keep every sandbox busy, few enough that the output streams and memory stays flat.
AHEAD = 8


@dataclass(frozen=True, slots=True)
class Candidate:
    """One line of a candidates file."""

    problem: Problem
    index: int
    completion: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `alpharay judge`."""
    parser.description = "Run programs against tests in a sandbox and print one verdict per line (JSON)."
    parser.epilog = "example: alpharay judge problems.jsonl candidates.jsonl --workers 4 > verdicts.jsonl"
    parser.add_argument(
        "problems", metavar="PROBLEMS", type=Path, nargs="?", help="problems with their tests, JSONL"
    )
    parser.add_argument(
        "candidates", metavar="CANDIDATES", type=Path, nargs="?", help="answers to judge, JSONL"
    )
    parser.add_argument(
        "--languages", action="store_true", help="only say which languages can be judged here, and by what"
    )
    parser.set_defaults(wrong_usage=parser.error)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write verdicts here, whole or not at all")
    parser.add_argument("--workers", type=_positive, metavar="N", help="sandboxes (default: half the cores)")
    parser.add_argument(
        "--packages",
        type=Path,
        metavar="PATH",
        help="a virtual environment whose packages Python programs may import (default: the standard library alone)",
    )
    parser.add_argument("--keep-output", action="store_true", help="add stdout, its first 4 KiB")
    parser.add_argument(
        "--sandbox",
        choices=("auto", "full", "landlock"),
        default="auto",
        help="isolation (default: the strongest that passes its self-test)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 also when candidates fail. Raises JudgeError for bad files or a machine without a sandbox."""
    if arguments.languages:
        return _print_languages(arguments.sandbox)
    if arguments.problems is None or arguments.candidates is None:
        arguments.wrong_usage("PROBLEMS and CANDIDATES are needed")
    # Tests may hold larger numbers than Python reads by default; these are the user's own files.
    with any_digits():
        problems = read_problems(arguments.problems)
    candidates = _read_candidates(arguments.candidates, problems)
    with destination(arguments.out) as out:
        asyncio.run(_judge_all(candidates, out, arguments))
    return 0


def _print_languages(sandbox: str) -> int:
    for report in probe_languages(sandbox):
        print(f"{report.name:<12}{report.detail if report.available else 'not here: ' + report.detail}")
    return 0


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


async def _judge_all(candidates: list[Candidate], out: IO[str], arguments: argparse.Namespace) -> None:
    counts: Counter[VerdictKind] = Counter()
    async with JudgePool(arguments.workers, arguments.sandbox, packages=arguments.packages) as pool:
        for language, tests in {entry.problem.language: entry.problem.tests for entry in candidates}.items():
            await pool.ready_for(language, tests)
        waiting: deque[tuple[Candidate, asyncio.Task[Verdict]]] = deque()
        rest = iter(candidates)
        line = ProgressLine()
        while True:
            while len(waiting) < AHEAD * pool.workers and (candidate := next(rest, None)) is not None:
                waiting.append((candidate, asyncio.create_task(_judge_candidate(pool, candidate, arguments))))
            if not waiting:
                break
            candidate, task = waiting.popleft()
            verdict = await task
            out.write(json.dumps(_line(candidate, verdict)) + "\n")
            out.flush()
            counts[verdict.verdict] += 1
            line.show(counts.total(), len(candidates), lambda: _progress(counts, len(candidates)))
        line.end(_progress(counts, len(candidates)))


async def _judge_candidate(pool: JudgePool, candidate: Candidate, arguments: argparse.Namespace) -> Verdict:
    return await pool.judge(
        candidate.problem.tests,
        candidate.completion,
        limits=candidate.problem.limits(),
        language=candidate.problem.language,
        keep_output=arguments.keep_output,
    )


def _line(candidate: Candidate, verdict: Verdict) -> dict[str, Any]:
    line = {"id": candidate.problem.id, "index": candidate.index, **verdict.fields()}
    return line if verdict.stdout is None else {**line, "stdout": verdict.stdout}


def _progress(counts: Counter[VerdictKind], total: int) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
    return f"judged {counts.total()} of {total}" + (f": {kinds}" if kinds else "")


def read_problems(path: Path) -> dict[str, Problem]:
    """The problems of a file by their ids, in its order. Raises ProblemError, naming the line."""
    problems: dict[str, Problem] = {}
    for number, value in _read_lines(path, ProblemError):
        try:
            problem = parse_problem(value)
        except ProblemError as error:
            raise ProblemError(f"{path}, line {number}: {error}") from None
        if problem.id in problems:
            raise ProblemError(
                f"{path}, line {number}: a second problem has the id {problem.id!r}; ids must differ"
            )
        problems[problem.id] = problem
    if not problems:
        raise ProblemError(f"{path} holds no problem")
    return problems


def _read_candidates(path: Path, problems: dict[str, Problem]) -> list[Candidate]:
    candidates = []
    seen: dict[str, int] = {}
    for number, value in _read_lines(path, CandidateFileError):
        where = f"{path}, line {number}"
        if not isinstance(value, dict) or not isinstance(value.get("id"), str):
            raise CandidateFileError(f'{where}: a candidate needs "id", the id of its problem')
        if not isinstance(value.get("completion"), str):
            raise CandidateFileError(f'{where}: a candidate needs "completion", the answer as a string')
        problem = problems.get(value["id"])
        if problem is None:
            raise CandidateFileError(f"{where}: there is no problem with the id {value['id']!r}")
        index = value.get("index", seen.get(problem.id, 0))
        if isinstance(index, bool) or not isinstance(index, int):
            raise CandidateFileError(f"{where}: index must be an integer")
        seen[problem.id] = index + 1
        candidates.append(Candidate(problem, index, value["completion"]))
    return candidates


def _read_lines(path: Path, kind: type[JudgeError]) -> Iterator[tuple[int, Any]]:
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    yield number, json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise kind(f"{path}, line {number}: not JSON: {error}") from None
    except UnicodeDecodeError as error:
        raise kind(f"{path} is not UTF-8 text: {error}") from None
    except OSError as error:
        raise kind(f"{path} cannot be read: {error.strerror}") from None
