"""Incremental tokenisation: a text edit re-tokenises a window, the other tokens keep their identity.

Every token of a file carries a *serial*, a number that no other token ever gets. A token keeps its serial for as long
as no edit touches it, however far it moves. The reuse plan (`model.cache.reuse`) matches serials, so it needs no
history of splices: any two states of a file can be compared, whatever happened between them.

Why a window is enough. A pre-tokenizer scans from left to right and its decision at one place depends on what follows
only: from a boundary on, the tokens are those of the rest of the text alone. So

    left    start at a boundary far enough before the edit that the scan up to it cannot have looked into the edit;
    right   once a new boundary falls on an old one behind the edit, both scans go on alike and the old tokens stand.

        old   ..|aaa|bbb|ccc|ddd|eee|fff|ggg|hhh|iii|..
                         ^left    xxxxx          ^first shared boundary
        new   ..|aaa|bbb|ccc|dd|yyyyyyy|zz|ggg|hhh|iii|..
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ast_tools.text import Edit, char_continues
from model.tokenizer import BoolArray, Encoded, IntArray, Tokenizer

SerialArray = NDArray[np.int64]

NO_SERIAL = -1
"""The serial of a token that is nobody's: a marker, or a part of a token that the caret cut in two."""

MARGIN = 4
"""Pre-tokens between a boundary and an edit before the boundary is trusted. A pre-token's pattern looks at most over
one run of white space, or of punctuation and newlines, past its own end; four pre-tokens are more than that."""

_fresh_serials = itertools.count()


def new_serials(count: int) -> SerialArray:
    """Serials that no token has had; unique in the process."""
    return np.fromiter(itertools.islice(_fresh_serials, count), dtype=np.int64, count=count)


@dataclass(frozen=True)
class TokenRun:
    """Tokens in the order of a text, with their serials."""

    ids: IntArray
    serials: SerialArray

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, part: slice) -> TokenRun:
        return TokenRun(self.ids[part], self.serials[part])


