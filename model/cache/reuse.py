"""Which cached tokens a prompt can use again.

A plan is a list of runs: `length` tokens that the cache holds from slot `old` on and the prompt has from index `new`
on. Tokens in no run are encoded. Order never changes, so runs rise on both sides, and everything between two of them
was edited.

        cache    a b c d e f g h
        prompt   a b X Y e f g h       runs  (0→0, 2)  (4→4, 4)
        prompt   a b X Y Z e f g h     runs  (0→0, 2)  (4→5, 4)   turned by one position

Tokens of the common prefix are exact: they have seen what they would see in a fresh prefill. Runs behind a change are
Positional Integrity Encoding (He et al., arXiv 2407.03157): right positions, content from before the edit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.prompts.prompt import Prompt
from model.request import ReuseMode
from model.tokenizer import IntArray
from model.tokens import SerialArray, common_prefix


@dataclass(frozen=True)
class Run:
    """`length` cached tokens from slot `old` on stand in the prompt from index `new` on."""

    old: int
    new: int
    length: int


@dataclass(frozen=True)
class ReusePlan:
    """`runs`, the first of which starts at 0 → 0 if `prefix` is not empty; `prefix` tokens are unchanged in front."""

    runs: tuple[Run, ...]
    prefix: int


def plan_reuse(
    cached_ids: IntArray, cached_serials: SerialArray, exact_length: int, prompt: Prompt, mode: ReuseMode
) -> ReusePlan:
    """Match a cache against a prompt.

    The prompt's last token is never reused: running it gives the logits of the first new token. `exact` uses the common
    prefix as far as the cache is exact, `pie` all that carries a known serial, `off` nothing.
    """
    if mode == "off":
        return ReusePlan((), 0)
    usable = len(prompt) - 1
    limit = min(len(cached_ids), usable)
    if mode == "exact":
        limit = min(limit, exact_length)
    prefix = common_prefix(cached_ids[:limit], prompt.ids[:limit])
    runs = [Run(0, 0, prefix)] if prefix else []
    if mode == "pie":
        runs += _runs_by_serial(cached_ids, cached_serials, prompt, prefix, usable)
    return ReusePlan(tuple(runs), prefix)


def _runs_by_serial(
    cached_ids: IntArray, cached_serials: SerialArray, prompt: Prompt, prefix: int, usable: int
) -> list[Run]:
    """Runs behind the common prefix: equal serials, equal ids, rising on both sides."""
    # One comparison finds what both end with; to look for the serials of a whole file takes far longer.
    tail = common_prefix(cached_serials[prefix:][::-1], prompt.serials[prefix:][::-1])
    held, wanted = len(cached_serials) - tail, len(prompt) - tail
    _, old, new = np.intersect1d(
        cached_serials[prefix:held], prompt.serials[prefix:wanted], assume_unique=False, return_indices=True
    )
    old = np.concatenate((old + prefix, np.arange(held, len(cached_serials))))
    new = np.concatenate((new + prefix, np.arange(wanted, len(prompt))))
    old, new = old[new < usable], new[new < usable]
    same = (prompt.serials[new] >= 0) & (cached_ids[old] == prompt.ids[new])
    order = np.argsort(new[same])
    old, new = old[same][order], new[same][order]
    rising = old >= np.maximum.accumulate(old) if len(old) else np.zeros(0, dtype=np.bool_)
    old, new = old[rising], new[rising]
    if not len(old):
        return []
    breaks = np.flatnonzero((np.diff(old) != 1) | (np.diff(new) != 1)) + 1
    firsts = np.concatenate(([0], breaks))
    lengths = np.diff(np.concatenate((firsts, [len(old)])))
    return [Run(int(old[i]), int(new[i]), int(n)) for i, n in zip(firsts, lengths, strict=True)]
