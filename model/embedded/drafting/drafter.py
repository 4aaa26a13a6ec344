"""The contract of a drafter, which guesses what the model will choose next.

A drafter changes the time, never the text. Its guesses are computed in one forward pass with the token that was just
chosen (`model.embedded.drafting.verification`), and only those that the model chooses itself are kept. A wrong guess
costs a part of that pass, a right one saves a pass.

One drafter serves one completion, in the engine's thread and between two forward passes, so `draft` should take far
less than a pass, which is a millisecond or more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.prompts.prompt import Prompt
from model.tokenizer import IntArray


@dataclass(frozen=True)
class DraftTree:
    """Guesses at what follows the token that was just chosen: each path from a root is one continuation.

    ids      [n] int32 token ids
    parents  [n] index of each node's parent, -1 for a child of the chosen token

    Parents come before their children, and no two children of a node have the same id. Behind the chosen token `x =`
    the continuations `f(a)`, `f(b` and `[0` make this tree:

            chosen        index      0   1   2   3   4   5   6
            ├─ f          ids        f   (   a   [   b   )   0
            │  └─ (       parents   -1   0   1  -1   1   2   3
            │     ├─ a
            │     │  └─ )
            │     └─ b
            └─ [
               └─ 0
    """

    ids: IntArray
    parents: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def chain(cls, ids: IntArray) -> DraftTree:
        """The tree of one continuation; the empty tree where it has no tokens."""
        return cls(ids, np.arange(-1, len(ids) - 1))

    @property
    def is_chain(self) -> bool:
        """Whether each node is the child of the one before it, as in the empty tree."""
        return bool(self.parents.tolist() == list(range(-1, len(self) - 1)))


class Drafter(Protocol):
    """Drafts for one completion."""

    def append(self, token: int) -> None:
        """Note the token that was chosen next, drafted or not."""
        ...

    def draft(self, room: int) -> DraftTree:
        """Guess what follows the token that was chosen last: at most `room` nodes, empty where nothing is to be said.

        It is called once a forward pass, so not behind every token.
        """
        ...


NewDrafter = Callable[[Prompt, int], Drafter]
"""Makes the drafter of a completion from its prompt and the number of tokens that it may be told of."""
