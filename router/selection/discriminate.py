"""Candidates ranked by inputs on which they differ, each weighted by how many agree with it there.

An input on which all agree discriminates between none of them. One that most cannot read is more likely malformed than
read rightly by the few that can.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from alpharay.router.draw import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreements:
    """worth: of each candidate the mean share of those who answered as it did, over the inputs that discriminate, in [0, 1].

    discriminating: columns of those inputs. dropped: columns to which at most half of the candidates gave an output.
    """

    worth: tuple[float, ...]
    discriminating: tuple[int, ...]
    dropped: tuple[int, ...]


def contenders(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The accepted ones; else those that have not failed outright; else all."""
    for chosen in (
        [candidate for candidate in candidates if candidate.accepted],
        [candidate for candidate in candidates if not candidate.failed],
    ):
        if chosen:
            return chosen
    return list(candidates)


def agreements(behaviours: Sequence[tuple[str | None, ...]]) -> Agreements:
    """behaviours: what each candidate gave for each input; None: nothing. Shorter ones gave nothing more.

    A candidate that gave nothing to any input does not count: it may be no program. Linear in all outputs together.
    Source: the soft agreement of MBR-EXEC (arXiv:2204.11454), on distinguishing inputs as in S* (arXiv:2502.14382).
    """
    answering = sum(any(output is not None for output in behaviour) for behaviour in behaviours)
    width = max(map(len, behaviours), default=0)
    votes: dict[int, Counter[str]] = {column: Counter() for column in range(width)}
    for behaviour in behaviours:
        for column, output in enumerate(behaviour):
            if output is not None:
                votes[column][output] += 1
    dropped = [column for column, outputs in votes.items() if 2 * outputs.total() <= answering]
    # To give nothing where others do discriminates as well: the candidate has failed there.
    discriminating = [
        column
        for column, outputs in votes.items()
        if column not in dropped and (len(outputs) > 1 or outputs.total() < answering)
    ]
    return Agreements(
        worth=tuple(_worth(behaviour, discriminating, votes) for behaviour in behaviours),
        discriminating=tuple(discriminating),
        dropped=tuple(dropped),
    )


def _worth(
    behaviour: tuple[str | None, ...], discriminating: Sequence[int], votes: dict[int, Counter[str]]
) -> float:
    if not discriminating:
        # All who answer agree; those who never do come last.
        return float(any(output is not None for output in behaviour))
    shares = 0.0
    for column in discriminating:
        output = behaviour[column] if column < len(behaviour) else None
        if output is not None:
            shares += votes[column][output] / votes[column].total()
    return shares / len(discriminating)
