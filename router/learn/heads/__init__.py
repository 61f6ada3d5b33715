"""Heads: from a prompt's features to each member's chance to solve it, behind one small interface.

Compared by `python -m bench.heads`, with the table in docs/router.md. The default is the plainest that looks at the prompt:
logistic regression, the best calibrated where the traffic shifts. No policy uses a head: on recorded
prompts they save samples only in a batch of the very kinds that the log is of. `bandit` learns from prompts by itself.
"""

from alpharay.router.learn.heads.base import Head
from alpharay.router.learn.heads.constant import Constant
from alpharay.router.learn.heads.implicit import Implicit
from alpharay.router.learn.heads.knn import NearestNeighbours
from alpharay.router.learn.heads.logistic import Logistic
from alpharay.router.learn.heads.mlp import Mlp

DEFAULT = Logistic

__all__ = ["DEFAULT", "Constant", "Head", "Implicit", "Logistic", "Mlp", "NearestNeighbours"]
