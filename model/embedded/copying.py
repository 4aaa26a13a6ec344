"""What the file has already said: mixed with what the model expects, and a draft of what it will write.

Code repeats itself, and a small model hardly copies from far away. So the next token's probability is a mixture

    p(token) = (1 - w) p_model(token) + w [token = copy]

where the copy is what followed the longest earlier occurrence of the last tokens in the prompt, the most recent one of
several, and w depends on how many tokens agreed. It stays a distribution, so log-probabilities keep their meaning.
(Grave et al., "Improving Neural Language Models with a Continuous Cache"; Liu et al., "Infini-gram".)

The weights are fitted to a model when it is trained (`model.training.fit_copying`) and stand in its folder, in
`keyturn.json`. A model without them, such as a large one, is left alone.

What followed the longest match is also a draft, whatever the model: it is computed together with the token that was
chosen, and as far as the choices turn out to be the draft's, they cost no decoding step of their own. The choices are
the same as without. (Leviathan et al., "Fast Inference from Transformers via Speculative Decoding", arXiv 2211.17192;
Saxena, "Prompt Lookup Decoding".)
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.errors import ModelError
from model.prompts.prompt import Prompt
from model.tokenizer import IntArray

FILE_NAME = "keyturn.json"

_BORDER = -1
"""A token that agrees with nothing: no match runs from the text after the caret into the text before it."""

DRAFT_TOKENS = 6
"""Tokens of a draft, at most: of what followed a match a suggestion takes between four and five."""

AGREEING = 2
"""Tokens that must agree for a draft: what follows one alone is right once in five times, what follows two, in two."""

MAX_MATCH = 16
"""Tokens that are compared."""

Weights = tuple[float, ...]
"""Of the copy, for 1, 2, … agreeing tokens; the last one also for all longer matches. Empty: nothing is copied."""


class Copies:
    """What one completion may copy; told of each generated token."""

    def __init__(self, prompt: Prompt, weights: Weights, room: int) -> None:
        head = prompt.ids[: prompt.anchor]
        lead = prompt.ids[len(prompt) - prompt.lead :]
        after = prompt.ids[prompt.anchor + 1 : len(prompt) - prompt.lead - 1]
        known = [after, np.array([_BORDER], dtype=np.int32), head, lead]
        self._length = sum(map(len, known))
        self._ids: IntArray = np.concatenate([*known, np.zeros(room, dtype=np.int32)])
        self._own = len(after) + 1  # where the text before the caret starts
        self._weights = weights

    def append(self, token: int) -> None:
        self._ids[self._length] = token
        self._length += 1

    def mixed(self, logits: Tensor) -> Tensor:
        """[vocabulary] logits of the model to log-probabilities of the mixture."""
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
        length, behind = self._match(len(self._weights))
        return (length, int(self._ids[behind])) if length else (0, 0)

    def draft(self, room: int) -> IntArray:
        """What may come next, as it followed the longest match: at most `room` tokens, none without a match."""
        length, behind = self._match(MAX_MATCH)
        if length < AGREEING:
            return self._ids[:0]
        drafted = self._ids[behind : min(behind + room, self._length)]
        borders = np.flatnonzero(drafted == _BORDER)
        return drafted[: borders[0]] if len(borders) else drafted

    def _match(self, most: int) -> tuple[int, int]:
        """(agreeing tokens, where stands what followed them) of the longest match, of `most` tokens at most; (0, 0)."""
        ids, end = self._ids, self._length
        if not most or end <= self._own:
            return 0, 0
        # Each place whose token is the last one is a candidate; those that agree one token further back stay.
        places = np.flatnonzero((ids[: end - 1] == ids[end - 1]) & (ids[1:end] != _BORDER))
        length = 0
        while len(places) and length < most:
            best, length = places, length + 1
            if end - 1 - length < self._own:
                break
            further = places - length
            places = places[(further >= 0) & (ids[further] == ids[end - 1 - length])]
        return (length, int(best[-1]) + 1) if length else (0, 0)


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
