"""Makes a problem's tests: its generator's inputs, those that its validator accepts, outputs of programs that are right.

All of them run in the sandbox. The same recipe gives the same tests: testlib's generators draw from their command line, and
Python's generator is seeded by it.
"""

import asyncio
import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from alpharay.judge.checkers import JudgeProgram
from alpharay.judge.compile.compiling import Binaries
from alpharay.judge.errors import JudgeError, LanguageUnavailable, RunRefused, WorkerDied
from alpharay.judge.languages import LANGUAGES
from alpharay.judge.limits import Limits
from alpharay.judge.pool.checking import Checking, beside, compiled, encoded
from alpharay.judge.pool.job import Job
from alpharay.judge.pool.judging import judge
from alpharay.judge.problem import StdioCase, StdioTests
from alpharay.judge.program import Program
from alpharay.judge.sandbox.choice import start_safest
from alpharay.judge.sandbox.order import Ended, Order
from alpharay.judge.sandbox.toolchains import installed
from alpharay.judge.sandbox.worker import Worker
from alpharay.judge.verdict import VerdictKind
from alpharay.judge.verdicts import JudgeFault, beyond_limits, last_line
from alpharay.judge.writing import destination

MOST_COMMANDS = 200
# Of one input: what fits into a problem file with many of them.
GENERATOR_LIMITS = Limits(cpu_s=10.0, memory_mb=1024, output_bytes=16 << 20)
# Correct programs in a slow language may be timed for a fast one's limit.
SLOWER = 3.0
ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What makes tests. commands: the generator's command lines, one an input. references: languages and programs that are
    right; the first one's outputs count, and each other must agree. checker: what decides whether they agree; None: equal tokens.
    """

    generator: JudgeProgram
    commands: tuple[tuple[str, ...], ...]
    validator: JudgeProgram | None
    references: tuple[tuple[str, Program], ...]
    checker: JudgeProgram | None
    time_limit_s: float
    memory_mb: int

    @property
    def languages(self) -> set[str]:
        brought = (self.generator, self.validator, self.checker)
        return {language for language, _ in self.references} | {each.language for each in brought if each}

    @property
    def limits(self) -> Limits:
        cpu_s = min(SLOWER * self.time_limit_s, 600.0)
        return Limits(
            cpu_s=cpu_s, memory_mb=max(self.memory_mb, 256), output_bytes=GENERATOR_LIMITS.output_bytes
        )


class CannotGenerate(JudgeError):
    """A recipe gives no tests; `reason` is the same for all that fail alike."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


