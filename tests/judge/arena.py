"""Runs the hostile programs in one layer, as whoever starts it, and prints one JSON line about each.

A program of its own, so that the tests can start it as root and as a plain user alike.
usage: arena.py LAYER VARIANT FOLDER …
"""

import asyncio
import ctypes
import json
import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from alpharay.judge.compile.compiling import Binaries
from alpharay.judge.limits import Limits
from alpharay.judge.pool.job import Job
from alpharay.judge.pool.judging import judge
from alpharay.judge.problem import parse_tests
from alpharay.judge.sandbox.layer import candidates
from alpharay.judge.sandbox.selftest import misjudged
from alpharay.judge.sandbox.toolchains import installed
from alpharay.judge.sandbox.worker import Worker

PR_SET_CHILD_SUBREAPER = 36

TESTS = {
    "stdio": parse_tests({"kind": "stdio", "cases": [{"input": "2 3", "output": "5"}]}),
    "call": parse_tests(
        {
            "kind": "call",
            "entry_point": "add",
            "cases": [{"args": [a, b], "output": a + b} for a, b in ((2, 3), (3, 4), (4, 5))],
        }
    ),
    "code": parse_tests(
        {
            "kind": "code",
            "entry_point": "add",
            "code": "def check(candidate):\n    for a, b in ((2, 3), (3, 4), (4, 5)):\n"
            "        assert candidate(a, b) == a + b, 'EXPECTED_CANARY'\n",
        }
    ),
}
TESTS["cpp"] = TESTS["stdio"]
# Compilers get less than they usually do, and those that get a bomb still less: it takes all that there is. Not of Java,
# whose compiler takes as much to start.
COMPILER = Limits(cpu_s=2.0, memory_mb=1024, output_bytes=16 << 20)
BINARIES = {"honest": Binaries(compiler=COMPILER), "bomb": Binaries(compiler=replace(COMPILER, cpu_s=0.5))}
BOMBS = ("cpp03", "b46", "b51", "b56", "rust b04", "rust b05", "rust b07")
# Programs that wait or loop until they are stopped need not be waited for long.
PATIENT, IMPATIENT = Limits(cpu_s=2.0), Limits(cpu_s=0.5)
ENDLESS = ("x01", "x03", "o27", "o42")


class Canaries:
    """Baits that a program must not touch."""

    def __init__(self) -> None:
        self.secret = secrets.token_hex(16)
        self.directory = Path(tempfile.mkdtemp(prefix="canary-"))
        self.directory.chmod(0o777)
        for name, text in (("secret", self.secret), ("victim", "untouched")):
            (self.directory / name).write_text(text)
            (self.directory / name).chmod(0o666)
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.port = self.tcp.getsockname()[1]
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", self.port))
        self.unix = socket.socket(socket.AF_UNIX)
        self.unix.bind(f"\0judge_canary_{self.port}")
        self.unix.listen()
        for bait in (self.tcp, self.udp, self.unix):
            bait.setblocking(False)

    def lay(self, source: str) -> str:
        return source.replace("@CANARY@", str(self.directory)).replace("@PORT@", str(self.port))

    def harmed(self, shown: str) -> list[str]:
        """What happened to them, given everything that came out of the run."""
        harm = []
        files = {path.name: path.read_text() for path in self.directory.iterdir()}
        if files != {"secret": self.secret, "victim": "untouched"}:
            harm.append(f"files changed: {sorted(files)}")
        if self.secret in shown or os.environ["JUDGE_CANARY"] in shown:
            harm.append("a secret came out")
        for name, reach in (
            ("tcp", self.tcp.accept),
            ("unix", self.unix.accept),
            ("udp", lambda: self.udp.recv(1)),
        ):
            try:
                reach()
            except BlockingIOError:
                continue
            harm.append(f"{name} was reached")
        return harm

    def remove(self) -> None:
        shutil.rmtree(self.directory)
        for bait in (self.tcp, self.udp, self.unix):
            bait.close()


def descendants(pid: int | None = None) -> set[int]:
    """Every process below this one; orphans come back to it, because it is their reaper."""
    below = set()
    for task in Path(f"/proc/{pid or os.getpid()}/task").glob("*/children"):
        try:
            children = {int(child) for child in task.read_text().split()}
        except OSError:
            continue
        below |= children.union(*(descendants(child) for child in children))
    return below


async def try_program(worker: Worker, name: str, mode: str, source: str, repeat: int) -> dict[str, object]:
    canaries = Canaries()
    kind = name.removeprefix(f"{mode} ")[0]
    limits = IMPATIENT if kind in "tph" or name.startswith(ENDLESS) else PATIENT
    before = descendants()
    language = "python" if mode in ("stdio", "call", "code") else mode
    answer = f"```{language}\n{canaries.lay(source)}\n```"
    binaries = BINARIES["bomb" if name.startswith(BOMBS) else "honest"]
    problems: list[str] = []
    for _ in range(repeat):
        job = Job(
            tests=TESTS.get(mode, TESTS["stdio"]),
            completion=answer,
            limits=limits,
            language=language,
            keep_output=True,
        )
        verdict = await judge(worker, job, binaries)
        shown = f"{verdict.stdout}\n{verdict.detail}"
        problems += [line for line in (verdict.stdout or "").splitlines() if line.startswith("PWNED")]
        problems += canaries.harmed(shown)
    if mode == "cpp":
        control = await judge(worker, replace(job, completion=CPP_CONTROL), CONTROLS)
        problems += [] if control.accepted else [f"the compiled control after it: {control}"]
    control = await judge(worker, Job(tests=TESTS["stdio"], completion=CONTROL, limits=PATIENT))
    if not control.accepted:
        problems.append(f"the control after it: {control}")
    if left := descendants() - before:
        problems.append(f"processes left: {sorted(left)}")
    canaries.remove()
    return {"name": name, "verdict": verdict.verdict, "detail": verdict.detail, "problems": problems}


