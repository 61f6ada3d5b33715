"""`make conformance`: the tests of this folder against `alpharay serve` and against a bare vLLM server beside it.

Both serve the embedded frontier on the CPU; the bare server has the checkpoint of alpha = 1. Each test runs against
the ensemble, against a pinned member and against the bare server; the report lists where they differ.

    python -m tests.engine.conformance [--report bench/results/conformance.md] [--url URL] [--bare-url URL]
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

import httpx

from tests.engine.conformance.conftest import MODELS, URL
from tests.engine.conftest import START_S, _start_server

HERE = Path(__file__).parent
MEMBER = "frontier@1"
_HEAD = [
    "# Conformance",
    "",
    "The tests of `tests/engine/conformance`, by `make conformance`: vLLM on the CPU, the embedded frontier, the bare",
    "server with its checkpoint of alpha = 1. They are written in the manner of vLLM's own server tests, for what both",
    "servers share: shapes, streams, usage, logprobs, structures, stops, tools, refusals. A refusal must be the same",
    "streamed and unstreamed.",
    "",
    "Meant to differ, and in no test: the error's `type` is OpenAI's (`invalid_request_error`, vLLM: `BadRequestError`)",
    "and its `code` a word or null (vLLM: the status); more tokens of an answer than the model takes are cut to what it",
    "takes (vLLM: 400); a `tool_choice` of `auto` without tools is ignored (vLLM: 400).",
    "",
    "| server | passed | failed |",
    "| --- | --- | --- |",
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--report", type=Path, default=Path("bench/results/conformance.md"))
    parser.add_argument("--url", help="of an alpharay server that is running already, without /v1")
    parser.add_argument("--bare-url", help="of a vLLM server that is running already")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = arguments.url
        if url is None:
            running = _start_server(folder)
            stack.callback(running.stop)
            url = running.root
        results = {
            "alpharay, the ensemble": _outcomes(url, "frontier", folder),
            "alpharay, a pinned member": _outcomes(url, MEMBER, folder),
        }
        bare = arguments.bare_url or stack.enter_context(_bare(folder))
        results["vLLM"] = _outcomes(bare, MEMBER, folder)
    lines = [*_HEAD, *map(_counted, results, results.values()), "", *_differences(results)]
    arguments.report.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


def _outcomes(url: str, model: str, folder: Path) -> dict[str, str]:
    """{test: `passed`, or the first line of why not}."""
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", str(HERE)]
    subprocess.run(command, env={**os.environ, URL: url, MODELS: model}, check=False)
    outcomes = {}
    for case in ET.parse(report).iter("testcase"):
        # The model is the first of a test's parameters.
        file = case.get("classname", "").rpartition(".")[2]
        name = f"{file}::{case.get('name')}".replace(f"[{model}]", "").replace(f"[{model}-", "[")
        faults = [fault for kind in ("failure", "error", "skipped") if (fault := case.find(kind)) is not None]
        outcomes[name] = (faults[0].get("message") or "failed").splitlines()[0] if faults else "passed"
    return outcomes


def _counted(server: str, outcomes: dict[str, str]) -> str:
    counts = Counter(outcome == "passed" for outcome in outcomes.values())
    return f"| {server} | {counts[True]} | {counts[False]} |"


def _differences(results: dict[str, dict[str, str]]) -> list[str]:
    names = list(next(iter(results.values())))
    differing = [
        name for name in names if len({result.get(name) == "passed" for result in results.values()}) > 1
    ]
    failing = [name for name in names if not any(result.get(name) == "passed" for result in results.values())]
    lines = [f"{len(names)} tests each; {len(differing)} differ, {len(failing)} fail everywhere.", ""]
    for name in [*differing, *failing]:
        lines.append(f"- `{name}`")
        for server, result in results.items():
            outcome = result.get(name, "not run")
            lines.append(f"  - {server}: {outcome if outcome == 'passed' else outcome[:120]}")
    return lines


@contextmanager
def _bare(folder: Path) -> Iterator[str]:
    """A vLLM server of the checkpoint that alpharay has merged for the member."""
    (checkpoint,) = folder.glob("cache/members/*/alpha=1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(checkpoint),
               "--served-model-name", MEMBER, "--host", "127.0.0.1", "--port", str(port),
               "--max-model-len", "512", "--dtype", "float32", "--enforce-eager"]  # fmt: skip
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"}
    with (folder / "vllm.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        deadline = time.monotonic() + START_S
        while not _is_up(f"http://127.0.0.1:{port}"):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"vLLM did not start:\n{(folder / 'vllm.log').read_text()[-2000:]}")
            time.sleep(1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    sys.exit(main())
