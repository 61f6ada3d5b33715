"""Storing LoRA factors as a PEFT adapter."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from alpharay.merge.adapters.adapter import Factors
from alpharay.merge.combine import widen
from alpharay.merge.compute.plan import Settings
from alpharay.merge.dtypes import FP32
from alpharay.merge.errors import OverflowedOutput
from alpharay.merge.rounding import BLOCK, Float64, Rounder, draws


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFactors:
    """The factors as they were written, as float64."""

    a: Float64
    b: Float64


def store(modules: Mapping[str, Factors], settings: Settings) -> tuple[dict[str, StoredFactors], bytes]:
    """The rounded factors by module, and the bytes of adapter_model.safetensors.

    Raises OverflowedOutput naming the tensor.
    """
    dtype = settings.dtype or FP32
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position, parts, stored = 0, [], {}
    for module, factors in modules.items():
        pair = []
        for name, values in ((factors.a_name, factors.a), (factors.b_name, factors.b)):
            data, rounded = _round(name, values, settings)
            header[name] = {
                "dtype": dtype.code,
                "shape": list(values.shape),
                "data_offsets": [position, position + len(data)],
            }
            position += len(data)
            parts.append(data)
            pair.append(rounded)
        stored[module] = StoredFactors(a=pair[0], b=pair[1])
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    return stored, struct.pack("<Q", len(raw)) + raw + b"".join(parts)


def adapter_config(
    like: Mapping[str, Any], modules: Mapping[str, Factors], *, rank: int, scale: float, base: str | None
) -> dict[str, Any]:
    """adapter_config.json for modules of one rank. scale: lora_alpha, so that rank itself means scaling 1."""
    config = dict(like)
    config |= {
        "r": rank,
        "lora_alpha": scale,
        "use_rslora": False,
        "rank_pattern": {},
        "alpha_pattern": {},
        # By the names that are there: a pattern of one side may not cover the other's modules.
        "target_modules": sorted({module.rpartition(".")[2] for module in modules}),
        "exclude_modules": None,
        "layers_to_transform": None,
        "layers_pattern": None,
        "inference_mode": True,
    }
    if base is not None:
        config["base_model_name_or_path"] = base
    return config


def _round(name: str, values: Float64, settings: Settings) -> tuple[bytes, Float64]:
    dtype = settings.dtype or FP32
    rounder = Rounder(dtype, settings.rounding)
    flat = np.ascontiguousarray(values, np.float64).reshape(-1)
    out, rounded = np.empty(flat.size, dtype.storage), np.empty(flat.size)
    for block, start in enumerate(range(0, flat.size, BLOCK)):
        here = slice(start, start + BLOCK)
        exact = flat[here]
        random = draws(settings.seed, name, block, exact.size) if rounder.stochastic else None
        try:
            rounder.round(exact, out[here], random)
        except FloatingPointError:
            raise OverflowedOutput(
                f"{name} reaches {np.abs(exact).max():.3g}, more than {dtype.name} can hold; write --dtype fp32"
            ) from None
    widen(out, dtype, rounded, np.empty(flat.size, np.float32))
    return out.tobytes(), rounded.reshape(values.shape)
