"""Go or no go, before the evaluation is paid for: is a sample of the middle worth less than the mean of two endpoints'?

With H = -log(1 - p), k samples of a member fail with chance exp(-k H): samples of different members add up in H. Where
H(.5) is the mean of H(0) and H(1), alpha .5 is the ensemble {0, 1}, and none can gain; where it is well below, it can.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from alpharay.router.intervals import middle
from bench.frontier import members
from bench.frontier.parts.draw import COUNTS, PROBLEM_SEED, fast_parts, pairs
from bench.frontier.parts.outcomes import Counted, path_of, read
from bench.frontier.sample import sample
from bench.frontier.tokenizer import encode_prompt

Floats = NDArray[np.float64]

NAMES = ("frontier@0", "frontier@0.5", "frontier@1")
RARE = 0.3  # problems that pass more often than this, over the three members, do not count
GO = 0.8
RESAMPLES = 2000
COUNTED = 20  # samples of each prompt whose ways are counted
PROMPTS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Of one count of parts. passed: each member's share of samples that pass. ratio: H(.5) / mean(H(0), H(1)).

    fast: of each member, the share of parts that take the fast way. alike: the share of programs in which all parts
    take one way, and what it would be if parts chose independently.
    """

    parts: int
    problems: int
    passed: dict[str, float]
    ratio: float
    interval: tuple[float, float]
    fast: dict[str, float]
    alike: dict[str, tuple[float, float]]

    @property
    def go(self) -> bool:
        return self.ratio < GO


def hazard(samples: NDArray[np.int64], solved: NDArray[np.int64]) -> Floats:
    """-log(1 - p) of each problem and member; a problem that always passed counts as half a sample short of it."""
    return -np.log1p(-np.minimum(solved / samples, 1 - 0.5 / samples))


def ratio(counted: Counted) -> tuple[float, tuple[float, float], int]:
    """(H(.5) / mean(H(0), H(1)) over rarely solved problems, its 95 % interval over prompts, problems that count)."""
    three = counted.only(NAMES)
    passed = (three.solved / three.samples).mean(axis=-1)
    counts = passed < RARE  # [prompts, 2]
    each = (hazard(three.samples, three.solved) * counts[..., None]).sum(axis=1)  # [prompts, 3]
    picked = np.random.default_rng(0).integers(0, len(each), (RESAMPLES, len(each)))
    sums = each[picked].sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = 2 * sums[:, 1] / (sums[:, 0] + sums[:, 2])
        whole = 2 * each[:, 1].sum() / (each[:, 0] + each[:, 2]).sum()
    return float(whole), middle(spread[np.isfinite(spread)]), int(counts.sum())


def ways(folder: Path, names: Sequence[str], count: int) -> dict[str, tuple[float, float, float]]:
    """By member: (share of fast parts, share of programs of one way, that share if parts chose independently)."""
    tokenizer = Tokenizer.from_file(str(folder / "init" / "tokenizer.json"))
    raws = pairs(count, PROMPTS, PROBLEM_SEED, "validation")[::2]
    prompts = [encode_prompt(tokenizer, raw["prompt"]) for raw in raws]
    shares = {}
    for point in members.points(folder, {name: members.PARTS_SINGLES[name] for name in names}):
        number = random.Random(f"ways/{point.name}/{count}").getrandbits(40)
        answers = sample(point.load(), prompts, COUNTED, seed=number)
        counted = [fast_parts(tokenizer.decode(ids)) for each in answers for ids in each]
        whole = [fast for fast, parts in counted if parts == count and fast <= count]
        share = sum(whole) / max(1, count * len(whole))
        alike = sum(fast in (0, count) for fast in whole) / max(1, len(whole))
        shares[point.name] = (share, alike, share**count + (1 - share) ** count)
    return shares


def gate(weights: Path, outcomes: Path, results: Path, seed: int) -> list[Gate]:
    """Prints the verdict; keeps the figures in `parts-seedN-gate.json` of `results`.

    weights: the folder of the checkpoints. outcomes: that of the gate's outcomes.
    """
    torch.set_num_threads(1)
    gates = []
    for count in COUNTS:
        counted = read(path_of(outcomes, seed, count, "gate"))
        whole, interval, problems = ratio(counted)
        chosen = ways(weights, NAMES, count)
        shares = (counted.solved / counted.samples).mean(axis=(0, 1))
        gates.append(
            Gate(
                parts=count,
                problems=problems,
                passed={
                    name: round(float(share), 4) for name, share in zip(counted.members, shares, strict=True)
                },
                ratio=round(whole, 3),
                interval=(round(interval[0], 3), round(interval[1], 3)),
                fast={name: round(each[0], 3) for name, each in chosen.items()},
                alike={name: (round(each[1], 3), round(each[2], 3)) for name, each in chosen.items()},
            )
        )
    print("\n".join(lines(gates)))
    path = results / f"parts-seed{seed}-gate.json"
    path.write_text(json.dumps([asdict(each) for each in gates], indent=1) + "\n")
    return gates


def lines(gates: Sequence[Gate]) -> list[str]:
    text = []
    for each in gates:
        passed = ", ".join(f"{name} {share:.2%}" for name, share in each.passed.items())
        fast = ", ".join(f"{name} {share:.2f}" for name, share in each.fast.items())
        alike = ", ".join(f"{name} {is_:.2f} ({would:.2f})" for name, (is_, would) in each.alike.items())
        figure = f"{each.ratio:.2f} [{each.interval[0]:.2f}, {each.interval[1]:.2f}]"
        text += [
            f"{each.parts} parts: H(.5) / mean(H(0), H(1)) = {figure} on {each.problems} problems: {'go' if each.go else 'no go'}",
            f"  pass: {passed}",
            f"  fast parts: {fast}; programs of one way (if parts chose independently): {alike}",
        ]
    return text
