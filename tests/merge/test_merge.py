"""Whole merges of small checkpoints: what is written, and that it does not depend on how."""

import hashlib
import json
import os
import uuid

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from alpharay.merge import MergeError, checkpoint_sha256, merge
from alpharay.merge.compute.methods import plan_ewa
from alpharay.merge.compute.plan import Settings, alpha_name
from alpharay.merge.write.run import run_plan

BF16 = np.dtype(ml_dtypes.bfloat16)


def tree(path):
    """Every file below `path` with its content."""
    return {
        str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()
    }


def test_every_alpha_is_a_complete_checkpoint_on_the_line(endpoints, tmp_path, load):
    low, high = endpoints
    (low / "chat_template.jinja").write_text("{{ messages }}")
    (low / "optimizer.pt").write_bytes(b"not for serving")
    result = merge(low=low, high=high, alphas=[-0.5, 1.5], out=tmp_path / "out")
    assert [output.alpha for output in result.outputs] == [-0.5, 1.5]
    first, second = load(low), load(high)
    for output in result.outputs:
        assert output.path == tmp_path / "out" / f"alpha={output.alpha}"
        assert {file.name for file in output.path.iterdir()} == {
            "chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json",
        }  # fmt: skip
        merged = load(output.path)
        assert merged.keys() == first.keys()
        for name, value in merged.items():
            a, b = first[name].astype("f8"), second[name].astype("f8")
            expected = (a + output.alpha * (b - a)).astype("f4").astype(BF16)
            assert value.dtype == BF16
            assert (value == expected).mean() > 0.99
            assert np.abs(value.astype("f8") - (a + output.alpha * (b - a))).max() <= 2.0**-9


def test_float64_is_no_quantised_dtype_and_stays_float64(save, tmp_path, load):
    random = np.random.default_rng(0)
    low = random.standard_normal(40_000)
    high = low + random.standard_normal(low.size) * 0.01
    result = merge(
        low=save(tmp_path / "low", {"weight": low}),
        high=save(tmp_path / "high", {"weight": high}),
        alphas=[0.3],
        out=tmp_path / "out",
    )
    assert (load(result.outputs[0].path)["weight"] == low + 0.3 * (high - low)).all()


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_the_endpoints_come_back_byte_for_byte(endpoints, tmp_path, rounding):
    low, high = endpoints
    result = merge(low=low, high=high, alphas=[0, 1], out=tmp_path / "out", rounding=rounding)
    for output, endpoint in zip(result.outputs, (low, high), strict=True):
        assert tree(output.path)["model.safetensors"] == tree(endpoint)["model.safetensors"]
        assert output.sha256 == checkpoint_sha256(endpoint)
        assert output.effective_alpha == output.alpha


def test_shard_layout_and_threads_do_not_change_the_weights(tmp_path, save, load, tensors):
    low, high = tensors(1), tensors(2, 0.01)
    # Large enough for several pieces and several blocks.
    low["big"] = np.random.default_rng(5).standard_normal((700, 1000)).astype(BF16)
    high["big"] = np.random.default_rng(6).standard_normal((700, 1000)).astype(BF16)
    reversed_high = dict(reversed(high.items()))
    results = {}
    for name, (low_shards, high_shards, threads, shard_bytes) in {
        "one": (1, 1, 1, None), "many": (3, 2, 4, None), "resharded": (1, 4, 2, 1000),
    }.items():  # fmt: skip
        plan = plan_ewa(
            low=save(tmp_path / name / "low", low, shards=low_shards),
            high=save(tmp_path / name / "high", reversed_high, shards=high_shards),
            alphas=[0.3, 1.7],
            settings=Settings(rounding="stochastic", seed=11, shard_bytes=shard_bytes),
        )  # fmt: skip
        results[name] = run_plan(plan, tmp_path / name / "out", threads=threads)
    for other in ("many", "resharded"):
        for first, second in zip(results["one"].outputs, results[other].outputs, strict=True):
            expected = load(first.path)
            got = load(second.path)
            assert got.keys() == expected.keys()
            assert all(got[name].tobytes() == expected[name].tobytes() for name in expected)
            assert first.effective_alpha == second.effective_alpha
            assert first.groups == second.groups
    index = json.loads((results["resharded"].outputs[0].path / "model.safetensors.index.json").read_bytes())
    # A tensor larger than a shard has one to itself; the others share up to 1000 bytes.
    assert len(set(index["weight_map"].values())) == 3


