"""Programs in the languages whose toolchains this machine has: what is judged, and what is said where one is missing."""

import argparse
import asyncio
from pathlib import Path

import pytest

from alpharay.judge import (
    LanguageUnavailable,
    Limits,
    ProblemError,
    VerdictKind,
    extract_program,
    parse_tests,
)
from alpharay.judge.command import add_arguments, run
from alpharay.judge.pool.pool import JudgePool
from alpharay.judge.sandbox.toolchains import go, installed, java, node, rust
from tests.judge.arena import is_hostile, language_programs

pytestmark = pytest.mark.asyncio(loop_scope="session")

CASES = Path(__file__).parent / "cases" / "languages"
PROGRAMS = [
    pytest.param(file.stem, *program, id=f"{file.stem} {program[0]}")
    for file in sorted(CASES.glob("*.txt"))
    for program in language_programs(file)
    if not is_hostile(program[0])
]
LIMITS = Limits(cpu_s=4.0)
ADD = parse_tests({"kind": "stdio", "cases": [{"input": f"{a} {a}", "output": str(2 * a)} for a in range(4)]})
HELLO = {
    "go": 'package main\nimport "fmt"\nfunc main() { fmt.Println("hello") }',
    "rust": 'fn main() { println!("hello"); }',
    "java": 'public class A { public static void main(String[] a) { System.out.println("hello"); } }',
    "javascript": 'console.log("hello")',
    "typescript": 'console.log("hello" as string)',
}


def available(language):
    try:
        return installed.find(language)
    except LanguageUnavailable as error:
        pytest.skip(str(error))


def answer(language, source):
    return f"```{language}\n{source}\n```"


@pytest.mark.parametrize(("language", "name", "verdicts", "input_text", "expected", "source"), PROGRAMS)
async def test_a_program_gets_its_verdict(pool, language, name, verdicts, input_text, expected, source):
    available(language)
    tests = parse_tests({"kind": "stdio", "cases": [{"input": input_text, "output": expected}]})
    verdict = await pool.judge(tests, answer(language, source), limits=LIMITS, language=language)
    assert verdict.verdict in verdicts, (name, verdict)


ADDS = {
    "javascript": 'const [a, b] = require("fs").readFileSync(0, "utf8").split(" "); console.log(+a + +b);',
    "java": """public class A {
        public static void main(String[] x) {
            var in = new java.util.Scanner(System.in);
            System.out.println(in.nextInt() + in.nextInt());
        }
    }""",
}


@pytest.mark.parametrize(("language", "source"), ADDS.items())
async def test_a_program_of_a_runtime_is_judged_case_by_case(pool, language, source):
    available(language)
    right = await pool.judge(ADD, answer(language, source), language=language)
    zero = source.replace("+a + +b", "0").replace("in.nextInt() + in.nextInt()", "0")
    wrong = await pool.judge(ADD, answer(language, zero), language=language)
    assert (right.verdict, right.passed) == (VerdictKind.ACCEPTED, 4)
    assert (wrong.verdict, wrong.passed) == (VerdictKind.WRONG_ANSWER, 1)


@pytest.mark.parametrize("language", ["go", "java", "javascript"])
async def test_where_a_program_lies_is_not_told(pool, language):
    available(language)
    source = {
        "go": "package main\nfunc main() { panic(1) }",
        "java": "public class A { public static void main(String[] a) { throw new RuntimeException(); } }",
        "javascript": "throw new Error()",
    }[language]
    verdict = await pool.judge(ADD, answer(language, source), language=language)
    assert verdict.verdict is VerdictKind.RUNTIME_ERROR
    assert not [word for word in ("/build", "/tmp", "candidate/") if word in verdict.detail], verdict.detail


@pytest.mark.parametrize("language", HELLO)
async def test_a_candidate_in_a_conversation_may_be_of_any_language(pool, language):
    available(language)
    interactor = {"language": "python", "source": 'import sys\nsys.exit(0 if input() == "hello" else 1)'}
    tests = parse_tests({"kind": "stdio", "cases": [{"input": ""}], "interactor": interactor})
    verdict = await pool.judge(tests, answer(language, HELLO[language]), language=language)
    assert verdict.accepted, verdict


