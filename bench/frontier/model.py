"""A small Llama in plain PyTorch: the same parameters and names as transformers', made for one thread.

Shapes: B sequences, T positions, D hidden, H query heads, K key/value heads, E elements a head.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from bench.frontier.tokenizer import END_ID, PAD_ID, VOCABULARY

LONGEST = 512


@dataclass(frozen=True, slots=True)
class Size:
    vocabulary: int = VOCABULARY
    hidden: int = 160
    inner: int = 448
    layers: int = 5
    heads: int = 4
    key_heads: int = 2
    head: int = 32


class Attention(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        self.q_proj = nn.Linear(size.hidden, size.heads * size.head, bias=False)
        self.k_proj = nn.Linear(size.hidden, size.key_heads * size.head, bias=False)
        self.v_proj = nn.Linear(size.hidden, size.key_heads * size.head, bias=False)
        self.o_proj = nn.Linear(size.heads * size.head, size.hidden, bias=False)

    def forward(
        self, x: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor | None, cache: Cache | None
    ) -> Tensor:
        b, t, _ = x.shape
        s = self.size
        q = rotate(self.q_proj(x).view(b, t, s.heads, s.head).transpose(1, 2), turn)
        k = rotate(self.k_proj(x).view(b, t, s.key_heads, s.head).transpose(1, 2), turn)
        v = self.v_proj(x).view(b, t, s.key_heads, s.head).transpose(1, 2)
        if cache is not None:
            k, v = cache.extend(k, v)
        if t == 1:  # one new position: the query heads of a key head are so many queries, no copy of the keys
            q = q.reshape(b, s.key_heads, s.heads // s.key_heads, s.head)
            out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            out = out.reshape(b, 1, s.heads * s.head)
        else:
            k, v = (y.repeat_interleave(s.heads // s.key_heads, dim=1) for y in (k, v))
            out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
            out = out.transpose(1, 2).reshape(b, t, s.heads * s.head)
        return self.o_proj(out)


class Mlp(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(size.hidden, size.inner, bias=False)
        self.up_proj = nn.Linear(size.hidden, size.inner, bias=False)
        self.down_proj = nn.Linear(size.inner, size.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(size.hidden, eps=1e-5)
        self.self_attn = Attention(size)
        self.post_attention_layernorm = nn.RMSNorm(size.hidden, eps=1e-5)
        self.mlp = Mlp(size)

    def forward(
        self, x: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor | None, cache: Cache | None
    ) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), turn, mask, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Body(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(size.vocabulary, size.hidden)
        self.layers = nn.ModuleList(Layer(size) for _ in range(size.layers))
        self.norm = nn.RMSNorm(size.hidden, eps=1e-5)


class Llama(nn.Module):
    """Embeddings are tied: the output layer is the input's."""

    def __init__(self, size: Size | None = None) -> None:
        super().__init__()
        self.size = size = size or Size()
        self.model = Body(size)
        inverse = 10000.0 ** (-torch.arange(0, size.head, 2) / size.head)
        angles = torch.outer(torch.arange(LONGEST), inverse).repeat(1, 2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def reset(self, seed: int) -> None:
        """Random weights; the layers' outputs start small, so that depth does not blow up the sum."""
        random = torch.Generator().manual_seed(seed)
        for name, value in self.named_parameters():
            if value.ndim == 2:
                deep = name.endswith(("o_proj.weight", "down_proj.weight"))
                scale = 0.02 / (2 * self.size.layers) ** 0.5 if deep else 0.02
                value.data.copy_(torch.randn(value.shape, generator=random) * scale)

    def hidden(
        self,
        tokens: Tensor,
        places: Tensor | None = None,
        mask: Tensor | None = None,
        cache: list[Cache] | None = None,
    ) -> Tensor:
        """tokens: [B, T] ids. places: [B, T] positions, 0.. if absent. mask: [B, 1, T, S], True where seen. -> [B, T, D]"""
        if places is None:
            turn = self.cos[: tokens.shape[1]], self.sin[: tokens.shape[1]]
        else:
            turn = self.cos[places].unsqueeze(1), self.sin[places].unsqueeze(1)
        x = self.model.embed_tokens(tokens)
        for number, layer in enumerate(self.model.layers):
            x = layer(x, turn, mask, cache[number] if cache else None)
        return self.model.norm(x)

    def head(self, hidden: Tensor) -> Tensor:
        return functional.linear(hidden, self.model.embed_tokens.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [B, T, V] of right-padded sequences: padding is never seen by what comes before it."""
        return self.head(self.hidden(tokens))


class Cache:
    """Keys and values of one layer, room [B, K, room, E]."""

    def __init__(self, batch: int, room: int, size: Size) -> None:
        self.k = torch.zeros(batch, size.key_heads, room, size.head)
        self.v = torch.zeros_like(self.k)
        self.used = 0

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        end = self.used + k.shape[2]
        self.k[:, :, self.used : end] = k
        self.v[:, :, self.used : end] = v
        self.used = end
        return self.k[:, :, :end], self.v[:, :, :end]

    def keep(self, rows: Tensor) -> None:
        """Only those sequences, in that order; a row may be named more than once."""
        self.k, self.v = (self._kept(each, rows) for each in (self.k, self.v))

    def _kept(self, old: Tensor, rows: Tensor) -> Tensor:
        new = old.new_empty(len(rows), *old.shape[1:])
        new[:, :, : self.used] = old[:, :, : self.used].index_select(0, rows)
        return new


def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary positions, in the half-and-half order of transformers."""
    cos, sin = turn
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-high, low), dim=-1) * sin


def config(size: Size, dtype: str) -> dict[str, object]:
    """config.json as transformers and vLLM read it."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": dtype,
        "vocab_size": size.vocabulary,
        "hidden_size": size.hidden,
        "intermediate_size": size.inner,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.key_heads,
        "head_dim": size.head,
        "max_position_embeddings": LONGEST,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "tie_word_embeddings": True,
        "use_cache": True,
        "bos_token_id": None,
        "eos_token_id": END_ID,
        "pad_token_id": PAD_ID,
    }


def save_checkpoint(model: Llama, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """A checkpoint folder, but for the tokenizer's files."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().to(dtype).contiguous() for name, value in model.named_parameters()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    name = str(dtype).removeprefix("torch.")
    (folder / "config.json").write_text(json.dumps(config(model.size, name), indent=2) + "\n")
    sampling = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "eos_token_id": END_ID, "pad_token_id": PAD_ID}  # fmt: skip
    (folder / "generation_config.json").write_text(json.dumps(sampling, indent=2) + "\n")


def load_checkpoint(folder: Path) -> Llama:
    """Reads a folder that `save_checkpoint` or transformers wrote; computes in float32."""
    config = json.loads((folder / "config.json").read_text())
    size = Size(
        config["vocab_size"], config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"],
        config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"],
    )  # fmt: skip
    model = Llama(size)
    model.load_state_dict(
        {name: value.float() for name, value in load_file(folder / "model.safetensors").items()}
    )
    return model
