"""torch's Muon for processors that do not multiply bfloat16.

`torch.optim.Muon` makes a matrix's update orthogonal in bfloat16, whatever the weights are. Without instructions for
that type its products take some 25 times as long as in float32 (AMD Zen 3), longer than the rest of a training step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.optim._muon as muon
from torch import Tensor


class Float32Muon(torch.optim.Muon):
    """`torch.optim.Muon` that multiplies in float32."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        original = muon._zeropower_via_newtonschulz  # the one part of it that names the type
        muon._zeropower_via_newtonschulz = orthogonal  # type: ignore[assignment]
        try:
            return super().step(closure)  # type: ignore[no-untyped-call]
        finally:
            muon._zeropower_via_newtonschulz = original


def orthogonal(update: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """[rows, columns] about the nearest matrix with orthogonal rows or columns, singular values from 0.7 to 1.2.

    The quintic Newton-Schulz iteration of Jordan et al., "Muon: An optimizer for hidden layers", 2024.
    """
    a, b, c = coefficients
    is_tall = update.shape[0] > update.shape[1]
    x = update.float().T if is_tall else update.float()
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if is_tall else x
