"""Token healing: a completion may finish the token that the caret cuts.

A text is written in tokens such as ` None`. Where it stops behind `= `, a token that begins with the space is what the
model expects, and hardly one that follows a space of its own; so it writes something rare, or nothing. The last token
is therefore taken back (`Prompt.begun`), and the first tokens of the completion are chosen among those that agree with
its bytes. (The name is from Lundberg, "The Art of Prompt Design: Prompt Boundaries and Token Healing", 2023.)
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import torch
from torch import Tensor

from model.tokenizer import Tokenizer


class Vocabulary:
    """The tokens by their bytes, of those ids that are below `size`."""

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        pieces = [(tokenizer.token_bytes(i), i) for i in range(min(size, tokenizer.vocab_size))]
        pieces = sorted((piece, i) for piece, i in pieces if piece)
        self._pieces = [piece for piece, _ in pieces]
        self._ids = torch.tensor([i for _, i in pieces], dtype=torch.int64)
        self._longest = max(map(len, self._pieces), default=0)

    def agreeing(self, begun: bytes) -> Tensor:
        """[some] int64 ids of the tokens that begin with these bytes or are where these begin."""
        ranges = [(bisect_left(self._pieces, begun), bisect_right(self._pieces, begun + b"\xff" * self._longest))]
        ranges += [
            (bisect_left(self._pieces, begun[:cut]), bisect_right(self._pieces, begun[:cut]))
            for cut in range(1, len(begun))
        ]
        return torch.cat([self._ids[first:last] for first, last in ranges])


class ForcedPrefix:
    """What is left of the bytes that a completion must begin with; told of each of its tokens."""

    def __init__(self, vocabulary: Vocabulary, begun: bytes) -> None:
        self._vocabulary, self._left = vocabulary, begun

    def constrain(self, logprobs: Tensor) -> Tensor:
        """[vocabulary] log-probabilities given that the text begins so."""
        if not self._left:
            return logprobs
        agreeing = self._vocabulary.agreeing(self._left)
        found = torch.full_like(logprobs, float("-inf"))
        found[agreeing] = torch.log_softmax(logprobs[agreeing], dim=-1)
        return found

    def take(self, piece: bytes) -> bytes:
        """Take the bytes of the token that was chosen off the prefix; the bytes that stand behind it."""
        taken = min(len(piece), len(self._left))
        self._left = self._left[taken:]
        return piece[taken:]
