"""From a request's body and headers to what is run. Reads nothing but its arguments, and changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from alpharay.judge.behaviour import examples, input_form
from alpharay.judge.errors import ProblemError
from alpharay.judge.limits import Limits
from alpharay.judge.problem import StdioTests, Tests, check_language, parse_tests
from alpharay.router import SCORER, Need, SamplingRequest, needs_of
from alpharay.router.learn.features import features_of
from alpharay.router.seeds import mix
from alpharay.serve.config import Config
from alpharay.serve.dialects import structures
from alpharay.serve.dialects.api_request import ApiRequest, for_the_engine, prompt_text
from alpharay.serve.dialects.dialect import Dialect
from alpharay.serve.dialects.refusals import LIMITS
from alpharay.serve.errors import RequestError, malformed
from alpharay.serve.gateway.controls import Controls, read_controls
from alpharay.serve.sampling import python_tool
from alpharay.serve.sampling.conversations import digest
from alpharay.serve.sampling.discriminate import reserved
from alpharay.serve.sampling.evidence import asking, check_selector, probes
from alpharay.serve.sampling.request import ParsedRequest
from alpharay.serve.sections import Scorer
from alpharay.serve.spelling import shown
from alpharay.serve.state.keys import Key
from alpharay.serve.state.members import ServedMember, find_member, members_asked, unknown_model


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What parsing needs to know of the server. is_agent: whether that caller has sent tools before."""

    config: Config
    members: tuple[ServedMember, ...]
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
    caller = digest(key.name if key else "", headers.get("user-agent", ""))
    agent = _agent(request, key, caller)
    if not request.tools and agent and _is_inherited(request, controls) and served.is_agent(agent):
        controls = controls.model_copy(update={"budget": None})
        request = replace(request, changed=(*request.changed, "budget: a side request of an agent's"))
    budget = _budget(config, request, controls)
    asked = budget or request.choices * request.prompts
    allowed = _allowed(asked, request, key)
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
    tests, limits = _tests(config, controls)
    public = _public(request, controls) if tests is None and budget is not None else None
    if tests is None and (controls.turns or 1) > 1 and not passes_through:
        raise malformed(
            f"alpharay.turns={controls.turns}: only a failed test leads to another turn; send `alpharay.tests` too",
            param="alpharay.turns",
        )
    selector, scorer = _selector(config, controls, dialect, tests or public, budgeted=budget is not None)
    needs = needs_of(selector)
    if not passes_through:
        check_selector(selector, needs, dialect, tests or public)
    plain = budget is None and tests is None and not controls.tools
    one_call = passes_through or (
        plain and (request.prompts > 1 or (request.choices == 1 and (request.tools or request.stream)))
    )
    # What a selector compares must be there whole.
    direct = one_call or (plain and request.stream and selector == "tests")
    if not direct:
        request, hide_logprobs = asking(request, dialect, needs)
    form, kept = None, 0
    if Need.INPUTS in needs and not direct:
        form = tests or public or _input_form(request, controls)
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
            rotation=mix(seed),
            selector=selector,
            features=features_of(prompt_text(request.body)),
        ),
        policy=controls.policy or router.policy,
        deadline_s=controls.deadline_s or router.deadline_s,
        limits=limits,
        tests=tests or public,
        given_tests=controls.tests,
        language=controls.language or "python",
        asked=asked if budget is not None else 0,
        needs=needs,
        probes=probes(tests or public, seed) if Need.BEHAVIOUR in needs and not direct else None,
        input_form=form,
        input_samples=kept,
        scorer=scorer if not direct else None,
        selector_named=controls.selector is not None,
        from_prompt=public is not None,
        hide_logprobs=not direct and hide_logprobs,
        python=bool(controls.tools),
        returns=controls.returns or "best",
        detailed=config.judge.verdict_detail == "full",
        direct=direct,
        pinned=passes_through,
        key=key.name if key is not None else "",
        agent=agent,
        conversation=digest(caller, dialect.NAME, request.conversation)
        if direct and request.tools and not pinned
        else "",
    )


