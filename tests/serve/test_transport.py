"""HTTP below the dialects: who may ask, what a body may be, which paths lead where, and what every answer carries."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import zlib

import pyarrow as pa
import pytest

from alpharay.serve import environment
from alpharay.serve.config import Server
from alpharay.serve.dialects import chat, completions, messages, responses
from alpharay.serve.gateway.http.gate import Hosts, on_loopback
from alpharay.serve.state.cluster_state import MemberReport, Phase
from alpharay.serve.transport.asgi import Reply

from .fakes import NAMES, TESTS, Call, question

JSON = {"Content-Type": "application/json"}
BODIES = {
    chat.PATH: question(),
    completions.PATH: {"model": NAMES[0], "prompt": "a + b?"},
    responses.PATH: {"model": "frontier", "input": "a + b?"},
    messages.PATH: {
        "model": "frontier",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "a + b?"}],
    },
}


def error_message(response):
    """The message of an error in its dialect's own error object."""
    error = response.json()["error"]
    assert set(error) >= {"message", "type"}
    return error["message"]


def post(serving, path=chat.PATH, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return serving.http.post(path, content=json.dumps(BODIES[path]).encode(), headers={**JSON, **headers})


@pytest.mark.parametrize(
    ("host", "loopback", "public"),
    [
        ("127.0.0.1:8000", True, True),
        ("localhost", True, True),
        ("LocalHost.:8000", True, True),
        ("app.localhost:8000", True, True),
        ("[::1]:8000", True, True),
        ("10.1.2.3:8000", True, True),  # a probe or a scrape by a pod's address
        ("alpharay:8000", False, True),  # a container's name
        ("frontier-serve-svc.default.svc.cluster.local:8000", False, True),
        ("host.docker.internal:8000", False, True),
        ("attacker.example", False, False),
        ("attacker.example:8000", False, False),
        ("localhost.attacker.example", False, False),
        ("127.0.0.1.attacker.example", False, False),
        ("notlocalhost.com", False, False),
        ("a@localhost", False, False),
        ("localhost:80:80", False, False),
        ("localhost/", False, False),
        ("", True, True),
    ],
)
def test_a_server_answers_to_its_own_names_only(host, loopback, public):
    assert Hosts(Server(), on_loopback=True).admits([host]) is loopback
    assert Hosts(Server(host="0.0.0.0"), on_loopback=False).admits([host]) is public


def test_names_that_are_configured_are_admitted_beside_its_own():
    hosts = Hosts(Server(allowed_hosts=("api.example.com", "*.example.org")), on_loopback=True)
    admitted = ["API.example.com:443", "a.example.org", "a.b.example.org", "localhost", "10.0.0.1"]
    assert all(hosts.admits([name]) for name in admitted)
    assert not any(hosts.admits([name]) for name in ["example.com", "example.org", "evilexample.org"])
    assert Hosts(Server(allowed_hosts=("*",)), on_loopback=True).admits(["anything.example"])
    assert Hosts(Server(host="gpu.example.net"), on_loopback=False).admits(["gpu.example.net"])
    assert not hosts.admits(["localhost", "attacker.example"])


def test_where_keys_are_asked_for_any_name_will_do(tmp_path):
    assert Hosts(Server(api_keys_file=tmp_path), on_loopback=False).admits(["api.example.com"])
    narrowed = Server(api_keys_file=tmp_path, allowed_hosts=("api.example.com",))
    assert not Hosts(narrowed, on_loopback=False).admits(["attacker.example"])


@pytest.mark.parametrize(("host", "alone"), [("127.0.0.2", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("gpu", False)])  # fmt: skip
def test_loopback_is_told_from_addresses_that_others_reach(host, alone):
    assert on_loopback(host) is alone


@pytest.mark.parametrize("path", BODIES)
async def test_a_rebound_name_is_refused_in_each_dialect_before_anything_runs(serve, monkeypatch, path):
    monkeypatch.setenv(environment.ONE_MACHINE, "1")
    serving = await serve()
    response = await post(serving, path, Host="attacker.example:8000")
    assert response.status_code == 403
    assert "server.allowed_hosts" in error_message(response)
    assert not serving.engines.calls
    assert (await serving.http.get("/v1/models", headers={"Host": "attacker.example"})).status_code == 403
    assert (await serving.http.get("/health", headers={"Host": "10.0.0.7:8000"})).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://frontier"}, 200),
        ({"Origin": "http://127.0.0.1:8000", "Host": "127.0.0.1:8000"}, 200),
        ({"Origin": "https://alpharay", "Host": "alpharay"}, 200),  # TLS ends before it
        (
            {"Origin": "https://public.example", "Sec-Fetch-Site": "same-origin"},
            200,
        ),  # a proxy that changes Host
        ({"Origin": "https://attacker.example"}, 403),
        ({"Origin": "https://attacker.example", "Sec-Fetch-Site": "cross-site"}, 403),
        (
            {"Origin": "http://127.0.0.1:3000", "Host": "127.0.0.1:8000"},
            403,
        ),  # another server of this machine
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "http://frontier.attacker.example"}, 403),
    ],
)
@pytest.mark.parametrize("path", [chat.PATH, messages.PATH])
async def test_work_is_taken_from_no_foreign_page(serving, path, headers, status):
    response = await post(serving, path, **headers)
    assert response.status_code == status, response.text
    assert bool(serving.engines.calls) is (status == 200)
    if status == 403:
        assert "server.cors" in error_message(response)


