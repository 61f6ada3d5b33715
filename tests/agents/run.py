"""`make agents`: real coding agents, one turn each, against `alpharay serve` on this machine.

The embedded frontier writes programs, not conversations: what is looked at is the way, not the words. An agent
passes when it ends by itself with exit code 0 and every request that it sent to a model was answered with 200, one
at least at the path of its dialect. Agents have neither account, key nor proxy, and a home of their own. They are
installed into a folder (npm, uv) unless they are there already.

    python -m tests.agents.run [--agents codex,claude] [--folder build/agents] [--report FILE]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.agents.agents import AGENTS, VERSIONS
from tests.agents.listening import Listener, listener
from tests.agents.starting import (
    bare_environment,
    own_environment,
    parser_for,
    reported,
    run_program,
    stretched,
)

_HEAD = [
    "One turn of each agent, offline, by `make agents`: vLLM on the CPU, the embedded frontier's `high` stretched to",
    "131,072 tokens. An agent passes when it ends by itself with exit code 0 and every request for a model was answered",
    "with 200.",
    "",
    "| agent | version | result | what it sent, and the status of the answer | seconds |",
    "| --- | --- | --- | --- | --- |",
]


def main() -> int:
    summary = __doc__.partition("\n")[0]
    parser = parser_for(
        summary, "agents", AGENTS, folder="build/agents", seconds=150, each="for one agent's turn"
    )
    parser.add_argument("--tool-call-parser", default="hermes")
    arguments = parser.parse_args()
    names = arguments.names.split(",")
    folder = arguments.folder.resolve()
    installed = {name: installed_agent(name, folder) for name in names}
    with (
        tempfile.TemporaryDirectory() as scratch,
        stretched(Path(scratch), tokens=131072, most=1024, parser=arguments.tool_call_parser) as root,
        listener(root) as between,
    ):
        rows = [_turn(name, installed[name], between, Path(scratch), arguments.seconds) for name in names]
    return reported(_HEAD, rows, arguments.report)


def installed_agent(name: str, folder: Path) -> Path | None:
    """The agent's program; None where it cannot be had."""
    registry, package, version = VERSIONS[name]
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "node_modules/.bin" / name if registry == "npm" else folder / name / "bin" / name
    if program.exists():
        return program
    try:
        if registry == "npm":
            npm = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder)]
            subprocess.run([*npm, f"{package}@{version}"], check=True, capture_output=True, timeout=600)
        else:
            own_environment(folder / name, f"{package}=={version}")
    except (OSError, subprocess.SubprocessError):
        return None
    return program if program.exists() else None


def _turn(name: str, program: Path | None, between: Listener, scratch: Path, seconds: float) -> str:
    version = VERSIONS[name][2]
    if program is None:
        return f"| {name} | {version} | not installed | | |"
    home, work = scratch / f"{name}-home", scratch / f"{name}-work"
    home.mkdir()
    work.mkdir()
    turn = AGENTS[name](between.root, home)
    between.heard.clear()
    started = time.monotonic()
    environment = bare_environment(home) | {"CI": "1"}
    code, output = run_program([str(program), *turn.arguments], work, environment | turn.environment, seconds)
    took = time.monotonic() - started
    posts = [request for request in between.heard if request.method == "POST"]
    fine = (
        code == "exit code 0"
        and any(request.path.partition("?")[0] == turn.path for request in posts)
        and all(request.status == 200 for request in posts)
    )
    counted = Counter(request.summary for request in between.heard)
    summaries = [f"{summary} (x{count})" if count > 1 else summary for summary, count in counted.items()]
    if not fine:
        print(f"--- {name}: {code}; {summaries}\n{output[-3000:]}", file=sys.stderr)
    return f"| {name} | {version} | {'passed' if fine else code} | {'<br>'.join(summaries)} | {took:.0f} |"


if __name__ == "__main__":
    sys.exit(main())
