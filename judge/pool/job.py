"""One candidate and its tests, and what all kinds of tests have in common when they are run."""

from dataclasses import dataclass, replace

from alpharay.judge.languages import LANGUAGES
from alpharay.judge.limits import Limits
from alpharay.judge.problem import CallTests, CodeTests, StdioTests, Tests
from alpharay.judge.program import Program, program_of
from alpharay.judge.sandbox.order import Ended, Order, Runner
from alpharay.judge.workspace.repo import PATCH, RepoTests, patch_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One candidate to judge. every_case: continue after a failed case, to count all that pass.

    observe: outputs are reported instead of compared; a program that ran out of time is not run any further.
    capture: the verdict carries all that the last run printed.
    """

    tests: Tests
    completion: str | Program
    limits: Limits
    language: str = "python"
    keep_output: bool = False
    every_case: bool = False
    observe: bool = False
    capture: bool = False


def total_cases(tests: Tests) -> int:
    """How many cases the tests count; a test program counts as one."""
    if isinstance(tests, RepoTests):
        return len(tests.verify)
    return 1 if isinstance(tests, CodeTests) else len(tests.cases)


def submission(tests: Tests, completion: str | Program, language: str) -> Program | None:
    """What of a model's answer is judged: a program, or a patch where the tests ask for one."""
    if isinstance(completion, str) and isinstance(tests, RepoTests) and tests.answer == PATCH:
        patch = patch_in(completion)
        return None if patch is None else Program(patch, fenced=True)
    return program_of(completion, language)


def case_prefix(index: int, total: int) -> str:
    """Which case a message is about, where there are several. index: from 0."""
    return f"case {index + 1} of {total}: " if total > 1 else ""


def preamble_of(tests: StdioTests | CallTests | CodeTests) -> bytes:
    return tests.preamble.encode("utf-8", "surrogatepass")


def started(job: Job) -> Limits:
    """The limits of a run: the problem's, and what the language's runtime takes by itself."""
    startup = LANGUAGES[job.language].startup
    limits = job.limits
    if not (startup.cpu_s or startup.memory_mb):
        return limits
    return replace(limits, cpu_s=limits.cpu_s + startup.cpu_s, memory_mb=limits.memory_mb + startup.memory_mb)


def with_room(limits: Limits, expected: int) -> Limits:
    """The output limit never stands in the way of an answer as long as the expected one."""
    if 2 * expected + 65536 <= limits.output_bytes:
        return limits
    return replace(limits, output_bytes=max(limits.output_bytes, 2 * expected + 65536))


async def again_near_the_limit(runner: Runner, order: Order, first: Ended, cpu_s: float) -> Ended:
    """A run that ended by itself a little over its limit may have been slowed by its neighbours: once more."""
    if first.ended == "exit" and cpu_s > order.limits.cpu_s:
        second = await runner.run(order)
        return second if second.cpu_s < first.cpu_s else first
    return first
