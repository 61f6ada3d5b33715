"""One problem from a family: limits, layout, changes, tests in four nested coverage levels, reference programs.

Levels: 1 the sample and one more like it, 2 four small cases, 3 two of middle size, 4 one at the limit. The cases
stand in that order, so that a judge that stops at the first failure runs the cheap ones first.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import random
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.frontier.problems import blocks, counting, lines, numbers, pairs, queries, scans, strings
from bench.frontier.problems.changes import TRANSFORMS, WRAPS
from bench.frontier.problems.draft import Draft, Family, Layout, Way, resolve

TOPICS = (pairs, blocks, scans, queries, numbers, counting, strings, lines)
FAMILIES: dict[str, Family] = {family.__name__: family for topic in TOPICS for family in topic.TRAINED}
HELD_OUT: dict[str, Family] = {
    family.__name__: family for topic in TOPICS for family in getattr(topic, "HELD_OUT", ())
}

TIME_LIMIT_S = 0.1  # of CPU; fast references take up to 30 ms, simple ones at a large limit 300 ms and more
LARGE = 0.6  # share of problems whose limits only the fast way keeps
STATED = 0.6  # share of problems that say what their limits are
SMALL_CASES, MIDDLE_CASES = 4, 2


@dataclass(frozen=True, slots=True)
class Sketch:
    """A drawn problem's text and programs, before its tests exist: all that training on programs needs."""

    family: str
    draft: Draft
    layout: Layout
    transform: str
    wrap: str
    large: bool
    statement: str
    sample: tuple[str, str]

    @property
    def prompt(self) -> str:
        input_text, output = self.sample
        return f"{self.statement}\nSample input:\n{input_text}Sample output:\n{output}\n"

    def program(self, way: str, rng: random.Random | None = None, right: float = 1.0) -> str:
        """A program of that way, `simple` or `fast`; every choice point right with that probability."""
        solution: Way = getattr(self.draft, way)
        made = [f"# {way} {solution.cost}"]
        if solution.imports:
            made.append(solution.imports)
        made.append(self.layout.code)
        if self.transform:
            name = self.transform
            if rng is not None and rng.random() >= right:
                name = rng.choice([other for other in TRANSFORMS if other != name])
            made.append(f"a = [{TRANSFORMS[name][1]} for v in a]")
        made.append(resolve(solution.body, rng, right))
        wrap = self.wrap
        if wrap and rng is not None and rng.random() >= right:
            wrap = rng.choice(["", *(other for other in WRAPS if other != wrap)])
        made.append(f"print({WRAPS[wrap][1] if wrap else 'ans'})")
        return "\n".join(made) + "\n"


def sketch(family: str, rng: random.Random) -> Sketch:
    """A problem of that family without its tests."""
    draft = {**FAMILIES, **HELD_OUT}[family](rng)
    layout = rng.choice(draft.layouts)
    transform = rng.choice(draft.transforms)
    wrap = rng.choice(["", "", "", *WRAPS]) if draft.wraps else ""
    large = rng.random() < LARGE
    parts = [f"You are given {draft.inputs}."]
    if transform:
        parts.append(rng.choice(TRANSFORMS[transform][0]))
    parts.append(draft.task)
    if wrap:
        parts.append(rng.choice(WRAPS[wrap][0]))
    if rng.random() < STATED:
        top = draft.large if large else draft.little
        name = draft.bounded if draft.bounded[:3] != "the" else draft.bounded[:1].upper() + draft.bounded[1:]
        parts.append(f"{name} is at most {top}.")
    parts.append(layout.sentence)
    half = Sketch(family, draft, layout, transform, wrap, large, " ".join(parts), ("", ""))
    input_text = layout.render(draft.values(rng, rng.randint(*draft.sizes[0])))
    return Sketch(
        family,
        draft,
        layout,
        transform,
        wrap,
        large,
        half.statement,
        (input_text, answer(half.program("fast"), input_text)),
    )


def problem(drawn: Sketch, rng: random.Random, name: str) -> dict[str, Any]:
    """The sketch in the project's format, with reference programs and notes on where it comes from.

    Raises AssertionError when the two ways disagree on an input that both can take: a bug of the family.
    """
    family = drawn.family
    draft, fast, simple = drawn.draft, drawn.program("fast"), drawn.program("simple")
    small, little, middle = draft.sizes
    sizes = [(1, rng.randint(*small))]
    sizes += [(2, rng.randint(*little)) for _ in range(SMALL_CASES)]
    sizes += [(3, rng.randint(*middle)) for _ in range(MIDDLE_CASES)]
    sizes.append((4, draft.large if drawn.large else draft.little))
    cases = [{"input": drawn.sample[0], "output": drawn.sample[1], "level": 1}]
    for level, size in sizes:
        input_text = drawn.layout.render(draft.values(rng, size))
        output = answer(fast, input_text)
        if size != draft.large:
            assert answer(simple, input_text) == output, (
                f"{family}: the two ways disagree on {input_text!r}:\n{fast}\n{simple}"
            )
        cases.append({"input": input_text, "output": output, "level": level})
    return {
        "id": name,
        "prompt": drawn.prompt,
        "tests": {"kind": "stdio", "cases": cases},
        "time_limit_s": TIME_LIMIT_S,
        "memory_limit_mb": 256,
        "language": "python",
        "family": family,
        "hard": draft.hard,
        "large": drawn.large,
        "reference": {"fast": fast, "simple": simple},
    }


def answer(program: str, input_text: str) -> str:
    """What one of our own reference programs prints; it is run in this process."""
    output = io.StringIO()
    previous, sys.stdin = sys.stdin, io.StringIO(input_text)
    try:
        with contextlib.redirect_stdout(output):
            exec(compile(program, "<reference>", "exec"), {"__name__": "reference"})  # our own text
    finally:
        sys.stdin = previous
    return output.getvalue().strip()


def split_of(prompt: str) -> str:
    """Which set a prompt belongs to, by its hash: no prompt is in two sets, whatever seed it was drawn with."""
    share = zlib.crc32(prompt.encode()) % 16
    return "test" if share == 0 else "validation" if share == 1 else "train"


def sketch_for(split: str, family: str, seed: str) -> Sketch:
    """A problem of that family whose prompt belongs to that set: the first one that does, from this seed on."""
    for attempt in itertools.count():
        drawn = sketch(family, random.Random(f"{seed}/{attempt}"))
        if split_of(drawn.prompt) == split:
            return drawn
    raise AssertionError


def problems(families: Sequence[str], count: int, seed: int, split: str) -> list[dict[str, Any]]:
    """`count` problems of each family; the same seed and split give the same problems, no two with one prompt."""
    made = []
    for family in families:
        prompts: set[str] = set()
        for number in itertools.count():
            rng = f"{split}/{seed}/{family}/{number}"
            drawn = sketch_for(split, family, rng)
            if drawn.prompt in prompts:
                continue
            made.append(problem(drawn, random.Random(f"{rng}/tests"), f"{family}-{split}-{len(prompts)}"))
            prompts.add(drawn.prompt)
            if len(prompts) == count:
                break
    return made


PROBLEM_SEED = 1  # of the sets that everything is evaluated on; training draws others


def shuffled(families: Sequence[str], count: int, split: str) -> list[dict[str, Any]]:
    """An evaluation set: first one problem of each family, in random order, then the next of each, and so on.

    So any beginning of it is a fair sample of the families.
    """
    made = problems(families, count, PROBLEM_SEED, split)
    rounds = [made[number::count] for number in range(count)]
    rng = random.Random(split)
    for each in rounds:
        rng.shuffle(each)
    return [raw for each in rounds for raw in each]
