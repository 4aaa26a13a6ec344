"""Verification of a draft: one forward pass over it, and the path through it that the model itself chooses.

The chosen token and the draft's nodes run together, each under a mask that shows it its ancestors only, at the position
that its depth gives it (Miao et al., "SpecInfer", arXiv 2305.09781):

    tree                 slot       s   s+1  s+2  s+3  s+4        sees    s  +1  +2  +3  +4
    chosen               token      x   f    [    (    0          x       ■
    ├─ f ── (            parent     -   x    x    f    [          f       ■   ■
    └─ [ ── 0            position   s   s+1  s+1  s+2  s+2        [       ■       ■
                                                                  (       ■   ■       ■
                                                                  0       ■       ■       ■

Each node's scores are those that the model gives behind that path. So the next tokens are chosen from them one by one,
greedy or sampled, as they would be without a draft: first from those of the chosen token, then from those of its child
that has the token chosen there, and so on. Where no child has it, the pass is used up.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.embedded.decoder import Decoder
from model.embedded.drafting.drafter import DraftTree
from model.embedded.kv_cache import KVCache
from model.tokenizer import IntArray


class Verification:
    """The scores of a forward pass, followed along the tokens that are chosen.

    logits  [1 + nodes, vocabulary] scores behind the chosen token, and behind each node
    slot    the chosen token's; the nodes have those behind it, in the tree's order
    draft   None where nothing was drafted
    """

    def __init__(self, logits: Tensor, slot: int, draft: DraftTree | None = None) -> None:
        self._logits = logits
        self._slot = slot
        # Within the pass the chosen token has index 0, and the tree's node i has i + 1.
        self._child: dict[tuple[int, int], int] = {}
        if draft is not None:
            nodes = zip(draft.parents.tolist(), draft.ids.tolist(), strict=True)
            self._child = {(parent + 1, token): index + 1 for index, (parent, token) in enumerate(nodes)}
        self._path = [0]

    @property
    def logits(self) -> Tensor:
        """[vocabulary] scores of the token to choose next."""
        return self._logits[self._path[-1]]

    @property
    def slots(self) -> IntArray:
        """The slots of the chosen token and of those that were followed, rising."""
        return np.array([self._slot + index for index in self._path], dtype=np.int32)

    def follow(self, token: int) -> bool:
        """Go on to the child with the token that was chosen; False where there is none: the pass is used up."""
        child = self._child.get((self._path[-1], token))
        if child is None:
            return False
        self._path.append(child)
        return True


def verify(decoder: Decoder, cache: KVCache, token: int, slot: int, draft: DraftTree) -> Verification:
    """Run the chosen token at its slot, and the draft in the slots behind it, in one forward pass.

    Raises `ValueError` for a draft in which a child comes before its parent.
    """
    ids = np.array([token, *draft.ids.tolist()], dtype=np.int32)
    slots = np.arange(slot, slot + len(ids), dtype=np.int32)
    if draft.is_chain:  # each sees all before it: neither a mask nor positions are needed
        return Verification(decoder.logits(decoder.forward(ids, slots, cache)), slot, draft)
    sees = _ancestry(draft)
    positions = slot + sees.sum(axis=1, dtype=np.int32) - 1
    mask = torch.ones(len(ids), slot + len(ids), dtype=torch.bool)
    mask[:, slot:] = torch.from_numpy(sees)
    hidden = decoder.forward(ids, slots, cache, positions=positions, mask=mask)
    return Verification(decoder.logits(hidden), slot, draft)


def _ancestry(draft: DraftTree) -> NDArray[np.bool_]:
    """[1 + n, 1 + n] which of the chosen token and the nodes are each one's ancestors, itself included."""
    sees = np.eye(1 + len(draft), dtype=np.bool_)
    for index, parent in enumerate(draft.parents.tolist()):
        if not -1 <= parent < index:
            raise ValueError(f"Node {index} of a draft comes before its parent {parent}.")
        sees[index + 1] |= sees[parent + 1]
    return sees
