"""Small checkpoints for the merge tests, written by the safetensors library itself."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

BF16 = np.dtype(ml_dtypes.bfloat16)
CONFIG = {"architectures": ["LlamaForCausalLM"], "hidden_size": 8, "vocab_size": 16, "dtype": "bfloat16"}
TOKENIZER = {"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b"]}}


def _save(path, tensors, *, shards=1, config=CONFIG, tokenizer=TOKENIZER):
    path = Path(path)
    path.mkdir(parents=True)
    names = list(tensors)
    groups = [names[i::shards] for i in range(shards)]
    if shards == 1:
        save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    else:
        weight_map = {}
        for i, group in enumerate(groups, 1):
            file = f"model-{i:05d}-of-{shards:05d}.safetensors"
            save_file({name: tensors[name] for name in group}, path / file, metadata={"format": "pt"})
            weight_map |= dict.fromkeys(group, file)
        index = {"metadata": {}, "weight_map": weight_map}
        (path / "model.safetensors.index.json").write_text(json.dumps(index))
    if config is not None:
        (path / "config.json").write_text(json.dumps(config))
    if tokenizer is not None:
        (path / "tokenizer.json").write_text(json.dumps(tokenizer))
    return path


def _load(path):
    tensors = {}
    for file in sorted(Path(path).glob("*.safetensors")):
        tensors |= load_file(file)
    return tensors


@pytest.fixture
def save():
    """save(path, tensors, shards=1, config=..., tokenizer=...) writes a checkpoint directory."""
    return _save


@pytest.fixture
def load():
    """load(path) reads all tensors of a checkpoint directory."""
    return _load


def _tensors(seed, delta=0.0, dtype=BF16):
    random = np.random.default_rng(0)
    shapes = {
        "model.embed_tokens.weight": (16, 8),
        "model.layers.0.mlp.up_proj.weight": (24, 8),
        "model.layers.1.mlp.up_proj.weight": (24, 8),
        "model.norm.weight": (8,),
    }
    tensors = {name: random.standard_normal(shape) * 0.05 for name, shape in shapes.items()}
    noise = np.random.default_rng(seed)
    return {
        name: (value + delta * noise.standard_normal(value.shape)).astype(np.float32).astype(dtype)
        for name, value in tensors.items()
    }


@pytest.fixture
def tensors():
    """tensors(seed, delta): a small model's weights, and the same ones moved by noise of size delta."""
    return _tensors


@pytest.fixture
def endpoints(tmp_path):
    """Two compatible checkpoint directories, low and high, in bfloat16."""
    return _save(tmp_path / "low", _tensors(1)), _save(tmp_path / "high", _tensors(2, 0.01))


@pytest.fixture
def frontier():
    """Real checkpoints, where the repository carries them."""
    embedded = Path(__file__).parents[2] / "serve" / "embedded"
    if not (embedded / "low").is_dir():
        pytest.skip("the embedded frontier is not here")
    return embedded / "low", embedded / "high"
