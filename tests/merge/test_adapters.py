"""LoRA endpoints: every alpha is one adapter whose product is exactly the line between the two."""

import json
import math

import numpy as np
import pytest
from ml_dtypes import bfloat16
from safetensors.numpy import load_file, save_file

from alpharay.merge import checkpoint_sha256, errors, merge_adapters
from alpharay.merge.adapters.adapter import open_adapter, product
from alpharay.merge.adapters.extract import extract_lora

MODULES = {
    "layers.0.self_attn.q_proj": (6, 8),
    "layers.0.mlp.up_proj": (12, 8),
    "layers.1.mlp.up_proj": (12, 8),
}


def save_adapter(path, seed, *, rank=2, ranks=None, modules=MODULES, dtype=np.float32, **config):
    """Writes a PEFT adapter with random factors; `ranks` overrides the rank of single modules."""
    path.mkdir()
    random = np.random.default_rng(seed)
    tensors = {}
    for module, (out, into) in modules.items():
        r = (ranks or {}).get(module, rank)
        prefix = f"base_model.model.model.{module}"
        tensors[f"{prefix}.lora_A.weight"] = random.standard_normal((r, into)).astype(dtype)
        tensors[f"{prefix}.lora_B.weight"] = random.standard_normal((out, r)).astype(dtype)
    save_file(tensors, path / "adapter_model.safetensors", metadata={"format": "pt"})
    content = {
        "peft_type": "LORA", "r": rank, "lora_alpha": 4, "target_modules": ["q_proj", "up_proj"], "bias": "none",
        "base_model_name_or_path": "the/base", "task_type": "CAUSAL_LM", "use_rslora": False,
    }  # fmt: skip
    (path / "adapter_config.json").write_text(json.dumps(content | config))
    return path


def update(path):
    """What an adapter adds to each weight, computed here from the files alone."""
    config = json.loads((path / "adapter_config.json").read_text())
    tensors = load_file(path / "adapter_model.safetensors")
    result = {}
    for name, a in tensors.items():
        if ".lora_A." in name:
            module = name.removesuffix(".lora_A.weight")
            alpha = next(
                (value for key, value in config.get("alpha_pattern", {}).items() if module.endswith(key)),
                config["lora_alpha"],
            )
            scaling = alpha / (math.sqrt(len(a)) if config["use_rslora"] else len(a))
            b = tensors[f"{module}.lora_B.weight"].astype("f8")
            result[module] = scaling * b @ a.astype("f8")
    return result


@pytest.fixture
def adapters(tmp_path):
    """Adapters that differ in all that may differ: rank, scaling, rank-stabilised, modules, patterns."""
    names = list(MODULES)
    low = save_adapter(tmp_path / "low", 1, rank=2, modules={name: MODULES[name] for name in names[:2]})
    high = save_adapter(
        tmp_path / "high", 2, rank=3, ranks={names[2]: 5}, use_rslora=True, lora_alpha=6,
        modules={name: MODULES[name] for name in names[1:]},
        rank_pattern={"layers.1.mlp.up_proj": 5}, alpha_pattern={"layers.1.mlp.up_proj": 3},
    )  # fmt: skip
    return low, high


@pytest.mark.parametrize("alpha", [-0.5, 0.3, 1.5, 0.0, 1.0])
def test_every_alpha_is_one_adapter_with_exactly_that_update(adapters, tmp_path, alpha):
    low, high = adapters
    (output,) = merge_adapters(low=low, high=high, alphas=[alpha], out=tmp_path / "out").outputs
    first, second, merged = update(low), update(high), update(output.path)
    for module in first.keys() | second.keys():
        expected = (1 - alpha) * first.get(module, 0) + alpha * second.get(module, 0)
        got = merged.get(module, np.zeros_like(expected))
        np.testing.assert_allclose(got, expected, atol=2e-6)
    assert output.effective_alpha == pytest.approx(alpha, abs=1e-6)
    assert output.sha256 == checkpoint_sha256(output.path)


def test_the_ends_keep_their_own_factors_bit_for_bit(adapters, tmp_path):
    result = merge_adapters(low=adapters[0], high=adapters[1], alphas=[0, 1], out=tmp_path / "out")
    for output, end in zip(result.outputs, adapters, strict=True):
        assert output.sha256 == checkpoint_sha256(end)


