"""The fields of a rollout: one judged sample with everything that training on it needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from alpharay.judge.problem import Problem
from alpharay.judge.program import extract_program
from alpharay.judge.verdict import VerdictKind
from alpharay.serve.learn.rollouts.outcome import SCHEMA, WEIGHTS

Row = dict[str, Any]

_MESSAGES = pa.list_(pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())]))
# What an outcome has too, then what only a rollout has. New fields go to the end: parts of one folder have one schema.
ROLLOUT_SCHEMA = pa.schema(
    [
        *SCHEMA,
        WEIGHTS,
        pa.field("checkpoint", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("messages", _MESSAGES, nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("reasoning", pa.string()),
        pa.field("finish_reason", pa.string()),
        pa.field("options", pa.string(), nullable=False),
        pa.field("program_sha256", pa.string()),
        pa.field("tests_sha256", pa.string(), nullable=False),
        pa.field("reward", pa.float64(), nullable=False),
        pa.field("prompt_token_ids", pa.list_(pa.int32())),
        pa.field("token_ids", pa.list_(pa.int32())),
        pa.field("logprobs", pa.list_(pa.float32())),
        pa.field("request", pa.string()),
        pa.field("turn", pa.int64()),
        pa.field("tool_runs", pa.string()),
    ]
)
# Of every request, where token ids and log-probabilities are kept.
LOGPROBS_OPTIONS: Mapping[str, Any] = {"logprobs": True, "return_token_ids": True}

MEANINGS = {
    "problem": "id of the problem; of a server's requests, the same for the same messages and tests",
    "member": "full name of the frontier's member that wrote it",
    "alpha": "the member's alpha on low..high; null off that line",
    "sample": "number of the sample among those of its problem and member, from 0; of a server's, among its request's",
    "seed": "the engine's seed",
    "verdict": "the judge's verdict; samples that the judge itself failed at are not here",
    "failed_level": "level of the first case that failed, where the problem's cases have levels",
    "passed": "cases that passed",
    "total": "cases that there are",
    "prompt_tokens": "tokens of the prompt",
    "completion_tokens": "tokens that were generated",
    "cpu_s": "CPU seconds of the slowest case",
    "text_sha256": "hash of `text`",
    "weights": "the member's weights by checkpoint, a JSON object",
    "checkpoint": "weight version: SHA-256 of the weights that the engine loaded",
    "language": "programming language of the problem",
    "messages": "the conversation that was sent, a list of {role, content}",
    "text": "the model's answer",
    "reasoning": "what a reasoning parser took out of the answer; null without one",
    "finish_reason": "`stop`, or `length` where the answer was cut off",
    "options": "sampling parameters of the request, a JSON object; what is absent is the checkpoint's own",
    "program_sha256": "hash of the program in the answer; null where there is none",
    "tests_sha256": "hash of the problem's tests",
    "reward": "1.0 where the verdict is `accepted`, else 0.0",
    "prompt_token_ids": "the prompt as the model saw it; with --logprobs, or where a server's caller asked for it",
    "token_ids": "what the model generated, its end-of-text token included; as above",
    "logprobs": "log-probability of each of `token_ids`; as above",
    "request": "of a server's requests, the id of the answer that it was a candidate for",
    "turn": "of a server's requests, 2 and 3 where it repairs the attempt that `messages` end with, else 1",
    "tool_runs": "programs that the member ran while it answered, a JSON list of {code, output}; null without",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """What of each sample is kept. tests: per problem the hash of its tests. checkpoints: per member name its hash."""

    tests: Mapping[str, str]
    checkpoints: Mapping[str, str]
    logprobs: bool = False

    @property
    def kind(self) -> str:
        return "logprobs" if self.logprobs else "texts"


def hashes_of_tests(problems: Path) -> dict[str, str]:
    """Per problem id, SHA-256 of `json.dumps(tests, sort_keys=True)` of a file that `read_problems` has read."""
    with problems.open(encoding="utf-8") as lines:
        values = [json.loads(line) for line in lines if line.strip()]
    return {value["id"]: tests_hash(value["tests"]) for value in values}


def rollout(
    saving: Saving,
    outcome: Row,
    problem: Problem,
    messages: Sequence[Mapping[str, str]],
    response: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Row:
    """The fields that an outcome lacks. response: a chat completion of one choice."""
    choice = response["choices"][0]
    message = choice["message"]
    row = fields_of(
        outcome["verdict"],
        message.get("content") or "",
        checkpoint=saving.checkpoints[outcome["member"]],
        language=problem.language,
        messages=messages,
        options=options,
        tests_sha256=saving.tests[problem.id],
    )
    row |= {"reasoning": message.get("reasoning"), "finish_reason": choice.get("finish_reason")}
    return row | tokens_of(response) if saving.logprobs else row


def fields_of(
    verdict: str,
    text: str,
    *,
    checkpoint: str,
    language: str,
    messages: Sequence[Mapping[str, str]],
    options: Mapping[str, Any],
    tests_sha256: str,
) -> Row:
    """What every rollout has beside its outcome. text: the answer, with the program that the judge ran."""
    program = None if verdict == VerdictKind.NO_PROGRAM else extract_program(text, language)
    return {
        "checkpoint": checkpoint,
        "language": language,
        "messages": [dict(message) for message in messages],
        "text": text,
        "options": json.dumps(dict(options), sort_keys=True),
        "program_sha256": None if program is None else _hash(program.source),
        "tests_sha256": tests_sha256,
        "reward": 1.0 if verdict == VerdictKind.ACCEPTED else 0.0,
    }


def tokens_of(response: Mapping[str, Any]) -> Row:
    """Token ids and log-probabilities, as far as a completion of one choice has them."""
    choice = response["choices"][0]
    content = (choice.get("logprobs") or {}).get("content")
    return {
        "prompt_token_ids": response.get("prompt_token_ids"),
        "token_ids": choice.get("token_ids"),
        "logprobs": None if content is None else [token["logprob"] for token in content],
    }


def tests_hash(tests: object) -> str:
    """SHA-256 of `json.dumps(tests, sort_keys=True)`."""
    return hashlib.sha256(json.dumps(tests, sort_keys=True).encode()).hexdigest()


def as_table(rows: Sequence[Row]) -> pa.Table:
    """Rows, each an outcome with its rollout, as a table of ROLLOUT_SCHEMA."""
    columns = [
        pa.array([_unicode(row.get(field.name)) for row in rows], field.type) for field in ROLLOUT_SCHEMA
    ]
    return pa.table(columns, schema=ROLLOUT_SCHEMA)


def _unicode(value: Any) -> Any:
    """Half a surrogate pair, which Parquet cannot hold, becomes a question mark."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [{name: _unicode(text) for name, text in entry.items()} for entry in value]
    return value


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
