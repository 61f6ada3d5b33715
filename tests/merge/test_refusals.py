"""Every refusal: one clear error that names the tensor or file and the way out, and nothing left behind."""

import errno
import json
import os
import struct

import numpy as np
import pytest

from alpharay.merge import MergeError, errors, merge
from alpharay.merge.checkpoints.checkpoint import open_checkpoint


@pytest.fixture
def refused(tmp_path):
    """refused(error, *words, low=, high=, ...): raises exactly `error`, says the words, leaves nothing."""

    def check(error, *words, **request):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(MergeError) as caught:
            merge(**{"alphas": [0.5], "out": tmp_path / "out"} | request)
        assert type(caught.value) is error
        text = str(caught.value)
        assert "\n" not in text
        for word in words:
            assert str(word) in text
        # The way out comes last, after a semicolon or a colon.
        assert ";" in text or ": " in text
        assert sorted(tmp_path.rglob("*")) == before

    return check


def edit_header(file, change):
    """Rewrites the JSON header of a safetensors file with `change` applied, keeping the data."""
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    change(header)
    raw = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(raw)) + raw + content[8 + length :])


def test_a_missing_tensor_is_named(tmp_path, save, tensors, refused):
    high = tensors(2)
    del high["model.norm.weight"]
    refused(
        errors.MissingTensor, "model.norm.weight", "high",
        low=save(tmp_path / "low", tensors(1)), high=save(tmp_path / "high", high),
    )  # fmt: skip


def test_an_extra_tensor_is_named(tmp_path, save, tensors, refused):
    high = tensors(2) | {"model.new.weight": np.ones(3, "f4")}
    refused(
        errors.ExtraTensor, "model.new.weight", "high",
        low=save(tmp_path / "low", tensors(1)), high=save(tmp_path / "high", high),
    )  # fmt: skip


def test_tied_against_untied_embeddings_say_so(tmp_path, save, tensors, refused):
    high = tensors(2) | {"lm_head.weight": tensors(2)["model.embed_tokens.weight"]}
    refused(
        errors.ExtraTensor, "lm_head.weight", "tie_word_embeddings",
        low=save(tmp_path / "low", tensors(1)), high=save(tmp_path / "high", high),
    )  # fmt: skip


@pytest.mark.parametrize("shape", [(1, 8), (8, 1), (4, 2), (9,)])
def test_shapes_must_be_equal_even_where_they_broadcast(tmp_path, save, tensors, refused, shape):
    high = tensors(2)
    high["model.norm.weight"] = np.resize(high["model.norm.weight"], shape)
    refused(
        errors.ShapeMismatch, "model.norm.weight", [8], list(shape),
        low=save(tmp_path / "low", tensors(1)), high=save(tmp_path / "high", high),
    )  # fmt: skip


def test_a_resized_vocabulary_is_recognised(tmp_path, save, tensors, refused):
    high = tensors(2)
    high["model.embed_tokens.weight"] = np.resize(high["model.embed_tokens.weight"], (17, 8))
    refused(
        errors.ShapeMismatch, "model.embed_tokens.weight", "vocabulary",
        low=save(tmp_path / "low", tensors(1)), high=save(tmp_path / "high", high),
    )  # fmt: skip


def test_dtypes_must_be_equal_unless_the_output_is_named(tmp_path, save, tensors, refused):
    refused(
        errors.DtypeMismatch, "BF16", "F32", "--dtype",
        low=save(tmp_path / "low", tensors(1)), high=save(tmp_path / "high", tensors(2, dtype=np.float32)),
    )  # fmt: skip


def test_an_integer_against_a_float_is_refused_whatever_the_output(tmp_path, save, tensors, refused):
    refused(
        errors.DtypeMismatch, "ids", "I64", "F32",
        low=save(tmp_path / "low", tensors(1) | {"ids": np.arange(3)}),
        high=save(tmp_path / "high", tensors(2) | {"ids": np.arange(3).astype("f4")}), dtype="fp32",
    )  # fmt: skip


def test_integers_that_differ_have_no_average(tmp_path, save, tensors, refused):
    refused(
        errors.IntegerMismatch, "ids", "I64",
        low=save(tmp_path / "low", tensors(1) | {"ids": np.arange(3)}),
        high=save(tmp_path / "high", tensors(2) | {"ids": np.arange(3) + 1}),
    )  # fmt: skip


