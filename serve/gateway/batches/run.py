"""One batch under way: its requests go the way of all others, in the name of the key that made it, and wait for them."""

from __future__ import annotations

import asyncio
import logging
import math
import uuid
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from alpharay.serve import tracing
from alpharay.serve.dialects.dialect import Dialect
from alpharay.serve.errors import RequestError, no_capacity
from alpharay.serve.gateway import answering
from alpharay.serve.gateway.batches.lines import InputLines, Json, Line
from alpharay.serve.gateway.batches.outcomes import Outcomes
from alpharay.serve.gateway.batches.slots import Slots
from alpharay.serve.gateway.server import Server

log = logging.getLogger("ray.serve")

Item = TypeVar("Item")
Enter = Callable[[], AbstractContextManager[Server]]
"""The server that answers now; a change of checkpoints waits for whoever is inside."""

_LOOK_S = 1.0
# A request that nobody could answer so often, at growing distances, is answered with that error.
_ATTEMPTS = 8
_LONGEST_PAUSE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What became of a request. status: the HTTP status. body: the answer, or the dialect's error object."""

    id: str
    status: int
    body: Json
    tokens: tuple[int, int] = (0, 0)

    def output_line(self, line: Line) -> Json:
        """A line of OpenAI's output and error files."""
        response = {"status_code": self.status, "request_id": self.id, "body": self.body}
        return {
            "id": f"batch_req_{self.id}",
            "custom_id": line.custom_id,
            "response": response,
            "error": None,
        }


class BatchRun(ABC, Generic[Item]):
    """An item is what is asked at a time. Subclasses say which, and keep what comes of it.

    batch_id: in the traces of its requests. key: the name of the API key, "" without keys. deadline_s: of a request that sets none.
    completed, failed: requests. tokens: spent on all of them.
    """

    def __init__(
        self,
        lines: InputLines,
        outcomes: Outcomes,
        dialect: Dialect,
        *,
        batch_id: str,
        key: str,
        enter: Enter,
        slots: Slots,
        deadline_s: float,
    ) -> None:
        self.lines = lines
        self.outcomes = outcomes
        self.completed = self.failed = 0
        self.tokens = (0, 0)
        self._dialect = dialect
        self._id = batch_id
        self._key = key
        self._enter = enter
        self._slots = slots
        self._headers = {"x-alpharay-deadline-s": f"{max(1, min(86400, math.ceil(deadline_s)))}"}
        self._attempts: Counter[Item] = Counter()
        self._not_before = 0.0
        self._under_way = 0
        self._news = asyncio.Event()

    @abstractmethod
    def next(self) -> Item | None:
        """What to ask now; None: nothing before something that is under way has ended."""

    @abstractmethod
    def again(self, item: Item) -> None:
        """It came to nothing, and is to be asked again."""

    @abstractmethod
    def request(self, item: Item) -> Line:
        """The line, its body as it is asked. Blocking."""

    @abstractmethod
    def take(self, item: Item, line: Line, answered: Answered) -> None:
        """Keeps what came of it. Raises OSError."""

    @abstractmethod
    def results(self) -> Iterator[tuple[int, str, bytes | None]]:
        """Per request (its place, OK or FAILED, its line of the output or error file); None: it never came to an end. Blocking."""

    def counts(self, *, ended: bool = False) -> Json:  # noqa: ARG002 - for subclasses
        """Fields of the batch's object that say how far it is. ended: nothing more is asked."""
        prompt, completion = self.tokens
        return {
            "request_counts": {
                "total": len(self.lines),
                "completed": self.completed,
                "failed": self.failed,
            },
            "usage": {
                "input_tokens": prompt,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": completion,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": prompt + completion,
            },
        }

    async def run(self) -> None:
        """Until nothing is left to ask. Cancelling it frees all that it holds. Raises OSError."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    self._news.clear()
                    await self._turn()
                    item = self.next()
                    if item is not None:
                        self._under_way += 1
                        group.create_task(self._ask(item)).add_done_callback(self._ended)
                        continue
                    self._slots.release()
                    if not self._under_way:
                        return
                    await self._news.wait()
        except* OSError as errors:
            raise errors.exceptions[0] from None

    def close(self) -> None:
        self.lines.close()
        self.outcomes.close()

    def spent(self, tokens: tuple[int, int]) -> None:
        self.tokens = (self.tokens[0] + tokens[0], self.tokens[1] + tokens[1])

    def _ended(self, _: asyncio.Task[None]) -> None:
        self._under_way -= 1
        self._slots.release()
        self._news.set()

    async def _turn(self) -> None:
        """Waits for a server that can answer, and takes a slot."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(0.0, self._not_before - loop.time()))
            with self._enter() as server:
                if not server.cluster.not_ready():
                    break
            await asyncio.sleep(_LOOK_S)
        await self._slots.acquire()

    async def _ask(self, item: Item) -> None:
        line = await asyncio.to_thread(self.request, item)
        request_id = uuid.uuid4().hex
        try:
            last = self._attempts[item] == _ATTEMPTS - 1
            answered = await self._answered(line, judged=not last)
        except RequestError as error:
            if self._passes(item, error):
                self.again(item)
                return
            answered = Answered(id=request_id, status=error.status, body=self._dialect.error_body(error))
        except Exception as error:
            log.exception("a request of a batch failed with an internal error")
            fault = RequestError(500, f"a fault of the server, not of the request: {type(error).__name__}")
            answered = Answered(id=request_id, status=500, body=self._dialect.error_body(fault))
        self.take(item, line, answered)

    async def _answered(self, line: Line, *, judged: bool) -> Answered:
        """judged: where the judge cannot be reached, the request is asked again. Raises RequestError."""
        with self._enter() as server:
            own = line.body.get("alpharay")
            if isinstance(own, dict) and own.get("tests") and judged and server.cluster.judge_is_down:
                raise no_capacity("no judge can be reached")
            with server.admission.admit_background(self._dialect.NAME, self._key) as context:
                context.trace = tracing.begin_of_batch(self._dialect.NAME, self._id, line.custom_id)
                context.body.add(line.size)
                parsed = await answering.parsed(server, context, self._dialect, line.body, self._headers)
                if context.lease is not None:
                    server.admission.charge(context.lease, parsed.samples)
                body = await answering.whole(server, context, replace(parsed, background=True))
                if judged and body["alpharay"]["judge"] == "unavailable":
                    raise no_capacity("the judge could not be reached")
                return Answered(id=context.answer, status=200, body=body, tokens=_tokens(body))

    def _passes(self, item: Item, error: RequestError) -> bool:
        """Whether the same request may be answered later, before which nothing of this batch is asked."""
        if error.status == 429:
            pause = float(error.retry_after_s or 1)
        elif error.status == 503:
            self._attempts[item] += 1
            if self._attempts[item] >= _ATTEMPTS:
                return False
            pause = min(_LONGEST_PAUSE_S, 2.0 ** self._attempts[item])
        else:
            return False
        self._not_before = max(self._not_before, asyncio.get_running_loop().time() + pause)
        return True


def _tokens(body: Json) -> tuple[int, int]:
    """Of all samples that the answer was chosen from."""
    usage = body["alpharay"]["usage"]
    return usage["prompt_tokens"], usage["completion_tokens"]
