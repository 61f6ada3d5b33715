"""Right programs, run as `python3 program.py`, as contest sites and as the formats' own harnesses run them."""

from __future__ import annotations

import json

import pytest

from alpharay.judge import Limits, ProblemError, VerdictKind, parse_problem, parse_tests
from alpharay.judge.formats.humaneval import convert as humaneval
from alpharay.judge.formats.livecodebench import convert as livecodebench
from alpharay.judge.formats.mbpp import convert as mbpp
from alpharay.judge.formats.mbpp_inputs import restored
from alpharay.judge.formats.row import Unusable

pytestmark = pytest.mark.asyncio(loop_scope="session")

COUNT = parse_tests({"kind": "stdio", "cases": [{"input": "one two\nthree\n", "output": "3"}]})
READ = "import sys\nprint(len(sys.stdin.read().split()))\n"


def answer(source, label="python"):
    return f"So:\n```{label}\n{source}\n```\n"


PYTHON = {
    "leaves by exit()": f"{READ}exit()\nprint(4)",
    "looks at its streams": f"{READ}assert (sys.stdin.mode, sys.stdin.name, sys.stdout.mode) == ('r', '<stdin>', 'w')",
    "leaves by quit(0)": f"{READ}quit(0)\nprint(4)",
    "has all that site adds": f"{READ}assert callable(help) and copyright and credits and license",
    "has what a script has": f"{READ}assert __name__ == '__main__' and sys.argv == ['program.py'] == sys.orig_argv[1:]\n"
    "assert __doc__ is __spec__ is __package__ is __cached__ is None and __file__ and __builtins__.print is print",
    "searches its own folder first": f"{READ}import os\nassert sys.path[0] == os.getcwd()",
    "asks whether it is at home": "import os, sys\nif not os.environ.get('ONLINE_JUDGE'): sys.stdin = open('in.txt')\n"
    + READ,
    "prints a long number": f"{READ}assert len(str(3 ** 20000)) == len(str(int(str(3 ** 20000)))) == 9543",
    "names its input": "print(len(open('/dev/stdin').read().split()))",
    "names its input by number": "from pathlib import Path\nprint(len(Path('/proc/self/fd/0').read_text().split()))",
    "names its input by folder": "import fileinput\nprint(sum(len(x.split()) for x in fileinput.input('/dev/fd/0')))",
    "names its output": "open('/dev/stdout', 'w').write('3\\n')\nopen('/dev/stderr', 'w').write('x')",
    "throws away": f"open('/dev/null', 'w').write('x' * 9)\n{READ}",
    "complains much": f"{READ}for _ in range(50): print('x' * 99_999, file=sys.stderr)",
    "has a thread with a large stack": "import sys, threading\nsys.setrecursionlimit(10**6)\n"
    "threading.stack_size(900 << 20)\ndef down(n): return n and 1 + down(n - 1)\n"
    f"def main():\n    assert down(30_000) == 30_000\n    {READ.splitlines()[1]}\n"
    "one = threading.Thread(target=main)\none.start()\none.join()",
    "maps what it does not touch": f"import mmap\nkept = mmap.mmap(-1, 2 << 30), mmap.mmap(-1, 1 << 30)\n{READ}",
}
CPP = {
    "is told where it runs": "#ifndef ONLINE_JUDGE\n#error at home\n#endif\n#include <cstdlib>\n"
    'int main() { puts(getenv("ONLINE_JUDGE") ? "3" : "4"); }',
    "names its input": 'int main() { std::ifstream in("/dev/stdin"); std::string s; int n = 0; while (in >> s) ++n;\n'
    'std::ofstream("/dev/stdout") << n; std::ofstream("/dev/null") << s; }',
    "complains much": "int main() { std::string s(99999, 'x'); for (int i = 0; i < 50; ++i) std::cerr << s; puts(\"3\"); }",
    "reserves what it does not touch": "static char large[1u << 30];\n"
    'int main() { volatile char *more = new char[1u << 30]; large[5] = more[7] = 1; puts("3"); }',
}


@pytest.mark.parametrize("source", PYTHON.values(), ids=PYTHON)
async def test_a_right_python_program_is_accepted_that(pool, source):
    verdict = await pool.judge(COUNT, answer(source))
    assert verdict.accepted, verdict


