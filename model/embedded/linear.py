"""A linear layer in the forms that its number of tokens and the processor ask for.

Few tokens read every weight once and multiply little, so the time is that of reading memory, and weights of fewer bytes
are the faster ones. Many share the reading: the weights stand in the layout that the product wants, made once when the
model is loaded, or it would be made in every call.

Beside float32 the weights are 16-bit floats, which FBGEMM widens as it multiplies: one form for any number of tokens,
and half the bytes. Beside bfloat16, and where torch has no FBGEMM, there are two forms: oneDNN's for many tokens, and
for few of them 8-bit integers, one scale a row. torch has a fast product of those with bfloat16 on every processor, and
a slow one with float32, so the tokens go through bfloat16.

oneDNN makes a kernel for each number of tokens, which takes as long as the product itself, and keeps half a megabyte of
it for good. So it is given few numbers of tokens only (`_parts`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

FEW_TOKENS = 4
"""torch's product with 8-bit weights takes four tokens through the weights together."""

INT8_STEP = 16
"""torch's product with 8-bit weights reads this many inputs at a time and knows no remainder: where the number of
inputs is no multiple of it, it reads past the end of each row, and the result is wrong or the process crashes."""

ONEDNN_TOKENS = (256, 192, 128, 96, 64, 48, 32, 24, 16, 8)
"""The numbers of tokens that oneDNN multiplies at once, beside those of short passes."""

SHORT_PASS = 16
"""Tokens up to which only odd numbers are rounded: time is that of reading the weights, which should be read once."""

_INT8_PRODUCT = torch.ops.aten._weight_int8pack_mm.default
_HAS_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
_PACKED_PRODUCT: Any = torch.ops.mkldnn._linear_pointwise.default if _HAS_ONEDNN else None
HAS_FBGEMM = torch.backends.quantized.engine in ("x86", "fbgemm")
_HALF_PRODUCT: Any = torch.ops.quantized.linear_dynamic_fp16.default if HAS_FBGEMM else None


class Linear:
    """`x @ weight.T + bias` for x of [tokens, in]; weight [out, in], bias [out].

    rounded   whether the weights may be rounded, to 16-bit floats or, for few tokens, to 8-bit integers
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, rounded: bool = False) -> None:
        self.shape = weight.shape
        self.bias = bias
        self._half = _halved(weight, bias) if rounded else None
        self._packed = _packed(weight) if self._half is None else None
        self._plain = weight if self._half is None and self._packed is None else None
        self._int8 = _quantized(weight) if rounded and self._half is None and weight.shape[1] % INT8_STEP == 0 else None

    @property
    def weight(self) -> Tensor:
        if self._plain is not None:
            return self._plain
        if self._half is not None:
            unpacked: Tensor = torch.ops.quantized.linear_unpack_fp16(self._half)[0]
            return unpacked
        assert self._packed is not None
        return self._packed.to_dense()

    def __call__(self, x: Tensor) -> Tensor:
        if self._half is not None:
            widened: Tensor = _HALF_PRODUCT(x, self._half)
            return widened
        if self._int8 is not None and x.shape[0] <= FEW_TOKENS:
            product: Tensor = _INT8_PRODUCT(x.bfloat16(), *self._int8).to(x.dtype)
            return product if self.bias is None else product + self.bias
        if self._packed is None:
            return F.linear(x, self.weight, self.bias)
        parts = _parts(x.shape[0])
        missing = sum(parts) - x.shape[0]
        if missing:
            x = F.pad(x, (0, 0, 0, missing))
        products = [_PACKED_PRODUCT(part, self._packed, self.bias, "none", [], "") for part in torch.split(x, parts)]
        found: Tensor = products[0] if len(products) == 1 else torch.cat(products)
        return found[: len(found) - missing]


@lru_cache(maxsize=1024)
def _parts(num_tokens: int) -> list[int]:
    """Numbers of tokens, few different ones, that together are at least so many, and at most seven more."""
    if num_tokens <= SHORT_PASS:
        return [num_tokens if num_tokens <= FEW_TOKENS else num_tokens + num_tokens % 2]
    parts, missing = [], -(-num_tokens // ONEDNN_TOKENS[-1]) * ONEDNN_TOKENS[-1]
    for size in ONEDNN_TOKENS:
        parts += [size] * (missing // size)
        missing %= size
    return parts


def _halved(weight: Tensor, bias: Tensor | None) -> Any:
    """float32 weights and the bias for FBGEMM; None where it is missing, or 16 bits do not hold them."""
    if _HALF_PRODUCT is None or weight.dtype != torch.float32 or weight.abs().max() > torch.finfo(torch.float16).max:
        return None
    with torch.inference_mode(False):
        return torch.ops.quantized.linear_prepack_fp16(weight, bias)


def _packed(weight: Tensor) -> Tensor | None:
    """The weight in oneDNN's layout; None where torch was built without it."""
    if not _HAS_ONEDNN:
        return None
    try:
        with torch.inference_mode(False):
            packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, None)
    except RuntimeError:  # a type that this processor's oneDNN does not multiply
        return None
    return packed


def _quantized(weight: Tensor) -> tuple[Tensor, Tensor]:
    """[out, in] int8 and [out] bfloat16 scales, the largest value of a row becoming 127."""
    scales = (weight.abs().amax(dim=1).float() / 127).clamp(min=1e-12).bfloat16()
    rounded = (weight.float() / scales.float()[:, None]).round().clamp(-127, 127)
    return rounded.to(torch.int8), scales
