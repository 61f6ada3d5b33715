"""`/v1/judge` and `/run_code` on a server of models, over a judge that a test can stand in for."""

import asyncio
import base64
import json

import pytest

from alpharay.judge.verdict import Captured, Verdict, VerdictKind
from alpharay.serve.state.keys import make

from .fakes import Call

TESTS = {"kind": "stdio", "cases": [{"input": "1", "output": "1"}]}


async def post(serving, path, body, headers=None):
    call = Call(serving.app, body, path=path, headers=headers)
    await call.end()
    return call


async def judged(serving, headers=None, **body):
    return await post(serving, "/v1/judge", body, headers)


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - of what the fakes hold
            await asyncio.sleep(0)


def lines(call):
    return [json.loads(line) for line in call.text.splitlines()]


async def test_one_candidate_gets_the_fields_of_the_judge_command(serving):
    call = await judged(serving, tests=TESTS, completion="print(1)", id="p")
    assert call.status == 200
    assert json.loads(call.text) == {
        "id": "p", "index": 0, "verdict": "wrong_answer", "passed": 0, "total": 1, "cpu_s": 0.0, "wall_s": 0.0,
        "memory_mb": 0.0, "detail": "",
    }  # fmt: skip


async def test_a_batch_is_streamed_in_the_order_in_which_it_is_judged(serving):
    slow = asyncio.Event()

    async def judge(_tests, completion, _limits, _language, _group):
        if completion == "slow":
            await slow.wait()
        return Verdict(VerdictKind.ACCEPTED, 1, 1)

    serving.judging.judge = judge
    candidates = [{"completion": "slow"}, {"completion": "fast"}]
    call = Call(serving.app, {"tests": TESTS, "candidates": candidates}, path="/v1/judge")
    await call.until(lambda call: call.text.count("\n") == 1)
    slow.set()
    await call.end()
    assert [line["index"] for line in lines(call)] == [1, 0]


async def test_every_candidate_of_a_full_batch_gets_one_line(serving):
    call = await judged(serving, tests=TESTS, candidates=[{"program": f"print({n})"} for n in range(1000)])
    assert sorted(line["index"] for line in lines(call)) == list(range(1000))
    assert serving.counted("alpharay_judged_total", endpoint="judge", verdict="wrong_answer") == 1000


async def test_a_client_that_leaves_a_batch_ends_its_runs_and_gives_its_places_back(serving):
    serving.judging.seconds = 1000
    call = Call(serving.app, {"tests": TESTS, "candidates": [{"program": "x"}] * 300}, path="/v1/judge")
    await until(lambda: len(serving.judging.held) == 256)
    call.leave()
    await call.end()
    assert serving.judging.held == []
    assert serving.server.door.held == 0


async def test_a_client_that_leaves_a_single_run_ends_it(serving):
    serving.judging.seconds = 1000
    call = Call(serving.app, {"tests": TESTS, "program": "x"}, path="/v1/judge")
    await until(lambda: serving.judging.held)
    call.leave()
    await call.end()
    assert serving.judging.held == []
    assert serving.server.door.held == 0


async def test_what_is_not_judged_in_time_is_told_without_a_verdict(serving):
    serving.judging.seconds = 1000
    single = await judged(serving, tests=TESTS, program="x", wait=0.5)
    many = await judged(serving, tests=TESTS, candidates=[{"program": "x"}] * 2, wait=0.5)
    assert json.loads(single.text)["verdict"] is None
    assert [line["verdict"] for line in lines(many)] == [None, None]
    assert serving.judging.held == []


async def test_more_candidates_than_the_judge_s_queue_holds_are_refused_with_a_time_to_come_back(serve):
    serving = await serve(judge={"max_queued": 3})
    call = await judged(serving, tests=TESTS, candidates=[{"program": "x"}] * 4)
    assert call.status == 503
    assert dict(call.sent[0]["headers"])[b"retry-after"] == b"2"
    assert serving.server.door.held == 0
    assert (await judged(serving, tests=TESTS, candidates=[{"program": "x"}] * 3)).status == 200


async def test_a_judge_that_is_away_is_no_verdict(serving):
    serving.judging.away = True
    single = await judged(serving, tests=TESTS, program="x")
    many = await judged(serving, tests=TESTS, candidates=[{"program": "x"}])
    assert json.loads(single.text)["verdict"] == "judge_error"
    assert lines(many)[0]["verdict"] == "judge_error"


