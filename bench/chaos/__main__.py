"""`make chaos`: minutes of mixed load while engines are killed and hung, the judge killed, the store locked, checkpoints
changed, clients leave and send nonsense; at the end a SIGTERM under load. Every request must end rightly, and nothing stay.

    python -m bench.chaos [--minutes 10] [--seed 1] [--clients 6] [--save]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from importlib.resources import files
from pathlib import Path

import httpx
import psutil

from bench.chaos.faults import KINDS, Damage, break_things, processes
from bench.chaos.requests import Tally, random_request, send

_RESULTS = Path(__file__).parents[1] / "results/chaos.md"
_LOG = Path("build/chaos-serve.log")
_CONFIG = """
name: frontier
endpoints: {{low: '{embedded}/low', high: '{embedded}/high'}}
engine: {{dtype: float32, max_model_len: 512, members_per_replica: 5, hang_s: 5,
         extra: {{max_num_seqs: 64, kv_cache_memory_bytes: 67108864}}}}
server: {{max_request_mb: 2, max_queued: 64, drain_s: 20, keep_alive_s: 2}}
{store}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument(
        "--faults", nargs="+", choices=KINDS, default=KINDS, metavar="KIND", help="only these"
    )
    parser.add_argument("--save", action="store_true", help=f"write {_RESULTS.name}")
    parser.add_argument("--no-store", action="store_true", help="serve without `store`")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        report, findings = _run(arguments, Path(scratch))
        if findings:
            _LOG.parent.mkdir(exist_ok=True)
            shutil.copy(Path(scratch) / "serve.log", _LOG)
    print(report)
    if findings:
        print(f"the server's log is in {_LOG}", file=sys.stderr)
    if arguments.save:
        _RESULTS.write_text(report)
    return int(bool(findings))


def _run(arguments: argparse.Namespace, scratch: Path) -> tuple[str, list[str]]:
    store = scratch / "alpharay.db"
    config = scratch / "chaos.yaml"
    embedded = files("alpharay.serve") / "embedded"
    config.write_text(
        _CONFIG.format(embedded=embedded, store="" if arguments.no_store else f"store: sqlite:///{store}")
    )
    log = scratch / "serve.log"
    with log.open("w") as errors:
        server = subprocess.Popen(
            [sys.executable, "-m", "alpharay.serve.cli.main", "serve", "--port", "0", str(config)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "ALPHARAY_CACHE": str(scratch / "cache")},
        )
    assert server.stdout is not None
    line = server.stdout.readline()
    if not line.startswith("ready "):
        raise SystemExit(f"the server did not get ready\n{log.read_text()[-2000:]}")
    url = line.split()[1]
    tally, damage = Tally(), Damage()
    try:
        memory, code, left = asyncio.run(_storm(arguments, server, url, config, store, tally, damage))
    finally:
        server.kill()
    findings = [*tally.findings, *damage.findings]
    findings += [f"answered twice: {response_id}" for response_id, times in tally.ids.items() if times > 1]
    findings += [] if code == 0 else [f"SIGTERM: exit code {code}"]
    findings += [f"left behind: {command}" for command in left]
    return _report(arguments, tally, damage, memory, findings), findings


