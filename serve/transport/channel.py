"""Calls to a replica without a call of Ray's for each.

A call through a Ray handle costs about half a millisecond of CPU at each end, as much as an engine needs for a token.
So a handle is called only to open a *channel*: Ray places it on a replica, counts it, and tells of that replica's end.
Calls go over the channel, any number of them at once, each with one answer or a stream of parts; each can be cancelled
by itself. A channel takes new calls for about a second and ends with its last one. So Ray's router is asked again all
the time: replicas that come are found, and those that go are left.
"""

from __future__ import annotations

import asyncio
import pickle
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import aclosing, suppress
from contextvars import Context, copy_context
from dataclasses import dataclass
from functools import partial
from inspect import isasyncgenfunction
from typing import Any

from alpharay.judge.errors import JudgeError
from alpharay.serve.transport.link import Address, Link, Links, Listener

# How long a channel takes new calls. The longer, the later a new replica is found, and one that is to go is left.
OPEN_S = 1.0
# Ray lets a call to a deployment without a living replica wait until there is one, however long that takes. What the
# cluster state knows ends that wait; this is how often it is asked.
_LOOK_UP_S = 0.5

# From an ingress: (_CALL, number, method, arguments), (_CANCEL, number).
_CALL, _CANCEL = "call", "cancel"
# From a replica: (kind, the call's number, value).
_ANSWER, _PART, _END, _ERROR = "answer", "part", "end", "error"
_HELLO = pickle.dumps(None)


@dataclass(frozen=True, slots=True)
class ChannelAddress:
    """Where a channel's ingress listens, and the channel's number there."""

    ingress: Address
    number: int


class Channels:
    """The ingress's end of all channels to one deployment.

    handle: of Ray Serve; its `channel` method is `ChannelServer.serve`. at_most: calls at once over a channel; None:
    any number. With several replicas it bounds how unevenly they are loaded: Ray counts channels.
    """

    def __init__(self, handle: Any, listener: Listener, at_most: int | None = None) -> None:
        self._handle = handle
        self._listener = listener
        self._at_most = at_most
        self._open: set[_Channel] = set()
        # Of no request: Ray would cancel a channel with the request in whose context it was opened.
        self._context = copy_context()

    def call(self, method: str, *arguments: Any, check: Callable[[], None] = lambda: None) -> Call:
        """Leaves at the end of this turn of the loop, with all others of this turn.

        check: asked twice a second until the call has ended; what it raises ends the call.
        """
        channel = min(
            (each for each in self._open if each.has_room), key=lambda each: each.load, default=None
        )
        if channel is None:
            channel = _Channel(self._handle, self._listener, self._at_most, self._open, self._context)
        return channel.call(method, arguments, check)


