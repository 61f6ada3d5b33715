"""The steps: each measures one thing that only a GPU can show, and writes a row as soon as it has it."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import yaml

from alpharay.merge import merge, merge_adapters
from alpharay.serve.environment import engine_build, installed
from alpharay.serve.state.engine_spec import CheckpointWeights, EngineSpec
from bench.gpu.engines import (
    ALPHAS,
    PROMPTS,
    adapted,
    answers_of,
    complete,
    computed,
    engines,
    member,
    memory,
    on_gpu,
    one_token,
)
from bench.gpu.pairs import Pair

Values = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One call: what it measures with, and where its rows go. only: of the rows; empty: all of them."""

    pair: Pair
    samples: int
    tokens: int
    rows: Path
    scratch: Path
    only: frozenset[str] = frozenset()

    async def row(self, step: str, name: str, measure: Callable[[], Awaitable[Values]]) -> None:
        """Measures, and writes the row at once; one that fails is written as well, and the next one goes on."""
        if self.only and name not in self.only:
            return
        began = time.monotonic()
        try:
            values, failed = await measure(), False
        except Exception as error:
            values, failed = {"error": f"{type(error).__name__}: {error}"[:500]}, True
        self.write(step, name, values, failed=failed, seconds=time.monotonic() - began)

    def write(self, step: str, name: str, values: Values, *, failed: bool, seconds: float) -> None:
        shown = {
            "step": step,
            "row": name,
            "pair": self.pair.name,
            "failed": failed,
            "seconds": round(seconds, 2),
        }
        line = json.dumps(shown | {"values": values})
        self.rows.parent.mkdir(parents=True, exist_ok=True)
        with self.rows.open("a") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        print(line, flush=True)


async def kit(run: Run) -> None:
    """What is installed, and what doctor says of it."""

    async def versions() -> Values:
        import torch

        names = ("torch", "ray", "triton", "flashinfer-python", "cuda-python")
        device = torch.cuda.get_device_name() if on_gpu() else f"{platform.machine()}, CPU"
        build = engine_build() or "vllm"
        return {"device": device, "python": platform.python_version(), build: version(build)} | {
            name: installed(name) for name in names
        }

    async def doctor() -> Values:
        command = [str(Path(sys.executable).with_name("alpharay")), "doctor"]
        ended = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=200, check=False
        )
        amiss = [line for line in ended.stdout.splitlines() if not line.startswith("ok ")]
        return {"exit": ended.returncode, "amiss": amiss[:20]}

    await run.row("kit", "versions", versions)
    await run.row("kit", "doctor", doctor)


async def engine(run: Run) -> None:
    """One engine through the fork server, and real samples."""
    began = time.monotonic()
    async with engines(run.pair, [computed(run.pair, ALPHAS[1])]) as (running,):
        ready = time.monotonic() - began

        async def start() -> Values:
            return {"start_s": ready, "memory_gib": memory()}

        async def sample() -> Values:
            started = time.monotonic()
            (choice,) = await complete(
                running, member(ALPHAS[1]), PROMPTS[0], run.tokens, seed=7, top_p=0.9, top_k=20, logprobs=1
            )
            return {"sample_s": time.monotonic() - started, "text": choice["text"][:80]}

        for name, measure in (("start", start), ("first sample", sample), ("second sample", sample)):
            await run.row("engine", name, measure)


async def compiling(run: Run) -> None:
    """Starts with an empty compile cache, with a full one, and of a second member of the same folder."""
    for name, alpha in (("cold", ALPHAS[0]), ("warm", ALPHAS[0]), ("second member", ALPHAS[2])):

        async def start(alpha: float = alpha) -> Values:
            began = time.monotonic()
            async with engines(run.pair, [computed(run.pair, alpha)]):
                return {"start_s": time.monotonic() - began}

        await run.row("compile", name, start)


