"""Drafts nothing: one forward pass a token, for measurements and comparisons."""

from __future__ import annotations

import numpy as np

from model.embedded.drafting.drafter import DraftTree
from model.prompts.prompt import Prompt

NOTHING = DraftTree.chain(np.zeros(0, dtype=np.int32))
"""The empty draft."""


class NoDraft:
    """A `Drafter` that never has anything to say."""

    def __init__(self, prompt: Prompt, max_tokens: int) -> None:
        pass

    def append(self, token: int) -> None:
        pass

    def draft(self, room: int) -> DraftTree:
        return NOTHING
