"""What selectors need of candidates beside verdicts, from the engine and from the judge."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from alpharay.judge.behaviour import shared_inputs
from alpharay.judge.limits import Limits
from alpharay.judge.problem import Tests
from alpharay.judge.program import extract_program
from alpharay.router import Need
from alpharay.router.draw import Candidate, Evidence
from alpharay.router.selection.answers import normalised
from alpharay.serve.dialects.api_request import ApiRequest, EngineBody, Json
from alpharay.serve.dialects.dialect import Dialect
from alpharay.serve.errors import malformed
from alpharay.serve.sampling.request import ParsedRequest

# Inputs on which candidates are compared, and CPU seconds that a candidate may take for each: many short runs
# distinguish more candidates than few long ones.
SHARED_INPUTS, SHARED_CPU_S = 12, 2.0

# The fields that ask an engine for log-probabilities, by path.
_ASKS_LOGPROBS: dict[str, Json] = {
    "/v1/chat/completions": {"logprobs": True},
    "/v1/completions": {"logprobs": 1},
}


def probes(tests: Tests | None, seed: int) -> Tests | None:
    """Shared inputs made from the tests' own, for selectors that compare what candidates do."""
    return None if tests is None else shared_inputs(tests, SHARED_INPUTS, seed)


def texts_of(parsed: ParsedRequest, candidates: Iterable[Candidate]) -> dict[int, str]:
    """Each candidate's text, by the index of its draw."""
    return {each.draw.index: parsed.dialect.text(each.payload, parsed.request) for each in candidates}


def source_in(text: str, language: str) -> str:
    """The program in a candidate's text; equal for candidates that differ around it; "" where there is none."""
    program = extract_program(text, language)
    return program.source.strip() if program is not None else ""


def probe_limits(limits: Limits) -> Limits:
    return replace(limits, cpu_s=min(limits.cpu_s, SHARED_CPU_S))


def check_selector(selector: str, needs: frozenset[Need], dialect: Dialect, tests: Tests | None) -> None:
    """Raises RequestError (400): the request has not what the selector goes by."""
    if Need.INPUTS in needs:
        if tests is not None and not hasattr(tests, "cases"):
            raise malformed(
                f"alpharay.selector={selector!r} runs candidates on inputs, of which tests of kind `code` and `repo` have none; "
                "send `stdio` or `call` tests or none, or choose 'tests', 'majority' or 'logprob'",
                param="alpharay.selector",
            )
    elif Need.BEHAVIOUR in needs and (tests is None or not hasattr(tests, "cases")):
        raise malformed(
            f"alpharay.selector={selector!r} compares what candidates do on inputs, and there are none: send `stdio` or "
            "`call` tests or a prompt with examples, or choose 'tests', 'majority' or 'logprob'",
            param="alpharay.selector",
        )
    if selector == "logprob" and dialect.PATH not in _ASKS_LOGPROBS:
        known = " and ".join(sorted(_ASKS_LOGPROBS))
        raise malformed(
            f"alpharay.selector='logprob': {dialect.PATH} tells no log-probabilities; ask {known}",
            param="alpharay.selector",
        )


def asking(request: ApiRequest, dialect: Dialect, needs: frozenset[Need]) -> tuple[ApiRequest, bool]:
    """The request as the engine must get it, and whether its log-probabilities are for us alone."""
    asks = _ASKS_LOGPROBS.get(dialect.PATH)
    if Need.LOGPROBS not in needs or asks is None or request.body.get("logprobs") not in (None, False):
        return request, False
    # A repeated key of JSON counts by its last value, should the request have said `"logprobs": false`.
    return replace(request, rest=EngineBody(request.rest, asks).whole()), True


def of_response(response: Json, text: str, needs: frozenset[Need], *, ours: bool) -> Evidence:
    """The evidence in the response itself. ours: its log-probabilities were not asked for by the caller, and are removed."""
    choice = response["choices"][0] if "choices" in response else {}
    logprob = mean_logprob(choice.get("logprobs")) if Need.LOGPROBS in needs else None
    if ours:
        choice["logprobs"] = None
    return Evidence(logprob=logprob, answer=normalised(text) if Need.ANSWER in needs else None)


def mean_logprob(logprobs: Any) -> float | None:
    """Of chat's `{"content": [{"logprob": …}]}` or completions' `{"token_logprobs": […]}`; None: there are none."""
    if not isinstance(logprobs, dict):
        return None
    content = logprobs.get("content")
    values = (
        [token.get("logprob") for token in content]
        if isinstance(content, list)
        else logprobs.get("token_logprobs")
    )
    numbers = [value for value in values or [] if isinstance(value, int | float) and math.isfinite(value)]
    return math.fsum(numbers) / len(numbers) if numbers else None
