"""Drives one request over the frontier: draws what its session decides, has every candidate run, stops in time."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from alpharay.judge.errors import JudgeError
from alpharay.judge.limits import Limits
from alpharay.judge.problem import Tests
from alpharay.judge.verdict import Verdict, VerdictKind
from alpharay.router import Candidate, Draw, Need, SamplingRequest, Stop
from alpharay.serve.dialects.dialect import ApiRequest, Dialect
from alpharay.serve.dialects.structures import unusable
from alpharay.serve.dialects.too_long import fills_the_model, prompt_too_long
from alpharay.serve.errors import RequestError, malformed, no_capacity
from alpharay.serve.learn.recording import Recorded
from alpharay.serve.sampling import evidence, python_tool, repair
from alpharay.serve.sampling.progress import Watch, unwatched
from alpharay.serve.sampling.prompt_text import prompt_text
from alpharay.serve.state.metrics import Counts
from alpharay.serve.transport.asgi import Reply
from alpharay.serve.transport.clients import EngineFault, Engines, JudgeClient, JudgeUnavailable, SampleLost

log = logging.getLogger("ray.serve")

# A drain may shorten the deadline of a request that is already waiting, so it looks up this often.
_LOOK_UP_S = 1.0
_BYTES_UNDER_WAY = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One request, understood. deadline_s: wall seconds from its arrival.

    asked: the budget that was asked for, of which the key's cap may have left less.
    needs: what its selector goes by. probes: the inputs on which candidates are compared, where they are.
    from_prompt: the tests are the prompt's own examples. hide_logprobs: the caller did not ask for them.
    python: members may call the tool of `python_tool.py`, which is in the request already.
    """

    request_id: str
    dialect: Dialect
    request: ApiRequest
    sampling: SamplingRequest
    policy: str
    deadline_s: float
    tests: Tests | None = None
    limits: Limits | None = None
    language: str = "python"
    asked: int = 0
    needs: frozenset[Need] = frozenset()
    probes: Tests | None = None
    from_prompt: bool = False
    hide_logprobs: bool = False
    python: bool = False


@dataclass(slots=True)
class Outcome:
    """What became of a job. judge: "ok", "unavailable" or "not_asked". Seconds are wall time.

    sample_s, judge_s: summed over candidates, which overlap; the runs of a tool belong to sampling.
    ran: of each draw that called the tool, its calls.
    """

    session: Recorded
    judge: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    sample_s: float = 0.0
    judge_s: float = 0.0
    total_s: float = 0.0
    ran: dict[int, tuple[python_tool.Ran, ...]] = field(default_factory=dict)


class Ensemble:
    """Runs jobs. One per ingress replica; any number of jobs at once."""

    def __init__(self, engines: Engines, judging: JudgeClient, counts: Counts) -> None:
        self._engines = engines
        self._judging = judging
        self._counts = counts
        self._drain_at: float | None = None

    def drain(self, seconds: float) -> None:
        """From now on every job ends within that time, with the best so far."""
        self._drain_at = time.monotonic() + seconds

    async def run(self, job: Job, watch: Watch = unwatched, *, arrived: float | None = None) -> Outcome:
        """Draws and judges until the session stops.

        watch: told of every step of every sample. arrived: the time (monotonic) at which the request came, from
        which its deadline counts; None: now. Cancelling it frees every engine slot and judge run that it holds.

        Raises RequestError: the engine refused the request (its own 4xx), or nothing could be drawn (503).
        """
        run = _Run(job, self._engines, self._judging, self._counts, watch)
        started = time.monotonic() if arrived is None else arrived
        outcome_class = "aborted"
        try:
            await self._check_language(job)
            await self._drive(run, started + job.deadline_s)
        except RequestError as error:
            # The engine's own refusal is of the request, and so of every draw that is still under way.
            outcome_class = "refused" if error.status < 500 else "lost"
            raise
        finally:
            await run.abort(outcome_class)
        if not run.session.candidates:
            raise no_capacity(
                "no sample could be drawn: "
                + (
                    "the deadline came first"
                    if run.session.stopped is Stop.DEADLINE
                    else "every member failed"
                )
            )
        run.outcome.total_s = time.monotonic() - started
        return run.outcome

    async def _check_language(self, job: Job) -> None:
        """Before a single sample is drawn for programs that no judge here can run."""
        if job.tests is None or job.language == "python":
            return
        try:
            await self._judging.ready_for(job.language, job.tests)
        except JudgeUnavailable:
            return  # which each candidate's judgement will say
        except JudgeError as error:
            raise malformed(
                f"alpharay.language={job.language!r}: {error}", param="alpharay.language"
            ) from error

    async def _drive(self, run: _Run, deadline: float) -> None:
        session, patience = run.session, 0.5
        while not session.stopped:
            run.start(session.next_wave())
            if session.stopped:  # no sample left is worth its price
                break
            now = time.monotonic()
            until = min(deadline, self._drain_at or deadline)
            if now >= until:
                run.expire()
            elif session.stalled:
                # Every member that could be drawn from is down; an engine is back within seconds.
                await asyncio.sleep(min(patience, until - now))
                patience = min(patience * 2, 8.0)
                session.revive()
            else:
                await run.step(min(until - now, _LOOK_UP_S))