async def test_a_language_that_cannot_be_judged_here_is_told(serving):
    serving.judging.missing = "C++ needs g++, which is not installed"
    call = await judged(serving, tests=TESTS, program="x", language="cpp")
    assert call.status == 400
    assert "needs g++" in call.text


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"tests": TESTS}, "completion (a model's answer) or program"),
        ({"program": "x"}, "tests is missing"),
        ({"tests": TESTS, "program": "x", "completion": "y"}, "both are given"),
        ({"tests": TESTS, "program": 1}, "program must be a string"),
        ({"tests": TESTS, "programme": "x"}, "did you mean 'program'"),
        ({"tests": TESTS, "program": "x", "language": "perl"}, "language must be one of"),
        ({"tests": TESTS, "program": "x", "limits": {"time_limit_s": 1e9}}, "between 0.01 and 600"),
        ({"tests": TESTS, "program": "x", "limits": {"memory": 1}}, "limits.memory is not known"),
        ({"tests": TESTS, "program": "x", "wait": 0}, "wait must be a number of seconds above 0"),
        (
            {"tests": TESTS, "program": "x", "verdict_detail": "all"},
            "verdict_detail must be one of full, outcome",
        ),
        ({"tests": {"kind": "stdio", "cases": []}, "program": "x"}, "tests.cases is empty"),
        ({"tests": TESTS, "candidates": []}, "candidates must be a list of at least one"),
        ({"tests": TESTS, "candidates": [{"program": "x"}] * 1001}, "at most 1000"),
        ({"tests": TESTS, "candidates": [{"program": "x"}, {}]}, "candidates[1].completion"),
        ({"candidates": [{"program": "x"}]}, "candidates[0].tests is missing"),
    ],
)
async def test_a_malformed_request_names_the_field(serving, body, message):
    call = await judged(serving, **body)
    assert call.status == 400
    assert message in json.loads(call.text)["error"]["message"]
    assert serving.judging.calls == []


async def test_under_outcome_nothing_but_the_verdict_leaves(serve):
    serving = await serve(judge={"verdict_detail": "outcome"})
    single = await judged(serving, tests=TESTS, program="x", verdict_detail="full")
    many = await judged(serving, tests=TESTS, candidates=[{"program": "x"}])
    assert json.loads(single.text) == {"id": None, "index": 0, "verdict": "wrong_answer"}
    assert lines(many) == [{"id": None, "index": 0, "verdict": "wrong_answer"}]


async def test_under_outcome_a_choice_tells_its_verdict_alone(serve):
    serving = await serve(judge={"verdict_detail": "outcome"})
    answer = await serving.answer(alpharay={"tests": TESTS, "budget": 2})
    note = answer["choices"][0]["alpharay"]
    assert note["verdict"] == "wrong_answer"
    assert [note[name] for name in ("passed", "total", "score")] == [None, None, None]


async def test_a_request_may_ask_for_less_than_the_server_tells(serving):
    call = await judged(serving, tests=TESTS, program="x", verdict_detail="outcome")
    assert json.loads(call.text).keys() == {"id", "index", "verdict"}


async def test_keys_are_asked_for_and_take_turns_by_their_names(serve, tmp_path):
    key, entry = make("alice", concurrent=1)
    file = tmp_path / "keys.yaml"
    file.write_text(json.dumps([entry.model_dump(exclude_none=True)]))
    serving = await serve(server={"api_keys_file": file})
    assert (await judged(serving, tests=TESTS, program="x")).status == 401
    assert (await judged(serving, {"authorization": f"Bearer {key}"}, tests=TESTS, program="x")).status == 200
    basic = base64.b64encode(f"any:{key}".encode()).decode()
    assert (
        await judged(serving, {"authorization": f"Basic {basic}"}, tests=TESTS, program="x")
    ).status == 200
    assert {call[4] for call in serving.judging.calls} == {"key alice"}


async def run_code(serving, verdict, **body):
    async def capture(*_arguments):
        return verdict

    serving.judging.capture = capture
    call = await post(serving, "/run_code", {"code": "print(1)", "language": "python", **body})
    return call.status, json.loads(call.text)


