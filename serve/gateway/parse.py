"""From a request's body and headers to what is run. Reads nothing but its arguments, and changes nothing.

A request's controls are the `alpharay` object of its body and the X-Alpharay-* headers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from alpharay.judge.behaviour import examples, input_form
from alpharay.judge.errors import ProblemError
from alpharay.judge.languages import LANGUAGES
from alpharay.judge.limits import Limits
from alpharay.judge.problem import StdioTests, Tests, check_language, parse_tests
from alpharay.router import POLICIES, SCORER, Need, SamplingRequest, needs_of, selector_names
from alpharay.router.learn.features import features_of
from alpharay.serve.config import Config
from alpharay.serve.dialects import structures
from alpharay.serve.dialects.api_request import ApiRequest, for_the_engine, prompt_text
from alpharay.serve.dialects.dialect import Dialect
from alpharay.serve.dialects.refusals import LIMITS
from alpharay.serve.errors import RequestError, malformed
from alpharay.serve.sampling import python_tool
from alpharay.serve.sampling.conversations import digest
from alpharay.serve.sampling.discriminate import reserved
from alpharay.serve.sampling.evidence import asking, check_selector, probes
from alpharay.serve.sampling.request import ParsedRequest
from alpharay.serve.sections import Scorer, ScorerUrl
from alpharay.serve.spelling import did_you_mean, shown
from alpharay.serve.state.keys import Key
from alpharay.serve.state.members import ServedMember, find_member, members_asked, unknown_model


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What parsing needs to know of the server. limits: of programs whose request names none.

    is_agent: whether that caller has sent tools before.
    """

    config: Config
    members: tuple[ServedMember, ...]
    limits: Limits
    is_agent: Callable[[str], bool]


# One beyond the largest seed that an engine takes.
_SEEDS_END = 1 << 63


def parse_request(
    served: Served,
    dialect: Dialect,
    request: ApiRequest,
    headers: Mapping[str, str],
    request_id: str,
    own_seed: int,
    key: Key | None = None,
) -> ParsedRequest:
    """What the request asks for, with every default filled in.

    headers: with lower-case names. own_seed: used when the caller gave none. key: whose cap cuts the budget.

    Raises RequestError: 404 for a model that is not served, 400 for what is malformed or unsupported.
    """
    config = served.config
    structures.check(request.body)
    request = _fitted(request, config.engine.max_model_len)
    controls = read_controls(request.body, headers)
    pinned, members = _members(served, request, controls)
    if controls.tools:
        request = python_tool.offered(request, dialect, config.engine.extra)
    agent = _agent(request, headers, key)
    if not request.tools and agent and _is_inherited(request, controls) and served.is_agent(agent):
        controls = controls.model_copy(update={"budget": None})
        request = replace(request, changed=(*request.changed, "budget: a side request of an agent's"))
    budget = _budget(config, request, controls)
    allowed = _allowed(budget or request.choices * request.prompts, request, key)
    seed = own_seed if request.seed is None else request.seed
    passes_through = pinned is not None and budget is None and not controls.tools
    if passes_through and seed + request.choices > _SEEDS_END:
        # vLLM seeds choice i with seed + i; beyond 64 bits that ends a GPU engine.
        raise malformed(
            f"`seed` {seed} with n={request.choices}: the last choice's seed, seed + n - 1, must be below 2**63",
            param="seed",
        )
    if not passes_through:
        _check_room(dialect, request, controls, budget)
    tests, limits = _tests(controls), _limits(served, controls)
    text = prompt_text(request.body)
    public = None
    if tests is None and budget is not None and not request.tools:
        public = _if_judgeable(controls, examples(text))
    if tests is None and (controls.turns or 1) > 1 and not passes_through:
        raise malformed(
            f"alpharay.turns={controls.turns}: only a failed test leads to another turn; send `alpharay.tests` too",
            param="alpharay.turns",
        )
    selector, needs, scorer = _selector(
        config, controls, dialect, tests or public, budgeted=budget is not None, checked=not passes_through
    )
    plain = budget is None and tests is None and not controls.tools
    one_call = passes_through or (
        plain and (request.prompts > 1 or (request.choices == 1 and (request.tools or request.stream)))
    )
    # What a selector compares must be there whole.
    direct = one_call or (plain and request.stream and selector == "tests")
    hide_logprobs = False
    if needs and not direct:
        request, hide_logprobs = asking(request, dialect, needs)
    form, kept = None, 0
    if Need.INPUTS in needs and not direct:
        # What inputs look like where neither tests nor examples show any.
        form = tests or public or _if_judgeable(controls, input_form(text)) or StdioTests(())
        kept = reserved(allowed, request.choices) if budget is not None else 0
    router = config.router
    return ParsedRequest(
        request_id=request_id,
        dialect=dialect,
        request=request,
        model=pinned.name if pinned and passes_through else request.model or config.name,
        sampling=SamplingRequest(
            members=tuple(member.as_member for member in members),
            budget=1 if one_call else request.choices if budget is None else allowed - kept,
            seed=seed,
            stop_after_passes=_stop(request, controls, tests, public),
            greedy=request.greedy,
            reproducible=request.seed is not None,
            turns=1 if tests is None else controls.turns or router.turns,
            least=1 if one_call else request.choices,
            price=router.price / 1000,
            selector=selector,
            features=features_of(text),
        ),
        policy=controls.policy or router.policy,
        deadline_s=controls.deadline_s or router.deadline_s,
        limits=limits,
        tests=tests or public,
        given_tests=controls.tests,
        language=controls.language or "python",
        requested_budget=budget or 0,
        needs=needs,
        probes=probes(tests or public, seed) if Need.BEHAVIOUR in needs and not direct else None,
        input_form=form,
        input_samples=kept,
        scorer=scorer if not direct else None,
        selector_named=controls.selector is not None,
        from_prompt=public is not None,
        hide_logprobs=hide_logprobs,
        python=bool(controls.tools),
        returns=controls.returns or "best",
        detailed=config.judge.verdict_detail == "full",
        direct=direct,
        pinned=passes_through,
        key=key.name if key is not None else "",
        agent=agent,
        conversation=digest(_caller(headers, key), dialect.NAME, request.conversation)
        if direct and request.tools and not pinned
        else "",
    )


