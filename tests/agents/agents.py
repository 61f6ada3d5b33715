"""How each coding agent is told of the server, and asked for one turn without a terminal.

Agents move fast: these are the switches of the versions that VERSIONS names, which were the ones tried.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

TASK = "Say hello. Do not use any tool."
VERSIONS = {
    "codex": ("npm", "@openai/codex", "0.169.0"),
    "claude": ("npm", "@anthropic-ai/claude-code", "2.1.328"),
    "opencode": ("npm", "opencode-ai", "1.18.33"),
    "qwen": ("npm", "@qwen-code/qwen-code", "0.24.4"),
    "cn": ("npm", "@continuedev/cli", "1.5.47"),
    "aider": ("pypi", "aider-chat", "0.86.2"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """path: where its requests to a model must arrive."""

    arguments: list[str]
    environment: dict[str, str]
    path: str


def codex(root: str, home: Path) -> Turn:
    home.joinpath("config.toml").write_text(
        'model = "frontier"\nmodel_provider = "alpharay"\n'
        "[model_providers.alpharay]\n"
        f'name = "alpharay"\nbase_url = "{root}/v1"\nwire_api = "responses"\nenv_key = "ALPHARAY_KEY"\n'
    )
    arguments = ["exec", "--skip-git-repo-check", "--sandbox", "read-only", TASK]
    return Turn(
        arguments=arguments,
        environment={"CODEX_HOME": str(home), "ALPHARAY_KEY": "none"},
        path="/v1/responses",
    )


def claude(root: str, home: Path) -> Turn:
    del home
    return Turn(
        arguments=["-p", TASK, "--model", "frontier"],
        environment={
            "ANTHROPIC_BASE_URL": root,
            "ANTHROPIC_AUTH_TOKEN": "none",
            "ANTHROPIC_DEFAULT_HAIKU_MODEL": "frontier",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
        },
        path="/v1/messages",
    )


def opencode(root: str, home: Path) -> Turn:
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": f"{root}/v1", "apiKey": "none"},
        "models": {"frontier": {"limit": {"context": 120_000, "output": 64}}},
    }
    home.joinpath("opencode.json").write_text(json.dumps({"provider": {"alpharay": provider}}))
    return Turn(
        arguments=["run", "--model", "alpharay/frontier", TASK],
        environment={"OPENCODE_CONFIG": str(home / "opencode.json"), "OPENCODE_DISABLE_AUTOUPDATE": "1"},
        path="/v1/chat/completions",
    )


def qwen(root: str, home: Path) -> Turn:
    del home
    return Turn(
        arguments=["--auth-type", "openai", "--openai-api-key", "none", "--openai-base-url", f"{root}/v1",
                   "--model", "frontier", TASK],
        environment={},
        path="/v1/chat/completions",
    )  # fmt: skip


def cn(root: str, home: Path) -> Turn:
    home.joinpath("continue.yaml").write_text(
        "name: local\nversion: 1.0.0\nschema: v1\nmodels:\n"
        f"  - {{name: frontier, provider: openai, model: frontier, apiBase: {root}/v1, apiKey: none, "
        "roles: [chat]}\n"
    )
    return Turn(
        arguments=["--config", str(home / "continue.yaml"), "-p", TASK],
        environment={"CONTINUE_TELEMETRY_ENABLED": "0"},
        path="/v1/chat/completions",
    )


def aider(root: str, home: Path) -> Turn:
    del home
    return Turn(
        arguments=["--model", "openai/frontier", "--message", TASK, "--yes-always", "--no-git",
                   "--no-check-update", "--analytics-disable", "--no-show-model-warnings"],
        environment={"OPENAI_API_BASE": f"{root}/v1", "OPENAI_API_KEY": "none"},
        path="/v1/chat/completions",
    )  # fmt: skip


AGENTS: dict[str, Callable[[str, Path], Turn]] = {
    "codex": codex,
    "claude": claude,
    "opencode": opencode,
    "qwen": qwen,
    "cn": cn,
    "aider": aider,
}
