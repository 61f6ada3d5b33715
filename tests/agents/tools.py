"""`make tools`: other people's tools for models, run through against `alpharay serve` on this machine.

EvalPlus generates code for problems given by HUMANEVAL_OVERRIDE_PATH, GuideLLM measures, Schemathesis sends what
/openapi.json allows and looks for answers of 500. A tool passes when it ends by itself with exit code 0, has made
what it should, and the server counted no fault. They are installed into folders of their own, by uv, and kept.

    python -m tests.agents.tools [--tools evalplus,guidellm] [--folder build/tools] [--report FILE]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.agents.starting import (
    EMBEDDED,
    bare_environment,
    own_environment,
    parser_for,
    reported,
    run_program,
    stretched,
)

_HEAD = [
    "| tool | result | what it did | what the server answered | seconds |",
    "| --- | --- | --- | --- | --- |",
]
_TASKS, _SAMPLES, _REQUESTS, _EXAMPLES = 8, 4, 60, 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """did: says in a few words what was made; raises, or says nothing, where nothing was."""

    arguments: list[str]
    did: Callable[[str], str]
    environment: dict[str, str] = field(default_factory=dict)


def evalplus(root: str, work: Path) -> Use:
    """Problems of the embedded frontier's, as EvalPlus has its own: it needs no more of them to generate code."""
    lines = (EMBEDDED / "problems.jsonl").read_text().splitlines()[:_TASKS]
    tasks = work / "tasks.jsonl"
    with tasks.open("w") as file:
        for number, problem in enumerate(map(json.loads, lines)):
            task = {
                "task_id": f"HumanEval/{number}",
                "prompt": f'def main():\n    """{problem["prompt"]}"""\n',
                "entry_point": "main",
                "contract": "",
                "canonical_solution": "    pass\n",
                "base_input": [],
                "plus_input": [],
                "atol": 0,
            }
            file.write(json.dumps(task) + "\n")

    def did(_: str) -> str:
        made = [path for path in work.rglob("*.jsonl") if path != tasks and ".raw." not in path.name]
        count = sum(len(path.read_text().splitlines()) for path in made)
        assert count == _TASKS * _SAMPLES, f"{count} programs"
        return f"{_TASKS} tasks, n={_SAMPLES}: {count} programs"

    options = (
        f"frontier humaneval --backend openai --base-url {root}/v1 --temperature 0.8 --n-samples {_SAMPLES}"
    )
    return Use(
        arguments=["evalplus.codegen", *options.split()],
        did=did,
        environment={"HUMANEVAL_OVERRIDE_PATH": str(tasks), "OPENAI_API_KEY": "none"},
    )


def guidellm(root: str, work: Path) -> Use:
    def did(_: str) -> str:
        (benchmark,) = json.loads((work / "report.json").read_text())["benchmarks"]
        totals = benchmark["metrics"]["request_totals"]
        assert totals["successful"] == _REQUESTS, totals
        return f"{_REQUESTS} streamed requests, 4 at a time, none failed"

    return Use(
        arguments=[
            "guidellm", "run", "--disable-console-interactive",
            "--backend", f"kind=openai_http,target={root},model=frontier",
            "--profile", "kind=concurrent,streams=4",
            "--constraint", f"kind=max_requests,count={_REQUESTS}",
            "--data", "kind=synthetic_text,prompt_tokens=64,output_tokens=32",
            # It would make thousands of prompts before it sends the first.
            "--data-loader", f"kind=pytorch,samples={_REQUESTS},prefetch_factor=4",
            "--tokenizer", f"kind=hf_auto,model={EMBEDDED / 'high'}",
            "--output", f"kind=json,path={work / 'report.json'}",
        ],
        did=did,
        environment={"HF_HUB_OFFLINE": "1"},
    )  # fmt: skip


def schemathesis(root: str, work: Path) -> Use:
    config = work / "schemathesis.toml"
    # A deadline that ends before an engine can answer is allowed, and is answered 503 with Retry-After.
    config.write_text('checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "503"]\n')
    return Use(
        arguments=["schemathesis", "--config-file", str(config), "run", f"{root}/openapi.json",
                   "-c", "not_a_server_error", "-n", str(_EXAMPLES), "--seed", "1"],
        did=lambda output: next((line.strip() for line in output.splitlines() if " generated, " in line), ""),
    )  # fmt: skip


TOOLS: dict[str, tuple[str, Callable[[str, Path], Use]]] = {
    "evalplus": ("evalplus==0.3.1", evalplus),
    "guidellm": ("guidellm==0.8.1", guidellm),
    "schemathesis": ("schemathesis==4.32.5", schemathesis),
}


def main() -> int:
    summary = __doc__.partition("\n")[0]
    parser = parser_for(summary, "tools", TOOLS, folder="build/tools", seconds=240, each="for one tool")
    arguments = parser.parse_args()
    names = arguments.names.split(",")
    programs = {}
    for name in names:
        try:
            programs[name] = own_environment(arguments.folder.resolve() / name, TOOLS[name][0])
        except (OSError, subprocess.SubprocessError) as error:
            raise SystemExit(f"{TOOLS[name][0]} cannot be installed: {error}") from error
    with (
        tempfile.TemporaryDirectory() as scratch,
        stretched(Path(scratch), tokens=2048, most=768, members=(0, 1)) as root,
    ):
        rows = [_run(name, programs[name], root, Path(scratch), arguments.seconds) for name in names]
    return reported(_HEAD, rows, arguments.report)


def _run(name: str, programs: Path, root: str, scratch: Path, seconds: float) -> str:
    work = scratch / name
    work.mkdir()
    use = TOOLS[name][1](root, work)
    environment = bare_environment(work)
    environment["PATH"] = f"{programs}:{environment['PATH']}"
    before, started = _answered(root), time.monotonic()
    (program, *rest) = use.arguments
    code, output = run_program([str(programs / program), *rest], work, environment | use.environment, seconds)
    took = time.monotonic() - started
    now = _answered(root)
    new = {key: count - before.get(key, 0) for key, count in now.items() if count > before.get(key, 0)}
    try:
        did = use.did(output)
    except (AssertionError, OSError, LookupError, ValueError) as error:
        did, code = "", f"{code}, {error}"
    fine = code == "exit code 0" and did and not any(outcome == "fault" for _, outcome in new)
    if not fine:
        print(f"--- {name}: {code}; {new}\n{output[-4000:]}", file=sys.stderr)
    counts = ", ".join(f"{path} {outcome} {count:g}" for (path, outcome), count in sorted(new.items()))
    return f"| {TOOLS[name][0]} | {'passed' if fine else code} | {did} | {counts} | {took:.0f} |"


def _answered(root: str) -> dict[tuple[str, str], float]:
    """Requests so far, by (endpoint, outcome)."""
    text = httpx.get(f"{root}/metrics", timeout=30, trust_env=False).text
    return {
        (sample.labels["endpoint"], sample.labels["outcome"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "alpharay_requests_total"
    }


if __name__ == "__main__":
    sys.exit(main())
