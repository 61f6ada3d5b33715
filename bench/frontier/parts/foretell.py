"""What an ensemble gains where every part of a program takes its way by itself, from a few numbers and no model.

    python -m bench.frontier.parts.foretell --fast 0.05,0.25,0.5,0.75,0.9,0.95,0.97 --right 0.03,0.025,0.02

A member takes the fast way in a part with chance f. Of T parts, a program with all fast is right under high limits, one
with all simple under low ones; a share `NARROW` of the problems with low limits takes either. So a sample of the member
passes with chance q f^T, q (1 - f)^T or q, and with q spread over problems as a Gamma distribution of that mean. A
member with f = .5 then has 2^-T where each endpoint has nearly 1 on half of the problems: at T = 1 that is the same at
the same number of samples, from T = 2 on it is less, and two specialists beat it.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.frontier.parts.draw import NARROW

Floats = NDArray[np.float64]

SHAPE = 2.0  # of the Gamma distribution of q over problems
QUANTILES = 400


def chances(fast: Sequence[float], right: float, parts: int) -> tuple[Floats, Floats]:
    """([problems, members] chances of a sample to pass, [problems] weights that sum to 1).

    fast: each member's chance of the fast way in a part. right: mean chance of a pass where all ways are right.
    """
    spread = np.sort(np.random.default_rng(0).gamma(SHAPE, right / SHAPE, (QUANTILES, 1))).clip(max=0.999)
    f = np.asarray(fast)
    kinds = (f**parts, (1 - f) ** parts, np.ones_like(f))
    weights = (0.5, 0.5 * (1 - NARROW), 0.5 * NARROW)
    table = np.concatenate([spread * kind for kind in kinds])
    return table, np.repeat(weights, QUANTILES) / QUANTILES


def solved(table: Floats, weights: Floats, split: Sequence[int]) -> float:
    """Expected share of problems that a split of samples over members solves."""
    return float(weights @ (1 - ((1 - table) ** np.asarray(split)).prod(axis=1)))


def gain(
    fast: Sequence[float], right: float, parts: int, k: int, ends: tuple[int, int]
) -> tuple[float, float, float]:
    """(the best single member's share, an equal split of the two `ends`, the best equal split of any two members)."""
    table, weights = chances(fast, right, parts)
    members = len(fast)

    def of(pair: tuple[int, ...]) -> float:
        split = [0] * members
        for index, member in enumerate(pair):
            split[member] += k // len(pair) + (index < k % len(pair))
        return solved(table, weights, split)

    single = max(of((member,)) for member in range(members))
    return single, of(ends), max(of(pair) for pair in itertools.combinations(range(members), 2))


def table(
    fast: Sequence[float], right: Sequence[float], ends: tuple[int, int], budgets: Sequence[int]
) -> str:
    """Markdown: per number of parts and budget, the shares and the gain of {0, 1} on the best single member."""
    lines = ["| parts | k | best single | {0, 1} | gain | best pair | gain |", "|" + " --- |" * 7]
    for parts, each in enumerate(right, 1):
        for k in budgets:
            single, both, pair = (100 * share for share in gain(fast, each, parts, k, ends))
            lines.append(
                f"| {parts} | {k} | {single:.1f} | {both:.1f} | {both - single:+.1f} | {pair:.1f} | {pair - single:+.1f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fast", required=True, help="of each member, low's first")
    parser.add_argument("--right", required=True, help="for one, two and three parts")
    parser.add_argument("--ends", default="0,5", help="which two of the members are low and high")
    parser.add_argument("--k", default="5,10,20,50,100")
    arguments = parser.parse_args()
    low, high = map(int, arguments.ends.split(","))
    fast, right = ([float(each) for each in text.split(",")] for text in (arguments.fast, arguments.right))
    print(table(fast, right, (low, high), [int(k) for k in arguments.k.split(",")]))


if __name__ == "__main__":
    main()
