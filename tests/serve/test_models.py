import pytest

from alpharay.serve.spelling import did_you_mean
from alpharay.serve.state.members import ServedMember, find_member, member_name, members_asked

from .fakes import ALPHAS, NAMES, served_members


async def test_the_models_are_the_ensemble_and_each_of_its_members(serving):
    listed = (await serving.http.get("/v1/models")).json()
    assert listed["object"] == "list"
    ensemble, *members = listed["data"]
    assert (ensemble["id"], ensemble["alpharay"]["kind"]) == ("frontier", "ensemble")
    assert ensemble["alpharay"]["members"] == list(NAMES)
    assert [(m["id"], m["alpharay"]["alpha"], m["alpharay"]["checkpoint"]) for m in members] == [
        (member.name, member.alpha, member.sha256) for member in serving.members
    ]
    assert all(model["object"] == "model" for model in listed["data"])


@pytest.mark.parametrize(
    ("name", "model_id"), [("frontier", "frontier"), (NAMES[0], NAMES[0]), ("frontier@1.50", NAMES[4])]
)
async def test_one_model_is_found_by_its_name(serving, name, model_id):
    assert (await serving.http.get(f"/v1/models/{name}")).json()["id"] == model_id


async def test_a_model_that_is_not_served_is_a_404_that_names_the_nearest(serving):
    response = await serving.http.get("/v1/models/fronteer")
    assert response.status_code == 404
    assert "did you mean 'frontier'?" in response.json()["error"]["message"]


async def test_the_description_of_the_interface_names_the_endpoint_and_its_controls(serving):
    described = (await serving.http.get("/openapi.json")).json()
    body = described["paths"]["/v1/chat/completions"]["post"]["requestBody"]
    schema = body["content"]["application/json"]["schema"]
    assert {"budget", "tests", "return", "members"} <= schema["properties"]["alpharay"]["properties"].keys()


@pytest.mark.parametrize("alpha", [*ALPHAS, 0.25, 10.0, -1.0, 1e-3])
def test_a_members_name_finds_it_again(alpha):
    members = served_members((alpha, 77.0))
    assert find_member(members, member_name("frontier", alpha)) is members[0]
    assert find_member(members, alpha) is members[0]
    assert find_member(members, str(alpha)) is members[0]


def test_members_asked_without_names_are_all():
    members = served_members()
    assert members_asked(members, None) == members


def test_the_nearest_word_is_named_and_else_all_of_them():
    assert did_you_mean("bugdet", ["tests", "budget"]) == "; did you mean 'budget'?"
    assert did_you_mean("zzz", ["tests", "budget"]) == "; known are budget, tests"


WIDE = ServedMember(
    name="frontier@wide",
    alpha=None,
    sha256="f" * 64,
    weights={"init": 0.75, "low": -0.25, "high": 0.5},
    effective_weights={"init": 0.74, "low": -0.24, "high": 0.5},
)


@pytest.fixture
async def spanning(serve):
    """An ingress replica over two alphas and a member of three checkpoints."""
    return await serve(alphas=(0.0, 1.0), beside=(WIDE,))


async def test_a_member_off_the_line_is_listed_with_its_weights_and_no_alpha(spanning):
    ensemble, low, _, wide = (await spanning.http.get("/v1/models")).json()["data"]
    assert ensemble["alpharay"]["alphas"] == [0.0, 1.0, None]
    assert low["alpharay"]["weights"] == {"low": 1.0, "high": 0.0}
    assert (wide["id"], wide["alpharay"]) == ("frontier@wide", {
        "kind": "member", "alpha": None, "weights": WIDE.weights, "effective_alpha": None,
        "effective_weights": WIDE.effective_weights, "checkpoint": WIDE.sha256,
    })  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
async def test_a_member_off_the_line_is_pinned_by_its_name_and_told_by_its_weights(spanning, stream):
    if stream:
        events, _ = await spanning.events(model="frontier@wide")
        notes = [
            choice["alpharay"] for event in events for choice in event["choices"] if "alpharay" in choice
        ]
    else:
        notes = [(await spanning.answer(model="frontier@wide"))["choices"][0]["alpharay"]]
    assert [(n["member"], n["alpha"], n["weights"]) for n in notes] == [("frontier@wide", None, WIDE.weights)]


@pytest.mark.parametrize("policy", ["uniform", "adaptive", "bandit", "portfolio"])
async def test_a_budget_is_spent_over_members_off_the_line_too(spanning, policy):
    tests = {"kind": "stdio", "cases": [{"input": "2 3", "output": "5"}]}
    controls = {"tests": tests, "budget": 12, "policy": policy}
    answer = await spanning.answer(alpharay=controls)
    assert answer["alpharay"]["drawn"] == 12
    assert answer["alpharay"]["members"]["frontier@wide"]["drawn"] > 0
    only = await spanning.answer(alpharay=controls | {"members": ["wide"]})
    assert only["alpharay"]["members"].keys() == {"frontier@wide"}
    assert only["choices"][0]["alpharay"]["weights"] == WIDE.weights


async def test_the_metric_of_checkpoints_has_weights_and_an_empty_alpha(spanning):
    page = (await spanning.http.get("/metrics")).text
    (line,) = [
        line for line in page.splitlines() if line.startswith("alpharay_checkpoint_info") and "wide" in line
    ]
    assert 'alpha=""' in line
    assert 'weights="init=0.75,low=-0.25,high=0.5"' in line
