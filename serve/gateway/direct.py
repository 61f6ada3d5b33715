"""Answers that engines write by themselves, without budget and tests: passed through, with our notes added.

One draw carries the whole request; several streamed choices of the ensemble are each a draw of their own. Where an engine
is lost before anything of its draw was sent, the session's next member answers.
"""

from __future__ import annotations

import json
import math
import time
from abc import abstractmethod
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from alpharay.driver import Sampler, drive
from alpharay.router import Candidate, Down, Draw, Event, SamplingRequest
from alpharay.serve.dialects.api_request import EngineBody, Json, engine_headers
from alpharay.serve.dialects.dialect import EngineError, Spent
from alpharay.serve.dialects.refusals import engine_fault, refused
from alpharay.serve.errors import RequestError
from alpharay.serve.gateway import respond
from alpharay.serve.gateway.server import Server
from alpharay.serve.learn.recording import RecordedSession
from alpharay.serve.sampling.ensemble import Outcome
from alpharay.serve.sampling.request import ParsedRequest
from alpharay.serve.transport.clients import EngineFault, SampleLost


class DirectSampler(Sampler):
    """The draws of one direct request. Subclasses say how an engine is asked."""

    waits = False  # where no member can answer, the client is told at once

    def __init__(self, server: Server, parsed: ParsedRequest) -> None:
        self.parsed = parsed
        self.origin = respond.origin(parsed)
        self.session = server.begin(parsed)
        self._server = server
        self._started = time.monotonic()
        self._lost = "no member is up"
        self._members_tried: set[str] = set()

    async def run(self) -> None:
        """Raises RequestError: the engine's own refusal, or 503 where no member can answer."""
        down = self._down()
        if len(down) == len(self.parsed.sampling.members):
            # What is known here may be a second old, and another ingress replica has called the server ready since.
            await self._server.look_again()
            down = self._down()
        # Where all of them are down, the sampler finds it out and says so.
        first: list[Event] = [Down(down)] if len(down) < len(self.parsed.sampling.members) else []
        await drive(self.session, self, lambda: math.inf, first)
        if len(self.session.candidates) < self.parsed.sampling.effective_budget:
            raise _restarting(self._lost)

    @abstractmethod
    async def sample(self, draw: Draw) -> Spent:
        """Has the engine answer. Raises SampleLost, EngineError, and RequestError: its refusal."""

    def is_begun(self, draw: Draw) -> bool:  # noqa: ARG002 - nothing goes out before the end
        """Whether something of it was sent, so that no other member can answer in its place."""
        return False

    def sent(self, draw: Draw) -> int:  # noqa: ARG002 - nothing is known before the end
        """Completion tokens of a draw that is cut off, as far as they are known here."""
        return 0

    def start(self, draw: Draw) -> Coroutine[Any, Any, Candidate]:
        self._members_tried.add(draw.member)
        if self.parsed.conversation:
            self._server.conversations.stay(self.parsed.conversation, draw.member)
        return self._candidate(draw)

    def is_lost(self, draw: Draw, error: Exception) -> bool:
        if isinstance(error, SampleLost):
            self._lost = f"the engine of {draw.member} was lost ({error})"
        return isinstance(error, SampleLost)

    def body(self, draw: Draw, request_id: str) -> EngineBody:
        """The request as the draw's engine gets it."""
        request = self.parsed.request
        if self.parsed.sampling.budget > 1:
            request = replace(request, choices=1)
        return self.parsed.dialect.engine_body(
            request, draw.member, seed=self._seed(draw), draw=False, request_id=request_id
        )

    def note(self, draw: Draw, index: int = 0) -> Json:
        """The `alpharay` object of a choice. index: of the choice among those of its draw."""
        # As vLLM seeds the choices of one request; several prompts share their seeds.
        seed = self._seed(draw) + index % self.parsed.request.choices
        return respond.choice_note(Candidate(draw=replace(draw, seed=seed)), self._server.by_name)

    def finish(self, draw: Draw, spent: Spent) -> Json:
        """Counts and records a request of one draw; returns the `alpharay` object of the whole answer."""
        session = _one_member(self.parsed, draw, spent)
        return self.record(session, session.candidates, spent, time.monotonic() - self._started)

    def record(
        self, session: RecordedSession, chosen: list[Candidate], spent: Spent, sample_s: float
    ) -> Json:
        """As `finish`. chosen: the choices of the answer, in their order."""
        outcome = Outcome(
            session,
            "not_asked",
            prompt_tokens=spent[0],
            completion_tokens=spent[1],
            sample_s=sample_s,
            total_s=time.monotonic() - self._started,
        )
        respond.record(self._server, self.parsed, outcome, chosen)
        return respond.summary(self.parsed, outcome)

    async def _candidate(self, draw: Draw) -> Candidate:
        """The draw, counted by what became of it. Raises SampleLost: another member may answer; RequestError."""
        outcome = "aborted"
        spent: Spent | None = None
        self.parsed.trace.watch(draw, "drawn")
        try:
            prompt, completion = spent = await self.sample(draw)
            outcome = "finished"
            self.parsed.trace.set_sample_attributes(
                draw, {"gen_ai.usage.input_tokens": prompt, "gen_ai.usage.output_tokens": completion}
            )
        except (SampleLost, EngineError) as error:
            failure = self._failure(draw, error)
            outcome = "" if isinstance(failure, RequestError) and failure.status < 500 else "lost"
            raise failure from error
        except RequestError:
            outcome = ""
            raise
        finally:
            self.parsed.trace.watch(draw, outcome or "refused")
            if outcome:
                samples = self._server.counts.samples.labels(draw.member, outcome)
                samples.inc(self.parsed.choices_a_draw)
            if self.parsed.key and outcome in ("finished", "aborted"):
                respond.count_for_key(
                    self._server.counts,
                    self.parsed.key,
                    self.parsed.choices_a_draw,
                    spent or (0, self.sent(draw)),
                )
        tokens = self._server.counts.tokens
        tokens.labels(draw.member, "prompt").inc(prompt)
        tokens.labels(draw.member, "completion").inc(completion)
        return Candidate(draw=draw, prompt_tokens=prompt, completion_tokens=completion)

    def _failure(self, draw: Draw, error: SampleLost | EngineError) -> Exception:
        if isinstance(error, EngineError) and (error.status < 500 or error.status == 501):
            return refused(error.status, error.body, self.parsed.request)
        fault = engine_fault(self.parsed.request)
        if isinstance(error, EngineError):
            # An engine that is dying fails before its death is noticed, and another member may answer.
            if self.is_begun(draw) or fault.status < 500 or not self._others():
                return fault
        elif isinstance(error, EngineFault):
            return fault
        if self.is_begun(draw):
            return _restarting(f"the engine of {draw.member} was lost in the middle of its answer")
        return SampleLost(str(error))

    def _others(self) -> bool:
        """Whether a member is left that was not asked yet and can answer."""
        names = {member.name for member in self.parsed.sampling.members} - self._members_tried
        return any(not self._server.cluster.is_down(name) for name in names)

    def _down(self) -> tuple[str, ...]:
        """The request's members that cannot answer, as far as is known here."""
        names = (member.name for member in self.parsed.sampling.members)
        return tuple(name for name in names if self._server.cluster.is_down(name))

    def _seed(self, draw: Draw) -> int:
        """A pinned member's engine gets the caller's own, as a bare vLLM server would."""
        return self.parsed.sampling.seed if self.parsed.pinned else draw.seed


