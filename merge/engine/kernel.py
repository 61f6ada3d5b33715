"""The kernel of merge/combine.py on PyTorch, for whatever device the tensors are on, with the same bits.

float64 sums and products are the same on every device (IEEE 754; no step here lets a compiler contract two of them).
The rounding is that of merge/rounding.py, to nearest: PyTorch's own cast from float64 to bfloat16 rounds twice.
"""

from collections.abc import Sequence

import torch

from alpharay.merge.combine import Combination
from alpharay.merge.dtypes import FP64, Dtype
from alpharay.merge.rounding import BLOCK, EXPONENT

TORCH = {
    "BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64,
    "I8": torch.int8, "I16": torch.int16, "I32": torch.int32, "I64": torch.int64,
    "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip

# Elements a step: a step's float64 work arrays stay in a core's second-level cache, or in that of a GPU (50 MB),
# where smaller steps would spend their time on launches.
_STEP_CPU, _STEP_GPU = 4 * BLOCK, 32 * BLOCK


def combined(
    combination: Combination, stored: Sequence[torch.Tensor], dtype: Dtype, device: torch.device
) -> tuple[torch.Tensor, bool]:
    """A combination of equal parameters of several checkpoints, rounded once to `dtype`, and whether all is finite.

    stored: of any float dtypes, equal shapes, anywhere, the anchor first. They come to the device a step at a time, where
    there may be no room for more. What overflows is infinite. Finite are what was stored as well as the result.
    """
    flat = [tensor.reshape(-1) for tensor in stored]
    out = torch.empty(flat[0].shape, dtype=TORCH[dtype.code], device=device)
    finite = torch.ones((), dtype=torch.bool, device=device)
    step = _STEP_GPU if out.is_cuda else _STEP_CPU
    for start in range(0, out.numel(), step):
        here = slice(start, start + step)
        part = [tensor[here].to(device, non_blocking=True) for tensor in flat]
        out[here] = _to_spacing(_exact(combination, part), dtype)
        # A copy of one checkpoint does not show what is wrong with the others.
        for values in (out[here], *(part if combination.copy_of is not None else ())):
            finite &= torch.isfinite(values).all()
    return out.reshape(stored[0].shape), bool(finite)


def _exact(combination: Combination, stored: Sequence[torch.Tensor]) -> torch.Tensor:
    """The combination in float64. stored: 1-d, from a multiple of BLOCK on."""
    copied = combination.copy_of
    if copied is not None:
        return stored[copied].double()
    anchor = stored[0].double()
    exact = anchor * combination.scale
    changed = torch.zeros(-(-anchor.numel() // BLOCK), dtype=torch.bool, device=anchor.device)
    for other, coefficient in zip(stored[1:], combination.coefficients, strict=True):
        delta = other.double() - anchor
        changed |= _by_block(delta != 0)
        exact += delta.mul_(coefficient)
    if combination.scale != 1.0:
        return exact
    # A block in which no checkpoint differs is the anchor's, down to the sign of its zeros.
    return torch.where(changed.repeat_interleave(BLOCK)[: anchor.numel()], exact, anchor)


def _by_block(marked: torch.Tensor) -> torch.Tensor:
    """Of each block of BLOCK elements, whether any is marked."""
    whole = marked.numel() - marked.numel() % BLOCK
    blocks = marked[:whole].view(-1, BLOCK).any(dim=1)
    return blocks if whole == marked.numel() else torch.cat([blocks, marked[whole:].any().reshape(1)])


def _to_spacing(exact: torch.Tensor, dtype: Dtype) -> torch.Tensor:
    """The numbers of `dtype` nearest to `exact`, ties to even: see Rounder."""
    if dtype is FP64:
        return exact
    power = (exact.view(torch.int64) & int(EXPONENT)).view(torch.float64)
    power = power.clamp_(min=2.0**dtype.min_exponent)
    power *= 1.5 * 2.0 ** (FP64.fraction_bits - dtype.fraction_bits)
    rounded = (exact + power).sub_(power)
    return rounded.copysign_(exact).to(TORCH[dtype.code])
