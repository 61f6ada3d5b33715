"""C++ candidates: what they are compiled to, when that is done again, and what is said where it cannot be done."""

import argparse
import asyncio
import os
import struct
from pathlib import Path

import pytest

from alpharay.judge import LanguageUnavailable, Limits, ProblemError, VerdictKind, parse_problem, parse_tests
from alpharay.judge.command import add_arguments, run
from alpharay.judge.compile.compiling import COMPILER, Binaries, Compilation, static_memory
from alpharay.judge.guest.scratch import PROGRAMS
from alpharay.judge.pool.pool import JudgePool
from alpharay.judge.sandbox.toolchains import installed

pytestmark = pytest.mark.asyncio(loop_scope="session")

ADD = parse_tests({"kind": "stdio", "cases": [{"input": f"{a} {a}", "output": str(2 * a)} for a in range(4)]})
SUM = """#include <cstdio>
int main() { int a, b; if (scanf("%d %d", &a, &b) != 2) return 1; printf("%d\\n", a + b); }
"""


def answer(source, label="cpp"):
    return f"Here it is:\n```{label}\n{source}\n```\n"


async def test_a_compiled_program_is_judged_case_by_case(pool):
    right = await pool.judge(ADD, answer(SUM), language="cpp")
    wrong = await pool.judge(ADD, answer(SUM.replace("a + b", "a * 2 + b / 2")), language="cpp")
    assert (right.verdict, right.passed) == (VerdictKind.ACCEPTED, 4)
    assert (wrong.verdict, wrong.passed, wrong.failed_case) == (VerdictKind.WRONG_ANSWER, 2, 2)


@pytest.mark.parametrize("label", ["c++", "cc", "c++17", "C++20"])
async def test_a_code_block_may_be_labelled_in_any_usual_way(pool, label):
    assert (await pool.judge(ADD, answer(SUM, label), language="cpp")).accepted


async def test_a_block_of_another_language_is_no_program(pool):
    verdict = await pool.judge(ADD, answer("print(5)", "python"), language="cpp")
    assert verdict.verdict is VerdictKind.NO_PROGRAM


async def test_the_standard_that_the_block_names_is_the_one_that_counts(pool):
    """`requires` became a keyword with C++20."""
    older = "int requires = 0;\n" + SUM
    assert (await pool.judge(ADD, answer(older, "c++17"), language="cpp")).accepted
    refused = await pool.judge(ADD, answer(older, "c++20"), language="cpp")
    assert refused.verdict is VerdictKind.COMPILE_ERROR


async def test_a_compile_error_is_told_without_the_path_of_anything_of_ours(pool):
    verdict = await pool.judge(ADD, answer("int main() { return nothing; }"), language="cpp")
    assert verdict.verdict is VerdictKind.COMPILE_ERROR
    assert "program.cpp:1:21: error: 'nothing' was not declared" in verdict.detail
    assert not [word for word in ("/build", "/tmp", "/inside", "stdin") if word in verdict.detail]
    assert verdict.total == 4


async def test_prose_that_does_not_compile_is_no_program(pool):
    verdict = await pool.judge(ADD, "I would read both numbers and print their sum.", language="cpp")
    assert verdict.verdict is VerdictKind.NO_PROGRAM


async def test_a_crash_says_what_the_program_said_last(pool):
    source = '#include <cstdio>\n#include <cstdlib>\nint main() { fputs("index 7 of 5", stderr); abort(); }'
    verdict = await pool.judge(ADD, answer(source), language="cpp")
    assert verdict.verdict is VerdictKind.RUNTIME_ERROR
    assert verdict.detail == "case 1 of 4: killed by SIGABRT: index 7 of 5"


async def test_tests_that_call_a_function_are_refused(pool):
    tests = parse_tests({"kind": "call", "entry_point": "f", "cases": [{"args": [1], "output": 1}]})
    with pytest.raises(
        ProblemError,
        match="tests of kind call need language python, javascript, typescript, got cpp; write stdio",
    ):
        await pool.judge(tests, answer(SUM), language="cpp")
    with pytest.raises(ProblemError, match=r"language must be one of python, cpp, .*, got 'cobol'"):
        await pool.judge(ADD, answer(SUM), language="cobol")


