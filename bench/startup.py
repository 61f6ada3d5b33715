"""How long `alpharay serve` takes to be ready, and what it holds: members in one replica against one each.

    python bench/startup.py --pairs 2 --out bench/results/startup.md

Both ways serve the embedded frontier's five members; they are started in turn, so that both meet the same
neighbours on a shared machine. Seconds are wall time from the command to its `ready` line; CPU seconds and
proportional memory (PSS) are those of the whole process tree at that moment.
"""

from __future__ import annotations

import argparse
import os
import platform
import selectors
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path

import psutil
import yaml

WAYS = {"all members in one replica": 9, "one replica a member": 1}


def config(folder: Path, members_per_replica: int) -> Path:
    embedded = Path(str(files("alpharay.serve") / "embedded"))
    text = (embedded / "frontier.yaml").read_text()
    whole = yaml.safe_load(text)
    whole["checkpoints"] = {name: f"{embedded}/{location}" for name, location in whole["checkpoints"].items()}
    whole["router"]["portfolio"] = f"{embedded}/portfolio.yaml"
    whole["engine"]["members_per_replica"] = members_per_replica
    path = folder / f"{members_per_replica}.yaml"
    path.write_text(yaml.safe_dump(whole))
    return path


def start_once(path: Path, cache: Path) -> tuple[float, float, float]:
    """(seconds until ready, CPU seconds, GiB of PSS)."""
    started = time.monotonic()
    command = [sys.executable, "-m", "alpharay.serve.cli.main", "serve", str(path), "--port", "0"]
    environment = {**os.environ, "ALPHARAY_CACHE": str(cache)}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    try:
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(900) or not process.stdout.readline().startswith("ready"):
                raise SystemExit("the server did not get ready")
        seconds = time.monotonic() - started
        tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        times = [child.cpu_times() for child in tree]
        cpu = sum(child.user + child.system for child in times)
        memory = sum(child.memory_full_info().pss for child in tree) / 2**30
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)
    return seconds, cpu, memory


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    measured: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.pairs):
            for way, size in WAYS.items():
                figures = start_once(config(Path(folder), size), Path(folder) / "cache")
                measured[way].append(figures)
                print(f"{way}: {figures[0]:.1f} s, {figures[1]:.0f} CPU s, {figures[2]:.2f} GiB", flush=True)
    cores = len(os.sched_getaffinity(0))
    memory = psutil.virtual_memory().total / 2**30
    lines = [
        "# Start-up: members in one replica against one each",
        "",
        (
            f"`bench/startup.py --pairs {arguments.pairs}` on {cores} cores ({platform.machine()}), "
            f"{memory:.0f} GiB, Python {platform.python_version()}, no GPU; in turn, medians (range of seconds)."
        ),
        "",
        "| | seconds until ready | CPU seconds | GiB (PSS) |",
        "| --- | --- | --- | --- |",
    ]
    for way, rows in measured.items():
        seconds = [row[0] for row in rows]
        middle = [statistics.median(row[column] for row in rows) for column in range(3)]
        lines.append(
            f"| {way} | {middle[0]:.1f} ({min(seconds):.1f}-{max(seconds):.1f}) | {middle[1]:.0f} "
            f"| {middle[2]:.2f} |"
        )
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
