"""Low-rank changes of the layers' matrices, trained in place and written as PEFT adapters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from bench.frontier.model import Llama

RANK, SCALE = 8, 2.0  # PEFT's lora_alpha is RANK * SCALE
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class LowRank(nn.Module):
    """x -> (W + SCALE * B A) x, W frozen. Both are added before they meet x: the product of the small ones is cheap."""

    def __init__(self, linear: nn.Linear, random: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach(), requires_grad=False)
        out, inner = linear.weight.shape
        self.lora_A = nn.Parameter(torch.randn(RANK, inner, generator=random) / inner**0.5)
        self.lora_B = nn.Parameter(torch.zeros(out, RANK))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight + SCALE * self.lora_B @ self.lora_A)


def add_adapters(model: Llama, seed: int) -> list[nn.Parameter]:
    """Freezes the model, puts an adapter on every matrix of its layers, and returns what is left to train."""
    random = torch.Generator().manual_seed(seed)
    for value in model.parameters():
        value.requires_grad_(requires_grad=False)
    trained = []
    for layer in model.model.layers:
        for part in (layer.self_attn, layer.mlp):
            for name, linear in list(part.named_children()):
                if name in TARGETS:
                    adapter = LowRank(linear, random)
                    setattr(part, name, adapter)
                    trained += [adapter.lora_A, adapter.lora_B]
    return trained


def save_adapter(model: Llama, folder: Path, base: str) -> None:
    """A PEFT adapter folder. base: what its `base_model_name_or_path` says."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"base_model.model.{name}.weight": value.detach().contiguous()
        for name, value in model.named_parameters()
        if ".lora_" in name
    }
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": RANK,
        "lora_alpha": int(RANK * SCALE),
        "lora_dropout": 0.0,
        "target_modules": list(TARGETS),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "modules_to_save": None,
        "use_rslora": False,
        "use_dora": False,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")


@torch.no_grad()
def merged(start: Llama, adapters: Mapping[Path, float]) -> Llama:
    """`start` with the changes of those adapter folders added, each times its weight. Changes and returns `start`."""
    parameters = dict(start.named_parameters())
    for folder, weight in adapters.items():
        factors = load_file(folder / "adapter_model.safetensors")
        for name in factors:
            if ".lora_A." in name:
                target = parameters[name.removeprefix("base_model.model.").replace(".lora_A", "")]
                target.add_(weight * SCALE * factors[name.replace("lora_A", "lora_B")] @ factors[name])
    return start