class Call:
    """A call that is under way: `await call.result()`, or iterate over `call.parts()`. Leaving either early cancels it."""

    def __init__(self, channel: _Channel, number: int, check: Callable[[], None]) -> None:
        self.check = check
        self._channel = channel
        self._number = number
        self._parts: deque[Any] = deque()
        self._waiter: asyncio.Future[None] | None = None  # of `parts`, while nothing is there
        self._ended = False
        self._error: BaseException | None = None

    async def result(self) -> Any:
        """The answer. Raises what the method raised, and ConnectionError: the replica is gone."""
        value = None
        async for part in self.parts():
            value = part
        return value

    async def parts(self) -> AsyncGenerator[Any]:
        """What arrives, bytes that have arrived together as one. Raises as `result`, after what is already there."""
        loop = asyncio.get_running_loop()
        parts = self._parts
        try:
            while True:
                while parts:
                    part = parts.popleft()
                    if parts and isinstance(part, bytes):
                        together = [part]
                        while parts and isinstance(parts[0], bytes):
                            together.append(parts.popleft())
                        part = b"".join(together)
                    yield part
                if self._ended:
                    if self._error is not None:
                        raise self._error
                    return
                self._waiter = loop.create_future()
                await self._waiter
        finally:
            if not self._ended:
                self._channel.cancel(self._number)

    def put(self, part: Any) -> None:
        self._parts.append(part)
        self._wake()

    def end(self, error: BaseException | None = None) -> None:
        if not self._ended:
            self._ended, self._error = True, error
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Channel:
    """One channel. load: calls under way."""

    def __init__(
        self, handle: Any, listener: Listener, at_most: int | None, among: set[_Channel], context: Context
    ) -> None:
        self._handle = handle
        self._listener = listener
        self._at_most = at_most
        self._among = among  # those that take calls
        self._context = context
        self._number = listener.expect(self._receive)
        self._link: Link | None = None  # until the replica's first word it is not known where it is
        self._calls: dict[int, Call] = {}
        self._last = 0
        self._unsent: list[tuple[Any, ...]] = []
        self._planned = self._finished = False
        self._watching: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        among.add(self)
        # With one call at once it is Ray's own counting of calls that is wanted: nothing lingers.
        self._closing = self._loop.call_later(OPEN_S, self._retire) if at_most != 1 else None

    @property
    def load(self) -> int:
        return len(self._calls)

    @property
    def has_room(self) -> bool:
        return self._at_most is None or self.load < self._at_most

    def call(self, method: str, arguments: Sequence[Any], check: Callable[[], None]) -> Call:
        self._last += 1
        call = self._calls[self._last] = Call(self, self._last, check)
        self._send(_CALL, self._last, method, arguments)
        return call

    def cancel(self, number: int) -> None:
        if self._calls.pop(number, None) is not None:
            self._send(_CANCEL, number)
            self._look_at_end()

    def _send(self, *message: Any) -> None:
        self._unsent.append(message)
        if not self._planned and (self._link is not None or self._watching is None):
            self._planned = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """All of one turn is one message, in which what is the same in several calls stands once."""
        self._planned = False
        if self._finished:
            return
        messages, self._unsent = self._unsent, []
        if self._watching is None:
            address = ChannelAddress(self._listener.address, self._number)
            self._watching = self._loop.create_task(
                self._watch(address, messages), context=self._context.copy()
            )
        elif self._link is not None and messages:
            try:
                self._link.send(self._number, pickle.dumps(messages, pickle.HIGHEST_PROTOCOL))
            except Exception as error:  # the link is lost, or an argument cannot be pickled
                self._fail(error)

    def _receive(self, link: Link, payload: bytes) -> None:
        if self._link is None:
            self._link = link
            link.when_lost.add(self._lost)
            self._flush()
            self._look_at_end()
        try:
            message = _unpacked(payload)
        except Exception as error:  # of a class that only the replica can load
            self._fail(error)
            return
        if message is None:
            return
        kind, number, value = message
        call = self._calls.get(number)
        if call is None:
            return  # cancelled meanwhile
        if kind == _PART:
            call.put(value)
            return
        del self._calls[number]
        if kind == _ANSWER:
            call.put(value)
        call.end(value if kind == _ERROR else None)
        self._look_at_end()

    def _lost(self) -> None:
        self._fail(ConnectionError("the connection to the replica broke"))

    def _fail(self, error: BaseException) -> None:
        self._among.discard(self)
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.end(error)
        self._finish()

    def _retire(self) -> None:
        self._among.discard(self)
        self._look_at_end()

    def _look_at_end(self) -> None:
        if self._at_most == 1 and not self._calls:
            self._among.discard(self)
        if self not in self._among and not self._calls:
            self._finish()

    def _finish(self) -> None:
        """Nothing is under way any more, and nothing will be."""
        if self._finished:
            return
        if self._link is not None:
            self._flush()  # what was cancelled last
        self._finished = True
        if self._closing is not None:
            self._closing.cancel()
        self._listener.forget(self._number)
        if self._link is not None:
            self._link.when_lost.discard(self._lost)
            if not self._link.lost:
                self._link.send(self._number, b"")
        elif self._watching is not None:
            self._watching.cancel()  # wherever Ray has it wait

    async def _watch(self, address: ChannelAddress, messages: Sequence[tuple[Any, ...]]) -> None:
        """Until the replica has left the channel, or is known to be gone."""
        response: Any = None
        waiting: asyncio.Future[Any] | None = None
        try:
            response = self._handle.channel.remote(address, messages)
            waiting = asyncio.ensure_future(_awaited(response))
            while not (await asyncio.wait({waiting}, timeout=_LOOK_UP_S))[0]:
                self._check_calls()
            waiting.result()
            self._fail(ConnectionError("the replica has left the channel"))
        except asyncio.CancelledError:
            if self._finished:
                raise
            self._fail(ConnectionError("the replica gave its calls up"))  # Ray's word for it
        except Exception as error:
            self._fail(error)
        finally:
            if response is not None and waiting is not None and not waiting.done():
                waiting.cancel()
                response.cancel()

    def _check_calls(self) -> None:
        for number, call in list(self._calls.items()):
            try:
                call.check()
            except Exception as error:
                self.cancel(number)
                call.end(error)


