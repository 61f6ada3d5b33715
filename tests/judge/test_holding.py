"""How long, and with how much memory, a candidate may hold a sandbox; and that what it brings about is its own failure."""

import json
import math
from dataclasses import replace

import pytest

from alpharay.judge import Limits, VerdictKind, parse_tests
from alpharay.judge.compile.compiling import COMPILER, Binaries, Compilation
from alpharay.judge.errors import RunRefused
from alpharay.judge.pool.job import Job
from alpharay.judge.pool.judging import judge
from alpharay.judge.pool.patience import HANGS, LEAST_S, TIMEOUTS, Patience
from alpharay.judge.sandbox.occupied import IdleTime
from alpharay.judge.sandbox.order import Ended, Order
from alpharay.judge.sandbox.toolchains import installed
from alpharay.judge.sandbox.toolchains.tools import Tool, Toolchain

pytestmark = pytest.mark.asyncio(loop_scope="session")

SHORT = Limits(cpu_s=0.3)  # whose hang guard is a second
ENDED = Ended(
    ended="exit", code=0, phase="SR", cpu_s=0.0, wall_s=0.0, memory=0, marks=[], tests=None,
    stdout=b"", stderr=b"", answers=b"", sizes=(0, 0),
)  # fmt: skip


async def test_runs_that_each_sleep_a_little_less_than_the_guard_may_not_all_do_so(pool):
    cases = [{"input": str(n), "output": str(n)} for n in range(12)]
    program = "n = input()\nimport time\ntime.sleep(0.9)\nprint(n)"
    verdict = await pool.judge(parse_tests({"kind": "stdio", "cases": cases}), program, limits=SHORT)
    assert verdict.verdict is VerdictKind.TIME_LIMIT
    assert verdict.passed <= 2


async def test_calls_that_each_sleep_a_little_less_than_the_guard_may_not_all_do_so(pool):
    cases = [{"args": [n], "output": n} for n in range(12)]
    program = "import time\ndef f(n):\n    time.sleep(0.9)\n    return n"
    tests = parse_tests({"kind": "call", "entry_point": "f", "cases": cases})
    verdict = await pool.judge(tests, program, limits=SHORT)
    assert verdict.verdict is VerdictKind.TIME_LIMIT
    assert verdict.passed <= 3


class Hangs:
    """A sandbox in which every run sleeps until it is ended."""

    def __init__(self):
        self.guards = []

    async def run(self, order):
        self.guards.append(order.guard_s)
        return replace(ENDED, ended="wall", code=-9, wall_s=order.guard_s)


@pytest.mark.parametrize("kind", ["stdio", "call"])
async def test_of_cases_that_all_hang_not_every_one_is_waited_for(kind):
    stdio = {"kind": "stdio", "cases": [{"input": "", "output": ""}] * 50}
    call = {"kind": "call", "entry_point": "f", "cases": [{"args": [], "output": 0}] * 50}
    runner = Hangs()
    tests = parse_tests(stdio if kind == "stdio" else call)
    verdict = await judge(runner, Job(tests=tests, completion="f = 0", limits=SHORT, every_case=True))
    assert verdict.verdict is VerdictKind.TIME_LIMIT
    assert sum(runner.guards) <= HANGS * SHORT.wall_s + LEAST_S


@pytest.mark.parametrize(
    ("looks", "idle"),
    [
        ([(1.0, 0.1), (1.5, 0.1)], 1.4),
        ([(1.0, math.inf), (1.5, math.inf), (2.0, math.inf)], 0.0),
        ([(1.0, math.inf), (1.5, 1.4), (3.0, 1.4)], 1.5),
        ([(1.0, 30.0), (2.0, 60.0)], 0.0),
        ([(1.0, 0.0), (2.0, 1.0), (3.0, 0.5)], 2.0),
    ],
)
async def test_a_run_was_asleep_when_it_neither_ran_nor_waited_for_a_processor(looks, idle):
    seen = IdleTime()
    assert [seen.after(*look) for look in looks][-1] == pytest.approx(idle)


async def test_what_runs_sleep_is_taken_from_the_hang_guard_of_those_after_them():
    patience = Patience(SHORT)
    guards = []
    for ended in ("exit", "exit", "exit", *["wall"] * 3 * HANGS):
        guards.append(patience.guard_s)
        patience.ran(replace(ENDED, ended=ended, cpu_s=0.1, wall_s=0.5))
    assert guards[:4] == [1.0, pytest.approx(0.6), LEAST_S, LEAST_S]
    assert patience.over


async def test_runs_that_fail_over_and_over_are_not_made_for_ever():
    patience = Patience(SHORT)
    for _ in range(TIMEOUTS + 1):
        assert not patience.over
        patience.ran(replace(ENDED, code=1, cpu_s=SHORT.cpu_s, wall_s=SHORT.cpu_s))
    assert patience.over


