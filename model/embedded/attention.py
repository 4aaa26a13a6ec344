"""Attention of new tokens to the rows of a cache, prepared once for all layers of a forward pass.

Each zone of the cache is attended to by itself, with queries that are rotated for its lag, and the parts are mixed by
what each has of the whole softmax's sum (as FlashAttention does with its blocks; Dao et al., arXiv 2205.14135). For few
queries that is cheaper than to turn the keys; many make one turn of the keys worth while, which leaves one zone.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.embedded.kv_cache import KVCache, Zone
from model.rope import RotaryTable, rotated

_FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default

ROWS_A_TOKEN = 32
"""Rows for each new token, up to which it is cheaper to turn them than to attend to them zone by zone."""


class Attention:
    """Where some new tokens stand in a cache, and what they may see of it.

    slots      [new] rising
    positions  [new] their rotary positions, equal to the slots except in a draft tree
    mask       [new, slots] True where a new token may look; None for all slots up to its own
    group      heads that share a key head
    """

    def __init__(
        self,
        cache: KVCache,
        rotary: RotaryTable,
        slots: NDArray[np.int64],
        positions: NDArray[np.int64],
        mask: Tensor | None,
        group: int,
    ) -> None:
        self._kv_heads, self._group = cache.shape.num_kv_heads, group
        turned = cache.turned
        cache.settle(at_most=ROWS_A_TOKEN * len(slots))
        num_rows = cache.reach(int(slots[-1]) + 1 if mask is None else mask.shape[1])
        zones = cache.zones(num_rows)
        rows = cache.rows[slots]
        zone_of = np.searchsorted([zone.end for zone in zones], rows, side="right")
        self._zone_of = int(zone_of[0]) if (zone_of == zone_of[0]).all() else torch.from_numpy(zone_of)
        lags = np.array([zone.lag for zone in zones])
        self._turns = rotary.at(torch.from_numpy(positions - lags[:, None]))[:, None]  # [zones, 1, new, 2, head_dim]
        seen = _seen(cache.slots[:num_rows], slots, mask)
        self._biases = [_bias(seen, zone, group, cache.shape.dtype) for zone in zones]
        self._blind = _blindness(self._biases)
        # One view a layer, cut once: in a decoding step to cut takes as long as to copy.
        self._writes = _Rows(cache.held, rows), _Rows(turned, rows)
        spans = [slice(zone.start, zone.end) for zone in zones]
        self._keys = [turned[:, None, :, span].unbind() for span in spans]
        self._values = [cache.values[:, None, :, span].unbind() for span in spans]

    def __call__(self, layer: int, heads: Tensor, asking: int) -> Tensor:
        """Write keys and values of a layer into the cache and attend; all of them come un-rotated.

        heads    [heads + 2 · kv_heads, new, head_dim] queries, keys and values
        asking   how many of the new tokens attend, the last ones
        returns  [asking, heads · head_dim]
        """
        kv_heads = self._kv_heads
        num_heads = kv_heads * self._group
        _, new, size = heads.shape
        held, keys = self._writes
        held.write(layer, heads[num_heads:])
        turned = rotated(heads[:-kv_heads], self._turns)  # [zones, heads + kv_heads, new, head_dim]
        keys.write(layer, self._in_own_zone(turned[:, num_heads:]))
        queries, biases = turned[:, :num_heads], self._biases
        if not asking:
            return heads.new_empty(0, num_heads * size)
        if asking < new:
            queries = queries[:, :, new - asking :]
            biases = [None if bias is None else self._last(bias, asking) for bias in biases]
        # Queries that share a key head form one batch of group · new queries, so keys are read once, not repeated.
        queries = queries.reshape(-1, 1, kv_heads, self._group * asking, size)
        parts, sums = [], []
        for zone, query in enumerate(queries.unbind()):
            part, logsum = _FLASH(query, self._keys[zone][layer], self._values[zone][layer], attn_mask=biases[zone])
            parts.append(part)
            sums.append(logsum)
        mixed = self._mixed(parts, sums, self._blind if biases is self._biases else _blindness(biases))
        # [1, kv_heads, group · new, head_dim] → [new, heads · head_dim]
        return mixed.reshape(num_heads, asking, size).transpose(0, 1).flatten(1)

    def _last(self, bias: Tensor, count: int) -> Tensor:
        """Of [group · new, rows] the rows of the last tokens, [group · count, rows]."""
        by_head = bias.view(self._group, -1, bias.shape[1])
        return by_head[:, by_head.shape[1] - count :].reshape(-1, bias.shape[1])

    def _in_own_zone(self, keys: Tensor) -> Tensor:
        """[kv_heads, new, head_dim] of keys that are rotated for each zone: a key is rotated as its neighbours are."""
        if isinstance(self._zone_of, int):
            return keys[self._zone_of]
        return keys[self._zone_of, :, torch.arange(keys.shape[2])].transpose(0, 1)

    @staticmethod
    def _mixed(parts: list[Tensor], sums: list[Tensor], blind: Tensor | None) -> Tensor:
        """The zones' parts, each [1, kv_heads, group · new, head_dim], by the logarithms of their softmax's sums."""
        if len(parts) == 1:
            return parts[0]
        logsums = torch.cat(sums)
        if blind is not None:
            logsums = logsums + blind
        mixed = (torch.cat(parts) * torch.softmax(logsums, dim=0)[..., None]).sum(0)
        return mixed.to(parts[0].dtype)


def _bias(seen: Tensor | None, zone: Zone, group: int, dtype: torch.dtype) -> Tensor | None:
    """[group · new, rows of the zone] to add to the scores: 0, or minus infinity where a row must not be seen."""
    part = None if seen is None else seen[:, zone.start : zone.end]
    if part is None or part.all():
        return None
    return torch.zeros(part.shape, dtype=dtype).masked_fill_(~part, float("-inf")).repeat(group, 1)


def _blindness(biases: list[Tensor | None]) -> Tensor | None:
    """[zones, 1, group · new] minus infinity where a query sees nothing of a zone: the kernel gives a sum of 1."""
    known = [bias for bias in biases if bias is not None]
    if len(biases) == 1 or not known:
        return None
    blind = [torch.zeros(len(known[0])) if bias is None else bias.float().amax(-1) for bias in biases]
    return torch.stack(blind)[:, None]


def _seen(standing: NDArray[np.int64], slots: NDArray[np.int64], mask: Tensor | None) -> Tensor | None:
    """[new, rows] which rows each new token may look at, where `standing` is the rows' slots; None for all."""
    by_row = torch.from_numpy(standing)
    if mask is not None:
        last = mask.shape[1] - 1
        return mask[:, by_row.clamp(max=last)] & (by_row <= last)
    if len(slots) == 1 and len(standing) == slots[0] + 1:
        return None
    return by_row <= torch.from_numpy(slots)[:, None]


class _Rows:
    """Some rows of a tensor of [layers, heads, rows, head_dim], to be written layer by layer."""

    def __init__(self, tensor: Tensor, rows: NDArray[np.int64]) -> None:
        first, last = int(rows[0]), int(rows[-1])
        self._indices = None
        if len(rows) == last - first + 1 and (len(rows) == 1 or bool((np.diff(rows) == 1).all())):
            self._layers = tensor[:, :, first : last + 1].unbind()  # rows that follow each other are a plain copy
        else:
            self._layers, self._indices = tensor.unbind(), torch.from_numpy(rows)

    def write(self, layer: int, values: Tensor) -> None:
        """values [heads, rows, head_dim]"""
        if self._indices is None:
            self._layers[layer].copy_(values)
        else:
            self._layers[layer].index_copy_(1, self._indices, values)
