"""`/v1/checkpoints`: an admin moves the server to other checkpoints and follows the change."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import yaml

from alpharay.serve import config as configuration
from alpharay.serve.cli.main import main
from alpharay.serve.cluster import rollout
from alpharay.serve.cluster.rollout import Rolling
from alpharay.serve.errors import StartFailed
from alpharay.serve.gateway.ingress import Ingress
from alpharay.serve.gateway.routes.checkpoints import PATH
from alpharay.serve.span import AdapterCheckpoint
from alpharay.serve.state import keys
from alpharay.serve.state.changes import Change, ChangePhase, Changes, Order
from alpharay.serve.state.cluster_state import ClusterState, MemberReport, Phase
from alpharay.serve.state.engine_spec import CheckpointWeights, EngineSpec
from alpharay.serve.state.revision import AnnouncedRevision, Revision, with_checkpoints

from .clock import pass_time
from .fakes import NAMES, Call, FakeEngines, FakeJudging, Handle, ReplicaHandle, config, served_members


def keys_file(folder, **admins):
    """The file of those keys, and each key's headers."""
    made = {name: keys.make(name, admin=admin) for name, admin in admins.items()}
    path = folder / "keys.yaml"
    path.write_text(yaml.safe_dump([entry.model_dump(exclude_defaults=True) for _, entry in made.values()]))
    return path, {name: {"Authorization": f"Bearer {key}"} for name, (key, _) in made.items()}


@pytest.fixture
async def guarded(serve, tmp_path):
    path, headers = keys_file(tmp_path, root=True, alice=False)
    serving = await serve(server={"api_keys_file": str(path)})
    serving.root, serving.alice = headers["root"], headers["alice"]
    return serving


async def begun(cluster_state):
    """The order, as soon as `alpharay serve` would find it."""
    for _ in range(100):
        if (order := await cluster_state.pending_order()) is not None:
            return order
        await pass_time(0.1)
    pytest.fail("nothing was ordered")


def post(serving, body, *, wait=False, headers=None):
    path = f"{PATH}?wait=true" if wait else PATH
    return asyncio.ensure_future(serving.http.post(path, json=body, headers=headers or serving.root))


async def test_only_an_admin_key_may_look_or_change(guarded):
    for headers, status in ((None, 401), (guarded.alice, 403)):
        for answer in (
            await guarded.http.get(PATH, headers=headers),
            await guarded.http.post(PATH, json={"high": "/new"}, headers=headers),
        ):
            assert answer.status_code == status
    assert await guarded.cluster_state.pending_order() is None


async def test_a_server_without_keys_refuses_everybody_and_says_the_way_out(serving):
    answer = await serving.http.post(PATH, json={"high": "/new"})
    assert answer.status_code == 403
    assert "api_keys_file" in answer.json()["error"]["message"]
    assert "alpharay keys NAME --admin" in answer.json()["error"]["message"]


def test_a_key_is_an_admins_only_where_that_was_asked(capsys):
    for flags, admin in (([], None), (["--admin"], True)):
        assert main(["keys", "alice", *flags]) == 0
        assert yaml.safe_load(capsys.readouterr().out)[0].get("admin") is admin


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "at least one checkpoint"),
        ({"hihg": "/new"}, "there is no checkpoint 'hihg'; did you mean 'high'?"),
        ({"high": "new"}, "must be the absolute path"),
        ({"high": 3}, "must be the absolute path"),
    ],
)
async def test_what_cannot_be_an_order_is_refused_at_once(guarded, body, says):
    answer = await post(guarded, body)
    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]
    assert await guarded.cluster_state.pending_order() is None


async def test_an_order_is_answered_when_it_has_begun_and_can_be_followed(guarded):
    asking = post(guarded, {"high": "/new"})
    order = await begun(guarded.cluster_state)
    assert dict(order.checkpoints) == {"high": Path("/new")}
    change = Change(id=order.id, phase=ChangePhase.CHECKING, checkpoints=order.checkpoints)
    await guarded.cluster_state.report_change(change)
    await pass_time(2)
    assert not asking.done()
    change = replace(change, phase=ChangePhase.MOVING, hosts=5, moved=2, message="starting engines")
    await guarded.cluster_state.report_change(change)
    answer = await asking
    assert (answer.status_code, answer.json()["state"]) == (202, "moving")
    listed = (await guarded.http.get(PATH, headers=guarded.root)).json()
    assert listed["checkpoints"] == {"low": "/low", "high": "/high"}
    assert listed["members"] == {member.name: member.sha256 for member in guarded.members}
    (listed_change,) = listed["changes"]
    assert listed_change["id"] == answer.json()["id"]
    assert (listed_change["progress"], listed_change["message"]) == (
        {"moved": 2, "hosts": 5},
        "starting engines",
    )