@pytest.mark.parametrize("side", ["low", "high"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_inf_are_refused_even_where_weights_are_copied(tmp_path, save, tensors, refused, side, bad):
    weights = {"low": tensors(1), "high": tensors(2)}
    weights[side]["model.layers.1.mlp.up_proj.weight"][3, 2] = bad
    refused(
        errors.NonFinite, "model.layers.1.mlp.up_proj.weight", tmp_path / side, "element 26", alphas=[0, 1],
        low=save(tmp_path / "low", weights["low"]), high=save(tmp_path / "high", weights["high"]),
    )  # fmt: skip


def test_overflow_of_fp16_names_the_tensor(tmp_path, save, tensors, refused):
    high = tensors(2)
    high["model.norm.weight"][0] = 60000
    refused(
        errors.OverflowedOutput, "model.norm.weight", "fp16", "alpha=1.5", alphas=[1, 1.5], dtype="fp16",
        low=save(tmp_path / "low", tensors(1)), high=save(tmp_path / "high", high),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_a_float64_far_beyond_the_output_is_refused_not_written_as_nan(tmp_path, save, refused, dtype):
    refused(
        errors.OverflowedOutput, "weight", dtype, "alpha=0.5", dtype=dtype,
        low=save(tmp_path / "low", {"weight": np.array([1e300, 1.0])}),
        high=save(tmp_path / "high", {"weight": np.array([3e300, 2.0])}),
    )  # fmt: skip


@pytest.mark.parametrize(("key", "value"), [
    ("hidden_size", 9), ("rope_theta", 5e5), ("num_attention_heads", 2), ("some_new_option", "on"),
    ("rope_parameters", {"rope_theta": 1.0}), ("tie_word_embeddings", True),
])  # fmt: skip
def test_configs_that_mean_other_weights_are_refused(tmp_path, save, tensors, refused, key, value):
    config = {"architectures": ["LlamaForCausalLM"], "hidden_size": 8, "vocab_size": 16, "dtype": "bfloat16"}
    refused(
        errors.ConfigMismatch, key,
        low=save(tmp_path / "low", tensors(1)),
        high=save(tmp_path / "high", tensors(2), config=config | {key: value}),
    )  # fmt: skip


@pytest.mark.parametrize(("key", "value"), [
    ("transformers_version", "5.0"), ("torch_dtype", "bfloat16"), ("use_cache", False),
    ("attention_bias", False),
    ("rope_scaling", None), ("eos_token_id", 3),
])  # fmt: skip
def test_configs_that_differ_only_in_writing_are_merged(tmp_path, save, tensors, key, value):
    config = {"architectures": ["LlamaForCausalLM"], "hidden_size": 8, "vocab_size": 16, "dtype": "bfloat16"}
    high = save(tmp_path / "high", tensors(2), config=config | {key: value})
    assert merge(
        low=save(tmp_path / "low", tensors(1)), high=high, alphas=[0.5], out=tmp_path / "out"
    ).written


def test_one_config_missing_is_refused_and_both_missing_is_not(tmp_path, save, tensors, refused):
    low, high = save(tmp_path / "low", tensors(1)), save(tmp_path / "high", tensors(2), config=None)
    refused(errors.ConfigMismatch, "high", low=low, high=high)
    (low / "config.json").unlink()
    assert merge(low=low, high=high, alphas=[0.5], out=tmp_path / "out").written


def test_different_tokenizers_are_refused(tmp_path, save, tensors, refused):
    tokenizer = {"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 1, "b": 0}, "merges": ["a b"]}}
    refused(
        errors.TokenizerMismatch, "tokenizer.json",
        low=save(tmp_path / "low", tensors(1)), high=save(tmp_path / "high", tensors(2), tokenizer=tokenizer),
    )  # fmt: skip


def test_one_tokenizer_in_two_spellings_is_merged(tmp_path, save, tensors):
    newer = {
        "model": {"merges": [["a", "b"]], "vocab": {"b": 1, "a": 0}, "type": "BPE", "ignore_merges": False},
        "padding": {"pad_id": 0},
    }
    low, high = save(tmp_path / "low", tensors(1)), save(tmp_path / "high", tensors(2), tokenizer=newer)
    assert merge(low=low, high=high, alphas=[0.5], out=tmp_path / "out").written


def test_quantised_checkpoints_are_refused(tmp_path, save, tensors, refused, endpoints):
    low, _ = endpoints
    gptq = {"hidden_size": 8, "quantization_config": {"quant_method": "gptq"}}
    refused(
        errors.QuantisedCheckpoint, "gptq", low=low, high=save(tmp_path / "gptq", tensors(2), config=gptq)
    )
    fp8 = save(tmp_path / "fp8", {"w": np.zeros(4, "u1")})
    edit_header(fp8 / "model.safetensors", lambda header: header["w"].update(dtype="F8_E4M3"))
    refused(errors.QuantisedCheckpoint, "F8_E4M3", "w", low=low, high=fp8)


@pytest.mark.parametrize("keep", [0, 5, 8, 20, -1, -300])
def test_a_truncated_file_is_refused(endpoints, refused, keep):
    low, high = endpoints
    file = high / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:keep])
    refused(errors.TruncatedFile, file, "download it again", low=low, high=high)


@pytest.mark.parametrize("change", [
    lambda header: header["model.norm.weight"].update(data_offsets=[0, 16]),
    lambda header: header["model.norm.weight"].update(shape=[9]),
    lambda header: header["model.norm.weight"].update(shape=[-8]),
    lambda header: header["model.norm.weight"].update(shape=[8.0]),
    lambda header: header["model.norm.weight"].update(dtype="F99"),
    lambda header: header["model.norm.weight"].pop("dtype"),
    lambda header: header.pop("model.norm.weight"),
    lambda header: header.pop("model.embed_tokens.weight"),
    lambda header: header["model.norm.weight"].update(data_offsets=[10**12, 10**12 + 16]),
], ids=["overlap", "shape", "negative", "float", "dtype", "incomplete", "end", "hole", "far"])  # fmt: skip
def test_a_header_that_lies_is_refused(endpoints, refused, change):
    low, high = endpoints
    edit_header(high / "model.safetensors", change)
    refused(errors.BadHeader, high / "model.safetensors", low=low, high=high)


@pytest.mark.parametrize("raw", [b"{", b"[]", b"not json", b'{"a": {}, "a": {}}', b"\xff\xfe"])
def test_a_header_that_is_no_header_is_refused(endpoints, refused, raw):
    low, high = endpoints
    (high / "model.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw)
    refused(errors.BadHeader, high / "model.safetensors", low=low, high=high)


def test_something_that_is_not_safetensors_is_refused(endpoints, refused):
    low, high = endpoints
    (high / "model.safetensors").write_bytes(b"PK\x03\x04" * 100)
    refused(errors.BadHeader, "not safetensors", low=low, high=high)


def test_an_index_that_lies_is_refused(tmp_path, save, tensors, endpoints, refused):
    low, _ = endpoints
    high = save(tmp_path / "sharded", tensors(2), shards=2)
    index = high / "model.safetensors.index.json"
    good = json.loads(index.read_bytes())
    for name, file, error in (
        ("model.norm.weight", "model-00001-of-00002.safetensors", errors.BadHeader),
        ("model.nowhere.weight", "model-00001-of-00002.safetensors", errors.BadHeader),
        ("model.norm.weight", "model-00009-of-00002.safetensors", errors.NotACheckpoint),
        ("model.norm.weight", "../escape.safetensors", errors.BadHeader),
    ):
        index.write_text(json.dumps({"weight_map": good["weight_map"] | {name: file}}))
        refused(error, low=low, high=high)
    good["weight_map"].pop("model.norm.weight")
    index.write_text(json.dumps(good))
    refused(errors.BadHeader, "model.norm.weight", low=low, high=high)


def test_an_index_beside_a_single_file_is_ambiguous(endpoints, refused):
    low, high = endpoints
    (high / "model.safetensors.index.json").write_text("{}")
    refused(errors.BadHeader, "both", low=low, high=high)


def test_a_pickle_is_never_loaded_and_the_message_converts_it(tmp_path, endpoints, refused):
    low, _ = endpoints
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    # Loading this would create a file.
    (pickled / "pytorch_model.bin").write_bytes(
        b"cos\nsystem\n(S'touch " + bytes(tmp_path / "owned") + b"'\ntR."
    )
    refused(errors.PickleCheckpoint, "pytorch_model.bin", "save_pretrained", low=low, high=pickled)
    assert not (tmp_path / "owned").exists()


def test_paths_without_a_checkpoint_say_what_they_are(tmp_path, endpoints, refused):
    low, high = endpoints
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(errors.NotACheckpoint, "does not exist", low=low, high=tmp_path / "nowhere")
    refused(errors.NotACheckpoint, "not a directory", low=low, high=high / "model.safetensors")
    refused(errors.NotACheckpoint, "model.safetensors", low=low, high=empty)
    (empty / "adapter_config.json").write_text("{}")
    refused(errors.NotACheckpoint, "LoRA", low=low, high=empty)


def test_requests_that_make_no_sense_are_usage_errors(endpoints, refused):
    low, high = endpoints
    for request in (
        {"alphas": []}, {"alphas": [float("nan")]}, {"alphas": [float("inf")]}, {"alphas": [1, 1.0]},
        {"dtype": "int8"}, {"rounding": "up"}, {"seed": -1}, {"high": low},
    ):  # fmt: skip
        refused(errors.UsageError, **{"low": low, "high": high} | request)


def test_the_output_may_not_be_an_input_or_hold_one(endpoints, refused):
    low, high = endpoints
    refused(errors.TargetIsInput, low, low=low, high=high, out=low)
    refused(errors.TargetIsInput, high, low=low, high=high, out=high.parent / "low" / ".." / "high")
    refused(errors.TargetIsInput, low, low=low, high=high, out=low.parent)


def test_an_output_directory_with_something_else_is_left_alone(endpoints, tmp_path, refused):
    low, high = endpoints
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("dear")
    refused(errors.TargetExists, out, low=low, high=high)
    (out / "manifest.json").write_text("{}")
    refused(errors.TargetExists, out, low=low, high=high)
    (tmp_path / "file").write_text("x")
    refused(errors.TargetExists, "is a file", low=low, high=high, out=tmp_path / "file")
    refused(errors.TargetError, "not a directory", low=low, high=high, out=tmp_path / "file" / "out")


def test_a_symbolic_link_as_output_is_refused(endpoints, tmp_path, refused):
    low, high = endpoints
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    refused(errors.TargetError, "symbolic link", low=low, high=high, out=tmp_path / "link")


def test_a_read_only_parent_is_refused(endpoints, tmp_path, refused, monkeypatch):
    low, high = endpoints
    if os.geteuid() == 0:
        # The superuser may write anywhere, so the answer of the kernel is given here.
        monkeypatch.setattr(os, "access", lambda *_: False)
    else:
        (tmp_path / "sealed").mkdir(mode=0o500)
    refused(errors.TargetError, "not writable", low=low, high=high, out=tmp_path / "sealed" / "out")


def test_no_space_is_seen_before_anything_is_written(endpoints, refused, monkeypatch):
    low, high = endpoints
    import shutil

    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    refused(errors.NoSpace, "GB", low=low, high=high)


@pytest.mark.parametrize(
    ("number", "error"), [(errno.ENOSPC, errors.NoSpace), (errno.EIO, errors.TargetError)]
)
def test_a_disk_that_fails_meanwhile_leaves_nothing(endpoints, refused, monkeypatch, number, error):
    low, high = endpoints

    def failing(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", failing)
    refused(error, low=low, high=high)


def test_an_input_that_changes_meanwhile_is_noticed(endpoints, tmp_path, refused, monkeypatch):
    low, high = endpoints
    from alpharay.merge.checkpoints import inputs

    stamp = inputs.stamp
    monkeypatch.setattr(inputs, "stamp", lambda path: (stamp(path)[0], stamp(path)[1] + 1))
    refused(errors.InputChanged, "model.safetensors", low=low, high=high)


def test_two_merges_into_one_directory_do_not_mix(endpoints, tmp_path, refused):
    import fcntl

    low, high = endpoints
    partial = tmp_path / ".out.partial"
    partial.mkdir()
    lock = os.open(partial, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    refused(errors.TargetBusy, "another merge", low=low, high=high)
    os.close(lock)
    assert merge(low=low, high=high, alphas=[0.5], out=tmp_path / "out").written


def test_the_safetensors_library_agrees_on_good_files(endpoints):
    from safetensors import safe_open

    low, _ = endpoints
    checkpoint = open_checkpoint(low)
    with safe_open(low / "model.safetensors", "numpy") as official:
        assert set(official.keys()) == checkpoint.tensors.keys()
        assert official.metadata() == checkpoint.shards[0].metadata
        for name, tensor in checkpoint.tensors.items():
            view = official.get_slice(name)
            assert (tuple(view.get_shape()), view.get_dtype()) == (tensor.shape, tensor.dtype)
