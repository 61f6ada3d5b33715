"""Tests of kind `repo`: a small repository, a candidate's change, and pytest or a script that decides."""

import subprocess
import sys

import pytest

from alpharay.judge import Limits, Program, parse_tests

FILES = {
    "stack/__init__.py": "from stack.core import Stack\n",
    "stack/core.py": "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self, item):\n        self.items.append(item)\n\n    def pop(self):\n        return self.items[0]\n",
    "README.md": "A stack.\n",
}  # fmt: skip
HIDDEN = {
    "tests/test_stack.py": "import pytest\nfrom stack import Stack\n\n\n"
    "def test_the_last_comes_first():\n    stack = Stack()\n    stack.push(1)\n    stack.push(2)\n"
    "    assert stack.pop() == 2\n    assert stack.pop() == 1\n\n\n"
    "def test_an_empty_one_raises(capsys):\n    with pytest.raises(IndexError):\n        Stack().pop()\n"
}
PATCH = """The pop is wrong.

```diff
--- a/stack/core.py
+++ b/stack/core.py
@@ -6,4 +6,4 @@ class Stack:
         self.items.append(item)

     def pop(self):
-        return self.items[0]
+        return self.items.pop()
```
"""
pytestmark = pytest.mark.asyncio(loop_scope="session")
ROOMY = Limits(cpu_s=20, memory_mb=1024)


def repo(**fields):
    return parse_tests({"kind": "repo", "files": FILES, "hidden": HIDDEN, "verify": ["pytest -q"], **fields})


def script(source, **fields):
    """Tests that run one file, which the candidate's program becomes."""
    return parse_tests(
        {"kind": "repo", "files": {}, "answer": "main.py", "verify": ["python main.py"], **fields}
    ), (Program(source, fenced=True))


async def test_a_patch_that_repairs_a_repository_passes_its_tests(pool):
    verdict = await pool.judge(repo(), PATCH, limits=ROOMY)
    assert (verdict.verdict, verdict.passed, verdict.total) == ("accepted", 1, 1), verdict.detail


async def test_a_patch_that_does_not_repair_it_is_a_wrong_answer_whose_output_stays_hidden(pool):
    wrong = PATCH.replace("+        return self.items.pop()", "+        return self.items.pop(0)")
    verdict = await pool.judge(repo(), wrong, limits=ROOMY)
    assert verdict.verdict == "wrong_answer"
    assert verdict.detail == "python -m pytest -q ended with 1"


async def test_where_the_tests_are_public_what_they_print_is_told(pool):
    wrong = PATCH.replace("+        return self.items.pop()", "+        return self.items.pop(0)")
    verdict = await pool.judge(repo(public=True), wrong, limits=ROOMY)
    assert "test_the_last_comes_first" in verdict.detail


async def test_a_program_becomes_a_file(pool):
    tests = repo(answer="stack/core.py")
    program = FILES["stack/core.py"].replace("items[0]", "items.pop()")
    verdict = await pool.judge(tests, f"```python\n{program}```", limits=ROOMY)
    assert verdict.accepted, verdict.detail


async def test_hidden_files_lie_over_what_the_candidate_wrote_there(pool):
    over = "--- /dev/null\n+++ b/tests/test_stack.py\n@@ -0,0 +1 @@\n+def test_nothing(): pass\n"
    verdict = await pool.judge(repo(), f"```diff\n{over}```", limits=ROOMY)
    assert verdict.verdict == "wrong_answer"


@pytest.mark.parametrize(
    ("answer", "kind", "detail"),
    [
        ("no patch at all", "no_program", "holds no patch"),
        (PATCH.replace("items[0]", "items[7]"), "compile_error", "hunk 1 of stack/core.py does not fit"),
        (PATCH.replace("stack/core", "stack/other"), "compile_error", "stack/other.py, which is not there"),
        (PATCH.replace("b/stack/core.py", "b/../../core.py"), "compile_error", "leaves the folder"),
    ],
)
async def test_a_patch_that_cannot_be_applied_says_why(pool, answer, kind, detail):
    verdict = await pool.judge(repo(), answer, limits=ROOMY)
    assert verdict.verdict == kind
    assert detail in verdict.detail