async def test_with_wait_the_answer_comes_when_the_change_is_over(guarded):
    asking = post(guarded, {"high": "/new"}, wait=True)
    order = await begun(guarded.cluster_state)
    await guarded.cluster_state.report_change(Change(id=order.id, phase=ChangePhase.MOVING))
    await pass_time(600)
    assert not asking.done()
    await guarded.cluster_state.report_change(Change(id=order.id, phase=ChangePhase.DONE))
    answer = await asking
    assert (answer.status_code, answer.json()["state"]) == (200, "done")


async def test_a_change_is_followed_as_an_event_stream_to_its_end(guarded):
    asking = post(guarded, {"high": "/new"}, wait=True)
    order = await begun(guarded.cluster_state)
    headers = {**guarded.root, "Accept": "text/event-stream"}
    following = asyncio.ensure_future(guarded.http.get(f"{PATH}?change={order.id}", headers=headers))
    everybody = Call(guarded.app, b"", path=PATH, method="GET", headers=headers)
    steps = [
        Change(id=order.id, phase=ChangePhase.MOVING, hosts=2, message="starting engines"),
        Change(id=order.id, phase=ChangePhase.MOVING, hosts=2, moved=1),
        Change(id=order.id, phase=ChangePhase.FAILED, hosts=2, moved=1, error="an engine did not start"),
    ]
    for step in steps:
        await pass_time(60)
        await guarded.cluster_state.report_change(step)
    answer = await following
    assert answer.headers["content-type"].startswith("text/event-stream")
    seen = [
        (event["state"], event["progress"]["moved"], event["error"])
        for event in map(json.loads, re.findall("^data: (.*)$", answer.text, re.MULTILINE))
    ]
    assert seen == [
        ("waiting", 0, None),
        ("moving", 0, None),
        ("moving", 1, None),
        ("failed", 1, "an engine did not start"),
    ]
    assert answer.text.count(": keep-alive") >= 3
    assert (await asking).status_code == 409
    await pass_time(60)
    assert everybody.text.count("data: ") == 4
    assert not everybody.task.done()
    await pass_time(600)
    assert everybody.task.done()  # after ten minutes a client connects again
    unknown = await guarded.http.get(f"{PATH}?change=none", headers=headers)
    assert unknown.status_code == 404
    assert (
        await guarded.http.get(PATH, headers={**guarded.alice, "Accept": headers["Accept"]})
    ).status_code == 403


async def test_a_stream_of_a_change_that_was_lost_with_the_cluster_state_ends(guarded):
    asking = post(guarded, {"high": "/new"}, wait=True)
    order = await begun(guarded.cluster_state)
    headers = {**guarded.root, "Accept": "text/event-stream"}
    following = asyncio.ensure_future(guarded.http.get(f"{PATH}?change={order.id}", headers=headers))
    await pass_time(60)
    assert not following.done()
    guarded.cluster_state._changes._changes.clear()
    await pass_time(60)
    assert (await following).text.count("data: ") == 1
    assert (await asking).status_code == 503


@pytest.mark.parametrize(
    ("phase", "wait", "status"),
    [(ChangePhase.REFUSED, False, 400), (ChangePhase.REFUSED, True, 400), (ChangePhase.FAILED, True, 409)],
)
async def test_what_does_not_fit_or_fails_is_one_clear_error(guarded, phase, wait, status):
    asking = post(guarded, {"high": "/new"}, wait=wait)
    order = await begun(guarded.cluster_state)
    await guarded.cluster_state.report_change(Change(id=order.id, phase=phase, error="/new: no such folder"))
    answer = await asking
    assert (answer.status_code, answer.json()["error"]["message"]) == (status, "/new: no such folder")


