"""Rotary position embedding, in the half-split form of the Hugging Face Llama checkpoints (Su et al., RoFormer).

The rotation of a key depends on its position alone, so a key that was stored un-rotated can be turned to any position
by one rotation, however often its token has moved since.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from model.engine import ModelError

SUPPORTED = ("default", "linear", "llama3")


def inverse_frequencies(head_dim: int, parameters: Mapping[str, Any]) -> Tensor:
    """[head_dim / 2] float32 radians a position.

    `parameters` are the checkpoint's `rope_parameters`. Raises `ModelError` for a scaling whose rotation is not the
    same for every length of text (dynamic NTK and its relatives): such keys cannot be turned.
    """
    kind = parameters.get("rope_type", "default")
    if kind not in SUPPORTED:
        raise ModelError(
            f"This model scales its positions by '{kind}', which the embedded engine cannot turn; "
            f"use a model with {', '.join(SUPPORTED)} rotary positions."
        )
    if parameters.get("partial_rotary_factor", 1.0) != 1.0:
        raise ModelError("This model rotates a part of each head only, which the embedded engine does not know.")
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    frequencies = 1.0 / (float(parameters["rope_theta"]) ** exponents)
    if kind == "linear":
        return frequencies / float(parameters["factor"])
    if kind == "llama3":
        return _llama3(frequencies, parameters)
    return frequencies


def _llama3(frequencies: Tensor, parameters: Mapping[str, Any]) -> Tensor:
    """Llama 3.1's scaling: long wavelengths by `factor`, short ones not, those between by a smooth mix."""
    factor = float(parameters["factor"])
    low, high = float(parameters["low_freq_factor"]), float(parameters["high_freq_factor"])
    trained = float(parameters["original_max_position_embeddings"])
    wavelengths = 2 * math.pi / frequencies
    mix = ((trained / wavelengths - low) / (high - low)).clamp(0.0, 1.0)
    return (1 - mix) * frequencies / factor + mix * frequencies


class RotaryTable:
    """Cosines and sines of every position up to `max_positions`: two tables of [max_positions, head_dim / 2]."""

    def __init__(self, frequencies: Tensor, max_positions: int) -> None:
        angles = torch.outer(torch.arange(max_positions, dtype=torch.float32), frequencies)
        self.cos = angles.cos()
        self.sin = angles.sin()

    def rotate(self, x: Tensor, positions: Tensor | slice, out: Tensor | None = None) -> Tensor:
        """Rotate [heads, tokens, head_dim] to the positions of its tokens.

        Computed in float32 and rounded once, from un-rotated input, so the result depends on the position only.
        """
        cos, sin = self.cos[positions], self.sin[positions]
        half = x.shape[-1] // 2
        first, second = x[..., :half].float(), x[..., half:].float()
        if out is None:
            out = torch.empty_like(x)
        out[..., :half] = first * cos - second * sin
        out[..., half:] = second * cos + first * sin
        return out
