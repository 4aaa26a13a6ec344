"""torch's Muon for processors that do not multiply bfloat16.

`torch.optim.Muon` makes a matrix's update orthogonal in bfloat16, whatever the weights are. Without instructions for
that type its products take some 25 times as long as in float32 (AMD Zen 3), longer than the rest of a training step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor


class Float32Muon(torch.optim.Muon):
    """`torch.optim.Muon` that multiplies in float32."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        with patch("torch.optim._muon._zeropower_via_newtonschulz", orthogonal):
            return super().step(closure)  # type: ignore[no-untyped-call]


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