def ran(kind=VerdictKind.ACCEPTED, detail="", **captured):
    captured = Captured(**{"compiled": True, "stdout": "out", "stderr": "err", "code": 0, **captured})
    return Verdict(kind, 1, 1, cpu_s=0.5, wall_s=0.7, detail=detail, captured=captured)


@pytest.mark.parametrize(
    ("verdict", "status", "ended", "code"),
    [
        (ran(), "Success", "Finished", 0),
        (ran(VerdictKind.RUNTIME_ERROR, code=3), "Failed", "Finished", 3),
        (ran(VerdictKind.TIME_LIMIT, code=None), "Failed", "TimeLimitExceeded", None),
        (ran(VerdictKind.MEMORY_LIMIT, code=None), "Failed", "Finished", -9),
        (ran(VerdictKind.OUTPUT_LIMIT, code=0), "Failed", "Finished", 1),
    ],
)
async def test_a_run_is_told_as_sandbox_fusion_does(serving, verdict, status, ended, code):
    _, answer = await run_code(serving, verdict)
    assert (answer["status"], answer["compile_result"]) == (status, None)
    assert answer["run_result"]["status"] == ended
    assert answer["run_result"]["return_code"] == code
    assert (answer["run_result"]["stdout"], answer["run_result"]["stderr"]) == ("out", "err")


async def test_a_program_that_does_not_compile_has_no_run_result(serving):
    verdict = ran(VerdictKind.COMPILE_ERROR, compiled=False, stderr="line 1: no", code=None)
    _, answer = await run_code(serving, verdict, language="cpp")
    assert (answer["status"], answer["run_result"]) == ("Failed", None)
    assert (answer["compile_result"]["return_code"], answer["compile_result"]["stderr"]) == (1, "line 1: no")


async def test_a_fault_of_the_judge_is_a_sandbox_error(serving):
    _, answer = await run_code(serving, Verdict(VerdictKind.JUDGE_ERROR, 0, 1, detail="no process"))
    assert (answer["status"], answer["message"]) == ("SandboxError", "no process")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("language", "bash", "language must be one of python, cpp"),
        ("files", {"/etc/a": "YQ=="}, "is absolute"),
        ("files", {"a/../../b": "YQ=="}, "leaves the folder"),
        ("files", {"a": "?"}, "is not base64"),
        ("files", {"a": "YQ==", "a/b": "YQ=="}, "is a file and the folder of"),
        ("files", ["a"], "files must be an object"),
        ("files", {str(n): "" for n in range(1001)}, "1000 are accepted"),
        ("fetch_files", ["../a"], "leaves the folder"),
        ("fetch_files", "a", "fetch_files must be a list of paths"),
        ("fetch_files", ["a" * 150] * 7, "32 paths of 1000 characters"),
        ("fetch_files", [str(n) for n in range(33)], "at most 32 paths"),
        ("stdin", 1, "stdin must be a string"),
        ("run_timeout", "x", "run_timeout must be a number"),
        ("memory_limit_MB", 1, "memory_limit_mb must be between"),
    ],
)
async def test_what_cannot_be_run_is_refused_with_the_reason(serving, field, value, message):
    status, answer = await run_code(serving, ran(), **{field: value})
    assert status == 400
    assert message in answer["error"]["message"]


async def test_files_are_for_python_programs(serving):
    status, answer = await run_code(serving, ran(), language="cpp", files={"a": "YQ=="})
    assert status == 400
    assert "files are for python programs" in answer["error"]["message"]


async def test_an_id_that_is_no_utf_8_comes_back_as_it_was_sent(serving):
    call = await judged(serving, tests=TESTS, completion="print(1)", id="\ud800")
    assert call.status == 200
    assert json.loads(call.text)["id"] == "\ud800"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("memory_limit_MB", 1e999),
        ("run_timeout", 10**400),
        ("language", ["python"]),
        ("memory_limit_MB", 10**400),
    ],
)
async def test_numbers_and_types_beyond_any_are_a_400(serving, field, value):
    call = await post(serving, "/run_code", {"code": "print(1)", "language": "python", field: value})
    assert call.status == 400


async def test_a_wait_beyond_any_is_as_long_as_it_takes(serving):
    call = await judged(serving, tests=TESTS, completion="print(1)", wait=10**400)
    assert json.loads(call.text)["verdict"] == "wrong_answer"