@st.composite
def models(draw):
    """Two sets of random tensors of equal names, shapes and dtype, from random bits of finite numbers."""
    dtype = np.dtype(draw(st.sampled_from([BF16, np.dtype("f2"), np.dtype("f4")])))
    shapes = draw(st.lists(hnp.array_shapes(min_dims=0, max_dims=3, max_side=6), min_size=1, max_size=5))
    sides = []
    for _ in range(2):
        side = {}
        for i, shape in enumerate(shapes):
            bits = draw(hnp.arrays(f"u{dtype.itemsize}", shape))
            values = np.asarray(bits).view(dtype)
            with np.errstate(invalid="ignore"):
                # A quarter of the range, so that alpha up to 2 cannot overflow.
                small = np.abs(values.astype("f8")) < float(ml_dtypes.finfo(dtype).max) / 8
            side[f"layers.{i}.w"] = np.where(small, values, np.zeros_like(values)).astype(dtype)
        sides.append(side)
    return sides


@given(
    models(), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.sampled_from([None, 40]),
    st.lists(st.floats(-1.5, 2), min_size=1, max_size=3, unique=True),
)  # fmt: skip
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_shapes_layouts_and_alphas_give_the_nearest_numbers(
    tmp_path, save, load, sides, low_shards, high_shards, threads, shard_bytes, alphas
):
    folder = tmp_path / str(uuid.uuid4())
    count = len(sides[0])
    plan = plan_ewa(
        low=save(folder / "low", sides[0], shards=min(low_shards, count)),
        high=save(folder / "high", dict(reversed(sides[1].items())), shards=min(high_shards, count)),
        alphas=alphas, settings=Settings(shard_bytes=shard_bytes),
    )  # fmt: skip
    for output in run_plan(plan, folder / "out", threads=threads).outputs:
        merged = load(output.path)
        assert merged.keys() == sides[0].keys()
        for name, got in merged.items():
            low, high = sides[0][name], sides[1][name]
            assert (got.shape, got.dtype) == (low.shape, low.dtype)
            if output.alpha in (0.0, 1.0):
                assert got.tobytes() == (high if output.alpha else low).tobytes()
            exact = low.astype("f8") + output.alpha * (high.astype("f8") - low.astype("f8"))
            distance = np.abs(got.astype("f8") - exact)
            if output.alpha != 1.0:
                for infinity in (np.inf, -np.inf):
                    beside = np.nextafter(got, np.array(infinity, got.dtype)).astype("f8")
                    assert (distance <= np.abs(beside - exact)).all()


def test_a_seed_gives_the_same_weights_again_and_another_seed_others(endpoints, tmp_path):
    low, high = endpoints
    hashes = [
        merge(low=low, high=high, alphas=[0.3], out=tmp_path / str(i), rounding="stochastic", seed=seed)
        .outputs[0]
        .sha256
        for i, seed in enumerate([5, 5, 6])
    ]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(("dtype", "numpy_dtype", "config"), [
    ("bf16", BF16, "bfloat16"), ("fp16", np.dtype("f2"), "float16"), ("fp32", np.dtype("f4"), "float32"),
])  # fmt: skip
def test_dtype_decides_what_is_written_and_the_config_says_so(
    endpoints, tmp_path, load, dtype, numpy_dtype, config
):
    low, high = endpoints
    result = merge(low=low, high=high, alphas=[0, 0.5], out=tmp_path / "out", dtype=dtype)
    for output in result.outputs:
        assert {value.dtype for value in load(output.path).values()} == {numpy_dtype}
        assert json.loads((output.path / "config.json").read_bytes())["dtype"] == config
        assert output.sha256 == checkpoint_sha256(output.path)


