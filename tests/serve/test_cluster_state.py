from types import SimpleNamespace

import pytest

from alpharay.serve.state import metrics
from alpharay.serve.state.cluster_state import (
    SILENT_AFTER_S,
    ClusterState,
    IngressReport,
    JudgeState,
    MemberReport,
    Phase,
)
from alpharay.serve.state.metrics import Counts

from .clock import pass_time

MEMBER, OTHER = "frontier@0", "frontier@1"
LONG = SILENT_AFTER_S + 1


@pytest.fixture
def cluster_state():
    return ClusterState([MEMBER, OTHER])


def up(instance="a", unfinished=0):
    return MemberReport(phase=Phase.UP, instance=instance, unfinished=unfinished)


def down(instance="a"):
    return MemberReport(phase=Phase.DOWN, instance=instance)


async def state(cluster_state, name=MEMBER):
    return (await cluster_state.overview()).members[name]


async def test_members_are_loading_before_anybody_reports(cluster_state):
    status = await state(cluster_state)
    assert (status.phase, status.up) == (Phase.LOADING, 0)


async def test_a_replica_that_falls_silent_is_counted_as_down(cluster_state):
    await cluster_state.report_members("r", {MEMBER: up(), OTHER: up("b")})
    await pass_time(LONG)
    assert (await state(cluster_state)).up == 0
    assert (await state(cluster_state)).phase is Phase.DOWN
    await cluster_state.report_members("r", {MEMBER: up()})
    assert (await state(cluster_state)).up == 1


async def test_a_replica_that_reports_in_time_stays_up(cluster_state):
    for _ in range(5):
        await cluster_state.report_members("r", {MEMBER: up()})
        await pass_time(SILENT_AFTER_S - 1)
    assert (await state(cluster_state)).up == 1


async def test_an_engine_started_anew_is_a_restart(cluster_state):
    await cluster_state.report_members("r", {MEMBER: up("a")})
    assert (await state(cluster_state)).restarts == 0
    await cluster_state.report_members("r", {MEMBER: down("a")})
    await cluster_state.report_members("r", {MEMBER: up("b")})
    assert (await state(cluster_state)).restarts == 1
    assert (await state(cluster_state, OTHER)).restarts == 0


async def test_the_same_engine_reported_again_is_no_restart(cluster_state):
    for _ in range(3):
        await cluster_state.report_members("r", {MEMBER: up("a")})
    assert (await state(cluster_state)).restarts == 0


async def test_a_replaced_replica_counts_as_a_restart_and_not_as_a_second_engine(cluster_state):
    await cluster_state.report_members("r", {MEMBER: up("a")})
    await pass_time(LONG)
    await cluster_state.report_members("s", {MEMBER: up("b")})
    assert ((await state(cluster_state)).up, (await state(cluster_state)).restarts) == (1, 1)


async def test_as_many_engines_as_configured_replicas_are_no_restarts():
    cluster_state = ClusterState([MEMBER])
    await cluster_state.report_members("r", {MEMBER: up("a", 3)})
    await cluster_state.report_members("s", {MEMBER: up("b", 4)})
    status = await state(cluster_state)
    assert (status.up, status.restarts, status.unfinished) == (2, 0, 7)


async def test_an_engine_that_is_loading_is_no_restart(cluster_state):
    await cluster_state.report_members("r", {MEMBER: MemberReport(phase=Phase.LOADING)})
    await cluster_state.report_members("r", {MEMBER: up("a")})
    assert (await state(cluster_state)).restarts == 0


async def test_a_failed_replica_is_told_with_its_reason_even_beside_a_living_one(cluster_state):
    await cluster_state.report_members("r", {MEMBER: up("a")})
    failed = MemberReport(phase=Phase.FAILED, detail="no memory", deployment="member-0-abc")
    await cluster_state.report_members("s", {MEMBER: failed})
    reported = await state(cluster_state)
    assert (reported.phase, reported.detail, reported.up) == (Phase.FAILED, "no memory", 1)
    assert (await cluster_state.overview()).failed == {"member-0-abc": (MEMBER, "no memory")}
    await pass_time(LONG)
    assert not (await cluster_state.overview()).failed


async def test_the_judge_has_not_started_before_it_reports(cluster_state):
    assert (await cluster_state.overview()).judge.detail == "the judge has not started yet"


async def test_a_judge_that_falls_silent_is_told(cluster_state):
    await cluster_state.report_judge("one", JudgeState(layer="full", queue_depth=3))
    assert (await cluster_state.overview()).judge.queue_depth == 3
    await pass_time(LONG)
    assert (await cluster_state.overview()).judge == JudgeState(detail="the judge does not answer")


async def test_several_judges_are_up_while_one_is_and_their_queues_add_up(cluster_state):
    await cluster_state.report_judge("failing", JudgeState(failed=True, detail="no sandbox"))
    assert (await cluster_state.overview()).judge.failed
    await cluster_state.report_judge("one", JudgeState(layer="full", queue_depth=3))
    await cluster_state.report_judge("other", JudgeState(layer="full", queue_depth=4))
    assert (await cluster_state.overview()).judge == JudgeState(layer="full", queue_depth=7)
    await pass_time(LONG)
    await cluster_state.report_judge("other", JudgeState(layer="landlock", queue_depth=1))
    assert (await cluster_state.overview()).judge == JudgeState(layer="landlock", queue_depth=1)


def counted(requests):
    counts = Counts()
    counts.requests.labels("chat", "ok").inc(requests)
    return counts.snapshot()


def total(overview):
    return sum(
        value
        for (name, _), value in overview.counted["alpharay_requests"][2].items()
        if name.endswith("_total")
    )


