"""`make agents`: real coding agents, one turn each, against `alpharay serve` on this machine.

The embedded frontier writes programs, not conversations: what is looked at is the way, not the words. An agent
passes when it ends by itself with exit code 0 and every request that it sent to a model was answered, at the
endpoint of its dialect. Installs the agents into a folder of their own (npm, uv) unless they are there already.

    python -m tests.agents.run [--agents codex,claude] [--folder build/agents] [--report FILE]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.agents.agents import AGENTS, VERSIONS

# Agents bring prompts of tens of thousands of tokens and offer tools. The embedded frontier reads 512 tokens and
# knows no tools: stretched, and with a parser, it answers nonsense to everything, which is all that is needed.
_CONFIG = """
name: frontier
endpoints: {{low: '{embedded}/low', high: '{embedded}/high'}}
members: [1]
engine:
  dtype: float32
  max_model_len: 131072
  extra:
    hf_overrides: {{max_position_embeddings: 131072}}
    kv_cache_memory_bytes: 1073741824
    max_num_seqs: 8
    max_num_batched_tokens: 131072
    enable_auto_tool_choice: true
    tool_call_parser: {parser}
    override_generation_config: {{max_new_tokens: 48}}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--agents", default=",".join(AGENTS))
    parser.add_argument("--folder", type=Path, default=Path("build/agents"))
    parser.add_argument("--seconds", type=float, default=150, help="for one agent's turn")
    parser.add_argument("--tool-call-parser", default="hermes")
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    names = arguments.agents.split(",")
    folder = arguments.folder.resolve()
    installed = {name: _install(name, folder) for name in names}
    with tempfile.TemporaryDirectory() as scratch:
        process, root = _serve(Path(scratch), arguments.tool_call_parser)
        try:
            rows = [_turn(name, installed[name], root, Path(scratch), arguments.seconds) for name in names]
        finally:
            process.terminate()
            process.wait(60)
    report = "\n".join(
        [
            "| agent | version | result | requests answered | seconds |",
            "| --- | --- | --- | --- | --- |",
            *rows,
        ]
    )
    print(report)
    if arguments.report:
        arguments.report.write_text(report + "\n")
    return int(any("| passed |" not in row for row in rows))


def _install(name: str, folder: Path) -> Path | None:
    """The agent's program; None where it cannot be had."""
    registry, package, version = VERSIONS[name]
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "node_modules/.bin" / name if registry == "npm" else folder / name / "bin" / name
    if program.exists():
        return program
    if registry == "npm":
        steps = [
            ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), f"{package}@{version}"]
        ]
    else:
        own = str(folder / name / "bin/python")
        uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
        steps = [[uv, "venv", "-q", "--python", sys.executable, str(folder / name)],
                 [uv, "pip", "install", "-q", "--python", own, f"{package}=={version}"]]  # fmt: skip
    for step in steps:
        if subprocess.run(step, check=False, capture_output=True, timeout=600).returncode:
            return None
    return program if program.exists() else None


def _serve(scratch: Path, parser: str) -> tuple[subprocess.Popen[str], str]:
    embedded = files("alpharay.serve") / "embedded"
    config = scratch / "agents.yaml"
    config.write_text(_CONFIG.format(embedded=embedded, parser=parser))
    process = subprocess.Popen(
        [sys.executable, "-m", "alpharay.serve.cli", "serve", "--port", "0", str(config)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1", "ALPHARAY_CACHE": str(scratch / "cache")},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("ready "):
        process.kill()
        raise SystemExit("the server did not get ready")
    return process, line.split()[1].removesuffix("/v1")


def _turn(name: str, program: Path | None, root: str, scratch: Path, seconds: float) -> str:
    version = VERSIONS[name][2]
    if program is None:
        return f"| {name} | {version} | not installed | | |"
    home, work = scratch / f"{name}-home", scratch / f"{name}-work"
    home.mkdir()
    work.mkdir()
    turn = AGENTS[name](root, home)
    before, started = _answered(root), time.monotonic()
    # An environment of its own: no account, no key and no proxy of whoever runs this.
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "CI": "1", "TERM": "dumb", "NO_COLOR": "1"}
    try:
        ended = subprocess.run(
            [str(program), *turn.arguments],
            cwd=work,
            env=environment | turn.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        code, told = f"exit code {ended.returncode}", ended.stdout + ended.stderr
    except subprocess.TimeoutExpired as late:
        code, told = f"not ended in {seconds:g} s", f"{late.stdout!r} {late.stderr!r}"
    took = time.monotonic() - started
    now = _answered(root)
    new = {key: count - before.get(key, 0) for key, count in now.items() if count > before.get(key, 0)}
    fine = (
        code == "exit code 0" and (turn.endpoint, "ok") in new and {outcome for _, outcome in new} == {"ok"}
    )
    counts = ", ".join(
        f"{endpoint} {outcome} {count:g}" for (endpoint, outcome), count in sorted(new.items())
    )
    if not fine:
        print(f"--- {name}: {code}; {counts}\n{told[-3000:]}", file=sys.stderr)
    return f"| {name} | {version} | {'passed' if fine else code} | {counts} | {took:.0f} |"


def _answered(root: str) -> dict[tuple[str, str], float]:
    """Requests so far, by (endpoint, outcome)."""
    text = httpx.get(f"{root}/metrics", timeout=30).text
    return {
        (sample.labels["endpoint"], sample.labels["outcome"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "alpharay_requests_total"
    }


if __name__ == "__main__":
    sys.exit(main())
