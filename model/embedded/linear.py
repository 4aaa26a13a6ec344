"""A linear layer in the forms that its number of tokens asks for.

Few tokens read every weight once and multiply little, so the time is that of reading memory: the weights stand as 8-bit
integers, one scale a row, half of bfloat16's bytes. torch has a fast product of these with bfloat16 on every processor,
and a slow one with float32, so the tokens go through bfloat16. More tokens share the reading: the weights stand in the
layout that oneDNN multiplies, made once when the model is loaded, or it would make it in every call.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

FEW_TOKENS = 4
"""torch's product with 8-bit weights takes four tokens through the weights together."""

_INT8_PRODUCT = torch.ops.aten._weight_int8pack_mm.default
_HAS_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
_PACKED_PRODUCT: Any = torch.ops.mkldnn._linear_pointwise.default if _HAS_ONEDNN else None


class Linear:
    """`x @ weight.T + bias` for x of [tokens, in]; weight [out, in], bias [out]."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, int8: bool = False) -> None:
        self.shape = weight.shape
        self.bias = bias
        self._packed = _packed(weight)
        self._plain = weight if self._packed is None else None
        self._int8 = _quantized(weight) if int8 else None

    @property
    def weight(self) -> Tensor:
        if self._plain is not None:
            return self._plain
        assert self._packed is not None
        return self._packed.to_dense()

    def __call__(self, x: Tensor) -> Tensor:
        if self._int8 is not None and x.shape[0] <= FEW_TOKENS:
            product: Tensor = _INT8_PRODUCT(x.bfloat16(), *self._int8).to(x.dtype)
            return product if self.bias is None else product + self.bias
        if self._packed is None:
            return F.linear(x, self.weight, self.bias)
        found: Tensor = _PACKED_PRODUCT(x, self._packed, self.bias, "none", [], "")
        return found


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
