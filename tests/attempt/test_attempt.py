"""`alpharay attempt`: agents in worktrees of a real repository, against a server that lists its members."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from alpharay.serve.cli.main import main
from alpharay.serve.state.members import ServedMember

MEMBERS = [ServedMember(name=f"frontier@{alpha:g}", alpha=alpha, sha256=f"{alpha}") for alpha in (0.0, 1.0)]


class Models(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"data": [{"id": member.name, "alpharay": member.note} for member in MEMBERS]})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Models) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def git(folder, *arguments):
    return subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with one commit, as the working directory; `scratch` beside it is where temporary folders go."""
    folder = tmp_path / "repository"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("HOME", str(tmp_path))  # nobody's configuration of git
    git(folder, "init", "--quiet", "--initial-branch", "main")
    (folder / "value").write_text("1\n")
    (folder / "sub" / "other").write_text("x\n")
    git(folder, "add", "--all")
    git(folder, "-c", "user.name=u", "-c", "user.email=u@x", "commit", "--quiet", "--message", "first")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def attempt(server, capsys):
    """attempt(n, verify, script, *options) has a shell be the agent: (exit code, table, errors)."""

    def run(attempts, verify, script, *options):
        command = ["attempt", "-n", str(attempts), "--server", server, "--verify", verify, *options]
        code = main([*command, "--", "sh", "-c", script, "agent", "{url}", "{root}", "{member}"])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def runs(pid):
    """Whether the process is alive; a zombie is not."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def branches(repository):
    return git(repository, "for-each-ref", "--format", "%(refname:short)", "refs/heads/attempt").split()


def nothing_is_left(repository):
    assert len(git(repository, "worktree", "list").splitlines()) == 1
    assert not list((repository.parent / "scratch").iterdir())
    assert git(repository, "status", "--porcelain") == ""
    assert git(repository, "rev-parse", "--abbrev-ref", "HEAD") == "main"


ONE_PASSES = 'if [ "$ALPHARAY_MEMBER" = frontier@1 ]; then echo 2 > value; else sleep 60; fi'


def test_the_first_run_that_passes_is_offered_as_a_branch_and_the_others_are_ended(repository, attempt):
    code, out, _ = attempt(2, "grep -q 2 value", ONE_PASSES)
    assert code == 0
    (branch,) = branches(repository)
    assert git(repository, "show", f"{branch}:value") == "2"
    assert (repository / "value").read_text() == "1\n"
    assert re.search(r"^1 +frontier@0 .* no longer needed", out, re.MULTILINE)
    assert re.search(r"^2 +frontier@1 +exit code 0 +1 file, \+1 -1 +passed", out, re.MULTILINE)
    assert f"attempt 2 passes: branch {branch}" in out
    nothing_is_left(repository)


def test_each_run_is_told_of_the_server_by_its_member(repository, attempt, server, tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHARAY_API_KEY", "ar-key")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another-servers")
    script = f'echo "$1 $2 $3 $OPENAI_BASE_URL $OPENAI_API_BASE $ANTHROPIC_BASE_URL $OPENAI_API_KEY" >> {tmp_path}/told'
    attempt(3, "false", script)
    lines = sorted((tmp_path / "told").read_text().splitlines())
    expected = []
    for name in ("frontier@0", "frontier@0", "frontier@1"):
        root = f"{server}/members/{name}"
        expected.append(f"{root}/v1 {root} {name} {root}/v1 {root}/v1 {root} ar-key")
    assert lines == expected


def test_only_the_members_that_are_named_run(repository, attempt):
    _, out, _ = attempt(2, "false", "true", "--members", "1")
    assert "frontier@0" not in out
    assert attempt(2, "false", "true", "--members", "7")[0] == 2


def test_where_none_passes_the_one_with_the_fewest_failures_is_offered(repository, attempt):
    script = 'echo "$ALPHARAY_ATTEMPT" > value'
    verify = 'echo "== $((5 - $(cat value))) failed, 9 passed in 1.0s =="; exit 1'
    code, out, _ = attempt(3, verify, script)
    assert code == 1
    (branch,) = branches(repository)
    assert git(repository, "show", f"{branch}:value") == "3"
    assert "no attempt passes; attempt 3 is nearest" in out
    assert "exit code 1, 2 failed" in out
    nothing_is_left(repository)


def test_what_changes_nothing_makes_no_branch(repository, attempt):
    code, out, _ = attempt(2, "true", "true")
    assert code == 0
    assert not branches(repository)
    assert "without any change" in out
    code, out, _ = attempt(2, "false", "true")
    assert code == 1
    assert "no attempt has changed anything" in out


def test_an_agents_own_commits_and_new_files_are_in_the_branch(repository, attempt):
    script = "echo 2 > value && git -c user.name=a -c user.email=a@x commit -qam mine && echo new > fresh && exit 3"
    code, out, _ = attempt(1, "test -f fresh", script)
    assert code == 0
    (branch,) = branches(repository)
    assert git(repository, "show", f"{branch}:fresh") == "new"
    assert git(repository, "log", "--format=%s", f"main..{branch}").splitlines() == [
        "Attempt 1, by frontier@0",
        "mine",
    ]
    assert "exit code 3" in out


def test_what_the_verification_leaves_is_not_in_the_branch(repository, attempt):
    attempt(1, "touch leftover", "echo 2 > value")
    (branch,) = branches(repository)
    assert git(repository, "diff", "--name-only", "main", branch) == "value"


def test_from_a_folder_within_the_repository_agents_begin_there(repository, attempt, monkeypatch):
    monkeypatch.chdir(repository / "sub")
    assert attempt(1, "grep -q y other", "echo y > other")[0] == 0
    (branch,) = branches(repository)
    assert git(repository, "show", f"{branch}:sub/other") == "y"


def test_a_run_that_takes_too_long_is_ended_with_all_that_it_started(repository, attempt, tmp_path):
    script = f"sleep 3600 & echo $! > {tmp_path}/pid; wait"
    code, out, _ = attempt(1, "true", script, "--time-limit", "1")
    assert code == 1
    assert "not ended in 1 s" in out
    assert not runs(int((tmp_path / "pid").read_text()))
    nothing_is_left(repository)


def test_an_agent_that_is_not_installed_is_told_in_the_table(repository, server, capsys):
    command = ["attempt", "-n", "1", "--server", server, "--verify", "false", "--logs", "../logs"]
    assert main([*command, "--", "no-such-agent"]) == 1
    assert "exit code 127" in capsys.readouterr().out
    assert "no-such-agent" in Path("../logs/attempt-1-agent.log").read_text()


def test_what_cannot_be_attempted_is_one_clear_line(repository, attempt, server, tmp_path, monkeypatch):
    (repository / "value").write_text("changed\n")
    code, _, err = attempt(1, "true", "true")
    assert code == 1
    assert "value has changes that are in no commit" in err
    git(repository, "checkout", "--quiet", "value")
    monkeypatch.chdir(tmp_path)
    code, _, err = attempt(1, "true", "true")
    assert code == 1
    assert "git repository" in err
    code, _, err = attempt(1, "true", "true", "--server", "http://127.0.0.1:9")
    assert code == 1
    assert "cannot be reached" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_the_agents_and_cleans_up(repository, server, tmp_path, number):
    script = f"echo $$ >> {tmp_path}/pids; sleep 3600"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "alpharay.serve.cli.main", "attempt", "-n", "2"),
            *("--server", server, "--verify", "true", "--", "sh", "-c", script),
        ],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path / "scratch")},
    )
    deadline = time.monotonic() + 60
    pids = tmp_path / "pids"
    while not (pids.exists() and len(pids.read_text().split()) == 2):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)  # between two looks at another process
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in err
    assert not [pid for pid in map(int, pids.read_text().split()) if runs(pid)]
    nothing_is_left(repository)
    assert not branches(repository)
