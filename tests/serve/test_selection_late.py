"""Selectors that ask for something once all candidates are there: inputs of the members, decisions of a scorer."""

import json

import httpx
import pytest

from alpharay.serve.config import load
from alpharay.serve.errors import ConfigError
from alpharay.serve.learn.recording import replayed
from alpharay.serve.sampling import scorer
from alpharay.serve.transport.clients import SampleLost

from .fakes import TESTS, Serving, completion

URL = "http://scorer.example:9000/decide"
PROGRAM, OTHER = "print(1)", "print(2)"


def writing(inputs="```\n7 8\n```\n```\n9 9\n```", programs=(PROGRAM, PROGRAM, OTHER)):
    """Engines whose candidates are those programs in turn, and that write those inputs when shown two."""
    turn = iter(range(1000))

    def answer(member, body):
        made = completion(member, body)
        writes_inputs = len(body["messages"]) > 1
        text = inputs if writes_inputs else f"```python\n{programs[next(turn) % len(programs)]}\n```"
        made["choices"][0]["message"]["content"] = text
        return made

    return answer


@pytest.fixture
async def serving():
    made = Serving(router={"scorers": [{"url": URL, "timeout_s": 5}]})
    await made.all_up()
    made.engines.answer = writing()
    # On written inputs the two programs differ, on shared ones they do not.
    made.judging.outputs = lambda text: ("7", "9") if PROGRAM in text else ("x", "9")
    yield made
    made.finish()


def scored_by(serving, respond):
    calls = []

    async def handle(request):
        calls.append((str(request.url), json.loads(await request.aread())))
        answer = respond(calls[-1][1])
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(
            answer.status_code, headers=answer.headers, stream=httpx.ByteStream(answer.content)
        )

    serving.server.ensemble._scorers._transport = httpx.MockTransport(handle)
    return calls


def text_of(answer):
    return answer["choices"][0]["message"]["content"]


async def test_members_write_inputs_on_which_two_programs_differ_and_the_agreed_one_wins(serving):
    serving.engines.answer = writing(programs=(OTHER, PROGRAM, PROGRAM))
    answer = await serving.answer(alpharay={"budget": 8, "selector": "discriminate"})
    assert PROGRAM in text_of(answer)
    assert answer["alpharay"]["selection"] == {
        "selector": "discriminate",
        "samples": 2,
        "programs": 2,
        "inputs": {"written": 2, "discriminating": 1, "dropped": 0},
        "ended": "ok",
    }
    bodies = [body for _, body, _ in serving.engines.calls if len(body["messages"]) > 1]
    assert all(PROGRAM in str(body) and OTHER in str(body) for body in bodies)


async def test_samples_for_inputs_are_of_the_budget_and_counted(serving):
    answer = await serving.answer(alpharay={"budget": 8, "selector": "discriminate"})
    summary = answer["alpharay"]
    assert (summary["budget"], summary["effective_budget"], summary["drawn"]) == (8, 8, 8)
    assert sum(member["drawn"] for member in summary["members"].values()) == 8
    assert len(serving.engines.calls) == 8
    assert summary["usage"]["completion_tokens"] == 8 * 3
    assert serving.counted("alpharay_samples_total", outcome="finished") == 8
    assert serving.counted("alpharay_written_inputs_total", outcome="discriminating") == 1
    seeds = [body["seed"] for _, body, _ in serving.engines.calls]
    assert len(set(zip((m for m, *_ in serving.engines.calls), seeds, strict=True))) == 8


async def test_where_all_candidates_are_one_program_no_inputs_are_asked_for(serving):
    serving.engines.answer = writing(programs=(PROGRAM,))
    answer = await serving.answer(alpharay={"budget": 8, "selector": "discriminate"})
    assert answer["alpharay"]["selection"]["ended"] == "one_program"
    assert answer["alpharay"]["drawn"] == 6


async def test_a_small_budget_is_spent_on_candidates_alone(serving):
    answer = await serving.answer(alpharay={"budget": 3, "selector": "discriminate"})
    assert answer["alpharay"]["selection"]["ended"] == "no_samples"
    assert answer["alpharay"]["drawn"] == 3


async def test_text_that_is_no_input_and_lost_samples_leave_the_answer_as_tests_has_it(serving):
    serving.engines.answer = writing(inputs="I cannot.")
    answer = await serving.answer(alpharay={"budget": 8, "selector": "discriminate"})
    assert answer["alpharay"]["selection"]["ended"] == "no_inputs"

    before = serving.engines.answer

    def losing(member, body):
        if len(body["messages"]) > 1:
            raise SampleLost("gone")
        return before(member, body)

    serving.engines.answer = losing
    answer = await serving.answer(alpharay={"budget": 8, "selector": "discriminate"})
    assert answer["alpharay"]["selection"]["samples"] == 0
    assert answer["alpharay"]["drawn"] == 6


