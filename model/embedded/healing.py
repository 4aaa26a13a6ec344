r"""Token healing: a completion may finish the token that the caret cuts.

A text is written in tokens such as ` None`. Where it stops behind `= `, a token that begins with the space is what the
model expects, and hardly one that follows a space of its own; so it writes something rare, or nothing. The last token
is therefore taken back (`Prompt.begun`), and the first tokens of the completion are chosen among those that agree with
its bytes. (The name is from Lundberg, "The Art of Prompt Design: Prompt Boundaries and Token Healing", 2023.)

A line's end is such a token, too, where the tokenizer joins it with the next line's indentation. There the completion
must not begin with a blank line (`Prompt.barred`), and a token that just ends the prefix is as probable as what may
follow it:

    begun "\n", barred "\n"    "\n"      0.6    behind it "\n" 0.9, "def" 0.1    0.06 ─► 0.13
                               "\n    "  0.4                                   0.4  ─► 0.87
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right

import torch
from torch import Tensor

from model.tokenizer import Tokenizer

TINY = 1e-6
"""The least probability that a logarithm is taken of."""


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
        whole = (self.equal(begun[:cut]) for cut in range(1, len(begun)))
        return torch.cat([self.beginning_with(begun), *whole])

    def beginning_with(self, begun: bytes) -> Tensor:
        """[some] int64 ids of the tokens that begin with these bytes."""
        return self._between(begun, begun + b"\xff" * self._longest)

    def equal(self, piece: bytes) -> Tensor:
        """[some] int64 ids of the tokens that stand for these bytes."""
        return self._between(piece, piece)

    def _between(self, first: bytes, last: bytes) -> Tensor:
        return self._ids[bisect_left(self._pieces, first) : bisect_right(self._pieces, last)]


class ForcedPrefix:
    """What is left of the bytes that a completion must begin with, and the bytes of which none may follow these; told
    of each of its tokens.
    """

    def __init__(self, vocabulary: Vocabulary, begun: bytes, barred: bytes = b"") -> None:
        self._vocabulary, self._left, self._barred = vocabulary, begun, barred

    def constrain(self, logprobs: Tensor) -> Tensor:
        """[vocabulary] log-probabilities given that the text begins so and nothing barred follows in a token."""
        if not self._left and not self._barred:
            return logprobs
        if self._left:
            agreeing = self._vocabulary.agreeing(self._left)
            found = torch.full_like(logprobs, float("-inf"))
            found[agreeing] = logprobs[agreeing]
        else:
            found = logprobs.clone()
        found[self._barred_tokens(self._left)] = float("-inf")
        return torch.log_softmax(found, dim=-1)

    def last(self, logprobs: Tensor) -> int | None:
        """The most probable token, if the prefix ends with it and not all may follow it: then `weigh` is needed."""
        if not self._left or not self._barred:
            return None
        token = int(logprobs.argmax())
        return token if token in self._vocabulary.equal(self._left).tolist() else None

    def weigh(self, logprobs: Tensor, token: int, behind: Tensor) -> Tensor:
        """[vocabulary] log-probabilities, that of the last token times the probability that what follows it may.

        logprobs  [vocabulary] constrained
        behind    [vocabulary] scores of what follows the token
        """
        barred = float(torch.softmax(behind, dim=-1)[self._barred_tokens(b"")].sum())
        weighed = logprobs.clone()
        weighed[token] += math.log(max(1 - barred, TINY))
        return torch.log_softmax(weighed, dim=-1)

    def take(self, piece: bytes) -> bytes:
        """Take the bytes of the token that was chosen off the prefix; the bytes that stand behind it."""
        taken = min(len(piece), len(self._left))
        self._left = self._left[taken:]
        if len(piece) > taken:
            self._barred = b""
        return piece[taken:]

    def _barred_tokens(self, left: bytes) -> Tensor:
        ids = [self._vocabulary.beginning_with(left + bytes((byte,))) for byte in self._barred]
        return torch.cat([*ids, torch.zeros(0, dtype=torch.int64)])
