"""Which tokens of a file a cache holds, whoever keeps the keys and values: the book-keeping of reuse.

A slot is a token's place in the prompt, and its position. What is known of each, as numpy arrays of [capacity]:

    ids, serials   the token and its identity; -1 marks a hole, a slot of the prompt that is not encoded yet
    stale          encoded before something in front of it changed

`exact_length` slots in front are what a fresh prefill would hold. Behind it, even tokens that are not stale have looked
at stale ones. The prompt's suffix marker is at `anchor`, its middle marker and its lead are from `lead_start` on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.cache.reuse import ReusePlan
from model.prompts.prompt import Prompt
from model.tokenizer import IntArray

HOLE = -1
GROWTH = 256
"""Capacity grows in steps of this many tokens."""


class HeldTokens:
    """The tokens that one document's cache holds. Not thread-safe: the engine's thread owns it."""

    def __init__(self) -> None:
        self.ids: IntArray = np.zeros(0, dtype=np.int32)
        self.serials: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.stale: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self.length = 0
        self.exact_length = 0
        self.anchor = 0
        self.lead_start = 0

    @property
    def capacity(self) -> int:
        return len(self.ids)

    @property
    def num_stale(self) -> int:
        return int(np.count_nonzero(self.stale[: self.length]))

    def splice(self, plan: ReusePlan, prompt: Prompt) -> None:
        """Lay the slots out for `prompt`: keep and move the plan's runs, leave holes for the tokens to encode."""
        self.reserve(len(prompt))
        self.ids[plan.prefix :] = HOLE
        self.serials[plan.prefix :] = HOLE
        self.stale[plan.prefix :] = False
        for run in plan.runs:
            slots = slice(run.new, run.new + run.length)
            self.ids[slots] = prompt.ids[slots]
            self.serials[slots] = prompt.serials[slots]
            if run.new >= plan.prefix:
                self.stale[slots] = True
        self.length = len(prompt)
        self.exact_length = min(self.exact_length, plan.prefix)
        self.anchor = prompt.anchor
        self.lead_start = len(prompt) - prompt.lead - (prompt.lead > 0)

    def holes(self) -> IntArray:
        """Slots of the prompt that are not encoded yet, rising."""
        return np.flatnonzero(self.ids[: self.length] == HOLE).astype(np.int32)

    def fill(self, slots: IntArray, prompt: Prompt) -> None:
        """Note that `slots` (rising) now hold the prompt's tokens, encoded with all that is in front of them."""
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

    def keep(self, slots: IntArray) -> None:
        """Make the tokens at `slots` the last ones: they close up to the first of them, which stays where it is.

        slots  rising, at least one: the path through a draft tree that was chosen. What is before the first stays
               as it is; everything else behind it is forgotten.
        """
        first, end = int(slots[0]), int(slots[0]) + len(slots)
        if first >= self.length:
            return  # nothing is known of tokens that are being generated
        num_exact = int(np.searchsorted(slots, self.exact_length))
        for known, nothing in ((self.ids, HOLE), (self.serials, HOLE), (self.stale, False)):
            known[first:end] = known[slots]
            known[end:] = nothing
        self.length = min(self.length, end)
        self.exact_length = min(self.exact_length, first + num_exact)

    def reserve(self, length: int) -> None:
        """Make room for `length` slots, keeping what is held."""
        if length <= self.capacity:
            return
        added = -(-length // GROWTH) * GROWTH - self.capacity
        self.ids = np.concatenate((self.ids, np.full(added, HOLE, dtype=np.int32)))
        self.serials = np.concatenate((self.serials, np.full(added, HOLE, dtype=np.int64)))
        self.stale = np.concatenate((self.stale, np.zeros(added, dtype=np.bool_)))

    def check_integrity(self) -> None:
        """Raise AssertionError unless lengths and flags agree with each other."""
        assert 0 <= self.exact_length <= self.length <= self.capacity
        assert len(self.ids) == len(self.serials) == len(self.stale) == self.capacity
        assert np.all(self.ids[self.length :] == HOLE) and not self.stale[self.length :].any()
        assert not self.stale[: self.exact_length].any()
        assert np.all(self.ids[: self.exact_length] != HOLE)
        known = self.serials[self.serials >= 0]
        assert len(np.unique(known)) == len(known)