@dataclass(frozen=True)
class TokenizedText:
    """A text and its tokens. Immutable; `apply` makes the next one.

    ids, starts, boundary   [n] as in `Encoded`
    serials                 [n] identity of each token
    """

    tokenizer: Tokenizer
    data: bytes
    ids: IntArray
    starts: IntArray
    boundary: BoolArray
    serials: SerialArray

    @classmethod
    def of(cls, tokenizer: Tokenizer, data: bytes) -> TokenizedText:
        """Tokenise from scratch."""
        encoded = tokenizer.encode(data)
        return cls(tokenizer, data, encoded.ids, encoded.starts, encoded.boundary, new_serials(len(encoded)))

    def __len__(self) -> int:
        return len(self.ids)

    def apply(self, edits: Sequence[Edit]) -> TokenizedText:
        """The tokens after the edits, each on the result of the one before; equal to `of` on the edited text."""
        tokens = self
        for edit in edits:
            tokens = tokens._apply_one(edit)
        return tokens

    def _apply_one(self, edit: Edit) -> TokenizedText:
        data = edit.apply_to(self.data)
        shift = len(edit.new) - (edit.end - edit.start)
        left = self._boundary_before(edit.start)
        window_start = int(self.starts[left]) if left < len(self) else len(self.data)
        encoded, right = self._encode_until_shared(data, window_start, edit.end, shift)

        old_ids, old_serials = self.ids[left:right], self.serials[left:right]
        serials = new_serials(len(encoded))
        head = common_prefix(old_ids, encoded.ids)
        tail = common_prefix(old_ids[head:][::-1], encoded.ids[head:][::-1])
        serials[:head] = old_serials[:head]
        serials[len(serials) - tail :] = old_serials[len(old_serials) - tail :]
        return TokenizedText(
            self.tokenizer,
            data,
            np.concatenate((self.ids[:left], encoded.ids, self.ids[right:])),
            np.concatenate((self.starts[:left], encoded.starts + window_start, self.starts[right:] + shift)),
            np.concatenate((self.boundary[:left], encoded.boundary, self.boundary[right:])),
            np.concatenate((self.serials[:left], serials, self.serials[right:])),
        )

    def _encode_until_shared(self, data: bytes, start: int, edit_end: int, shift: int) -> tuple[Encoded, int]:
        """Tokenise `data` from `start` until a boundary that the old tokens share; also the old index of that one.

        `edit_end` is in the old text; old offsets behind it move by `shift`. Tokens near the window's end were made
        without seeing what follows, so a shared boundary counts only `MARGIN` pre-tokens before the window's end.
        """
        reach = max(256, edit_end + shift - start)  # where boundaries are far apart, what is in front is long already
        while True:
            end_index = int(np.searchsorted(self.starts, edit_end + reach))
            end = int(self.starts[end_index]) + shift if end_index < len(self) else len(data)
            while char_continues(data, end):  # a token may start inside a character
                end += 1
            encoded = self.tokenizer.encode(data[start:end])
            if end == len(data):
                trusted = len(encoded)
            else:
                bounds = np.flatnonzero(encoded.boundary)
                trusted = int(bounds[-MARGIN]) if len(bounds) >= MARGIN else 0
            found = self._first_shared(encoded, start, trusted, edit_end, shift)
            if found is not None:
                count, right = found
                return Encoded(encoded.ids[:count], encoded.starts[:count], encoded.boundary[:count]), right
            if end == len(data):
                return encoded, len(self)
            reach *= 4

    def _first_shared(
        self, encoded: Encoded, start: int, trusted: int, edit_end: int, shift: int
    ) -> tuple[int, int] | None:
        """(tokens before it in the window, its old index) of the first boundary that is new and old, or None."""
        new_index = np.flatnonzero(encoded.boundary[:trusted])
        in_old = encoded.starts[new_index].astype(np.int64) + start - shift
        new_index, in_old = new_index[in_old >= edit_end], in_old[in_old >= edit_end]
        old_index = np.searchsorted(self.starts, in_old)
        inside = old_index < len(self)
        new_index, in_old, old_index = new_index[inside], in_old[inside], old_index[inside]
        shared = np.flatnonzero((self.starts[old_index] == in_old) & self.boundary[old_index])
        return (int(new_index[shared[0]]), int(old_index[shared[0]])) if len(shared) else None

    def _boundary_before(self, offset: int) -> int:
        """Index of a boundary token that lies `MARGIN` pre-tokens before the byte offset; 0 near the start."""
        low = int(np.searchsorted(self.starts, offset))
        span = 64
        while True:
            first = max(0, low - span)
            bounds = np.flatnonzero(self.boundary[first:low])
            if len(bounds) > MARGIN:
                return first + int(bounds[-MARGIN - 1])
            if first == 0:
                return 0
            span *= 4

    def split(self, caret: int) -> tuple[TokenRun, TokenRun]:
        """The tokens of the text before and of the text after a byte offset, each as if it were a text of its own.

        Models for fill-in-the-middle were trained on parts that were tokenised apart. Tokens that the cut did not
        change keep their serials; the others get none.
        """
        left = self._boundary_before(caret)
        window_start = int(self.starts[left]) if left < len(self) else len(self.data)
        head_ids = self.tokenizer.encode(self.data[window_start:caret]).ids
        same = common_prefix(self.ids[left:], head_ids)
        cut = np.full(len(head_ids) - same, NO_SERIAL, dtype=np.int64)
        before = TokenRun(
            np.concatenate((self.ids[:left], head_ids)),
            np.concatenate((self.serials[: left + same], cut)),
        )
        encoded, right = self._encode_until_shared(self.data, caret, caret, 0)
        first = int(np.searchsorted(self.starts[:right], caret))
        same = common_prefix(self.ids[first:right][::-1], encoded.ids[::-1])
        cut = np.full(len(encoded) - same, NO_SERIAL, dtype=np.int64)
        after = TokenRun(
            np.concatenate((encoded.ids, self.ids[right:])),
            np.concatenate((cut, self.serials[right - same :])),
        )
        return before, after

    def num_joined(self, caret: int, following: Sequence[bytes]) -> int:
        """How many of the tokens right before a byte offset are others where one of these texts follows."""
        left = self._boundary_before(caret)
        data = self.data[int(self.starts[left]) : caret] if left < len(self) else b""
        ids = self.tokenizer.encode(data).ids
        same = (common_prefix(ids, self.tokenizer.encode(data + text).ids) for text in following)
        return len(ids) - min(same)

    def check_integrity(self) -> None:
        """Raise AssertionError unless the tokens are those of the text and the serials are unique."""
        encoded = self.tokenizer.encode(self.data)
        assert np.array_equal(self.ids, encoded.ids)
        assert np.array_equal(self.starts, encoded.starts)
        assert np.array_equal(self.boundary, encoded.boundary)
        assert len(np.unique(self.serials)) == len(self.serials)


def common_prefix(a: NDArray[np.integer], b: NDArray[np.integer]) -> int:
    """Length of the common prefix of two arrays."""
    limit = min(len(a), len(b))
    differing = np.flatnonzero(a[:limit] != b[:limit])
    return int(differing[0]) if len(differing) else limit
