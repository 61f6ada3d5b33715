"""Tokens of answers that are read whole leave the engine's process together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs, FinishReason
from vllm.v1.metrics.stats import (
    IterationStats,
    LoRARequestStates,
    PrefillStats,
    RequestStateStats,
    SchedulerStats,
)

from alpharay.serve.engine import vllm_scheduler
from alpharay.serve.engine.vllm_engine import _hold_whole_samples, _OutputProcessor
from alpharay.serve.engine.vllm_scheduler import WholeSampleAsyncScheduler, WholeSampleScheduler, _HoldsTokens


class VllmScheduler:
    """As much of vLLM's as the steps need: says of each step what the test put there."""

    def __init__(self) -> None:
        self.requests: dict[str, Any] = {}

    def update_from_output(
        self, outputs: list[EngineCoreOutput], failing: Sequence[str] = ()
    ) -> dict[int, EngineCoreOutputs]:
        for output in outputs:
            if output.finish_reason is not None:
                self.requests.pop(output.request_id)
        if failing:
            self.finish_requests(set(failing), "failed")
            failed = [EngineCoreOutput(name, [], finish_reason=FinishReason.ERROR) for name in failing]
            outputs = outputs + failed
        sent = {0: EngineCoreOutputs(outputs=outputs)} if outputs else {}
        if (stats := self.make_stats(None, None, ec_connector_stats=None)) is not None:
            sent.setdefault(0, EngineCoreOutputs()).scheduler_stats = stats
        return sent

    def finish_requests(self, ids: Iterable[str] | None, _status: str) -> list[Any]:
        """Those of them that had not ended."""
        names = [name for name in (self.requests if ids is None else ids) if name in self.requests]
        return [self.requests.pop(name) for name in names]

    def make_stats(self, *_: object, **__: object) -> Any:
        return SchedulerStats(num_running_reqs=len(self.requests))

    def has_unfinished_requests(self) -> bool:
        return bool(self.requests)


class HoldingScheduler(_HoldsTokens, VllmScheduler):
    def add(self, name: str, **sampling: Any) -> None:
        sampling.setdefault("output_kind", RequestOutputKind.FINAL_ONLY)
        self.requests[name] = SimpleNamespace(request_id=name, sampling_params=SamplingParams(**sampling))

    def step(self, *outputs: EngineCoreOutput, failing: Sequence[str] = ()) -> list[tuple[str, list[int]]]:
        sent = self.update_from_output(list(outputs), failing).get(0)
        return [(output.request_id, output.new_token_ids) for output in sent.outputs] if sent else []


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(s=1000.0)
    monkeypatch.setattr(vllm_scheduler, "time", SimpleNamespace(monotonic=lambda: clock.s))
    return clock


@pytest.fixture
def scheduler(now: SimpleNamespace) -> HoldingScheduler:
    return HoldingScheduler()


def first(name: str, token: int) -> EngineCoreOutput:
    return EngineCoreOutput(name, [token], prefill_stats=PrefillStats())


@pytest.mark.parametrize("reason", FinishReason)
def test_a_whole_answer_is_sent_as_its_first_token_and_the_rest(
    scheduler: HoldingScheduler, reason: FinishReason
) -> None:
    scheduler.add("a")
    assert scheduler.step(first("a", 1)) == [("a", [1])]
    assert scheduler.step(EngineCoreOutput("a", [2])) == []
    assert scheduler.step(EngineCoreOutput("a", [3, 4])) == []
    assert scheduler.step(EngineCoreOutput("a", [5], finish_reason=reason)) == [("a", [2, 3, 4, 5])]
    assert not scheduler._held


def test_a_second_is_the_longest_that_a_token_is_held(
    scheduler: HoldingScheduler, now: SimpleNamespace
) -> None:
    scheduler.add("a")
    scheduler.step(first("a", 1))
    scheduler.step(EngineCoreOutput("a", [2]))
    now.s += 1
    assert scheduler.step(EngineCoreOutput("a", [3])) == [("a", [2, 3])]
    assert scheduler.step(EngineCoreOutput("a", [4])) == []


@pytest.mark.parametrize(
    "sampling",
    [
        {"output_kind": RequestOutputKind.DELTA},
        {"output_kind": RequestOutputKind.CUMULATIVE},
        {"stop": ["\n\n"]},
    ],
)
def test_tokens_that_somebody_reads_as_they_come_are_sent_at_once(
    scheduler: HoldingScheduler, sampling: dict[str, Any]
) -> None:
    scheduler.add("a", **sampling)
    scheduler.step(first("a", 1))
    assert scheduler.step(EngineCoreOutput("a", [2])) == [("a", [2])]


@pytest.mark.parametrize(
    "beside",
    [
        {"new_logprobs": np.zeros((1, 2))},  # neither true nor false
        {"num_nans_in_logits": 3},
        {"kv_transfer_params": {"key": 1}},
        {"events": ["preempted"]},
    ],
)
def test_what_comes_with_more_than_tokens_is_sent_with_all_before_it(
    scheduler: HoldingScheduler, beside: dict[str, Any]
) -> None:
    scheduler.add("a")
    scheduler.step(first("a", 1))
    scheduler.step(EngineCoreOutput("a", [2], trace_headers={"traceparent": "x"}))
    assert scheduler.step(EngineCoreOutput("a", [3], **beside)) == [("a", [2, 3])]