async def test_busy_runs_take_nothing_from_it():
    patience = Patience(SHORT)
    patience.ran(replace(ENDED, cpu_s=5.0, wall_s=5.0))
    assert patience.guard_s == SHORT.wall_s
    assert not patience.over


GROWS = """
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>
int main() {
    void *p = mmap(0, 90 << 20, 3, MAP_ANONYMOUS | %s, -1, 0);
    memset(p, 1, 90 << 20);
    pause();
}
"""


@pytest.mark.parametrize("kind", ["MAP_PRIVATE | MAP_NORESERVE", "MAP_SHARED"])
async def test_a_program_that_takes_too_much_memory_is_ended_while_it_runs(worker, kind):
    binary = await Binaries().get(worker, "cpp", (GROWS % kind).encode())
    # It would sleep for half an hour.
    limits = Limits(memory_mb=64, cpu_s=600)
    order = Order(mode="native", program=b"", binary=binary.descriptor, input=b"", limits=limits)
    ended = await worker.run(order)
    assert (ended.ended, ended.code) == ("memory", -9)


async def test_a_compiler_that_runs_out_of_memory_is_told_to_have_done_so(worker):
    source = b"#include <bits/stdc++.h>\nint main() {}"
    refused = await Binaries(compiler=Limits(memory_mb=16)).get(worker, "cpp", source, "c++20")
    assert refused.kind is VerdictKind.COMPILE_ERROR
    assert refused.detail == "the compiler ran out of memory, of which it may take 16 MiB"


class Compiler:
    """Says that each step took so long, and that the program is wrong."""

    def __init__(self, cpu_s):
        self.cpu_s, self.limits = cpu_s, []

    async def run(self, order):
        self.limits.append(order.limits.cpu_s)
        return replace(ENDED, phase="SL", code=1, cpu_s=self.cpu_s, stderr=b"<stdin>:1:1: error: no")


@pytest.fixture
def two_stages(monkeypatch):
    """A language whose every program is linked with what two stages make of nothing."""
    tool = Tool(path="/tool", argv=("tool",), makes="made")
    toolchain = Toolchain(version="1", tools={"first": tool, "second": tool}, read=())
    monkeypatch.setattr(installed, "find", lambda _: toolchain)


class Stage:
    """Ends as it is told. meanwhile: what another lane does while the second stage runs."""

    def __init__(self, meanwhile=None, **ended):
        self.meanwhile, self.ended = meanwhile, ended

    async def run(self, order):
        if order.entry == "second" and self.meanwhile:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        return replace(ENDED, **{"phase": "SL", "answers": order.entry.encode(), **self.ended})


async def test_who_compiles_while_what_all_share_is_being_made_gets_no_half_of_it(two_stages):
    parts, got = {}, []

    async def other():
        got.append(await Compilation(Stage(), "rust", COMPILER, parts).once("first", "second"))

    await Compilation(Stage(other), "rust", COMPILER, parts).once("first", "second")
    assert got == [b"second"]


@pytest.mark.parametrize(
    "ended",
    [
        {"code": -9, "memory": 100 << 20},
        {"code": 1, "stdout": b"Error occurred during initialization of VM"},
    ],
)
async def test_a_compiler_that_the_machine_fails_is_run_again_and_refuses_no_program(two_stages, ended):
    with pytest.raises(RunRefused, match="the compiler"):
        await Compilation(Stage(**ended), "rust", COMPILER, {}).step("first", b"")


@pytest.mark.parametrize("ended", [{"memory": COMPILER.memory_mb << 20}, {"cpu_s": 2 * COMPILER.cpu_s}])
async def test_a_compiler_that_is_killed_at_its_limits_refuses_the_program(two_stages, ended):
    refused = await Compilation(Stage(code=-9, **ended), "rust", COMPILER, {}).step("first", b"")
    assert refused.kind is VerdictKind.COMPILE_ERROR


@pytest.mark.parametrize(("cpu_s", "limits"), [(2.0, [3.0, 1.0]), (3.5, [3.0])])
async def test_both_standards_together_have_the_time_of_one_compilation(cpu_s, limits):
    compiler = Compiler(cpu_s)
    await Binaries(compiler=Limits(cpu_s=3.0)).get(compiler, "cpp", b"x")
    assert compiler.limits == limits


async def test_cases_that_are_larger_than_the_memory_limit_are_read_one_by_one(pool):
    """All at once, what they are in memory is thirty times what they are as text."""
    case = {"args": [[[] for _ in range(20_000)]], "output": 20_000}
    tests = parse_tests({"kind": "call", "entry_point": "f", "cases": [case] * 100})
    assert len(json.dumps(case)) * 100 < 10 << 20
    verdict = await pool.judge(tests, "def f(x):\n    return len(x)", limits=Limits(memory_mb=64))
    assert verdict.accepted, verdict
