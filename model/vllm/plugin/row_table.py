"""Which rows of the pool hold which tokens of which document. Knows neither vLLM nor torch.

The *pool* is a table of rows; a row holds one token's keys and values as they were computed, at the position where the
token stood then, its *origin*. A document is a list of tokens with their rows:

    document   ids      7  3  9  4  4        a prompt   7  3  5  9  4  4
               rows     0  1  2  8  5        rows       0  1  -  2  8  5
               origins  0  1  2  3  4        turned by  0  0     1  1  1

An edit moves no row: a token is found by its identity, and what it has to be turned by is its new position less its
origin. Rows hold what the model computed, never what was turned, so ten thousand edits turn a key once.

The scheduler decides and the workers follow: every decision here becomes a command (which rows to load into which
positions before a step, which to save after it), so all tensor parallel ranks use the same rows.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.vllm.wire import NO_SERIAL

Ints = NDArray[np.int32]
Serials = NDArray[np.int64]

NO_ROW = -1
HOLE = -1
"""The id of a place in a document whose token is not held."""


@dataclass
class _Document:
    """The tokens of the latest prompt, in order, and behind them those of the one before that may come back.

    All arrays are [tokens]. `wanted_ids` are what the latest prompt has where `ids` has a hole. Only the request that
    laid the document out may fill it.
    """

    ids: Ints
    serials: Serials
    rows: Ints
    origins: Ints
    wanted_ids: Ints
    wanted_serials: Serials
    owner: str


class RowTable:
    """The rows of all documents. The least recently used document goes first when rows run out."""

    def __init__(self, num_rows: int, max_tokens: int) -> None:
        """`max_tokens` bounds one document; what is longer is held up to there."""
        self._max_tokens = min(max_tokens, num_rows)
        self._documents: OrderedDict[Hashable, _Document] = OrderedDict()
        self._free: list[int] = list(range(num_rows - 1, -1, -1))
        self.num_rows = num_rows
        self.num_evictions = 0

    def __len__(self) -> int:
        return len(self._documents)

    @property
    def num_held(self) -> int:
        """Tokens of all documents."""
        return self.num_rows - len(self._free)

    def find(self, key: Hashable, ids: Ints, serials: Serials, limit: int) -> tuple[Ints, Ints]:
        """(rows, origins) of the first `limit` tokens of a prompt, `NO_ROW` where a token is not held."""
        rows = np.full(limit, NO_ROW, dtype=np.int32)
        origins = np.zeros(limit, dtype=np.int32)
        document = self._documents.get(key)
        if document is None:
            return rows, origins
        old, new = _matches(document, ids[:limit], serials[:limit])
        rows[new], origins[new] = document.rows[old], document.origins[old]
        return rows, origins

    def lay_out(self, key: Hashable, owner: str, ids: Ints, serials: Serials, *, is_partial: bool) -> None:
        """Make a prompt the document's tokens: what is held of it stays, what is not becomes a hole.

        A partial prompt is the beginning of one that follows; what stands behind its last known token is kept for that,
        if it has an identity: what has none shall see the edit.
        """
        ids, serials = ids[: self._max_tokens], serials[: self._max_tokens]
        before = self._documents.pop(key, None) or _empty(owner)
        old, new = _matches(before, ids, serials)
        rest = np.zeros(len(before.ids), dtype=np.bool_)
        if is_partial:
            rest[int(old.max(initial=-1)) + 1 :] = True
            rest[np.flatnonzero(rest)[self._max_tokens - len(ids) :]] = False
            rest &= (before.rows != NO_ROW) & (before.serials != NO_SERIAL)
        kept = rest.copy()
        kept[old] = True
        self._release(before.rows[~kept])

        held_ids = np.full(len(ids), HOLE, dtype=np.int32)
        rows = np.full(len(ids), NO_ROW, dtype=np.int32)
        origins = np.zeros(len(ids), dtype=np.int32)
        held_ids[new], rows[new], origins[new] = ids[new], before.rows[old], before.origins[old]
        self._documents[key] = _Document(
            np.concatenate((held_ids, before.ids[rest])),
            np.concatenate((serials, before.serials[rest])),
            np.concatenate((rows, before.rows[rest])),
            np.concatenate((origins, before.origins[rest])),
            ids,
            serials,
            owner,
        )

    def record(self, key: Hashable, owner: str, start: int, end: int) -> Ints:
        """Rows for the tokens `start` to `end` of the owner's prompt, which the step computes; those of the first ones
        where rows run out, none for a request that no longer owns the document.
        """
        document = self._documents.get(key)
        if document is None or document.owner != owner:
            return np.zeros(0, dtype=np.int32)
        self._documents.move_to_end(key)
        end = min(end, len(document.wanted_ids))
        missing = np.flatnonzero(document.rows[start:end] == NO_ROW) + start
        fresh = self._take(len(missing), key)
        if len(fresh) < len(missing):
            end = int(missing[len(fresh)])
        document.rows[missing[: len(fresh)]] = fresh
        places = np.arange(start, max(start, end))
        document.ids[places] = document.wanted_ids[places]
        document.serials[places] = document.wanted_serials[places]
        document.origins[places] = places
        return document.rows[places].copy()

    def clear(self) -> None:
        """Forget all documents."""
        for document in self._documents.values():
            self._release(document.rows)
        self._documents.clear()

    def check_integrity(self) -> None:
        """Raise AssertionError unless every row is free or holds one token of one document."""
        used = [row for document in self._documents.values() for row in document.rows if row != NO_ROW]
        assert sorted(used + self._free) == list(range(self.num_rows))
        for document in self._documents.values():
            assert np.array_equal(document.ids == HOLE, document.rows == NO_ROW)
            assert len(document.ids) == len(document.serials) == len(document.rows) == len(document.origins)
            assert len(document.wanted_ids) <= len(document.ids) <= self._max_tokens

    def _take(self, count: int, key: Hashable) -> Ints:
        """Up to `count` free rows; other documents are evicted for them."""
        while len(self._free) < count and len(self._documents) > 1:
            oldest = next(name for name in self._documents if name != key)
            self._release(self._documents.pop(oldest).rows)
            self.num_evictions += 1
        taken = self._free[len(self._free) - min(count, len(self._free)) :]
        del self._free[len(self._free) - len(taken) :]
        return np.array(taken[::-1], dtype=np.int32)

    def _release(self, rows: Ints) -> None:
        self._free += rows[rows != NO_ROW].tolist()


def _empty(owner: str) -> _Document:
    none, nobody = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int64)
    return _Document(none, nobody, none, none, none, nobody, owner)


def _matches(document: _Document, ids: Ints, serials: Serials) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(old, new) indices of tokens that are the same: the common prefix by ids, behind it by serials and ids.

    The prefix is that of two prompts: what is kept behind a partial one stood behind something else.
    """
    shorter = min(len(document.wanted_ids), len(ids))
    differing = np.flatnonzero(document.ids[:shorter] != ids[:shorter])
    prefix = int(differing[0]) if len(differing) else shorter
    _, old, new = np.intersect1d(document.serials[prefix:], serials[prefix:], return_indices=True)
    old, new = old + prefix, new + prefix
    same = (serials[new] != NO_SERIAL) & (document.ids[old] == ids[new])
    front = np.arange(prefix)
    return np.concatenate((front, old[same])), np.concatenate((front, new[same]))
