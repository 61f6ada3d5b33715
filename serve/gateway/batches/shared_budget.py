"""A batch whose requests share one budget of samples, as `alpharay solve` spends it: each until it passes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from alpharay.judge.verdict import VerdictKind
from alpharay.router.batch import Batch, BatchDraw, BatchPlan
from alpharay.serve.gateway.batches.lines import Json, Line
from alpharay.serve.gateway.batches.outcomes import BEST, DRAW, FAILED, OK
from alpharay.serve.gateway.batches.run import Answered, BatchRun


@dataclass(slots=True)
class _Spent:
    """On one request. score: of the best answer so far."""

    verdicts: dict[str, Counter[str]] = field(default_factory=dict)
    drawn: Counter[str] = field(default_factory=Counter)
    tokens: tuple[int, int] = (0, 0)
    score: float = -1.0


class SharedBudget(BatchRun[BatchDraw]):
    """plan: with a problem for each request. Each sample is a request of its own, of one sample of one member."""

    def __init__(self, *arguments: Any, plan: BatchPlan, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._batch = Batch(plan)
        self._spent = [_Spent() for _ in range(plan.problems)]
        self._solved: set[int] = set()
        self._best: dict[int, int] = {}  # of each request that has an answer, the offset of its entry
        for entry in self.outcomes:
            match entry.kind:
                case "draw":
                    self._recall(entry.index, entry.value(), entry.tokens)
                case "best":
                    self._best[entry.index] = entry.offset
                case _:
                    self._close(entry.index)

    def next(self) -> BatchDraw | None:
        draws = self._batch.draws(self._batch.under_way + 1)
        return draws[0] if draws else None

    def again(self, item: BatchDraw) -> None:
        self._batch.lost(item)

    def request(self, item: BatchDraw) -> Line:
        line = self.lines.read(item.problem)
        own = {**line.body["alpharay"], "budget": 1, "members": [item.member]}
        seeded = [line.body.get("seed"), self._id, line.custom_id, item.member, item.sample]
        seed = int.from_bytes(hashlib.sha256(repr(seeded).encode()).digest()[:7], "big")
        return replace(line, body={**line.body, "seed": seed, "alpharay": own})

    def take(self, item: BatchDraw, line: Line, answered: Answered) -> None:
        if answered.status != 200:
            # Whatever refuses one sample refuses the next one too.
            self._batch.lost(item)
            if item.problem not in self._best:
                self.outcomes.add(item.problem, FAILED, answered.output_line(line))
            self._close(item.problem)
            return
        note = _note(answered.body)
        draw = {
            "member": item.member,
            "sample": item.sample,
            "verdict": note["verdict"],
            "score": note["score"],
        }
        if _score(draw) > self._spent[item.problem].score:
            self._best[item.problem] = self.outcomes.add(item.problem, BEST, answered.output_line(line))
        self.outcomes.add(item.problem, DRAW, draw, answered.tokens)
        self._batch.record(item, _passed(draw))
        self._count(item.problem, draw, answered.tokens)

    def counts(self, *, ended: bool = False) -> Json:
        """Until it has ended, requests that have passed are completed; then all that have an answer."""
        self.completed = len(self._best if ended else self._solved)
        plan = self._batch.plan
        drawn = self._batch.spent - self._batch.under_way
        return super().counts(ended=ended) | {
            "alpharay": {"budget": plan.budget, "drawn": drawn, "solved": self._batch.solved}
        }

    def results(self) -> Iterator[tuple[int, str, bytes | None]]:
        refused = {entry.index: entry.text for entry in self.outcomes if entry.kind == FAILED}
        for index in range(len(self.lines)):
            if index in self._best:
                yield index, OK, json.dumps(self._whole(index)).encode()
            else:
                yield index, FAILED, refused.get(index)

    def _whole(self, index: int) -> Json:
        """The line of the output file: the best answer, with what all samples of the request came to."""
        line = self.outcomes.at(self._best[index]).value()
        spent = self._spent[index]
        line["response"]["body"]["alpharay"] |= {
            "drawn": spent.drawn.total(),
            "members": {
                name: {"drawn": drawn, "verdicts": dict(spent.verdicts.get(name, {}))}
                for name, drawn in spent.drawn.items()
            },
            "usage": {"prompt_tokens": spent.tokens[0], "completion_tokens": spent.tokens[1]},
        }
        return line

    def _recall(self, index: int, draw: Json, tokens: tuple[int, int]) -> None:
        self._count(index, draw, tokens)
        if draw["member"] in self._batch.plan.members:
            self._batch.recall(BatchDraw(index, draw["member"], draw["sample"]), _passed(draw))

    def _count(self, index: int, draw: Json, tokens: tuple[int, int]) -> None:
        spent = self._spent[index]
        spent.drawn[draw["member"]] += 1
        if draw["verdict"] is not None:
            spent.verdicts.setdefault(draw["member"], Counter())[draw["verdict"]] += 1
        spent.tokens = (spent.tokens[0] + tokens[0], spent.tokens[1] + tokens[1])
        spent.score = max(spent.score, _score(draw))
        if _passed(draw):
            self._solved.add(index)
        self.spent(tokens)

    def _close(self, index: int) -> None:
        self._batch.close(index)
        self.failed += index not in self._best


def _note(body: Json) -> Json:
    """The `alpharay` object of the answer's only choice."""
    choices = body.get("choices")
    return dict(choices[0]["alpharay"] if choices else body["alpharay"])


def _passed(draw: Json) -> bool | None:
    """None: it could not be judged."""
    verdict = draw["verdict"]
    return None if verdict in (None, VerdictKind.JUDGE_ERROR) else verdict == VerdictKind.ACCEPTED


def _score(draw: Json) -> float:
    """A pass is better than any share of the tests; the server may tell no shares."""
    return 2.0 if _passed(draw) else draw["score"] or 0.0
