"""Every problem under every member, as often as asked: drawn, judged, and journalled."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from alpharay.judge.limits import Limits
from alpharay.judge.problem import CodeTests, Problem, Tests
from alpharay.judge.verdict import Verdict, VerdictKind
from alpharay.judge.workspace.repo import RepoTests
from alpharay.router.draw import draw_seed
from alpharay.serve.dialects import chat
from alpharay.serve.dialects.api_request import EngineBody
from alpharay.serve.errors import OutcomesError
from alpharay.serve.evaluate.journal import ROLLOUT, Journal, Key, Row
from alpharay.serve.learn.rollouts.fields import LOGPROBS_OPTIONS, Saving, rollout
from alpharay.serve.transport.asgi import Reply
from alpharay.serve.transport.clients import JudgeUnavailable, SampleLost

_ATTEMPTS = 5
_FLUSH_S = 1.0
_PUBLISH_S = 120.0
_PATIENCE_S = 2.0


class Sampling(Protocol):
    async def sample(self, member: str, path: str, body: EngineBody, headers: Mapping[str, str]) -> Reply: ...


class JudgeClient(Protocol):
    async def judge(
        self, tests: Tests, completion: str, limits: Limits, language: str, group: str
    ) -> Verdict: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """One member as it is sampled. served: its name in the engines. name, alpha, weights: as the outcomes call it."""

    served: str
    name: str
    alpha: float | None
    weights: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be drawn. options: fields of every request, such as temperature. seed: of the whole run.

    saving: what is kept of each sample beside its outcome; None: nothing.
    """

    problems: Sequence[Problem]
    members: Sequence[Drawn]
    samples: int
    limits: Limits
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    in_flight: int = 128
    one_by_one: bool = False
    saving: Saving | None = None


@dataclass(slots=True)
class Tally:
    """How far a run is. total: samples in all; done: there already when it began, and since."""

    total: int
    done: int
    drawn: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)

    def text(self, seconds: float) -> str:
        """For people. seconds: that `drawn` took."""
        text = f"{self.done} of {self.total} samples"
        rate, left = self.drawn / seconds, self.total - self.done
        if self.drawn and left:
            text += f", {rate:.1f}/s, {left / rate / 60:.0f} min left"
        kinds = ", ".join(f"{kind} {count / self.drawn:.0%}" for kind, count in self.verdicts.most_common(4))
        return f"{text}: {kinds}" if kinds else text