async def test_a_second_order_is_refused_until_the_first_is_over(guarded):
    first = post(guarded, {"high": "/new"}, wait=True)
    order = await begun(guarded.cluster_state)
    second = await post(guarded, {"high": "/newer"})
    assert (second.status_code, second.json()["error"]["code"]) == (409, "change_under_way")
    await guarded.cluster_state.report_change(Change(id=order.id, phase=ChangePhase.DONE))
    await first
    third = post(guarded, {"high": "/newer"})
    order = await begun(guarded.cluster_state)
    await guarded.cluster_state.report_change(Change(id=order.id, phase=ChangePhase.PREPARING))
    assert (await third).status_code == 202


async def test_an_order_that_is_lost_with_the_cluster_state_is_said_to_be(guarded):
    asking = post(guarded, {"high": "/new"}, wait=True)
    await begun(guarded.cluster_state)
    guarded.handle.actor = ClusterState(list(NAMES))
    answer = await asking
    assert answer.status_code == 503
    assert "the order was lost" in answer.json()["error"]["message"]


async def test_a_change_is_waited_for_while_the_cluster_state_cannot_be_reached(guarded):
    asking = post(guarded, {"high": "/new"}, wait=True)
    order = await begun(guarded.cluster_state)
    guarded.handle.away = True
    await pass_time(5)
    assert not asking.done()
    guarded.handle.away = False
    await guarded.cluster_state.report_change(Change(id=order.id, phase=ChangePhase.DONE))
    assert (await asking).status_code == 200


async def test_an_order_that_nobody_would_follow_is_refused(guarded):
    await pass_time(60)  # and nobody looks for orders
    answer = await post(guarded, {"high": "/new"})
    assert answer.status_code == 503
    assert "no process of `alpharay serve`" in answer.json()["error"]["message"]
    assert await guarded.cluster_state.changes() == ()


async def test_a_client_that_leaves_does_not_end_the_change(guarded):
    asking = post(guarded, {"high": "/new"}, wait=True)
    await begun(guarded.cluster_state)
    asking.cancel()
    assert await guarded.cluster_state.pending_order() is not None


async def test_the_openapi_description_tells_of_waiting_and_of_each_status(serving):
    described = (await serving.http.get("/openapi.json")).json()["paths"][PATH]
    assert [parameter["name"] for parameter in described["post"]["parameters"]] == ["wait"]
    assert described["post"]["responses"].keys() >= {"200", "202", "400", "401", "403", "409", "503"}
    assert described["get"]["responses"].keys() >= {"200", "401", "403", "503"}


def test_an_order_waits_until_somebody_reports_of_it():
    changes = Changes()
    order = Order(id="a", checkpoints={})
    changes.ask(order)
    assert changes.pending() == changes.pending() == order
    changes.report(Change(id="a", phase=ChangePhase.CHECKING))
    assert changes.pending() is None


def test_only_the_latest_changes_are_kept():
    changes = Changes()
    for number in range(20):
        changes.report(Change(id=str(number), phase=ChangePhase.DONE))
    assert [change.id for change in changes.latest()] == [str(number) for number in range(12, 20)]


class Bare(Ingress):
    def __del__(self):
        pass


