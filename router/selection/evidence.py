"""What a selector needs of each candidate, beside its verdict."""

from __future__ import annotations

from enum import StrEnum


class Need(StrEnum):
    """BEHAVIOUR: what it does on shared inputs. LOGPROBS: how likely its tokens were. ANSWER: what its text claims.

    INPUTS: what it does on inputs that the members write once all candidates are there. DECISION: a scorer's.
    """

    BEHAVIOUR = "behaviour"
    LOGPROBS = "logprobs"
    ANSWER = "answer"
    INPUTS = "inputs"
    DECISION = "decision"


NOTHING: frozenset[Need] = frozenset()
# What must be gathered, though it costs runs or tokens. `tests` breaks ties by what is known anyway.
NEEDS: dict[str, frozenset[Need]] = {
    "tests": NOTHING,
    "cluster": frozenset({Need.BEHAVIOUR, Need.LOGPROBS}),
    "codet": frozenset({Need.BEHAVIOUR}),
    "b4": frozenset({Need.BEHAVIOUR}),
    "discriminate": frozenset({Need.BEHAVIOUR, Need.INPUTS, Need.LOGPROBS}),
    "majority": frozenset({Need.ANSWER, Need.LOGPROBS}),
    "logprob": frozenset({Need.LOGPROBS}),
    "scorer": frozenset({Need.DECISION, Need.LOGPROBS}),
}
