"""The tokens that a completion may repeat, and the longest earlier occurrence of the last ones.

They lie in one array, the text after the caret first, so that the most recent of several occurrences is the last one:

    ids   [ after the caret | border | before the anchor | lead | what was written | free ]
                                     ^ own                                         ^ length

The caret is behind `lead`. No occurrence crosses the border.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.prompts.prompt import Prompt
from model.tokenizer import IntArray

MAX_MATCH = 16
"""Tokens that are compared, at most."""

_BORDER = -1
"""A token that agrees with nothing: no match runs from the text after the caret into the text before it."""


class Match(NamedTuple):
    """An earlier occurrence of the last `length` tokens; the token at index `next_idx` followed it."""

    length: int
    next_idx: int


class TokenHistory:
    """The tokens of one completion's prompt and those that were written behind it, `room` at most."""

    def __init__(self, prompt: Prompt, room: int) -> None:
        head = prompt.ids[: prompt.anchor]
        lead = prompt.ids[len(prompt) - prompt.lead :]
        after = prompt.ids[prompt.anchor + 1 : len(prompt) - prompt.lead - 1]
        known = [after, np.array([_BORDER], dtype=np.int32), head, lead]
        self._length = sum(map(len, known))
        self._ids: IntArray = np.concatenate([*known, np.zeros(room, dtype=np.int32)])
        self._own = len(after) + 1

    def append(self, token: int) -> None:
        """Note a token that was written."""
        self._ids[self._length] = token
        self._length += 1

    def token_at(self, index: int) -> int:
        return int(self._ids[index])

    def run_from(self, index: int, room: int) -> IntArray:
        """[at most room] the tokens from an index on, up to the border or the end."""
        run = self._ids[index : min(index + room, self._length)]
        borders = np.flatnonzero(run == _BORDER)
        return run[: borders[0]] if len(borders) else run

    def longest_match(self, max_length: int = MAX_MATCH) -> Match | None:
        """The longest earlier occurrence of the last tokens, the most recent one of several; None without any.

        No more than `max_length` tokens are compared.
        """
        ids, end = self._ids, self._length
        if not max_length or end <= self._own:
            return None
        # Each place whose token is the last one is a candidate; those that agree one token further back stay.
        places = np.flatnonzero((ids[: end - 1] == ids[end - 1]) & (ids[1:end] != _BORDER))
        length = 0
        while len(places) and length < max_length:
            best, length = places, length + 1
            if end - 1 - length < self._own:
                break
            further = places - length
            places = places[(further >= 0) & (ids[further] == ids[end - 1 - length])]
        return Match(length, int(best[-1]) + 1) if length else None