async def test_listed_origins_may_ask_and_read_and_others_may_not(serve):
    serving = await serve(server={"cors": ["https://App.example"]})
    preflight_headers = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-alpharay-budget",
    }
    preflight = await serving.http.options(chat.PATH, headers=preflight_headers)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://app.example"
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    for response in [await post(serving, Origin="https://app.example"), await serving.http.post(chat.PATH, headers={"Origin": "https://app.example"})]:  # fmt: skip
        assert response.headers["access-control-allow-origin"] == "https://app.example"
    foreign = await serving.http.options(
        chat.PATH, headers=preflight_headers | {"Origin": "https://attacker.example"}
    )
    assert foreign.status_code == 403
    assert "server.cors" in error_message(foreign)
    assert "access-control-allow-origin" not in foreign.headers


async def test_without_a_list_no_preflight_is_granted_and_any_page_may_be_let_in(serve):
    preflight_headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    closed, opened = await serve(), await serve(server={"cors": ["*"]})
    assert (await closed.http.options(chat.PATH, headers=preflight_headers)).status_code == 403
    assert (await opened.http.options(chat.PATH, headers=preflight_headers)).headers[
        "access-control-allow-origin"
    ] == "*"
    assert (await post(opened, Origin="https://any.example")).status_code == 200


@pytest.mark.parametrize(
    ("content_type", "taken"),
    [
        ("application/json", True),
        ("application/json; charset=utf-8", True),
        ("Application/JSON;charset=UTF-8", True),
        ("application/vnd.api+json", True),
        ("text/plain", False),
        ("text/plain;charset=UTF-8", False),
        ("application/x-www-form-urlencoded", False),
        ("multipart/form-data; boundary=x", False),
        ("application/jsonp", False),
        ("text/json", False),
        ("", False),
        ("x" * 5000, False),
    ],
)
async def test_a_body_must_say_that_it_is_json(serving, content_type, taken):
    response = await post(serving, Content_Type=content_type)
    assert response.status_code == (200 if taken else 415)
    if not taken:
        assert "application/json" in error_message(response)
        assert len(response.content) < 1000
        assert not serving.engines.calls


@pytest.mark.parametrize(
    "path", [*BODIES, "/v1/feedback", "/v1/messages/count_tokens", "/tokenize", "/detokenize"]
)
async def test_every_route_that_reads_a_body_insists_on_its_type(serving, path):
    response = await serving.http.post(path, content=b"{}", headers={"Content-Type": "text/plain"})
    assert response.status_code == 415
    assert error_message(response)


def zstd(data):
    return pa.compress(data, codec="zstd", asbytes=True)


def raw_deflate(data):
    return zlib.compress(data)[2:-4]


def members(data):
    return gzip.compress(data[:9]) + gzip.compress(data[9:])


