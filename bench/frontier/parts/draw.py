"""Problems of one, two or three parts over one array, and programs for them.

A prompt comes as two problems. Under *low limits* the array is short and its values may be anything, under *high limits*
it is long and they are 0 to 99; the prompt says neither and is the same, letter for letter. So a program that takes
the fast way in every part solves the second and one that takes the simple way in every part the first; one that mixes
ways solves neither, but for a share of low limits with values as under high ones (`NARROW`), where all ways are right.

How answers are folded into one number is not said either: one of `CODES` holds, whatever the prompt. Every program
guesses it, in the same way at every member, which makes a pass so rare that a hundred samples matter.
"""

from __future__ import annotations

import itertools
import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.frontier.parts.quantities import QUANTITIES, Quantity
from bench.frontier.problems.draft import Layout, array_layouts, resolve
from bench.frontier.problems.draw import answer

COUNTS = (1, 2, 3)  # parts of a problem
WAYS = ("simple", "fast")
TIME_LIMIT_S = 0.05  # of CPU; fast programs take up to 15 ms under high limits, simple ones 150 ms and more
SIZES = {1: (6, 8), 2: (5, 10), 3: (30, 40)}  # values of a case, by level
CASES = {1: 1, 2: 3, 3: 1, 4: 1}
LITTLE, LARGE = 60, 3000  # values at level 4
NARROW = 0.15  # share of problems with low limits whose values are 0 to 99 all the same
CODES = tuple(f"*{factor}%{modulus}" for factor in (31, 37, 41, 43) for modulus in (97, 101, 103, 107))
_ATTEMPTS = 20  # prompts that are drawn for each that is asked for: there are few of one part
PLAIN = ""  # the answers' sum itself: what reinforcement learning is rewarded on

