from types import SimpleNamespace

import pytest

from alpharay.serve import metrics
from alpharay.serve.hub import SILENT_AFTER_S, Hub, IngressReport, JudgeState, MemberReport, Phase
from alpharay.serve.metrics import Counts

from .clock import pass_time

ONE, OTHER = "frontier@0", "frontier@1"
LONG = SILENT_AFTER_S + 1


@pytest.fixture
def hub():
    return Hub([ONE, OTHER])


def up(instance="a", unfinished=0):
    return MemberReport(phase=Phase.UP, instance=instance, unfinished=unfinished)


def down(instance="a"):
    return MemberReport(phase=Phase.DOWN, instance=instance)


async def state(hub, name=ONE):
    return (await hub.overview()).members[name]


async def test_members_are_loading_before_anybody_reports(hub):
    found = await state(hub)
    assert (found.phase, found.up) == (Phase.LOADING, 0)


async def test_a_replica_that_falls_silent_is_counted_as_down(hub):
    await hub.report_members("r", {ONE: up(), OTHER: up("b")})
    await pass_time(LONG)
    assert (await state(hub)).up == 0
    assert (await state(hub)).phase is Phase.DOWN
    await hub.report_members("r", {ONE: up()})
    assert (await state(hub)).up == 1


async def test_a_replica_that_reports_in_time_stays_up(hub):
    for _ in range(5):
        await hub.report_members("r", {ONE: up()})
        await pass_time(SILENT_AFTER_S - 1)
    assert (await state(hub)).up == 1


async def test_an_engine_started_anew_is_a_restart(hub):
    await hub.report_members("r", {ONE: up("a")})
    assert (await state(hub)).restarts == 0
    await hub.report_members("r", {ONE: down("a")})
    await hub.report_members("r", {ONE: up("b")})
    assert (await state(hub)).restarts == 1
    assert (await state(hub, OTHER)).restarts == 0


async def test_the_same_engine_reported_again_is_no_restart(hub):
    for _ in range(3):
        await hub.report_members("r", {ONE: up("a")})
    assert (await state(hub)).restarts == 0


async def test_a_replaced_replica_counts_as_a_restart_and_not_as_a_second_engine(hub):
    await hub.report_members("r", {ONE: up("a")})
    await pass_time(LONG)
    await hub.report_members("s", {ONE: up("b")})
    assert ((await state(hub)).up, (await state(hub)).restarts) == (1, 1)


async def test_as_many_engines_as_configured_replicas_are_no_restarts():
    hub = Hub([ONE])
    await hub.report_members("r", {ONE: up("a", 3)})
    await hub.report_members("s", {ONE: up("b", 4)})
    found = await state(hub)
    assert (found.up, found.restarts, found.unfinished) == (2, 0, 7)


async def test_an_engine_that_is_loading_is_no_restart(hub):
    await hub.report_members("r", {ONE: MemberReport(phase=Phase.LOADING)})
    await hub.report_members("r", {ONE: up("a")})
    assert (await state(hub)).restarts == 0


async def test_a_failed_replica_is_told_with_its_reason_even_beside_a_living_one(hub):
    await hub.report_members("r", {ONE: up("a")})
    await hub.report_members("s", {ONE: MemberReport(phase=Phase.FAILED, detail="no memory")})
    found = await state(hub)
    assert (found.phase, found.detail, found.up) == (Phase.FAILED, "no memory", 1)


async def test_the_judge_has_not_started_before_it_reports(hub):
    assert (await hub.overview()).judge.detail == "the judge has not started yet"


async def test_a_judge_that_falls_silent_is_told(hub):
    await hub.report_judge("one", JudgeState(layer="full", queue_depth=3))
    assert (await hub.overview()).judge.queue_depth == 3
    await pass_time(LONG)
    assert (await hub.overview()).judge == JudgeState(detail="the judge does not answer")


async def test_several_judges_are_up_while_one_is_and_their_queues_add_up(hub):
    await hub.report_judge("failing", JudgeState(failed=True, detail="no sandbox"))
    assert (await hub.overview()).judge.failed
    await hub.report_judge("one", JudgeState(layer="full", queue_depth=3))
    await hub.report_judge("other", JudgeState(layer="full", queue_depth=4))
    assert (await hub.overview()).judge == JudgeState(layer="full", queue_depth=7)
    await pass_time(LONG)
    await hub.report_judge("other", JudgeState(layer="landlock", queue_depth=1))
    assert (await hub.overview()).judge == JudgeState(layer="landlock", queue_depth=1)


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


async def test_an_exchange_gives_back_what_the_others_counted(hub):
    await hub.exchange("i", IngressReport(counted=counted(3)))
    assert total(await hub.exchange("j", IngressReport(counted=counted(4)))) == 3
    assert total(await hub.overview()) == 7


