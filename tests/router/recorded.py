"""Outcomes of members that solve each problem with a known probability."""

from __future__ import annotations

import numpy as np

from alpharay.judge.verdict import VerdictKind
from alpharay.router import Member
from alpharay.router.outcomes import CODE, Outcomes


def recorded(solve, *, samples=60, slow=0.5, seed=0, names=None, judge_errors=0.0):
    """Outcomes of members that solve each problem with a known probability; solve: [problems, members]."""
    solve = np.asarray(solve, dtype=float)
    generator = np.random.default_rng(seed)
    shape = (*solve.shape, samples)
    passes = generator.random(shape) < solve[..., None]
    late = generator.random(shape) < np.broadcast_to(slow, (solve.shape[1],))[None, :, None]
    verdict = np.where(
        passes,
        CODE[VerdictKind.ACCEPTED],
        np.where(late, CODE[VerdictKind.TIME_LIMIT], CODE[VerdictKind.WRONG_ANSWER]),
    )
    verdict = np.where(generator.random(shape) < judge_errors, CODE[VerdictKind.JUDGE_ERROR], verdict)
    p, m, s = (axis.ravel() for axis in np.indices(shape))
    zeros = np.zeros(p.size, dtype=np.int64)
    names = names or [f"m{number}" for number in range(solve.shape[1])]
    return Outcomes(
        problems=tuple(f"p{number}" for number in range(solve.shape[0])),
        members=tuple(Member(name=name, alpha=float(number)) for number, name in enumerate(names)),
        problem=p,
        member=m,
        sample=s,
        seed=zeros,
        verdict=verdict.ravel(),
        failed_level=zeros - 1,
        passed=zeros,
        total=zeros,
        prompt_tokens=zeros + 10,
        completion_tokens=zeros + 20,
        cpu_s=zeros.astype(float),
        text_sha256=np.full(p.size, ""),
    )