def test_endpoints_of_two_dtypes_merge_when_the_output_dtype_is_named(tmp_path, save, tensors, load):
    low = save(tmp_path / "low", tensors(1, dtype=np.float32))
    high = save(tmp_path / "high", tensors(2, 0.01))
    result = merge(low=low, high=high, alphas=[0, 1], out=tmp_path / "out", dtype="fp32")
    for output, endpoint in zip(result.outputs, (low, high), strict=True):
        merged = load(output.path)
        assert all((merged[name] == value.astype("f4")).all() for name, value in load(endpoint).items())


def test_the_manifest_names_every_file_with_its_hash(endpoints, tmp_path):
    low, high = endpoints
    result = merge(low=low, high=high, alphas=[0.25, 1], out=tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    assert manifest["method"] == "ewa"
    assert manifest["alphas"] == [0.25, 1.0]
    for record, path in zip(manifest["inputs"], (low, high), strict=True):
        assert record["path"] == str(path)
        assert record["sha256"] == checkpoint_sha256(path)
        for file in record["files"]:
            assert file["sha256"] == hashlib.sha256((path / file["name"]).read_bytes()).hexdigest()
    for record, output in zip(manifest["outputs"], result.outputs, strict=True):
        assert record["sha256"] == output.sha256 == checkpoint_sha256(output.path)
        assert record["effective_alpha"] == output.effective_alpha
        assert record["groups"].keys() == {
            "model.embed_tokens",
            "model.layers.0",
            "model.layers.1",
            "model.norm",
        }
        written = {file["name"]: file["sha256"] for file in (*record["files"], *manifest["companions"])}
        content = tree(output.path)
        assert written == {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}


def test_the_checkpoint_hash_is_what_sha256sum_prints(endpoints):
    low, _ = endpoints
    inner = hashlib.sha256((low / "model.safetensors").read_bytes()).hexdigest()
    assert checkpoint_sha256(low) == hashlib.sha256(f"{inner}  model.safetensors\n".encode()).hexdigest()


def test_small_deltas_lose_alpha_in_bfloat16_and_keep_it_in_float16(tmp_path, save):
    random = np.random.default_rng(0)
    weight = (random.standard_normal(100_000) * 0.02).astype(BF16)
    # What reinforcement learning leaves: one unit in the last place, up or down, or nothing.
    step = random.choice(np.array([-1, 0, 0, 1], "i2"), weight.size)
    low = save(tmp_path / "low", {"model.layers.0.w": weight})
    high = save(tmp_path / "high", {"model.layers.0.w": (weight.view("i2") + step).view("u2").view(BF16)})

    def effective(name, **options):
        result = merge(low=low, high=high, alphas=[0.25, 1.25], out=tmp_path / name, **options)
        return [output.effective_alpha for output in result.outputs], result.warnings

    values, warnings = effective("bf16")
    assert values == pytest.approx([0.0, 1.0], abs=0.02)
    assert len(warnings) == 1
    assert "--dtype fp16" in warnings[0]
    for name, options in {"fp16": {"dtype": "fp16"}, "stochastic": {"rounding": "stochastic"}}.items():
        values, warnings = effective(name, **options)
        assert values == pytest.approx([0.25, 1.25], rel=0.03)
        assert not warnings


def test_integer_tensors_and_empty_ones_and_scalars_are_carried(tmp_path, save, tensors, load):
    extra = {
        "position_ids": np.arange(9),
        "empty.weight": np.zeros((0, 4), BF16),
        "scale": np.array(2.0, "f4"),
    }
    low = save(tmp_path / "low", tensors(1) | extra)
    high = save(tmp_path / "high", tensors(2, 0.1) | extra | {"scale": np.array(3.0, "f4")})
    merged = load(merge(low=low, high=high, alphas=[0.5], out=tmp_path / "out").outputs[0].path)
    assert (merged["position_ids"] == np.arange(9)).all()
    assert merged["empty.weight"].shape == (0, 4)
    assert merged["scale"] == 2.5


def test_the_same_merge_again_writes_nothing(endpoints, tmp_path):
    low, high = endpoints
    first = merge(low=low, high=high, alphas=[0.5], out=tmp_path / "out")
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*")}
    second = merge(low=low, high=high, alphas=[0.5], out=tmp_path / "out")
    assert first.written
    assert not second.written
    assert second.outputs == first.outputs
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*")} == before


def test_a_done_merge_is_recognised_by_content_when_times_say_nothing(endpoints, tmp_path):
    low, high = endpoints
    merge(low=low, high=high, alphas=[0.5], out=tmp_path / "out")
    os.utime(tmp_path / "out" / "manifest.json", (0, 0))
    assert not merge(low=low, high=high, alphas=[0.5], out=tmp_path / "out").written
    output = tmp_path / "out" / "alpha=0.5" / "model.safetensors"
    content = bytearray(output.read_bytes())
    content[-1] ^= 1
    output.write_bytes(content)
    with pytest.raises(MergeError, match="was changed after the merge"):
        merge(low=low, high=high, alphas=[0.5], out=tmp_path / "out")


@pytest.mark.parametrize("options", [{"alphas": [0.6]}, {"dtype": "fp32"}, {"rounding": "stochastic"}])
def test_another_merge_into_the_same_directory_is_refused(endpoints, tmp_path, options):
    low, high = endpoints
    merge(low=low, high=high, alphas=[0.5], out=tmp_path / "out")
    before = tree(tmp_path / "out")
    with pytest.raises(MergeError, match="holds another merge"):
        merge(**{"low": low, "high": high, "alphas": [0.5], "out": tmp_path / "out"} | options)
    assert tree(tmp_path / "out") == before


def test_changed_endpoints_are_another_merge(endpoints, tmp_path, save, tensors):
    low, high = endpoints
    merge(low=low, high=high, alphas=[0.5], out=tmp_path / "out")
    high.rename(tmp_path / "old")
    save(high, tensors(3, 0.02))
    with pytest.raises(MergeError, match="from other weights"):
        merge(low=low, high=high, alphas=[0.5], out=tmp_path / "out")


def test_an_existing_empty_directory_and_missing_parents_are_fine(endpoints, tmp_path):
    low, high = endpoints
    (tmp_path / "empty").mkdir()
    assert merge(low=low, high=high, alphas=[0.5], out=tmp_path / "empty").written
    assert merge(low=low, high=high, alphas=[0.5], out=tmp_path / "a" / "b" / "c").written


def test_inputs_behind_symbolic_links_are_read(endpoints, tmp_path):
    low, high = endpoints
    linked = tmp_path / "snapshot"
    linked.mkdir()
    for file in low.iterdir():
        (linked / file.name).symlink_to(file)
    result = merge(low=linked, high=high, alphas=[0], out=tmp_path / "out")
    assert result.outputs[0].sha256 == checkpoint_sha256(low)
    assert not any(file.is_symlink() for file in result.outputs[0].path.iterdir())


@pytest.mark.parametrize(("alpha", "name"), [
    (0, "alpha=0"), (-0.0, "alpha=0"), (1.0, "alpha=1"), (-0.5, "alpha=-0.5"), (1.25, "alpha=1.25"),
    (1e-7, "alpha=1e-07"),
])  # fmt: skip
def test_directories_are_named_by_alpha(alpha, name):
    assert alpha_name(alpha) == name