def test_requests_of_one_step_go_each_their_way(scheduler: HoldingScheduler) -> None:
    for name in "abc":
        scheduler.add(name)
    scheduler.add("stream", output_kind=RequestOutputKind.DELTA)
    scheduler.step(*(first(name, 1) for name in ("a", "b", "c", "stream")))
    tokens = {name: EngineCoreOutput(name, [2]) for name in ("a", "b", "stream")}
    ended = EngineCoreOutput("c", [3], finish_reason=FinishReason.LENGTH)
    assert scheduler.step(*tokens.values(), ended) == [("stream", [2]), ("c", [3])]


@pytest.mark.parametrize(
    ("aborted", "left"), [(["a"], ["b"]), ({"a", "b"}, []), (None, []), ([], ["a", "b"])]
)
def test_of_an_aborted_request_nothing_stays(
    scheduler: HoldingScheduler, aborted: Iterable[str] | None, left: list[str]
) -> None:
    scheduler.add("a")
    scheduler.add("b")
    scheduler.step(first("a", 1), first("b", 1))
    scheduler.step(EngineCoreOutput("a", [2]), EngineCoreOutput("b", [2]))
    scheduler.finish_requests(aborted, "aborted")
    assert list(scheduler._held) == left


def test_a_request_that_fails_takes_nothing_from_one_that_ends_in_the_same_step(
    scheduler: HoldingScheduler,
) -> None:
    scheduler.add("a")
    scheduler.add("b")
    scheduler.step(first("a", 1), first("b", 1))
    scheduler.step(EngineCoreOutput("a", [2]))
    ended = EngineCoreOutput("a", [3], finish_reason=FinishReason.STOP)
    assert scheduler.step(ended, failing=["b", "a"])[:2] == [("a", [2, 3]), ("b", [])]
    assert not scheduler._held


def test_an_answer_of_one_token_leaves_nothing(scheduler: HoldingScheduler) -> None:
    scheduler.add("a")
    assert scheduler.step(EngineCoreOutput("a", [1], finish_reason=FinishReason.STOP)) == [("a", [1])]
    assert not scheduler._held


def test_statistics_come_ten_times_a_second_and_when_all_is_done(
    scheduler: HoldingScheduler, now: SimpleNamespace
) -> None:
    scheduler.add("a")

    def running(output: EngineCoreOutput) -> int | None:
        sent = scheduler.update_from_output([output]).get(0)
        return sent.scheduler_stats.num_running_reqs if sent and sent.scheduler_stats else None

    assert running(first("a", 1)) == 1
    assert running(EngineCoreOutput("a", [2])) is None
    now.s += 0.1
    assert running(EngineCoreOutput("a", [3])) == 1
    assert running(EngineCoreOutput("a", [4], finish_reason=FinishReason.STOP)) == 0


def test_what_is_counted_of_one_step_alone_is_not_left_out(scheduler: HoldingScheduler) -> None:
    scheduler.add("a")
    scheduler.make_stats(None)
    assert scheduler.make_stats(None) is None
    assert scheduler.make_stats(object()) is not None
    assert scheduler.make_stats(None, ec_connector_stats=object()) is not None
    assert scheduler.make_stats() is not None  # no step asks


@pytest.mark.parametrize(
    ("vllms", "ours"), [(Scheduler, WholeSampleScheduler), (AsyncScheduler, WholeSampleAsyncScheduler)]
)
def test_each_of_vllms_schedulers_has_its_own(vllms: type, ours: type) -> None:
    config = SimpleNamespace(scheduler_cls=None, get_scheduler_cls=lambda: vllms)
    _hold_whole_samples(config)
    assert config.scheduler_cls == f"{ours.__module__}.{ours.__name__}"
    assert issubclass(ours, vllms)


def test_a_scheduler_that_the_user_names_stays() -> None:
    config = SimpleNamespace(scheduler_cls="their.Scheduler", get_scheduler_cls=lambda: Scheduler)
    _hold_whole_samples(config)
    assert config.scheduler_cls == "their.Scheduler"


@pytest.mark.parametrize(
    ("kind", "tokens", "latencies"),
    [
        (RequestOutputKind.FINAL_ONLY, [1, 2, 3, 4], [0.5]),
        (RequestOutputKind.FINAL_ONLY, [1], [2.0]),
        (RequestOutputKind.DELTA, [1, 2, 3, 4], [2.0]),
    ],
)
def test_the_latency_of_tokens_that_were_held_is_their_mean(
    kind: RequestOutputKind, tokens: list[int], latencies: list[float]
) -> None:
    processor = object.__new__(_OutputProcessor)
    processor.lora_states = LoRARequestStates()
    measured, of_step = RequestStateStats(last_token_ts=10.0), IterationStats()
    state = SimpleNamespace(is_prefilling=False, output_kind=kind, stats=measured, lora_name=None)
    processor._update_stats_from_output(state, EngineCoreOutput("a", tokens), 12.0, of_step)
    assert of_step.inter_token_latencies_iter == latencies
    assert measured.num_generation_tokens == len(tokens)
