"""The kernel against float64 references that share no code with it."""

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from alpharay.merge.combine import Combination, Kernel, NonFiniteBlock, OverflowedBlock
from alpharay.merge.dtypes import BF16, FP16, FP32, FP64
from alpharay.merge.rounding import BLOCK, draws

NUMPY = {
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F16": np.dtype("f2"),
    "F32": np.dtype("f4"),
    "F64": np.dtype("f8"),
}
DYADIC = [-2.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 3.0]


def run_kernel(arrays, dtypes, combinations, target, rounding="nearest", seed=0):
    """One block through the kernel; gives the outputs as arrays of the target's own type, and the sums."""
    kernel = Kernel(len(arrays), rounding=rounding, seed=seed, along_delta=len(arrays) == 2)
    outs = [np.empty(arrays[0].size, target.storage) for _ in combinations]
    stored = [array.view(dtype.storage) for array, dtype in zip(arrays, dtypes, strict=True)]
    sums = kernel.block("a.weight", 0, combinations, stored, dtypes, outs, target)
    return [out.view(NUMPY[target.code]) for out in outs], sums


def neighbours(values, dtype):
    """The next representable number on either side, as float64; infinite beyond the largest."""
    up, down = (
        np.nextafter(values, np.array(np.inf, values.dtype)),
        np.nextafter(values, np.array(-np.inf, values.dtype)),
    )
    return up.astype("f8"), down.astype("f8")


def bits(dtype):
    """Arrays of any finite numbers of a dtype, from its bits: subnormals, -0.0 and extremes included."""
    width = NUMPY[dtype.code].itemsize * 8
    words = st.lists(st.integers(0, 2**width - 1), min_size=1, max_size=40)

    def build(values):
        array = np.array(values, f"u{width // 8}").view(NUMPY[dtype.code])
        # Halved range, so that no combination below overflows.
        with np.errstate(invalid="ignore"):
            small = np.abs(array.astype("f8")) < float(ml_dtypes.finfo(array.dtype).max) / 64
        return np.where(small, array, np.zeros_like(array))

    return words.map(build)


@pytest.mark.parametrize("dtype", [BF16, FP16, FP32], ids=lambda dtype: dtype.name)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_dyadic_alphas_are_within_half_an_ulp(dtype, data):
    low = data.draw(bits(dtype))
    high = np.resize(data.draw(bits(dtype)), low.shape)
    alpha = data.draw(st.sampled_from(DYADIC))
    (out,), _ = run_kernel([low, high], [dtype, dtype], [Combination(coefficients=(alpha,))], dtype)
    sides = neighbours(out, dtype)
    for i, (x, y) in enumerate(zip(low.astype("f8"), high.astype("f8"), strict=True)):
        exact = (1 - Fraction(alpha)) * Fraction(float(x)) + Fraction(alpha) * Fraction(float(y))
        distance = abs(Fraction(float(out[i])) - exact)
        # Endpoints 2**45 apart or more leave a last trace in float64; it can only decide a tie.
        trace = abs(exact) / 2**51
        assert all(distance <= abs(Fraction(float(side[i])) - exact) + trace for side in sides)


@pytest.mark.parametrize("dtype", [BF16, FP16, FP32], ids=lambda dtype: dtype.name)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_alpha_0_and_1_are_the_endpoints_bit_for_bit(dtype, data):
    low = data.draw(bits(dtype))
    high = np.resize(data.draw(bits(dtype)), low.shape)
    combinations = [Combination(coefficients=(0.0,)), Combination(coefficients=(1.0,))]
    for rounding in ("nearest", "stochastic"):
        (first, second), _ = run_kernel([low, high], [dtype, dtype], combinations, dtype, rounding)
        assert first.tobytes() == low.tobytes()
        assert second.tobytes() == high.tobytes()


@pytest.mark.parametrize("alpha", [0.3, -0.7, 1.1])
@given(low=bits(FP32), data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_alpha_is_the_correctly_rounded_float64_sum(alpha, low, data):
    high = np.resize(data.draw(bits(FP32)), low.shape)
    for target in (BF16, FP32):
        (out,), _ = run_kernel([low, high], [FP32, FP32], [Combination(coefficients=(alpha,))], target)
        exact = low.astype("f8") + alpha * (high.astype("f8") - low.astype("f8"))
        distance = np.abs(out.astype("f8") - exact)
        for neighbour in neighbours(out, target):
            assert (distance <= np.abs(neighbour - exact)).all()


@given(st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=50), st.integers(1, 2**32))
@example([0x3F80, 0x3F81, 0x0001, 0x8001, 0x007F], 1)
@settings(max_examples=100, deadline=None)
def test_ties_go_to_even_and_nothing_is_rounded_twice(words, epsilon):
    low = np.array(words, "u2").view(NUMPY["BF16"])
    low = np.where(np.isfinite(low.astype("f8")), low, np.zeros_like(low))
    up = (low.view("u2") + 1).astype("u2").view(NUMPY["BF16"])
    low, up = low[np.isfinite(up.astype("f8"))], up[np.isfinite(up.astype("f8"))]
    if not low.size:
        return
    middle = (low.astype("f8") + up.astype("f8")) / 2
    # A nudge far below float32's precision decides which side a value is on.
    above = middle * (1 + epsilon * 2.0**-51)
    for exact, expected in (
        (middle, np.where(low.view("u2") & 1, up.view("u2"), low.view("u2"))),
        (above, up.view("u2")),
    ):
        (out,), _ = run_kernel([exact, exact], [FP64, FP64], [Combination(coefficients=(0.5,))], BF16)
        assert (out.view("u2") == expected).all()