def _selector(
    config: Config,
    controls: Controls,
    dialect: Dialect,
    tests: Tests | None,
    *,
    budgeted: bool,
    checked: bool,
) -> tuple[str, frozenset[Need], Scorer | None]:
    """The selector's name, what it goes by, and the scorer that it asks.

    checked: whether what it goes by must be there. Raises RequestError (400): it is not, or the scorer may not be asked.
    """
    selector, scorer = controls.selector, None
    # Nobody asked for the default by name: it counts where there is something to select, and something to go by.
    is_default = selector is None
    if selector is None:
        selector = config.router.selector if budgeted else "tests"
    if not isinstance(selector, str):
        scorer = config.router.scorer(selector.url)
        if scorer is None:
            # The list itself stays untold: its addresses are the operator's.
            raise malformed(
                f"alpharay.selector: this server asks no scorer at {shown(selector.url)}; its operator lists those that it may ask "
                "under `router.scorers`",
                param="alpharay.selector",
            )
        selector = SCORER
    needs = needs_of(selector)
    if needs and (checked or is_default):
        try:
            check_selector(selector, needs, dialect, tests)
        except RequestError:
            if not is_default:
                raise
            selector, needs = "tests", needs_of("tests")
    return selector, needs, scorer


def _caller(headers: Mapping[str, str], key: Key | None) -> str:
    return digest(key.name if key else "", headers.get("user-agent", ""))


def _agent(request: ApiRequest, headers: Mapping[str, str], key: Key | None) -> str:
    """The identity of an agent: its key, else the session that it names in the body.

    "": it has none. A `User-Agent` alone is shared by everybody who uses the same client library.
    """
    if key is not None:
        return _caller(headers, key)
    metadata = request.body.get("metadata")
    named = (
        request.body.get("prompt_cache_key"),
        metadata.get("user_id") if isinstance(metadata, dict) else None,
    )
    session = next((value for value in named if isinstance(value, str) and value), None)
    return digest(_caller(headers, key), session) if session else ""


