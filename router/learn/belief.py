"""The posterior within one request: which type its problem is, and which members may solve it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from alpharay.router.draw import Candidate, Member
from alpharay.router.learn.logged_outcome import OutcomeClass
from alpharay.router.learn.mixture import Mixture, log_evidence

Floats = NDArray[np.float64]


class Belief:
    """Posterior over types and over each member's chance, for samples to be chosen one after the other.

    Choosing assumes that what was chosen before fails: where one of them passes, the request is over.
    So `gain` is the exact marginal coverage of one more sample of each member, given the ones chosen.
    """

    def __init__(self, mixture: Mixture, members: Sequence[Member], candidates: Sequence[Candidate]) -> None:
        """members: everyone that drew or may draw in this request."""
        self._column_of = {member.name: column for column, member in enumerate(members)}
        rates = mixture.rates_of(members)
        counts = np.zeros((len(members), len(OutcomeClass)), dtype=np.int64)
        for candidate in candidates:
            outcome_class = OutcomeClass.of(candidate.verdict.verdict) if candidate.verdict else None
            if (
                outcome_class is not None
                and candidate.draw.turn == 1
                and candidate.draw.member in self._column_of
            ):
                counts[self._column_of[candidate.draw.member], outcome_class] += 1
        log_chance = np.log(mixture.weights) + log_evidence(rates, mixture.kappa, counts)
        chance = np.exp(log_chance - log_chance.max())
        self._open: Floats = chance / chance.sum()  # [G]: of the type, and that all chosen samples fail
        self._solved: Floats = (
            mixture.kappa * rates[:, :, OutcomeClass.SOLVED] + counts[:, OutcomeClass.SOLVED]
        )
        self._tried: Floats = mixture.kappa + np.tile(counts.sum(-1, dtype=np.float64), (len(rates), 1))
        self._rate: Floats = self._solved / self._tried  # [G, members]

    @property
    def types(self) -> Floats:
        """[G]; sums to the chance that all chosen samples fail."""
        return self._open

    def gain(self) -> Floats:
        """[members]: by how much one more sample of each raises the chance that the request is solved."""
        return np.asarray(self._open @ self._rate)

    def choose(self, member: str, samples: int = 1) -> None:
        """Assumes that these samples of the member are drawn and fail."""
        column = self._column_of[member]
        for _ in range(samples):
            self._open = self._open * (1 - self._rate[:, column])
            self._tried[:, column] += 1
            self._rate[:, column] = self._solved[:, column] / self._tried[:, column]

    def take_under_way(self, drawn: Mapping[str, int], candidates: Sequence[Candidate]) -> None:
        """Treats samples without a known outcome as chosen."""
        known: dict[str, int] = {}
        for candidate in candidates:
            known[candidate.draw.member] = known.get(candidate.draw.member, 0) + 1
        for name, samples in drawn.items():
            if name in self._column_of and samples > known.get(name, 0):
                self.choose(name, samples - known.get(name, 0))