class Run:
    """Draws and judges what a journal lacks. one_by_one: a member after the other, for engines that are moved."""

    def __init__(
        self,
        plan: Plan,
        engines: Sampling,
        judging: JudgeClient,
        journal: Journal,
        *,
        wanted: Container[Key] | None = None,
    ) -> None:
        """wanted: of what the journal lacks, only these samples; None: all of it."""
        self._plan = plan
        self._engines = engines
        self._judging = judging
        self._journal = journal
        done = journal.done
        self._left = {
            member.name: [
                (problem, sample)
                for problem in plan.problems
                for sample in range(plan.samples)
                if (problem.id, member.name, sample) not in done
                and (wanted is None or (problem.id, member.name, sample) in wanted)
            ]
            for member in plan.members
        }
        total = len(plan.problems) * len(plan.members) * plan.samples
        self.tally = Tally(total=total, done=total - sum(map(len, self._left.values())))

    async def run(self, show: Callable[[Tally], None]) -> None:
        """Until nothing is left. show: called about once a second.

        Raises OutcomesError: an engine refuses a problem, or one cannot be reached again and again.
        """
        keeper = asyncio.create_task(self._keep(show))
        try:
            if self._plan.one_by_one:
                for member in self._plan.members:
                    await self._member(member)
            else:
                async with asyncio.TaskGroup() as group:
                    for member in self._plan.members:
                        group.create_task(self._member(member))
        except* OutcomesError as errors:
            raise _first(errors) from None
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            self._journal.publish()
            show(self.tally)

    async def _member(self, member: Drawn) -> None:
        """As many samples at once as keep the engine full; those of one problem together, which share its prompt."""
        rest = iter(self._left[member.name])
        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._plan.in_flight, len(self._left[member.name]))):
                group.create_task(self._lane(member, rest))

    async def _lane(self, member: Drawn, rest: Iterator[tuple[Problem, int]]) -> None:
        for problem, sample in rest:
            row = await self._outcome(member, problem, sample)
            self._journal.add(row)
            self.tally.done += 1
            self.tally.drawn += 1
            self.tally.verdicts[row["verdict"]] += 1

    async def _outcome(self, member: Drawn, problem: Problem, sample: int) -> Row:
        seed = sample_seed(self._plan.seed, problem.id, member.name, sample)
        messages = [{"role": "user", "content": problem.prompt}]
        response = await self._sampled(member, problem, messages, seed)
        text = chat.text(response)
        verdict = await self._judged(problem, text)
        prompt, completion = chat.usage(response)
        levels = (
            []
            if isinstance(problem.tests, CodeTests | RepoTests)
            else [case.level for case in problem.tests.cases]
        )
        case = verdict.failed_case
        row: Row = {
            "problem": problem.id,
            "member": member.name,
            "alpha": member.alpha,
            "weights": None if member.weights is None else json.dumps(dict(member.weights)),
            "sample": sample,
            "seed": seed,
            "verdict": verdict.verdict.value,
            "failed_level": levels[case] if case is not None and case < len(levels) else None,
            "passed": verdict.passed,
            "total": verdict.total,
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "cpu_s": verdict.cpu_s,
            "text_sha256": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
        }
        if (saving := self._plan.saving) is not None:
            row[ROLLOUT] = rollout(saving, row, problem, messages, response, self._plan.options)
        return row

    async def _sampled(
        self, member: Drawn, problem: Problem, messages: list[dict[str, str]], seed: int
    ) -> dict[str, Any]:
        saving = self._plan.saving
        details = LOGPROBS_OPTIONS if saving is not None and saving.logprobs else {}
        request = {"messages": messages, **self._plan.options, **details}
        body = EngineBody(json.dumps(request), {"model": member.served, "seed": seed})
        for attempt in range(_ATTEMPTS):
            try:
                reply = await self._engines.sample(member.served, chat.PATH, body, {})
            except SampleLost as error:
                if attempt == _ATTEMPTS - 1:
                    raise OutcomesError(
                        f"the engine of {member.served} could not be reached {_ATTEMPTS} times: {error}"
                    ) from error
                await asyncio.sleep(_PATIENCE_S * 2**attempt)
            else:
                break
        if reply.status != 200:
            raise OutcomesError(
                f"the engine of {member.served} refuses the problem {problem.id!r}: "
                f"{reply.body[:300].decode(errors='replace')}"
            )
        return dict(json.loads(reply.body))

    async def _judged(self, problem: Problem, text: str) -> Verdict:
        """After some tries a fault of the judge's stands as `judge_error`; the next run draws that sample again."""
        detail = ""
        for attempt in range(_ATTEMPTS):
            try:
                verdict = await self._judging.judge(
                    problem.tests, text, problem.limits(self._plan.limits), problem.language, problem.id
                )
            except JudgeUnavailable as error:
                detail = str(error)
            else:
                if verdict.verdict is not VerdictKind.JUDGE_ERROR:
                    return verdict
                detail = verdict.detail
            await asyncio.sleep(_PATIENCE_S / 4 * 2**attempt)
        return Verdict(VerdictKind.JUDGE_ERROR, 0, 0, detail=detail)

    async def _keep(self, show: Callable[[Tally], None]) -> None:
        """Brings rows to the disk, and every few minutes into the Parquet file."""
        loop = asyncio.get_running_loop()
        published = loop.time()
        while True:
            await asyncio.sleep(_FLUSH_S)
            await asyncio.to_thread(self._journal.flush)
            if loop.time() - published > _PUBLISH_S or self._journal.large:
                await asyncio.to_thread(self._journal.publish)
                published = loop.time()
            show(self.tally)


def _first(errors: BaseExceptionGroup[OutcomesError]) -> OutcomesError:
    """The first error: mostly all draws under way fail for the same reason."""
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def sample_seed(seed: int, problem: str, member: str, sample: int) -> int:
    """The engine's seed: the same for the same sample of the same run whenever it is drawn, in whatever order."""
    digest = hashlib.sha256(json.dumps([seed, problem, member, sample >> 12]).encode()).digest()
    return draw_seed(int.from_bytes(digest[:8], "big") >> 1, 0, sample & 4095)
