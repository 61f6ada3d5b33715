"""Outcomes of members whose solve probabilities are known, to see whether they are found again."""

from __future__ import annotations

import hashlib

import numpy as np

from alpharay.serve.evaluate.outcomes import write_outcomes


def columns_of(
    solve, *, samples=20, alphas=None, names=None, inefficient=0.5, judge_errors=0.0, seed=0, problems=None
):
    """Every column of an outcomes file. solve: (problems, members) probabilities of a pass.

    inefficient: share of the failures that are time limits, per member or one for all.
    """
    solve = np.asarray(solve, dtype=float)
    count, members = solve.shape
    alphas = [m / max(1, members - 1) for m in range(members)] if alphas is None else alphas
    names = names or [f"frontier@{alpha:g}" for alpha in alphas]
    slow = np.broadcast_to(inefficient, (members,))
    generator = np.random.default_rng(seed)
    shape = (count, members, samples)
    passes = generator.random(shape) < solve[:, :, None]
    late = generator.random(shape) < slow[None, :, None]
    verdict = np.where(passes, "accepted", np.where(late, "time_limit", "wrong_answer"))
    verdict = np.where(generator.random(shape) < judge_errors, "judge_error", verdict)
    p, m, s = (axis.ravel() for axis in np.indices(shape))
    ids = problems or [f"problem-{number}" for number in range(count)]
    return {
        "problem": [ids[index] for index in p],
        "member": [names[index] for index in m],
        "alpha": [alphas[index] for index in m],
        "sample": s.tolist(),
        "seed": (p * 1_000_003 + m * 1009 + s).tolist(),
        "verdict": verdict.ravel().tolist(),
        "failed_level": [None if kind == "accepted" else 1 for kind in verdict.ravel()],
        "passed": [4 if kind == "accepted" else 1 for kind in verdict.ravel()],
        "total": [4] * p.size,
        "prompt_tokens": [30] * p.size,
        "completion_tokens": (50 + (s % 7)).tolist(),
        "cpu_s": [0.01] * p.size,
        "text_sha256": [hashlib.sha256(b"%d" % number).hexdigest() for number in range(p.size)],
    }


def outcomes_file(path, solve, **options):
    write_outcomes(path, columns_of(solve, **options))
    return path
