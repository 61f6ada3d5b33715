import pytest

from alpharay.serve.spelling import did_you_mean
from alpharay.serve.state.members import find_member, member_name, members_asked

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
    ("asked", "found"), [("frontier", "frontier"), (NAMES[0], NAMES[0]), ("frontier@1.50", NAMES[4])]
)
async def test_one_model_is_found_by_its_name(serving, asked, found):
    assert (await serving.http.get(f"/v1/models/{asked}")).json()["id"] == found


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
