"""What is done to the server meanwhile, and how long it takes to be ready again."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import httpx
import psutil

from bench.processes import holding

_BETWEEN_S = (8.0, 20.0)
_STORE_S = 10.0
_ENDED_S = 60.0  # `hang_s`, a last chance, and a machine that is short of CPU
_NOTICED_S = (
    3.0  # reports reach the ingress within two seconds; before that `/ready` knows nothing of a fault
)
_ROLLED_S = 240.0  # five engines start beside those that serve, on a machine that has none to spare
_EMBEDDED = files("alpharay.serve") / "embedded"
FAULTS = {
    "an engine killed": ("EngineCore", signal.SIGKILL),
    "an engine hung": ("EngineCore", signal.SIGSTOP),
    "the judge killed": ("ServeReplica:alpharay:judge", signal.SIGKILL),
    "a judge's worker killed": ("bwrap", signal.SIGKILL),
}
KINDS = (*FAULTS, "the store locked", "other checkpoints")


@dataclass(slots=True)
class Damage:
    """recovered: per kind of fault, seconds until it was noticed and `/ready` named no degraded member any more."""

    recovered: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    findings: list[str] = field(default_factory=list)


def processes(server: int, word: str) -> list[psutil.Process]:
    return holding(word, psutil.Process(server).children(recursive=True))


async def break_things(
    server: int,
    root: str,
    config: Path,
    store: Path,
    chance: random.Random,
    until: float,
    damage: Damage,
    kinds: Sequence[str] = KINDS,
) -> None:
    """One fault after the other until the clock says `until`; each heals before the next.

    config: what the server was started with, and reads again. kinds: which faults, of `KINDS`.
    """
    async with httpx.AsyncClient() as client:
        while time.monotonic() < until:
            await asyncio.sleep(chance.uniform(*_BETWEEN_S))
            kind = chance.choice(kinds)
            started = time.monotonic()
            if kind == "other checkpoints":
                if not await _other_checkpoints(client, server, root, config):
                    damage.findings.append(f"{kind}: not served within {_ROLLED_S:g} s")
            elif kind == "the store locked":
                if not await asyncio.to_thread(_lock, store):
                    continue
            else:
                process = _signal(server, *FAULTS[kind], chance)
                if process is None:
                    continue
                if not await _ended(process):
                    damage.findings.append(f"{kind}: still there after {_ENDED_S:g} s")
            await asyncio.sleep(_NOTICED_S)
            answer = await _ready(client, root, 120)
            if answer is None:
                damage.recovered[kind].append(time.monotonic() - started)
            else:
                now = time.strftime("%H:%M:%S")
                damage.findings.append(f"{kind}: not ready again within 120 s, at {now}: {answer}")


def _signal(server: int, word: str, number: int, chance: random.Random) -> psutil.Process | None:
    """Sends it to one of these processes, and returns that one; None: there is none."""
    alive = processes(server, word)
    process = chance.choice(alive) if alive else None
    with suppress(psutil.NoSuchProcess):
        if process is not None:
            process.send_signal(number)
            return process
    return None


async def _ended(process: psutil.Process) -> bool:
    """Whether it ends in time: killed here, or by the host that found it hung."""
    until = time.monotonic() + _ENDED_S
    with suppress(psutil.NoSuchProcess):
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > until:
                return False
            await asyncio.sleep(0.2)
    return True


async def _other_checkpoints(client: httpx.AsyncClient, server: int, root: str, config: Path) -> bool:
    """Has the server roll to the other of two `low` endpoints; whether it came to serve it."""
    before = await _checkpoint(client, root, other_than="")
    await asyncio.to_thread(_swap_low, config)
    os.kill(server, signal.SIGHUP)
    return bool(before and await _checkpoint(client, root, other_than=before))


def _swap_low(config: Path) -> None:
    text = config.read_text()
    now, then = (f"low: '{_EMBEDDED}/{name}'" for name in ("low", "init"))
    config.write_text(text.replace(now, then) if now in text else text.replace(then, now))


async def _checkpoint(client: httpx.AsyncClient, root: str, *, other_than: str) -> str:
    """That of the member at alpha 0, which is `low`, once it is another; nothing when it does not come."""
    until = time.monotonic() + _ROLLED_S
    while time.monotonic() < until:
        try:
            models = (await client.get(f"{root}/v1/models", timeout=10)).json().get("data", [])
        except httpx.HTTPError:
            models = []
        checkpoints = [model["alpharay"]["checkpoint"] for model in models if model["id"] == "frontier@0"]
        if checkpoints and checkpoints[0] != other_than:
            return str(checkpoints[0])
        await asyncio.sleep(0.5)
    return ""


def _lock(store: Path) -> bool:
    """Holds the store's write lock, as a backup or a stuck neighbour would; False where there is no store."""
    if not store.exists():
        return False
    connection = sqlite3.connect(store, timeout=5)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        time.sleep(_STORE_S)
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True


async def _ready(client: httpx.AsyncClient, root: str, seconds: float) -> str | None:
    """None once every member can answer, else what `/ready` answered last."""
    until, last = time.monotonic() + seconds, ""
    while time.monotonic() < until:
        try:
            answer = await client.get(f"{root}/ready", timeout=10)
            if answer.status_code == 200 and "degraded" not in answer.json():
                return None
            last = f"{answer.status_code} {answer.text[:300]}"
        except httpx.HTTPError as error:
            last = repr(error)
        await asyncio.sleep(0.5)
    return last