def _fitted(request: ApiRequest, context: int) -> ApiRequest:
    """The request with no more tokens of an answer than the model takes at all.

    Agents ask every model for as many as a large one gives (32,000), which vLLM refuses to a model that takes fewer;
    what the prompt leaves of fewer it finds out by itself.
    """
    body = request.body
    too_many = [
        name
        for name in LIMITS
        if isinstance(body.get(name), int) and body[name] > context and not isinstance(body[name], bool)
    ]
    if not too_many:
        return replace(request, context=context)
    fields = json.loads(request.rest)
    fields |= {name: context for name in too_many if name in fields}
    changed = (*request.changed, *(f"{name}: more than the model takes" for name in too_many))
    return replace(request, context=context, rest=for_the_engine(fields), changed=changed)


def _is_inherited(request: ApiRequest, controls: Controls) -> bool:
    """Whether its budget came by a header, as agents send them with every request, and nothing else asks for one."""
    own = request.body.get("alpharay")
    named = isinstance(own, dict) and "budget" in own
    return controls.budget is not None and controls.tests is None and not named


def _check_room(dialect: Dialect, request: ApiRequest, controls: Controls, budget: int | None) -> None:
    """Raises RequestError (400): the dialect's answer has no room for what is asked."""
    if dialect.SINGLE and controls.returns not in (None, "best"):
        raise malformed(
            f"alpharay.return={controls.returns!r}: an answer of {dialect.PATH} has room for one candidate; "
            "leave it out, or ask /v1/chat/completions",
            param="alpharay.return",
        )
    if request.prompts > 1 and budget is not None:
        raise malformed(
            f"{request.prompts} prompts with tests or a budget: send one prompt a request", param="prompt"
        )


def _members(
    served: Served, request: ApiRequest, controls: Controls
) -> tuple[ServedMember | None, tuple[ServedMember, ...]]:
    """The pinned member, if any, and all that may be drawn from."""
    name = served.config.name
    wanted = request.model or name
    members = served.members
    if controls.members is not None:
        members = members_asked(members, controls.members)
    if wanted == name:
        return None, members
    pinned = find_member(served.members, wanted) if "@" in wanted else None
    if pinned is None:
        raise unknown_model(wanted, name, served.members)
    if pinned not in members:
        raise malformed(
            f"the model {wanted!r} is one member, alpharay.members names others; drop one of the two",
            param="alpharay.members",
        )
    return pinned, (pinned,)


def _budget(config: Config, request: ApiRequest, controls: Controls) -> int | None:
    """The samples asked for; None when the request asks for no more than its choices."""
    cap = config.router.max_budget
    field, budget = "alpharay.budget", controls.budget
    if budget is None:
        field, budget = "best_of", request.budget
    if budget is None and request.choices > cap:
        raise malformed(
            f"n={shown(request.choices)} is more than max_budget={cap} samples; ask for fewer", param="n"
        )
    if budget is None:
        if controls.tests is None:
            return None
        return max(config.router.budget, request.choices)
    if budget > cap:
        raise malformed(
            f"{field}={shown(budget)} is more than max_budget={cap} samples; ask for fewer", param=field
        )
    if request.choices > budget:
        raise malformed(
            f"n={shown(request.choices)} choices cannot come from {field}={budget} samples; raise it",
            param="n",
        )
    return budget


def _allowed(samples: int, request: ApiRequest, key: Key | None) -> int:
    """The samples that the key's cap leaves of those."""
    cap = key.max_budget if key is not None else None
    if cap is None or samples <= cap:
        return samples
    if request.choices * request.prompts > cap:
        raise malformed(
            f"{shown(request.choices * request.prompts)} choices cannot come from the {cap} samples that "
            "this key may draw for a request; ask for fewer",
            param="n",
        )
    return cap


def _stop(request: ApiRequest, controls: Controls, tests: Tests | None, public: Tests | None) -> int | None:
    """Accepted candidates after which to stop; None: that does not stop it.

    The prompt's own examples are few: that one candidate passes them is no reason to stop by itself.
    """
    if tests is not None:
        return controls.stop_after_passes or request.choices
    return controls.stop_after_passes if public is not None else None


def _if_judgeable(controls: Controls, tests: Tests | None) -> Tests | None:
    """The tests, where programs in the request's language can be judged by them."""
    try:
        if tests is not None:
            check_language(controls.language or "python", tests)
    except ProblemError:
        return None
    return tests


def _tests(controls: Controls) -> Tests | None:
    """The caller's own tests. Raises RequestError (400)."""
    if controls.tests is None:
        return None
    try:
        tests = parse_tests(controls.tests)
        check_language(controls.language or "python", tests)
    except ProblemError as error:
        raise malformed(f"alpharay.{error}", param="alpharay.tests") from error
    return tests


