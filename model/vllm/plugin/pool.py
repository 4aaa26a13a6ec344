"""The pool of rows, in a worker: copies tokens between vLLM's paged cache and the pool, and turns keys on the way back.

A paged cache is given as two views a layer, keys and values. A row of the pool holds one token of all layers, keys as
they were when the model wrote them, rotated to their origin. A key that goes back to its origin is copied bit for bit;
another one is turned once, computed in float32 and rounded once.

Knows torch, not vLLM. Every tensor parallel rank has a pool of its own heads and obeys the same commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.cache.rope import rotated, turns_of
from model.vllm.plugin.row_table import Ints

_MANY = 16
"""Distances that are turned one by one; more are turned token by token, which costs a gathered table."""


@dataclass(frozen=True)
class Save:
    """After the step: the tokens from `start` on go from the request's blocks to these rows."""

    block_ids: Sequence[int]
    start: int
    rows: Ints


@dataclass(frozen=True)
class Load:
    """Before the step: the tokens from `start` on come from these rows, each turned by so many positions."""

    block_ids: Sequence[int]
    start: int
    rows: Ints
    shifts: Ints


@dataclass(frozen=True)
class Paged:
    """Keys or values of one layer's paged cache, in the order in which the attention kernels keep them.

    `view` is [blocks, kv_heads, block_size / t, t, head_dim / d, d]: kernels that pack tiles keep `t` tokens or `d`
    numbers of a head together.
    """

    view: Tensor

    @property
    def block_size(self) -> int:
        return self.view.shape[2] * self.view.shape[3]

    @property
    def token_shape(self) -> tuple[int, int]:
        """[kv_heads, head_dim]."""
        return self.view.shape[1], self.view.shape[4] * self.view.shape[5]

    def read(self, block: Tensor, offset: Tensor) -> Tensor:
        """[n, kv_heads, head_dim] of the tokens at these offsets of these blocks, both [n]; a copy."""
        tile = self.view.shape[3]
        return self.view[block, :, offset // tile, offset % tile].flatten(-2)

    def write(self, block: Tensor, offset: Tensor, tokens: Tensor) -> None:
        """Put `tokens`, [n, kv_heads, head_dim], at these offsets of these blocks."""
        tile = self.view.shape[3]
        self.view[block, :, offset // tile, offset % tile] = tokens.reshape(*tokens.shape[:2], *self.view.shape[4:])


@dataclass(frozen=True)
class Layer:
    """One layer's paged cache."""

    keys: Paged
    values: Paged


@dataclass(frozen=True)
class _Rows:
    """One layer's rows, [num_rows, kv_heads, head_dim] each."""

    keys: Tensor
    values: Tensor


class Pool:
    """Keys and values of `num_rows` tokens."""

    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        num_rows: int,
        block_size: int,
        frequencies: Tensor,
        device: torch.device | None = None,
    ) -> None:
        """`block_size` is that of the scheduler's blocks; the cache's own may be a part of it.

        `frequencies` are radians a position, [rotated / 2], for the first `rotated` numbers of each head. The pool is
        kept on `device`, by default in the processor's memory.
        """
        self._layers = layers
        self._block_size = block_size
        self._frequencies = frequencies.double().cpu()
        cache = layers[0].keys.view
        device = device or torch.device("cpu")
        pinned = device.type == "cpu" and cache.device.type == "cuda"
        self._device = device

        def rows_for(paged: Paged) -> Tensor:
            shape = (num_rows, *paged.token_shape)
            return torch.empty(shape, dtype=paged.view.dtype, device=device, pin_memory=pinned)

        self._rows = [_Rows(rows_for(layer.keys), rows_for(layer.values)) for layer in layers]

    def save(self, command: Save) -> None:
        """Copy tokens from the paged cache into rows."""
        block, offset = self._places(command.block_ids, command.start, len(command.rows))
        rows = torch.from_numpy(command.rows.astype(np.int64)).to(self._device)
        for layer, held in zip(self._layers, self._rows, strict=True):
            held.keys[rows] = layer.keys.read(block, offset).to(self._device)
            held.values[rows] = layer.values.read(block, offset).to(self._device)

    def load(self, command: Load) -> None:
        """Copy rows into the paged cache, keys turned to where their tokens stand now."""
        block, offset = self._places(command.block_ids, command.start, len(command.rows))
        rows = torch.from_numpy(command.rows.astype(np.int64)).to(self._device)
        turns = self._turns(command.shifts)
        for layer, held in zip(self._layers, self._rows, strict=True):
            device = layer.keys.view.device
            keys = held.keys[rows].to(device, non_blocking=True)
            part = keys[..., : 2 * len(self._frequencies)]
            for which, turn in turns:
                part[which] = rotated(part[which], turn)
            layer.keys.write(block, offset, keys)
            layer.values.write(block, offset, held.values[rows].to(device, non_blocking=True))

    def _places(self, block_ids: Sequence[int], start: int, count: int) -> tuple[Tensor, Tensor]:
        """(block, offset in it) of so many tokens, in the paged cache's own blocks."""
        cache = self._layers[0].keys
        own_size, device = cache.block_size, cache.view.device
        positions = np.arange(start, start + count)
        block = np.asarray(block_ids, dtype=np.int64)[positions // self._block_size]
        offset = positions % self._block_size
        block = block * (self._block_size // own_size) + offset // own_size
        return torch.from_numpy(block).to(device), torch.from_numpy(offset % own_size).to(device)

    def _turns(self, shifts: Ints) -> list[tuple[slice | Tensor, Tensor]]:
        """Which tokens to turn, and how: one entry for each distance where there are few, one for all where there are
        many.
        """
        device = self._layers[0].keys.view.device
        distances, which = np.unique(shifts, return_inverse=True)
        turns = turns_of(torch.outer(torch.from_numpy(distances.astype(np.float64)), self._frequencies)).to(device)
        if len(distances) > _MANY:
            moved = np.flatnonzero(shifts)
            rows = torch.from_numpy(which[moved]).to(device)
            return [(torch.from_numpy(moved).to(device), turns[rows][:, None])]
        return [
            (_as_slice(np.flatnonzero(which == i), device), turns[i])
            for i, distance in enumerate(distances)
            if distance
        ]


def _as_slice(indices: NDArray[np.intp], device: torch.device) -> slice | Tensor:
    """Rising indices as a slice where they follow one another, which is faster."""
    if len(indices) == indices[-1] - indices[0] + 1:
        return slice(int(indices[0]), int(indices[-1]) + 1)
    return torch.from_numpy(indices).to(device)
