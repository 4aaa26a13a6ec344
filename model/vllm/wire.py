"""What the client tells the plugin about a request: `kv_transfer_params["keyturn"]` of vLLM's completions API.

    document    names the text; the request's `cache_salt` is it, "#" and anything
    serials     the identities of the prompt's tokens, as runs [first, count]; [-1, count] for tokens without one.
                Left out, tokens are found in the common front of two prompts only.
    partial     the prompt is the beginning of one that follows
    fresh_from  tokens from there on are computed, whatever is held of them

And what the plugin answers in the same place of a response that is not streamed: `kept`, `turned`, `encoded` tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEY = "keyturn"
NO_SERIAL = -1
"""The serial of a token that can be found by its place only."""
MAX_SERIAL = 2**62


@dataclass(frozen=True)
class Params:
    """One request's parameters; `serials` is [tokens]."""

    document: str
    serials: NDArray[np.int64]
    is_partial: bool = False
    fresh_from: int | None = None

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"document": self.document, "serials": _runs(self.serials)}
        if self.is_partial:
            found["partial"] = True
        if self.fresh_from is not None:
            found["fresh_from"] = self.fresh_from
        return {KEY: found}


def salt(document: str, epoch: int) -> str:
    """The `cache_salt` of a document's requests. vLLM shares blocks among requests of equal salts only."""
    return f"{document}#{epoch}"


def parse(raw: Mapping[str, Any] | None, num_tokens: int, cache_salt: str | None) -> Params | None:
    """The parameters of a request of `num_tokens`, None where it has none.

    Raises `ValueError` with a sentence when they make no sense, or when blocks with turned keys could be shared.
    """
    if not isinstance(raw, Mapping) or KEY not in raw:
        return None
    found = raw[KEY]
    if not isinstance(found, Mapping) or not isinstance(found.get("document"), str) or not found["document"]:
        raise ValueError(f'kv_transfer_params["{KEY}"] must name a document.')
    document: str = found["document"]
    if cache_salt is None or not cache_salt.startswith(f"{document}#"):
        raise ValueError("The cache_salt must be the document, '#' and anything: turned keys are not shared.")
    fresh_from = found.get("fresh_from")
    if fresh_from is not None and (not _is_count(fresh_from) or fresh_from > num_tokens):
        raise ValueError("fresh_from must be the index of a token.")
    runs = found.get("serials")
    serials = np.full(num_tokens, NO_SERIAL, dtype=np.int64) if runs is None else _serials(runs, num_tokens)
    return Params(document, serials, found.get("partial") is True, fresh_from)


def _runs(serials: NDArray[np.int64]) -> list[list[int]]:
    if not len(serials):
        return []
    nobody = serials == NO_SERIAL
    follows = np.where(nobody[1:], nobody[:-1], (np.diff(serials) == 1) & ~nobody[:-1])
    firsts = np.concatenate(([0], np.flatnonzero(~follows) + 1))
    counts = np.diff(np.concatenate((firsts, [len(serials)])))
    return [[int(serials[first]), int(count)] for first, count in zip(firsts, counts, strict=True)]


def _serials(runs: object, num_tokens: int) -> NDArray[np.int64]:
    if not isinstance(runs, list) or not all(
        isinstance(run, list) and len(run) == 2 and all(type(number) is int for number in run) for run in runs
    ):
        raise ValueError("serials must be runs of [first, count].")
    if any(first < NO_SERIAL or first > MAX_SERIAL or count < 1 or count > num_tokens for first, count in runs):
        raise ValueError("serials must be runs of [first, count], -1 or more and 1 or more.")
    if sum(count for _, count in runs) != num_tokens:
        raise ValueError(f"serials must be as many as the prompt has tokens, {num_tokens}.")
    parts = [
        np.full(count, NO_SERIAL, dtype=np.int64) if first == NO_SERIAL else np.arange(first, first + count)
        for first, count in runs
    ]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0
