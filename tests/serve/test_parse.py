import pytest

from alpharay.serve.dialects import chat
from alpharay.serve.errors import RequestError
from alpharay.serve.gateway.parse import parse_request

from .fakes import NAMES, TESTS, Serving, question

OWN_SEED = 99


@pytest.fixture
def understood():
    """understood(body, headers) is what a server makes of a request; options configure the server."""

    def make(body=None, headers=None, **options):
        server = Serving(**options).server
        request = chat.read(question(**(body or {})))
        return parse_request(server.served, chat, request, headers or {}, "id", OWN_SEED)

    return make


@pytest.fixture
def refused(understood):
    def make(body, headers=None, **options):
        with pytest.raises(RequestError) as caught:
            understood(body, headers, **options)
        return caught.value

    return make


def ask_of(todo):
    assert not todo.pinned
    return todo.sampling


def test_a_plain_request_is_one_sample_of_any_member(understood):
    sampling = ask_of(understood())
    assert sampling.budget == 1
    assert [member.name for member in sampling.members] == list(NAMES)
    assert sampling.stop_after_passes is None


def test_a_request_without_a_model_means_the_ensemble(understood):
    assert ask_of(understood({"model": None})).budget == 1


def test_n_choices_without_a_budget_are_n_samples(understood):
    assert ask_of(understood({"n": 4})).budget == 4


def test_tests_bring_the_configured_budget(understood):
    sampling = ask_of(understood({"alpharay": {"tests": TESTS}}, router={"budget": 24}))
    assert (sampling.budget, sampling.stop_after_passes) == (24, 1)


def test_tests_with_more_choices_than_the_configured_budget_draw_as_many(understood):
    sampling = ask_of(understood({"n": 20, "alpharay": {"tests": TESTS}}))
    assert (sampling.budget, sampling.stop_after_passes) == (20, 20)


def test_a_budget_of_its_own_beats_best_of_and_the_configuration(understood):
    sampling = ask_of(understood({"best_of": 9, "alpharay": {"tests": TESTS, "budget": 7}}))
    assert sampling.budget == 7


def test_best_of_is_a_budget(understood):
    assert ask_of(understood({"best_of": 9})).budget == 9


def test_the_body_beats_the_header_and_the_header_the_configuration(understood):
    headers = {"x-alpharay-deadline-s": "9", "x-alpharay-budget": "8"}
    job = understood({"alpharay": {"budget": 7}}, headers, router={"deadline_s": 60})
    assert (job.sampling.budget, job.deadline_s) == (7, 9)
    assert understood(router={"deadline_s": 60}).deadline_s == 60


def test_stop_after_passes_may_be_asked_for(understood):
    controls = {"tests": TESTS, "stop_after_passes": 3}
    assert ask_of(understood({"alpharay": controls})).stop_after_passes == 3


def test_nothing_stops_a_request_early_that_has_no_tests(understood):
    assert ask_of(understood({"alpharay": {"budget": 9, "stop_after_passes": 1}})).stop_after_passes is None


def test_a_callers_seed_makes_the_request_reproducible(understood):
    first, second = (ask_of(understood({"seed": 3})) for _ in range(2))
    assert first == second
    assert (first.seed, first.reproducible) == (3, True)


def test_without_a_seed_the_server_gives_its_own(understood):
    sampling = ask_of(understood())
    assert (sampling.seed, sampling.reproducible) == (OWN_SEED, False)


def test_requests_without_a_seed_take_turns_among_the_members():
    server = Serving().server
    parsed = parse_request(server.served, chat, chat.read(question()), {}, "id", OWN_SEED)
    rotations = [server.begin(parsed).sampling.rotation for _ in range(5)]
    assert {rotation % 5 for rotation in rotations} == set(range(5))


@pytest.mark.parametrize("zero", [0, 0.0])
def test_temperature_zero_is_greedy(understood, zero):
    assert ask_of(understood({"temperature": zero})).greedy
    assert not ask_of(understood({"temperature": 0.1})).greedy
    assert not ask_of(understood()).greedy


def test_policy_and_limits_come_from_the_request_else_from_the_configuration(understood):
    config = {"router": {"policy": "single"}, "judge": {"time_limit_s": 2, "memory_limit_mb": 100}}
    job = understood({"alpharay": {"tests": TESTS}}, **config)
    assert (job.policy, job.limits.cpu_s, job.limits.memory_mb) == ("single", 2, 100)
    controls = {"tests": TESTS, "policy": "uniform", "time_limit_s": 1.5, "memory_limit_mb": 64}
    job = understood({"alpharay": controls}, **config)
    assert (job.policy, job.limits.cpu_s, job.limits.memory_mb) == ("uniform", 1.5, 64)


