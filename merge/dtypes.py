"""The number formats of a safetensors file, and which of them have an average."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Dtype:
    """One floating-point format.

    code: its name in a safetensors header. name: on our command line. config: in config.json.
    storage: the numpy type of the stored bits; numpy has no bfloat16, so those are uint16.
    fraction_bits: stored significand bits. min_exponent: of the smallest normal number.
    """

    code: str
    name: str
    config: str
    storage: np.dtype[np.generic]
    fraction_bits: int
    min_exponent: int

    @property
    def itemsize(self) -> int:
        """Bytes per number."""
        return self.storage.itemsize


BF16 = Dtype(
    code="BF16",
    name="bf16",
    config="bfloat16",
    storage=np.dtype("<u2"),
    fraction_bits=7,
    min_exponent=-126,
)
FP16 = Dtype(
    code="F16",
    name="fp16",
    config="float16",
    storage=np.dtype("<f2"),
    fraction_bits=10,
    min_exponent=-14,
)
FP32 = Dtype(
    code="F32",
    name="fp32",
    config="float32",
    storage=np.dtype("<f4"),
    fraction_bits=23,
    min_exponent=-126,
)
FP64 = Dtype(
    code="F64",
    name="fp64",
    config="float64",
    storage=np.dtype("<f8"),
    fraction_bits=52,
    min_exponent=-1022,
)

FLOATS = {dtype.code: dtype for dtype in (BF16, FP16, FP32, FP64)}
WRITABLE = {dtype.name: dtype for dtype in (BF16, FP16, FP32)}

# Bits per element of every code that the safetensors format knows.
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
}  # fmt: skip

# Codes below 16 bits that are floats only together with scales kept elsewhere.
QUANTISED = frozenset(code for code in BITS if code.startswith(("F4", "F6_", "F8_")))
