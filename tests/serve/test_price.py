"""With a price on tokens a request ends early, and is answered all the same."""

import pytest

from .fakes import NAMES, TESTS, question


@pytest.fixture(params=["adaptive", "bandit"])
async def priced(request, serve):
    """A server on which no sample is ever worth its tokens."""
    return await serve(router={"policy": request.param, "price": 1000})


@pytest.mark.parametrize("budget", [{}, {"budget": 8}, {"budget": 8, "tests": TESTS}])
@pytest.mark.parametrize("stream", [False, True])
async def test_it_has_as_many_choices_as_it_asks_for_and_no_more_samples(priced, budget, stream):
    response = await priced.chat(n=2, stream=stream, alpharay=budget)
    assert response.status_code == 200, response.text
    assert "error" not in response.text
    assert len(priced.engines.calls) == 2


@pytest.mark.parametrize(
    "more", [{"stream": True}, {"tools": [{"type": "function", "function": {"name": "f"}}]}]
)
async def test_a_direct_answer_finds_its_member(priced, more):
    assert (await priced.chat(**more)).status_code == 200
    priced.engines.dead = set(NAMES[:4])
    assert (await priced.http.post("/v1/chat/completions", json=question(**more))).status_code == 200


async def test_it_tells_that_the_price_ended_it(priced):
    own = (await priced.answer(alpharay={"budget": 8, "tests": TESTS}))["alpharay"]
    assert (own["stopped"], own["drawn"], own["effective_budget"]) == ("cost", 1, 8)


async def test_a_seeded_request_ends_by_the_price_too(priced):
    own = (await priced.answer(seed=3, n=2, alpharay={"budget": 8, "tests": TESTS, "turns": 2}))["alpharay"]
    assert own["stopped"] == "cost"
