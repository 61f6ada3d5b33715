"""Answers a request by drawing whole candidates, having each of them judged, and stopping in time."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections import Counter
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from alpharay.driver import Sampler, drive
from alpharay.judge.errors import JudgeError
from alpharay.judge.problem import Tests
from alpharay.judge.verdict import Verdict, VerdictKind
from alpharay.router import Candidate, Draw, Need, Stop
from alpharay.router.draw import NO_EVIDENCE
from alpharay.serve.dialects.api_request import ApiRequest, Json, engine_headers, prompt_text
from alpharay.serve.dialects.dialect import Spent
from alpharay.serve.dialects.refusals import engine_fault, refused
from alpharay.serve.dialects.structures import unusable
from alpharay.serve.errors import RequestError, malformed, no_capacity
from alpharay.serve.learn.recording import RecordedSession
from alpharay.serve.sampling import discriminate, evidence, python_tool, repair
from alpharay.serve.sampling.progress import Watch
from alpharay.serve.sampling.request import ParsedRequest
from alpharay.serve.sampling.scorer import ScorerClient
from alpharay.serve.state.metrics import Counts
from alpharay.serve.transport.asgi import Reply
from alpharay.serve.transport.clients import EngineFault, Engines, JudgeClient, JudgeUnavailable, SampleLost

log = logging.getLogger("ray.serve")

_BYTES_UNDER_WAY = 64 << 20


@dataclass(slots=True)
class Outcome:
    """What became of a request. judge: "ok", "unavailable" or "not_asked". Seconds are wall time.

    sample_s, judge_s: summed over candidates, which overlap; the runs of a tool belong to sampling.
    judge_cpu_s: CPU seconds of all that the judge ran for it, the runs of a tool and of inputs included.
    selection: what the selector did after the last candidate, as the answer says it; empty where it did nothing.
    input_samples: by member, samples in which inputs were written.
    ran: of each draw that called the tool, its calls. repairs: of each draw of a further turn, the request that its member was sent.
    """

    session: RecordedSession
    judge: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    sample_s: float = 0.0
    judge_s: float = 0.0
    judge_cpu_s: float = 0.0
    total_s: float = 0.0
    selection: Json = field(default_factory=dict)
    input_samples: Counter[str] = field(default_factory=Counter)
    ran: dict[int, tuple[python_tool.Ran, ...]] = field(default_factory=dict)
    repairs: dict[int, ApiRequest] = field(default_factory=dict)

    @property
    def drawn(self) -> Counter[str]:
        """Samples by member, those in which inputs were written among them."""
        return self.session.drawn + self.input_samples


class Ensemble:
    """Draws candidates whole and has them judged. One per ingress replica; any number of requests at once."""

    def __init__(self, engines: Engines, judging: JudgeClient, counts: Counts) -> None:
        self._engines = engines
        self._judging = judging
        self._counts = counts
        self._scorers = ScorerClient(counts)
        self._drain_at = math.inf

    def drain(self, seconds: float) -> None:
        """From now on every request ends within that time, with the best so far."""
        self._drain_at = time.monotonic() + seconds

    async def run(
        self,
        parsed: ParsedRequest,
        outcome: Outcome,
        watches: Sequence[Watch] = (),
        *,
        arrived: float | None = None,
    ) -> None:
        """Draws and judges until the session of `outcome` stops.

        outcome: filled in as samples arrive, so that it holds what was spent however this ends. watches: each is called at every step of every sample. arrived: the time (monotonic) at which the request came, from
        which its deadline counts; None: now. Cancelling it frees every engine slot and judge run that it holds.

        Raises RequestError: the engine refused the request (its own 4xx), or nothing could be drawn (503).
        """
        started = time.monotonic() if arrived is None else arrived
        session = outcome.session
        parsed = await self._with_language(parsed)
        candidates = _Candidates(parsed, outcome, self._engines, self._judging, self._counts, watches)

        def until() -> float:
            return min(started + parsed.deadline_s, self._drain_at)

        await drive(session, candidates, until)
        if not session.candidates:
            late = session.stopped is Stop.DEADLINE
            reason = "the deadline came first" if late else "every member failed"
            raise no_capacity(f"no sample could be drawn: {reason}")
        if parsed.input_form is not None:
            await candidates.discriminate(until() - time.monotonic())
        elif parsed.scorer is not None:
            await self._ask_scorer(parsed, outcome, until() - time.monotonic())
        unjudged = all(candidate.verdict is None for candidate in session.candidates)
        if parsed.tests is not None and session.stopped is Stop.DEADLINE and unjudged:
            outcome.judge = "unavailable"  # it gave this request no verdict in time
        outcome.total_s = time.monotonic() - started

    async def _ask_scorer(self, parsed: ParsedRequest, outcome: Outcome, left_s: float) -> None:
        assert parsed.scorer is not None
        session = outcome.session
        scored = await self._scorers.score(parsed, session.candidates, left_s)
        outcome.selection = scored.summary(parsed.scorer.url if parsed.selector_named else None)
        session.learn(
            {
                candidate.draw.index: replace(
                    candidate.evidence, decision=scored.decisions[candidate.draw.index]
                )
                for candidate in session.candidates
            }
        )

    async def _with_language(self, parsed: ParsedRequest) -> ParsedRequest:
        """Before a single sample is drawn for programs that no judge here can run. Where only the configuration's selector
        would run them, the request goes without it. Raises RequestError (400).
        """
        tests = parsed.tests or parsed.input_form
        if tests is None or parsed.language == "python":
            return parsed
        try:
            await self._judging.ready_for(parsed.language, tests)
        except JudgeUnavailable:
            return parsed  # which each candidate's judgement will say
        except JudgeError as error:
            if parsed.tests is None and not parsed.selector_named:
                return replace(parsed, input_form=None)
            raise malformed(
                f"alpharay.language={parsed.language!r}: {error}", param="alpharay.language"
            ) from error
        return parsed


class _Candidates(Sampler):
    """The samples of one request: each is a whole response, judged where there are tests."""

    def __init__(
        self,
        parsed: ParsedRequest,
        outcome: Outcome,
        engines: Engines,
        judging: JudgeClient,
        counts: Counts,
        watches: Sequence[Watch],
    ) -> None:
        self.parsed = parsed
        self.outcome = outcome
        self._session = outcome.session
        self._trace = parsed.trace if parsed.trace.live else None
        self._watches = [*watches, self._trace.watch] if self._trace else list(watches)
        # Whose turn it takes in the judge's queue: all batches together have one.
        self._group = "batches" if parsed.background else parsed.request_id
        self._engines = engines
        self._judging = judging
        self._counts = counts
        self._sampling: set[int] = set()  # draws that an engine is working on
        self._sampled: dict[int, Candidate] = {}
        self._faulty: set[str] = set()
        self._faults = 0
        # A huge prompt is sent to few engines at once: the first one's refusal ends the rest.
        self._room = asyncio.Semaphore(1 + _BYTES_UNDER_WAY // (1 + len(parsed.request.rest)))

    def start(self, draw: Draw) -> Coroutine[Any, Any, Candidate]:
        self._notify(draw, "drawn")
        self._sampling.add(draw.index)
        return self._candidate(draw)

    def is_lost(self, draw: Draw, error: Exception) -> bool:
        self._sampling.discard(draw.index)
        if not isinstance(error, SampleLost):
            if isinstance(error, RequestError):
                self._notify(draw, "refused")
            return False
        log.warning("%s: sample %d is lost: %s", self.parsed.request_id, draw.index, error)
        blame = unusable(self.parsed.request.body) if isinstance(error, EngineFault) else None
        if blame is None:
            self._counts.samples.labels(draw.member, "lost").inc()
        self._notify(draw, "lost")
        if isinstance(error, EngineFault):
            self._faulty.add(draw.member)
            self._faults += 1
        # Where a structure is asked for, one member's engine is enough to know that it cannot be used.
        if len(self._faulty) > 1 or (self._faults > 1 and blame):
            raise engine_fault(self.parsed.request) from error
        return True

    def drop(self, draw: Draw, error: BaseException | None) -> None:
        state = "aborted"
        if isinstance(error, RequestError):
            # The engine's own refusal is of the request, and so of every draw that is still under way.
            state = "refused" if error.status < 500 else "lost"
        self._notify(draw, state)
        if draw.index in self._sampling:
            self._counts.samples.labels(draw.member, "aborted").inc()

    def sampled(self) -> Iterable[Candidate]:
        return self._sampled.values()

    async def discriminate(self, left_s: float) -> None:
        """Has the members write inputs on which the candidates differ, and runs those on them: as far as the time goes."""
        parsed, outcome, session = self.parsed, self.outcome, self._session
        try:
            async with asyncio.timeout(max(0.0, left_s)):
                result = await discriminate.discriminate(parsed, session, self._inputs, self._behaviour)
        except TimeoutError:
            result = discriminate.Discriminated(ended="deadline")
        except Exception:
            # An internal error, and the candidates are there: they are selected as without it.
            log.exception("%s: the inputs that tell candidates apart could not be made", parsed.request_id)
            result = discriminate.Discriminated(ended="failed")
        outcome.selection = result.summary(outcome.input_samples.total())
        agreed = result.written - result.discriminating - result.dropped
        for kind, inputs in (
            ("discriminating", result.discriminating),
            ("agreed", agreed),
            ("dropped", result.dropped),
        ):
            self._counts.written_inputs.labels(kind).inc(inputs)
        if result.evidence:
            session.learn(result.evidence)

    async def _inputs(self, draw: Draw, request: ApiRequest) -> Json:
        """One sample in which inputs are written; it is of the budget, and its tokens count."""
        self.outcome.input_samples[draw.member] += 1
        self._notify(draw, "drawn")
        state = "aborted"
        try:
            response, _ = await self._response(draw, request)
            state = "finished"
        except (SampleLost, RequestError):
            state = "lost"
            raise
        finally:
            self._counts.samples.labels(draw.member, state).inc()
            self._notify(draw, "sampled" if state == "finished" else state)
            if self._trace:
                self._trace.watch(draw, state)
            if state == "lost":
                self.outcome.input_samples[draw.member] -= 1
        return response

    def _notify(self, draw: Draw, state: str, verdict: VerdictKind | None = None) -> None:
        for watch in self._watches:
            watch(draw, state, verdict)

    async def _candidate(self, draw: Draw) -> Candidate:
        candidate, text = await self._sample(draw)
        self._notify(draw, "sampled")
        if self.parsed.tests is None:
            if self._trace:
                self._trace.watch(draw, "finished")
            return candidate
        self._sampled[draw.index] = candidate
        if self.parsed.probes is None:
            judged = await self._judged(candidate, text)
        else:
            judged, behaviour = await asyncio.gather(
                self._judged(candidate, text), self._behaviour(self.parsed.probes, text)
            )
            judged = replace(judged, evidence=replace(judged.evidence, behaviour=behaviour))
        self._sampled[draw.index] = judged
        return judged

    async def _behaviour(self, inputs: Tests, text: str) -> tuple[str | None, ...]:
        """What the program gives for each input; nothing where the judge is unreachable."""
        parsed = self.parsed
        limits = evidence.probe_limits(parsed.limits)
        try:
            seen = await self._judging.observe(inputs, text, limits, parsed.language, self._group)
        except JudgeUnavailable as error:
            log.warning("%s: the judge is unreachable: %s", parsed.request_id, error)
            self.outcome.judge = "unavailable"
            return ()
        self.outcome.judge_cpu_s += seen.total_cpu_s
        return seen.outputs

    async def _sample(self, draw: Draw) -> tuple[Candidate, str]:
        """The draw, not judged yet, and its text; "" where neither judge nor selector reads it."""
        started, parsed = time.monotonic(), self.parsed
        request = self._conversation(draw)
        try:
            response, (prompt, completion) = await self._response(draw, request)
        except RequestError as error:
            if draw.turn == 1 or error.status >= 500:
                raise
            # The attempt and its feedback exceed the model's context: it is drawn again as it was.
            request = parsed.request
            response, (prompt, completion) = await self._response(draw, request)
        if parsed.python:
            path = await python_tool.follow(request, response, partial(self._round, draw), self._run)
            response, prompt, completion = path.response, path.prompt_tokens, path.completion_tokens
            self.outcome.ran[draw.index] = path.runs
        is_read = parsed.tests is not None or Need.ANSWER in parsed.needs
        text = parsed.dialect.text(response, parsed.request) if is_read else ""
        self.outcome.sample_s += time.monotonic() - started
        self._sampling.discard(draw.index)
        self._counts.samples.labels(draw.member, "finished").inc()
        if self._trace:
            self._trace.set_sample_attributes(
                draw, {"gen_ai.usage.input_tokens": prompt, "gen_ai.usage.output_tokens": completion}
            )
        gathered = NO_EVIDENCE
        if needs := parsed.needs:
            gathered = evidence.of_response(response, text, needs, ours=parsed.hide_logprobs)
        candidate = Candidate(
            draw=draw, prompt_tokens=prompt, completion_tokens=completion, payload=response, evidence=gathered
        )
        return candidate, text

    async def _round(self, draw: Draw, request: ApiRequest, number: int) -> Json:
        """The member's answer to a conversation with its tool. number: of the calls of the tool so far."""
        response, _ = await self._response(draw, request, number)
        return response

    async def _response(self, draw: Draw, request: ApiRequest, round_: int = 0) -> tuple[Json, Spent]:
        """What the member answers to that conversation, its tokens counted. Raises RequestError: its refusal."""
        number = f"{draw.index}.{round_}" if round_ else f"{draw.index}"
        reply = await self._reply(draw, request, f"{self.parsed.request_id}-{number}")
        if reply.status != 200:
            raise refused(reply.status, reply.body, request)
        response: Json = json.loads(reply.body)
        spent = prompt, completion = self.parsed.dialect.usage(response)
        self.outcome.prompt_tokens += prompt
        self.outcome.completion_tokens += completion
        self._counts.tokens.labels(draw.member, "prompt").inc(prompt)
        self._counts.tokens.labels(draw.member, "completion").inc(completion)
        return response, spent

    async def _run(self, program: str) -> Verdict:
        """One call of the tool. Raises SandboxDown."""
        try:
            verdict = await self._judging.run(program, self.parsed.limits, self._group)
        except JudgeUnavailable as error:
            log.warning("%s: the sandbox is unreachable: %s", self.parsed.request_id, error)
            self.outcome.judge = "unavailable"
            raise python_tool.SandboxDown from error
        self.outcome.judge_cpu_s += verdict.total_cpu_s
        return verdict

    async def _reply(self, draw: Draw, request: ApiRequest, request_id: str) -> Reply:
        dialect = self.parsed.dialect
        body = dialect.engine_body(request, draw.member, seed=draw.seed, draw=True, request_id=request_id)
        async with self._room:
            headers = engine_headers(request_id, draw.index, background=self.parsed.background)
            if self._trace:
                headers |= self._trace.headers(draw)
            return await self._engines.sample(draw.member, dialect.PATH, body, headers)

    def _conversation(self, draw: Draw) -> ApiRequest:
        """The request as it came, or for a further turn with the failed attempts and the feedback on them."""
        parsed = self.parsed
        if draw.repairs is None:
            return parsed.request
        failed = next(each for each in self._session.candidates if each.draw.index == draw.repairs)
        assert parsed.tests is not None
        assert failed.verdict is not None
        before = self.outcome.repairs.get(draw.repairs, parsed.request)
        feedback = repair.feedback(
            failed.verdict, parsed.tests, prompt_text(parsed.request.body), all_public=parsed.from_prompt
        )
        answer = parsed.dialect.text(failed.payload, parsed.request)
        self.outcome.repairs[draw.index] = repair.follow_up(before, answer, feedback)
        return self.outcome.repairs[draw.index]

    async def _judged(self, candidate: Candidate, text: str) -> Candidate:
        parsed, started = self.parsed, time.monotonic()
        assert parsed.tests is not None
        try:
            verdict = await self._judging.judge(
                parsed.tests, text, parsed.limits, parsed.language, self._group
            )
        except JudgeUnavailable as error:
            log.warning("%s: the judge is unreachable: %s", parsed.request_id, error)
            self.outcome.judge = "unavailable"
            self._notify(candidate.draw, "judged")
            return candidate
        seconds = time.monotonic() - started
        self.outcome.judge_s += seconds
        self.outcome.judge_cpu_s += verdict.total_cpu_s
        kind = VerdictKind(verdict.verdict)
        self._counts.judge_duration.labels(kind.value).observe(seconds)
        self._counts.verdicts.labels(candidate.draw.member, kind.value).inc()
        self._notify(candidate.draw, "judged", kind)
        return replace(candidate, verdict=verdict)
