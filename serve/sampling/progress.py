"""The progress of a request's samples, sent to a streamed caller while it waits.

It travels as comment lines of the event stream, which every client of the OpenAI dialects skips and a reader
of its own can parse: `: {"alpharay":{"sample":3,"member":"frontier@1","state":"judged","verdict":"accepted"}}`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from alpharay.judge.verdict import VerdictKind
from alpharay.router import Draw

# (draw, state, verdict). state: `drawn`, `sampled`, `judged`, `lost` (our fault: it is drawn again), `aborted` (no
# longer needed) or `refused` (the engine does not take the request). verdict: of a judged sample; None where the judge was unreachable.
Watch = Callable[[Draw, str, VerdictKind | None], None]


class Progress:
    """Collects steps until they are taken; many may go out in one message.

    begun: set once a sample has come back, so that no engine refuses the request any more.
    """

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.news = asyncio.Event()
        self._lines: list[bytes] = []

    def watch(self, draw: Draw, state: str, verdict: VerdictKind | None = None) -> None:
        state = "aborted" if state == "refused" else state
        step = {"sample": draw.index, "member": draw.member, "seed": draw.seed, "state": state}
        if state == "judged":
            step["verdict"] = verdict.value if verdict else None
        self._lines.append(b": " + json.dumps({"alpharay": step}, separators=(",", ":")).encode() + b"\n\n")
        self.news.set()
        if state in {"sampled", "judged"}:
            self.begun.set()

    def take(self) -> bytes:
        """The steps since the last call, as comments; empty when there are none."""
        lines, self._lines = self._lines, []
        self.news.clear()
        return b"".join(lines)