async def test_a_candidate_in_a_conversation_cannot_read_the_answer(pool):
    available("javascript")
    interactor = {"language": "python", "source": 'import sys\nsys.exit(0 if input() == "nothing" else 1)'}
    case = {"input": "SECRET", "output": "SECRET"}
    tests = parse_tests({"kind": "stdio", "cases": [case], "interactor": interactor})
    source = (
        'const fs = require("fs");\nlet got = [];\n'
        'for (const name of ["input", "answer", "output", "../input", "../answer"])\n'
        '  try { got.push(fs.readFileSync(__dirname + "/" + name, "utf8")); } catch { }\n'
        'console.log(got.length ? got.join() : "nothing");'
    )
    verdict = await pool.judge(tests, answer("javascript", source), language="javascript")
    assert verdict.accepted, verdict


async def test_the_start_of_a_runtime_is_not_held_against_a_program(pool):
    """A limit under what the virtual machine itself takes."""
    available("java")
    tests = parse_tests({"kind": "stdio", "cases": [{"input": "", "output": "hello"}]})
    limits = Limits(cpu_s=0.2, memory_mb=16)
    assert (await pool.judge(tests, answer("java", HELLO["java"]), limits=limits, language="java")).accepted


@pytest.mark.parametrize(
    ("label", "language"),
    [
        ("js", "javascript"),
        ("JavaScript", "javascript"),
        ("node", "javascript"),
        ("main.mjs", "javascript"),
        ("ts", "typescript"),
        ("typescript", "typescript"),
        ("javascript", "typescript"),
        ("go", "go"),
        ("golang", "go"),
        ("Go1.21", "go"),
        ("main.go", "go"),
        ("java", "java"),
        ("java17", "java"),
        ("Main.java", "java"),
        ("rust", "rust"),
        ("rs", "rust"),
        ("rust,no_run", "rust"),
        ("rust2021", "rust"),
    ],
)
async def test_a_code_block_is_known_by_its_label(label, language):
    program = extract_program(f"```{label}\nhere\n```\n```text\nthere\n```", language)
    assert program is not None
    assert program.source == "here\n"


@pytest.mark.parametrize(
    ("label", "language"), [("java", "javascript"), ("javascript", "java"), ("cpp", "rust"), ("gost", "go")]
)
async def test_a_block_of_another_language_is_no_program(label, language):
    assert extract_program(f"```{label}\nhere\n```", language) is None


@pytest.mark.parametrize("language", ["go", "java", "rust", "typescript"])
async def test_checkers_are_written_in_python_and_cpp(language):
    checker = {"language": language, "source": "x"}
    with pytest.raises(ProblemError, match=r"tests\.checker\.language must be one of python, cpp, got"):
        parse_tests({"kind": "stdio", "cases": [{"input": "", "output": ""}], "checker": checker})


@pytest.fixture
def nothing_installed(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    installed.forget()
    yield
    monkeypatch.undo()
    installed.forget()


MISSING = {
    "go": (go.HOW_TO_GET_IT, "Go needs go"),
    "rust": (rust.HOW_TO_GET_IT, "Rust needs rustc"),
    "java": (java.HOW_TO_GET_IT, "Java needs a JDK"),
    "javascript": (node.HOW_TO_GET_IT, "JavaScript needs node"),
    "typescript": (node.HOW_TO_GET_IT, "needs node"),
}


async def test_a_missing_toolchain_is_told_with_the_way_out(nothing_installed, capsys):
    async with JudgePool(workers=1) as own:
        for language, (remedy, needed) in MISSING.items():
            with pytest.raises(LanguageUnavailable) as caught:
                await own.judge(ADD, answer(language, HELLO[language]), language=language)
            assert needed in str(caught.value)
            assert remedy in str(caught.value)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert await asyncio.to_thread(run, parser.parse_args(["--languages"])) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert [language for language in MISSING if not lines[language].startswith("not here: ")] == []


async def test_files_that_a_shared_node_reads_are_found_in_its_code(tmp_path):
    library = tmp_path / "libnode.so.108"
    library.write_bytes(
        b"\x7fELF\0/usr/share/nodejs/acorn/dist/acorn.js\0//# comment.js\0/usr/share/undici.js\0"
    )
    assert node.own_files(str(library)) == {
        Path("/usr/share/nodejs/acorn/dist/acorn.js"),
        Path("/usr/share/undici.js"),
    }


async def test_typescript_needs_a_node_that_takes_types_away(monkeypatch):
    monkeypatch.setattr(node, "look", lambda: ("20.20.2", "/usr/bin/node", (), False))
    with pytest.raises(LanguageUnavailable, match=r"needs Node\.js 22\.13 or newer.* is 20\.20\.2"):
        node.find_typescript()
