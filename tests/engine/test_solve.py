"""One budget over a batch on a real server, whose parts are killed amid it: `alpharay solve`, and the Batch API."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress

import httpx
import openai
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.engine

PROBLEMS, BUDGET, IN_FLIGHT = 12, 96, 8


def test_a_solve_that_was_killed_goes_on_and_draws_nothing_twice(server, problems, tmp_path, wait_until):
    file, out = tmp_path / "problems.jsonl", tmp_path / "out"
    file.write_text("".join(json.dumps(problem) + "\n" for problem in problems[:PROBLEMS]))
    command = [sys.executable, "-m", "alpharay.serve.cli.main", "solve", str(file), "--server", server.root]
    command += [
        "--budget",
        str(BUDGET),
        "--max-tokens",
        "100",
        "--in-flight",
        str(IN_FLIGHT),
        "--out",
        str(out),
    ]
    journal = out / "outcomes.jsonl"

    def rows() -> list[dict]:
        """Of the journal; a line that a kill has cut off is none."""
        lines = journal.read_text().splitlines(keepends=True) if journal.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    first = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: len(rows()) >= BUDGET // 4 or first.poll() is not None, "a fourth of the samples")
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL, first.communicate()
    first.communicate()
    kept = {key_of(row): row for row in rows()}
    assert BUDGET // 4 <= len(kept) < BUDGET
    wait_until(server.idle, "the samples that were under way cancelled")
    drawn = server.metric("alpharay_samples_total")
    again = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False
    )
    assert again.returncode == 0, again.stderr
    assert f"{len(kept)} samples are there already" in again.stderr
    final = pq.read_table(out / "outcomes.parquet").to_pylist()
    by_key = {key_of(row): row for row in final}
    assert len(by_key) == len(final) <= BUDGET
    assert {key: by_key[key]["text_sha256"] for key in kept} == {
        key: row["text_sha256"] for key, row in kept.items()
    }
    solved = {row["problem"] for row in final if row["verdict"] == "accepted"}
    assert len(final) == BUDGET or len(solved) == PROBLEMS
    assert server.metric("alpharay_samples_total") - drawn == len(final) - len(kept)
    assert (
        f"{len(solved)} of {PROBLEMS} problems solved with {len(final)} of {BUDGET}"
        in (out / "report.md").read_text()
    )


def key_of(row: dict) -> tuple[str, str, int]:
    return row["problem"], row["member"], row["sample"]


def test_a_batch_goes_on_where_the_process_that_ran_it_was_killed(server, sampling, wait_until):
    client = server.client()
    lines = []
    for number in range(PROBLEMS):
        body = sampling(number)
        lines.append(
            {"custom_id": str(number), "method": "POST", "url": "/v1/chat/completions", "body": body}
        )
    text = "".join(json.dumps(line) + "\n" for line in lines)
    file = client.files.create(file=("requests.jsonl", text.encode()), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        extra_body={"alpharay": {"budget": BUDGET}},
    )

    def now():
        with suppress(openai.APIError, httpx.HTTPError):
            return client.batches.retrieve(batch.id)
        return batch

    wait_until(lambda: now().alpharay["drawn"] >= BUDGET // 8, "some of the samples")
    before = now()
    assert before.status == "in_progress", before
    for process in server.processes("ServeReplica:alpharay:ingress"):
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: now().status == "completed", "the end of the batch")
    ended = now()
    output = client.files.content(ended.output_file_id).text.splitlines()
    answers = {line["custom_id"]: line["response"]["body"] for line in map(json.loads, output)}
    assert (len(output), set(answers)) == (PROBLEMS, {str(number) for number in range(PROBLEMS)})
    drawn = Counter({name: body["alpharay"]["drawn"] for name, body in answers.items()})
    passed = [
        name for name, body in answers.items() if body["choices"][0]["alpharay"]["verdict"] == "accepted"
    ]
    assert len(passed) == ended.alpharay["solved"] >= before.alpharay["solved"]
    assert drawn.total() == ended.alpharay["drawn"] <= BUDGET
    assert drawn.total() == BUDGET or len(passed) == PROBLEMS
    wait_until(server.ready, "the server ready for the next test")