@pytest.mark.parametrize("source", CPP.values(), ids=CPP)
async def test_a_right_compiled_program_is_accepted_that(pool, source):
    text = f"#include <cstdio>\n#include <fstream>\n#include <iostream>\n#include <string>\n{source}"
    verdict = await pool.judge(COUNT, answer(text, "cpp"), language="cpp")
    assert verdict.accepted, verdict


async def test_memory_counts_when_it_is_touched(pool):
    source = "kept = b'x' * (200 << 20)\nprint(3)"
    for limit, kind in ((128, VerdictKind.MEMORY_LIMIT), (256, VerdictKind.ACCEPTED)):
        verdict = await pool.judge(COUNT, answer(source), limits=Limits(memory_mb=limit))
        assert verdict.verdict is kind, verdict


async def test_what_a_program_complains_of_last_is_told_after_whatever_it_said_before(pool):
    source = "import sys\nfor _ in range(30): print('x' * 99_999, file=sys.stderr)\nraise KeyError('the end')"
    verdict = await pool.judge(COUNT, answer(source), limits=Limits(output_bytes=1024))
    assert verdict.verdict is VerdictKind.RUNTIME_ERROR
    assert verdict.detail.endswith("KeyError: 'the end'")


async def test_a_missing_package_is_told_with_the_reason(pool):
    missing = await pool.judge(COUNT, answer("import numpy as np"))
    assert missing.detail.endswith(
        "'numpy' (the judge runs programs with Python's standard library, and the packages of the environment "
        "that judge.packages or --packages names)"
    )
    misspelt = await pool.judge(COUNT, answer("import collections.nothing"))
    assert misspelt.verdict is VerdictKind.RUNTIME_ERROR
    assert "standard library" not in misspelt.detail


TALLY = parse_tests(
    {
        "kind": "call",
        "entry_point": "tally",
        "cases": [{"args": [["a", "b", "a"]], "output": {"a": 2, "b": 1}}],
    }
)
FURNISHED = [
    "class Solution:\n    def tally(self, words: List[str]) -> Dict[str, int]: return Counter(words)",
    "def tally(words: list[str]):\n    seen = defaultdict(int)\n    for w in words: seen[w] += 1\n    return seen",
    (
        "class Solution:\n    def tally(self, words, root: Optional[TreeNode] = None, head: 'Optional[ListNode]' = None):\n"
        "        assert ListNode(1, ListNode(2)).next.val == 2 and TreeNode().left is None\n"
        "        assert heappop([1]) == bisect_left([1], 1) + 1 == gcd(3, 2) == math.lcm(1, 1) and inf > maxsize\n"
        "        assert list(accumulate([1, 2])) == [1, 3] and reduce(lambda a, b: a + b, [1, 2]) == 3 and pow(2, 3, 5) == 3\n"
        "        return dict(collections.Counter(words))"
    ),
    "@cache\ndef down(n): return n and 1 + down(n - 1)\ndef tally(words):\n    down(9000)\n    return Counter(words)",
    "def tally(words):\n    assert mean([1, 3]) == 2 and timedelta(days=1).days == 1\n    return Counter(words)",
]


@pytest.mark.parametrize("source", FURNISHED, ids=range(len(FURNISHED)))
async def test_a_function_finds_the_usual_names_without_an_import(pool, source):
    verdict = await pool.judge(TALLY, answer(source))
    assert verdict.accepted, verdict


async def test_a_program_for_standard_input_imports_what_it_uses(pool):
    verdict = await pool.judge(COUNT, answer("print(len(Counter(input().split())) + 1)"))
    assert "NameError" in verdict.detail


@pytest.mark.parametrize("kind", ["call", "code"])
async def test_a_usual_name_is_not_the_function_that_was_asked_for(pool, kind):
    call = {"kind": "call", "entry_point": "add", "cases": [{"args": [1, 2], "output": 3}]}
    code = {"kind": "code", "entry_point": "add", "code": "def check(f):\n    assert f(1, 2) == 3\n"}
    tests = parse_tests(call if kind == "call" else code)
    assert not (await pool.judge(tests, answer("class Solution: pass"))).accepted
    assert (await pool.judge(tests, answer("from operator import add\nclass Solution: pass"))).accepted