class _Run:
    """The tasks and counts of one job under way."""

    def __init__(
        self, job: Job, engines: Engines, judging: JudgeClient, counts: Counts, watch: Watch
    ) -> None:
        self.job = job
        self._watch = watch
        self.session = Recorded(job.sampling, job.policy)
        self.outcome = Outcome(self.session, "ok" if job.tests is not None else "not_asked")
        self._engines = engines
        self._judging = judging
        self._counts = counts
        self._tasks: dict[asyncio.Task[Candidate], Draw] = {}
        self._unjudged: dict[int, Candidate] = {}
        self._faulty: set[str] = set()
        self._faults = 0
        self._asked: dict[int, ApiRequest] = {}  # per draw of a further turn, the conversation so far
        # A huge prompt is sent to few engines at once: the first one's refusal ends the rest.
        self._room = asyncio.Semaphore(1 + _BYTES_UNDER_WAY // (1 + len(job.request.rest)))

    def start(self, draws: tuple[Draw, ...]) -> None:
        for draw in draws:
            self._watch(draw, "drawn", None)
            self._tasks[asyncio.create_task(self._candidate(draw))] = draw

    async def step(self, at_most_s: float) -> None:
        """Waits for at least one draw and reports all that are done, in the order of their draws."""
        done, _ = await asyncio.wait(self._tasks, timeout=at_most_s, return_when=asyncio.FIRST_COMPLETED)
        for task in sorted(done, key=lambda task: self._tasks[task].index):
            draw = self._tasks.pop(task)
            try:
                candidate = task.result()
            except SampleLost as error:
                log.warning("%s: sample %d is lost: %s", self.job.request_id, draw.index, error)
                blame = unusable(self.job.request.body) if isinstance(error, EngineFault) else None
                if blame is None:
                    self._counts.samples.labels(draw.member, "lost").inc()
                self._watch(draw, "lost", None)
                self.session.lost(draw)
                if isinstance(error, EngineFault):
                    self._faulty.add(draw.member)
                    self._faults += 1
                # Where a structure is asked for, one member's engine is enough to know that it cannot be used.
                if len(self._faulty) > 1 or (self._faults > 1 and blame):
                    raise engine_fault(self.job.request) from error
            except RequestError:
                self._watch(draw, "refused", None)
                raise
            else:
                self._unjudged.pop(draw.index, None)
                self.session.observe(candidate)

    def expire(self) -> None:
        """Ends the session; what was sampled but not yet judged counts as it is."""
        self.session.expire(self._unjudged.values())
        if self._unjudged and all(candidate.verdict is None for candidate in self.session.candidates):
            self.outcome.judge = "unavailable"  # it gave this request no verdict in time

    async def abort(self, outcome_class: str) -> None:
        """Cancels what is still under way and waits until it has let go. outcome_class: `aborted`, `refused` or `lost`."""
        for task, draw in self._tasks.items():
            self._watch(draw, outcome_class, None)
            # A sample that was being judged has been counted as finished.
            if task.cancel() and draw.index not in self._unjudged:
                self._counts.samples.labels(draw.member, "aborted").inc()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _candidate(self, draw: Draw) -> Candidate:
        candidate = await self._sample(draw)
        self._watch(draw, "sampled", None)
        if self.job.tests is None:
            return candidate
        self._unjudged[draw.index] = candidate
        if self.job.probes is None:
            return await self._judged(candidate)
        judged, behaviour = await asyncio.gather(self._judged(candidate), self._behaviour(candidate))
        return replace(judged, evidence=replace(judged.evidence, behaviour=behaviour))

    async def _behaviour(self, candidate: Candidate) -> tuple[str | None, ...]:
        job = self.job
        assert job.probes is not None
        assert job.limits is not None
        text, limits = job.dialect.text(candidate.payload, job.request), evidence.probe_limits(job.limits)
        try:
            seen = await self._judging.observe(job.probes, text, limits, job.language, job.request_id)
        except JudgeUnavailable as error:
            log.warning("%s: the judge is unreachable: %s", job.request_id, error)
            self.outcome.judge = "unavailable"
            return ()
        return seen.outputs

    async def _sample(self, draw: Draw) -> Candidate:
        started = time.monotonic()
        dialect, request = self.job.dialect, self._conversation(draw)
        try:
            response = await self._response(draw, request)
        except RequestError as error:
            if draw.turn == 1 or error.status >= 500:
                raise
            # The attempt and what it is told are more than the model takes: it is drawn again as it was.
            request = self.job.request
            response = await self._response(draw, request)
        prompt, completion = dialect.usage(response)
        if self.job.python:
            path = await python_tool.follow(request, response, partial(self._response, draw), self._run)
            response, prompt, completion = path.response, path.prompt_tokens, path.completion_tokens
            self.outcome.ran[draw.index] = path.runs
        self.outcome.sample_s += time.monotonic() - started
        self._counts.samples.labels(draw.member, "finished").inc()
        told = evidence.of_response(
            response,
            dialect.text(response, self.job.request) if Need.ANSWER in self.job.needs else "",
            self.job.needs,
            ours=self.job.hide_logprobs,
        )
        return Candidate(
            draw=draw, prompt_tokens=prompt, completion_tokens=completion, payload=response, evidence=told
        )

    async def _response(self, draw: Draw, request: ApiRequest, round_: int = 0) -> Any:
        """What the member answers to that conversation, its tokens counted. Raises RequestError: its refusal."""
        number = f"{draw.index}.{round_}" if round_ else f"{draw.index}"
        reply = await self._reply(draw, request, f"{self.job.request_id}-{number}")
        if reply.status != 200:
            raise refused(reply.status, reply.body, request)
        response = json.loads(reply.body)
        prompt, completion = self.job.dialect.usage(response)
        self.outcome.prompt_tokens += prompt
        self.outcome.completion_tokens += completion
        self._counts.tokens.labels(draw.member, "prompt").inc(prompt)
        self._counts.tokens.labels(draw.member, "completion").inc(completion)
        return response

    async def _run(self, program: str) -> Verdict:
        """One call of the tool. Raises SandboxDown."""
        assert self.job.limits is not None
        try:
            return await self._judging.run(program, self.job.limits, self.job.request_id)
        except JudgeUnavailable as error:
            log.warning("%s: the sandbox is unreachable: %s", self.job.request_id, error)
            self.outcome.judge = "unavailable"
            raise python_tool.SandboxDown from error

    async def _reply(self, draw: Draw, request: ApiRequest, request_id: str) -> Reply:
        dialect = self.job.dialect
        body = dialect.engine_body(request, draw.member, seed=draw.seed, draw=True, request_id=request_id)
        async with self._room:
            return await self._engines.sample(draw.member, dialect.PATH, body, {"x-request-id": request_id})

    def _conversation(self, draw: Draw) -> ApiRequest:
        """The request as it came, or for a further turn with the failed attempts and what was told of them."""
        job = self.job
        if draw.repairs is None:
            return job.request
        failed = next(one for one in self.session.candidates if one.draw.index == draw.repairs)
        assert job.tests is not None
        assert failed.verdict is not None
        before = self._asked.get(draw.repairs, job.request)
        told = repair.feedback(
            failed.verdict, job.tests, prompt_text(job.request.body), all_public=job.from_prompt
        )
        asked = repair.follow_up(before, job.dialect.text(failed.payload, job.request), told)
        self._asked[draw.index] = asked
        return asked

    async def _judged(self, candidate: Candidate) -> Candidate:
        job, started = self.job, time.monotonic()
        assert job.tests is not None
        assert job.limits is not None
        try:
            verdict = await self._judging.judge(
                job.tests,
                job.dialect.text(candidate.payload, job.request),
                job.limits,
                job.language,
                job.request_id,
            )
        except JudgeUnavailable as error:
            log.warning("%s: the judge is unreachable: %s", job.request_id, error)
            self.outcome.judge = "unavailable"
            self._watch(candidate.draw, "judged", None)
            return candidate
        seconds = time.monotonic() - started
        self.outcome.judge_s += seconds
        kind = VerdictKind(verdict.verdict)
        self._counts.judge_duration.labels(kind.value).observe(seconds)
        self._counts.verdicts.labels(candidate.draw.member, kind.value).inc()
        self._watch(candidate.draw, "judged", kind)
        return replace(candidate, verdict=verdict)


def engine_fault(request: ApiRequest) -> RequestError:
    """Living engines fail on this very request, so that drawing again would not help: 500, or 400 where it asks for a
    structure, since then the structure is what they cannot use.
    """
    return unusable(request.body) or RequestError(
        500, "the engine fails on this request; an unusual field of it may be the reason"
    )


def refused(status: int, body: bytes, request: ApiRequest | None = None) -> RequestError:
    """The engine's own refusal (a prompt longer than the model, say) as ours. request: what it refused."""
    try:
        response = json.loads(body)
    except ValueError:
        response = None
    error = response.get("error") if isinstance(response, dict) else None
    if not isinstance(error, dict):
        return RequestError(
            400 if status == 422 else status,
            f"the engine refused the request: {body[:500].decode(errors='replace')}",
        )
    message = str(error.get("message"))
    if "--tool-call-parser" in message:
        message = (
            "the model is served without a parser for tool calls; name vLLM's under engine.extra, such as "
            "{enable_auto_tool_choice: true, tool_call_parser: hermes}, or send no tools"
        )
    param = error.get("param")
    too_long = prompt_too_long(message, param) or (request and fills_the_model(message, request))
    return too_long or RequestError(400 if status == 422 else status, message, param=param)
