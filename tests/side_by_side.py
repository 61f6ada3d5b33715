"""`make test`: three plain processes of pytest side by side, since tests of servers mostly wait.

What the first prints is shown as it comes, what the others print when all have ended; the failures, the reasons of
skips and the totals of all are the last lines. Ends with 1 if any failed. Options go to each of them; for a path call pytest.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

# Every test is in one of them: tests/test_layout.py knows the folders of those that start engines. To collect only these
# saves what the imports of the others cost.
FOLDERS = ("engine", "gpu", "merge", "serve")
GROUPS = {
    "engines": ("-m", "engine and not own_server", *(f"tests/{folder}" for folder in FOLDERS)),
    "servers": ("-m", "engine and own_server", "tests/engine"),
    "others": ("-m", "not engine"),
}
# As engines have it on the CPU: what requests go through comes first.
NICENESS = {"others": 10}
NOTHING_SELECTED = 5  # pytest's
SUMMARY = "short test summary info"
OUT = Path("build/tests")


def started(group: str, output: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-u", "-m", "pytest", "-o", f"cache_dir=.pytest_cache/{group}"]
    process = subprocess.Popen(
        [*command, *GROUPS[group], *sys.argv[1:]],
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS.get(group, 0))
    return process


def shown(process: subprocess.Popen[str]) -> str:
    """All that it prints, after it was passed on as it came."""
    text = ""
    assert process.stdout is not None
    while piece := process.stdout.read(1):
        text += piece
        print(piece, end="", flush=True)
    return text


def parted(text: str) -> tuple[str, str]:
    """What comes before the summary, and the rest: of a run that has nothing to sum up, its last line."""
    lines = text.rstrip().splitlines()
    first = next((number for number, line in enumerate(lines) if SUMMARY in line), len(lines) - 1)
    return "\n".join(lines[:first]), "\n".join(lines[first:])


def main() -> int:
    OUT.mkdir(parents=True, exist_ok=True)
    first, *rest = GROUPS
    processes = {first: started(first, subprocess.PIPE)}
    for group in rest:
        with (OUT / f"{group}.txt").open("w") as file:
            processes[group] = started(group, file.fileno())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        summaries = [parted(shown(processes[first]))[1]]
        codes = [process.wait() for process in processes.values()]
    except KeyboardInterrupt:  # the terminal has interrupted them as well
        shown(processes[first])  # which does not end while nobody reads its last words
        for process in processes.values():
            process.wait()
        return 130
    finally:
        for process in processes.values():
            if process.poll() is None:
                process.terminate()
    for group in rest:
        body, summary = parted((OUT / f"{group}.txt").read_text(errors="replace"))
        print("", body, sep="\n")
        summaries.append(summary)
    print("", *summaries, sep="\n", flush=True)
    ran = [code for code in codes if code != NOTHING_SELECTED]
    return int(any(ran) or not ran)


if __name__ == "__main__":
    raise SystemExit(main())
