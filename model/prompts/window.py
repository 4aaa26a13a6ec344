"""What of a long file the model sees, and where the lead begins. Both stay in place while the caret moves a little."""

from __future__ import annotations

import numpy as np

from model.tokenizer import Tokenizer
from model.tokens import NO_SERIAL, SerialArray, TokenizedText, TokenRun, common_prefix, new_serials

SUFFIX_SHARE = 0.25
"""Part of the budget that the text after the caret gets when the file is longer than the budget."""

SUFFIX_STEP = 64
"""What more of the text after the caret is shown changes by so many tokens at once, not with every keystroke."""

LEAD = 48
"""Tokens from a new anchor to the caret, about: the lines that a line depends on most."""

MAX_LEAD = 128
"""Tokens from the anchor to the caret at which a new anchor is chosen."""

EDGE = 64
"""Tokens that must be to spare before a text that was cut is whole again, or a key and its taking back would cut and
restore it each time."""

SLACK = 0.25
"""Part of the prefix's budget by which the caret may move on before the window's start moves."""


class Window:
    """Cuts one file's tokens to a budget around the caret and sets the anchor; both stay where they are if they can."""

    def __init__(self) -> None:
        self._first_serial = NO_SERIAL
        self._anchor_serial = NO_SERIAL
        self._place = NO_SERIAL
        self._lead = np.zeros(0, dtype=np.int32)
        self._own = new_serials(2)

    def cut(self, tokens: TokenizedText, before: TokenRun, after: TokenRun, budget: int) -> tuple[TokenRun, TokenRun]:
        """At most `budget` tokens: a quarter of them after the caret, more where the other side needs less."""
        size = len(before) + len(after)
        if size <= budget and (self._first_serial == NO_SERIAL or size <= budget - EDGE):
            self._first_serial = NO_SERIAL
            return before, after
        spare = (budget - len(before)) // SUFFIX_STEP * SUFFIX_STEP
        suffix_budget = min(len(after), max(int(budget * SUFFIX_SHARE), spare))
        prefix_budget = budget - suffix_budget
        start = self._start(tokens, before, prefix_budget)
        return before[start:], after[:suffix_budget]

    def lead(self, tokenizer: Tokenizer, before: TokenRun) -> int:
        """How many of the tokens before the caret stand behind the anchor, 0 to `MAX_LEAD`.

        A new anchor is the first line's end among the last `LEAD` tokens, else that of the caret's own line; in a line
        longer than `MAX_LEAD` it is inside the line.
        """
        near = before[max(0, len(before) - MAX_LEAD) :]
        if self._anchor_serial != NO_SERIAL and self._anchor_serial in near.serials:
            return len(near) - int(np.flatnonzero(near.serials == self._anchor_serial)[0])
        at = max(0, len(near) - LEAD)
        if at:
            pieces = [tokenizer.token_bytes(int(token)) for token in near.ids]
            ends = [
                i
                for i in range(1, len(pieces))
                if pieces[i].startswith((b"\n", b"\r")) or pieces[i - 1].endswith(b"\n")
            ]
            at = next((i for i in ends if i >= at), ends[-1] if ends else at)
        self._anchor_serial = int(near.serials[at]) if at < len(near) else NO_SERIAL
        return len(near) - at

    def identities(self, before: TokenRun, lead: int) -> SerialArray:
        """[2 + lead] serials of a prompt's suffix marker, its middle marker and its lead.

        They stay while the token before the anchor does, the lead's as far as it is what it was.
        """
        anchor = len(before) - lead
        place = int(before.serials[anchor - 1]) if anchor else NO_SERIAL
        ids = before.ids[anchor:]
        if place != self._place or (anchor and place == NO_SERIAL):
            self._place, self._lead, self._own = place, ids[:0], new_serials(2)
        same = common_prefix(self._lead, ids)
        self._own = np.concatenate((self._own[: 2 + same], new_serials(lead - same)))
        self._lead = ids
        return self._own

    def _start(self, tokens: TokenizedText, before: TokenRun, budget: int) -> int:
        least = int(budget * (1 - SLACK))
        if self._first_serial != NO_SERIAL and len(before) > budget - EDGE:
            at = np.flatnonzero(before.serials == self._first_serial)
            if len(at) and least <= len(before) - int(at[0]) <= budget:
                return int(at[0])
        if len(before) <= budget:
            self._first_serial = NO_SERIAL
            return 0
        slack = (budget - least) // 2
        start = _next_line_start(tokens, len(before) - least - slack, min(64, slack))
        self._first_serial = int(before.serials[start]) if start < len(before) else NO_SERIAL
        return start


def _next_line_start(tokens: TokenizedText, index: int, reach: int) -> int:
    """The first token from `index` on, among the next `reach`, that starts a line or opens one with its newline."""
    for i in range(index, min(index + reach, len(tokens))):
        start = int(tokens.starts[i])
        if tokens.data[start : start + 1] in (b"\n", b"\r") or tokens.data[start - 1 : start] == b"\n":
            return i
    return index
