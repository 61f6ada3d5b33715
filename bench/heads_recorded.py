"""Heads on recorded prompts: what each foretells of problems that it was not fitted to, and what that is worth to `solve`.

Fitted to 16 samples of each member on four fifths of the problems, tried on all samples of the last fifth, in turn. *Other
families*: the fifths share no family of problems, or no number of parts. Features: the 32 by hand that the server logs; the mean of
the prompt's token embeddings, its first 32 principal components on the problems that are fitted to; both. In `solve` a problem's
next sample passes with the chance of a Beta distribution whose mean is the head's, after the failures so far, and the likeliest goes
first; how sure the head is, one number, is the likeliest over all left-out problems. Lockstep is what `solve` does.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from alpharay.router.intervals import mean_interval
from alpharay.router.learn.features import features_of
from alpharay.router.learn.heads import Constant, Implicit, Logistic, Mlp, NearestNeighbours
from alpharay.router.passk import failure_curve
from bench.frontier.problems.draw import FAMILIES, shuffled
from bench.solve.curves import Curves, Floats, Ints, cell, compared, of_first_passes
from bench.solve.recorded import EMBEDDED, FRONTIER, RECORDED, Recorded, Samples

HEADS = {
    "constant": Constant,
    "logistic": Logistic,
    "mlp": Mlp,
    "knn": NearestNeighbours,
    "implicit, state-driven": Implicit,
    "implicit, descent": lambda: Implicit(state_driven=False, steps=120),
}
ABOUT = f"Made by `python -m bench.heads --recorded --save`. {' '.join((__doc__ or '').partition(chr(10) * 2)[2].split())}"
FITTED_SAMPLES, FOLDS, DIMENSION, RESAMPLES = 16, 5, 32, 4000
SURE = (0.5, 1, 2, 4, 8, 16, 32, 64)
TOTALS = (1, 2, 5, 10)
RUNS, PASS_AT, GRID = 8, 8, 400
SCALE = 0.5  # of a projected feature, about that of the features by hand


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """family, prompt: names of each problem's; two problems may share a prompt but for its limits. embedded: mean of its token embeddings, [problems, width].

    fitted: passes among the first FITTED_SAMPLES of each member, [problems, members]; samples, solved: of all.
    first: [runs, problems], samples at the first pass along the schedule. share: of each member among the schedule's first samples.
    """

    title: str
    family: tuple[str, ...]
    prompt: tuple[str, ...]
    by_hand: Floats
    embedded: Floats
    fitted: Floats
    samples: Floats
    solved: Floats
    first: Ints
    share: Floats
    levels: int


def tables() -> str:
    return "\n\n".join(
        _table(prompts, by_family=by_family) for prompts in _sets() for by_family in (False, True)
    )


def _sets() -> list[Prompts]:
    contest = {raw["id"]: raw for raw in shuffled(list(FAMILIES), 6, "test")}
    with gzip.open(FRONTIER / "parts-test.jsonl.gz", "rt") as lines:
        parts = {raw["id"]: raw for raw in map(json.loads, lines)}
    served, _, *of_parts = RECORDED
    return [
        _read("Contest, 192 problems of 48 families, five members", [served], contest, EMBEDDED),
        _read(
            "Parts, 480 problems of one to three parts, three members", of_parts, parts, EMBEDDED / "parts"
        ),
    ]


def _read(title: str, sources: Sequence[Recorded], raws: Mapping[str, Any], weights: Path) -> Prompts:
    """sources: of the same members. raws: their problems. weights: the folder of the checkpoint `high`, whose embeddings are read."""
    columns: dict[str, list[Any]] = {
        name: [] for name in ("ids", "fitted", "samples", "solved", "first", "turns")
    }
    drawn = [(source, Samples(source.read(), 0)) for source in sources]
    levels = min(samples.fewest for _, samples in drawn)
    for source, samples in drawn:
        schedule = source.schedule(samples.names)
        columns["ids"] += samples.ids
        columns["fitted"].append(samples.passes(FITTED_SAMPLES))
        columns["samples"].append(samples.drawn)
        columns["solved"].append(samples.passes(None))
        columns["first"].append(
            np.stack([Samples(source.read(), run).first(schedule, levels) for run in range(RUNS)])
        )
        columns["turns"] += schedule[:FITTED_SAMPLES]
    tokens = Tokenizer.from_file(str(weights / "high" / "tokenizer.json"))
    table = load_file(weights / "high" / "model.safetensors")["model.embed_tokens.weight"].astype(np.float64)
    prompts = [raws[name]["prompt"] for name in columns["ids"]]
    return Prompts(
        title=title,
        family=tuple(name.split("-")[0] for name in columns["ids"]),
        prompt=tuple(name.removesuffix("-low").removesuffix("-high") for name in columns["ids"]),
        by_hand=np.array([features_of(prompt) for prompt in prompts]),
        embedded=np.stack([table[tokens.encode(prompt).ids].mean(axis=0) for prompt in prompts]),
        fitted=np.concatenate(columns["fitted"]).astype(np.float64),
        samples=np.concatenate(columns["samples"]).astype(np.float64),
        solved=np.concatenate(columns["solved"]).astype(np.float64),
        first=np.concatenate(columns["first"], axis=1),
        share=np.array([columns["turns"].count(name) for name in drawn[0][1].names]) / len(columns["turns"]),
        levels=levels,
    )


def _table(prompts: Prompts, *, by_family: bool) -> str:
    """Markdown. by_family: the fifths share no family."""
    folds = _folds(prompts, by_family=by_family)
    even = of_first_passes(prompts.first, prompts.levels)
    constant = _left_out(prompts, folds, "constant", "hand")
    heads = [(name, kind) for kind in ("hand", "embeddings", "both") for name in HEADS if name != "constant"]
    chosen = _choice(prompts, constant)
    totals = [total for total in TOTALS if compared(even, even, total) is not None]
    rows = [["constant", "", f"{_loss(prompts, constant).mean():.4f}", "", "", *("" for _ in totals)]]
    for name, kind in heads:
        chances = _left_out(prompts, folds, name, kind)
        loss = mean_interval(_loss(prompts, chances) - _loss(prompts, constant), resamples=RESAMPLES)
        choice = mean_interval(100 * (_choice(prompts, chances) - chosen), resamples=RESAMPLES)
        order = _in_order(prompts, chances)
        ratios = [cell(compared(order, even, total)) for total in totals]
        rows.append(
            [
                name,
                kind,
                f"{_loss(prompts, chances).mean():.4f}",
                *map(_signed, (loss, choice), (4, 1)),
                *ratios,
            ]
        )
    head = ["head", "features", "log-loss", "less the constant's", f"its choice at {PASS_AT}, points"]
    head += [f"`solve` in its order, {total} a problem" for total in totals]
    title = f"### {prompts.title}{': other families' if by_family else ''}"
    return f"{title}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _folds(prompts: Prompts, *, by_family: bool) -> Ints:
    """The fifth of each problem. A prompt that two problems share, or that differs by its limits alone, is in one fifth."""
    groups = list(prompts.family) if by_family else list(prompts.prompt)
    names = sorted(set(groups))
    fold = dict(zip(names, np.random.default_rng(0).permutation(len(names)) % FOLDS, strict=True))
    return np.array([fold[group] for group in groups])


def _left_out(prompts: Prompts, folds: Ints, name: str, kind: str) -> Floats:
    """[problems, members], each problem's by a head that was fitted without its fifth."""
    chances = np.zeros_like(prompts.solved)
    for fold in sorted(set(folds.tolist())):
        test, train = folds == fold, folds != fold
        features = _features(prompts, train, kind)
        head = HEADS[name]()
        head.fit(features[train], prompts.fitted[train], np.full_like(prompts.fitted[train], FITTED_SAMPLES))
        chances[test] = np.clip(head.chances(features[test]), 1e-5, 1 - 1e-5)
    return chances