async def shift(run: Run) -> None:
    """An engine that moves to three points and back beside engines that started there: the same bits?"""
    expected: dict[float, list[Any]] = {}
    written = await asyncio.to_thread(
        merge,
        low=run.pair.low,
        high=run.pair.high,
        alphas=ALPHAS,
        out=run.scratch / "written",
        dtype=run.pair.merged_dtype,
    )
    folders = {output.alpha: output.path for output in written.outputs}
    for alpha in ALPHAS:

        async def fresh(alpha: float = alpha) -> Values:
            began = time.monotonic()
            on_disk = EngineSpec(
                members=(member(alpha),), weights=CheckpointWeights(checkpoint=folders[alpha])
            )
            async with engines(run.pair, [on_disk]) as (running,):
                start = time.monotonic() - began
                expected[alpha] = await answers_of(running, member(alpha), run.tokens)
            return {"start_s": start}

        await run.row("shift", f"fresh engine at {alpha:g}", fresh)
    if len({json.dumps(answers) for answers in expected.values()}) != len(expected):
        raise RuntimeError("all alphas say the same: nothing is compared")
    async with engines(run.pair, [computed(run.pair, *ALPHAS)]) as (running,):
        for alpha in (*ALPHAS[1:], *ALPHAS):

            async def move(alpha: float = alpha) -> Values:
                first = await one_token(running, member(alpha))  # the move is in it
                moved = first - await one_token(running, member(alpha))
                answers = await answers_of(running, member(alpha), run.tokens)
                if answers != expected.get(alpha, answers):
                    raise RuntimeError(
                        "its log-probabilities differ from those of an engine that started there"
                    )
                return {"move_s": moved, "compared": alpha in expected, "memory_gib": memory()}

            await run.row("shift", f"move to {alpha:g}", move)


async def three(run: Run) -> None:
    """Three members in one replica: the division of memory, answers of all, and one that dies."""
    began = time.monotonic()
    async with engines(run.pair, [computed(run.pair, alpha) for alpha in ALPHAS]) as running:
        ready = time.monotonic() - began

        async def start() -> Values:
            return {
                "start_s": ready,
                "cache_bytes": [await engine.cache_bytes() for engine in running],
                "memory_gib": memory(),
            }

        async def answer() -> Values:
            rate = await _rate(run, list(zip(running, map(member, ALPHAS), strict=True)), seeded=True)
            return {"tokens_s": rate}

        async def revive() -> Values:
            running[0].kill()
            started = time.monotonic()
            await running[0].start()
            return {"revival_s": time.monotonic() - started}

        for name, measure in (("start", start), ("all answer", answer), ("one revived", revive)):
            await run.row("three", name, measure)
        await run.row("three", "all answer after it", answer)


async def rate(run: Run) -> None:
    """Tokens a second of one engine, by how its samples are asked for."""
    async with engines(run.pair, [computed(run.pair, ALPHAS[1])]) as (running,):
        name = member(ALPHAS[1])
        pairs = [(running, name)]

        async def calls(**options: Any) -> Values:
            return {"tokens_s": await _rate(run, pairs, **options)}

        async def waves() -> Values:
            began, drawn, wave = time.monotonic(), 0, 1
            while drawn < run.samples:
                size = min(wave, run.samples - drawn)
                await asyncio.gather(
                    *(
                        complete(running, name, PROMPTS[0], run.tokens, seed=drawn + index)
                        for index in range(size)
                    )
                )
                drawn, wave = drawn + size, 2 * wave
            return {"tokens_s": run.samples * run.tokens / (time.monotonic() - began)}

        async def at_once() -> Values:
            began = time.monotonic()
            await complete(running, name, PROMPTS[0], run.tokens, n=run.samples, seed=3)
            return {"tokens_s": run.samples * run.tokens / (time.monotonic() - began)}

        await run.row("rate", "warm-up", lambda: calls(seeded=True))
        await run.row("rate", "calls, seeded", lambda: calls(seeded=True))
        await run.row("rate", "calls, unseeded", lambda: calls(seeded=False))
        await run.row("rate", "calls, seeded, top_p", lambda: calls(seeded=True, top_p=0.95))
        await run.row("rate", "waves", waves)
        await run.row("rate", "n", at_once)


async def _rate(run: Run, pairs: Sequence[tuple[Any, str]], *, seeded: bool, **fields: Any) -> float:
    """Tokens a second of all samples, asked for one by one, by turns of the (engine, member) pairs."""
    began = time.monotonic()
    seeds = ({"seed": sample} if seeded else {} for sample in range(run.samples))
    await asyncio.gather(
        *(
            complete(*pairs[sample % len(pairs)], PROMPTS[0], run.tokens, **seed, **fields)
            for sample, seed in enumerate(seeds)
        )
    )
    return run.samples * run.tokens / (time.monotonic() - began)


