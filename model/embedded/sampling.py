"""Choosing the next token: greedy, or top-p sampling at a temperature (Holtzman et al., 2020)."""

from __future__ import annotations

import torch
from torch import Tensor

from model.request import Sampling

NUCLEUS = 256
"""Tokens among which the most probable are looked for first: to sort a vocabulary takes as long as a decoding step."""


class Sampler:
    """Chooses tokens for one request; repeatable when the request has a seed."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._generator = torch.Generator()
        if sampling.seed is not None:
            self._generator.manual_seed(sampling.seed)
        else:
            self._generator.seed()

    def choose(self, logprobs: Tensor) -> tuple[int, float]:
        """A token id from [vocabulary] natural-log probabilities, and its own."""
        if self._sampling.temperature > 0:
            token = self._sampled(logprobs)
            return token, float(logprobs[token])
        highest, index = logprobs.max(dim=-1)
        return int(index), float(highest)

    def _sampled(self, logprobs: Tensor) -> int:
        # Relative to the highest and divided by no less than float32 can take, the tiniest temperature is greedy.
        probabilities = torch.softmax((logprobs - logprobs.max()) / max(self._sampling.temperature, 1e-6), dim=-1)
        ranked, order = probabilities.topk(min(NUCLEUS, len(probabilities)))
        if ranked.sum() < self._sampling.top_p:
            ranked, order = probabilities.sort(descending=True)
        # Keep the smallest set of tokens that reaches top_p; the first one always stays.
        outside = ranked.cumsum(-1) - ranked >= self._sampling.top_p
        outside[0] = False
        nucleus = order[~outside]
        # Each token has its own luck: drawn by rank, two that swap ranks by a rounding would swap it, too.
        luck = torch.empty_like(probabilities).exponential_(generator=self._generator)
        return int(nucleus[(probabilities[nucleus] / luck[nucleus]).argmax()])