async def test_who_waits_for_a_change_does_not_hold_it_up(tmp_path):
    path, headers = keys_file(tmp_path, root=True)
    cluster_state = ClusterState(list(NAMES))
    await cluster_state.report_members("r", dict.fromkeys(NAMES, MemberReport(phase=Phase.UP, instance="i")))
    served = config(server={"api_keys_file": str(path)})
    hosts = dict.fromkeys(NAMES, ReplicaHandle(FakeEngines(), "sample"))
    ingress = object.__new__(Bare)
    await ingress.__init__(
        served, served_members(), hosts, FakeJudging(), Handle(cluster_state), lambda _: "127.0.0.1"
    )
    transport = httpx.ASGITransport(app=ingress.__serve_build_asgi_app__(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://frontier") as http:
        serving = SimpleNamespace(http=http, root=headers["root"])
        asking = [
            asyncio.ensure_future(http.post(f"{PATH}//?wait=1", json={"low": "/n"}, headers=serving.root))
        ]
        order = await begun(cluster_state)
        revision = AnnouncedRevision(number=1, config=served, members=served_members(), hosts=hosts)
        await cluster_state.announce(revision)
        await pass_time(5)
        assert await cluster_state.settled(1)
        await cluster_state.report_change(Change(id=order.id, phase=ChangePhase.DONE))
        assert (await asking[0]).status_code == 200
    await Ingress.__del__(ingress)


def test_each_form_of_naming_checkpoints_takes_other_folders():
    new = Path("/new")
    ends = with_checkpoints(config(), {"high": new})
    assert ends.named_checkpoints == {"low": Path("/low"), "high": new}
    adapters = {"base": "/b", "low": "/l", "high": "/h"}
    made = with_checkpoints(config(endpoints=None, adapters=adapters, hosting="adapters"), {"low": new})
    assert (made.adapters.low, made.adapters.high) == (new, Path("/h"))
    named = {"low": "/l", "high": {"adapter": "/a", "base": "low"}}
    updated = with_checkpoints(config(endpoints=None, checkpoints=named), {"high": new, "low": Path("/m")})
    assert updated.checkpoints == {"low": Path("/m"), "high": AdapterCheckpoint(adapter=new, base="low")}


@pytest.fixture
def rolling(monkeypatch):
    """A server of the embedded checkpoints whose calls to the cluster state are recorded: `reports` are the reported changes."""
    reports: list[Change] = []
    configured = configuration.load(None)
    members = tuple(
        replace(member, name=f"{configured.name}@{member.alpha:g}") for member in served_members()
    )
    specs = tuple(
        EngineSpec(members=(member.name,), weights=CheckpointWeights(checkpoint=Path("/old")))
        for member in members
    )

    def ask(method, *arguments, timeout_s=60):
        del timeout_s
        if method == "report_change":
            reports.append(arguments[0])

    monkeypatch.setattr(rollout, "ask_cluster_state", ask)
    revision = Revision(config=configured, members=members, specs=specs)
    made = Rolling(revision, configured, lambda: configured, lambda _: None)
    made.reports = reports
    return made


def ordered(rolling, **checkpoints):
    rolling.start(Order(id="a", checkpoints={name: Path(folder) for name, folder in checkpoints.items()}))
    rolling._thread.join()
    return rolling.reports[-1]


def test_a_missing_folder_is_refused_before_anything_is_begun(rolling, tmp_path):
    before = rolling.revision
    last = ordered(rolling, high=tmp_path / "nowhere")
    assert [change.phase for change in rolling.reports] == [ChangePhase.CHECKING, ChangePhase.REFUSED]
    assert "nowhere" in last.error
    assert "what is served stays as it is" in last.error
    assert rolling.revision is before


def test_a_checkpoint_of_another_architecture_is_refused_before_anything_is_begun(rolling, tmp_path):
    high = rolling.configured.named_checkpoints["high"]
    other = tmp_path / "other"
    other.mkdir()
    for file in high.iterdir():
        (other / file.name).symlink_to(file)
    weights = (other / "model.safetensors").read_bytes()
    (other / "model.safetensors").unlink()
    (other / "model.safetensors").write_bytes(
        weights.replace(b"embed_tokens.weight", b"embed_others.weight", 1)
    )
    last = ordered(rolling, high=other)
    assert last.phase is ChangePhase.REFUSED
    assert "embed_tokens.weight" in last.error


def test_a_change_that_fails_later_says_what_is_served(rolling, monkeypatch):
    def fail(_config, say):
        say("merging")
        raise StartFailed("no space left")

    monkeypatch.setattr(rollout, "prepare", fail)
    last = ordered(rolling, high=rolling.configured.named_checkpoints["high"])
    assert (last.phase, last.message) == (ChangePhase.FAILED, "merging")
    assert last.error == "no space left; what is served stays as it is"


def test_checkpoints_that_are_served_already_change_nothing(rolling, monkeypatch):
    revision = rolling.revision
    monkeypatch.setattr(rollout, "prepare", lambda _config, _say: (revision.members, revision.specs))
    last = ordered(rolling, high=rolling.configured.named_checkpoints["high"])
    assert (last.phase, last.message) == (ChangePhase.DONE, "nothing has changed")


def test_a_configuration_that_is_read_again_is_reported_as_an_order_is(rolling, monkeypatch):
    revision = rolling.revision
    monkeypatch.setattr(rollout, "prepare", lambda _config, _say: (revision.members, revision.specs))
    rolling.start()
    rolling._thread.join()
    assert [change.phase for change in rolling.reports][-1] is ChangePhase.DONE
    assert rolling.reports[-1].checkpoints == {}
