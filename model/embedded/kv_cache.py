"""The KV cache of one file: keys and values that outlive edits.

A slot is a token's place in the prompt, and its position. Three tensors of [layers, kv_heads, capacity, head_dim]:

    keys     un-rotated, as the model computed them; never changed by an edit, only moved
    values   as computed
    turned   keys rotated to their slots: what attention reads. It can be dropped and made again from `keys`.

An edit moves rows and turns the moved ones from `keys` by one rotation, so ten thousand edits leave the same bits as
one. Rotating in place would add a rounding error at each turn.

What is known of each slot, as numpy arrays of [capacity]:

    ids, serials   the token and its identity; -1 marks a hole, a slot of the prompt that is not encoded yet
    stale          encoded before something in front of it changed

`exact_length` slots in front are what a fresh prefill would hold. Behind it, even tokens that are not stale have looked
at stale ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.embedded.rope import RotaryTable
from model.prompt import Prompt
from model.reuse import ReusePlan
from model.tokenizer import IntArray

HOLE = -1
GROWTH = 256
"""Capacity grows in steps of this many tokens."""


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


class KVCache:
    """The cache of one document. Not thread-safe: the engine's thread owns it."""

    def __init__(self, shape: CacheShape, rotary: RotaryTable) -> None:
        self.shape = shape
        self._rotary = rotary
        self.keys = self._empty(0)
        self.values = self._empty(0)
        self._turned: Tensor | None = self._empty(0)
        self.ids: IntArray = np.zeros(0, dtype=np.int32)
        self.serials: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.stale: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self.length = 0
        self.exact_length = 0
        self.anchor = 0

    @property
    def capacity(self) -> int:
        return self.keys.shape[2]

    @property
    def num_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._tensors)

    @property
    def _tensors(self) -> tuple[Tensor, ...]:
        held = (self.keys, self.values)
        return held if self._turned is None else (*held, self._turned)

    @property
    def num_stale(self) -> int:
        return int(np.count_nonzero(self.stale[: self.length]))

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
        self.ids[plan.prefix :] = HOLE
        self.serials[plan.prefix :] = HOLE
        self.stale[plan.prefix :] = False
        for run in plan.runs:
            slots = slice(run.new, run.new + run.length)
            self.ids[slots] = prompt.ids[slots]
            self.serials[slots] = prompt.serials[slots]
            if run.new >= plan.prefix:
                self.stale[slots] = True
        for run, tensor, held in rows:
            tensor[:, :, run.new : run.new + run.length] = held
        self.length = len(prompt)
        self.exact_length = min(self.exact_length, plan.prefix)
        self.anchor = prompt.anchor
        if self._turned is not None:
            for run in moved:
                self._turn(run.new, run.new + run.length)

    def holes(self) -> IntArray:
        """Slots of the prompt that are not encoded yet, rising."""
        return np.flatnonzero(self.ids[: self.length] == HOLE).astype(np.int32)

    def fill(self, slots: IntArray, prompt: Prompt) -> None:
        """Note that `slots` (rising) now hold the prompt's tokens, encoded with all that stands before them."""
        self.ids[slots] = prompt.ids[slots]
        self.serials[slots] = prompt.serials[slots]
        self.refreshed(slots)

    def refreshed(self, slots: IntArray) -> None:
        """Note that `slots` (rising) were encoded again where they stand."""
        self.stale[slots] = False
        for slot in slots:
            if slot == self.exact_length:
                self.exact_length += 1

    def truncate(self, length: int) -> None:
        """Forget the slots from `length` on, such as those of generated tokens."""
        self.ids[length:] = HOLE
        self.serials[length:] = HOLE
        self.stale[length:] = False
        self.length = min(self.length, length)
        self.exact_length = min(self.exact_length, length)

    def reserve(self, length: int) -> None:
        """Make room for `length` slots, keeping what the cache holds."""
        if length <= self.capacity:
            return
        capacity = -(-length // GROWTH) * GROWTH
        added = capacity - self.capacity
        # All of them are made before one is replaced: should memory run out, none has changed.
        grown = [self._grown(tensor, capacity) for tensor in self._tensors]
        self.keys, self.values = grown[:2]
        self._turned = grown[2] if self._turned is not None else None
        self.ids = np.concatenate((self.ids, np.full(added, HOLE, dtype=np.int32)))
        self.serials = np.concatenate((self.serials, np.full(added, HOLE, dtype=np.int64)))
        self.stale = np.concatenate((self.stale, np.zeros(added, dtype=np.bool_)))

    def check_integrity(self) -> None:
        """Raise AssertionError unless lengths, flags and the turned keys agree with each other."""
        assert 0 <= self.exact_length <= self.length <= self.capacity
        assert len(self.ids) == len(self.serials) == len(self.stale) == self.capacity
        assert np.all(self.ids[self.length :] == HOLE) and not self.stale[self.length :].any()
        assert not self.stale[: self.exact_length].any()
        assert np.all(self.ids[: self.exact_length] != HOLE)
        known = self.serials[self.serials >= 0]
        assert len(np.unique(known)) == len(known)
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
