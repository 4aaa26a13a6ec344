"""What needs no model: the measure that a model has to beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from model.training.shards import TokenFiles, vocabulary_bytes

ORDER = 6
"""Tokens of an n-gram, the predicted one included."""

_PRIME = np.uint64(0x9E3779B97F4A7C15)


def copy_line(before: bytes) -> str:
    """The rest of the earlier line that is most like this one: the text in front agrees the longest.

    The longest end of `before` that stands in it earlier, too, is found by bisection, for if an end does, every
    shorter one does.
    """
    low, high = 0, min(len(before) - 1, 2000)
    while low < high:
        middle = (low + high + 1) // 2
        if before.rfind(before[len(before) - middle :], 0, len(before) - 1) >= 0:
            low = middle
        else:
            high = middle - 1
    if low <= 0:
        return ""
    at = before.rfind(before[len(before) - low :], 0, len(before) - 1) + low
    end = before.find(b"\n", at)
    return before[at : end if end >= 0 else len(before)].decode("utf-8", "replace").rstrip()


@dataclass(frozen=True)
class NGrams:
    """The most frequent next token after each context of 1 to 5 tokens in the corpus, the longest known one wins."""

    tables: tuple[tuple[NDArray[np.uint64], NDArray[np.uint16]], ...]
    tokenizer: Tokenizer
    pieces: tuple[bytes, ...]

    @classmethod
    def count(cls, files: TokenFiles, tokenizer: Tokenizer) -> NGrams:
        """Tables from shards; a minute and a few gigabytes for forty million tokens."""
        tables = []
        for length in range(1, ORDER):
            contexts = _hashes(files.tokens, length)[:-1]
            # The upper 48 bits tell the context, the lower 16 the token behind it: sorted, equal pairs are neighbours.
            pairs = np.sort((contexts & ~np.uint64(0xFFFF)) | files.tokens[length:].astype(np.uint64))
            pairs, counts = np.unique(pairs, return_counts=True)
            order = np.lexsort((-counts, pairs >> np.uint64(16)))
            keys = pairs[order] >> np.uint64(16)
            first = np.concatenate(([True], keys[1:] != keys[:-1]))
            tables.append((keys[first], (pairs[order][first] & np.uint64(0xFFFF)).astype(np.uint16)))
        return cls(tuple(tables), tokenizer, tuple(vocabulary_bytes(tokenizer)))

    def complete_line(self, before: bytes, max_tokens: int = 48) -> str:
        """The rest of the line, one most frequent token after the other.

        As for the model, the last token is taken back where the next one begins with it: a space is most often the
        beginning of a word.
        """
        line_start = before.rfind(b"\n", 0, max(0, before.rfind(b"\n") - 1))
        text = before[max(0, line_start) :].decode("utf-8", "replace")
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        written = b""
        begun = self.pieces[ids[-1]] if ids else b""
        longer = self._next(ids[:-1]) if begun and not begun.startswith((b"\n", b"\r")) else None
        if longer is not None and self.pieces[longer].startswith(begun):
            written, ids[-1] = self.pieces[longer][len(begun) :], longer
        for _ in range(max_tokens):
            token = self._next(ids)
            if token is None or self.pieces[token].startswith((b"\n", b"\r")):
                break
            written += self.pieces[token]
            ids.append(token)
        return written.decode("utf-8", "replace").rstrip()

    def _next(self, ids: list[int]) -> int | None:
        for length in range(min(ORDER - 1, len(ids)), 0, -1):
            keys, tokens = self.tables[length - 1]
            key = _hashes(np.array(ids[-length:], dtype=np.uint16), length)[0] >> np.uint64(16)
            at = int(np.searchsorted(keys, key))
            if at < len(keys) and keys[at] == key:
                return int(tokens[at])
        return None


def _hashes(tokens: NDArray[np.uint16], length: int) -> NDArray[np.uint64]:
    """[n - length + 1] a number for each run of `length` tokens."""
    count = len(tokens) - length + 1
    mixed = np.zeros(count, dtype=np.uint64)
    for i in range(length):
        mixed = (mixed ^ tokens[i : i + count].astype(np.uint64)) * _PRIME
        mixed ^= mixed >> np.uint64(29)
    return mixed * _PRIME