async def test_an_exchange_gives_back_what_the_others_counted(cluster_state):
    await cluster_state.exchange("i", IngressReport(counted=counted(3)))
    assert total(await cluster_state.exchange("j", IngressReport(counted=counted(4)))) == 3
    assert total(await cluster_state.overview()) == 7


async def test_a_later_report_replaces_the_earlier_one_of_the_same_ingress(cluster_state):
    await cluster_state.exchange("i", IngressReport(counted=counted(3)))
    await cluster_state.exchange("i", IngressReport(counted=counted(5)))
    assert total(await cluster_state.overview()) == 5


async def test_what_a_lost_ingress_counted_stays_in_the_sum(cluster_state):
    await cluster_state.exchange("i", IngressReport(counted=counted(3)))
    await pass_time(LONG)
    await cluster_state.exchange("j", IngressReport(counted=counted(1)))
    assert total(await cluster_state.overview()) == 4


async def test_a_drain_is_told_at_the_next_exchange(cluster_state):
    assert (await cluster_state.exchange("i", IngressReport())).drain_s is None
    await cluster_state.drain(30)
    assert (await cluster_state.exchange("i", IngressReport())).drain_s == 30


async def test_it_is_drained_once_every_living_ingress_is(cluster_state):
    await cluster_state.exchange("lost", IngressReport(in_flight=3))
    await cluster_state.drain(30)
    await pass_time(120)
    await cluster_state.exchange("i", IngressReport(draining=True, in_flight=1))
    await cluster_state.exchange("j", IngressReport(draining=True))
    assert not (await cluster_state.overview()).drained
    await cluster_state.exchange("i", IngressReport(draining=True))
    assert (await cluster_state.overview()).drained


async def test_an_ingress_that_is_held_up_is_not_drained(cluster_state):
    await cluster_state.drain(30)
    await cluster_state.exchange("busy", IngressReport(draining=True, in_flight=3))
    await pass_time(LONG)
    assert not (await cluster_state.overview()).drained


async def test_an_ingress_that_has_not_heard_of_the_drain_is_not_drained(cluster_state):
    await cluster_state.drain(30)
    assert not (await cluster_state.exchange("i", IngressReport())).drained


async def test_a_lineup_is_told_to_those_who_have_an_earlier_one(cluster_state):
    assert await cluster_state.announced(0) is None
    revision = SimpleNamespace(number=2)
    await cluster_state.announce(revision)
    assert [await cluster_state.announced(number) for number in (0, 1, 2)] == [revision, revision, None]


async def test_it_is_settled_when_nobody_answers_with_an_earlier_lineup_any_more(cluster_state):
    assert not await cluster_state.settled(1)
    await cluster_state.exchange("early", IngressReport(in_flight=1))
    await cluster_state.exchange("late", IngressReport(revision=1))
    assert not await cluster_state.settled(1)
    await cluster_state.exchange("early", IngressReport(draining=True))
    assert await cluster_state.settled(1)
    assert not await cluster_state.settled(2)


async def test_a_lost_ingress_does_not_keep_a_lineup_from_settling(cluster_state):
    await cluster_state.exchange("lost", IngressReport(in_flight=3))
    await pass_time(120)
    await cluster_state.exchange("i", IngressReport(revision=1))
    assert await cluster_state.settled(1)


async def restarts(cluster_state):
    return (await state(cluster_state)).restarts


async def test_replicas_that_are_added_and_taken_away_are_no_restarts(cluster_state):
    await cluster_state.report_members("stays", {MEMBER: up("a")})
    for number in range(4):
        await cluster_state.report_members(f"more{number}", {MEMBER: up(f"b{number}")})
        await pass_time(LONG)
        await cluster_state.report_members("stays", {MEMBER: up("a")})
        await cluster_state.leave(f"more{number}")
        await cluster_state.report_members(f"more{number}", {MEMBER: up(f"b{number}")})  # sent before it left
        assert ((await state(cluster_state)).up, await restarts(cluster_state)) == (1, 0)


async def test_a_replica_that_is_lost_counts_as_a_restart_once_it_is_replaced(cluster_state):
    await cluster_state.report_members("stays", {MEMBER: up("a")})
    await cluster_state.report_members("lost", {MEMBER: up("b")})
    await pass_time(LONG)
    await cluster_state.report_members("stays", {MEMBER: up("a")})
    assert await restarts(cluster_state) == 0
    for phase in (MemberReport(phase=Phase.LOADING), up("c")):
        await cluster_state.report_members("successor", {MEMBER: phase})
    assert await restarts(cluster_state) == 1
    await cluster_state.report_members("more", {MEMBER: up("d")})
    assert await restarts(cluster_state) == 1
    await cluster_state.report_members("successor", {MEMBER: up("e")})
    assert await restarts(cluster_state) == 2
    await cluster_state.leave("successor")
    await cluster_state.report_members("lost", {MEMBER: up("b")})
    assert await restarts(cluster_state) == 2


async def test_what_failed_in_any_replica_is_counted_for_all(cluster_state):
    await cluster_state.report_members("r", {MEMBER: up("a")}, {"host reports": 2})
    await cluster_state.report_members("s", {OTHER: up("b")}, {"host reports": 1})
    await cluster_state.report_judge("j", JudgeState(layer="full"), {"judge lane": 4})
    await cluster_state.report_judge("j", JudgeState(layer="full"), {"judge lane": 5})
    await cluster_state.leave("s")
    page = metrics.page((await cluster_state.overview()).counted, []).decode()
    assert 'alpharay_task_failures_total{task="host reports"} 3.0' in page
    assert 'alpharay_task_failures_total{task="judge lane"} 5.0' in page