START = (
    "from typing import List, Tuple\nimport math\n\n\ndef root(x):\n    return math.sqrt(x)\n\n\n"
    'def widest(pairs: List[Tuple[int, int]]) -> float:\n    """The root of the largest distance."""\n'
)
WIDEST = humaneval(
    {
        "task_id": "Own/0",
        "entry_point": "widest",
        "prompt": START,
        "canonical_solution": "    return root(max(abs(a - b) for a, b in pairs))\n",
        "test": "def check(candidate):\n    assert candidate([(1, 5), (2, 3)]) == 2.0\n",
    }
)
BODY = "most = max(abs(a - b) for a, b in pairs)\n    return root(most)\n"


@pytest.mark.parametrize(
    "completion",
    [
        f"    {BODY}",
        f"\n    {BODY}",
        answer(f"    {BODY}"),
        BODY,
        answer(BODY.replace("    ", "")),
        answer(f"{START}    {BODY}"),
        answer(f"def widest(pairs: List[Tuple[int, int]]) -> float:\n    {BODY}"),
        answer(f"from __future__ import annotations\ndef widest(pairs: Anything):\n    {BODY}"),
    ],
    ids=["body", "blank", "fenced", "stripped", "outdented", "whole", "no imports", "future"],
)
async def test_an_answer_goes_on_where_the_prompt_ends_or_begins_anew(pool, completion):
    tests = parse_problem(WIDEST).tests
    assert (await pool.judge(tests, completion)).accepted
    wrong = await pool.judge(tests, completion.replace("abs(a", "5 + abs(a"))
    assert wrong.verdict is VerdictKind.WRONG_ANSWER, wrong


async def test_an_answer_that_fits_the_prompt_in_no_way_is_told_its_own_error(pool):
    tests = parse_problem(WIDEST).tests
    broken = await pool.judge(tests, answer("def widest(pairs:"))
    assert broken.verdict is VerdictKind.COMPILE_ERROR
    assert "line 1" in broken.detail
    assert (await pool.judge(tests, "I cannot do that.")).verdict is VerdictKind.NO_PROGRAM
    assert not (await pool.judge(tests, answer("pass"))).accepted


async def test_what_a_format_runs_before_its_answers_is_there(pool):
    row = {
        "task_id": 1,
        "text": "Area.",
        "test_list": ["assert area(1) == math.pi"],
        "test_imports": ["import math"],
    }
    verdict = await pool.judge(parse_problem(mbpp(row)).tests, answer("def area(r): return math.pi * r * r"))
    assert verdict.accepted, verdict
    case = {"input": "2 1 2\n", "output": "2\n", "testtype": "stdin"}
    row = {"question_id": "1", "question_content": "Count.", "public_test_cases": json.dumps([case])}
    source = "def main(words: List[str]): return len(Counter(words))\n"
    source += (
        "print(main(stdin.readline().split()), end=ascii_letters[:0])\nassert getrecursionlimit() == 50_000"
    )
    verdict = await pool.judge(parse_problem(livecodebench(row)).tests, answer(source))
    assert verdict.accepted, verdict


async def test_a_preamble_is_python_text():
    tests = {"kind": "stdio", "cases": [{"input": "", "output": ""}], "preamble": "import math\0"}
    with pytest.raises(ProblemError, match="null character"):
        parse_tests(tests)
    problem = {"id": "a", "prompt": "", "language": "cpp", "tests": {**tests, "preamble": "import math"}}
    with pytest.raises(ProblemError, match=r"tests\.preamble is Python"):
        parse_problem(problem)


@pytest.mark.parametrize(
    ("task", "arguments", "restored_to"),
    [
        ("Mbpp/2", [[1, 2], [3]], [(1, 2), (3,)]),
        ("Mbpp/63", [[[1, 2], [3, 4]]], [[(1, 2), (3, 4)]]),
        ("Mbpp/75", [[[1, 2]], 3], [[(1, 2)], 3]),
        ("106", [[1], [2]], [[1], (2,)]),
        ("Mbpp/115", [[[1, 1], []]], [[{1}, {}]]),
        ("Mbpp/124", ["1", "2+1j"], [1.0, 2 + 1j]),
        ("Mbpp/252", ["1j"], [1j]),
        ("Mbpp/278", [[1, [2]]], [(1, (2,))]),
        ("Mbpp/307", [["a", []], 1, 2], [("a", []), 1, 2]),
        ("Mbpp/401", [[[1, 2]], [[3]]], [((1, 2),), ((3,),)]),
        ("Mbpp/615", [[[1], [2]]], [((1,), (2,))]),
        ("Mbpp/722", [{"a": [1, 2]}, 3], [{"a": (1, 2)}, 3]),
        ("Mbpp/3", [[1]], [[1]]),
    ],
)
async def test_inputs_of_mbpp_are_what_their_harness_makes_of_them(task, arguments, restored_to):
    assert repr(restored(task, [arguments])) == repr([restored_to])