def checked_problems(folder: Path) -> list[dict[str, Any]]:
    """The problems of a folder, with the sources of their checkers in place of their files' names."""
    problems: list[dict[str, Any]] = json.loads((folder / "problems.json").read_text())
    for problem in problems:
        for role in ("checker", "interactor"):
            program = problem["tests"].get(role)
            if program is None:
                continue
            if "file" in program:
                program["source"] = (folder / program.pop("file")).read_text()
            if "beside" in program:
                program["files"] = {name: (folder / name).read_text() for name in program.pop("beside")}
    return problems


async def try_checked(worker: Worker, problem: dict[str, Any], binaries: Binaries) -> list[dict[str, object]]:
    canaries, reports = Canaries(), []
    for role in ("checker", "interactor"):
        if role in problem["tests"]:
            problem["tests"][role]["source"] = canaries.lay(problem["tests"][role]["source"])
    tests, language = parse_tests(problem["tests"]), problem.get("language", "python")
    limits = Limits(cpu_s=0.5)
    for index, submission in enumerate(problem["submissions"]):
        answer = f"```{language}\n{canaries.lay(submission['program'])}\n```"
        job = Job(tests=tests, completion=answer, limits=limits, language=language)
        verdict = await judge(worker, job, binaries)
        worker.drop()
        if not worker.alive:  # it ends with a candidate that had a folder
            await worker.start()
        problems = canaries.harmed(verdict.detail)
        problems += ["it says that it got out"] if "PWNED" in verdict.detail else []
        problems += ["it tells the answer"] if "SECRET" in verdict.detail else []
        control = await judge(worker, Job(tests=TESTS["stdio"], completion=CONTROL, limits=PATIENT))
        problems += [] if control.accepted else [f"the control after it: {control}"]
        report = {"name": f"{problem['id']}/{index}", "verdict": verdict.verdict, "detail": verdict.detail}
        reports.append({**report, "problems": problems})
    canaries.remove()
    return reports


def language_programs(file: Path) -> list[tuple[str, list[str], str, str, str]]:
    """Name, verdicts, input, output and source of each program in a file of `cases/languages`."""
    programs = []
    for block in f"\n{file.read_text()}".split("\n//// ")[1:]:
        head, _, source = block.partition("\n")
        head, _, streams = head.partition(" < ")
        name, _, verdicts = head.rpartition(": ")
        input_text, expected = (
            (json.loads(text) for text in streams.split(" > ")) if streams else ("2 3", "5")
        )
        if isinstance(expected, dict):
            expected = "\n".join(map(str, range(expected["lines"])))
        programs.append((name, verdicts.split(", "), input_text, expected, source))
    return programs


def is_hostile(name: str) -> bool:
    return name[1:3].isdigit() and name[3] == " "


async def try_languages(worker: Worker, folder: Path) -> AsyncIterator[dict[str, object]]:
    """The hostile programs of each language that can be judged here."""
    for language in installed.present():
        file = folder / f"{language}.txt"
        if file.exists():
            for name, _, _, _, source in language_programs(file):
                if is_hostile(name):
                    yield await try_program(worker, f"{language} {name}", language, source, 1)


async def main(layer_name: str, variant: str, folders: list[Path]) -> None:
    layer = next(candidate for candidate in candidates(layer_name) if candidate.variant == variant)
    worker = Worker(layer)
    await worker.start()
    print(json.dumps({"misjudged": await misjudged(worker)}), flush=True)
    print(json.dumps({"languages": sorted(installed.present())}), flush=True)
    for folder in folders:
        if folder.name == "languages":
            async for report in try_languages(worker, folder):
                print(json.dumps(report), flush=True)
            continue
        if (folder / "problems.json").exists():
            binaries = Binaries()
            for problem in checked_problems(folder):
                for report in await try_checked(worker, problem, binaries):
                    print(json.dumps(report), flush=True)
            continue
        for name, entry in json.loads((folder / "expected.json").read_text())["programs"].items():
            if entry["mode"] in TESTS:
                source = (folder / "programs" / name).read_text()
                report = await try_program(worker, name, entry["mode"], source, entry.get("repeat", 1))
                print(json.dumps(report), flush=True)
    worker.close()


CPP_CONTROL = (
    '```cpp\n#include <cstdio>\nint main() { int a, b; scanf("%d %d", &a, &b); printf("%d", a + b); }\n```'
)
CONTROLS = Binaries()
CONTROL = "print(sum(map(int, input().split())))"

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    asyncio.run(main(sys.argv[1], sys.argv[2], list(map(Path, sys.argv[3:]))))