async def test_an_internal_error_while_inputs_are_written_leaves_the_answer_as_tests_has_it(serving):
    candidate = serving.engines.answer

    def broken(member, body):
        answer = candidate(member, body)
        return {**answer, "choices": []} if len(body["messages"]) > 1 else answer

    serving.engines.answer = broken
    answer = await serving.answer(alpharay={"budget": 8, "selector": "discriminate"})
    assert answer["alpharay"]["selection"]["ended"] == "failed"


@pytest.mark.parametrize("selector", ["discriminate", {"url": URL}])
async def test_a_candidate_with_half_a_surrogate_pair_ends_no_request(serving, selector):
    serving.engines.answer = writing(programs=(PROGRAM, PROGRAM, "print('\ud800')"))
    scored_by(serving, lambda _: httpx.Response(200, json={"candidates": []}))
    response = await serving.chat(alpharay={"budget": 8, "selector": selector})
    assert response.status_code == 200


async def test_a_judge_out_of_reach_is_told_and_answers(serving):
    serving.judging.away = True
    answer = await serving.answer(alpharay={"budget": 8, "selector": "discriminate"})
    assert answer["alpharay"]["judge"] == "unavailable"
    assert answer["alpharay"]["selection"]["inputs"]["dropped"] == 2


async def test_tests_of_code_have_no_inputs(serving):
    tests = {"kind": "code", "code": "assert f(1)"}
    response = await serving.chat(alpharay={"tests": tests, "selector": "discriminate"})
    assert response.status_code == 400
    assert "of kind `code` and `repo` have none" in response.json()["error"]["message"]


@pytest.mark.parametrize("selector", ["discriminate", {"url": URL}])
async def test_a_recorded_request_is_selected_again_as_it_was(serving, selector, monkeypatch):
    scored_by(
        serving, lambda _: httpx.Response(200, json={"candidates": [{"index": 1, "decision": "accept"}]})
    )
    sessions = []
    monkeypatch.setattr(serving.server.learning, "record", lambda _id, session, *_: sessions.append(session))
    await serving.answer(alpharay={"budget": 8, "selector": selector, "tests": TESTS})
    (session,) = sessions
    again = replayed(json.loads(json.dumps(session.trace({}))))
    assert [candidate.draw for candidate in again.select()] == [
        candidate.draw for candidate in session.select()
    ]
    assert [candidate.evidence for candidate in again.candidates] == [
        candidate.evidence for candidate in session.candidates
    ]


async def test_a_scorer_gets_each_program_once_and_its_word_selects(serving):
    def respond(body):
        decisions = {PROGRAM: "reject", OTHER: "accept"}
        rows = [
            {"index": row["index"], "decision": next(decisions[p] for p in decisions if p in row["text"])}
            for row in body["candidates"]
        ]
        return httpx.Response(200, json={"candidates": rows})

    calls = scored_by(serving, respond)
    answer = await serving.answer(alpharay={"budget": 6, "selector": {"url": URL}})
    assert OTHER in text_of(answer)
    ((url, body),) = calls
    assert url == URL
    assert (body["prompt"], body["language"], len(body["candidates"])) == ("a + b?", "python", 2)
    assert answer["alpharay"]["selection"] == {
        "selector": {"url": URL},
        "ended": "ok",
        "decisions": {"reject": 4, "accept": 2},
    }
    assert serving.counted("alpharay_scorer_decisions_total", decision="accept") == 2


@pytest.mark.parametrize(
    ("answer", "ended"),
    [
        (httpx.Response(200, json=[]), "malformed"),
        (httpx.Response(200, json={"candidates": [{"index": 0, "decision": "perhaps"}]}), "malformed"),
        (httpx.Response(200, content=b" " * (2 << 20)), "malformed"),
        (httpx.Response(302, headers={"location": "http://169.254.169.254/"}), "refused"),
        (httpx.Response(500), "refused"),
        (httpx.ConnectError("nobody there"), "unreachable"),
        (httpx.ReadTimeout("late"), "unreachable"),
        (TimeoutError(), "timeout"),
    ],
)
async def test_a_scorer_that_fails_abstains(serving, answer, ended):
    calls = scored_by(serving, lambda _: answer)
    summary = (await serving.answer(alpharay={"budget": 3, "selector": {"url": URL}}))["alpharay"]
    assert summary["selection"] == {"selector": {"url": URL}, "ended": ended, "decisions": {"abstain": 3}}
    assert len(calls) == 1
    assert serving.counted("alpharay_scorer_requests_total", outcome=ended) == 1