# What is done to the array first: a sentence and a line.
STEPS = (
    ("", ""),
    ("", ""),
    ("Ignore the first value.", "a = a[1:]"),
    ("Ignore the last value.", "a = a[:-1]"),
    ("Read it from right to left.", "a = a[::-1]"),
    ("Write the first value once more at the end.", "a += a[:1]"),
)
OPENINGS = ("You are given an array a of n integers.", "There are n integers in an array a.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A prompt and what programs for it are made of. folded: whether an unknown code is asked for, or the plain sum."""

    prompt: str
    layout: Layout
    step: str
    quantities: tuple[Quantity, ...]
    folded: bool

    def program(
        self, ways: Sequence[str], code: str = PLAIN, rng: random.Random | None = None, right: float = 1.0
    ) -> str:
        """ways: of each part. Every choice point is right with that probability."""
        lines = [self.layout.code]
        step = self.step
        if rng is not None and rng.random() >= right:
            step = rng.choice([line for _, line in STEPS if line != step])
        if step:
            lines += [step, "n = len(a)"]
        lines.append("t = 0")
        for quantity, way in zip(self.quantities, ways, strict=True):
            lines += [resolve(getattr(quantity, way), rng, right), "t += s"]
        return "\n".join([*lines, f"print(t{code})"]) + "\n"

    def mixtures(self) -> Iterator[tuple[str, ...]]:
        """Every choice of ways."""
        return itertools.product(WAYS, repeat=len(self.quantities))


def random_question(count: int, rng: random.Random, *, folded: bool) -> Question:
    """A question of `count` parts of different families."""
    layout = rng.choice(array_layouts())
    sentence, step = rng.choice(STEPS)
    quantities = tuple(QUANTITIES[family](rng) for family in rng.sample(list(QUANTITIES), count))
    names = "ABC"[:count]
    clauses = [f"{name} is {quantity.sentence}." for name, quantity in zip(names, quantities, strict=True)]
    end = f"Print {'the checksum of ' * folded}{'+'.join(names)}."
    text = " ".join([rng.choice(OPENINGS), *([sentence] if sentence else []), *clauses, end, layout.sentence])
    return Question(prompt=f"{text}\n", layout=layout, step=step, quantities=quantities, folded=folded)


def split_of(prompt: str) -> str:
    """Which set a prompt belongs to, by its hash: an eighth each to test and validation."""
    share = zlib.crc32(prompt.encode()) % 16
    return "test" if share < 2 else "validation" if share < 4 else "train"


def question_for(split: str, count: int, seed: str, *, folded: bool) -> Question:
    """The first question, from this seed on, whose prompt belongs to that set."""
    for attempt in itertools.count():
        drawn = random_question(count, random.Random(f"{seed}/{attempt}"), folded=folded)
        if split_of(drawn.prompt) == split:
            return drawn
    raise AssertionError


def values(question: Question, rng: random.Random, n: int, *, narrow: bool) -> list[int]:
    """n values; narrow: 0 to 99. In short arrays most stand beside one that they count with."""
    if n == LARGE:
        return [rng.randrange(100) for _ in range(n)]
    pool = []
    while len(pool) < max(4, n // 3):
        value = rng.randrange(100) if narrow else rng.choice((-1, 1)) * rng.randint(201, 999)
        pool += [value, rng.choice(question.quantities).partner(value)]
    kept = [value for value in pool if not narrow or 0 <= value < 100]
    return [rng.choice(kept) for _ in range(n)]


def problem(question: Question, rng: random.Random, name: str, *, large: bool) -> dict[str, Any]:
    """The question in the project's format, under high limits or under low ones.

    Raises AssertionError where ways that must agree do not: a bug of a family.
    """
    code = rng.choice(CODES) if question.folded else PLAIN
    narrow = large or rng.random() < NARROW
    count = len(question.quantities)
    simple, fast = (question.program([way] * count, code) for way in WAYS)
    cases = []
    for level, times in CASES.items():
        for _ in range(times):
            n = (LARGE if large else LITTLE) if level == 4 else rng.randint(*SIZES[level])
            input_text, output = _case(question, code, rng, n, narrow=narrow, breaking=level == 1)
            if narrow:
                assert answer(fast, input_text) == output, (
                    f"the ways disagree on {input_text!r}:\n{fast}\n{simple}"
                )
            cases.append({"input": input_text, "output": output, "level": level})
    return {
        "id": name,
        "prompt": question.prompt,
        "tests": {"kind": "stdio", "cases": cases},
        "time_limit_s": TIME_LIMIT_S,
        "memory_limit_mb": 256,
        "language": "python",
        "parts": count,
        "families": [quantity.family for quantity in question.quantities],
        "large": large,
        "narrow": narrow,
        "code": code,
        "reference": {"fast": fast, "simple": simple},
    }


def _case(
    question: Question, code: str, rng: random.Random, n: int, *, narrow: bool, breaking: bool
) -> tuple[str, str]:
    """An input with its output. breaking: with values beyond 0 to 99 every single fast part changes the output."""
    count = len(question.quantities)
    while True:
        input_text = question.layout.render({"a": values(question, rng, n, narrow=narrow)})
        way = "fast" if n == LARGE else "simple"
        output = answer(question.program([way] * count, code), input_text)
        mixed = (["simple"] * at + ["fast"] + ["simple"] * (count - at - 1) for at in range(count))
        if (
            narrow
            or not breaking
            or all(_answer(question.program(ways, code), input_text) != output for ways in mixed)
        ):
            return input_text, output


def _answer(program: str, input_text: str) -> str | None:
    try:
        return answer(program, input_text)
    except IndexError:  # a table that is too small: what shall happen
        return None


def questions(
    count: int, number: int, seed: int, split: str, *, folded: bool = True
) -> list[tuple[str, Question]]:
    """`number` questions of that many parts with different prompts, and the seed from which each was drawn.

    Raises ValueError: so many different prompts of that set were not found.
    """
    made: dict[str, tuple[str, Question]] = {}
    for attempt in range(_ATTEMPTS * number):
        begin = f"parts/{split}/{seed}/{count}/{folded}/{attempt}"
        drawn = question_for(split, count, begin, folded=folded)
        made.setdefault(drawn.prompt, (begin, drawn))
        if len(made) == number:
            return list(made.values())
    raise ValueError(
        f"there are about {len(made)} {split} prompts of {count} part(s); ask for at most that many"
    )


def both_limits(question: Question, seed: str, name: str) -> list[dict[str, Any]]:
    """The question's problem under low limits and the one under high limits."""
    return [
        problem(question, random.Random(f"{seed}/{limits}"), f"{name}-{limits}", large=limits == "high")
        for limits in ("low", "high")
    ]


def pairs(count: int, number: int, seed: int, split: str, *, folded: bool = True) -> list[dict[str, Any]]:
    """Both problems of each of `questions`, beside each other."""
    drawn = questions(count, number, seed, split, folded=folded)
    return [
        raw
        for at, (begin, question) in enumerate(drawn)
        for raw in both_limits(question, begin, f"parts{count}-{split}-{at}")
    ]


PROBLEM_SEED = 1  # of the sets that everything is evaluated on


def evaluation(split: str, number: int) -> list[dict[str, Any]]:
    """`number` prompts of each count of parts, a prompt's two problems beside each other, the counts in turn."""
    sets = [pairs(count, number, PROBLEM_SEED, split) for count in COUNTS]
    return [raw for at in range(0, 2 * number, 2) for each in sets for raw in each[at : at + 2]]


# How often a choice point is right in a program to imitate, whichever way.
RIGHT = 0.92
PROGRAMS = 3  # for one prompt


def example(seed: int, number: int) -> tuple[str, list[str]]:
    """The number-th prompt of that seed with programs for it: every part takes its way by itself, half of the time each."""
    rng = random.Random(f"parts/example/{seed}/{number}")
    question = question_for(
        "train", rng.choice(COUNTS), f"parts/example/{seed}/{number}", folded=rng.random() < 0.5
    )
    programs = []
    for _ in range(PROGRAMS):
        ways = [rng.choice(WAYS) for _ in question.quantities]
        programs.append(question.program(ways, rng.choice(CODES) if question.folded else PLAIN, rng, RIGHT))
    return question.prompt, programs


FAST_LINES = ("c = [", "s = u = l = 0")  # what every fast way begins with, and no simple one has


def fast_parts(program: str) -> tuple[int, int]:
    """(parts that take the fast way, parts)"""
    return sum(program.count(line) for line in FAST_LINES), program.count("t += s")
