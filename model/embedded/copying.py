"""What the file has already said, mixed with what the model expects.

Code repeats itself, and a small model hardly copies from far away. So the next token's probability is a mixture

    p(token) = (1 - w) p_model(token) + w [token = copy]

where the copy is what followed the longest earlier occurrence of the last tokens in the prompt, the most recent one of
several, and w depends on how many tokens agreed. It stays a distribution, so log-probabilities keep their meaning.
(Grave et al., "Improving Neural Language Models with a Continuous Cache"; Liu et al., "Infini-gram".)

The weights are fitted to a model when it is trained (`model.training.fit_copying`) and are in its folder, in
`keyturn.json`. A model without them, such as a large one, is left alone.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.embedded.history import TokenHistory
from model.errors import ModelError
from model.prompts.prompt import Prompt

FILE_NAME = "keyturn.json"

Weights = tuple[float, ...]
"""Of the copy, for 1, 2, … agreeing tokens; the last one also for all longer matches. Empty: nothing is copied."""


class CopyMixture:
    """The mixture for one completion. `append` notes each generated token."""

    def __init__(self, prompt: Prompt, weights: Weights, room: int) -> None:
        self._history = TokenHistory(prompt, room)
        self._weights = weights

    def append(self, token: int) -> None:
        self._history.append(token)

    def mix(self, logits: Tensor) -> Tensor:
        """[vocabulary] log-probabilities of the mixture from the model's logits."""
        length, token = self.find()
        logprobs = torch.log_softmax(logits, dim=-1)
        if not length:
            return logprobs
        weight = self._weights[min(length, len(self._weights)) - 1]
        copied = weight + (1 - weight) * float(logprobs[token].exp())
        logprobs = logprobs + float(np.log1p(-weight))
        logprobs[token] = float(np.log(copied))
        return logprobs

    def find(self) -> tuple[int, int]:
        """(agreeing tokens, the token to copy) of the longest match, at most as long as there are weights; (0, 0)."""
        match = self._history.longest_match(len(self._weights))
        return (0, 0) if match is None else (match.length, self._history.token_at(match.next_idx))


def read_weights(folder: Path) -> Weights:
    """The weights in a model's folder, none where it has no such file; raises `ModelError` for a broken one."""
    path = folder / FILE_NAME
    if not path.is_file():
        return ()
    try:
        weights = tuple(float(weight) for weight in json.loads(path.read_text(encoding="utf-8"))["copying"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{path} cannot be read ({type(error).__name__}); download the model again.") from error
    if not all(0 <= weight < 1 for weight in weights):
        raise ModelError(f"{path} has weights that are no probabilities below 1; download the model again.")
    return weights
