"""The named methods, each a set of linear combinations for the one kernel.

Wherever an alpha appears it is counted as in the method's own paper; ours (ewa) counts from LOW.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from alpharay.merge.checkpoints.checkpoint import same_file
from alpharay.merge.combine import Combination
from alpharay.merge.compute.plan import Output, Plan, Settings, alpha_name, check_alphas, number, open_sources
from alpharay.merge.errors import UsageError

EXME_ALPHAS = (0.1, 0.2, 0.3, 0.4, 0.5)
EXME_BETAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
EXME_MAX_GAP = 1.5


def plan_ewa(*, low: Path, high: Path, alphas: Sequence[float], settings: Settings) -> Plan:
    """Extrapolative weight averaging: theta(alpha) = low + alpha * (high - low).

    alpha 0 is low and 1 is high; outside [0, 1] it extrapolates. Source: arXiv:2605.28751.
    Raises UsageError, CheckpointError, Mismatch.
    """
    return _on_a_line("ewa", {"low": low, "high": high}, alphas, settings, from_high=0.0)


def plan_expo(*, base: Path, tuned: Path, alphas: Sequence[float], settings: Settings) -> Plan:
    """Model extrapolation (ExPO): theta(a) = tuned + a * (tuned - base).

    ExPO's alpha counts from the tuned model: it is ours minus 1, so a = 0.5 here is ewa's alpha 1.5 with
    low = base and high = tuned. Tokenizer and configs come from `tuned`, as a base model has no chat
    template. Source: arXiv:2404.16792.
    """
    return _on_a_line("expo", {"base": base, "tuned": tuned}, alphas, settings, from_high=1.0)


def plan_wise_ft(*, early: Path, late: Path, alphas: Sequence[float], settings: Settings) -> Plan:
    """Weight-space ensembling (WiSE-FT): theta(d) = (1 - d) * early + d * late, 0 <= d <= 1.

    Source: arXiv:2109.01903. Raises UsageError beyond [0, 1], where ewa is meant.
    """
    for value in check_alphas(alphas):
        if not 0.0 <= value <= 1.0:
            raise UsageError(
                f"wise-ft interpolates, so alpha {value:g} must be in [0, 1]; use --method ewa beyond"
            )
    return _on_a_line("wise-ft", {"early": early, "late": late}, alphas, settings, from_high=0.0)


def plan_linear(
    *,
    models: Mapping[str, Path],
    outputs: Mapping[str, Sequence[float]],
    normalise: bool = False,
    settings: Settings,
) -> Plan:
    """Any weighted sum: output = sum_i weight_i * model_i, with one weight per model, in their order.

    Weights are any real numbers and are taken as they are; with `normalise` each output's are divided by
    their sum, which must not be zero. The first model is the anchor and gives tokenizer and configs.
    """
    planned = tuple(
        Output(name=name, alpha=1.0, combination=weighted(name, weights, normalise=normalise))
        for name, weights in outputs.items()
    )
    return Plan(
        method="linear",
        sources=open_sources(models, settings),
        outputs=planned,
        settings=settings,
        along_delta=False,
    )


def plan_exme(
    *,
    base: Path,
    first: Path,
    second: Path,
    alphas: Sequence[float] = EXME_ALPHAS,
    betas: Sequence[float] = EXME_BETAS,
    settings: Settings,
) -> Plan:
    """Extrapolation merging (ExMe): extrapolate two checkpoints from their base, then average them.

    theta(a, b) = b * (first + a * (first - base)) + (1 - b) * (second + a * (second - base)), written for
    every pair of `alphas` and `betas` to `alpha=<a>,beta=<b>`. Alpha counts from the tuned checkpoints, as
    ExPO's does. Tokenizer and configs come from `first`. Source: arXiv:2503.04834.
    """
    values = check_alphas(alphas)
    for beta in betas:
        if not (math.isfinite(beta) and 0.0 <= beta <= 1.0):
            raise UsageError(f"beta {beta:g} is the share of the first checkpoint; give a number in [0, 1]")
    if len(set(betas)) != len(betas) or not betas:
        raise UsageError("give every beta once, and at least one")
    outputs = tuple(
        Output(
            name=f"{alpha_name(alpha)},beta={number(beta)}",
            alpha=1.0,
            combination=Combination(coefficients=((1 + alpha) * beta, (1 + alpha) * (1 - beta))),
        )
        for alpha in values
        for beta in betas
    )
    sources = open_sources({"base": base, "first": first, "second": second}, settings)
    return Plan(
        method="exme",
        sources=sources,
        outputs=outputs,
        settings=settings,
        companions_from=1,
        along_delta=False,
    )


def best_pair(scores: Mapping[str, float], *, max_gap: float = EXME_MAX_GAP) -> tuple[str, str]:
    """The two checkpoints that ExMe combines: those with the highest recorded scores (points), best first.

    Raises UsageError for fewer than two, and when they differ by more than `max_gap`: the paper found that
    the weaker one then drags the merge down.
    """
    if len(scores) < 2:
        raise UsageError("exme needs the scores of two checkpoints at least; record them first")
    first, second = sorted(scores, key=lambda name: (-scores[name], name))[:2]
    gap = scores[first] - scores[second]
    if gap > max_gap:
        raise UsageError(
            f"the best two checkpoints are {gap:.2f} points apart ({first} {scores[first]:g}, {second} "
            f"{scores[second]:g}), more than {max_gap:g}; give closer ones or raise max_gap"
        )
    return first, second


def weighted(name: str, weights: Sequence[float], *, normalise: bool) -> Combination:
    """The combination sum_i weight_i * model_i, relative to the first model."""
    if not all(math.isfinite(weight) for weight in weights):
        raise UsageError(f"{name}: weights {list(weights)} are not all finite numbers")
    total = math.fsum(weights)
    if normalise:
        if abs(total) < 1e-9:
            raise UsageError(f"{name}: weights {list(weights)} sum to zero and cannot be normalised")
        weights, total = [weight / total for weight in weights], 1.0
    # 0.1 + 0.2 + 0.7 is meant to be 1, whatever binary fractions say.
    scale = 1.0 if math.isclose(total, 1.0, rel_tol=1e-12) else total
    return Combination(scale=scale, coefficients=tuple(weights[1:]))


def _on_a_line(
    method: str, ends: Mapping[str, Path], alphas: Sequence[float], settings: Settings, *, from_high: float
) -> Plan:
    """theta(alpha) on the line through two ends; `from_high` is where, in our counting, alpha is 0."""
    values = check_alphas(alphas)
    low, high = ends.values()
    if same_file(low, high):
        names = " and ".join(role.upper() for role in ends)
        raise UsageError(f"{names} are both {low}; give the two endpoints of the frontier")
    return Plan(
        method=method,
        sources=open_sources(ends, settings),
        outputs=tuple(
            Output(
                name=alpha_name(alpha),
                alpha=alpha,
                combination=Combination(coefficients=(from_high + alpha,)),
            )
            for alpha in values
        ),
        settings=settings,
        companions_from=int(from_high),
    )