async def test_a_problem_file_may_ask_for_cpp():
    tests = {"kind": "stdio", "cases": [{"input": "", "output": ""}]}
    assert parse_problem({"id": "a", "prompt": "", "tests": tests, "language": "cpp"}).language == "cpp"


class CountingRunner:
    def __init__(self, worker):
        self.worker, self.stages = worker, []

    async def run(self, order):
        self.stages.append(order.entry)
        return await self.worker.run(order)


async def test_a_source_is_compiled_once_and_the_least_used_are_forgotten(worker):
    runner, binaries = CountingRunner(worker), Binaries(most=3_000_000)
    sources = [f"int main() {{ return {number}; }}".encode() for number in range(6)]
    first = await binaries.get(runner, "cpp", sources[0])
    assert await binaries.get(runner, "cpp", sources[0]) is first
    assert runner.stages == ["compile gnu++20", "assemble", "link"]
    for source in sources[1:]:
        await binaries.get(runner, "cpp", source)
    assert await binaries.get(runner, "cpp", sources[0]) is not first
    assert os.fstat(first.descriptor).st_size == first.size, "a run under way still has its program"


async def test_a_compiler_that_takes_too_long_is_stopped(worker):
    bomb = (
        "constexpr long spin(long n) { long s = 0; for (long i = 0; i < n; ++i) s += i; return s; }\n"
        "template <long N> struct S { static constexpr long v = spin(200000 + N) + S<N - 1>::v; };\n"
        "template <> struct S<0> { static constexpr long v = 0; };\nint main() { return S<800>::v; }"
    )
    runner = CountingRunner(worker)
    refused = await Binaries(compiler=Limits(cpu_s=0.3, memory_mb=512)).get(runner, "cpp", bomb.encode())
    assert refused.kind is VerdictKind.COMPILE_ERROR
    assert "more than 0.3 s" in refused.detail
    assert runner.stages == ["compile gnu++20"], "an older standard would not make it faster"


async def test_nothing_of_a_compilation_is_left(worker):
    await Binaries().get(worker, "cpp", SUM.encode())
    await Binaries().get(worker, "cpp", b"int main() { return nowhere; }")
    await Binaries().get(worker, "cpp", b"int nowhere(); int main() { return nowhere(); }")
    if worker.layer.scratch is not None:
        pytest.skip("its folder is not to be seen from outside, and is gone with its sandbox")
    left = [path.name for path in Path(worker._scratch).rglob("*")]  # noqa: ASYNC240 - a folder in memory
    assert left == [PROGRAMS], "the folder for candidates of runtimes, and nothing in it"


async def test_a_compilation_that_ends_between_two_steps_leaves_nothing_to_the_next_candidate(worker):
    compilation = Compilation(worker, "cpp", COMPILER, {})
    assert await compilation.step("assemble", b".globl main\nmain: ret\n") == b""
    worker.drop()
    refused = await compilation.step("link", b"")
    assert "program.o" in refused.detail


async def test_static_memory_counts_what_segments_take_in_memory():
    header = (
        b"\x7fELF\x02" + bytes(27) + struct.pack("<Q", 64) + bytes(14) + struct.pack("<HH", 56, 2) + bytes(6)
    )
    segments = [
        struct.pack("<IIQQQQQQ", kind, 0, 0, 0, 0, 10, size, 0) for kind, size in ((1, 1 << 40), (6, 5))
    ]
    assert static_memory(header + b"".join(segments)) == 1 << 40
    assert static_memory(header[:40]) == static_memory(b"#!/bin/sh") == static_memory(header) == 0


@pytest.fixture
def no_compiler(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    installed.forget()
    yield
    monkeypatch.undo()
    installed.forget()


async def test_without_a_compiler_cpp_is_refused_with_the_way_out_and_python_is_judged(no_compiler):
    async with JudgePool(workers=1) as own:
        with pytest.raises(LanguageUnavailable, match=r"needs g\+\+.*apt-get install g\+\+"):
            await own.judge(ADD, answer(SUM), language="cpp")
        assert (await own.judge(ADD, "print(sum(map(int, input().split())))")).accepted


async def test_the_command_says_which_languages_there_are(no_compiler, capsys):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert await asyncio.to_thread(run, parser.parse_args(["--languages"])) == 0
    python, cpp, *_ = capsys.readouterr().out.splitlines()
    assert python.startswith("python      Python 3")
    assert cpp.startswith("cpp         not here: C++ needs g++")