async def test_each_command_counts_and_the_first_that_fails_ends_it(pool):
    tests, program = script(
        "import sys\nsys.exit(int(sys.argv[1]))",
        verify=["python main.py 0", "python main.py 3", "python main.py 0"],
    )
    verdict = await pool.judge(tests, program)
    assert (verdict.verdict, verdict.passed, verdict.total) == ("wrong_answer", 1, 3)
    assert "python main.py 3 ended with 3" in verdict.detail


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("while True: pass", "time_limit"),
        ("x = bytearray(900 << 20)", "memory_limit"),
        ("print('x' * (2 << 20))", "output_limit"),
        ("import os\nos.kill(os.getpid(), 9)", "wrong_answer"),
        ("open('/etc/passwd')", "wrong_answer"),
        ("import subprocess\nsubprocess.run(['true'])", "wrong_answer"),
        ("import socket\nsocket.create_connection(('127.0.0.1', 80))", "wrong_answer"),
        ("import os\nos.symlink('/etc', 'etc')", "wrong_answer"),
        ("open('../out', 'w')", "wrong_answer"),
    ],
)
async def test_a_command_is_held_to_its_limits_and_to_its_folder(pool, source, kind):
    tests, program = script(source)
    verdict = await pool.judge(tests, program, limits=Limits(cpu_s=1, memory_mb=256))
    assert verdict.verdict == kind, verdict.detail


async def test_more_files_than_anybody_needs_end_the_run(pool):
    if pool.layer != "full":
        pytest.skip("no file can be made in this layer")
    tests, program = script("n = 0\nwhile True:\n    open(str(n), 'w')\n    n += 1")
    verdict = await pool.judge(tests, program, limits=Limits(cpu_s=20))
    assert verdict.verdict == "output_limit"


async def test_a_folder_that_is_filled_at_a_command_s_end_is_no_fault_of_the_judge_s(pool):
    if pool.layer != "full":
        pytest.skip("no file can be made in this layer")
    # The bound is passed in its last moment, when hardly anybody looks.
    source = "import os, sys\nif len(sys.argv) > 1:\n    for n in range(20050):\n        os.mkdir(str(n))\n    os._exit(0)"
    tests, program = script(source, verify=["python main.py fills", "python main.py"])
    verdict = await pool.judge(tests, program, limits=Limits(cpu_s=20))
    assert (verdict.verdict, verdict.passed) == ("output_limit", 0), verdict.detail


async def test_an_answer_lies_over_whatever_the_setup_made(pool):
    if pool.layer != "full":
        pytest.skip("a setup cannot make files in this layer")
    make = "import os\nos.makedirs('data/deep')\nopen('data/deep/x', 'w')\nopen('main', 'w')"
    tests = repo(files={"make.py": make}, hidden={}, setup=["python make.py"], verify=["python main/run.py"])
    new = "--- /dev/null\n+++ b/{}\n@@ -0,0 +1 @@\n+print(open('data').read())\n"
    verdict = await pool.judge(tests, f"```diff\n{new.format('data')}{new.format('main/run.py')}```")
    assert verdict.accepted, verdict.detail


async def test_a_failure_of_the_setup_is_the_tests_own(pool):
    tests, program = script("pass", setup=["python missing.py"])
    verdict = await pool.judge(tests, program)
    assert verdict.verdict == "judge_error"
    assert "setup command 1 of 1 failed" in verdict.detail


async def test_nothing_of_one_candidate_s_folder_is_there_for_the_next(pool):
    leave = "open('left.txt', 'w').write('x')\nimport os\nos.mkdir('closed', 0o700)"
    look = "import os, sys\nsys.exit(sorted(os.listdir()) not in (['.alpharay', 'main.py'], ['main.py']))"
    for _ in range(3):
        await pool.judge(*script(leave))
        verdict = await pool.judge(*script(look))
        assert verdict.accepted, verdict.detail


async def test_setup_makes_files_for_what_is_verified_where_the_sandbox_has_a_folder_of_its_own(pool):
    if pool.layer != "full":
        pytest.skip("files of this layer lie on the machine's disk, and can only be read")
    tests, program = script(
        "print(open('data/made.txt').read())\nimport tempfile\ntempfile.TemporaryFile().write(b'x')",
        files={"make.py": "import os\nos.makedirs('data')\nopen('data/made.txt', 'w').write('1')"},
        setup=["python make.py"],
    )
    verdict = await pool.judge(tests, program)
    assert verdict.accepted, verdict.detail


async def test_where_the_folder_is_the_machine_s_nothing_is_made_in_it(pool):
    verdict = await pool.judge(*script("open('main.py', 'a').write('x')\nopen('new', 'w').write('x')"))
    assert verdict.verdict == ("accepted" if pool.layer == "full" else "wrong_answer")


def test_pytest_is_shown_whole_where_ray_has_parts_of_what_it_needs_elsewhere():
    shown = "import ray; from alpharay.judge.workspace.shown import pytest_files; print(*pytest_files())"
    paths = subprocess.run(
        [sys.executable, "-c", shown], capture_output=True, text=True, check=True
    ).stdout.split()
    assert any(path.endswith("/_pytest/main.py") for path in paths)
    assert not any("colorama" in path for path in paths)