@dataclass(slots=True)
class Generating:
    """One sandbox that makes tests, for callers without an event loop. cache: a folder of what was made before.

    left_out: inputs by the reason why they are in no tests.
    """

    sandbox: str = "auto"
    cache: Path | None = None
    left_out: Counter[str] = field(default_factory=Counter)
    _runner: asyncio.Runner = field(default_factory=asyncio.Runner)
    _worker: Worker | None = None
    _binaries: Binaries = field(default_factory=Binaries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._worker is not None:
            self._runner.run(self._close(self._worker))
        self._runner.close()

    def make(self, recipe: Recipe) -> list[tuple[str, str]]:
        """Inputs and outputs. Raises CannotGenerate, and SandboxUnavailable."""
        kept = None if self.cache is None else self.cache / f"{_digest(recipe)}.json"
        if kept is not None and kept.is_file():
            return [
                (input_text, output) for input_text, output in json.loads(kept.read_text(encoding="utf-8"))
            ]
        for language in sorted(recipe.languages):
            if not LANGUAGES[language].compiled:
                continue
            try:
                installed.find(language)
            except LanguageUnavailable as error:
                raise CannotGenerate("its programs cannot be run here", str(error)) from None
        cases = self._runner.run(self._made(recipe))
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            with destination(kept) as out:
                json.dump(cases, out)
        return cases

    async def _made(self, recipe: Recipe) -> list[tuple[str, str]]:
        reason = ""
        for _ in range(ATTEMPTS):
            if self._worker is None or not self._worker.alive:
                self._worker = await start_safest(self.sandbox)
            try:
                return await generate(self._worker, recipe, self._binaries, self.left_out)
            except JudgeFault as fault:
                raise CannotGenerate("one of its programs fails", str(fault)) from None
            except (WorkerDied, RunRefused) as error:
                self._worker.close()
                reason = str(error)
            finally:
                self._worker.drop()
        raise CannotGenerate("the sandbox failed", reason)

    @staticmethod
    async def _close(worker: Worker) -> None:
        worker.close()


async def generate(
    worker: Worker, recipe: Recipe, binaries: Binaries, left_out: Counter[str]
) -> list[tuple[str, str]]:
    """The tests, each input once. left_out: counts inputs that are in none, by reason.

    Raises CannotGenerate where none are left or the references disagree, JudgeFault, WorkerDied and RunRefused.
    """
    inputs: dict[str, None] = {}
    complaint = ""
    for command in recipe.commands:
        made = await _run(worker, recipe.generator, command, b"", binaries, "generator")
        complaint = _why(made, GENERATOR_LIMITS) or complaint
        if _why(made, GENERATOR_LIMITS) is not None:
            left_out["the generator failed"] += 1
            continue
        if recipe.validator is not None:
            validation = await _run(worker, recipe.validator, (), made.stdout, binaries, "validator")
            refused = _why(validation, GENERATOR_LIMITS)
            if refused is not None:
                complaint = refused
                left_out["the validator refused the input"] += 1
                continue
        inputs[made.stdout.decode("utf-8", "replace")] = None
    if not inputs:
        raise CannotGenerate("its generator gives no valid input", complaint[:200])
    cases = []
    for input_text in inputs:
        output = await _output(worker, recipe, input_text, binaries)
        if output is None:
            left_out["the correct submissions fail or disagree"] += 1
        else:
            cases.append((input_text, output))
    if not cases:
        raise CannotGenerate("its correct submissions fail or disagree on every input")
    return cases


async def _run(
    worker: Worker,
    program: JudgeProgram,
    arguments: tuple[str, ...],
    stdin: bytes,
    binaries: Binaries,
    role: str,
) -> Ended:
    binary = await compiled(worker, program, binaries, role)
    order = Order(
        mode="checker",
        program=encoded(program.source) if binary is None else b"",
        # What a Python generator draws is the same each time, too.
        preamble=b""
        if binary is not None
        else f"import random\nrandom.seed({' '.join(arguments)!r})\n".encode(),
        binary=None if binary is None else binary.descriptor,
        input=stdin,
        limits=GENERATOR_LIMITS,
        files=beside(program) if binary is None else (),
        arguments=arguments,
    )
    return await worker.run(order)


def _why(ended: Ended, limits: Limits) -> str | None:
    """None: it ended with 0."""
    if ended.phase[-1:] not in ("R", "L"):
        raise JudgeFault(f"it could not be started: {last_line(ended.stderr) or ended.ended}")
    beyond = beyond_limits(ended, ended.cpu_s, limits)
    if beyond is not None:
        return beyond.detail
    return None if ended.code == 0 else last_line(ended.stderr) or f"exit code {ended.code}"


async def _output(worker: Worker, recipe: Recipe, input_text: str, binaries: Binaries) -> str | None:
    """What the first reference prints; None: it fails, or another disagrees. Raises JudgeFault."""
    output: str | None = None
    for language, program in recipe.references:
        tests = StdioTests(
            (StdioCase(input_text, output or ""),), checker=None if output is None else recipe.checker
        )
        job = Job(
            tests=tests,
            completion=program,
            limits=recipe.limits,
            language=language,
            observe=output is None,
            capture=output is None,
        )
        verdict = await judge(worker, job, binaries)
        if verdict.verdict is VerdictKind.JUDGE_ERROR:
            raise JudgeFault(verdict.detail)
        if not verdict.accepted:
            return None
        if output is None:
            output = verdict.captured.stdout if verdict.captured else ""
    if output is not None and recipe.checker is not None and len(recipe.references) == 1:
        # Its own output must be one that the checker accepts.
        checked = StdioTests((StdioCase(input_text, output),), checker=recipe.checker)
        if await Checking(worker, checked, binaries).wrong(0, encoded(output)) is not None:
            return None
    return output


def _digest(recipe: Recipe) -> str:
    return hashlib.sha256(repr(recipe).encode("utf-8", "surrogatepass")).hexdigest()