ENCODINGS = {"gzip": gzip.compress, "x-gzip": members, "deflate": zlib.compress, "DEFLATE": raw_deflate, "zstd": zstd, "identity": bytes}  # fmt: skip


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_a_compressed_body_is_decoded(serving, encoding):
    data = ENCODINGS[encoding](json.dumps(question()).encode())
    response = await serving.http.post(
        chat.PATH, content=data, headers={**JSON, "Content-Encoding": encoding}
    )
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("encoding", ["br", "compress", "gzip, gzip", "x" * 3000])
async def test_an_unknown_encoding_is_named(serving, encoding):
    response = await post(serving, Content_Encoding=encoding)
    assert response.status_code == 415
    assert encoding[:90] in error_message(response)
    assert "gzip, deflate, zstd" in error_message(response)
    assert len(response.content) < 1000


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
async def test_a_body_grows_by_decoding_to_its_limit_only(serve, encoding):
    serving = await serve(server={"max_request_mb": 1})
    bomb = ENCODINGS[encoding](b" " * 50_000_000)
    headers = {**JSON, "Content-Encoding": encoding}
    response = await serving.http.post(chat.PATH, content=bomb, headers=headers)
    assert response.status_code == 413
    assert "1 MB when decoded" in error_message(response)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
@pytest.mark.parametrize("cut", [slice(0, -7), slice(0, 4), slice(2, None)])
async def test_a_body_that_is_not_what_its_encoding_says_is_a_400(serving, encoding, cut):
    data = ENCODINGS[encoding](json.dumps(question()).encode())[cut]
    response = await serving.http.post(
        chat.PATH, content=data, headers={**JSON, "Content-Encoding": encoding}
    )
    assert response.status_code == 400
    assert error_message(response)


async def test_all_bodies_together_are_bounded_and_room_is_given_back(serve):
    serving = await serve(server={"max_request_mb": 1, "max_held_mb": 1.5})
    serving.engines.seconds = dict.fromkeys(NAMES, 20.0)
    first = asyncio.ensure_future(serving.chat(padding="x" * 900_000))
    await asyncio.sleep(1)
    refused = await serving.chat(padding="x" * 900_000)
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert "bodies" in error_message(refused)
    assert serving.counted("alpharay_rejections_total", reason="bodies_full") == 1
    assert (await serving.chat()).status_code == 200
    assert (await first).status_code == 200
    assert serving.server.admission.bodies.held == 0
    assert (await serving.chat(padding="x" * 900_000)).status_code == 200


async def test_a_client_that_leaves_gives_its_room_back(serving):
    serving.engines.seconds = dict.fromkeys(NAMES, 20.0)
    call = Call(serving.app, question(padding="x" * 100_000))
    await asyncio.sleep(1)
    assert serving.server.admission.bodies.held > 100_000
    call.leave()
    await call.end()
    assert serving.server.admission.bodies.held == 0


async def test_what_many_small_values_take_in_memory_counts(serve):
    serving = await serve(server={"max_request_mb": 4, "max_held_mb": 40})
    response = await serving.chat(padding=[[]] * 900_000)
    assert response.status_code == 413
    assert "server.max_held_mb" in error_message(response)
    commas = await serving.chat(padding=["," * 1_500_000, '\\",' * 200_000])
    assert commas.status_code == 200, commas.text


async def test_a_large_request_is_answered_as_a_small_one(serving):
    cases = [{"input": "1 1", "output": "2"}] * 9_000
    answer = await serving.answer(alpharay={"budget": 1, "tests": {**TESTS, "cases": cases}})
    assert answer["choices"][0]["alpharay"]["total"] == 9_000
    response = await serving.chat(messages=[{"role": "user", "content": "x" * 300_000}], seed="many")
    assert response.status_code == 400
    assert "seed" in error_message(response)


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**30])
async def test_a_number_beyond_64_bits_is_found_wherever_it_stands(serving, number):
    response = await serving.chat(metadata=[{"deep": [number]}])
    assert response.status_code == 400
    assert "64 bits" in error_message(response)
    assert (await serving.chat(metadata=[2**64 - 1, "1" * 40])).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [[(f"x-{number}", "1") for number in range(120)], [("x-long", "1" * 70_000)]],
    ids=["many", "long"],
)
async def test_too_many_or_too_long_headers_are_a_431(serving, headers):
    response = await serving.http.post(messages.PATH, json=BODIES[messages.PATH], headers=headers)
    assert response.status_code == 431
    assert response.json()["type"] == "error"


@pytest.mark.parametrize(
    "sampling",
    [
        {"json": {"model": "m" * 100_000}},
        {"json": question(alpharay={"b" * 100_000: 1})},
        {"json": question(alpharay={"policy": "p" * 100_000})},
        {"json": question(alpharay={"members": ["m" * 100_000]})},
        {"json": question(), "headers": {"X-Alpharay-Policy": "p" * 50_000}},
        {"json": question(), "headers": {"X-Alpharay-" + "n" * 50_000: "1"}},
        {"json": question(), "headers": {"X-Request-ID": "i" * 50_000}},
    ],
)
async def test_little_of_a_request_comes_back(serving, sampling):
    response = await serving.http.post(chat.PATH, **sampling)
    assert len(response.content) < 6000
    assert sum(len(name) + len(value) for name, value in response.headers.raw) < 2000