async def adapters(run: Run) -> None:
    """Every member a LoRA adapter in one batch."""
    low, high = run.pair.adapters
    merged = await asyncio.to_thread(
        merge_adapters, low=low, high=high, alphas=ALPHAS, out=run.scratch / "adapters"
    )
    paths = {member(output.alpha): output.path for output in merged.outputs}
    began = time.monotonic()
    async with engines(run.pair, [adapted(run.pair, paths)]) as (running,):
        ready = time.monotonic() - began

        async def start() -> Values:
            return {"start_s": ready, "memory_gib": memory()}

        async def answer() -> Values:
            return {"tokens_s": await _rate(run, [(running, name) for name in paths], seeded=True)}

        for name, measure in (("start", start), ("warm-up", answer), ("all answer", answer)):
            await run.row("adapters", name, measure)


async def serve(run: Run) -> None:
    """`alpharay serve` through Ray, and an engine of it that is killed."""
    config = run.scratch / "frontier.yaml"
    extra: Values = {"max_num_seqs": 64}
    if run.pair.cache is not None:
        extra["kv_cache_memory_bytes"] = run.pair.cache // len(ALPHAS)
    section = {
        "dtype": run.pair.dtype,
        "max_model_len": 512,
        "members_per_replica": len(ALPHAS),
        "extra": extra,
    }
    keys = {
        "endpoints": {"low": str(run.pair.low), "high": str(run.pair.high)},
        "members": list(ALPHAS),
        "engine": section,
    }
    config.write_text(yaml.safe_dump(keys))
    command = [str(Path(sys.executable).with_name("alpharay")), "serve", str(config), "--port", "0"]
    environment = os.environ | {"ALPHARAY_CACHE": str(run.scratch / "cache")}
    with (run.scratch / "serve.log").open("w") as errors:
        server = await asyncio.create_subprocess_exec(
            *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=errors
        )
    try:
        url = ""

        async def ready() -> Values:
            nonlocal url
            began = time.monotonic()
            try:
                url = await _ready_url(server)
            except RuntimeError as error:
                last = (run.scratch / "serve.log").read_text().splitlines()[-5:]
                raise RuntimeError(f"{error}: {' / '.join(last)}") from error
            return {"ready_s": time.monotonic() - began}

        async def answer() -> Values:
            began = time.monotonic()
            models = [member(alpha) for alpha in ALPHAS]
            texts = [await asyncio.to_thread(_ask, url, model, run.tokens) for model in models]
            return {"seconds": time.monotonic() - began, "texts": [text[:40] for text in texts]}

        async def revive() -> Values:
            processes = psutil.Process(server.pid).children(recursive=True)
            cores = [process for process in processes if "EngineCore" in " ".join(process.cmdline())]
            if not cores:
                raise RuntimeError("no process of an engine is found under the server")
            cores[0].send_signal(signal.SIGKILL)
            began, down = time.monotonic(), False
            while time.monotonic() - began < 300:
                up = await asyncio.to_thread(_all_up, url)
                down = down or not up
                if down and up:
                    return {"revival_s": time.monotonic() - began}
                await asyncio.sleep(0.2)
            raise TimeoutError("the engine that was killed did not come back within 300 s")

        for name, measure in (("ready", ready), ("answers", answer), ("killed engine", revive)):
            await run.row("serve", name, measure)
        await run.row("serve", "answers after it", answer)
    finally:
        if server.returncode is None:
            server.send_signal(signal.SIGINT)
        try:
            async with asyncio.timeout(60):
                await server.wait()
        except TimeoutError:
            server.kill()


async def _ready_url(server: asyncio.subprocess.Process) -> str:
    """Raises RuntimeError, with the end of its log: the server ended before it was ready."""
    assert server.stdout is not None
    async for line in server.stdout:
        words = line.decode().split()
        if words[:1] == ["ready"]:
            return words[1]
    raise RuntimeError(f"alpharay serve ended with {await server.wait()} before it was ready")


def _ask(url: str, model: str, tokens: int) -> str:
    body = {"model": model, "prompt": PROMPTS[0], "max_tokens": tokens, "seed": 1}
    request = urllib.request.Request(
        f"{url}/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        text: str = json.load(response)["choices"][0]["text"]
    return text


def _all_up(url: str) -> bool:
    """Whether every member can answer."""
    try:
        with urllib.request.urlopen(f"{url.removesuffix('/v1')}/ready", timeout=30) as response:
            return response.status == 200 and "degraded" not in json.load(response)
    except OSError:
        return False


# Step -> what it does and the minutes that it takes, as planned for one H100.
STEPS: dict[str, Callable[[Run], Awaitable[None]]] = {
    "kit": kit,
    "engine": engine,
    "compile": compiling,
    "shift": shift,
    "three": three,
    "rate": rate,
    "serve": serve,
    "adapters": adapters,
}
