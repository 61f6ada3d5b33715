"""`alpharay explain`: a served request, explained wave by wave from the store."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from alpharay.judge.verdict import Verdict, VerdictKind
from alpharay.router import Candidate, Member, RouterState, SamplingRequest, Stop
from alpharay.serve.cli import main
from alpharay.serve.evaluate.explain import explained
from alpharay.serve.learn.recording import RecordedSession
from alpharay.serve.learn.store import Record, Store

MEMBERS = (Member(name="frontier@0", alpha=0.0), Member(name="frontier@1", alpha=1.0))
CHECKPOINTS = {"frontier@0": "a" * 64, "frontier@1": "b" * 64}
FIRST, SECOND = "0" * 32, "1" * 32
WRONG = Verdict(VerdictKind.WRONG_ANSWER, 1, 4, failed_case=1)
RIGHT = Verdict(VerdictKind.ACCEPTED, 4, 4)


def served(policy="uniform", passes_at=5, budget=12):
    """A request whose draws fail but for that one."""
    session = RecordedSession(
        SamplingRequest(members=MEMBERS, budget=budget, seed=7, stop_after_passes=1), policy
    )
    draws = session.step()
    while not isinstance(draws, Stop):
        draws = session.step(
            [Candidate(draw=draw, verdict=RIGHT if draw.index == passes_at else WRONG) for draw in draws]
        )
    return session


def record(request, session):
    return Record(
        request=request,
        trace=session.trace(CHECKPOINTS),
        choices=[candidate.draw.index for candidate in session.select()],
        rows=session.experiences(request),
        checkpoints=CHECKPOINTS,
    )


@pytest.fixture
def url(tmp_path):
    url = f"sqlite:///{tmp_path / 'store.db'}"
    store = Store(url)
    store.open()
    store.append([record(FIRST, served()), record(SECOND, served("adaptive"))])
    store.close()
    return url


@pytest.fixture
def explain(capsys):
    def run(*arguments):
        code = main.main(["explain", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_a_request_is_told_as_it_was_served(explain, url):
    session = served()
    code, out, _ = explain(f"chatcmpl-{FIRST}", "--store", url, "--json")
    assert code == 0
    explanation = json.loads(out)
    draws = [draw for wave in explanation["waves"] for draw in wave["draws"]]
    assert [draw["draw"] for draw in draws] == [draw.index for draw in session.draws]
    assert [draw["seed"] for draw in draws] == [draw.seed for draw in session.draws]
    assert draws[5]["outcome"] == "accepted 4/4"
    assert draws[0]["outcome"] == "wrong_answer 1/4"
    assert (explanation["policy"], explanation["budget"], explanation["stopped"], explanation["answer"]) == (
        "uniform",
        12,
        "passes",
        5,
    )
    assert [len(wave["draws"]) for wave in explanation["waves"]] == [2, 2, 4]


def test_failures_lower_the_chance_of_the_next_sample(explain, url):
    explanation = json.loads(explain(f"chatcmpl-{FIRST}", "--store", url, "--json")[1])
    chances = [wave["chances"]["frontier@0"] for wave in explanation["waves"]]
    assert chances == sorted(chances, reverse=True)
    assert chances[0] > chances[-1]


def test_the_text_names_each_wave_and_the_other_policies(explain, url):
    code, out, _ = explain(f"resp_{SECOND}", "--store", url)
    assert code == 0
    assert out.startswith(
        f"resp_{SECOND}: policy adaptive, budget 12, seed 7, nothing learnt before\n\nwave 1: 2 samples; "
    )
    assert "stopped: passes; answered: draw 5 of" in out
    assert "\n  uniform    " in out


def test_another_policy_is_followed_as_far_as_its_samples_were_drawn():
    session = served(passes_at=3)  # frontier@1's second sample
    explanation = explained(session.trace(CHECKPOINTS), RouterState())
    others = {each.policy: each for each in explanation.alternatives}
    assert "uniform" not in others
    # `single` takes one member, of which only some samples were drawn.
    assert others["single"].unknown or others["single"].stopped is Stop.PASSES
    prefers = RouterState(solved={"frontier@0": 9}, judged={"frontier@0": 10})
    trace = session.trace(CHECKPOINTS)
    explanation = explained(trace, replace(prefers, folded=0))
    single = next(each for each in explanation.alternatives if each.policy == "single")
    drawn = sum(draw.member == "frontier@0" for draw in session.draws)
    assert (single.unknown, single.drawn, single.stopped) == ("frontier@0", drawn, None)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([f"chatcmpl-{FIRST}", "--store", "sqlite:///nowhere/store.db"], "there is no "),
        (["frist"], "there is no answer with the id 'frist'"),
        ([f"chatcmpl-{FIRST}", "--store", "mysql://x"], "store"),
    ],
)
def test_what_cannot_be_explained_is_said_in_one_line(explain, url, arguments, error, tmp_path):
    if "--store" not in arguments:
        arguments = [*arguments, "--store", url]
    code, out, err = explain(*arguments)
    assert (code, out) == (1, "")
    assert error in err
    assert err.count("\n") == 1
    assert not (tmp_path / "nowhere").exists()


def test_a_policy_that_is_not_installed_is_named(explain, tmp_path):
    url = f"sqlite:///{tmp_path / 'store.db'}"
    store = Store(url)
    store.open()
    kept = record(FIRST, served())
    store.append([replace(kept, trace={**kept.trace, "policy": "mine"})])
    store.close()
    code, _, err = explain(f"chatcmpl-{FIRST}", "--store", url)
    assert code == 1
    assert "the policy 'mine', which is not installed here" in err
