"""Measures a run at its checkpoints, with the training forward pass and on fewer carets than the evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.engine import ModelError
from model.training import network
from model.training.corpus import held_out_files
from model.training.data import Sampler
from model.training.evaluate import draw_carets, line_end_tokens, score
from model.training.recipes import Recipe
from model.training.tokenizer import load_tokenizer
from model.training.train import Validate

NUM_CARETS = 100
VALIDATION_SEED = 7
"""Other carets than the evaluation's, so that nothing is ever tuned on those."""


def make_validation(recipe: Recipe, work: Path) -> Validate | None:
    """A function from weights to figures; None where no held-out package is installed."""
    try:
        carets = draw_carets(held_out_files(), NUM_CARETS, VALIDATION_SEED)
    except ModelError:
        return None
    tokenizer = load_tokenizer(work)
    sampler, line_ends = Sampler([], tokenizer), line_end_tokens(tokenizer)
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[recipe.dtype]
    shape = recipe.shape

    def validate(parameters: network.Parameters) -> dict[str, Any]:
        def logits(ids: list[int], count: int) -> Tensor:
            table = network.rotary_table(shape, len(ids))
            with torch.no_grad():
                hidden = network.hidden_states(shape, parameters, torch.tensor([ids]), *table, dtype)
                return network.logits(parameters, hidden[0, -count:])

        return score(carets, sampler, logits, line_ends)

    return validate
