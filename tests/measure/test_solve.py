"""`alpharay solve`: one budget over a batch, nothing drawn twice, on engines here and on a server."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter

import httpx
import pyarrow.parquet as pq
import pytest

from alpharay.judge.command import read_problems
from alpharay.judge.limits import Limits
from alpharay.judge.verdict import Verdict, VerdictKind
from alpharay.serve.cli import main
from alpharay.serve.dialects.api_request import EngineBody
from alpharay.serve.errors import OutcomesError
from alpharay.serve.evaluate import sampling
from alpharay.serve.evaluate.journal import Journal
from alpharay.serve.evaluate.outcomes import read_outcomes
from alpharay.serve.evaluate.solve.over_http import OverHttp, ServerRefused, judge_fields
from alpharay.serve.evaluate.solve.run import Progress
from alpharay.serve.evaluate.solve.solving import Solving, Wanted, solve
from alpharay.serve.state.members import ServedMember
from alpharay.serve.transport.asgi import Reply
from alpharay.serve.transport.clients import JudgeUnavailable, SampleLost

MEMBERS = [ServedMember(name=f"frontier@{alpha:g}", alpha=alpha, sha256=f"{alpha}") for alpha in (0.0, 1.0)]
TESTS = {"kind": "stdio", "cases": [{"input": "", "output": "1", "level": 3}, {"input": "", "output": "2"}]}


class Killed(Exception):
    """What ends a run that is killed."""


class Engines:
    """Answers with its problem, member and seed. most: samples after which it is killed, or `stuck` for ever."""

    def __init__(self, most=None, *, stuck=False):
        self.most, self.stuck, self.drawn, self.most_at_once, self._now = most, stuck, [], 0, 0

    async def sample(self, member, _path, body, _headers):
        request = json.loads(body.whole())
        if len(self.drawn) == self.most:
            if self.stuck:
                await asyncio.Event().wait()
            raise Killed
        problem = request["messages"][0]["content"]
        self.drawn.append((problem, member, request["seed"]))
        self._now += 1
        self.most_at_once = max(self._now, self.most_at_once)
        await asyncio.sleep(0)
        self._now -= 1
        answer = {
            "choices": [{"message": {"content": f"{problem} {member} {request['seed']}"}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 9},
        }
        return Reply(200, "application/json", json.dumps(answer).encode())


class Judge:
    """Problem n is solved by one seed in 3n + 1; the last by none."""

    async def judge(self, _tests, completion, _limits, _language, _group):
        problem, _, seed = completion.split()
        if problem != "7" and not int(seed) % (3 * int(problem) + 1):
            return Verdict(VerdictKind.ACCEPTED, 2, 2)
        return Verdict(VerdictKind.WRONG_ANSWER, 0, 2, failed_case=0)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(sampling, "_PATIENCE_S", 0.0)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "problems.jsonl"
    lines = [{"id": f"p{n}", "prompt": f"{n}", "tests": TESTS} for n in range(8)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def wanted(file, budget=200, **more):
    return Wanted(
        **{
            "file": file,
            "problems": tuple(read_problems(file).values()),
            "out": file.parent / "out",
            "budget": budget,
            "most_per_problem": None,
            "passes": 1,
            "deadline_s": math.inf,
            "seed": 0,
            "options": {},
            "in_flight": 6,
            **more,
        }
    )


async def run(settings, engines=None, judging=None, **more):
    engines = engines or Engines()
    with Journal(settings.out) as journal:
        solving = Solving(members=MEMBERS, engines=engines, judging=judging or Judge(), **more)
        await solve(settings, solving, journal, lambda _: None)
    return engines


async def test_a_budget_is_spent_on_what_is_unsolved_and_a_report_says_what_came_of_it(file):
    engines = await run(wanted(file))
    outcomes = read_outcomes(file.parent / "out/outcomes.parquet")
    assert len(outcomes) == len(engines.drawn) == len(set(engines.drawn)) == 200
    passes = outcomes.counts.solved.sum(axis=1)
    solved = {outcomes.problems[n] for n in passes.nonzero()[0]}
    lines = [json.loads(line) for line in (file.parent / "out/solved.jsonl").read_text().splitlines()]
    assert {line["problem"] for line in lines} == solved
    assert "p0" in solved
    assert "p7" not in solved
    text = (file.parent / "out/report.md").read_text()
    assert f"{len(solved)} of 8 problems solved with 200 of 200 samples" in text
    assert "| 8 |" in text
    assert "`p7`" in text


async def test_engines_are_never_asked_for_more_than_may_be_in_flight(file):
    assert (await run(wanted(file))).most_at_once <= 6


async def test_a_killed_run_goes_on_and_draws_nothing_twice(file):
    first = Engines(most=60)
    with pytest.raises(Killed):
        await run(wanted(file), first)
    kept = len(read_outcomes(file.parent / "out/outcomes.parquet"))
    assert 60 - 6 <= kept <= 60
    second = await run(wanted(file))
    assert kept + len(second.drawn) == len(read_outcomes(file.parent / "out/outcomes.parquet")) == 200
    assert len(set(first.drawn) & set(second.drawn)) == 60 - kept
    solved = (file.parent / "out/solved.jsonl").read_text().splitlines()
    assert len({json.loads(line)["problem"] for line in solved}) == len(solved)


async def test_a_larger_budget_adds_and_the_same_one_draws_nothing(file):
    await run(wanted(file))
    assert not (await run(wanted(file))).drawn
    assert len((await run(wanted(file, 230))).drawn) == 30


async def test_what_the_judge_could_not_judge_is_drawn_again_by_the_next_run(file):
    class Failing(Judge):
        async def judge(self, *_arguments):
            return Verdict(VerdictKind.JUDGE_ERROR, 0, 2)

    await run(wanted(file, 10), judging=Failing())
    assert "0 of 8 problems solved with 0 of 10 samples" in (file.parent / "out/report.md").read_text()
    assert len((await run(wanted(file, 10))).drawn) == 10


async def test_at_the_deadline_what_is_under_way_is_cancelled_and_not_counted(file):
    engines = await run(wanted(file, deadline_s=0.3), Engines(most=20, stuck=True))
    assert len(read_outcomes(file.parent / "out/outcomes.parquet")) == len(engines.drawn) == 20
    assert len((await run(wanted(file))).drawn) == 180


async def test_each_problem_follows_the_portfolio(file):
    portfolio = file.parent / "portfolio.yaml"
    portfolio.write_text("schedule:\n- {frontier@1: 2}\n- {frontier@0: 1}\n")
    engines = await run(wanted(file, 24, in_flight=1), portfolio=portfolio)
    hardest = [member for problem, member, _ in engines.drawn if problem == "7"]
    assert hardest[:3] == ["frontier@1", "frontier@1", "frontier@0"]


async def test_passes_and_samples_of_a_problem_are_bounded(file):
    engines = await run(wanted(file, 10_000, most_per_problem=12, passes=2))
    of_each = Counter(problem for problem, _, _ in engines.drawn)
    assert of_each["0"] == 2
    assert of_each["7"] == 12


async def test_prompts_and_answers_are_kept_where_that_is_asked(file):
    await run(wanted(file, 20, rollouts="texts"))
    out = file.parent / "out"
    outcomes = pq.read_table(out / "outcomes.parquet").to_pylist()
    kept = {
        (row["problem"], row["member"], row["sample"]): row
        for row in pq.read_table(out / "rollouts").to_pylist()
    }
    assert len(kept) == len(outcomes) == 20
    for outcome in outcomes:
        row = kept[outcome["problem"], outcome["member"], outcome["sample"]]
        assert row["messages"] == [{"role": "user", "content": row["text"].split()[0]}]
        assert row["reward"] == (outcome["verdict"] == "accepted")
        assert row["checkpoint"] == f"{row['alpha']}"
    assert "alpharay solve --save-rollouts" in (out / "README.md").read_text()
    with pytest.raises(OutcomesError, match="without --save-rollouts"):
        await run(wanted(file, 30))


async def test_at_a_price_samples_that_are_not_worth_their_tokens_are_not_drawn_and_the_report_says_so(file):
    dear = await run(wanted(file, price=0.02))  # a sample has 12 tokens
    assert len(dear.drawn) < 60
    text = (file.parent / "out/report.md").read_text()
    assert f"with {len(dear.drawn)} of 200 samples" in text
    assert "samples are worth their tokens" in text
    assert not (await run(wanted(file, price=0.02))).drawn
    assert (await run(wanted(file))).drawn


def test_progress_tells_what_is_expected_in_the_end():
    progress = Progress(total=200, done=50, drawn=50, problems=8, solved=3, left=5, expected=6.4)
    text = progress.text(10.0)
    assert text == "3 of 8 problems solved, 50 of 200 samples, 5.0/s, 5 open, about 6 solved in the end"


async def test_a_folder_of_other_settings_is_refused(file):
    await run(wanted(file, 10))
    with pytest.raises(OutcomesError, match="another seed"):
        await run(wanted(file, 20, seed=1))


def served(handle):
    """A client of a server that is this function."""
    client = OverHttp("http://server/v1/", "key", {"p": {"tests": TESTS, "limits": {}}}, 4)
    headers = client._client.headers
    client._client = httpx.AsyncClient(
        base_url="http://server", headers=headers, transport=httpx.MockTransport(handle)
    )
    return client


async def test_a_server_tells_its_members_and_judges_with_the_tests_of_the_file():
    def handle(request):
        assert request.headers["authorization"] == "Bearer key"
        if request.url.path == "/v1/models":
            ensemble = {"id": "frontier", "alpharay": {"kind": "ensemble"}}
            return httpx.Response(
                200, json={"data": [ensemble, *({"id": m.name, "alpharay": m.note} for m in MEMBERS)]}
            )
        body = json.loads(request.content)
        assert body["tests"] == TESTS
        assert body["limits"] == {}  # the server's
        wrong_answer = Verdict(VerdictKind.WRONG_ANSWER, 1, 2, detail="case 2 of 2: printed 3")
        return httpx.Response(200, json={"id": None, "index": 0, **wrong_answer.fields()})

    client = served(handle)
    assert [(m.name, m.alpha, m.sha256, m.weights) for m in await client.members()] == [
        (m.name, m.alpha, m.sha256, m.weights) for m in MEMBERS
    ]
    verdict = await client.judge(None, "text", Limits(), "python", "p")
    assert (verdict.verdict, verdict.passed, verdict.failed_case) == (VerdictKind.WRONG_ANSWER, 1, 1)


@pytest.mark.parametrize("status", [429, 503])
async def test_what_a_server_cannot_do_now_is_tried_again(status):
    client = served(lambda _request: httpx.Response(status, text="later"))
    with pytest.raises(SampleLost, match="later"):
        await client.sample("m", "/v1/chat/completions", EngineBody("{}", {}), {})
    with pytest.raises(JudgeUnavailable, match="later"):
        await client.judge(None, "text", Limits(), "python", "p")


async def test_what_a_server_refuses_ends_the_run_with_its_words():
    client = served(lambda _request: httpx.Response(401, text="no such key"))
    with pytest.raises(ServerRefused, match="ALPHARAY_API_KEY"):
        await client.members()
    with pytest.raises(ServerRefused, match="no such key"):
        await client.judge(None, "text", Limits(), "python", "p")
    assert (await client.sample("m", "/v1/chat/completions", EngineBody("{}", {}), {})).status == 401


def test_the_tests_of_a_file_are_sent_as_they_stand_there_with_the_limits_that_it_sets(tmp_path):
    path = tmp_path / "problems.jsonl"
    lines = [
        {"id": "p", "prompt": "", "tests": TESTS},
        {"id": "q", "prompt": "", "tests": TESTS, "time_limit_s": 2},
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    assert judge_fields(path) == {
        "p": {"tests": TESTS, "limits": {}},
        "q": {"tests": TESTS, "limits": {"time_limit_s": 2}},
    }


async def test_a_limit_of_the_key_that_passes_soon_is_waited_for_and_one_of_the_day_ends_the_run():
    left = ["0", "0", "40000"]

    def handle(_request):
        if left:
            return httpx.Response(429, text="beyond the limit", headers={"Retry-After": left.pop(0)})
        return httpx.Response(200, json={})

    client = served(handle)
    with pytest.raises(ServerRefused, match="beyond the limit"):
        await client.sample("m", "/v1/chat/completions", EngineBody("{}", {}), {})
    assert (await client.sample("m", "/v1/chat/completions", EngineBody("{}", {}), {})).status == 200


async def test_samples_of_a_checkpoint_that_the_server_moved_to_meanwhile_are_refused():
    member = MEMBERS[0]
    moved = [member.sha256, "other"]

    def handle(request):
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": [{"id": member.name, "alpharay": member.note}]})
        return httpx.Response(200, json={"choices": [{"alpharay": {"checkpoint": moved.pop(0)}}]})

    client = served(handle)
    await client.members()
    assert (await client.sample(member.name, "/v1/chat/completions", EngineBody("{}", {}), {})).status == 200
    with pytest.raises(ServerRefused, match="another checkpoint"):
        await client.sample(member.name, "/v1/chat/completions", EngineBody("{}", {}), {})


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("frontier.yaml", "--server", "http://x"), "CONFIG"),
        (("--server", "http://127.0.0.1:9"), "cannot be reached"),
        (("--server", "nonsense"), "--server"),
    ],
)
def test_what_cannot_be_solved_with_is_one_clear_line(file, capsys, arguments, why):
    out = str(file.parent / "out")
    assert main.main(["solve", str(file), *arguments, "--budget", "9", "--out", out]) in {1, 2}
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert why in error
