"""The compiled kernel against the numpy kernel, which is the reference."""

import os
import shutil
import tempfile
from importlib import resources

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpharay.merge.combine import Combination, Kernel, NonFiniteBlock, OverflowedBlock
from alpharay.merge.compute.native import COMPILE_FROM, compile_kernel, native_kernel
from alpharay.merge.dtypes import BF16, FP16, FP32, FP64
from alpharay.merge.rounding import BLOCK

pytestmark = pytest.mark.skipif(
    not shutil.which(os.environ.get("CC") or "cc"), reason="no C compiler on this machine"
)
SOURCE = resources.files("alpharay.merge.compute").joinpath("block.c").read_bytes()
COEFFICIENTS = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 0.5, -1.0, 2.0, 1e-300]), st.floats(-4, 4, allow_subnormal=True)
)


@pytest.fixture(scope="module")
def native():
    kernel = compile_kernel(SOURCE)
    assert kernel is not None
    return kernel


def numpy_blocks(combinations, stored, dtypes, outs, target, along_delta):
    """As NativeKernel.blocks; the error where a block is refused."""
    kernel = Kernel(len(stored), rounding="nearest", seed=0, along_delta=along_delta)
    results = []
    for start in range(0, stored[0].size, BLOCK):
        here = slice(start, start + BLOCK)
        arrays = [array[here] for array in stored]
        try:
            results.append(
                kernel.block("", 0, combinations, arrays, dtypes, [out[here] for out in outs], target)
            )
        except (NonFiniteBlock, OverflowedBlock) as error:
            results.append(error)
    return results


def flat(sums):
    return np.array([*sums.error_along, *(value for row in sums.gram for value in row), sums.error_error])


def compare(native, combinations, stored, dtypes, target, along_delta):
    """Both kernels; fails where they differ. Gives how many blocks were not left to numpy."""
    outs = [[np.zeros(stored[0].size, target.storage) for _ in combinations] for _ in range(2)]
    results = native.blocks(combinations, stored, dtypes, outs[0], target, along_delta=along_delta)
    expected = numpy_blocks(combinations, stored, dtypes, outs[1], target, along_delta)
    computed = 0
    for block, (mine, reference) in enumerate(zip(results, expected, strict=True)):
        if mine is None:
            continue
        computed += 1
        here = slice(block * BLOCK, (block + 1) * BLOCK)
        assert not isinstance(reference, Exception), "numpy refuses this block"
        for left, right in zip(*outs, strict=True):
            assert left[here].tobytes() == right[here].tobytes()
        for left, right in zip(mine, reference, strict=True):
            scale = stored[0].size * 1e-16 * (np.abs(flat(right)).max() + 5e-324)
            assert np.allclose(flat(left), flat(right), rtol=1e-9, atol=scale)
    return computed


def bits(dtype, size):
    """Any bits at all: specials, subnormals, NaN; mostly such that a combination of them fits the dtype."""
    width = 8 * dtype.itemsize
    kinds = [
        st.integers(0, (1 << width) - 1),
        st.integers(0, (1 << width - 2) - 1),
        st.sampled_from([0, 1 << width - 1, 1, (1 << width - 1) + 1, 3]),
    ]
    words = st.one_of(st.lists(kinds[1], min_size=size, max_size=size),
                      st.lists(st.one_of(*kinds), min_size=size, max_size=size))  # fmt: skip
    return words.map(lambda values: np.array(values, f"u{width // 8}").view(dtype.storage))


@pytest.mark.parametrize("target", [BF16, FP16, FP32], ids=lambda dtype: dtype.name)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_both_kernels_write_the_same_bits_and_sum_the_same_errors(native, target, data):
    sources = data.draw(st.integers(2, 4))
    size = data.draw(st.integers(1, 19))
    dtypes = [data.draw(st.sampled_from([BF16, FP16, FP32, FP64])) for _ in range(sources)]
    stored = [data.draw(bits(dtype, size)) for dtype in dtypes]
    combinations = [
        Combination(
            scale=data.draw(st.sampled_from([1.0, 1.0, 0.5, 1.3])),
            coefficients=tuple(data.draw(COEFFICIENTS) for _ in range(sources - 1)),
        )
        for _ in range(data.draw(st.integers(1, 3)))
    ]
    compare(native, combinations, stored, dtypes, target, data.draw(st.booleans()))


