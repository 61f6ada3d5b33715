"""What each API key has used, and whether it may use more.

Each ingress replica decides by itself, from its own counts and the others' as the cluster state last told them: a key may
exceed a limit by what other replicas let in within that second, and no request waits for a question to the cluster state.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from alpharay.judge.verdict import VerdictKind
from alpharay.serve.errors import RequestError
from alpharay.serve.state.keys import Key

if TYPE_CHECKING:  # with the router comes numpy
    from alpharay.router import Draw

_DAY_S = 86400
_WINDOW_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """One key's use. requests: of the last minute. concurrent: under way now. samples: of that UTC day."""

    day: int = 0
    samples: int = 0
    requests: int = 0
    concurrent: int = 0

    def __add__(self, other: Used) -> Used:
        day = max(self.day, other.day)
        samples = sum(used.samples for used in (self, other) if used.day == day)
        return Used(
            day=day,
            samples=samples,
            requests=self.requests + other.requests,
            concurrent=self.concurrent + other.concurrent,
        )


@dataclass(slots=True)
class _Account:
    day: int = 0
    samples: int = 0
    concurrent: int = 0
    requests: deque[float] = field(default_factory=deque)


class RateLimitLease:
    """One request's leave to come in.

    `spend()` reserves what it may draw, `watch()` or `drew()` and `lost()` count what it draws, and `end()`, however
    the request ended, gives the rest back.
    """

    def __init__(self, limits: Limits, key: Key) -> None:
        self._limits = limits
        self._reserved = 0
        self._drawn = 0
        self._sampled: set[int] = set()
        self._day = 0
        self._ended = False
        self.key = key

    def spend(self, samples: int) -> None:
        """Reserves samples of the day. Raises RequestError (429)."""
        self._day = self._limits.reserve(self.key, samples)
        self._reserved = samples

    def watch(self, draw: Draw, state: str, _verdict: VerdictKind | None = None) -> None:
        """Counts the draws of an ensemble: those that were started, but for lost and refused ones."""
        if state == "drawn":
            self.drew(1)
        elif state == "sampled":
            self._sampled.add(draw.index)
        elif state in {"lost", "refused"} and draw.index not in self._sampled:
            self.lost(1)

    @property
    def drawn(self) -> int:
        """Samples that were started, but for lost and refused ones."""
        return self._drawn

    def drew(self, samples: int) -> None:
        self._change(samples)

    def lost(self, samples: int) -> None:
        """They came to nothing, and not because the client left."""
        self._change(-samples)

    def _change(self, samples: int) -> None:
        self._drawn += samples
        if self._ended:  # a stream lets go of its draws after its request has ended
            self._limits.give_back(self.key, -samples, self._day)

    def end(self) -> None:
        if not self._ended:
            self._ended = True
            self._limits.release(self.key)
            self._limits.give_back(self.key, self._reserved - self._drawn, self._day)


class Limits:
    """One ingress replica's accounts. others: each key's use at the other replicas."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}
        self.others: Mapping[str, Used] = {}

    def enter(self, key: Key) -> RateLimitLease:
        """Raises RequestError (429): too many requests in a minute, or at the same time."""
        account, others = self._account(key), self.others.get(key.name, Used())
        limit = key.concurrent
        if limit is not None and account.concurrent + others.concurrent >= limit:
            raise _over(key, f"{limit} requests at the same time", 1, "concurrent")
        limit = key.requests_per_minute
        if limit is not None and len(account.requests) + others.requests >= limit:
            oldest = account.requests[0] if account.requests else _now()
            wait = oldest + _WINDOW_S - _now()
            raise _over(key, f"{limit} requests a minute", wait, "requests_per_minute")
        account.requests.append(_now())
        account.concurrent += 1
        return RateLimitLease(self, key)

    def release(self, key: Key) -> None:
        self._account(key).concurrent -= 1

    def reserve(self, key: Key, samples: int) -> int:
        """Returns the day to which they count. Raises RequestError (429)."""
        account, others = self._account(key), self.others.get(key.name, Used())
        used = account.samples + (others.samples if others.day == account.day else 0)
        limit = key.samples_per_day
        if limit is not None and used + samples > limit:
            wait = _DAY_S - time.time() % _DAY_S
            allowance = (
                f"{limit} samples a day, of which {max(0, limit - used)} are left and {samples} are asked for"
            )
            raise _over(key, allowance, wait, "samples_per_day")
        account.samples += samples
        return account.day

    def give_back(self, key: Key, samples: int, day: int) -> None:
        account = self._account(key)
        if account.day == day:
            account.samples -= samples

    def used(self) -> dict[str, Used]:
        """Each key's use here."""
        return {
            name: Used(
                day=account.day,
                samples=account.samples,
                requests=len(account.requests),
                concurrent=account.concurrent,
            )
            for name, account in self._accounts.items()
            if _fresh(account)
        }

    def _account(self, key: Key) -> _Account:
        account = self._accounts.setdefault(key.name, _Account())
        _fresh(account)
        return account


def _fresh(account: _Account) -> bool:
    """Drops entries older than the window."""
    today = int(time.time() // _DAY_S)
    if account.day != today:
        account.day, account.samples = today, 0
    while account.requests and account.requests[0] <= _now() - _WINDOW_S:
        account.requests.popleft()
    return True


def _now() -> float:
    return time.monotonic()


def _over(key: Key, allowance: str, wait_s: float, field_name: str) -> RequestError:
    return RequestError(
        429,
        f"the key {key.name!r} may make {allowance}; try again in {max(1, round(wait_s))} s",
        param=field_name,
        code="rate_limit_exceeded",
        retry_after_s=max(1, round(wait_s)),
    )
