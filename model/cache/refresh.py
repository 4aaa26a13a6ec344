"""Which slots to encode again while the editor is idle.

First the stale tokens near the anchor, nearest first, then those of the lead: they matter most to the next suggestion,
and encoding them again shows them the edit. They still look at stale tokens further off, so afterwards everything
behind the exact prefix is encoded once from left to right. Then the cache equals a fresh prefill.
"""

from __future__ import annotations

import numpy as np

from model.cache.held_tokens import HOLE, HeldTokens
from model.tokenizer import IntArray

REFRESH_SLICE = 64
"""Tokens of one slice: a few tens of milliseconds, the longest a keystroke waits for it."""

NEAR = 256
"""Tokens on either side of the anchor that are refreshed first."""


def next_slice(cache: HeldTokens) -> IntArray | None:
    """Slots to encode next, rising; None when the cache is exact or is waiting for a prompt to fill its holes."""
    near = near_slice(cache)
    if near is not None:
        return near
    if cache.exact_length == cache.length or _has_holes(cache):
        return None
    end = min(cache.exact_length + REFRESH_SLICE, cache.length)
    return np.arange(cache.exact_length, end, dtype=np.int32)


def near_slice(cache: HeldTokens, size: int = REFRESH_SLICE) -> IntArray | None:
    """The stale slots nearest to the anchor, else the first ones of the lead, rising; None where there are none, or
    holes wait for a prompt.
    """
    if _has_holes(cache):
        return None
    first = max(cache.exact_length, cache.anchor - NEAR)
    last = min(cache.length, cache.anchor + NEAR)
    near = np.flatnonzero(cache.stale[first:last]) + first
    if not len(near):
        lead = np.flatnonzero(cache.stale[cache.lead_start : cache.length])[:size] + cache.lead_start
        return lead.astype(np.int32) if len(lead) else None
    nearest = near[np.argsort(np.abs(near - cache.anchor), kind="stable")[:size]]
    return np.sort(nearest).astype(np.int32)


def _has_holes(cache: HeldTokens) -> bool:
    return bool((cache.ids[: cache.length] == HOLE).any())
