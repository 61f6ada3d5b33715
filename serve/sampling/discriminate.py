"""Inputs that the members write once all candidates are there, on which those differ: for the selector `discriminate`.

Each sample shows a member two programs that may differ, and asks for inputs on which they do. The distinct programs of
the contenders run on all of them; what the answers are worth is decided in `router/selection/discriminate.py`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TypeVar

from alpharay.judge.behaviour import written_inputs
from alpharay.judge.problem import CallTests, StdioTests, Tests
from alpharay.router import Candidate, Draw, Evidence, agreements, contenders, ranked
from alpharay.router.draw import draw_seed
from alpharay.serve.dialects.api_request import ApiRequest, Json
from alpharay.serve.errors import RequestError
from alpharay.serve.learn.recording import RecordedSession
from alpharay.serve.sampling import repair
from alpharay.serve.sampling.evidence import source_in, texts_of
from alpharay.serve.sampling.request import ParsedRequest
from alpharay.serve.transport.clients import SampleLost

T = TypeVar("T")

# Of a request's budget, a quarter goes to inputs, and no more than this.
INPUT_SAMPLES, SHARE = 4, 4
# Programs that are run, and inputs that they are run on.
_MOST_PROGRAMS, _MOST_INPUTS = 128, 16
_MOST_SHOWN = 8000  # characters of a program
_ASKED_FOR = 5  # inputs of one sample


def reserved(budget: int, choices: int) -> int:
    """The samples of a budget that are kept for inputs; all choices can still be drawn."""
    return max(0, min(INPUT_SAMPLES, budget // SHARE, budget - choices))


@dataclass(frozen=True, slots=True, kw_only=True)
class Discriminated:
    """ended: `ok`, or why there are no written inputs. written, discriminating, dropped: inputs, of `agreements`.

    evidence: by the index of each contender's draw.
    """

    ended: str
    programs: int = 0
    written: int = 0
    discriminating: int = 0
    dropped: int = 0
    evidence: dict[int, Evidence] | None = None

    def summary(self, samples: int) -> Json:
        """What the answer says of the written inputs. samples: in which they were written."""
        inputs = {
            "written": self.written,
            "discriminating": self.discriminating,
            "dropped": self.dropped,
        }
        return {
            "selector": "discriminate",
            "samples": samples,
            "programs": self.programs,
            "inputs": inputs,
            "ended": self.ended,
        }


async def discriminate(
    parsed: ParsedRequest,
    session: RecordedSession,
    ask: Callable[[Draw, ApiRequest], Awaitable[Json]],
    observe: Callable[[Tests, str], Awaitable[tuple[str | None, ...]]],
) -> Discriminated:
    """ask: one sample of a member, counted by the caller; observe: what a program gives for each input.

    Cancelling it cancels all that it has asked for.
    """
    form = parsed.input_form
    assert form is not None
    chosen = ranked(contenders(session.candidates), "tests")
    texts = texts_of(parsed, chosen)
    programs = {index: source_in(text, parsed.language) for index, text in texts.items()}
    distinct = list(dict.fromkeys(program for program in programs.values() if program))[:_MOST_PROGRAMS]
    if len(distinct) < 2:
        return Discriminated(ended="one_program", programs=len(distinct))
    draws = _draws(parsed, session, chosen)
    if not draws:
        return Discriminated(ended="no_samples", programs=len(distinct))
    pairs = _pairs(chosen, programs)

    async def answer(number: int, draw: Draw) -> str:
        mine, other = pairs[number % len(pairs)]
        prompt = question(programs[other], form, parsed.language)
        try:
            request = repair.follow_up(parsed.request, texts[mine], prompt)
            return parsed.dialect.text(await ask(draw, request))
        except (SampleLost, RequestError):
            return ""  # the candidates are there: a request does not end for want of further inputs

    answers = await _all(answer(number, draw) for number, draw in enumerate(draws))
    inputs = written_inputs(answers, parsed.probes or form, _MOST_INPUTS, parsed.language)
    if inputs is None:
        return Discriminated(ended="no_inputs", programs=len(distinct))
    # The text that the program came in, so that its block's label still says what it is written for.
    shown = {programs[index]: text for index, text in reversed(texts.items())}
    outputs = dict(zip(distinct, await _all(observe(inputs, shown[p]) for p in distinct), strict=True))
    evidence = _evidence(parsed, chosen, programs, outputs, len(inputs.cases))
    first = len(next(iter(evidence.values())).behaviour) - len(inputs.cases)
    agreed = agreements([each.behaviour for each in evidence.values()])
    return Discriminated(
        ended="ok",
        programs=len(distinct),
        written=len(inputs.cases),
        discriminating=sum(column >= first for column in agreed.discriminating),
        dropped=sum(column >= first for column in agreed.dropped),
        evidence=evidence,
    )


async def _all(work: Iterable[Awaitable[T]]) -> list[T]:
    """The results in order; what is under way is cancelled, and has ended, when one fails or the caller is cancelled."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_awaited(each)) for each in work]
    return [task.result() for task in tasks]


