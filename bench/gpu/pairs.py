"""Pairs of checkpoints to measure with: the embedded frontier, and random weights in the shape of Qwen2 1.5 B."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

_EMBEDDED = Path(str(files("alpharay.serve") / "embedded"))
_RANK = 16

# Of Qwen2 1.5 B; and of the same model, so small that a dry run on a CPU takes no time.
_QWEN = {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
         "num_key_value_heads": 2, "vocab_size": 151936}  # fmt: skip
_SMALL = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
          "num_key_value_heads": 2, "vocab_size": 2048}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two endpoints of one model, as full checkpoints and as adapters of `base`.

    cache: bytes of key-value cache, for all engines of a step together; None: as vLLM measures.
    """

    name: str
    low: Path
    high: Path
    base: Path
    adapters: tuple[Path, Path]
    dtype: str
    cache: int | None

    @property
    def merged_dtype(self) -> str:
        """As a merge names it."""
        return {"float32": "fp32", "bfloat16": "bf16"}[self.dtype]

    @property
    def rank(self) -> int:
        rank: int = json.loads((self.adapters[0] / "adapter_config.json").read_text())["r"]
        return rank


def make_pair(name: str, folder: Path, *, dry: bool, gpu: bool) -> Pair:
    """The pair of that name. folder: where the weights of `qwen` are kept from call to call."""
    if name == "embedded":
        return Pair(
            name="embedded frontier",
            low=_EMBEDDED / "low",
            high=_EMBEDDED / "high",
            base=_EMBEDDED / "init",
            adapters=(_EMBEDDED / "lora_low", _EMBEDDED / "lora_high"),
            dtype="float32",
            cache=None if gpu else 192 << 20,
        )
    folder = folder / ("qwen-small" if dry else "qwen")
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _write_qwen(folder, _SMALL if dry else _QWEN, gpu=gpu)
        (folder / "done").touch()
    return Pair(
        name="Qwen2 in small" if dry else "random weights in the shape of Qwen2 1.5 B",
        low=folder / "low",
        high=folder / "high",
        base=folder / "low",
        adapters=(folder / "lora_low", folder / "lora_high"),
        dtype="bfloat16",
        cache=None if gpu else 192 << 20,
    )


def _write_qwen(folder: Path, shape: dict[str, int], *, gpu: bool) -> None:
    """Made on the device, where drawing billions of numbers takes seconds."""
    import torch
    from safetensors.torch import save_file

    device = torch.device("cuda" if gpu else "cpu")
    random = torch.Generator(device).manual_seed(0)
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    for name, size in _qwen_tensors(shape):
        if name.endswith("norm.weight"):
            low[name] = high[name] = torch.ones(size, dtype=torch.bfloat16)
            continue
        drawn = 0.02 * torch.randn(size, generator=random, device=device)
        step = 0.002 * torch.randn(size, generator=random, device=device)
        low[name], high[name] = drawn.bfloat16().cpu(), (drawn + step).bfloat16().cpu()
    config = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu",
              "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "rope_theta": 1e6, "tie_word_embeddings": True,
              "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2, **shape}  # fmt: skip
    for end, tensors in (("low", low), ("high", high)):
        (folder / end).mkdir(parents=True)
        save_file(tensors, folder / end / "model.safetensors", metadata={"format": "pt"})
        (folder / end / "config.json").write_text(json.dumps(config))
        _write_tokenizer(folder / end, shape["vocab_size"])
    for seed, name in enumerate(("lora_low", "lora_high")):
        _write_adapter(shape, folder / name, seed)


def _qwen_tensors(shape: dict[str, int]) -> list[tuple[str, tuple[int, ...]]]:
    hidden, inner = shape["hidden_size"], shape["intermediate_size"]
    narrow = hidden * shape["num_key_value_heads"] // shape["num_attention_heads"]
    tensors: list[tuple[str, tuple[int, ...]]] = [
        ("model.embed_tokens.weight", (shape["vocab_size"], hidden))
    ]
    for layer in range(shape["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        for module, width in (("q_proj", hidden), ("k_proj", narrow), ("v_proj", narrow)):
            tensors += [
                (f"{at}self_attn.{module}.weight", (width, hidden)),
                (f"{at}self_attn.{module}.bias", (width,)),
            ]
        tensors += [
            (f"{at}self_attn.o_proj.weight", (hidden, hidden)),
            (f"{at}mlp.gate_proj.weight", (inner, hidden)),
            (f"{at}mlp.up_proj.weight", (inner, hidden)),
            (f"{at}mlp.down_proj.weight", (hidden, inner)),
            (f"{at}input_layernorm.weight", (hidden,)),
            (f"{at}post_attention_layernorm.weight", (hidden,)),
        ]
    return [*tensors, ("model.norm.weight", (hidden,))]


def _write_tokenizer(folder: Path, size: int) -> None:
    """A word for each token."""
    words = {f"w{number}": number for number in range(size)}
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
                 "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None,
                 "model": {"type": "WordLevel", "vocab": words, "unk_token": "w0"}}  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    kind = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "w1",
        "eos_token": "w2",
        "unk_token": "w0",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(kind))


def _write_adapter(shape: dict[str, int], folder: Path, seed: int) -> None:
    """Random factors on the query and value projections of every layer."""
    from safetensors.numpy import save_file

    random, hidden = np.random.default_rng(seed), shape["hidden_size"]
    widths = {
        "q_proj": hidden,
        "v_proj": hidden * shape["num_key_value_heads"] // shape["num_attention_heads"],
    }
    tensors = {}
    for layer in range(shape["num_hidden_layers"]):
        for module, width in widths.items():
            name = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            for side, size in (("A", (_RANK, hidden)), ("B", (width, _RANK))):
                values = random.standard_normal(size, np.float32) * np.float32(0.01)
                tensors[f"{name}.lora_{side}.weight"] = values
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "low", "r": _RANK,
            "lora_alpha": _RANK, "target_modules": sorted(widths), "bias": "none", "fan_in_fan_out": False}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