def _limits(served: Served, controls: Controls) -> Limits:
    if controls.time_limit_s is None and controls.memory_limit_mb is None:
        return served.limits
    return Limits(
        cpu_s=controls.time_limit_s or served.limits.cpu_s,
        memory_mb=controls.memory_limit_mb or served.limits.memory_mb,
    )


_HEADER = "x-alpharay-"


# Written out: a reference would count from the root of `/openapi.json`, where no such model is.
_SELECTOR = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {"url": {"type": "string"}},
            "required": ["url"],
            "additionalProperties": False,
        },
        {"type": "null"},
    ],
    "default": None,
}


class Controls(BaseModel):
    """Every control, unset where the request does not name it. Body beats header beats configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    budget: int | None = Field(None, ge=1)
    tests: dict[str, Any] | None = None
    time_limit_s: float | None = Field(None, ge=0.01, le=600)
    memory_limit_mb: int | None = Field(None, ge=16, le=65536)
    returns: Literal["best", "passing", "all"] | None = Field(None, alias="return")
    stop_after_passes: int | None = Field(None, ge=1)
    deadline_s: float | None = Field(None, gt=0, le=86400)
    policy: str | None = None
    selector: Annotated[str | ScorerUrl | None, WithJsonSchema(_SELECTOR)] = None
    language: str | None = None
    turns: int | None = Field(None, ge=1, le=3)
    tools: list[Literal["python"]] | None = None
    members: list[str | float] | None = Field(None, min_length=1)


_NAMES = [field.alias or name for name, field in Controls.model_fields.items()]


def read_controls(body: Mapping[str, Any], headers: Mapping[str, str]) -> Controls:
    """The controls of one request.

    body: its `alpharay` object, if any. headers: with lower-case names.

    Raises RequestError (400): an unknown control, with the nearest known one; a wrong type or value;
    a control that this version cannot honour.
    """
    values = {}
    for name, value in headers.items():
        if name.startswith(_HEADER):
            control = name.removeprefix(_HEADER).replace("-", "_")
            if control in values:
                raise malformed(
                    f"the header {name} is given twice; send it once", param=f"alpharay.{control}"
                )
            values[control] = _header_value(control, value)
    own = body.get("alpharay")
    if own is not None:
        if not isinstance(own, dict):
            raise malformed(
                f'`alpharay` must be an object such as {{"budget": 16}}, got {_kind(own)}', param="alpharay"
            )
        values.update(own)
    for name in values:
        if name not in _NAMES:
            raise malformed(
                f"unknown control {shown(name)}{did_you_mean(name, _NAMES)}", param=f"alpharay.{name[:100]}"
            )
    try:
        controls = Controls.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = str(first["loc"][0])  # deeper parts are pydantic's own names
        raise malformed(
            f"alpharay.{where}: {first['msg']}, got {_shown(first['input'])}", param=f"alpharay.{where}"
        ) from error
    _check_available(controls)
    return controls


def _check_available(controls: Controls) -> None:
    """Raises RequestError (400) for a policy, selector or language that is not there."""
    if controls.policy is not None and controls.policy not in POLICIES:
        raise _unavailable("policy", controls.policy, f"choose one of {', '.join(sorted(POLICIES))}")
    if isinstance(controls.selector, str) and controls.selector not in (names := selector_names()):
        raise _unavailable(
            "selector", controls.selector, f"choose one of {', '.join(names)}, or {{url: …}} of a scorer"
        )
    if controls.language is not None and controls.language not in LANGUAGES:
        raise _unavailable("language", controls.language, f"choose one of {', '.join(LANGUAGES)}")


def _unavailable(name: str, value: object, way_out: str) -> RequestError:
    return malformed(
        f"alpharay.{name}: {shown(value)} is not available in this version; {way_out}",
        param=f"alpharay.{name}",
    )


def _header_value(control: str, value: str) -> Any:
    """Headers are text: JSON where it reads as such, a comma-separated list for members and tools."""
    if control in ("members", "tools") and not value.lstrip().startswith("["):
        return [part.strip() for part in value.split(",")]
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _kind(value: object) -> str:
    return {list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}.get(
        type(value), type(value).__name__
    )


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