async def _awaited(work: Awaitable[T]) -> T:
    return await work


def _draws(parsed: ParsedRequest, session: RecordedSession, chosen: Sequence[Candidate]) -> list[Draw]:
    """Samples beyond those of the session, of the members that the contenders came from, most contenders first."""
    names = [name for name, _ in Counter(candidate.draw.member for candidate in chosen).most_common()]
    numbers = {member.name: number for number, member in enumerate(parsed.sampling.members)}
    used = Counter(dict.fromkeys(names, 0))
    for draw in session.draws:
        used[draw.member] = max(used[draw.member], draw.sample + 1)
    index = 1 + max(draw.index for draw in session.draws)
    draws = []
    for number in range(parsed.input_samples):
        name = names[number % len(names)]
        seed = draw_seed(parsed.sampling.seed, numbers[name], used[name])
        draws.append(Draw(index=index + number, member=name, sample=used[name], seed=seed))
        used[name] += 1
    return draws


def _pairs(chosen: Sequence[Candidate], programs: dict[int, str]) -> list[tuple[int, int]]:
    """Candidates whose programs may differ, by the index of their draws: of the largest groups that behave alike, and
    where all do, of any two programs.
    """
    groups: dict[object, list[int]] = {}
    for candidate in chosen:
        if program := programs[candidate.draw.index]:
            groups.setdefault(candidate.evidence.behaviour or program, []).append(candidate.draw.index)
    if len(groups) == 1:
        by_program = {programs[index]: index for index in reversed(next(iter(groups.values())))}
        firsts = list(reversed(by_program.values()))
    else:
        firsts = [group[0] for group in sorted(groups.values(), key=len, reverse=True)]
    return list(combinations(firsts[:4], 2))


def question(program: str, form: Tests, language: str) -> str:
    """What a member is asked that sees a program of its own above. form: of the inputs."""
    how = "complete as a program reads it from standard input"
    if isinstance(form, CallTests):
        how = f"as one call of `{form.entry_point}` with literal arguments"
    fence = "```"
    return (
        f"Here is another program for the same task:\n{fence}{language}\n{program[:_MOST_SHOWN]}\n{fence}\n"
        f"At most one of the two is right. Write up to {_ASKED_FOR} small inputs that the task allows and on which the two "
        f"give different answers. Put each in a code block of its own, {how}. Write no program and no answers."
    )


def _evidence(
    parsed: ParsedRequest,
    chosen: Sequence[Candidate],
    programs: dict[int, str],
    outputs: dict[str, tuple[str | None, ...]],
    inputs: int,
) -> dict[int, Evidence]:
    """What each contender gave for the shared inputs, then for the written ones."""
    shared = 0
    if isinstance(parsed.probes, StdioTests | CallTests):
        shared = len(parsed.probes.cases)
    evidence = {}
    for candidate in chosen:
        before = _filled(candidate.evidence.behaviour, shared)
        after = _filled(outputs.get(programs[candidate.draw.index], ()), inputs)
        evidence[candidate.draw.index] = replace(candidate.evidence, behaviour=before + after)
    return evidence


def _filled(behaviour: tuple[str | None, ...], length: int) -> tuple[str | None, ...]:
    return (*behaviour, *(None for _ in range(length - len(behaviour))))[:length]
