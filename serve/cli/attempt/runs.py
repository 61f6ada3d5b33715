"""The runs: an agent and then its verification, each in a session of its own, which ends with its last process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from alpharay.serve.cli.attempt.worktrees import Worktrees, own_environment

T = TypeVar("T")

_ENDS_WITHIN_S = 5.0
# The end of a verification's output, where test runners say how many failed.
_TAIL_BYTES = 16 << 10
_FAILURES = re.compile(r"(\d+) (?:tests? )?(?:failed|failures?|errors?)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """members: of each run. server: its root. verify_all: go on after a pass. logs: a folder to keep output in."""

    command: Sequence[str]
    verify: str
    members: Sequence[str]
    server: str
    key: str | None
    at_once: int
    time_limit_s: float
    verify_all: bool = False
    logs: Path | None = None


@dataclass(slots=True, kw_only=True)
class Attempt:
    """What became of a run. agent, verification: exit codes; None: it was ended, or never begun.

    failures: as the verification tells them. commit: of its changes; "" without any. ended: why it did not come to its
    own end.
    """

    number: int
    member: str
    agent: int | None = None
    verification: int | None = None
    failures: int | None = None
    commit: str = ""
    changes: str = ""
    seconds: float = 0.0
    ended: str = ""

    @property
    def passed(self) -> bool:
        return self.verification == 0

    def rank(self) -> tuple[bool, bool, bool, float, int, int]:
        """The best first: passed, with changes, fewest failures."""
        failures = float("inf") if self.failures is None else self.failures
        code = 256 if self.verification is None else abs(self.verification)
        return (not self.passed, not self.commit, self.verification is None, failures, code, self.number)


class Runs:
    """say: called with a line when a run ends."""

    def __init__(self, wanted: Wanted, worktrees: Worktrees, say: Callable[[str], None]) -> None:
        self._wanted = wanted
        self._worktrees = worktrees
        self._say = say
        self._room = asyncio.Semaphore(wanted.at_once)
        # Git locks the repository for a moment; several at once would fail.
        self._git = asyncio.Lock()

    async def run(self) -> list[Attempt]:
        """All attempts, the best one first. Those that run when one passes are ended. Raises AttemptFailed."""
        attempts = [Attempt(number=n, member=name) for n, name in enumerate(self._wanted.members, 1)]
        tasks = {asyncio.create_task(self._attempt(attempt)): attempt for attempt in attempts}
        try:
            left = set(tasks)
            while left:
                done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                if any(tasks[task].passed for task in done) and not self._wanted.verify_all:
                    break
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return sorted(attempts, key=Attempt.rank)

    async def _attempt(self, attempt: Attempt) -> None:
        attempt.ended = "not begun"
        async with self._room:
            started = time.monotonic()
            attempt.ended = "no longer needed"
            try:
                async with asyncio.timeout(self._wanted.time_limit_s):
                    await self._begun(attempt)
                attempt.ended = ""
            except TimeoutError:
                attempt.ended = f"not ended in {self._wanted.time_limit_s:g} s"
            finally:
                attempt.seconds = time.monotonic() - started
        self._say(f"attempt {attempt.number} ({attempt.member}): {outcome_of(attempt)}")

    async def _begun(self, attempt: Attempt) -> None:
        wanted = self._wanted
        async with self._git:
            worktree = await _to_its_end(self._worktrees.add, f"{attempt.number}")
        pinned = f"{wanted.server}/members/{quote(attempt.member, safe='@')}"
        names = {"{url}": f"{pinned}/v1", "{root}": pinned, "{member}": attempt.member}
        command = [_replaced(word, names) for word in wanted.command]
        inside = worktree / self._worktrees.inside
        environment = _environment(pinned, attempt, wanted.key)
        log = self._log(attempt, "agent", worktree)
        attempt.agent = await _ran(command, inside, environment, log)
        async with self._git:
            message = f"Attempt {attempt.number}, by {attempt.member}"
            commit = await _to_its_end(self._worktrees.commit, worktree, message)
            attempt.changes = await _to_its_end(self._worktrees.changes, commit)
        attempt.commit = commit if attempt.changes else ""
        log = self._log(attempt, "verify", worktree)
        code = await _ran(["sh", "-c", wanted.verify], inside, own_environment(), log)
        attempt.failures = 0 if code == 0 else _failures(log)
        attempt.verification = code

    def _log(self, attempt: Attempt, what: str, worktree: Path) -> Path:
        folder = worktree.parent if self._wanted.logs is None else self._wanted.logs
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"attempt-{attempt.number}-{what}.log"


def outcome_of(attempt: Attempt) -> str:
    if attempt.ended:
        return attempt.ended
    if attempt.passed:
        return "passed"
    failures = f", {attempt.failures} failed" if attempt.failures else ""
    return f"exit code {attempt.verification}{failures}"


async def interruptible(work: Coroutine[Any, Any, int]) -> int:
    """Runs it; SIGTERM ends it as Ctrl-C does, once: what it cleans up then is left in peace. Raises KeyboardInterrupt."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()

    def end() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, lambda: None)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    try:
        return await task
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _to_its_end(call: Callable[..., T], *arguments: object) -> T:
    """What that call gives, made in a thread. Cancelled, it is waited for: the folder that it works in is deleted next."""
    work = asyncio.ensure_future(asyncio.to_thread(call, *arguments))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.gather(work, return_exceptions=True)
        raise


def _environment(pinned: str, attempt: Attempt, key: str | None) -> Mapping[str, str]:
    """The user's, and where agents look for their server (docs/agents.md). Its key alone goes there, not those of others."""
    url, secret, model = f"{pinned}/v1", key or "none", attempt.member.partition("@")[0]
    own = {name: value for name, value in own_environment().items() if name != "ANTHROPIC_API_KEY"}
    unless_set = {"ANTHROPIC_MODEL": model, "ANTHROPIC_DEFAULT_HAIKU_MODEL": model}
    return (
        unless_set
        | own
        | {
            "OPENAI_BASE_URL": url,
            "OPENAI_API_BASE": url,
            "OPENAI_API_KEY": secret,
            "ANTHROPIC_BASE_URL": pinned,
            "ANTHROPIC_AUTH_TOKEN": secret,
            "ALPHARAY_KEY": secret,
            "ALPHARAY_MEMBER": attempt.member,
            "ALPHARAY_ATTEMPT": f"{attempt.number}",
        }
    )


def _replaced(word: str, names: Mapping[str, str]) -> str:
    for name, value in names.items():
        word = word.replace(name, value)
    return word


async def _ran(command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> int:
    """The exit code; 127 where it cannot be started. Cancelled, it ends with all that it has started in its session."""
    with log.open("wb") as output:
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=folder,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except OSError as error:
            output.write(f"{command[0]}: {error.strerror}\n".encode())
            return 127
    try:
        return await process.wait()
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Asks all processes of the session to end, and then makes them."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ENDS_WITHIN_S):
                await process.wait()
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _failures(log: Path) -> int | None:
    """As the last line that tells of any has it; None: none does."""
    with log.open("rb") as output:
        output.seek(0, os.SEEK_END)
        output.seek(max(0, output.tell() - _TAIL_BYTES))
        lines = output.read().decode(errors="replace").splitlines()
    for line in reversed(lines):
        if counts := _FAILURES.findall(line):
            return sum(map(int, counts))
    return None
