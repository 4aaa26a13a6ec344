"""What followed the last tokens before is the draft.

Code repeats itself: what followed the longest earlier occurrence of the last tokens, in the file or in what was
written, often follows again. No second model is asked. (Saxena, "Prompt Lookup Decoding"; Leviathan et al., "Fast
Inference from Transformers via Speculative Decoding", arXiv 2211.17192, for drafts as such.)
"""

from __future__ import annotations

import numpy as np

from model.embedded.drafting.drafter import DraftTree
from model.embedded.history import TokenHistory
from model.prompts.prompt import Prompt

DRAFT_TOKENS = 6
"""Tokens of a draft, at most: of what followed a match a suggestion takes between four and five."""

AGREEING = 2
"""Tokens that must agree for a draft: what follows one alone is right once in five times, what follows two, in two."""

_EMPTY = DraftTree.chain(np.zeros(0, dtype=np.int32))


class LongestMatch:
    """A `Drafter` of chains: what followed the longest match, up to `DRAFT_TOKENS` tokens of it."""

    def __init__(self, prompt: Prompt, max_tokens: int) -> None:
        self._history = TokenHistory(prompt, max_tokens)

    def append(self, token: int) -> None:
        self._history.append(token)

    def draft(self, room: int) -> DraftTree:
        match = self._history.longest_match()
        if match is None or match.length < AGREEING:
            return _EMPTY
        return DraftTree.chain(self._history.run_from(match.next_idx, min(room, DRAFT_TOKENS)))
