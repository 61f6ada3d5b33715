"""Configs are compared by what is read from them, whichever version of Transformers wrote them."""

import importlib.util
import json

import numpy as np
import pytest

from alpharay.merge import errors, merge
from alpharay.merge.adapters.merge import merge_adapters
from alpharay.merge.checkpoints.config_meaning import config_differences
from alpharay.merge.command import add_arguments, run
from alpharay.merge.compute.recipe import plan_recipe

COMMON = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 4096}
QWEN = COMMON | {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "num_key_value_heads": 1}
YARN = {"factor": 4.0, "original_max_position_embeddings": 1024}

# The same model as two versions write it.
SAME = {
    "rope_theta": ({"rope_theta": 1e6}, {"rope_parameters": {"rope_theta": 1000000, "rope_type": "default"}}),
    "scaling": (
        {"rope_theta": 5e5, "rope_scaling": {"type": "yarn", **YARN}},
        {"rope_parameters": {"rope_theta": 5e5, "rope_type": "yarn", **YARN}},
    ),
    "scaling renamed": (
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
    ),
    "rotary": ({"partial_rotary_factor": 0.5}, {"rope_parameters": {"partial_rotary_factor": 0.5}}),
    "two ropes": (
        {"rope_theta": 1e6, "rope_local_base_freq": 1e4},
        {"rope_parameters": {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}},
    ),
    "window off": (
        {"use_sliding_window": False, "sliding_window": 131072, "max_window_layers": 21},
        {"use_sliding_window": False, "sliding_window": None, "layer_types": ["full_attention"] * 2},
    ),
    "window off by default": ({"sliding_window": 4096}, {"use_sliding_window": False}),
    "derived": ({}, {"head_dim": 4}),
    "how it was saved": (
        {"torch_dtype": "bfloat16", "transformers_version": "4.43.1", "use_cache": True},
        {"dtype": "float32", "_name_or_path": "base", "num_beams": 1},
    ),
    "nested": (
        {"text_config": {"rope_theta": 1e6, "torch_dtype": "bfloat16"}},
        {"text_config": {"rope_parameters": {"rope_theta": 1e6}, "dtype": "bfloat16"}},
    ),
}  # fmt: skip

OTHER = {
    "rope_parameters.rope_theta": ({"rope_theta": 1e6}, {"rope_parameters": {"rope_theta": 1e4}}),
    "rope_parameters.factor": (
        {"rope_scaling": {"type": "yarn", **YARN}},
        {"rope_scaling": {"rope_type": "yarn", **YARN, "factor": 8.0}},
    ),
    "sliding_window": (
        {"use_sliding_window": True, "sliding_window": 4096},
        {"use_sliding_window": True, "sliding_window": 1024},
    ),
    "head_dim": ({}, {"head_dim": 16}),
    "text_config.hidden_act": (
        {"text_config": {"hidden_act": "silu"}},
        {"text_config": {"hidden_act": "gelu"}},
    ),
}


@pytest.fixture
def without_transformers(monkeypatch):
    """As in an install without the engine."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "transformers" else find(name, *rest)
    )


@pytest.mark.parametrize("both", SAME.values(), ids=SAME)
def test_one_config_of_two_versions_is_no_difference(both, without_transformers):
    left, right = (QWEN | part for part in both)
    assert config_differences(left, right) == config_differences(right, left) == []


@pytest.mark.parametrize(("field", "both"), OTHER.items(), ids=OTHER)
def test_what_means_something_else_is_named_with_both_values(field, both, without_transformers):
    left, right = (QWEN | part for part in both)
    (difference,) = config_differences(left, right)
    assert difference.field == field
    assert difference.left != difference.right


def test_defaults_are_those_that_transformers_fills_in(monkeypatch):
    pytest.importorskip("transformers")
    assert not config_differences(
        QWEN, QWEN | {"rms_norm_eps": 1e-6, "hidden_act": "silu", "rope_theta": 1e4}
    )
    assert [part.field for part in config_differences(QWEN, QWEN | {"hidden_act": "gelu"})] == ["hidden_act"]
    # What is given as null is not what is left out, where the default is a window.
    mistral = COMMON | {"model_type": "mistral", "sliding_window": 4096}
    assert not config_differences(mistral, {k: v for k, v in mistral.items() if k != "sliding_window"})


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [("mistral", "sliding_window", None), ("gemma2", "tie_word_embeddings", False)],
)
def test_a_field_that_is_off_is_not_one_that_is_left_out(model, field, value):
    """Transformers' default is neither null nor false."""
    pytest.importorskip("transformers")
    [difference] = config_differences({"model_type": model, field: value}, {"model_type": model})
    assert difference.field == field


