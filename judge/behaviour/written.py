"""Inputs that a model wrote, as tests without outputs: a code block each, read as data and never run here."""

import json

from alpharay.judge.behaviour.examples import DEFINED, literal_call
from alpharay.judge.behaviour.markup import plain
from alpharay.judge.behaviour.signature import signature
from alpharay.judge.problem import CallCase, CallTests, StdioCase, StdioTests, Tests
from alpharay.judge.program import code_blocks

LONGEST = 1 << 16  # characters of one input
# Of an answer: characters, and texts that may be calls, all read on the thread that answers other requests too.
_SCANNED, _MOST_TRIED = 1 << 18, 64


def input_form(prompt: str) -> StdioTests | CallTests:
    """Tests without cases, of the kind that a prompt without examples asks for: calls of the function that it defines last,
    if its values are JSON's, else programs that read standard input.
    """
    prompt = plain(prompt[:LONGEST])
    for name in reversed(DEFINED.findall(prompt)):
        header = signature(prompt, name)
        if name not in ("main", "solve") and header is not None and header.plain and header.parameters:
            return CallTests(name, ())
    return StdioTests(())


def written_inputs(
    answers: list[str], form: Tests, most: int, language: str = "python"
) -> StdioTests | CallTests | None:
    """The inputs in some answers, at most so many, taken from each answer in turn; None where there are none.

    form: tests of the kind that the programs have; an input that it holds already is not taken again. Blocks that are no
    call of its function with literal arguments, and inputs beyond LONGEST characters, are passed over, as are arguments by
    name where the programs' language has none.
    """
    if not isinstance(form, StdioTests | CallTests):
        return None
    names = language == "python"
    read = [
        _calls(answer, form, names) if isinstance(form, CallTests) else _texts(answer) for answer in answers
    ]
    seen = {_key(case) for case in form.cases}
    kept: list[StdioCase | CallCase] = []
    for turn in range(max(map(len, read), default=0)):
        for cases in read:
            if turn < len(cases) and len(kept) < most and (key := _key(cases[turn])) not in seen:
                seen.add(key)
                kept.append(cases[turn])
    if not kept:
        return None
    if isinstance(form, StdioTests):
        texts = tuple(case for case in kept if isinstance(case, StdioCase))
        return StdioTests(texts, form.float_tolerance, preamble=form.preamble)
    calls = tuple(case for case in kept if isinstance(case, CallCase))
    return CallTests(form.entry_point, calls, form.float_tolerance, preamble=form.preamble)


def _key(case: StdioCase | CallCase) -> str:
    if isinstance(case, StdioCase):
        return " ".join(case.input.split())
    return json.dumps([case.args, case.kwargs])


def _texts(answer: str) -> list[StdioCase]:
    blocks = [block.strip("\n") for block in code_blocks(answer[:_SCANNED])]
    return [StdioCase(block + "\n", "") for block in blocks if block.strip() and len(block) <= LONGEST]


def _calls(answer: str, form: CallTests, names: bool) -> list[CallCase]:
    """A block may hold one call over several lines, or a call a line. names: arguments may be given by name."""
    calls: list[CallCase] = []
    tried = 0
    for block in code_blocks(answer[:_SCANNED]):
        for text in (block, *block.split("\n")):
            tried += 1
            if tried > _MOST_TRIED:
                return calls
            call = literal_call(text, "None") if 0 < len(text) <= LONGEST else None
            if call is None or call[0] != form.entry_point or (call[2] and not names):
                continue
            calls.append(CallCase(tuple(call[1]), call[2], None))
            if text == block:
                break
    return calls