async def _awaited(response: Any) -> Any:
    """What a call of Ray's returns. Cancelled, it is cancelled: Ray then raises an error of its own, which nobody waits for."""
    try:
        return await response
    except Exception:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError from None
        raise


class ChannelServer:
    """A replica's end. target: the object whose methods of those names may be called."""

    def __init__(self, target: Any, methods: Collection[str]) -> None:
        self._target = target
        self._methods = frozenset(methods)
        self._links = Links()

    async def serve(self, address: ChannelAddress, first: Sequence[tuple[Any, ...]]) -> None:
        """Returns when the ingress has closed the channel, or is gone. first: messages that came with the call that opened it.

        Raises OSError, TimeoutError: the ingress cannot be reached.
        """
        link = await self._links.to(address.ingress)
        ended = asyncio.Event()
        running: dict[int, asyncio.Task[None]] = {}

        def take(messages: Sequence[tuple[Any, ...]]) -> None:
            for kind, number, *rest in messages:
                if kind == _CANCEL:
                    if number in running:
                        running[number].cancel()
                    continue
                method, arguments = rest
                run = self._run(link, address.number, number, method, arguments)
                # What Ray knows of the call that opened the channel is of another request.
                task = asyncio.get_running_loop().create_task(run, context=Context())
                running[number] = task
                task.add_done_callback(partial(_forget, running, number))

        def receive(payload: bytes) -> None:
            if payload:
                take(_unpacked(payload))
            else:
                ended.set()

        link.receivers[address.number] = receive
        link.when_lost.add(ended.set)
        try:
            link.send(address.number, _HELLO)
            take(first)
            await ended.wait()
        finally:
            link.when_lost.discard(ended.set)
            link.receivers.pop(address.number, None)
            left = list(running.values())
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _run(self, link: Link, channel: int, number: int, name: str, arguments: Sequence[Any]) -> None:
        try:
            if name not in self._methods:
                raise LookupError(f"{type(self._target).__name__} has no method {name!r} for channels")
            method = getattr(self._target, name)
            if isasyncgenfunction(method):
                async with aclosing(method(*arguments)) as parts:
                    async for part in parts:
                        link.send(channel, _packed(_PART, number, part), stream=(channel, number))
                last = _packed(_END, number, None)
            else:
                last = _packed(_ANSWER, number, await method(*arguments))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # What it waited for was cancelled, not the call.
            last = _packed(_ERROR, number, ConnectionError("the replica gave the call up"))
        except Exception as error:
            last = _packed(_ERROR, number, error)
        if not link.lost:
            link.send(channel, last)

    def close(self) -> None:
        self._links.close()


def _forget(running: dict[int, asyncio.Task[None]], number: int, _: object) -> None:
    del running[number]


def _packed(kind: str, number: int, value: Any) -> bytes:
    """Raises what pickling raises."""
    if kind == _ERROR:
        value = _portable(value)
    return pickle.dumps((kind, number, value), pickle.HIGHEST_PROTOCOL)


def _unpacked(payload: bytes) -> Any:
    return pickle.loads(payload)  # noqa: S301 - from processes of our own, which Ray itself has exchange pickles


def _portable(error: Exception) -> Exception:
    """The error where any process can make it again from its arguments; else one that says as much."""
    if isinstance(error, JudgeError) or type(error).__module__ == "builtins":
        with suppress(Exception):
            _unpacked(pickle.dumps(error))
            return error
    return RuntimeError(f"{type(error).__name__}: {error}")
