"""`alpharay attempt` with real coding agents: runs in worktrees of a repository, each pinned to a member, offline.

An agent's last message goes into a file of its worktree, as the embedded frontier cannot edit files by tools; where a
member answers with nothing, the file is empty and the verification refuses the run. A row passes when a run was accepted, the
branch that is offered has its file, every run was pinned to its member, every request was answered with 200, and no
worktree is left.

    python -m tests.agents.attempts [--agents codex,claude] [--folder build/agents] [--report FILE]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.agents.agents import AGENTS, TASK, VERSIONS
from tests.agents.listening import Listener, listener
from tests.agents.run import installed_agent
from tests.agents.starting import bare_environment, parser_for, reported, run_program, stretched

_MEMBERS = (0.0, 0.5, 1.0)
_RUNS = 6
_VERIFY = "test -s answer.txt"
_HEAD = [
    f"`alpharay attempt -n {_RUNS} --all --verify '{_VERIFY}' -- AGENT`, offline, by `make agents`: vLLM on the CPU, three members of",
    "the embedded frontier, stretched to 131,072 tokens. An agent's last message goes into `answer.txt`; where a member answers with",
    "nothing it stays empty, and the verification refuses the run.",
    "",
    "| agent | version | result | requests of each member | its table | seconds |",
    "| --- | --- | --- | --- | --- | --- |",
]
# As docs/agents.md has them; the last words go into a file.
_COMMANDS = {
    "codex": ["{program}", "exec", "--skip-git-repo-check", "--sandbox", "read-only", "-c",
              'model_providers.alpharay.base_url="{url}"', "-o", "answer.txt", TASK],
    "claude": ["sh", "-c", '"$0" -p "$1" --model frontier > answer.txt', "{program}", TASK],
}  # fmt: skip


def main() -> int:
    summary = __doc__.partition("\n")[0]
    parser = parser_for(
        summary, "agents", _COMMANDS, folder="build/agents", seconds=300, each="for all runs of one agent"
    )
    arguments = parser.parse_args()
    names = arguments.names.split(",")
    folder = arguments.folder.resolve()
    programs = {name: installed_agent(name, folder) for name in names}
    with (
        tempfile.TemporaryDirectory() as scratch,
        stretched(Path(scratch), tokens=131072, most=1024, members=_MEMBERS) as root,
        listener(root) as between,
    ):
        rows = [_attempted(name, programs[name], between, Path(scratch), arguments.seconds) for name in names]
    return reported(_HEAD, rows, arguments.report)


def _attempted(name: str, program: Path | None, between: Listener, scratch: Path, seconds: float) -> str:
    version = VERSIONS[name][2]
    if program is None:
        return f"| {name} | {version} | not installed | | | |"
    home, temporary = scratch / f"{name}-home", scratch / f"{name}-temporary"
    home.mkdir()
    temporary.mkdir()
    repository = _repository(scratch / f"{name}-repository")
    environment = bare_environment(home) | {"TMPDIR": str(temporary), "CI": "1"}
    environment |= AGENTS[name](between.root, home).environment
    agent = [word.replace("{program}", str(program)) for word in _COMMANDS[name]]
    command = [sys.executable, "-m", "alpharay.serve.cli.main", "attempt", "-n", str(_RUNS), "--all"]
    command += ["--verify", _VERIFY, "--server", between.root, "--", *agent]
    between.heard.clear()
    started = time.monotonic()
    code, printed = run_program(command, repository, environment, seconds)
    took = time.monotonic() - started

    posts = [request for request in between.heard if request.method == "POST"]
    members = [f"frontier@{alpha:g}" for alpha in _MEMBERS]
    counts = {
        member: sum(request.path.startswith(f"/members/{member}/") for request in posts) for member in members
    }
    branches = _git(repository, "for-each-ref", "--format", "%(refname:short)", "refs/heads/attempt").split()
    expectations = {
        f"no run was accepted: {code}": code == "exit code 0",
        "a member was not asked": all(counts.values()),
        "a request of no member": sum(counts.values()) == len(posts),
        "a request failed": all(request.status == 200 for request in posts),
        "no branch": len(branches) == 1 and _git(repository, "ls-tree", branches[0], "answer.txt") != "",
        "a worktree is left": len(_git(repository, "worktree", "list").splitlines()) == 1,
    }
    faults = [fault for fault, holds in expectations.items() if not holds]
    if faults:
        summaries = [request.summary for request in posts]
        print(f"--- {name}: {faults}; {summaries}\n{printed[-3000:]}", file=sys.stderr)
    table = [" ".join(line.split()) for line in printed.splitlines() if line[:1].isdigit()]
    shown = ", ".join(f"{member} {count}" for member, count in counts.items())
    result = "; ".join(faults) or "passed"
    return f"| {name} | {version} | {result} | {shown} | {'<br>'.join(table)} | {took:.0f} |"


def _repository(folder: Path) -> Path:
    folder.mkdir()
    _git(folder, "init", "--quiet", "--initial-branch", "main")
    (folder / "README.md").write_text("# A project\n")
    _git(folder, "add", "--all")
    _git(folder, "-c", "user.name=u", "-c", "user.email=u@x", "commit", "--quiet", "--message", "first")
    return folder


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
