"""A request as it is run: parsed, with every default filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alpharay.judge.limits import Limits
from alpharay.judge.problem import Tests
from alpharay.router import Need, SamplingRequest
from alpharay.serve.dialects.api_request import ApiRequest
from alpharay.serve.dialects.dialect import Dialect
from alpharay.serve.sections import Scorer
from alpharay.serve.tracing import OFF, RequestTrace


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedRequest:
    """What one request asks for.

    request_id: the id within its answer's own id. model: the name it was asked under. sampling: rotation and learnt
    state are filled in when it is run. deadline_s: wall seconds from its arrival.
    requested_budget: the budget that was asked for, of which the key's cap may have left less; 0 where none was.
    needs: what its selector goes by. probes: the inputs on which candidates are compared.
    given_tests: the caller's own tests, as they came. from_prompt: the tests are the prompt's own examples. hide_logprobs: the caller did not ask for them.
    input_form: tests of the kind of which members write inputs, for the selector `discriminate`, and input_samples: samples
    of the budget that are kept for it. scorer: whose decisions select. selector_named: the caller named the selector.
    python: members may call the tool of `python_tool.py`, which is in the request already.
    returns: `best`, `passing` or `all`. detailed: the answer has more of a candidate than its verdict.

    direct: engines answer by themselves, without budget and tests. Their answers pass through as they are: one draw for
    the whole request, or one a choice where several choices of the ensemble are streamed.
    pinned: the caller named the member, whose engine gets the caller's seed itself.

    trace: its OpenTelemetry trace, which may be off.

    background: nobody waits for it: it is of a batch, and other requests' samples go first.

    key: the name of its API key; "" on a server without keys.

    agent: the identity of a coding agent; "" where it has none. conversation: the same for every
    turn of one conversation with tools; "" elsewhere.
    """

    request_id: str
    dialect: Dialect
    request: ApiRequest
    model: str
    sampling: SamplingRequest
    policy: str
    deadline_s: float
    limits: Limits
    tests: Tests | None = None
    given_tests: Mapping[str, Any] | None = None
    language: str = "python"
    requested_budget: int = 0
    needs: frozenset[Need] = frozenset()
    probes: Tests | None = None
    input_form: Tests | None = None
    input_samples: int = 0
    scorer: Scorer | None = None
    selector_named: bool = False
    from_prompt: bool = False
    hide_logprobs: bool = False
    python: bool = False
    returns: str = "best"
    detailed: bool = True
    direct: bool = False
    pinned: bool = False
    trace: RequestTrace = OFF
    background: bool = False
    key: str = ""
    agent: str = ""
    conversation: str = ""

    @property
    def samples(self) -> int:
        """The most that it may draw."""
        return self.sampling.effective_budget * self.choices_a_draw + self.input_samples

    @property
    def choices_a_draw(self) -> int:
        """Choices that one engine call answers."""
        if self.direct and self.sampling.budget == 1:
            return self.request.choices * self.request.prompts
        return 1
