"""A host looks whether its engines still answer: a fake engine behind the real host."""

import asyncio
import logging
from collections import Counter

import pytest

from alpharay.judge.supervise import Supervisor
from alpharay.serve.engine.replica import EngineDown, EngineReplica
from alpharay.serve.state.cluster_state import ClusterState
from alpharay.serve.state.engine_spec import CheckpointWeights, EngineSpec

from .clock import pass_time
from .fakes import Handle


class Engine:
    """answers_after: seconds to a sign of life, one for each probe; the last value repeats."""

    def __init__(self, *answers_after, tmp_path):
        self.spec = EngineSpec(members=("m@0",), weights=CheckpointWeights(checkpoint=tmp_path))
        self.instance = "first"
        self.alive = True
        self.killed = 0
        self.probes = 0
        self.moving = False
        self.tokens = {}
        self.lives_on = False
        self.started, self.start_takes = 0, []
        self._after = list(answers_after)

    async def sign_of_life(self):
        self.probes += 1
        after = self._after.pop(0) if len(self._after) > 1 else self._after[0]
        if isinstance(after, Exception):
            self.alive = self.lives_on
            raise after
        await asyncio.sleep(after)

    async def start(self):
        self.started += 1
        await asyncio.sleep(self.start_takes.pop(0) if self.start_takes else 1)
        self.alive, self.instance = True, f"start {self.started}"

    def unfinished(self, _member):
        return len(self.tokens)

    def tokens_out(self):
        return dict(self.tokens)

    def kill(self):
        self.killed += 1
        if self.unkillable:
            raise PermissionError("no")

    unkillable = False


class Bare(EngineReplica):
    """A host that was never started, and needs no closing."""

    def __del__(self):
        pass


def host_of(engine, starting=()):
    host = object.__new__(Bare)
    host._engines = {"m@0": engine}
    host._starting = set(starting)
    host._moved = {}
    host._restart_turn = asyncio.Semaphore(2)
    host._broken, host._failures, host._start_s = "", Counter(), 300.0
    host._deployment = "member-0-abc"
    host._cluster_state, host._replica, host._specs = Handle(ClusterState(["m@0"])), "r", [engine.spec]
    host._supervisor = Supervisor(logging.getLogger("ray.serve"))
    return host


@pytest.fixture
def probed(tmp_path):
    async def probe(*answers_after, starting=(), **state):
        engine = Engine(*answers_after, tmp_path=tmp_path)
        for name, value in state.items():
            setattr(engine, name, value)
        await host_of(engine, starting)._probe(engine, 60.0)
        return engine

    return probe


async def test_an_engine_that_never_answers_is_ended(probed):
    assert (await probed(1e5)).killed == 1


@pytest.mark.parametrize("after", [0.0, 59.0])
async def test_an_engine_that_is_only_busy_is_left_alone(probed, after):
    assert (await probed(after)).killed == 0


async def test_an_engine_that_answers_at_the_second_try_is_left_alone(probed):
    engine = await probed(1e5, 1.0)
    assert (engine.probes, engine.killed) == (2, 0)


async def test_an_engine_that_died_meanwhile_is_somebody_elses_business(probed):
    assert (await probed(RuntimeError("dead"))).killed == 0


async def test_an_engine_that_is_dead_or_starting_is_not_asked(probed):
    assert (await probed(1e5, alive=False)).probes == 0
    assert (await probed(1e5, starting=["m@0"])).probes == 0


async def test_an_engine_that_moves_is_not_asked(probed):
    assert (await probed(1e5, moving=True)).probes == 0


async def test_an_engine_that_began_to_move_while_it_was_asked_is_left_alone(tmp_path):
    engine = Engine(1e5, tmp_path=tmp_path)
    probing = asyncio.ensure_future(host_of(engine)._probe(engine, 60.0))
    await asyncio.sleep(30)
    engine.moving = True
    await probing
    assert engine.killed == 0


async def test_a_new_engine_is_not_ended_for_the_old_one(tmp_path):
    engine = Engine(1e5, tmp_path=tmp_path)
    probing = asyncio.ensure_future(host_of(engine)._probe(engine, 60.0))
    await asyncio.sleep(30)
    engine.instance = "second"
    await probing
    assert engine.killed == 0