async def test_inputs_that_are_not_those_of_their_task_are_left_out():
    with pytest.raises(Unusable, match="task 124"):
        restored("Mbpp/124", [["x", "y"]])


async def test_a_solution_that_needs_a_complex_number_or_a_set_is_accepted(pool):
    row = {
        "task_id": "Mbpp/252", "prompt": "Polar form.", "entry_point": "convert", "base_input": [["1+1j"]],
        "plus_input": [["nan+infj"]], "atol": 1e-6,
        "canonical_solution": "import cmath\ndef convert(number):\n    return cmath.polar(number)[:1]\n",
    }  # fmt: skip
    problem = parse_problem(mbpp(row))
    assert (await pool.judge(problem.tests, answer(row["canonical_solution"]))).accepted
    assert not (await pool.judge(problem.tests, answer("def convert(number): return (2.0,)"))).accepted


BOUND = {
    "RLIMIT_CORE": (0, 0),
    "RLIMIT_MEMLOCK": (0, 0),
    "RLIMIT_MSGQUEUE": (0, 0),
    "RLIMIT_NOFILE": (64, 64),
    "RLIMIT_STACK": 64 << 20,
}
READ_LIMITS = f"""
import resource
def wrong():
    bound = {BOUND!r}
    got = {{name: resource.getrlimit(getattr(resource, name)) for name in bound}}
    for name in ("RLIMIT_CPU", "RLIMIT_AS", "RLIMIT_FSIZE", "RLIMIT_NPROC"):
        soft, hard = resource.getrlimit(getattr(resource, name))
        low, high = {{"RLIMIT_CPU": (3, 7), "RLIMIT_AS": (64 << 20, 1 << 36), "RLIMIT_FSIZE": (1 << 16, 1 << 26),
                     "RLIMIT_NPROC": (1, 1 << 16)}}[name]
        if not low <= soft == hard <= high:
            return [name, soft, hard]
    got["RLIMIT_STACK"] = got["RLIMIT_STACK"][0]
    return [[name, got[name]] for name in bound if got[name] != bound[name]]
"""


@pytest.mark.parametrize("kind", ["stdio", "call"])
async def test_each_limit_is_the_one_of_its_name(pool, kind):
    call = {"kind": "call", "entry_point": "wrong", "cases": [{"args": [], "output": []}]}
    stdio = {"kind": "stdio", "cases": [{"input": "", "output": "[]"}, {"input": "x", "output": "[]"}]}
    tests = parse_tests(call if kind == "call" else stdio)
    program = READ_LIMITS + ("" if kind == "call" else "print(wrong())")
    verdict = await pool.judge(tests, program, limits=Limits(cpu_s=2, memory_mb=64))
    assert verdict.accepted, verdict.detail


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return 'x' * 100_000", "accepted"),  # more than a pipe holds
        ("import os; os._exit(0)", "runtime_error"),
        ("import os; os.close(3); return 'x' * 100_000", "runtime_error"),
        ("import os; os.write(3, b'V1\\n' * 50); return 'x' * 100_000", "wrong_answer"),
        ("return 'y' * 100_000", "wrong_answer"),
    ],
    ids=["is long", "ends", "closes its report", "answers more than was asked", "is wrong"],
)
async def test_what_a_function_does_before_its_answers_are_watched_counts(pool, body, expected):
    cases = [{"args": [], "output": "x" * 100_000}] * 5
    tests = parse_tests({"kind": "call", "entry_point": "f", "cases": cases})
    verdict = await pool.judge(tests, f"def f():\n    {body}\n")
    assert verdict.verdict == expected, verdict.detail


@pytest.mark.parametrize(
    "test", ["", "import gc\nassert gc.get_referrers(Solution) is not None\n"], ids=["apart", "together"]
)
async def test_tests_find_the_same_names_in_a_process_of_their_own_and_in_the_candidate_s(pool, test):
    tests = parse_tests({"kind": "code", "code": f"{test}assert Solution().f([1, 2, 3]) == 2"})
    verdict = await pool.judge(tests, "class Solution:\n    def f(self, x):\n        return mean(x)\n")
    assert verdict.accepted, verdict.detail