def test_a_refusal_names_every_field_and_an_allowed_one_is_merged_and_said(tmp_path, save, tensors, capsys):
    config = QWEN | {"hidden_act": "silu", "rms_norm_eps": 1e-6}
    low = save(tmp_path / "low", tensors(1), config=config)
    high = save(
        tmp_path / "high", tensors(2, 0.01), config=config | {"hidden_act": "gelu", "rms_norm_eps": 1e-5}
    )
    request = {"low": low, "high": high, "alphas": [0.5], "out": tmp_path / "out"}
    with pytest.raises(errors.ConfigMismatch) as caught:
        merge(**request)
    for words in (
        'hidden_act is "silu"',
        '"gelu"',
        "rms_norm_eps is 1e-06",
        "1e-05",
        "--allow-config hidden_act",
    ):
        assert words in str(caught.value)
    with pytest.raises(errors.ConfigMismatch, match="rms_norm_eps") as caught:
        merge(**request, allow_config=["hidden_act"])
    assert "gelu" not in str(caught.value)

    import argparse

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    allowed = ["--allow-config", "hidden_act", "--allow-config", "rms_norm_eps"]
    words = [str(low), str(high), "--alpha", "0.5", "--out", str(tmp_path / "out"), *allowed]
    assert run(parser.parse_args(words)) == 0
    stderr = capsys.readouterr().err
    assert stderr.count("which is allowed") == 2
    warnings = json.loads((tmp_path / "out" / "manifest.json").read_text())["warnings"]
    assert [f"warning: {line}" for line in warnings] == stderr.splitlines()

    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("models: {a: low, b: high}\noutputs: {even: {a: 0.5, b: 0.5}}\n")
    with pytest.raises(errors.ConfigMismatch):
        plan_recipe(recipe)
    recipe.write_text(recipe.read_text() + "allow_config: [hidden_act, rms_norm_eps]\n")
    assert plan_recipe(recipe).settings.allow_config == ("hidden_act", "rms_norm_eps")
    recipe.write_text(recipe.read_text().replace("[hidden_act, rms_norm_eps]", "hidden_act"))
    with pytest.raises(errors.UsageError, match="allow_config"):
        plan_recipe(recipe)


def adapter(path, base, seed):
    from safetensors.numpy import save_file

    path.mkdir()
    random = np.random.default_rng(seed)
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    factors = {
        f"{name}.lora_A.weight": random.normal(size=(2, 8)).astype("f4"),
        f"{name}.lora_B.weight": random.normal(size=(8, 2)).astype("f4"),
    }
    save_file(factors, path / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "base_model_name_or_path": base}
    (path / "adapter_config.json").write_text(json.dumps(config))
    return path


def test_adapters_of_one_base_under_two_names_are_merged_where_the_base_is_said(tmp_path):
    low = adapter(tmp_path / "low", "/data/base-1.5b", 1)
    high = adapter(tmp_path / "high", "some-org/Base-1.5B", 2)
    request = {"low": low, "high": high, "alphas": [0.5], "out": tmp_path / "out"}
    with pytest.raises(errors.AdapterMismatch, match="--base"):
        merge_adapters(**request)
    merge_adapters(**request, base="bases/1.5b")
    written = json.loads((tmp_path / "out" / "alpha=0.5" / "adapter_config.json").read_text())
    assert written["base_model_name_or_path"] == "bases/1.5b"
