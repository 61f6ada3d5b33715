"""A further turn: the member sees its own failed attempt and what failed, and writes another.

The feedback is terse, and has nothing of a hidden test: the verdict, and the first case that failed if that
case is public. A case is public when the prompt itself shows it as an example (`judge.behaviour.shown`), when
all tests came from the prompt, or when the caller marked it with `"level": 0`. Cases without a level and
of any other level are hidden, and of those the member only learns that one failed.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from alpharay.judge.behaviour import shown
from alpharay.judge.problem import CallCase, CodeTests, StdioCase, Tests
from alpharay.judge.verdict import Verdict, VerdictKind
from alpharay.judge.workspace.repo import RepoTests
from alpharay.serve.dialects.api_request import ApiRequest, for_the_engine

# Of an input, an output or a message, in characters: a few lines help more than a page.
_MOST_SHOWN = 1500

_REASONS = {
    VerdictKind.WRONG_ANSWER: "it gave a wrong answer",
    VerdictKind.RUNTIME_ERROR: "it crashed",
    VerdictKind.COMPILE_ERROR: "it does not compile",
    VerdictKind.NO_PROGRAM: "your answer holds no program; put one in a code block",
    VerdictKind.OUTPUT_LIMIT: "it printed far too much",
    VerdictKind.SECURITY_VIOLATION: "it tried something that is not allowed where it runs",
    VerdictKind.TIME_LIMIT: "it ran out of time; it needs a faster algorithm",
    VerdictKind.MEMORY_LIMIT: "it ran out of memory",
}
# Their details are about the program's own text, whatever the tests.
_OF_ITS_TEXT = frozenset({VerdictKind.COMPILE_ERROR, VerdictKind.NO_PROGRAM})


def feedback(verdict: Verdict, tests: Tests, prompt: str, *, all_public: bool = False) -> str:
    """The feedback on a member's failed attempt.

    prompt: the text of the request, for the examples that it shows. all_public: the tests are from there.
    """
    text = f"Your program was run and failed: {_REASONS.get(verdict.verdict, 'it did not pass')}."
    if verdict.verdict in _OF_ITS_TEXT:
        if verdict.detail:
            text += f"\n{_cut(verdict.detail)}"
    elif (case := _public_case(verdict, tests, prompt, all_public=all_public)) is not None:
        text += f"\nThe test that failed:\n{_shown(case)}"
        if verdict.detail:
            text += f"\nWhat was seen: {_cut(verdict.detail)}"
    else:
        text += " The test that failed is hidden."
    return f"{text}\nCorrect it, and answer with the whole program."


def follow_up(request: ApiRequest, answer: str, feedback: str) -> ApiRequest:
    """The request that continues the conversation: the member's answer, then the feedback on it.

    Works for every dialect, by the field that holds its conversation. A completion has none: there its text
    goes on, with the feedback as a comment.
    """
    fields: dict[str, Any] = json.loads(request.rest)
    turns = [
        # Some templates refuse an empty message.
        {"role": "assistant", "content": answer or "(no answer)"},
        {"role": "user", "content": feedback},
    ]
    if isinstance(fields.get("messages"), list):
        fields["messages"] = [*fields["messages"], *turns]
    elif "input" in fields:
        conversation = fields["input"]
        before = (
            conversation if isinstance(conversation, list) else [{"role": "user", "content": conversation}]
        )
        fields["input"] = [*before, *turns]
    else:
        prompt = fields.get("prompt")
        text = prompt[0] if isinstance(prompt, list) and prompt and isinstance(prompt[0], str) else prompt
        if not isinstance(text, str):
            return request  # token ids: nothing can be added to them here, so it is drawn again as it was
        comment = "\n".join(f"# {line}" for line in feedback.splitlines())
        fields["prompt"] = f"{text}{answer}\n{comment}\n"
    return replace(request, rest=for_the_engine(fields))


def _public_case(
    verdict: Verdict, tests: Tests, prompt: str, *, all_public: bool
) -> StdioCase | CallCase | None:
    index = verdict.failed_case
    if isinstance(tests, CodeTests | RepoTests) or index is None or not 0 <= index < len(tests.cases):
        return None
    case: StdioCase | CallCase = tests.cases[index]
    if all_public or case.level == 0:
        return case
    examples = shown(prompt)
    cases: tuple[StdioCase | CallCase, ...] = (
        () if examples is None or isinstance(examples, CodeTests | RepoTests) else examples.cases
    )
    return case if any(_same(case, other) for other in cases) else None


def _same(case: StdioCase | CallCase, other: StdioCase | CallCase) -> bool:
    if isinstance(case, StdioCase) and isinstance(other, StdioCase):
        return case.input.split() == other.input.split() and case.output.split() == other.output.split()
    if isinstance(case, CallCase) and isinstance(other, CallCase):
        # As JSON, where true is not 1.
        return json.dumps([case.args, case.kwargs, case.output]) == json.dumps(
            [other.args, other.kwargs, other.output]
        )
    return False


def _shown(case: StdioCase | CallCase) -> str:
    if isinstance(case, StdioCase):
        return f"input:\n{_cut(case.input.rstrip())}\nexpected output:\n{_cut(case.output.rstrip())}"
    arguments = [*(json.dumps(value) for value in case.args)]
    arguments += [f"{name}={json.dumps(value)}" for name, value in case.kwargs.items()]
    return f"called with ({_cut(', '.join(arguments))})\nexpected: {_cut(json.dumps(case.output))}"


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + " …"
