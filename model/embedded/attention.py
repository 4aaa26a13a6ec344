"""Attention of new tokens to the rows of a cache, prepared once for all layers of a forward pass.

Each zone of the cache is attended to by itself, with queries that are rotated for its lag, and the parts are mixed by
what each has of the whole softmax's sum (as FlashAttention does with its blocks; Dao et al., arXiv 2205.14135). For few
queries that is cheaper than to turn the keys; many make one turn of the keys worth while, which leaves one zone.

Tokens of an edit at the top of a file see nothing of what is below. Where that is much, it is a part of its own, to
which only the tokens attend from the first on that sees any of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model.cache.rope import RotaryTable, rotated
from model.embedded.kv_cache import KVCache, Zone

_FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default

ROWS_A_TOKEN = 32
"""Rows for each new token, up to which it is cheaper to turn them than to attend to them zone by zone."""

BLOCK = 256
"""Rows that are not told apart when zones are cut."""

SPARED = 16_384
"""Rows times tokens that need not attend to them, for which one part more is worth while."""


@dataclass(frozen=True)
class _Part:
    """What new tokens attend to of one zone.

    rows   from where to where they lie
    lag    the zone's, its number among all
    first  the first of the new tokens that sees any of them
    bias   [group · (new - first), rows] to add to the scores: 0, or minus infinity where a row must not be seen
    blind  [new - first] minus infinity for a token that sees nothing here: the kernel gives a sum of 1
    """

    rows: slice
    lag: int
    first: int
    bias: Tensor | None
    blind: Tensor | None


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
        rows = cache.rows[slots]
        zones = cache.zones(num_rows)
        lags = np.unique([zone.lag for zone in zones])
        self._turns = rotary.at(torch.from_numpy(positions - lags[:, None]))[:, None]  # [lags, 1, new, 2, head_dim]
        lag_of = np.searchsorted(lags, cache.lags[rows])
        self._lag_of = int(lag_of[0]) if (lag_of == lag_of[0]).all() else torch.from_numpy(lag_of)
        seen = _seen(cache.slots[:num_rows], slots, mask)
        self._parts = [
            _part(zone, int(np.searchsorted(lags, zone.lag)), first, seen, group, cache.shape.dtype)
            for zone, first in _cut(zones, seen, len(slots))
        ]
        # One view a layer, cut once: in a decoding step to cut takes as long as to copy.
        self._writes = _Rows(cache.held, rows), _Rows(turned, rows)
        self._keys = [turned[:, None, :, part.rows].unbind() for part in self._parts]
        self._values = [cache.values[:, None, :, part.rows].unbind() for part in self._parts]

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
        turned = rotated(heads[:-kv_heads], self._turns)  # [lags, heads + kv_heads, new, head_dim]
        keys.write(layer, self._of_own_lag(turned[:, num_heads:]))
        if not asking:
            return heads.new_empty(0, num_heads * size)
        attended, logsums = [], []
        for part, part_keys, part_values in zip(self._parts, self._keys, self._values, strict=True):
            first = max(part.first, new - asking)
            # Queries that share a key head form one batch of group · new queries, so keys are read once, not repeated.
            query = turned[part.lag, :num_heads, first:].reshape(1, kv_heads, -1, size)
            bias = part.bias if first == part.first else _later(part.bias, self._group, new - first)
            found, logsum = _FLASH(query, part_keys[layer], part_values[layer], attn_mask=bias)
            found, logsum = found.reshape(num_heads, -1, size), logsum.reshape(num_heads, -1)
            if part.blind is not None:
                logsum = logsum + part.blind[first - part.first :]
            missing = first - (new - asking)
            if missing:
                found, logsum = F.pad(found, (0, 0, missing, 0)), F.pad(logsum, (missing, 0), value=float("-inf"))
            attended.append(found)
            logsums.append(logsum)
        return _mixed(attended, logsums).transpose(0, 1).flatten(1)

    def _of_own_lag(self, keys: Tensor) -> Tensor:
        """[kv_heads, new, head_dim] of keys rotated for each lag: a key is rotated as its neighbours are."""
        if isinstance(self._lag_of, int):
            return keys[self._lag_of]
        return keys[self._lag_of, :, torch.arange(keys.shape[2])].transpose(0, 1)


def _mixed(parts: list[Tensor], logsums: list[Tensor]) -> Tensor:
    """The parts, [heads, asking, head_dim] each, by the logarithms of their softmax's sums, [heads, asking]."""
    if len(parts) == 1:
        return parts[0]
    shares = torch.softmax(torch.stack(logsums), dim=0)[..., None]
    return (torch.stack(parts) * shares).sum(0).to(parts[0].dtype)


def _cut(zones: list[Zone], seen: Tensor | None, new: int) -> Iterator[tuple[Zone, int]]:
    """The zones, cut where that spares much, each with the first of the new tokens that sees any of it.

    seen  [new, rows]; None where all see all. What nobody sees is left out.
    """
    if seen is None:
        yield from ((zone, 0) for zone in zones)
        return
    for zone in zones:
        starts = np.arange(zone.start, zone.end, BLOCK)
        firsts = np.minimum.reduceat(_first_seeing(seen[:, zone.start : zone.end]), starts - zone.start)
        start, first = zone.start, int(firsts[0])
        for at, other in zip(starts[1:].tolist(), firsts[1:].tolist(), strict=True):
            spared = (other - first) * (zone.end - at) if other > first else (first - other) * (at - start)
            if spared < SPARED:
                first = min(first, other)
                continue
            if first < new:
                yield Zone(start, at, zone.lag), first
            start, first = at, other
        if first < new:
            yield Zone(start, zone.end, zone.lag), first


def _first_seeing(seen: Tensor) -> NDArray[np.int64]:
    """[rows] of [new, rows] the first new token that sees a row, behind the last one where none does."""
    some, first = seen.to(torch.uint8).max(dim=0)
    return torch.where(some.bool(), first, len(seen)).numpy()


def _part(zone: Zone, lag: int, first: int, seen: Tensor | None, group: int, dtype: torch.dtype) -> _Part:
    rows = slice(zone.start, zone.end)
    visible = None if seen is None else seen[first:, rows]
    if visible is None or visible.all():
        return _Part(rows, lag, first, None, None)
    sees = visible.any(dim=1)
    bias = torch.zeros(visible.shape, dtype=dtype).masked_fill_(~visible, float("-inf")).repeat(group, 1)
    blind = None if sees.all() else torch.zeros(len(sees)).masked_fill_(~sees, float("-inf"))
    return _Part(rows, lag, first, bias, blind)


def _later(bias: Tensor | None, group: int, count: int) -> Tensor | None:
    """Of a bias the rows of the last tokens, [group · count, rows]."""
    if bias is None:
        return None
    by_head = bias.view(group, -1, bias.shape[1])
    return by_head[:, by_head.shape[1] - count :].reshape(-1, bias.shape[1])


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