def _selector(
    config: Config, controls: Controls, dialect: Dialect, tests: Tests | None, *, budgeted: bool
) -> tuple[str, Scorer | None]:
    """The selector's name, and the scorer that it asks. Raises RequestError (400): a scorer that may not be asked."""
    asked = controls.selector
    if asked is None:
        # Nobody asked for the default by name: it counts where there is something to select, and something to go by.
        asked = config.router.selector if budgeted else "tests"
        if isinstance(asked, str):
            try:
                check_selector(asked, needs_of(asked), dialect, tests)
            except RequestError:
                asked = "tests"
    if isinstance(asked, str):
        return asked, None
    scorer = config.router.scorer(asked.url)
    if scorer is None:
        # The list itself stays untold: its addresses are the operator's.
        raise malformed(
            f"alpharay.selector: this server asks no scorer at {shown(asked.url)}; its operator lists those that it may ask "
            "under `router.scorers`",
            param="alpharay.selector",
        )
    return SCORER, scorer


def _input_form(request: ApiRequest, controls: Controls) -> Tests:
    """What inputs look like where neither tests nor examples show any."""
    form = input_form(prompt_text(request.body))
    return form if _can_be_judged(controls, form) else StdioTests(())


def _agent(request: ApiRequest, key: Key | None, caller: str) -> str:
    """What tells one agent from another: its key, else the session that it names in the body.

    "": nothing does. A `User-Agent` alone is shared by everybody who uses the same client library.
    """
    if key is not None:
        return caller
    metadata = request.body.get("metadata")
    named = (
        request.body.get("prompt_cache_key"),
        metadata.get("user_id") if isinstance(metadata, dict) else None,
    )
    session = next((value for value in named if isinstance(value, str) and value), None)
    return digest(caller, session) if session else ""


def _fitted(request: ApiRequest, context: int) -> ApiRequest:
    """The request with no more tokens of an answer than the model takes at all.

    Agents ask every model for as many as a large one gives (32,000), which vLLM refuses to a model that takes fewer;
    what the prompt leaves of fewer it finds out by itself.
    """
    body = request.body
    large = [
        name
        for name in LIMITS
        if isinstance(body.get(name), int) and body[name] > context and not isinstance(body[name], bool)
    ]
    if not large:
        return replace(request, context=context)
    fields = json.loads(request.rest)
    fields |= {name: context for name in large if name in fields}
    told = tuple(f"{name}: more than the model takes" for name in large)
    return replace(request, context=context, rest=for_the_engine(fields), changed=(*request.changed, *told))


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
    members = members_asked(served.members, controls.members)
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


def _allowed(asked: int, request: ApiRequest, key: Key | None) -> int:
    """The samples that the key's cap leaves of those asked for."""
    cap = key.max_budget if key is not None else None
    if cap is None or asked <= cap:
        return asked
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


def _public(request: ApiRequest, controls: Controls) -> Tests | None:
    """The examples in the prompt, as tests that everybody can see."""
    shown_tests = None if request.tools else examples(prompt_text(request.body))
    return shown_tests if shown_tests is not None and _can_be_judged(controls, shown_tests) else None


def _can_be_judged(controls: Controls, tests: Tests) -> bool:
    """Whether programs in the request's language can be judged by such tests."""
    try:
        check_language(controls.language or "python", tests)
    except ProblemError:
        return False
    return True


def _tests(config: Config, controls: Controls) -> tuple[Tests | None, Limits]:
    try:
        tests = None if controls.tests is None else parse_tests(controls.tests)
        if tests is not None:
            check_language(controls.language or "python", tests)
    except ProblemError as error:
        raise malformed(f"alpharay.{error}", param="alpharay.tests") from error
    judge = config.judge
    limits = Limits(
        cpu_s=controls.time_limit_s or judge.time_limit_s,
        memory_mb=controls.memory_limit_mb or judge.memory_limit_mb,
    )
    return tests, limits