@pytest.fixture
def watched(tmp_path):
    """Probes an engine that always answers, with a minute between two looks; gives how often it was ended."""

    async def watch(*tokens):
        engine = Engine(0.0, tmp_path=tmp_path)
        host = host_of(engine)
        for counts in tokens:
            engine.tokens = counts
            await host._probe(engine, 60.0)
            await asyncio.sleep(61)
        return engine.killed

    return watch


async def test_an_engine_that_answers_and_does_nothing_for_its_requests_is_ended(watched):
    assert await watched({"a": 3, "b": 0}, {"a": 3, "b": 0}) == 1


async def test_new_requests_do_not_hide_that_it_stands_still(watched):
    assert await watched({"a": 3}, {"a": 3, "b": 0}) == 1


@pytest.mark.parametrize(
    "later",
    [{"a": 3, "b": 1}, {"a": 3}, {"c": 0}, {}],
    ids=["a token came", "one has ended", "all have ended", "none is left"],
)
async def test_an_engine_that_gets_on_is_left_alone(watched, later):
    assert await watched({"a": 3, "b": 0}, later) == 0


async def test_an_engine_without_requests_is_left_alone(watched):
    assert await watched({}, {}, {}) == 0


async def test_requests_that_wait_for_less_than_the_limit_are_left_alone(tmp_path):
    engine = Engine(0.0, tmp_path=tmp_path)
    host, engine.tokens = host_of(engine), {"a": 0}
    for _ in range(5):
        await host._probe(engine, 60.0)
        await asyncio.sleep(11)
    assert engine.killed == 0


@pytest.fixture
async def guarded(tmp_path):
    """guarded(**engine's state) is a host that watches one engine, and the engine."""
    hosts = []

    async def start(*answers_after, **state):
        engine = Engine(*(answers_after or (0.0,)), tmp_path=tmp_path)
        for name, value in state.items():
            setattr(engine, name, value)
        hosts.append(host_of(engine))
        hosts[-1]._watch(engine, 60.0)
        return hosts[-1], engine

    yield start
    for host in hosts:
        await host._supervisor.close()


async def test_one_exception_does_not_end_the_look_for_hangs(guarded):
    host, engine = await guarded(ValueError("internal error"), 1e5, lives_on=True)
    await pass_time(100)
    assert engine.killed == 1
    assert host._supervisor.failures == {"host looks for hangs": 1}


async def test_a_dead_engine_is_started_anew(guarded):
    host, engine = await guarded(alive=False)
    await pass_time(5)
    assert (engine.alive, engine.started, host._broken) == (True, 1, "")
    await host.check_health()


async def test_a_restart_that_hangs_has_the_replica_replaced(guarded):
    host, engine = await guarded(alive=False, start_takes=[1e5])
    await pass_time(299)
    await host.check_health()
    await pass_time(5)
    with pytest.raises(EngineDown, match="did not start within 300 s"):
        await host.check_health()
    assert (await host._cluster_state.actor.overview()).members["m@0"].detail == host._broken
    assert engine.started <= 2


async def test_a_restart_that_hangs_keeps_no_neighbour_from_its_own(guarded, tmp_path):
    host, _ = await guarded(alive=False, start_takes=[1e5])
    neighbour = Engine(0.0, tmp_path=tmp_path)
    neighbour.spec, neighbour.alive = EngineSpec(members=("m@1",), weights=neighbour.spec.weights), False
    host._watch(neighbour, 60.0)
    await pass_time(5)
    assert neighbour.alive


async def test_an_engine_that_hangs_and_cannot_be_ended_has_the_replica_replaced(guarded):
    host, _ = await guarded(1e5, unkillable=True)
    await pass_time(100)
    with pytest.raises(EngineDown, match="cannot be ended"):
        await host.check_health()


async def test_engines_that_share_a_gpu_are_restarted_one_after_another(tmp_path):
    """Each measures what memory is free while it starts."""
    engine, neighbour = Engine(0.0, tmp_path=tmp_path), Engine(0.0, tmp_path=tmp_path)
    host = host_of(engine)
    host._restart_turn = asyncio.Semaphore(1)
    engine.start_takes, neighbour.start_takes = [20.0], [20.0]
    reviving = asyncio.gather(host._revive(engine), host._revive(neighbour))
    await pass_time(10)
    assert (engine.started, neighbour.started) == (1, 0)
    await reviving
    assert (engine.started, neighbour.started) == (1, 1)