async def test_little_of_what_an_engine_says_comes_back(serving):
    refusal = json.dumps({"error": {"message": "no " * 10_000, "type": "BadRequestError", "code": 400}})
    serving.engines.faults[NAMES[0]] = [Reply(400, "application/json", refusal.encode())]
    response = await serving.chat(model=NAMES[0])
    assert response.status_code == 400
    assert len(response.content) < 6000


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/docs/oauth2-redirect"])
async def test_no_page_loads_scripts_from_elsewhere(serving, path):
    assert (await serving.http.get(path)).status_code == 404


@pytest.mark.parametrize("path", ["/", "/health", "/ready", "/metrics", "/version", "/ping", "/load", "/v1/models", "/v1/models/frontier", "/openapi.json", "/page/main.js"])  # fmt: skip
async def test_head_answers_as_get_without_a_body(serving, path):
    head, get = await serving.http.head(path), await serving.http.get(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type" if "content-type" in get.headers else "content-length"]
    assert get.status_code == 200


async def test_head_of_what_is_not_there_is_a_404_and_of_a_post_a_405(serving):
    assert (await serving.http.head("/nowhere")).status_code == 404
    assert (await serving.http.head(chat.PATH)).status_code == 405


@pytest.mark.parametrize("path", ["//v1/models", "/v1//models", "///v1///models//", "/v1/models/"])
async def test_slashes_too_many_do_no_harm(serving, path):
    listed = (await serving.http.get(f"http://frontier{path}")).json()
    assert [model["id"] for model in listed["data"]] == ["frontier", *NAMES]


@pytest.mark.parametrize("path", ["//v1/chat/completions", "/v1//chat/completions", "/v1/chat/completions/"])
async def test_a_request_is_taken_at_a_path_with_slashes_too_many(serving, path):
    assert (await serving.http.post(f"http://frontier{path}", json=question())).status_code == 200
    wrong = await serving.http.post(f"http://frontier{path}", json=question(model="nobody"))
    assert wrong.status_code == 404
    assert error_message(wrong)


@pytest.mark.parametrize("path", [*BODIES, "/v1/realtime", "/"])
async def test_a_websocket_is_told_to_use_http(serving, path):
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    response = await serving.http.get(path, headers=upgrade)
    assert response.status_code == 426
    assert response.headers["upgrade"] == "HTTP/1.1"
    assert "HTTP" in error_message(response)
    other = await serving.http.get(
        "/health", headers={"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c"}
    )
    assert other.status_code == 200


@pytest.mark.parametrize("extensions", [{"websocket.http.response": {}}, {}])
async def test_a_websocket_that_a_proxy_accepted_is_refused(serving, extensions):
    sent = []
    scope = {"type": "websocket", "path": responses.PATH, "headers": [], "extensions": extensions}

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    await serving.app(scope, receive, send)
    if extensions:
        assert (sent[0]["type"], sent[0]["status"]) == ("websocket.http.response.start", 426)
    else:
        assert [message["type"] for message in sent] == ["websocket.close"]


async def test_a_model_has_the_fields_that_vllms_have(serving):
    for model in (await serving.http.get("/v1/models")).json()["data"]:
        assert {"id", "object", "created", "owned_by", "root", "parent", "max_model_len"} <= model.keys()
        assert (model["root"], model["parent"]) == (model["id"], None)
        assert model == (await serving.http.get(f"/v1/models/{model['id']}")).json()


async def test_models_come_in_anthropics_form_for_its_clients(serving):
    headers = {"anthropic-version": "2023-06-01"}
    listed = (await serving.http.get("/v1/models", headers=headers)).json()
    assert [model["id"] for model in listed["data"]] == ["frontier", *NAMES]
    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == ("frontier", NAMES[-1], False)
    for model in listed["data"]:
        assert (model["type"], model["display_name"]) == ("model", model["id"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", model["created_at"])
        assert (await serving.http.get(f"/v1/models/{model['id']}", headers=headers)).json() == model
    missing = await serving.http.get("/v1/models/nobody", headers=headers)
    assert (missing.status_code, missing.json()["error"]["type"]) == (404, "not_found_error")


async def test_anthropics_list_comes_in_pages(serving):
    headers, names = {"anthropic-version": "2023-06-01"}, ["frontier", *NAMES]

    async def page(**query):
        listed = (await serving.http.get("/v1/models", headers=headers, params=query)).json()
        return [model["id"] for model in listed["data"]], listed["has_more"]

    assert await page(limit=2) == (names[:2], True)
    assert await page(limit=2, after_id=names[1]) == (names[2:4], True)
    assert await page(limit=2, after_id=names[3]) == (names[4:], False)
    assert await page(limit=2, before_id=names[4]) == (names[2:4], True)
    assert await page(after_id=names[-1]) == ([], False)
    for wrong in ({"limit": 0}, {"limit": 1001}, {"limit": "x"}, {"after_id": "nobody"}):
        assert (await serving.http.get("/v1/models", headers=headers, params=wrong)).status_code == 400


@pytest.mark.parametrize("path", [*BODIES, "/nowhere"])
async def test_every_answer_carries_a_request_id(serving, path):
    sampling = {"json": BODIES.get(path, {})}
    first, second = [(await serving.http.post(path, **sampling)).headers["request-id"] for _ in range(2)]
    assert first != second
    response = await serving.http.post(path, **sampling, headers={"X-Request-ID": "mine-1"})
    assert response.headers["request-id"] == "mine-1"
    odd = await serving.http.post(
        path, **sampling, headers={"X-Request-ID": "not plain\xe9".encode("latin-1")}
    )
    assert odd.headers["request-id"].startswith("req_")
    assert odd.headers["x-content-type-options"] == "nosniff"


async def test_a_stream_carries_a_request_id_and_comes_whole(serving):
    response = await serving.chat(stream=True)
    assert response.headers["request-id"]
    assert response.text.endswith("data: [DONE]\n\n")


async def test_liveness_version_and_load_are_told_as_vllm_does(serving):
    for ping in (await serving.http.get("/ping"), await serving.http.post("/ping")):
        assert (ping.status_code, ping.content) == (200, b"")
    assert {"version", "alpharay"} <= (await serving.http.get("/version")).json().keys()
    assert (await serving.http.get("/load")).json() == {"server_load": 0}
    serving.engines.seconds = dict.fromkeys(NAMES, 5.0)
    asking = asyncio.ensure_future(serving.chat())
    await asyncio.sleep(1)
    assert (await serving.http.get("/load")).json() == {"server_load": 1}
    await asking


@pytest.mark.parametrize(
    ("path", "fields"), [("/tokenize", {"prompt": "a b"}), ("/detokenize", {"tokens": [1, 2]})]
)
async def test_tokens_are_an_engines_to_tell(serving, path, fields):
    for model, dead in (("frontier", {NAMES[0]}), (NAMES[1], set()), (None, {NAMES[0]})):
        own = {} if model is None else {"model": model}
        serving.engines.dead = dead
        serving.engines.faults[NAMES[1]] = [Reply(200, "application/json", b'{"count": 2}')]
        response = await serving.http.post(path, json=fields | own)
        assert (response.status_code, response.json()) == (200, {"count": 2})
        member, sent, _ = serving.engines.calls[-1]
        assert (member, sent) == (NAMES[1], {**fields, "model": NAMES[1]})
    assert (await serving.http.post(path, json={**fields, "model": "nobody"})).status_code == 404
    serving.engines.dead = set(NAMES)
    assert (await serving.http.post(path, json=fields)).status_code == 503


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("TEXT", "TEXT named_metrics.kv_cache_usage_perc=0.25, named_metrics.num_requests_waiting=6.0"),
        ("json", 'JSON {"named_metrics": {"kv_cache_usage_perc": 0.25, "num_requests_waiting": 6.0}}'),
        ("BIN", None),
        (None, None),
    ],
)
async def test_a_balancer_that_asks_is_told_the_load(serving, wanted, expected, stream):
    busy = MemberReport(phase=Phase.UP, instance="first", waiting=3, cache_usage=0.25)
    await serving.cluster_state.report_members("replica", dict.fromkeys(NAMES[:2], busy))
    await serving.server.exchange()
    headers = {} if wanted is None else {"endpoint-load-metrics-format": wanted}
    response = await serving.chat(headers, stream=stream)
    assert response.headers.get("endpoint-load-metrics") == expected
    refused = await serving.chat(headers, model="nobody")
    assert "endpoint-load-metrics" not in refused.headers
