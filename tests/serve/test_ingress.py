"""One ingress replica over a change of what is served: each request belongs to one revision from start to end."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import httpx
import pytest

from alpharay.serve.dialects import chat
from alpharay.serve.gateway.ingress import Ingress
from alpharay.serve.gateway.server import Server
from alpharay.serve.state.cluster_state import ClusterState, MemberReport, Phase
from alpharay.serve.state.revision import AnnouncedRevision

from .clock import pass_time
from .fakes import NAMES, FakeEngines, FakeJudging, Handle, ReplicaHandle, config, question, served_members


class EngineReplica(ReplicaHandle):
    """The handle of a deployment whose engines are fakes."""

    def __init__(self):
        self.engines = FakeEngines()
        super().__init__(self.engines, "sample")


class Bare(Ingress):
    """Closed by its test, and not once more by the collector."""

    def __del__(self):
        pass


@pytest.fixture
async def changing():
    """The ingress replica, its client, the cluster state, and of the old and the new revision the host and the members."""
    cluster_state = ClusterState(list(NAMES))
    up = MemberReport(phase=Phase.UP, instance="first")
    await cluster_state.report_members("replica", dict.fromkeys(NAMES, up))
    old = served_members()
    new = tuple(replace(member, sha256=f"{number:064x}") for number, member in enumerate(old, 100))
    hosts = EngineReplica(), EngineReplica()
    ingress = object.__new__(Bare)
    hosts_of = dict.fromkeys(NAMES, hosts[0])
    await ingress.__init__(
        config(), old, hosts_of, FakeJudging(), Handle(cluster_state), lambda _: "127.0.0.1"
    )
    transport = httpx.ASGITransport(app=ingress.__serve_build_asgi_app__(), raise_app_exceptions=False)
    revision = AnnouncedRevision(number=1, config=config(), members=new, hosts=dict.fromkeys(NAMES, hosts[1]))
    async with httpx.AsyncClient(transport=transport, base_url="http://frontier") as http:
        yield SimpleNamespace(
            http=http, cluster_state=cluster_state, hosts=hosts, old=old, new=new, revision=revision
        )
    await Ingress.__del__(ingress)


async def checkpoint(changing, **body):
    answer = await changing.http.post(chat.PATH, json=question(model=NAMES[0], **body))
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["alpharay"]["checkpoint"]


async def test_a_request_ends_with_the_lineup_that_it_began_with(changing):
    changing.hosts[0].engines.seconds[NAMES[0]] = 7.0
    early = asyncio.ensure_future(checkpoint(changing))
    await pass_time(1)
    await changing.cluster_state.announce(changing.revision)
    await pass_time(3)
    assert await checkpoint(changing) == changing.new[0].sha256
    assert not await changing.cluster_state.settled(1)
    assert await early == changing.old[0].sha256
    await pass_time(5)
    assert await changing.cluster_state.settled(1)
    assert [len(host.engines.calls) for host in changing.hosts] == [1, 1]


async def test_the_models_and_their_metrics_are_the_new_ones(changing):
    await changing.cluster_state.announce(changing.revision)
    await pass_time(5)
    models = (await changing.http.get("/v1/models")).json()["data"]
    assert [model["alpharay"].get("checkpoint") for model in models] == [
        None,
        *(m.sha256 for m in changing.new),
    ]
    page = (await changing.http.get("/metrics")).text
    assert changing.new[0].sha256 in page
    assert changing.old[0].sha256 not in page


async def test_what_was_counted_before_the_change_stays_counted(changing):
    await checkpoint(changing)
    await changing.cluster_state.announce(changing.revision)
    await pass_time(5)
    await checkpoint(changing)
    page = (await changing.http.get("/metrics")).text
    assert 'alpharay_requests_total{endpoint="chat",outcome="ok"} 2.0' in page


async def test_it_is_ready_all_the_while(changing):
    await pass_time(2)
    await changing.cluster_state.announce(changing.revision)
    for _ in range(8):
        assert (await changing.http.get("/ready")).status_code == 200
        await pass_time(0.5)


async def test_a_drain_after_a_change_ends_at_once(changing):
    await changing.cluster_state.announce(changing.revision)
    await pass_time(5)
    await changing.cluster_state.drain(30)
    await pass_time(5)
    assert (await changing.cluster_state.overview()).drained


async def test_a_fault_in_a_task_of_the_ingress_is_counted_and_ends_nothing(changing, monkeypatch):
    faults = {"exchange": 1, "_follow": 1}

    def once_bad(cls, name):
        method = getattr(cls, name)

        async def run(self):
            if faults[name]:
                faults[name] -= 1
                raise SystemError(name)
            return await method(self)

        monkeypatch.setattr(cls, name, run)

    once_bad(Server, "exchange")
    once_bad(Ingress, "_follow")
    await pass_time(5)
    await changing.cluster_state.announce(changing.revision)
    await pass_time(5)
    assert await checkpoint(changing) == changing.new[0].sha256
    assert faults == {"exchange": 0, "_follow": 0}
    assert 'task="ingress reports"} 1.0' in (await changing.http.get("/metrics")).text