async def test_a_prompt_that_leaves_no_room_for_a_candidate_is_not_sent(serving, monkeypatch):
    monkeypatch.setattr(scorer, "_MOST_SENT", 100)
    calls = scored_by(serving, lambda _: httpx.Response(200, json={"candidates": []}))
    answer = await serving.answer(alpharay={"budget": 3, "selector": {"url": URL}})
    assert (calls, answer["alpharay"]["selection"]["ended"]) == ([], "too_long")


async def test_what_a_scorer_sets_as_a_cookie_is_not_sent_back(serving):
    cookies = []

    async def handle(request):
        cookies.append(request.headers.get("cookie"))
        return httpx.Response(
            200, headers={"set-cookie": "a=1"}, stream=httpx.ByteStream(b'{"candidates": []}')
        )

    serving.server.ensemble._scorers._transport = httpx.MockTransport(handle)
    for _ in range(2):
        await serving.answer(alpharay={"budget": 3, "selector": {"url": URL}})
    assert cookies == [None, None]


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/", URL + "/", URL.upper(), "file:///etc/passwd", URL + "?x=1"]
)
async def test_only_addresses_of_the_configuration_are_called(serving, url):
    calls = scored_by(serving, lambda _: httpx.Response(200, json={}))
    response = await serving.chat(alpharay={"budget": 3, "selector": {"url": url}})
    assert response.status_code == 400
    assert "`router.scorers`" in response.json()["error"]["message"]
    assert URL not in response.json()["error"]["message"].replace(url, "")
    assert not calls
    assert not serving.engines.calls


async def test_a_scorer_is_named_by_its_address_only(serving):
    response = await serving.chat(alpharay={"budget": 3, "selector": "scorer"})
    assert response.status_code == 400
    assert "{url: …}" in response.json()["error"]["message"]


async def test_the_configured_selector_counts_where_it_can_and_tests_elsewhere():
    serving = Serving(router={"selector": "discriminate"})
    await serving.all_up()
    serving.engines.answer = writing()
    summary = (await serving.answer(alpharay={"budget": 8}))["alpharay"]
    assert summary["selection"]["selector"] == "discriminate"
    assert "selection" not in (await serving.answer())["alpharay"]
    serving.finish()


async def test_the_address_of_a_configured_scorer_is_not_told():
    url = "http://user:word@scorer.example/decide?token=t"
    serving = Serving(router={"selector": {"url": url}, "scorers": [{"url": url}]})
    await serving.all_up()
    calls = scored_by(serving, lambda _: httpx.Response(200, json={"candidates": []}))
    response = await serving.chat(alpharay={"budget": 3})
    assert len(calls) == 1
    assert response.json()["alpharay"]["selection"]["selector"] == {"url": None}
    assert "scorer.example" not in response.text
    serving.finish()


async def test_a_configured_selector_refuses_no_language_that_no_judge_here_can_run():
    serving = Serving(router={"selector": "discriminate"})
    await serving.all_up()
    serving.judging.missing = "no g++ here"
    assert (await serving.answer(alpharay={"budget": 8, "language": "cpp"}))["alpharay"]["drawn"] == 6
    controls = {"budget": 8, "language": "cpp", "selector": "discriminate"}
    assert (await serving.chat(alpharay=controls)).status_code == 400
    serving.finish()


async def test_a_configured_selector_that_a_request_gives_nothing_to_go_by_is_tests():
    serving = Serving(router={"selector": "cluster"})
    await serving.all_up()
    assert (await serving.answer(alpharay={"budget": 3}))["alpharay"]["drawn"] == 3
    response = await serving.chat(alpharay={"budget": 3, "selector": "cluster"})
    assert response.status_code == 400
    serving.finish()


@pytest.mark.parametrize(
    ("router", "message"),
    [
        ("selector: best", "not a selector"),
        ("selector: scorer", "not a selector"),
        ("selector: {url: 'http://a/'}", "which is not under `scorers`"),
        ("selector: {uri: 'http://a/'}", "must be a selector's name"),
        ("scorers: [{url: 'ftp://a/'}]", "must be an address"),
        ("scorers: [{url: 'http://a:port/'}]", "must be an address"),
        ("scorers: [{url: 'http://a:99999/'}]", "must be an address"),
        ('scorers: [{url: "http://a\\0b/"}]', "must be an address"),
        ("scorers: [{url: 'http://a/', timeout: 1}]", "did you mean 'timeout_s'"),
    ],
)
def test_a_configuration_with_a_selector_that_cannot_be_asked_is_refused(tmp_path, router, message):
    file = tmp_path / "frontier.yaml"
    file.write_text(f"endpoints: {{low: /low, high: /high}}\nrouter: {{{router}}}\n")
    with pytest.raises(ConfigError, match=message):
        load(file)


async def test_the_schema_of_the_controls_refers_to_nothing_outside_itself(serving):
    assert "#/$defs" not in (await serving.http.get("/openapi.json")).text
