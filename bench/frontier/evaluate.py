"""Samples and judges every problem under every member; outcomes as Parquet, part by part, so that it can go on.

All members of a problem are judged together: a program that two of them wrote is run once.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import torch
from tokenizers import Tokenizer

from alpharay.judge import Verdict
from alpharay.serve.evaluate.outcomes import SCHEMA, WEIGHTS, read_table, write_outcomes
from bench.frontier.members import Candidate, place_of
from bench.frontier.sample import sample
from bench.frontier.tokenizer import encode_prompt
from bench.frontier.verdicts import Judge, covered

PART = 4  # problems
_HASH_DIGITS = 12  # enough to tell a problem's programs apart; whole hashes are most of a file

Recorded = Mapping[
    str, tuple[Path, str]
]  # by a member's name: the file that has its outcomes already, and its name there


def evaluate(
    raws: Sequence[dict[str, Any]], members: Sequence[Candidate], samples: int, *,
    seed: int | str, tokenizer: Tokenizer, out: Path, share: tuple[int, int] = (0, 1), size: int = PART,
) -> None:  # fmt: skip
    """Writes `out/part-NNN.parquet`; parts that are there already are left as they are.

    seed: what all samples of this set are drawn from. share: (i, n): this process takes every n-th part, from the i-th on. size: problems of a part. Those of them that
    have the same prompt are answered by the same samples.
    """
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    models = [(member, member.load()) for member in members]
    parts = [raws[at : at + size] for at in range(0, len(raws), size)]
    mine = [(n, part) for n, part in enumerate(parts) if n % share[1] == share[0]]
    todo = [(n, part) for n, part in mine if not (out / f"part-{n:03d}.parquet").exists()]
    began = time.monotonic()
    with Judge() as judge:
        for done, (number, part) in enumerate(todo):
            columns: dict[str, list[Any]] = {field.name: [] for field in (*SCHEMA, WEIGHTS)}
            _part(part, models, samples, f"{seed}/{number}", tokenizer, judge, columns)
            write_outcomes(out / f"part-{number:03d}.parquet", columns)
            spent = time.monotonic() - began
            print(f"{out.name} {share[0] + 1}/{share[1]}: {done + 1} of {len(todo)} parts, "
                  f"{spent / (done + 1) * (len(todo) - done - 1):.0f} s left", flush=True)  # fmt: skip


def _part(
    raws: Sequence[dict[str, Any]], models: Sequence[tuple[Candidate, Any]], samples: int, seed: str,
    tokenizer: Tokenizer, judge: Judge, columns: dict[str, list[Any]],
) -> None:  # fmt: skip
    coverages = [covered(raw, 4) for raw in raws]
    encoded = {raw["prompt"]: encode_prompt(tokenizer, raw["prompt"]) for raw in raws}
    prompts = [encoded[raw["prompt"]] for raw in raws]
    drawn: list[tuple[int, Candidate, int, int, str]] = []
    for member, model in models:
        number = random.Random(f"{seed}/{member.name}").getrandbits(40)
        answers = sample(model, list(encoded.values()), samples, seed=number, temperature=member.temperature)
        texts = [[(len(ids) + 1, tokenizer.decode(ids)) for ids in each] for each in answers]
        by_prompt = dict(zip(encoded, texts, strict=True))
        for problem, raw in enumerate(raws):
            drawn += [(problem, member, number, tokens, text) for tokens, text in by_prompt[raw["prompt"]]]
    verdicts = judge.verdicts([(coverages[problem], text) for problem, *_, text in drawn])
    last_sample: dict[tuple[int, str], int] = {}
    for (problem, member, number, tokens, text), verdict in zip(drawn, verdicts, strict=True):
        at = last_sample[problem, member.name] = last_sample.get((problem, member.name), -1) + 1
        row = {
            "problem": raws[problem]["id"],
            "member": member.name,
            "alpha": None if math.isnan(member.alpha) else member.alpha,
            "weights": None if member.weights is None else json.dumps(dict(member.weights)),
            "sample": at,
            "seed": number,  # of the batch, in which this is the sample-th of its problem
            "verdict": str(verdict.verdict),
            "failed_level": _level(verdict, coverages[problem].levels),
            "passed": verdict.passed,
            "total": verdict.total,
            "prompt_tokens": len(prompts[problem]),
            "completion_tokens": tokens,
            "cpu_s": round(verdict.cpu_s, 3),
            "text_sha256": hashlib.sha256(text.encode()).hexdigest()[:_HASH_DIGITS],
        }
        for name, value in row.items():
            columns[name].append(value)


def _level(verdict: Verdict, levels: Sequence[int]) -> int | None:
    return None if verdict.failed_case is None else levels[verdict.failed_case]


def recorded(members: Sequence[Candidate], files: Sequence[Path]) -> Recorded:
    """Those of the members that a file has outcomes of already, under whatever name: found by their weights."""
    there: dict[frozenset[tuple[str, float]], tuple[Path, str]] = {}
    for file in files:
        named = read_table(file).select(["member", "weights"]).group_by(["member", "weights"]).aggregate([])
        for row in named.to_pylist():
            if row["weights"]:
                there.setdefault(place_of(json.loads(row["weights"])), (file, row["member"]))
    return {
        member.name: there[place_of(member.weights)]
        for member in members
        if member.weights and place_of(member.weights) in there
    }


def gather(parts: Path, path: Path, also: Recorded) -> int:
    """All parts as one file, in order, and what was recorded of other members before; returns its rows."""
    columns: dict[str, list[Any]] = {field.name: [] for field in (*SCHEMA, WEIGHTS)}
    for part in sorted(parts.glob("part-*.parquet")):
        table = read_table(part)
        for name in columns:
            columns[name] += table[name].to_pylist()
    for member, (file, name_there) in also.items():
        table = read_table(file)
        rows = table.filter(pc.equal(table["member"], name_there))
        for name in columns:
            columns[name] += [member] * len(rows) if name == "member" else rows[name].to_pylist()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_outcomes(path, columns)
    return len(columns["problem"])
