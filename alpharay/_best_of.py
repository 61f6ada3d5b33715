"""Best of n over any sampler: the router's session and the judge, without a server."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from alpharay._judge import AnyTests, AsyncJudge
from alpharay.driver import Sampler, drive
from alpharay.errors import AlpharayError
from alpharay.judge.problem import Problem, parse_tests
from alpharay.judge.verdict import Verdict
from alpharay.router import POLICIES, SELECTORS, Candidate, Draw, Member, SamplingRequest, Session, needs_of

Sample = Callable[[str, int], Awaitable[str]]

# Failures of a sampler that another try may not have: the sample goes back into the budget.
LOST = (ConnectionError, TimeoutError)


class NothingDrawn(AlpharayError):
    """Every sample was lost, or the deadline came first; the cause is the sampler's last error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """What `best_of` found. verdict: of `text`; it may be a failure where no candidate passed.

    member: who wrote it. drawn: per member, samples started and not lost. stopped: `passes`, `budget` or
    `deadline`. ranked: every judged text with its member and verdict, best first.
    """

    text: str
    member: str
    verdict: Verdict | None
    drawn: Mapping[str, int]
    stopped: str
    ranked: tuple[tuple[str, str, Verdict | None], ...]

    @property
    def accepted(self) -> bool:
        return self.verdict is not None and self.verdict.accepted


async def best_of(
    sample: Sample,
    members: Sequence[str] | Mapping[str, float],
    tests: AnyTests,
    *,
    budget: int = 16,
    policy: str = "uniform",
    selector: str = "tests",
    stop_after_passes: int = 1,
    seed: int = 0,
    language: str | None = None,
    time_limit_s: float | None = None,
    memory_limit_mb: int | None = None,
    deadline_s: float | None = None,
    judge: AsyncJudge | None = None,
) -> Best:
    """Draws up to `budget` samples over the members, judges each, and stops at the first that passes.

    sample: `await sample(member, seed)` gives one answer as text. Cancelled when it is no longer needed. Its
    ConnectionError and TimeoutError lose that sample, which is drawn again; other errors end the call.
    members: names, or names with their alphas. tests: as for `alpharay.judge`. policy, selector: by name, plug-ins
    too; selectors that go by more than verdicts need a server. seed: equal seeds ask for equal draws. judge: an
    entered `AsyncJudge` to use; None starts one for this call. deadline_s: wall seconds; the best so far is returned.

    Raises NothingDrawn, ProblemError, and ValueError for a budget below 1 or an unknown policy or selector.
    """
    for kind, name, known in (("policy", policy, POLICIES), ("selector", selector, SELECTORS)):
        if name not in known:
            raise ValueError(f"{kind}={name!r}: choose one of {', '.join(sorted(known))}")
    if needs := needs_of(selector):
        without = ", ".join(sorted(name for name in SELECTORS if not needs_of(name)))
        raise ValueError(
            f"selector={selector!r} needs {' and '.join(sorted(needs))} of candidates, which only a server gathers; "
            f"choose one of {without}"
        )
    if isinstance(tests, Mapping) and not isinstance(tests, Problem):
        tests = parse_tests(dict(tests))
    alphas = dict(members) if isinstance(members, Mapping) else dict.fromkeys(members, 0.0)
    request = SamplingRequest(
        members=tuple(Member(name=name, alpha=alpha) for name, alpha in alphas.items()),
        budget=budget,
        seed=seed,
        stop_after_passes=stop_after_passes,
        reproducible=True,
        selector=selector,
    )
    session = Session(request, POLICIES[policy]())
    deadline = math.inf if deadline_s is None else time.monotonic() + deadline_s
    async with AsyncExitStack() as stack:
        judging = await stack.enter_async_context(AsyncJudge()) if judge is None else judge

        async def candidate(draw: Draw) -> Candidate:
            text = await sample(draw.member, draw.seed)
            verdict = await judging(
                tests, text, language=language, time_limit_s=time_limit_s, memory_limit_mb=memory_limit_mb
            )
            return Candidate(draw=draw, payload=text, verdict=verdict)

        sampler = _AnySampler(candidate)
        await drive(session, sampler, lambda: deadline)
    error = sampler.last_error
    if not session.candidates:
        raise NothingDrawn(f"no sample could be drawn: {error or 'the deadline came first'}") from error
    ranked = tuple(
        (candidate.payload, candidate.draw.member, candidate.verdict) for candidate in session.select()
    )
    text, member, verdict = ranked[0]
    return Best(
        text=text,
        member=member,
        verdict=verdict,
        drawn=dict(+session.drawn),
        stopped=session.stopped.value if session.stopped else "budget",
        ranked=ranked,
    )


class _AnySampler(Sampler):
    """last_error: of a lost sample."""

    def __init__(self, candidate: Callable[[Draw], Awaitable[Candidate]]) -> None:
        self.last_error: Exception | None = None
        self._candidate = candidate

    def start(self, draw: Draw) -> Awaitable[Candidate]:
        return self._candidate(draw)

    def is_lost(self, draw: Draw, error: Exception) -> bool:  # noqa: ARG002 - every draw alike
        self.last_error = error
        return isinstance(error, LOST)
