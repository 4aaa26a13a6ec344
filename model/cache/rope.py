"""Rotary position embedding, in the half-split form of the Hugging Face Llama checkpoints (Su et al., RoFormer).

The rotation of a key depends on its position alone, so a key that was stored un-rotated can be turned to any position
by one rotation, however often its token has moved since.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.errors import ModelError

SUPPORTED = ("default", "linear", "llama3")
"""Scalings that change frequencies only."""
TURNED = (*SUPPORTED, "yarn")
"""Scalings whose keys can be turned. YaRN scales queries and keys, too, which a turn leaves as it is."""


def inverse_frequencies(head_dim: int, parameters: Mapping[str, Any], kinds: tuple[str, ...] = SUPPORTED) -> Tensor:
    """[head_dim / 2] float32 radians a position.

    `parameters` are the checkpoint's `rope_parameters`. Raises `ModelError` for a scaling whose rotation is not the
    same for every length of text (dynamic NTK and its relatives), whose keys cannot be turned, and for one that is not
    among `kinds`.
    """
    kind = parameters.get("rope_type", "default")
    if kind not in kinds:
        raise ModelError(
            f"This model scales its positions by '{kind}', which keyturn cannot turn; "
            f"use a model with {', '.join(kinds)} rotary positions."
        )
    if parameters.get("partial_rotary_factor", 1.0) != 1.0:
        raise ModelError("This model rotates a part of each head only, which the embedded engine does not know.")
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    frequencies = 1.0 / (float(parameters["rope_theta"]) ** exponents)
    if kind == "linear":
        return frequencies / float(parameters["factor"])
    if kind == "llama3":
        return _llama3(frequencies, parameters)
    if kind == "yarn":
        return _yarn(frequencies, parameters)
    return frequencies


def _llama3(frequencies: Tensor, parameters: Mapping[str, Any]) -> Tensor:
    """Llama 3.1's scaling: long wavelengths by `factor`, short ones not, those between by a smooth mix."""
    factor = float(parameters["factor"])
    low, high = float(parameters["low_freq_factor"]), float(parameters["high_freq_factor"])
    trained = float(parameters["original_max_position_embeddings"])
    wavelengths = 2 * math.pi / frequencies
    mix = ((trained / wavelengths - low) / (high - low)).clamp(0.0, 1.0)
    return (1 - mix) * frequencies / factor + mix * frequencies


def _yarn(frequencies: Tensor, parameters: Mapping[str, Any]) -> Tensor:
    """YaRN (Peng et al., arXiv 2309.00071): slow frequencies by `factor`, fast ones not, those between by a ramp."""
    num_frequencies = len(frequencies)
    trained, base = float(parameters["original_max_position_embeddings"]), float(parameters["rope_theta"])

    def index_of(rotations: float) -> float:
        """Which frequency turns so many times over the length that the model was trained on."""
        return num_frequencies * math.log(trained / (rotations * 2 * math.pi)) / math.log(base)

    low, high = index_of(float(parameters.get("beta_fast") or 32)), index_of(float(parameters.get("beta_slow") or 1))
    if parameters.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, 2 * num_frequencies - 1)
    ramp = (torch.arange(num_frequencies, dtype=torch.float32) - low) / max(high - low, 0.001)
    slow = ramp.clamp(0.0, 1.0)
    return slow * frequencies / float(parameters["factor"]) + (1 - slow) * frequencies


def is_table_of(table: Tensor, frequencies: Tensor) -> bool:
    """Whether a table of cosines and sines, [positions, 2 * frequencies] as vLLM keeps it, turns by these frequencies.

    Its rows may be scaled, as YaRN's are, and rounded to 16 bits. Far positions tell frequencies apart that near ones
    cannot.
    """
    half = len(frequencies)
    if table.shape[1] != 2 * half:
        return False
    positions = torch.tensor([at for at in (1, 11, 101, 1009, 8191, len(table) - 1) if at < len(table)])
    cos, sin = table[positions, :half].double(), table[positions, half:].double()
    lengths = (cos**2 + sin**2).sqrt()
    angles = torch.outer(positions.double(), frequencies.double())
    apart = (cos / lengths - angles.cos()).abs() + (sin / lengths - angles.sin()).abs()
    return bool(apart.max() < 0.05)


def rotated(x: Tensor, turns: Tensor) -> Tensor:
    """[..., head_dim] rotated, in float32 and rounded once; the leading dimensions broadcast.

    turns  [..., 2, head_dim] cosines twice over, and sines, once as they are and once negated
    """
    cos, sin = turns.unbind(-2)
    wide = x.float()
    found, across = wide * cos, wide * sin
    halves = (*found.shape[:-1], 2, found.shape[-1] // 2)
    found.view(halves).add_(across.view(halves).flip(-2))
    return found.to(x.dtype)


def turns_of(angles: Tensor) -> Tensor:
    """What `rotated` takes, [..., 2, head_dim] float32, for angles of [..., head_dim / 2]."""
    cos, sin = angles.cos(), angles.sin()
    return torch.stack((torch.cat((cos, cos), -1), torch.cat((sin, -sin), -1)), dim=-2).float()


SLACK = 512
"""Positions in front of a text and behind the longest one to which a key may be turned."""


class RotaryTable:
    """The turns of the positions from `-max_positions` up to twice `max_positions`, and `SLACK` more at both ends.

    Tokens of a text stand at 0 and above; those outside are for keys that lag behind or ahead, and for queries that
    meet them (`model.embedded.kv_cache`).
    """

    def __init__(self, frequencies: Tensor, max_positions: int) -> None:
        self._max_positions = max_positions
        self._zero = max_positions + SLACK
        positions = torch.arange(-self._zero, max_positions + self._zero, dtype=torch.float32)
        self._turns = turns_of(torch.outer(positions, frequencies))

    def at(self, positions: Tensor) -> Tensor:
        """The turns of positions of any shape, [..., 2, head_dim]; `IndexError` for one outside of the table."""
        found = self._turns.index_select(0, (positions + self._zero).flatten())
        return found.view(*positions.shape, *found.shape[1:])

    def knows_keys_at(self, positions: NDArray[np.int64]) -> bool:
        """Whether keys may be turned to these positions: every query that may meet them can be, too."""
        return bool(positions.min() >= -SLACK and positions.max() < self._max_positions + SLACK)

    def knows_lags(self, lags: NDArray[np.int64]) -> bool:
        """Whether a key of every text's position may lag so much, and every query that meets it."""
        return bool(np.abs(lags).max(initial=0) <= self._zero)

    def rotate(self, x: Tensor, positions: Tensor) -> Tensor:
        """Rotate [heads, tokens, head_dim] to the positions of its tokens.

        Computed in float32 and rounded once, from un-rotated input, so the result depends on the position only.
        """
        return rotated(x, self.at(positions))
