"""Points of the span of several checkpoints: the same bits in every way to them, and what rounding left of each weight."""

import numpy as np
import pytest

from alpharay.merge import checkpoint_sha256, errors
from alpharay.merge.adapters.apply import apply_adapter
from alpharay.merge.compute.methods import plan_ewa
from alpharay.merge.compute.plan import read_settings
from alpharay.merge.compute.random_direction import write_random_direction
from alpharay.merge.compute.span import line_weights, plan_point, plan_span
from alpharay.merge.compute.theta import weights
from alpharay.merge.write.preview import preview
from alpharay.merge.write.run import run_plan

WIDE = {"init": 0.75, "low": -0.25, "high": 0.5}


@pytest.fixture
def three(endpoints, save, tensors, tmp_path):
    low, high = endpoints
    return {"init": save(tmp_path / "init", tensors(3, 0.01), shards=2), "low": low, "high": high}


@pytest.mark.parametrize(
    "options", [{"dtype": "fp16"}, {"dtype": "bf16"}, {"rounding": "stochastic", "seed": 4}]
)
def test_a_merge_on_load_of_three_checkpoints_gives_the_bits_that_a_merge_writes(
    three, tmp_path, load, options
):
    settings = read_settings(**options)
    points = {"wide": WIDE, "even": dict.fromkeys(WIDE, 1 / 3)}
    result = run_plan(plan_span(checkpoints=three, outputs=points, settings=settings), tmp_path / "out")
    for output, point in zip(result.outputs, points.values(), strict=True):
        expected = load(output.path)
        got = {w.name: w for w in weights(plan_point(checkpoints=three, weights=point, settings=settings))}
        assert got.keys() == expected.keys()
        assert all(got[name].data.tobytes() == value.tobytes() for name, value in expected.items())


@pytest.mark.parametrize("alpha", [-0.5, 0.0, 0.3, 1.0])
def test_an_alpha_is_the_point_of_its_weights_bit_for_bit(three, alpha):
    settings = read_settings(dtype="fp32")
    line = plan_ewa(low=three["low"], high=three["high"], alphas=[alpha], settings=settings)
    point = plan_point(checkpoints=three, weights=line_weights(alpha), settings=settings)
    for left, right in zip(weights(line), weights(point), strict=True):
        assert (left.name, left.data.tobytes()) == (right.name, right.data.tobytes())


def test_effective_weights_are_the_regression_of_the_realised_on_the_ideal(three, tmp_path, load):
    plan = plan_span(checkpoints=three, outputs={"wide": WIDE}, settings=read_settings(dtype="bf16"))
    (output,) = run_plan(plan, tmp_path / "out").outputs

    def flat(path):
        tensors = load(path)
        return np.concatenate([tensors[name].astype("f8").ravel() for name in sorted(tensors)])

    anchor = flat(three["init"])
    deltas = np.stack([flat(three["low"]) - anchor, flat(three["high"]) - anchor], axis=1)
    expected, *_ = np.linalg.lstsq(deltas, flat(output.path) - anchor, rcond=None)
    assert [output.effective_weights["low"], output.effective_weights["high"]] == pytest.approx(
        list(expected), rel=1e-9
    )
    assert sum(output.effective_weights.values()) == pytest.approx(1, abs=1e-12)
    assert output.effective_weights != pytest.approx(WIDE, abs=1e-6)  # bfloat16 changes them
    assert run_plan(plan, tmp_path / "out").outputs[0] == output  # read again from the manifest
    ((_, seen, _),) = preview(plan, None).outputs
    assert plan.effective_weights(seen) == pytest.approx(output.effective_weights)


def test_dependent_directions_have_effective_weights_all_the_same(three, tmp_path, load, save):
    low, init = load(three["low"]), load(three["init"])
    middle = {name: ((low[name].astype("f4") + init[name].astype("f4")) / 2).astype("f4") for name in low}
    checkpoints = {"init": three["init"], "low": three["low"], "mid": save(tmp_path / "mid", middle)}
    point = {"init": 0.2, "low": 0.3, "mid": 0.5}
    plan = plan_span(checkpoints=checkpoints, outputs={"x": point}, settings=read_settings(dtype="fp32"))
    assert run_plan(plan, tmp_path / "out").outputs[0].effective_weights == pytest.approx(point, abs=1e-4)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"init": 0.5, "low": 0.4}, "sum to 0.9, and must sum to 1"),
        ({"inti": 1.0}, "did you mean 'init'"),
        ({"init": float("nan")}, "finite"),
        ({}, "no weight"),
    ],
)
def test_weights_that_are_no_point_are_refused(three, point, message):
    with pytest.raises(errors.UsageError, match=message):
        plan_point(checkpoints=three, weights=point, settings=read_settings())


def test_a_checkpoint_that_an_adapter_makes_is_written_once(three, tmp_path, save, tensors):
    from .test_adapters import save_adapter, update

    base = save(tmp_path / "base", tensors(5, dtype=np.float32))
    adapter = save_adapter(tmp_path / "lora", 7, modules={"layers.0.mlp.up_proj": (24, 8)})
    out = apply_adapter(base=base, adapter=adapter, out=tmp_path / "made")
    sha256 = checkpoint_sha256(out)
    assert checkpoint_sha256(apply_adapter(base=base, adapter=adapter, out=out)) == sha256
    settings = read_settings(dtype="fp32")
    got = {
        w.name: w for w in weights(plan_point(checkpoints={"r": out}, weights={"r": 1.0}, settings=settings))
    }
    (added,) = update(adapter).values()
    for name, value in tensors(5, dtype=np.float32).items():
        expected = value + (added if "layers.0" in name else 0)
        np.testing.assert_allclose(got[name].data.view("f4").reshape(value.shape), expected, atol=1e-6)
    wrong = save_adapter(tmp_path / "wrong", 7, modules={"layers.0.mlp.up_proj": (24, 9)})
    with pytest.raises(errors.AdapterMismatch, match="up_proj"):
        apply_adapter(base=base, adapter=wrong, out=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_random_direction_is_as_long_as_the_step_in_every_tensor(tmp_path, endpoints, load):
    low, high = endpoints
    out = write_random_direction(start=low, end=high, out=tmp_path / "random", seed=3)
    start, end, random = load(low), load(high), load(out)
    for name in start:
        step = (end[name].astype("f8") - start[name].astype("f8")).ravel()
        other = (random[name].astype("f8") - start[name].astype("f8")).ravel()
        assert np.linalg.norm(other) == pytest.approx(np.linalg.norm(step), rel=1e-3)
        assert len(step) < 2 or abs(step @ other) < 0.9 * (step @ step)


def test_a_random_direction_is_that_of_its_seed(tmp_path, endpoints):
    low, high = endpoints
    hashes = [
        checkpoint_sha256(write_random_direction(start=low, end=high, out=tmp_path / name, seed=seed))
        for name, seed in (("first", 3), ("same", 3), ("other", 4))
    ]
    assert hashes[0] == hashes[1] != hashes[2]
