"""What agents and tools run against, and with: a real server of a stretched model, and programs of other people's."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path

EMBEDDED = Path(str(files("alpharay.serve"))) / "embedded"

# Agents bring prompts of tens of thousands of tokens and offer tools. The embedded frontier reads 512 tokens and
# knows no tools: stretched, and with a parser, it answers nonsense to everything, which is all that is needed.
_CONFIG = """
name: frontier
endpoints: {{low: '{embedded}/low', high: '{embedded}/high'}}
members: {members}
engine:
  dtype: float32
  max_model_len: {tokens}
  members_per_replica: {replica}
  extra:
    hf_overrides: {{max_position_embeddings: {tokens}}}
    kv_cache_memory_bytes: 1073741824
    max_num_seqs: 8
    max_num_batched_tokens: {tokens}
    enable_auto_tool_choice: true
    tool_call_parser: {parser}
    override_generation_config: {{max_new_tokens: {most}, eos_token_id: {ends}}}
"""


def line_ends() -> list[int]:
    """The tokens that end a line, and the tokenizer's own end."""
    tokenizer = json.loads((EMBEDDED / "high" / "tokenizer.json").read_text())
    own = json.loads((EMBEDDED / "high" / "config.json").read_text())["eos_token_id"]
    # Byte-level BPE writes a line feed as Ċ.
    return sorted({own, *(number for word, number in tokenizer["model"]["vocab"].items() if "Ċ" in word)})


@contextmanager
def stretched(
    scratch: Path, *, tokens: int, most: int, members: Sequence[float] = (1,), parser: str = "hermes"
) -> Iterator[str]:
    """The root of a server whose model reads `tokens`, and answers with a line of at most `most`.

    An agent takes an answer that was cut for a failure: the model, which never learnt to converse, has to end.
    """
    config = scratch / "stretched.yaml"
    config.write_text(
        _CONFIG.format(
            embedded=EMBEDDED,
            parser=parser,
            members=list(members),
            replica=len(members),
            tokens=tokens,
            most=most,
            ends=line_ends(),
        )
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "alpharay.serve.cli.main", "serve", "--port", "0", str(config)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1", "ALPHARAY_CACHE": str(scratch / "cache")},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("ready "):
            raise SystemExit("the server did not get ready")
        yield line.split()[1].removesuffix("/v1")
    finally:
        process.terminate()
        try:
            process.wait(90)
        except subprocess.TimeoutExpired:
            process.kill()


def own_environment(folder: Path, *packages: str) -> Path:
    """The programs of an environment made from those packages, which is kept. Raises CalledProcessError."""
    programs = folder / "bin"
    if not (folder / ".made").exists():
        uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
        subprocess.run([uv, "venv", "-q", "--clear", "--python", sys.executable, str(folder)], check=True)
        install = [uv, "pip", "install", "-q", "--python", str(programs / "python"), *packages]
        subprocess.run(install, check=True, timeout=600)
        (folder / ".made").touch()
    return programs


def parser_for(
    description: str, what: str, names: Iterable[str], *, folder: str, seconds: float, each: str
) -> argparse.ArgumentParser:
    """Of a command that tries other people's programs: which ones, where they are installed, for how long."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(f"--{what}", dest="names", default=",".join(names))
    parser.add_argument("--folder", type=Path, default=Path(folder))
    parser.add_argument("--seconds", type=float, default=seconds, help=each)
    parser.add_argument("--report", type=Path)
    return parser


def bare_environment(home: Path) -> dict[str, str]:
    """Nothing of this user's but the path to programs."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "dumb", "NO_COLOR": "1"}


def run_program(
    command: Sequence[str], work: Path, environment: Mapping[str, str], seconds: float
) -> tuple[str, str]:
    """How it ended, and its output. All processes that it started are killed."""
    process = subprocess.Popen(
        command,
        cwd=work,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=seconds)
        return f"exit code {process.returncode}", output
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return f"not ended in {seconds:g} s", output
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def reported(head: Sequence[str], rows: Sequence[str], path: Path | None) -> int:
    """Prints a report and writes it to `path`. Returns an exit code: 1 if any row did not pass."""
    report = "\n".join([*head, *rows])
    print(report)
    if path:
        path.write_text(report + "\n")
    return int(any("| passed |" not in row for row in rows))