class WholeAnswer(DirectSampler):
    """An unstreamed answer: one draw for the whole request."""

    def __init__(self, server: Server, parsed: ParsedRequest) -> None:
        super().__init__(server, parsed)
        self._answer: Json = {}

    async def answer(self) -> Json:
        """Raises RequestError."""
        await self.run()
        return self._answer

    async def sample(self, draw: Draw) -> Spent:
        parsed, request_id = self.parsed, self.parsed.request_id
        headers = engine_headers(request_id, parsed.choices_a_draw - 1, background=parsed.background)
        headers |= parsed.trace.headers(draw)
        reply = await self._server.engines.sample(
            draw.member, parsed.dialect.PATH, self.body(draw, request_id), headers
        )
        if reply.status != 200:
            raise refused(reply.status, reply.body, parsed.request)
        response: Json = json.loads(reply.body)
        spent = parsed.dialect.usage(response)
        summary = self.finish(draw, spent)
        self._answer = parsed.dialect.noted(
            self.origin, response, lambda index: self.note(draw, index), summary
        )
        return spent


def _restarting(reason: str) -> RequestError:
    return RequestError(
        503,
        f"{reason}, and no other can finish this answer; it is being restarted, try again",
        code="no_capacity",
        retry_after_s=5,
    )


def _one_member(parsed: ParsedRequest, draw: Draw, spent: Spent) -> RecordedSession:
    """The choices of one engine call as draws of a session, so that feedback finds what it is about."""
    samples = parsed.choices_a_draw
    member = next(member for member in parsed.sampling.members if member.name == draw.member)
    sampling = SamplingRequest(
        members=(member,), budget=samples, seed=parsed.sampling.seed, features=parsed.sampling.features
    )
    session = RecordedSession(sampling, "single")
    draws = session.step()
    if isinstance(draws, tuple):
        session.step(
            Candidate(draw=each, prompt_tokens=spent[0] // samples, completion_tokens=spent[1] // samples)
            for each in draws
        )
    return session
