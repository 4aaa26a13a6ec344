"""The KV cache of one file: keys and values that outlive edits.

A slot is a token's place in the prompt, and its position. Three tensors of [layers, kv_heads, capacity, head_dim]:

    keys     un-rotated, as the model computed them; never changed by an edit, only moved
    values   as computed
    turned   keys rotated to their slots: what attention reads. It can be dropped and made again from `keys`.

An edit moves rows and turns the moved ones from `keys` by one rotation, so ten thousand edits leave the same bits as
one. Rotating in place would add a rounding error at each turn. Which token stands in which slot, `model.held_tokens`
keeps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.held_tokens import GROWTH, HOLE, HeldTokens
from model.prompt import Prompt
from model.reuse import ReusePlan
from model.rope import RotaryTable


@dataclass(frozen=True)
class CacheShape:
    """What a model needs of its cache."""

    num_layers: int
    num_kv_heads: int
    head_dim: int
    dtype: torch.dtype

    @property
    def bytes_per_token(self) -> int:
        """Bytes of one token in one of the three tensors."""
        return self.num_layers * self.num_kv_heads * self.head_dim * self.dtype.itemsize


class KVCache(HeldTokens):
    """The cache of one document. Not thread-safe: the engine's thread owns it."""

    def __init__(self, shape: CacheShape, rotary: RotaryTable) -> None:
        super().__init__()
        self.shape = shape
        self._rotary = rotary
        self.keys = self._empty(0)
        self.values = self._empty(0)
        self._turned: Tensor | None = self._empty(0)

    @property
    def num_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._tensors)

    @property
    def _tensors(self) -> tuple[Tensor, ...]:
        held = (self.keys, self.values)
        return held if self._turned is None else (*held, self._turned)

    @property
    def turned(self) -> Tensor:
        """Keys rotated to their slots; made again from `keys` if they were released."""
        if self._turned is None:
            self._turned = self._empty(self.capacity)
            self._turn(0, self.length)
        return self._turned

    def release_turned(self) -> None:
        """Give back the third of the memory that can be computed again in a few milliseconds."""
        self._turned = None

    def splice(self, plan: ReusePlan, prompt: Prompt) -> None:
        """Lay the cache out for `prompt`: keep and move the plan's runs, leave holes for the tokens to encode.

        Moves keys and values by the plan's runs, turns the keys that moved, forgets the rest.
        """
        self.reserve(len(prompt))
        moved = [run for run in plan.runs if run.old != run.new]
        rows = [  # copied first: a run's new place may be another one's old place
            (run, tensor, tensor[:, :, run.old : run.old + run.length].clone())
            for run in moved
            for tensor in (self.keys, self.values)
        ]
        super().splice(plan, prompt)
        for run, tensor, held in rows:
            tensor[:, :, run.new : run.new + run.length] = held
        if self._turned is not None:
            for run in moved:
                self._turn(run.new, run.new + run.length)

    def reserve(self, length: int) -> None:
        """Make room for `length` slots, keeping what the cache holds."""
        if length <= self.capacity:
            return
        capacity = -(-length // GROWTH) * GROWTH
        # All of them are made before one is replaced: should memory run out, none has changed.
        grown = [self._grown(tensor, capacity) for tensor in self._tensors]
        super().reserve(length)
        self.keys, self.values = grown[:2]
        self._turned = grown[2] if self._turned is not None else None

    def check_integrity(self) -> None:
        """Raise AssertionError unless lengths, flags and the turned keys agree with each other."""
        super().check_integrity()
        assert self.keys.shape[2] == self.values.shape[2] == self.capacity
        held = np.flatnonzero(self.ids != HOLE)
        if self._turned is not None and len(held):
            slots = torch.from_numpy(held)
            for layer in range(self.shape.num_layers):
                expected = self._rotary.rotate(self.keys[layer][:, slots], slots)
                assert torch.equal(self._turned[layer][:, slots], expected)

    def _turn(self, start: int, end: int) -> None:
        assert self._turned is not None
        for layer in range(self.shape.num_layers):  # one layer's keys fit into a core's own cache
            keys, turned = self.keys[layer, :, start:end], self._turned[layer, :, start:end]
            self._rotary.rotate(keys, slice(start, end), out=turned)

    def _empty(self, capacity: int) -> Tensor:
        shape = self.shape
        with torch.inference_mode(False):  # a tensor made in a forward pass could not be written to outside of one
            return torch.zeros(shape.num_layers, shape.num_kv_heads, capacity, shape.head_dim, dtype=shape.dtype)

    def _grown(self, tensor: Tensor, capacity: int) -> Tensor:
        grown = self._empty(capacity)
        grown[:, :, : tensor.shape[2]] = tensor
        return grown
