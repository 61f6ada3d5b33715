"""vLLM's schedulers, in the engine's process, for samples that nobody streams.

vLLM sends every token of every request to the process that serves HTTP, which detokenizes it, counts it and measures its
latency. Where only the whole answer is read, its tokens are sent together: at its end, and every second.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from operator import attrgetter, is_
from typing import Any

from vllm.sampling_params import RequestOutputKind
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.engine import EngineCoreOutput

# Who looks for hangs counts tokens, and must see some within `engine.hang_s`.
_SEND_S = 1.0
# vLLM's statistics come with every step. What they count adds up meanwhile.
_STATISTICS_S = 0.1


@dataclass(slots=True)
class _Held:
    """Of one request. since: when the last of its tokens were sent."""

    since: float
    tokens: list[int] = field(default_factory=list)


class _HoldsTokens:
    """A scheduler that sends the tokens of whole samples together."""

    requests: dict[str, Any]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._held: dict[str, _Held] = {}  # by request id, of those whose answer is read whole
        self._statistics_at = 0.0
        super().__init__(*arguments, **options)

    def update_from_output(self, *arguments: Any, **options: Any) -> dict[int, Any]:
        sent: dict[int, Any] = super().update_from_output(*arguments, **options)  # type: ignore[misc]  # vLLM's
        now = time.monotonic()
        for client, outputs in list(sent.items()):
            outputs.outputs = [output for output in outputs.outputs if self._goes(output, now)]
            if not (outputs.outputs or outputs.finished_requests or outputs.scheduler_stats):
                del sent[client]
        return sent

    def finish_requests(self, *arguments: Any, **options: Any) -> Any:
        """Also called within a step, for those that fail in it; of others that end in that step the tokens are still held."""
        finished = super().finish_requests(*arguments, **options)  # type: ignore[misc]
        for request in finished:
            self._held.pop(request.request_id, None)
        return finished

    def make_stats(self, *of_this_step: Any, **more_of_it: Any) -> Any:
        now = time.monotonic()
        # Without arguments it is not a step that asks.
        nothing = bool(of_this_step) and all(stats is None for stats in (*of_this_step, *more_of_it.values()))
        if nothing and now - self._statistics_at < _STATISTICS_S and self.has_unfinished_requests():  # type: ignore[attr-defined]
            return None
        self._statistics_at = now
        return super().make_stats(*of_this_step, **more_of_it)  # type: ignore[misc]

    def _goes(self, output: Any, now: float) -> bool:
        """Whether it is sent now, with all that was held before it."""
        held = self._held.get(output.request_id)
        if held is None:
            request = self.requests.get(output.request_id)
            if request is not None and output.finish_reason is None and _is_read_whole(request):
                self._held[output.request_id] = _Held(now)
            return True
        if now - held.since < _SEND_S and _has_only_tokens(output):
            held.tokens += output.new_token_ids
            return False
        output.new_token_ids = held.tokens + output.new_token_ids
        if output.finish_reason is None:
            self._held[output.request_id] = _Held(now)
        else:
            del self._held[output.request_id]
        return True


class WholeSampleScheduler(_HoldsTokens, Scheduler):  # type: ignore[misc]  # vLLM is not typed for us
    pass


class WholeSampleAsyncScheduler(_HoldsTokens, AsyncScheduler):  # type: ignore[misc]
    pass


def _is_read_whole(request: Any) -> bool:
    """Whether nobody reads its tokens before its end; stop strings are looked for among them as they come."""
    sampling = request.sampling_params
    return sampling is not None and sampling.output_kind is RequestOutputKind.FINAL_ONLY and not sampling.stop


_TOKENS = {"request_id", "new_token_ids", "trace_headers"}
_beside_tokens = attrgetter(*(name for name in EngineCoreOutput.__struct_fields__ if name not in _TOKENS))
_NOTHING = _beside_tokens(EngineCoreOutput("", []))


def _has_only_tokens(output: EngineCoreOutput) -> bool:
    """Whether nothing else comes with them, such as log-probabilities or the end."""
    return all(map(is_, _beside_tokens(output), _NOTHING))