def _features(prompts: Prompts, train: NDArray[np.bool_], kind: str) -> Floats:
    if kind == "hand":
        return prompts.by_hand
    centred = prompts.embedded - prompts.embedded[train].mean(axis=0)
    _, sizes, directions = np.linalg.svd(centred[train], full_matrices=False)
    spread = sizes[:DIMENSION] / np.sqrt(train.sum()) + 1e-9
    projected = SCALE * centred @ directions[:DIMENSION].T / spread
    return projected if kind == "embeddings" else np.concatenate([prompts.by_hand, projected], axis=1)


def _loss(prompts: Prompts, chances: Floats) -> Floats:
    """[problems], nats a sample"""
    passed = prompts.solved / prompts.samples
    return np.asarray(-(passed * np.log(chances) + (1 - passed) * np.log(1 - chances)).mean(axis=1))


def _choice(prompts: Prompts, chances: Floats) -> Floats:
    """[problems]: the chance that PASS_AT recorded samples of the member with the highest chance hold a pass."""
    curves = failure_curve(prompts.samples.astype(np.int64), prompts.solved.astype(np.int64), PASS_AT)[
        PASS_AT
    ]
    return np.asarray(1 - curves[np.arange(len(chances)), chances.argmax(axis=1)])


def _in_order(prompts: Prompts, chances: Floats) -> Curves:
    """The likeliest next sample first; a level is the chance below which no more are drawn."""
    mean = chances @ prompts.share
    passes, drawn = prompts.fitted @ prompts.share, FITTED_SAMPLES
    likelihood = [
        (
            _log_beta(sure * mean + passes, sure * (1 - mean) + drawn - passes)
            - _log_beta(sure * mean, sure * (1 - mean))
        ).sum()
        for sure in SURE
    ]
    sure = SURE[int(np.argmax(likelihood))]
    failures = np.arange(prompts.levels)
    next_one = sure * mean[:, np.newaxis] / (sure + failures)  # [problems, levels], falling
    bounds = np.quantile(next_one, np.linspace(1, 0, GRID))
    drawn_by = np.array([(next_one >= bound).sum(axis=1) for bound in bounds])  # [GRID, problems]
    grid = np.concatenate([np.zeros((1, len(mean)), dtype=np.int64), drawn_by])[:, np.newaxis]
    first = prompts.first[np.newaxis]
    return Curves(solved=(first <= grid).mean(axis=1), samples=np.minimum(first, grid).mean(axis=1))


_log_gamma = np.vectorize(math.lgamma)


def _log_beta(a: Floats, b: Floats) -> Floats:
    return np.asarray(_log_gamma(a) + _log_gamma(b) - _log_gamma(a + b))


def _signed(interval: tuple[float, float, float], digits: int) -> str:
    value, low, high = interval
    return f"{value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"