@pytest.mark.parametrize("dtype", [BF16, FP16, FP32], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("target", [BF16, FP16, FP32], ids=lambda dtype: dtype.name)
def test_every_step_of_a_piece_is_computed(native, dtype, target):
    random = np.random.default_rng(5)
    words = random.integers(0, 1 << 8 * dtype.itemsize - 2, (2, 2 * BLOCK + 777), np.uint64)
    words |= random.integers(0, 2, words.shape, np.uint64) << np.uint64(8 * dtype.itemsize - 1)
    stored = list(words.astype(f"u{dtype.itemsize}").view(dtype.storage))
    combinations = [Combination(coefficients=(value,)) for value in (0.0, 1.0, 0.3, -0.5, 1.5)]
    for along_delta in (True, False):
        assert compare(native, combinations, stored, [dtype] * 2, target, along_delta) == 3


@pytest.mark.parametrize("dtype", [BF16, FP16], ids=lambda dtype: dtype.name)
def test_ties_subnormals_and_signed_zeros_of_every_number_of_a_dtype(native, dtype):
    """Half-way between each number and the next one, and the number itself."""
    low = np.arange(1 << 16, dtype=np.uint16)
    exponent = 0x7F80 if dtype is BF16 else 0x7C00
    low = low[(low & 0x7FFF) + 1 < exponent]
    pair = [low.view(dtype.storage), (low + 1).astype(np.uint16).view(dtype.storage)]
    combinations = [Combination(coefficients=(value,)) for value in (0.5, 0.25, 2.0**-40)]
    assert compare(native, combinations, pair, [dtype] * 2, dtype, True) == -(-low.size // BLOCK)


@pytest.mark.parametrize("target", [BF16, FP16, FP32], ids=lambda dtype: dtype.name)
def test_what_must_be_refused_is_left_to_numpy(native, target):
    largest = {"bf16": 3.3895e38, "fp16": 65504.0, "fp32": 3.4028e38}[target.name]
    low, high = np.zeros(9, "f4"), np.full(9, np.float32(largest / 2))
    assert compare(native, [Combination(coefficients=(1.99,))], [low, high], [FP32] * 2, target, True) == 1
    assert compare(native, [Combination(coefficients=(2.1,))], [low, high], [FP32] * 2, target, True) == 0
    for bad in (np.nan, np.inf, -np.inf):
        for source in (0, 1):
            pair = [np.ones(9, "f4"), np.full(9, 2, "f4")]
            pair[source][4] = bad
            for coefficient in (0.0, 0.5, 1.0):
                combination = Combination(coefficients=(coefficient,))
                assert compare(native, [combination], pair, [FP32] * 2, target, True) == 0


def test_equal_checkpoints_are_left_to_numpy_which_copies_them(native):
    zeros = [np.array([0.0, -0.0], "f4"), np.array([-0.0, -0.0], "f4")]
    assert compare(native, [Combination(coefficients=(0.5,))], zeros, [FP32] * 2, FP32, True) == 0


def test_sums_do_not_depend_on_where_a_piece_begins(native):
    random = np.random.default_rng(6)
    stored = [random.standard_normal(3 * BLOCK).astype("f4") for _ in range(2)]
    combination = [Combination(coefficients=(0.3,))]

    def sums(arrays):
        out = np.empty(arrays[0].size, "f4")
        return native.blocks(combination, arrays, [FP32] * 2, [out], FP32, along_delta=True)

    assert sums(stored)[1:] == sums([array[BLOCK:] for array in stored])


def test_only_a_large_merge_compiles_and_nothing_of_it_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert native_kernel(COMPILE_FROM) is not None
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    assert native_kernel(COMPILE_FROM) is None
    assert native_kernel(COMPILE_FROM - 1) is None


def test_the_compiler_may_be_named_with_arguments(monkeypatch):
    monkeypatch.setenv("CC", f"env {os.environ.get('CC') or 'cc'}")
    assert compile_kernel(SOURCE) is not None


# What they do: not there; not a command; fails; writes nothing; writes something else; another function.
@pytest.mark.parametrize(
    "compiler",
    [
        "no-such-compiler",
        "'",
        "false",
        "true",
        """sh -c 'for out; do case $last in -o) echo text > "$out";; esac; last=$out; done' sh""",
        "cc -Dalpharay_blocks=other",
    ],
)
def test_numpy_is_enough_where_no_compiler_makes_the_kernel(monkeypatch, compiler):
    monkeypatch.setenv("CC", compiler)
    assert compile_kernel(SOURCE) is None


@pytest.mark.parametrize(
    "change",
    [
        (b"1.5 * (code", b"1.0 * (code"),
        (
            b"anchor * from.scale + delta * from.weight",
            (
                b"anchor; for (int l = 0; l < WIDTH; l++) ((double *)&exact)[l] = "
                b"fma(delta[l], from.weight, anchor[l] * from.scale)"
            ),
        ),
        (
            b"wide[0][i] * scale + delta[0][i] * weight",
            b"fma(delta[0][i], weight, wide[0][i] * scale)",
        ),
        (b"along_delta ? delta : exact - anchor", b"along_delta ? delta : exact"),
        (b"squared[v] += off * off", b"squared[v] += off"),
        (b"total[v] += ((const", b"total[v] -= ((const"),
    ],
    ids=["spacing", "fused", "fused-of-three", "other-move", "error", "gram"],
)
def test_a_kernel_that_computes_something_else_than_numpy_is_not_used(change):
    assert change[0] in SOURCE
    assert compile_kernel(SOURCE.replace(*change)) is None