def test_the_merged_adapter_has_one_rank_that_an_engine_can_plan_for(adapters, tmp_path):
    low, high = adapters
    (output,) = merge_adapters(low=low, high=high, alphas=[0.5], out=tmp_path / "out", base="a/base").outputs
    config = json.loads((output.path / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (7, 7, False)
    assert config["target_modules"] == ["q_proj", "up_proj"]
    assert config["base_model_name_or_path"] == "a/base"
    assert not config["rank_pattern"]
    for name, tensor in load_file(output.path / "adapter_model.safetensors").items():
        assert tensor.shape[0 if "lora_A" in name else 1] == 7


def test_bfloat16_reports_what_the_rounding_of_the_factors_did(tmp_path):
    low = save_adapter(tmp_path / "low", 1, dtype=bfloat16)
    high = save_adapter(tmp_path / "high", 2, dtype=bfloat16)
    result = merge_adapters(low=low, high=high, alphas=[0.3], out=tmp_path / "out", dtype="bf16")
    first, second, merged = update(low), update(high), update(result.outputs[0].path)
    deltas = np.concatenate([(second[name] - first[name]).ravel() for name in first])
    moves = np.concatenate([(merged[name] - first[name]).ravel() for name in first])
    assert result.outputs[0].effective_alpha == pytest.approx(moves @ deltas / (deltas @ deltas), rel=1e-9)
    error = np.sqrt(((moves - 0.3 * deltas) ** 2).sum() / (deltas @ deltas))
    assert result.outputs[0].rounding_error == pytest.approx(error, rel=1e-6)


def test_the_same_merge_of_adapters_again_writes_nothing_and_another_is_refused(adapters, tmp_path):
    low, high = adapters
    assert merge_adapters(low=low, high=high, alphas=[0.5], out=tmp_path / "out").written
    assert not merge_adapters(low=low, high=high, alphas=[0.5], out=tmp_path / "out").written
    with pytest.raises(errors.TargetExists):
        merge_adapters(low=low, high=high, alphas=[0.6], out=tmp_path / "out")


@pytest.mark.parametrize("config", [
    {"use_dora": True}, {"bias": "all"}, {"modules_to_save": ["lm_head"]}, {"init_lora_weights": "pissa"},
    {"peft_type": "LOHA"},
])  # fmt: skip
def test_adapters_without_an_exact_combination_are_refused(adapters, tmp_path, config):
    odd = save_adapter(tmp_path / "odd", 3, **config)
    with pytest.raises(errors.UnsupportedAdapter, match="full checkpoints"):
        merge_adapters(low=adapters[0], high=odd, alphas=[0.5], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_adapters_of_other_bases_or_sizes_are_refused(adapters, tmp_path):
    other = save_adapter(tmp_path / "other", 3, base_model_name_or_path="another/base")
    with pytest.raises(errors.AdapterMismatch, match="another/base"):
        merge_adapters(low=adapters[0], high=other, alphas=[0.5], out=tmp_path / "out")
    wider = save_adapter(tmp_path / "wider", 3, modules={"layers.0.self_attn.q_proj": (6, 9)})
    with pytest.raises(errors.AdapterMismatch, match="q_proj"):
        merge_adapters(low=adapters[0], high=wider, alphas=[0.5], out=tmp_path / "out")


def test_a_config_with_another_rank_than_its_weights_is_refused(adapters, tmp_path):
    lying = save_adapter(tmp_path / "lying", 3, rank=2)
    config = json.loads((lying / "adapter_config.json").read_text())
    (lying / "adapter_config.json").write_text(json.dumps(config | {"r": 4}))
    with pytest.raises(errors.NotACheckpoint, match="rank 2"):
        merge_adapters(low=adapters[0], high=lying, alphas=[0.5], out=tmp_path / "out")


@pytest.fixture
def low_rank(tmp_path, save, tensors):
    """Full checkpoints whose linear layers differ by rank 2, one of them too large for an exact decomposition."""
    random = np.random.default_rng(0)
    low = tensors(1, dtype=np.float32)
    low["model.layers.2.mlp.up_proj.weight"] = random.standard_normal((700, 600)).astype("f4")
    high = dict(low)
    for name, value in low.items():
        if "up_proj" in name:
            factors = random.standard_normal((len(value), 2)), random.standard_normal((2, value.shape[1]))
            high[name] = (value + 0.01 * factors[0] @ factors[1]).astype("f4")
    return save(tmp_path / "low", low), save(tmp_path / "high", high), low, high


def test_a_low_rank_delta_is_extracted_whole(low_rank, tmp_path):
    low, high, before, after = low_rank
    result = extract_lora(low=low, high=high, rank=2, out=tmp_path / "adapter")
    assert result.energy == pytest.approx(1.0, abs=1e-5)
    assert result.warning is None
    adapter = open_adapter(tmp_path / "adapter")
    for module, factors in adapter.modules.items():
        name = module.removeprefix("base_model.model.") + ".weight"
        np.testing.assert_allclose(product(factors), after[name].astype("f8") - before[name], atol=2e-6)


def test_too_little_rank_says_how_much_is_kept(low_rank, tmp_path):
    low, high, before, after = low_rank
    after["model.norm.weight"] = after["model.norm.weight"] + np.float32(0.5)
    save_file(after, high / "model.safetensors", metadata={"format": "pt"})
    result = extract_lora(low=low, high=high, rank=1, out=tmp_path / "adapter")
    kept = total = 0.0
    for name, value in after.items():
        delta = value.astype("f8") - before[name]
        total += (delta**2).sum()
        if "up_proj" in name:
            kept += np.linalg.svd(delta, compute_uv=False)[0] ** 2
    assert result.energy == pytest.approx(kept / total, rel=1e-3)
    assert result.kinds["norm"][1] == 0.0
    assert "nearly full-rank" in result.warning


def test_extraction_refuses_what_makes_no_sense(low_rank, tmp_path):
    low, high, _, _ = low_rank
    with pytest.raises(errors.UsageError):
        extract_lora(low=low, high=high, rank=0, out=tmp_path / "adapter")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(errors.TargetExists):
        extract_lora(low=low, high=high, rank=1, out=tmp_path / "full")
