"""The KV cache of one file: keys and values that outlive edits, and that an edit does not move.

A slot is a token's place in the prompt, and its position. A row is where its key and value lie, in three tensors of
[layers, kv_heads, rows, head_dim]:

    keys     un-rotated, as the model computed them; never changed
    values   as computed; keys and values are halves of one tensor, `held`
    turned   keys rotated: what attention reads. It can be dropped and made again from `keys`.

Rows have no order, because attention needs none: it only has to know each row's slot. So an edit rewrites three arrays
of numbers, and new tokens take free rows. An edit does not turn the keys below it either. Each row has a *lag*, and its
turned key is rotated for slot - lag. The score of a query at position p depends on the distance only, so the query is
rotated for p - lag. Neighbouring rows with the same lag are a *zone*. An edit leaves few zones, and a query is rotated
once for each. The keys of a small zone are turned to the lag of the zone beside it at once. `settle` turns all keys to
their own slots, once there are many zones, many queries, or lags for which there is no table of turns. It always starts
from `keys`, with one rotation, so ten thousand edits leave the same bits as one.

`model.cache.held_tokens` keeps which token is in which slot.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.cache.held_tokens import GROWTH, HOLE, HeldTokens
from model.cache.reuse import ReusePlan
from model.cache.rope import RotaryTable, rotated
from model.prompts.prompt import Prompt
from model.tokenizer import IntArray

MAX_ZONES = 6
"""Zones that edits may leave until the keys are turned to where they stand."""

SMALL_ZONE = 128
"""Rows up to which it is cheaper to turn a zone's keys than to attend to it by itself for a token or two."""

ROWS_A_ZONE = 200
"""Rows whose keys are turned in the time that a decoding step takes longer for one more zone."""

TURNED_AT_ONCE = 512
"""Rows whose keys of one layer, in float32 and several times over, fit into a core's own cache."""


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


@dataclass(frozen=True)
class Zone:
    """Rows from `start` up to `end`, whose turned keys are all rotated to `lag` positions before their slots."""

    start: int
    end: int
    lag: int