@pytest.mark.parametrize("target", [BF16, FP16], ids=lambda dtype: dtype.name)
def test_stochastic_rounding_is_unbiased_and_takes_one_of_the_two_neighbours(target):
    random = np.random.default_rng(1)
    values = np.concatenate([random.standard_normal(20) * 0.02, [3e-6, -2.2e-8, 1.0, 0.0, -0.25]])
    exact = np.repeat(values, BLOCK // values.size)
    (out,), _ = run_kernel(
        [exact, exact], [FP64, FP64], [Combination(coefficients=(0.5,))], target, "stochastic", 3
    )
    got = out.astype("f8")
    nearest = exact.astype(NUMPY[target.code])
    up, down = neighbours(nearest, target)
    assert ((got == nearest.astype("f8")) | (got == up) | (got == down)).all()
    step = np.maximum(up - nearest.astype("f8"), nearest.astype("f8") - down)
    assert (np.abs(got - exact) < step).all()
    bias = (got - exact).reshape(values.size, -1).mean(axis=1) / step.reshape(values.size, -1)[:, 0]
    # Standard error of the mean of 1310 numbers in one step: at most 0.5 / sqrt(1310) = 0.014.
    assert (np.abs(bias) < 0.07).all()
    exactly = np.isin(exact, [1.0, 0.0, -0.25])
    assert (got[exactly] == exact[exactly]).all()


def test_draws_of_a_block_depend_on_seed_name_and_place_only():
    whole = draws(7, "a.weight", 3, BLOCK)
    assert (draws(7, "a.weight", 3, 100) == whole[:100]).all()
    for other in (draws(8, "a.weight", 3, 100), draws(7, "b.weight", 3, 100), draws(7, "a.weight", 4, 100)):
        assert (other != whole[:100]).any()


def test_effective_alpha_sums_match_a_regression_over_the_written_values():
    random = np.random.default_rng(2)
    low = (random.standard_normal(30_000) * 0.02).astype(NUMPY["BF16"])
    high = (low.astype("f4") + random.standard_normal(low.size).astype("f4") * 1e-4).astype(NUMPY["BF16"])
    (out,), (sums,) = run_kernel([low, high], [BF16, BF16], [Combination(coefficients=(0.3,))], BF16)
    delta = high.astype("f8") - low.astype("f8")
    slope = ((out.astype("f8") - low.astype("f8")) @ delta) / (delta @ delta)
    assert 0.3 + sums.error_along[0] / sums.gram[0][0] == pytest.approx(slope, rel=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("source", [0, 1])
def test_nan_and_inf_are_found_where_they_are(bad, source):
    arrays = [np.ones(50, "f4"), np.ones(50, "f4")]
    arrays[source][17] = bad
    with pytest.raises(NonFiniteBlock) as caught:
        run_kernel(arrays, [FP32, FP32], [Combination(coefficients=(0.0,))], FP32)
    assert (caught.value.source, caught.value.index) == (source, 17)


@pytest.mark.parametrize(("target", "largest"), [(FP16, 65504.0), (BF16, 3.3895e38), (FP32, 3.4028e38)])
def test_a_value_beyond_the_dtype_is_refused_and_the_largest_is_not(target, largest):
    low, high = np.zeros(3, "f4"), np.full(3, np.float32(largest / 2))
    (out,), _ = run_kernel([low, high], [FP32, FP32], [Combination(coefficients=(1.99,))], target)
    assert np.isfinite(out.astype("f8")).all()
    with pytest.raises(OverflowedBlock):
        run_kernel([low, high], [FP32, FP32], [Combination(coefficients=(2.1,))], target)


def test_three_checkpoints_and_weights_that_do_not_sum_to_one():
    random = np.random.default_rng(4)
    arrays = [random.standard_normal(100).astype("f4") for _ in range(3)]
    combination = Combination(scale=1.7, coefficients=(0.4, -0.9))
    (out,), _ = run_kernel(arrays, [FP32] * 3, [combination], FP32)
    a, b, c = (array.astype("f8") for array in arrays)
    expected = 1.7 * a + 0.4 * (b - a) - 0.9 * (c - a)
    assert np.abs(out - expected).max() <= 1e-6
