"""Prompt files of a merge's inputs: differences are warned of, and a missing tokenizer is taken from the other."""

import json

import pytest

from alpharay.merge import merge
from alpharay.merge.compute.methods import plan_ewa
from alpharay.merge.compute.plan import Settings
from alpharay.merge.write.preview import preview

TOKENS = {"eos_token": "</s>", "chat_template": "{{ messages }}"}


def write(path, **files):
    for name, content in files.items():
        (path / name.replace("__", ".")).write_text(
            content if isinstance(content, str) else json.dumps(content)
        )
    return path


@pytest.fixture
def merged(endpoints, tmp_path):
    """merged(low files, high files): the warnings of merging two checkpoints that have them."""

    def run(low_files, high_files):
        low, high = (
            write(path, **files) for path, files in zip(endpoints, (low_files, high_files), strict=True)
        )
        result = merge(low=low, high=high, alphas=[0.5], out=tmp_path / "out")
        manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
        seen = preview(plan_ewa(low=low, high=high, alphas=[0.5], settings=Settings()), out=None)
        assert list(result.warnings) == manifest["warnings"] == list(seen.warnings)
        return list(result.warnings)

    return run


DIFFERENCES = {
    "template": (
        {"tokenizer_config__json": TOKENS},
        {"tokenizer_config__json": TOKENS, "chat_template__jinja": "[{{ messages }}]"},
        ["chat template", "line 1", "[{{ messages }}]"],
    ),
    "template of one": (
        {"tokenizer_config__json": {"eos_token": "</s>"}},
        {"tokenizer_config__json": TOKENS},
        ["chat template is only in", "high"],
    ),
    "special token": (
        {"tokenizer_config__json": TOKENS},
        {"tokenizer_config__json": TOKENS | {"eos_token": "<end>"}},
        ["eos_token", "</s>", "<end>"],
    ),
    "added tokens": (
        {"added_tokens__json": {"<plan>": 9}},
        {"tokenizer_config__json": {"added_tokens_decoder": {"9": {"content": "<think>"}}}},
        ["added tokens", "<plan> (9 / none)", "<think> (none / 9)"],
    ),
    "end in one config": (
        {"generation_config__json": {"eos_token_id": 3}},
        {"generation_config__json": {"eos_token_id": [3, 2]}},
        ["eos_token_id [3]", "[2, 3]"],
    ),
    "sampling": (
        {"generation_config__json": {"temperature": 0.7}},
        {"generation_config__json": {"temperature": 1.0}},
        ["generation_config.json", "temperature (0.7 / 1.0)"],
    ),
}


@pytest.mark.parametrize(("low", "high", "words"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_a_difference_is_one_warning_that_says_whose_the_outputs_have(merged, low, high, words):
    (line,) = merged(low, high)
    assert "\n" not in line
    assert all(word in line for word in words)
    assert line.split("; ")[-1].startswith("the outputs have that of ")
    assert line.endswith("low")


SAME = {
    "template moved": (
        {"tokenizer_config__json": TOKENS},
        {"tokenizer_config__json": {"eos_token": "</s>"}, "chat_template__jinja": "{{ messages }}\n"},
    ),
    "token written as an object": (
        {"tokenizer_config__json": {"eos_token": "</s>"}},
        {"tokenizer_config__json": {"eos_token": {"content": "</s>", "lstrip": False}}},
    ),
    "special tokens beside": (
        {"special_tokens_map__json": {"eos_token": "</s>"}},
        {"tokenizer_config__json": {"eos_token": "</s>"}},
    ),
    "end as a list": (
        {"generation_config__json": {"eos_token_id": 3, "transformers_version": "4.43"}},
        {"generation_config__json": {"eos_token_id": [3], "transformers_version": "5.1"}},
    ),
}


@pytest.mark.parametrize(("low", "high"), SAME.values(), ids=SAME)
def test_the_same_in_another_place_is_no_difference(merged, low, high):
    assert merged(low, high) == []


def test_a_missing_tokenizer_is_taken_from_the_input_that_has_one(tmp_path, save, tensors):
    low = save(tmp_path / "low", tensors(1), tokenizer=None)
    high = write(save(tmp_path / "high", tensors(2, 0.01)), tokenizer_config__json=TOKENS, README__md="high")
    result = merge(low=low, high=high, alphas=[0, 0.5], out=tmp_path / "out")
    assert [f"{low} has no tokenizer; the outputs have that of {high}"] == list(result.warnings)
    for name in ("alpha=0", "alpha=0.5"):
        for file in ("tokenizer.json", "tokenizer_config.json"):
            assert (tmp_path / "out" / name / file).read_bytes() == (high / file).read_bytes()
        assert not (tmp_path / "out" / name / "README.md").exists()
    assert not merge(low=low, high=high, alphas=[0, 0.5], out=tmp_path / "out").written


@pytest.mark.parametrize("equal", [True, False])
def test_a_tied_head_that_is_stored_and_differs_is_said(tmp_path, save, tensors, equal):
    config = {"architectures": ["LlamaForCausalLM"], "hidden_size": 8, "tie_word_embeddings": True}
    paths = []
    for name, seed in (("low", 1), ("high", 2)):
        weights = tensors(seed, 0.01)
        head = weights["model.embed_tokens.weight"].copy()
        if name == "high" and not equal:
            head[3, 2] += 1
        paths.append(save(tmp_path / name, weights | {"lm_head.weight": head}, config=config))
    result = merge(low=paths[0], high=paths[1], alphas=[0.5], out=tmp_path / "out")
    warnings = [line for line in result.warnings if "lm_head.weight" in line]
    assert [line.partition(" ties ")[0] for line in warnings] == ([] if equal else [str(paths[1])])
