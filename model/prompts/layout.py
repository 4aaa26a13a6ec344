"""Lays tokens out as a prompt for one model: its family's markers, or plain left-to-right."""

from __future__ import annotations

import numpy as np

from model.errors import ModelError
from model.prompts.formats import FORMATS
from model.prompts.prompt import Prompt
from model.tokenizer import IntArray, Tokenizer
from model.tokens import NO_SERIAL, SerialArray, TokenRun


class Layout:
    """Builds prompts for one tokenizer: a family's fill-in-the-middle markers, or plain left-to-right without any."""

    def __init__(self, tokenizer: Tokenizer, bos_id: int | None = None, eos_ids: tuple[int, ...] = ()) -> None:
        found = next((f for f in FORMATS if tokenizer.special_id(f.middle) is not None), None)
        self.name = found.name if found else "left-to-right"
        self._ends = tokenizer.layout_ids | frozenset(eos_ids)
        if found is None:
            self._prefix = [] if bos_id is None else [bos_id]
            self._suffix: list[int] = []
            self._middle: list[int] = []
            return
        bos = tokenizer.special_id(found.bos) if found.bos else None
        self._prefix = [token for token in (bos,) if token is not None] + [_required(tokenizer, found.prefix)]
        self._suffix = [_required(tokenizer, found.suffix)]
        self._middle = [_required(tokenizer, found.middle)]

    @property
    def fills_the_middle(self) -> bool:
        return bool(self._suffix)

    @property
    def num_markers(self) -> int:
        return len(self._prefix) + len(self._suffix) + len(self._middle)

    def prompt(self, before: TokenRun, after: TokenRun, lead: int = 0, identities: SerialArray | None = None) -> Prompt:
        """Lay out the tokens before and after the caret, the last `lead` of those before it behind the middle marker.

        `identities` is what `Window.identities` gives, [2 + lead]; without it, nothing but the file's tokens has any.
        Without fill-in-the-middle the tokens after the caret are left out and there is no lead.
        """
        if not self.fills_the_middle:
            after, lead = after[:0], 0
        anchor = len(before) - lead
        own = np.full(2 + lead, NO_SERIAL, dtype=np.int64) if identities is None else identities
        if not self.fills_the_middle:
            own = own[:0]
        # The lead has not its serials of the file: a token that was encoded there would not have seen the suffix.
        parts = [
            (_ids(self._prefix), np.full(len(self._prefix), NO_SERIAL, dtype=np.int64)),
            (before.ids[:anchor], before.serials[:anchor]),
            (_ids(self._suffix), own[:1]),
            (after.ids, after.serials),
            (np.concatenate((_ids(self._middle), before.ids[anchor:])), own[1:]),
        ]
        return Prompt(
            np.concatenate([ids for ids, _ in parts]),
            np.concatenate([serials for _, serials in parts]),
            len(self._prefix) + anchor,
            self._ends,
            lead,
        )


def _required(tokenizer: Tokenizer, marker: str) -> int:
    found = tokenizer.special_id(marker)
    if found is None:
        raise ModelError(f"The tokenizer lacks {marker}, which its other markers need; download the model again.")
    return found


def _ids(markers: list[int]) -> IntArray:
    return np.array(markers, dtype=np.int32)
