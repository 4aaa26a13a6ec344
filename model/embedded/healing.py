r"""Token healing: a completion may finish the token that the caret cuts.

A text is written in tokens such as ` None`. Where it stops behind `= `, a token that begins with the space is what the
model expects, and hardly one that follows a space of its own; so it writes something rare, or nothing. The last token
is therefore taken back (`Prompt.begun`), and the first tokens of the completion are chosen among those that agree with
its bytes. (The name is from Lundberg, "The Art of Prompt Design: Prompt Boundaries and Token Healing", 2023.)

A line's end is such a token, too, where the tokenizer joins it with the next line's indentation. There the completion
must not begin with a blank line (`Prompt.barred`). A token that ends within what is forced, or with it, is as probable
as what may follow it:

    begun "\n", barred "\n"    "\n"      0.6    behind it "\n" 0.9, "def" 0.1    0.06 ─► 0.13
                               "\n    "  0.4                                   0.4  ─► 0.87
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import torch
from torch import Tensor

from model.tokenizer import Tokenizer

TINY = -20.0
"""The least log-probability of what may follow a token: some token must be left to choose."""


class Vocabulary:
    """The tokens by their bytes, of those ids that are below `size`."""

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        self.piece = tokenizer.token_bytes
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
        return torch.log_softmax(self._allowed(logprobs), dim=-1)

    def _allowed(self, logprobs: Tensor) -> Tensor:
        """The same, minus infinity where a token may not come next."""
        found = logprobs.clone()
        if self._left:
            agreeing = self._vocabulary.agreeing(self._left)
            found = torch.full_like(logprobs, float("-inf"))
            found[agreeing] = logprobs[agreeing]
        for byte in self._barred:
            found[self._vocabulary.beginning_with(self._left + bytes((byte,)))] = float("-inf")
        return found

    def unsure(self, logprobs: Tensor) -> int | None:
        """The most probable token if the text cannot go on in every way behind it: `weigh` shall tell its probability.

        It ends within the prefix, or with the prefix where something is barred.
        """
        if not self._left:
            return None
        token = int(logprobs.argmax())
        length = len(self._vocabulary.piece(token))
        is_unsure = length < len(self._left) or (length == len(self._left) and self._barred)
        return token if is_unsure else None

    def weigh(self, logprobs: Tensor, token: int, behind: Tensor) -> Tensor:
        """[vocabulary] log-probabilities, that of the token times the probability that what follows it may.

        logprobs  [vocabulary] constrained
        behind    [vocabulary] scores of what follows the token
        """
        rest = ForcedPrefix(self._vocabulary, self._left[len(self._vocabulary.piece(token)) :], self._barred)
        may_follow = torch.logsumexp(rest._allowed(torch.log_softmax(behind, dim=-1)), dim=-1)
        weighed = logprobs.clone()
        weighed[token] += max(float(may_follow), TINY)
        return torch.log_softmax(weighed, dim=-1)

    def take(self, piece: bytes) -> bytes:
        """Take the bytes of the token that was chosen off the prefix; the bytes that stand behind it."""
        taken = min(len(piece), len(self._left))
        self._left = self._left[taken:]
        if len(piece) > taken:
            self._barred = b""
        return piece[taken:]
