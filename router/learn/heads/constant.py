"""Every prompt alike: each member's share of solved samples."""

from __future__ import annotations

import numpy as np

from alpharay.router.learn.heads.base import Floats


class Constant:
    def fit(self, x: Floats, solved: Floats, tried: Floats) -> None:
        del x
        self._share: Floats = (solved.sum(axis=0) + 0.5) / (tried.sum(axis=0) + 1)

    def chances(self, x: Floats) -> Floats:
        return np.tile(self._share, (len(x), 1))
