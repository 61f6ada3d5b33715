"""`alpharay judge --serve`: the door alone, with real sandboxes, as a process of its own."""

import base64
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

TESTS = {"kind": "stdio", "cases": [{"input": "2 3", "output": "5"}, {"input": "4 5", "output": "9"}]}
ADD = "print(sum(map(int, input().split())))"


def started(*options):
    """The process, and the address of its line `ready`."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "alpharay.serve.cli.main",
            "judge",
            "--serve",
            "--port",
            "0",
            "--workers",
            "2",
            *options,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # Longer than this file takes on a busy machine: it only ends what would else outlive a run that hangs.
    watchdog = threading.Timer(900, process.kill)
    watchdog.daemon = True
    watchdog.start()
    line = process.stdout.readline()
    assert line.startswith("ready http://127.0.0.1:"), process.stderr.read()
    return process, line.split()[1]


@pytest.fixture(scope="module")
def door():
    process, address = started()
    with httpx.Client(base_url=address, timeout=60) as http:
        yield http
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def test_a_program_is_judged_with_the_fields_of_the_command(door):
    answer = door.post("/v1/judge", json={"tests": TESTS, "program": ADD, "id": "add"}).json()
    assert answer.keys() == {
        "id",
        "index",
        "verdict",
        "passed",
        "total",
        "cpu_s",
        "wall_s",
        "memory_mb",
        "detail",
    }
    assert (answer["id"], answer["verdict"], answer["passed"], answer["total"]) == ("add", "accepted", 2, 2)


def test_a_batch_of_a_thousand_has_every_verdict_once(door):
    candidates = [{"program": f"{ADD}\n# {n}" if n % 2 else f"print({n})"} for n in range(1000)]
    answer = door.post("/v1/judge", json={"tests": TESTS, "candidates": candidates}, timeout=300)
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert sorted(line["index"] for line in lines) == list(range(1000))
    assert {line["index"] for line in lines if line["verdict"] == "accepted"} == set(range(1, 1000, 2))


def test_a_checker_comes_with_the_request(door):
    checker = {"language": "python", "source": "import sys\nsys.exit(open(sys.argv[2]).read() != 'yes\\n')"}
    tests = {"kind": "stdio", "cases": [{"input": ""}], "checker": checker}
    assert (
        door.post("/v1/judge", json={"tests": tests, "program": "print('yes')"}).json()["verdict"]
        == "accepted"
    )


@pytest.mark.parametrize(
    ("body", "status", "stdout", "code"),
    [
        ({"code": "print(input()[::-1])", "stdin": "abc\n"}, "Success", "cba\n", 0),
        ({"code": "import sys\nprint(1)\nsys.exit(4)"}, "Failed", "1\n", 4),
        ({"code": "print('```')\nprint('x' * 100000)"}, "Success", "```\n" + "x" * 100000 + "\n", 0),
        ({"code": "while True: pass", "run_timeout": 0.2}, "Failed", "", None),
        ({"code": "x = bytearray(1 << 40)", "memory_limit_MB": 64}, "Failed", "", 1),
    ],
)
def test_a_program_is_run_in_sandbox_fusion_s_form(door, body, status, stdout, code):
    answer = door.post("/run_code", json={"language": "python", **body}).json()
    assert (answer["status"], answer["run_result"]["stdout"]) == (status, stdout)
    assert answer["run_result"]["return_code"] == code


def encoded(text):
    return base64.b64encode(text.encode()).decode()


def test_a_program_finds_its_files_and_those_it_wrote_come_back(door):
    files = {
        "data/numbers.txt": encoded("1 2 3"),
        "helper.py": encoded("def total(text):\n    return sum(map(int, text.split()))"),
    }
    code = "import helper, sys\nprint(helper.total(open('data/numbers.txt').read()), sys.stdin.read())"
    body = {
        "code": code,
        "language": "python",
        "stdin": "in",
        "files": files,
        "fetch_files": ["helper.py", "nothing"],
    }
    answer = door.post("/run_code", json=body).json()
    assert (answer["status"], answer["run_result"]["stdout"]) == ("Success", "6 in\n")
    assert answer["files"] == {"helper.py": files["helper.py"]}


def test_a_repository_is_judged_over_http(door):
    tests = {
        "kind": "repo",
        "files": {"add.py": "def add(a, b):\n    return a - b\n"},
        "hidden": {"test_add.py": "from add import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n"},
        "answer": "add.py",
        "verify": ["python -m pytest -q"],
    }
    candidates = [{"program": f"def add(a, b):\n    return a {sign} b\n"} for sign in "+-"]
    answer = door.post("/v1/judge", json={"tests": tests, "candidates": candidates})
    verdicts = {line["index"]: line["verdict"] for line in map(json.loads, answer.text.splitlines())}
    assert verdicts == {0: "accepted", 1: "wrong_answer"}


def test_each_call_of_run_code_runs_the_program(door):
    body = {"language": "python", "code": "import time\nprint(time.time_ns())"}
    first, second = (door.post("/run_code", json=body).json()["run_result"]["stdout"] for _ in range(2))
    assert first != second


def test_errors_have_openai_s_object(door):
    for answer, status in (
        (door.post("/v1/judge", content=b"{", headers={"content-type": "application/json"}), 400),
        (door.post("/v1/judge", content=b"{}"), 415),
        (door.post("/v1/chat/completions", json={}), 404),
        (door.get("/v1/judge"), 405),
        (door.get("/health", headers={"host": "evil.example"}), 403),
    ):
        assert answer.status_code == status
        assert answer.json()["error"]["message"]


def test_metrics_count_what_was_judged(door):
    door.post("/v1/judge", json={"tests": TESTS, "program": "1 / 0"})
    page = door.get("/metrics").text
    assert 'alpharay_judged_total{endpoint="judge",verdict="runtime_error"}' in page
    assert "alpharay_judge_up 1.0" in page
    assert 'alpharay_requests_total{endpoint="judge",outcome="ok"}' in page


def test_a_client_that_leaves_frees_what_it_held(door):
    """Programs that sleep would hold both sandboxes for minutes."""
    body = {
        "tests": TESTS,
        "limits": {"time_limit_s": 600},
        "candidates": [{"program": f"import time\ntime.sleep(1000)\n# {n}"} for n in range(8)],
    }
    with pytest.raises(httpx.ReadTimeout):
        door.post("/v1/judge", json=body, timeout=1)
    answer = door.post("/v1/judge", json={"tests": TESTS, "program": ADD + "\n# after"}, timeout=60)
    assert answer.json()["verdict"] == "accepted"


def test_many_clients_at_once_each_get_their_own_answer(door):
    def ask(number):
        body = {"language": "python", "code": f"print({number})"}
        return door.post("/run_code", json=body).json()["run_result"]["stdout"]

    with ThreadPoolExecutor(16) as clients:
        assert list(clients.map(ask, range(64))) == [f"{number}\n" for number in range(64)]


def test_it_needs_neither_ray_nor_an_engine():
    code = (
        "import sys, alpharay.serve.gateway.door.alone\n"
        "print([name for name in ('ray', 'vllm', 'torch', 'numpy', 'fastapi') if name in sys.modules])"
    )
    stdout = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert stdout == "[]\n"


def test_a_port_that_is_taken_is_said_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "alpharay.serve.cli.main", "judge", "--serve", "--port", port],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert (
        done.stderr.strip()
        == f"error: 127.0.0.1:{port} is in use by another process; choose another with --port"
    )


def test_keys_are_asked_for(tmp_path):
    from alpharay.serve.state.keys import make

    key, entry = make("bob")
    (tmp_path / "keys.yaml").write_text(json.dumps([entry.model_dump(exclude_none=True)]))
    process, address = started("--api-keys-file", str(tmp_path / "keys.yaml"), "--verdict-detail", "outcome")
    body = {"tests": TESTS, "program": ADD}
    try:
        assert httpx.post(f"{address}/v1/judge", json=body).status_code == 401
        answer = httpx.post(f"{address}/v1/judge", json=body, headers={"x-api-key": key}, timeout=60)
        assert answer.json() == {"id": None, "index": 0, "verdict": "accepted"}
        with_key = address.replace("http://", f"http://any:{key}@")
        run = httpx.post(f"{with_key}/run_code", json={"language": "python", "code": "print(1)"}, timeout=60)
        assert run.json()["run_result"]["stdout"] == "1\n"
    finally:
        process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0


def test_its_sandboxes_end_with_it_however_it_ends():
    process, address = started()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    handles = [os.pidfd_open(int(child)) for child in children]
    assert httpx.get(f"{address}/ready").json()["status"] == "ready"
    process.kill()
    process.wait()
    ended = [select.select([handle], [], [], 30)[0] for handle in handles]
    assert ended == [[handle] for handle in handles]
    assert handles
