"""Programs that a member runs while it answers, in the real sandbox."""

from types import SimpleNamespace

import pytest

from alpharay.judge import Limits
from alpharay.serve.engine.judge_replica import Judge
from alpharay.serve.sampling.python_tool import fenced, report

# The sandboxes of `pool` live in the session's event loop.
pytestmark = pytest.mark.asyncio(loop_scope="session")

LIMITS = Limits(cpu_s=1.0, memory_mb=256)


async def ran(pool, code):
    return report(await Judge.run(SimpleNamespace(_pool=pool), fenced(code), LIMITS, "a request"))


@pytest.mark.parametrize(
    ("code", "output"),
    [
        ("print(6 * 7)", "42\n"),
        ("x = 1", "(it printed nothing)"),
        (
            "print('before')\nint('x')",
            "before\nerror: ValueError: invalid literal for int() with base 10: 'x'",
        ),
        ("print(input())", "error: EOFError: EOF when reading a line"),
        ("def f(:", "error: SyntaxError: invalid syntax"),
        ("", "error: there was no program"),
        ("while True: pass", "error: it ran out of time"),
        ("x = bytearray(1 << 40)", "error: it ran out of memory"),
        ("print('`' * 3)\nprint('''\n```\n''')", "```\n\n```\n\n"),
    ],
)
async def test_a_member_is_told_what_its_program_printed_and_how_it_ended(pool, code, output):
    assert await ran(pool, code) == output


async def test_what_a_run_prints_is_cut(pool):
    output = await ran(pool, "print('x' * 100_000)")
    assert output == "x" * 4096 + "\n… (the first 4096 bytes)"
    assert "printed far too much" in await ran(pool, "while True: print('x' * 10_000)")


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "import os; os.fork()",
        "open('/etc/passwd')",
    ],
)
async def test_a_run_is_held_by_the_same_walls_as_a_candidate(pool, code):
    assert "error: " in await ran(pool, code)


async def test_the_same_program_is_run_anew_each_time(pool):
    code = "import os; print(os.urandom(8).hex())"
    assert await ran(pool, code) != await ran(pool, code)
