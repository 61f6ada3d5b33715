"""Sparse deltas: exact both ways of storing them, and never applied to the wrong checkpoint."""

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpharay.merge import MergeError, errors, merge
from alpharay.merge.checkpoints.delta import UNSIGNED, decode, encode, open_delta
from alpharay.merge.diff import write_delta
from alpharay.merge.rounding import BLOCK


@given(st.sampled_from([1, 2, 4, 8]), st.data())
@settings(max_examples=150, deadline=None)
def test_what_is_encoded_comes_back_bit_for_bit(itemsize, data):
    words = st.lists(st.integers(0, 256**itemsize - 1), min_size=1, max_size=60)
    low = np.array(data.draw(words), UNSIGNED[itemsize])
    high = np.resize(np.array(data.draw(words), UNSIGNED[itemsize]), low.shape)
    same = np.resize(np.array(data.draw(st.lists(st.booleans(), min_size=1, max_size=60))), low.shape)
    high = np.where(same, low, high)
    block = low.copy()
    decode(encode(low, high), block)
    assert (block == high).all()


def test_the_ends_of_a_block_are_encoded_too():
    low, high = np.zeros(BLOCK, "<u2"), np.zeros(BLOCK, "<u2")
    high[[0, -1]] = [1, 0xFFFF]
    block = low.copy()
    decode(encode(low, high), block)
    assert (block == high).all()


@pytest.fixture
def pair(tmp_path, save, tensors):
    """Checkpoints where a tenth of the weights differ by one unit in the last place, several blocks large."""
    random = np.random.default_rng(3)
    low = tensors(1)
    low["big"] = (random.standard_normal((300, 1000)) * 0.02).astype(low["model.norm.weight"].dtype)
    low["ids"] = np.arange(5)
    high = {name: value.copy() for name, value in low.items()}
    steps = random.choice(np.array([-1, 1] + [0] * 18, "i2"), high["big"].shape)
    high["big"] = (high["big"].view("i2") + steps).view(high["big"].dtype)
    return save(tmp_path / "low", low, shards=2), save(tmp_path / "high", high, shards=3)


def test_a_delta_stands_for_high_in_every_merge(pair, tmp_path):
    low, high = pair
    written = write_delta(low=low, high=high, out=tmp_path / "high.delta")
    assert written.nbytes < 0.15 * written.of
    assert written.changed == pytest.approx(30_000, rel=0.05)
    request = {"low": low, "alphas": [-0.5, 0.3, 1], "rounding": "stochastic"}
    expected = merge(**request, high=high, out=tmp_path / "expected")
    result = merge(**request, high=tmp_path / "high.delta", out=tmp_path / "out")
    assert [output.sha256 for output in result.outputs] == [output.sha256 for output in expected.outputs]
    assert result.outputs[1].effective_alpha == expected.outputs[1].effective_alpha
    assert not merge(**request, high=tmp_path / "high.delta", out=tmp_path / "out").written


def test_a_delta_of_equal_checkpoints_is_small_and_changes_nothing(pair, tmp_path):
    low, _ = pair
    shutil.copytree(low, tmp_path / "copy")
    written = write_delta(low=low, high=tmp_path / "copy", out=tmp_path / "none.delta")
    assert written.changed == 0
    assert written.nbytes < 2000


def test_a_delta_on_another_checkpoint_is_refused(pair, tmp_path):
    low, high = pair
    write_delta(low=low, high=high, out=tmp_path / "high.delta")
    with pytest.raises(errors.DeltaMismatch, match="big"):
        merge(low=high, high=tmp_path / "high.delta", alphas=[1], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("where", [20, 0.3, 0.6, -20, -4])
def test_a_damaged_delta_is_refused(pair, tmp_path, where):
    low, high = pair
    delta = tmp_path / "high.delta"
    write_delta(low=low, high=high, out=delta)
    content = bytearray(delta.read_bytes())
    content[int(where * len(content)) if isinstance(where, float) else where] ^= 0x55
    delta.write_bytes(content)
    with pytest.raises((errors.BadDelta, errors.DeltaMismatch)):
        merge(low=low, high=delta, alphas=[1], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("keep", [17, 25, 0.5, -1])
def test_a_truncated_delta_is_refused(pair, tmp_path, keep):
    low, high = pair
    delta = tmp_path / "high.delta"
    write_delta(low=low, high=high, out=delta)
    content = delta.read_bytes()
    delta.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(errors.BadDelta, match=r"high\.delta"):
        open_delta(delta)


def test_a_delta_is_checked_like_a_merge_and_replaces_nothing(pair, tmp_path, save, tensors):
    low, high = pair
    (tmp_path / "there").write_text("mine")
    with pytest.raises(errors.TargetExists):
        write_delta(low=low, high=high, out=tmp_path / "there")
    with pytest.raises(errors.MissingTensor):
        write_delta(low=low, high=save(tmp_path / "other", tensors(1)), out=tmp_path / "x.delta")
    with pytest.raises(MergeError):
        write_delta(low=low, high=high, out=tmp_path / "nowhere" / "x.delta")
    assert not list(tmp_path.glob("*x.delta*"))
