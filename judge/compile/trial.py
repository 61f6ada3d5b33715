"""Whether this machine can judge a compiled language: a program that must work, and one that must not get far."""

import asyncio
import platform
from dataclasses import dataclass

from alpharay.judge.compile.compiling import Binaries
from alpharay.judge.errors import LanguageUnavailable, RunRefused, SandboxUnavailable, TrialFailed, WorkerDied
from alpharay.judge.languages import LANGUAGES
from alpharay.judge.limits import Limits
from alpharay.judge.pool.judging import Job, judge
from alpharay.judge.problem import StdioCase, StdioTests
from alpharay.judge.sandbox import toolchain
from alpharay.judge.sandbox.choice import start_safest
from alpharay.judge.sandbox.worker import Worker
from alpharay.judge.verdict import VerdictKind

ADDS = """
#include <iostream>
int main() { int a, b; std::cin >> a >> b; std::cout << a + b << std::endl; }
"""
# Prints the sum only when everything it tries is refused.
TRIES = """
#include <cstdio>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
int main() {
    int a, b, got = 0;
    if (scanf("%d %d", &a, &b) != 2) return 1;
    got += open("/", O_RDONLY) >= 0;
    got += open("/etc/passwd", O_RDONLY) >= 0;
    got += open("/tmp/made", O_CREAT | O_WRONLY, 0600) >= 0;
    got += socket(AF_INET, SOCK_STREAM, 0) >= 0;
    got += syscall(SYS_fork) >= 0;
    got += syscall(SYS_ptrace, 16, getppid(), 0, 0) >= 0;
    char *none[] = {nullptr};
    execve("/bin/true", none, none);
    syscall(SYS_execveat, 4, "/bin/true", none, none, 0x1000);
    if (!got) printf("%d", a + b);
}
"""
# What a trial program ends with on a machine that is short of time, memory or processes.
BUSY = {VerdictKind.JUDGE_ERROR, VerdictKind.TIME_LIMIT, VerdictKind.MEMORY_LIMIT}
TESTS = StdioTests((StdioCase("2 3", "5"),))


@dataclass(frozen=True, slots=True)
class LanguageReport:
    """One language on this machine. detail: by what it is run, or what is missing and how to get it."""

    name: str
    available: bool
    detail: str


def versions(name: str) -> str:
    """Raises LanguageUnavailable, with the way out, when something is not installed."""
    if name == "python":
        return f"Python {platform.python_version()}"
    return f"g++ {toolchain.find().version}, {' and '.join(toolchain.STANDARDS)}"


async def try_language(worker: Worker, name: str) -> None:
    """Raises LanguageUnavailable: its tools are missing, or what they made does not run as it must.

    Raises TrialFailed: that could not be found out now.
    """
    if not LANGUAGES[name].compiled:
        return
    versions(name)
    binaries = Binaries()
    for program in (ADDS, TRIES):
        job = Job(tests=TESTS, completion=f"```{name}\n{program}```", limits=Limits(), language=name)
        try:
            verdict = await judge(worker, job, binaries)
        except (RunRefused, WorkerDied, SandboxUnavailable) as error:
            raise TrialFailed(f"{name} programs cannot be judged now: {error}") from None
        if not verdict.accepted:
            told = f"a trial program ended as {verdict.verdict}: {verdict.detail}"
            if verdict.verdict in BUSY or "took more than" in verdict.detail:
                raise TrialFailed(f"{name} programs cannot be judged now: {told}")
            raise LanguageUnavailable(f"{name} programs cannot be judged here: {told}")


async def examine_languages(sandbox: str = "auto") -> tuple[LanguageReport, ...]:
    """Tries each language. Raises SandboxUnavailable when no program can be run at all."""
    worker = await start_safest(sandbox)
    reports = []
    try:
        for name in LANGUAGES:
            try:
                await try_language(worker, name)
                reports.append(LanguageReport(name, True, versions(name)))
            except (LanguageUnavailable, TrialFailed) as error:
                reports.append(LanguageReport(name, False, str(error)))
    finally:
        worker.close()
    return tuple(reports)


def probe_languages(sandbox: str = "auto") -> tuple[LanguageReport, ...]:
    """`examine_languages` for callers without an event loop."""
    return asyncio.run(examine_languages(sandbox))
