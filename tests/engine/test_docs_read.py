"""The documentation's blocks, as far as that needs no server: configurations are read, commands parsed or run.

What needs a server (curl, Python) is run in test_docs_run.py. Of what cannot be run here (Docker, a
Kubernetes cluster, coding agents), the files and settings that it names are looked at.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import tomllib

import pytest
import yaml

from alpharay.judge.problem import parse_problem
from alpharay.serve import config as configuration
from alpharay.serve.cli.main import _parser

from .blocks import PAGES, ROOT, blocks, commands

AGENTS = {"codex", "claude", "aider", "opencode", "qwen"}
ELSEWHERE = {"docker", "kubectl", "pip", "export", "evalplus.codegen", "guidellm", *AGENTS}
WITH_A_SERVER = {"curl"}


def of_kind(kind):
    return [pytest.param(block, id=str(block)) for block in blocks() if block.kind == kind]


def run_by(*programs):
    return [
        pytest.param(words, id=f"{block} {' '.join(words)[:60]}")
        for block, words in commands()
        if words[0] in programs
    ]


def test_every_block_is_of_a_kind_that_some_test_looks_at():
    assert {block.kind for block in blocks()} <= {"sh", "yaml", "json", "jsonl", "toml", "python", "mermaid"}
    looked_at = {"alpharay", ".venv/bin/alpharay", "make", "promtool", "python", "ray"} | ELSEWHERE
    assert {words[0] for _, words in commands()} <= looked_at | WITH_A_SERVER
    assert len(commands()) > 30


@pytest.mark.parametrize("block", of_kind("yaml"))
def test_a_yaml_block_can_be_read_and_a_frontier_configuration_used(block, tmp_path):
    read = yaml.safe_load(block.text)
    if {"endpoints", "adapters"} & read.keys():
        path = tmp_path / "frontier.yaml"
        path.write_text(block.text)
        configuration.load(path)


@pytest.mark.parametrize("block", of_kind("json"))
def test_a_json_block_can_be_read(block):
    json.loads(block.text.replace(", …", ""))


@pytest.mark.parametrize("block", of_kind("jsonl"))
def test_a_jsonl_block_is_problems_that_can_be_judged(block):
    for line in block.text.splitlines():
        parse_problem(json.loads(line))


@pytest.mark.parametrize("block", of_kind("toml"))
def test_a_toml_block_can_be_read(block):
    tomllib.loads(block.text)


@pytest.mark.parametrize("block", of_kind("python"))
def test_a_python_block_can_be_compiled(block):
    compile(block.text, str(block), "exec")


@pytest.mark.parametrize("words", run_by("alpharay", ".venv/bin/alpharay"))
def test_a_command_of_ours_is_understood(words):
    _parser(words[1:]).parse_args(words[1:])


@pytest.mark.parametrize("words", run_by("make"))
def test_a_target_of_make_exists(words):
    subprocess.run(
        ["make", "--dry-run", "--file", ROOT / "Makefile", *words[1:]],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip


@pytest.mark.parametrize("words", run_by("promtool", "python"))
def test_a_check_of_what_is_committed_passes(words):
    program = sys.executable if words[0] == "python" else words[0]
    try:
        done = subprocess.run([program, *words[1:]], cwd=ROOT, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("needs Debian's package prometheus")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("words", run_by("ray"))
def test_an_option_of_rays_exists(words):
    helped = subprocess.run(
        [sys.executable, "-m", "ray.scripts.scripts", words[1], "--help"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert {word for word in words if word.startswith("--")} <= set(re.findall(r"--[\w-]+", helped))


@pytest.mark.parametrize("words", run_by("docker", "kubectl"))
def test_a_file_that_goes_to_docker_or_kubernetes_is_there(words):
    for before, word in itertools.pairwise(words):
        if before == "-f":
            assert (ROOT / word).exists()
    if "build" in words:
        assert (ROOT / "Dockerfile").exists()


def test_agents_are_told_of_the_server_as_those_that_were_tried():
    """Every switch and setting of the guide is one with which a real agent took a turn (tests/agents)."""
    tried = (ROOT / "tests" / "agents" / "agents.py").read_text()
    for block, words in commands():
        if block.page != "docs/agents.md" or words[0] not in AGENTS | {"export"}:
            continue
        for word in words[1:]:
            name = word.partition("=")[0] if words[0] == "export" else word
            if words[0] == "export" or word.startswith("--"):
                assert name in tried, f"{block}: {name}"


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES])
def test_no_link_within_the_repository_is_broken(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target
