"""Requests for the ensemble that one member answers by itself: no budget, no tests, one choice.

A conversation with tools stays with one member: an agent's turns build on each other, and its engine has the
conversation in its prefix cache. Which member is the policy's choice, at the conversation's first turn.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

from alpharay.router import POLICIES, Draw, SamplingRequest, Session

_REMEMBERED = 4096


def order(sampling: SamplingRequest, policy: str) -> tuple[Draw, ...]:
    """The draw of one sample at each member, in the order in which the policy would turn to them."""
    session, found = Session(sampling, POLICIES[policy]()), []
    while wave := session.next_wave():
        found.append(wave[0])
        session.lost(wave[0])  # as if its engine were gone: who is next?
    return tuple(found)


class Conversations:
    """Which member each conversation is with, and whose requests come from an agent: the latest few thousand."""

    def __init__(self) -> None:
        self._members: OrderedDict[str, str] = OrderedDict()
        self._agents: OrderedDict[str, bool] = OrderedDict()

    def member(self, conversation: str) -> str | None:
        return self._members.get(conversation)

    def stay(self, conversation: str, member: str) -> None:
        _remember(self._members, conversation, member)

    def calls_tools(self, caller: str) -> None:
        """That caller sends tools: its requests without tools are side requests, for a title, say."""
        _remember(self._agents, caller, value=True)

    def is_agent(self, caller: str) -> bool:
        return caller in self._agents


def digest(*parts: str) -> str:
    """A conversation or a caller in a few bytes that tell nothing of it."""
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:32]


def spread(conversation: str) -> int:
    """A rotation that differs from conversation to conversation and stays for one."""
    return int(digest(conversation)[:8], 16)


def _remember(known: OrderedDict[str, Any], name: str, value: Any) -> None:
    known[name] = value
    known.move_to_end(name)
    if len(known) > _REMEMBERED:
        known.popitem(last=False)