# Pinned members


@pytest.mark.parametrize("name", ["frontier@1.5", "frontier@1.50", "frontier@+1.5"])
def test_a_member_is_pinned_by_its_name_however_its_alpha_is_written(understood, name):
    todo = understood({"model": name})
    assert todo.pinned
    assert [member.name for member in todo.sampling.members] == ["frontier@1.5"]


@pytest.mark.parametrize("controls", [{"budget": 4}, {"tests": TESTS}])
def test_a_pinned_member_with_a_budget_or_tests_is_an_ensemble_of_one(understood, controls):
    sampling = ask_of(understood({"model": "frontier@0", "alpharay": controls}))
    assert [member.name for member in sampling.members] == ["frontier@0"]


def test_a_pinned_member_may_be_named_among_the_members_too(understood):
    todo = understood({"model": "frontier@0", "alpharay": {"members": [0, 1]}})
    assert todo.pinned


def test_a_pinned_member_that_the_members_leave_out_is_refused(refused):
    error = refused({"model": "frontier@0", "alpharay": {"members": [1]}})
    assert (error.status, error.param) == (400, "alpharay.members")


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ([1.5, "frontier@-0.5"], ["frontier@-0.5", "frontier@1.5"]),
        (["0.50"], ["frontier@0.5"]),
        ([1, 1, "frontier@1"], ["frontier@1"]),
    ],
)
def test_members_are_named_by_alpha_or_name_in_any_order(understood, wanted, names):
    sampling = ask_of(understood({"alpharay": {"members": wanted}}))
    assert [member.name for member in sampling.members] == names


# Refusals


@pytest.mark.parametrize(
    ("model", "nearest"),
    [
        ("fronteer", "'frontier'"),
        ("frontier@0.6", "'frontier@0.5'"),
        ("frontier@", "'frontier@1'"),
        ("gpt", "known are"),
    ],
)
def test_an_unknown_model_is_a_404_that_names_the_nearest(refused, model, nearest):
    error = refused({"model": model})
    assert (error.status, error.param, error.code) == (404, "model", "model_not_found")
    assert nearest in error.message


@pytest.mark.parametrize("model", ["1.5", "@1.5", "other@1.5", "frontier@nan"])
def test_an_alpha_without_the_frontiers_name_is_no_model(refused, model):
    assert refused({"model": model}).status == 404


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"alpharay": {"budget": 513}}, "alpharay.budget"),
        ({"best_of": 513}, "best_of"),
        ({"n": 513}, "n"),
        ({"n": 3, "alpharay": {"budget": 2}}, "n"),
        ({"n": 3, "best_of": 2}, "n"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"best_of": -1}, "best_of"),
        ({"model": 5}, "model"),
        ({"seed": "x"}, "seed"),
        ({"stream": 1}, "stream"),
        ({"stream_options": "x"}, "stream_options"),
        ({"alpharay": {"members": [0.7]}}, "alpharay.members"),
        ({"alpharay": {"members": ["frontier"]}}, "alpharay.members"),
        ({"alpharay": {"tests": {}}}, "alpharay.tests"),
        ({"alpharay": {"tests": {"kind": "stdio", "cases": []}}}, "alpharay.tests"),
        ({"alpharay": {"tests": {"kind": "guess"}}}, "alpharay.tests"),
        ({"alpharay": {"tests": TESTS, "time_limit_s": 0.001}}, "alpharay.time_limit_s"),
    ],
)
def test_what_cannot_be_is_a_400_that_names_the_field(refused, body, param):
    error = refused(body)
    assert (error.status, error.param) == (400, param)


def test_a_pinned_seed_whose_last_choice_would_overflow_is_refused(refused, understood):
    pinned = {"model": "frontier@1.5", "n": 2}
    error = refused({**pinned, "seed": 2**63 - 1})
    assert (error.status, error.param) == (400, "seed")
    assert "must be below 2**63" in error.message
    assert understood({**pinned, "seed": 2**63 - 2}).sampling.seed == 2**63 - 2
    # Draws of an ensemble have seeds of their own, derived from the request's.
    assert ask_of(understood({"n": 2, "seed": 2**63 - 1})).seed == 2**63 - 1


def test_a_budget_beyond_the_cap_says_what_the_cap_is(refused):
    assert "max_budget=32" in refused({"alpharay": {"budget": 33}}, router={"max_budget": 32}).message


def test_bad_tests_are_told_with_the_place_in_the_request(refused):
    error = refused({"alpharay": {"tests": {"kind": "stdio", "cases": [{"input": 3, "output": ""}]}}})
    assert error.message.startswith("alpharay.tests.cases[0].input must be a string")