class KVCache(HeldTokens):
    """The cache of one document. Not thread-safe: the engine's thread owns it."""

    def __init__(self, shape: CacheShape, rotary: RotaryTable) -> None:
        super().__init__()
        self.shape = shape
        self._rotary = rotary
        self.rows: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        """The row of each slot: a permutation. Rows of slots behind `length` are free."""
        self.slots: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        """The slot of each row."""
        self.lags: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.held = self._empty(2, 0)
        self._turned: Tensor | None = self._empty(1, 0)

    @property
    def keys(self) -> Tensor:
        return self.held[:, : self.shape.num_kv_heads]

    @property
    def values(self) -> Tensor:
        return self.held[:, self.shape.num_kv_heads :]

    @property
    def num_bytes(self) -> int:
        return self.held.nbytes + (0 if self._turned is None else self._turned.nbytes)

    @property
    def turned(self) -> Tensor:
        """Rotated keys; made again from `keys` if they were released."""
        if self._turned is None:
            self._turned = self._empty(1, self.capacity)
            self._turn(0, self.reach(self.length))
        return self._turned

    def release_turned(self) -> None:
        """Give back the third of the memory that can be computed again in a few milliseconds."""
        self._turned = None
        self.lags[:] = 0

    def reach(self, length: int) -> int:
        """How many rows in front hold the first `length` slots, and others perhaps."""
        return int(self.rows[:length].max()) + 1 if length else 0

    def zones(self, num_rows: int) -> list[Zone]:
        """The zones of the first `num_rows` rows."""
        lags = self.lags[:num_rows]
        edges = [0, *(np.flatnonzero(lags[1:] != lags[:-1]) + 1).tolist(), num_rows]
        return [Zone(start, end, int(self.lags[start])) for start, end in itertools.pairwise(edges)]

    def splice(self, plan: ReusePlan, prompt: Prompt) -> None:
        """Lay the cache out for `prompt`: keep the plan's runs at their new slots, leave holes for the rest."""
        self.reserve(len(prompt))
        super().splice(plan, prompt)
        if not plan.runs:
            self.rows[:] = self.slots[:] = np.arange(self.capacity)
            self.lags[:] = 0
        elif any(run.old != run.new for run in plan.runs):
            self._move(plan)
        reach = self.reach(self.length)
        if reach - self.length > max(GROWTH, self.length // 4):
            self._gather()
            return
        self._join(self.zones(reach))
        if len(self.zones(reach)) > MAX_ZONES or not self._rotary.knows_lags(self.lags):
            self.settle()

    def settle(self, at_most: int | None = None) -> None:
        """Turn all keys to where they stand; with `at_most` only if that is done to no more rows."""
        lagging = np.flatnonzero(self.lags)
        if len(lagging):
            start, end = int(lagging[0]), int(lagging[-1]) + 1
            if at_most is None or end - start <= at_most:
                self._turn(start, end)

    def settle_for(self, num_steps: int) -> None:
        """Turn all keys to where they stand if so many decoding steps are the faster for it."""
        spared = len(self.zones(self.reach(self.length))) - 1
        self.settle(at_most=ROWS_A_ZONE * spared * num_steps)

    def keep(self, slots: IntArray) -> None:
        """Keep the path through a draft tree that was chosen, and forget the tree's other nodes.

        slots  rising, at least one: the path's. Its tokens become the cache's last ones, at consecutive slots from the
               first of them on; all slots before that stay as they are.

        Nothing is moved or turned: slots change their rows. A node was rotated to the position that its depth gave it,
        and that is the slot that it gets; its lag stays its row's. What was forgotten leaves free rows behind.

                                 keep([5, 7, 9])
            slot      5 6 7 8 9                  slot      5 6 7   8 9
            row       a b c d e                  row       a c e   b d
            position  5 6 6 7 7                  position  5 6 7   free
        """
        first = int(slots[0])
        if int(slots[-1]) - first >= len(slots):  # else they have no gaps
            is_other = np.ones(self.capacity, dtype=np.bool_)
            is_other[:first] = is_other[slots] = False
            self.rows[first:] = self.rows[np.concatenate((slots, np.flatnonzero(is_other)))]
            self.slots[self.rows[first:]] = np.arange(first, self.capacity)
        super().keep(slots)

    def truncate(self, length: int) -> None:
        """Forget the slots from `length` on; their rows are taken again lowest first, whatever `keep` made of them."""
        super().truncate(length)
        self.rows[length:] = np.sort(self.rows[length:])
        self.slots[self.rows[length:]] = np.arange(length, self.capacity)

    def reserve(self, length: int) -> None:
        """Make room for `length` slots, keeping what the cache holds."""
        if length <= self.capacity:
            return
        capacity = -(-length // GROWTH) * GROWTH
        # All of them are made before one is replaced: should memory run out, none has changed.
        held = self._grown(self.held, capacity)
        turned = None if self._turned is None else self._grown(self._turned, capacity)
        added = np.arange(self.capacity, capacity)
        super().reserve(length)
        self.rows, self.slots = np.concatenate((self.rows, added)), np.concatenate((self.slots, added))
        self.lags = np.concatenate((self.lags, np.zeros_like(added)))
        self.held, self._turned = held, turned

    def check_integrity(self) -> None:
        """Raise AssertionError unless lengths, flags, rows and the turned keys agree with each other."""
        super().check_integrity()
        assert len(self.rows) == len(self.slots) == len(self.lags) == self.capacity
        assert self.held.shape[2] == self.capacity
        assert np.array_equal(self.slots[self.rows], np.arange(self.capacity))
        held = np.flatnonzero(self.ids != HOLE)
        if self._turned is not None and len(held):
            rows = torch.from_numpy(self.rows[held])
            positions = torch.from_numpy(held - self.lags[self.rows[held]])
            for layer in range(self.shape.num_layers):
                expected = self._rotary.rotate(self.keys[layer][:, rows], positions)
                assert torch.equal(self._turned[layer][:, rows], expected)

    def _move(self, plan: ReusePlan) -> None:
        """Give the runs' rows their new slots, and the other slots the rows that are left, lowest first."""
        rows = np.full(self.capacity, HOLE, dtype=np.int64)
        for run in plan.runs:
            held = self.rows[run.old : run.old + run.length]
            rows[run.new : run.new + run.length] = held
            self.lags[held] += run.new - run.old
        is_free = np.ones(self.capacity, dtype=np.bool_)
        is_free[rows[rows != HOLE]] = False
        rows[rows == HOLE] = np.flatnonzero(is_free)
        self.rows = rows
        self.slots[rows] = np.arange(self.capacity)
        # A free row takes the lag of the row before it, so that it does not part a zone.
        last_held = np.maximum.accumulate(np.where(is_free, -1, np.arange(self.capacity)))
        self.lags = np.where(last_held < 0, 0, self.lags[last_held])

    def _join(self, zones: list[Zone]) -> None:
        """Turn the keys of small zones to the lag of the large one before, of the first ones to that behind them.

        Not where to settle all of the keys is less: small zones take as long as those of so many rows.
        """
        large = [zone.lag for zone in zones if zone.end - zone.start > SMALL_ZONE]
        if len(zones) > MAX_ZONES and (len(zones) - len(large)) * SMALL_ZONE > zones[-1].end:
            return
        lag = large[0] if large else 0
        for zone in zones:
            if zone.end - zone.start > SMALL_ZONE:
                lag = zone.lag
            elif zone.lag != lag and self._rotary.knows_keys_at(self.slots[zone.start : zone.end] - lag):
                self._turn(zone.start, zone.end, lag)

    def _gather(self) -> None:
        """Bring the rows into the slots' order, so that attention does not read free ones."""
        order = torch.from_numpy(self.rows)
        with torch.inference_mode(False):
            self.held = self.held[:, :, order]
            if self._turned is not None:
                self._turned = self._turned[:, :, order]
        self.lags = self.lags[self.rows]
        self.rows, self.slots = np.arange(self.capacity), np.arange(self.capacity)
        self.settle()

    def _turn(self, start: int, end: int, lag: int = 0) -> None:
        """Rotate the keys of some rows to `lag` before their slots."""
        self.lags[start:end] = lag
        if self._turned is None:
            return
        for first in range(start, end, TURNED_AT_ONCE):
            rows = slice(first, min(end, first + TURNED_AT_ONCE))
            turns = self._rotary.at(torch.from_numpy(self.slots[rows] - lag))
            step = max(1, TURNED_AT_ONCE // len(turns))
            for layer in range(0, self.shape.num_layers, step):
                layers = slice(layer, layer + step)
                self._turned[layers, :, rows] = rotated(self.keys[layers, :, rows], turns)

    def _empty(self, kinds: int, capacity: int) -> Tensor:
        shape = self.shape
        with torch.inference_mode(False):  # a tensor made in a forward pass could not be written to outside of one
            return torch.zeros(
                shape.num_layers, kinds * shape.num_kv_heads, capacity, shape.head_dim, dtype=shape.dtype
            )

    def _grown(self, tensor: Tensor, capacity: int) -> Tensor:
        grown = self._empty(tensor.shape[1] // self.shape.num_kv_heads, capacity)
        grown[:, :, : tensor.shape[2]] = tensor
        return grown