async def test_a_later_report_replaces_the_earlier_one_of_the_same_ingress(hub):
    await hub.exchange("i", IngressReport(counted=counted(3)))
    await hub.exchange("i", IngressReport(counted=counted(5)))
    assert total(await hub.overview()) == 5


async def test_what_a_lost_ingress_counted_stays_in_the_sum(hub):
    await hub.exchange("i", IngressReport(counted=counted(3)))
    await pass_time(LONG)
    await hub.exchange("j", IngressReport(counted=counted(1)))
    assert total(await hub.overview()) == 4


async def test_a_drain_is_told_at_the_next_exchange(hub):
    assert (await hub.exchange("i", IngressReport())).drain_s is None
    await hub.drain(30)
    assert (await hub.exchange("i", IngressReport())).drain_s == 30


async def test_it_is_drained_once_every_living_ingress_is(hub):
    await hub.exchange("lost", IngressReport(in_flight=3))
    await hub.drain(30)
    await pass_time(120)
    await hub.exchange("i", IngressReport(draining=True, in_flight=1))
    await hub.exchange("j", IngressReport(draining=True))
    assert not (await hub.overview()).drained
    await hub.exchange("i", IngressReport(draining=True))
    assert (await hub.overview()).drained


async def test_an_ingress_that_is_held_up_is_not_drained(hub):
    await hub.drain(30)
    await hub.exchange("busy", IngressReport(draining=True, in_flight=3))
    await pass_time(LONG)
    assert not (await hub.overview()).drained


async def test_an_ingress_that_has_not_heard_of_the_drain_is_not_drained(hub):
    await hub.drain(30)
    assert not (await hub.exchange("i", IngressReport())).drained


async def test_a_lineup_is_told_to_those_who_have_an_earlier_one(hub):
    assert await hub.announced(0) is None
    lineup = SimpleNamespace(number=2)
    await hub.announce(lineup)
    assert [await hub.announced(number) for number in (0, 1, 2)] == [lineup, lineup, None]


async def test_it_is_settled_when_nobody_answers_with_an_earlier_lineup_any_more(hub):
    assert not await hub.settled(1)
    await hub.exchange("early", IngressReport(in_flight=1))
    await hub.exchange("late", IngressReport(lineup=1))
    assert not await hub.settled(1)
    await hub.exchange("early", IngressReport(draining=True))
    assert await hub.settled(1)
    assert not await hub.settled(2)


async def test_a_lost_ingress_does_not_keep_a_lineup_from_settling(hub):
    await hub.exchange("lost", IngressReport(in_flight=3))
    await pass_time(120)
    await hub.exchange("i", IngressReport(lineup=1))
    assert await hub.settled(1)


async def restarts(hub):
    return (await state(hub)).restarts


async def test_replicas_that_are_added_and_taken_away_are_no_restarts(hub):
    await hub.report_members("stays", {ONE: up("a")})
    for number in range(4):
        await hub.report_members(f"more{number}", {ONE: up(f"b{number}")})
        await pass_time(LONG)
        await hub.report_members("stays", {ONE: up("a")})
        await hub.leave(f"more{number}")
        await hub.report_members(f"more{number}", {ONE: up(f"b{number}")})  # sent before it left
        assert ((await state(hub)).up, await restarts(hub)) == (1, 0)


async def test_a_replica_that_is_lost_counts_as_a_restart_once_it_is_replaced(hub):
    await hub.report_members("stays", {ONE: up("a")})
    await hub.report_members("lost", {ONE: up("b")})
    await pass_time(LONG)
    await hub.report_members("stays", {ONE: up("a")})
    assert await restarts(hub) == 0
    for phase in (MemberReport(phase=Phase.LOADING), up("c")):
        await hub.report_members("successor", {ONE: phase})
    assert await restarts(hub) == 1
    await hub.report_members("more", {ONE: up("d")})
    assert await restarts(hub) == 1
    await hub.report_members("successor", {ONE: up("e")})
    assert await restarts(hub) == 2
    await hub.leave("successor")
    await hub.report_members("lost", {ONE: up("b")})
    assert await restarts(hub) == 2


async def test_what_failed_in_any_replica_is_counted_for_all(hub):
    await hub.report_members("r", {ONE: up("a")}, {"host reports": 2})
    await hub.report_members("s", {OTHER: up("b")}, {"host reports": 1})
    await hub.report_judge("j", JudgeState(layer="full"), {"judge lane": 4})
    await hub.report_judge("j", JudgeState(layer="full"), {"judge lane": 5})
    await hub.leave("s")
    page = metrics.page((await hub.overview()).counted, []).decode()
    assert 'alpharay_task_failures_total{task="host reports"} 3.0' in page
    assert 'alpharay_task_failures_total{task="judge lane"} 5.0' in page
