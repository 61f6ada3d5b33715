"""A conversation with tools stays with one member: an agent's turns build on each other, and its engine has the
conversation in its prefix cache. Which member is the policy's choice, at the conversation's first turn.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

_REMEMBERED = 4096


class Conversations:
    """Which member each conversation is with, and whose requests come from an agent: the latest few thousand."""

    def __init__(self) -> None:
        self._members: OrderedDict[str, str] = OrderedDict()
        self._agents: OrderedDict[str, bool] = OrderedDict()

    def member(self, conversation: str) -> str:
        """The member that it is with; "" where that is not known."""
        return self._members.get(conversation, "")

    def stay(self, conversation: str, member: str) -> None:
        _remember(self._members, conversation, member)

    def calls_tools(self, caller: str) -> None:
        """That caller sends tools: its requests without tools are side requests, for a title, say."""
        _remember(self._agents, caller, value=True)

    def is_agent(self, caller: str) -> bool:
        return caller in self._agents


def digest(*parts: str) -> str:
    """A conversation or a caller as a hash of a few bytes."""
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:32]


def spread(conversation: str) -> int:
    """A rotation that differs from conversation to conversation and stays for one."""
    return int(digest(conversation)[:8], 16)


def _remember(known: OrderedDict[str, Any], name: str, value: Any) -> None:
    known[name] = value
    known.move_to_end(name)
    if len(known) > _REMEMBERED:
        known.popitem(last=False)