async def _storm(
    arguments: argparse.Namespace,
    server: subprocess.Popen[str],
    url: str,
    config: Path,
    store: Path,
    tally: Tally,
    damage: Damage,
) -> tuple[list[str], int, list[str]]:
    root, until = url.removesuffix("/v1"), time.monotonic() + arguments.minutes * 60
    problems = [
        json.loads(line)
        for line in (files("alpharay.serve") / "embedded/problems.jsonl").read_text().splitlines()
    ]
    started = psutil.Process(server.pid)
    everyone = {process.pid: process for process in started.children(recursive=True)}
    before = _sizes(server.pid)
    ending = asyncio.Event()
    chance = random.Random(arguments.seed)
    async with httpx.AsyncClient(timeout=httpx.Timeout(150)) as client:

        async def one_client(number: int) -> None:
            own = random.Random(arguments.seed * 1000 + number)
            while not ending.is_set() or server.poll() is None:
                request = random_request(own, problems)
                begun = time.monotonic()
                await send(client, url, request, tally, ending=ending.is_set())
                tally.slowest = max(tally.slowest, time.monotonic() - begun)
                if ending.is_set():
                    await asyncio.sleep(0.2)

        clients = [asyncio.create_task(one_client(number)) for number in range(arguments.clients)]
        await break_things(server.pid, root, config, store, chance, until, damage, arguments.faults)
        after = _sizes(server.pid)
        everyone |= {process.pid: process for process in started.children(recursive=True)}
        ending.set()
        server.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(server.wait, 120)
        await asyncio.gather(*clients)
    _, alive = psutil.wait_procs(list(everyone.values()), timeout=20)
    left = [" ".join(process.cmdline())[:80] or process.name() for process in alive]
    for process in alive:
        process.kill()
    memory = [
        f"| {name} | {before.get(name, (0, 0))[0]:.0f} | {now[0]:.0f} | {before.get(name, (0, 0))[1]} | {now[1]} |"
        for name, now in after.items()
    ]
    return memory, code, left


def _sizes(server: int) -> dict[str, tuple[float, int]]:
    """Per part of the server its resident MB and open files, summed over its processes."""
    parts = {"ingress": "alpharay:ingress", "hosts": "alpharay:member", "engines": "EngineCore",
             "judge": "alpharay:judge", "cluster-state": "alpharay:cluster-state", "proxy": "ProxyActor"}  # fmt: skip
    sizes_of = {}
    for name, word in parts.items():
        sizes = []
        for process in processes(server, word):
            try:
                sizes.append((process.memory_info().rss / 1e6, process.num_fds()))
            except psutil.Error:
                continue
        sizes_of[name] = (sum(size for size, _ in sizes), sum(fds for _, fds in sizes))
    return sizes_of


def _report(
    arguments: argparse.Namespace, tally: Tally, damage: Damage, memory: list[str], findings: list[str]
) -> str:
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for (kind, outcome), count in tally.outcomes.items():
        kinds[kind][outcome] += count
    rows = [
        f"| {kind} | {', '.join(f'{outcome} {count}' for outcome, count in sorted(outcomes.items()))} |"
        for kind, outcomes in sorted(kinds.items())
    ]
    faults = [
        f"| {kind} | {len(times)} | {min(times):.1f} | {max(times):.1f} |"
        for kind, times in sorted(damage.recovered.items())
    ]
    load = ", ".join(f"{value:.0f}" for value in os.getloadavg())
    about = (
        f"`make chaos`: {arguments.minutes:g} minutes, seed {arguments.seed}, {arguments.clients} clients, "
        f"{os.cpu_count()} cores ({platform.machine()}), load average {load} at the end. "
        f"{sum(tally.outcomes.values())} requests, the slowest {tally.slowest:.0f} s."
    )
    return _PAGE.format(
        about=about,
        count=len(findings),
        findings="\n".join(f"- {finding}" for finding in findings[:40]) or "None.",
        rows="\n".join(rows),
        faults="\n".join(faults),
        memory="\n".join(memory),
    )


_PAGE = """# Chaos

{about}

Every request must end in a valid answer, in the error that it earned, or in 503 with `Retry-After` while something
is broken; none twice. `left`: the client went away on purpose. `error event`: the engine died under a stream that had
begun. `not connected`: after the SIGTERM at the end. Last table: for a while after a change of checkpoints the old engines
are there as well.

## Findings: {count}

{findings}

| requests | ended |
| --- | --- |
{rows}

| done to it | times | ready again after, s | at most |
| --- | --- | --- | --- |
{faults}

| part | MB before | MB after | files before | files after |
| --- | --- | --- | --- | --- |
{memory}
"""


if __name__ == "__main__":
    sys.exit(main())
