"""Watches a run: the loss on the held-out packages, on batches like those of the training."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.training import network
from model.training.data import MIDDLE_WEIGHT, Batch, Sampler
from model.training.train import Validate

NUM_BATCHES = 8
SEED = 7


def make_validation(sampler: Sampler, length: int = 512, num_sequences: int = 8) -> Validate:
    """A function from weights to mean losses in nats a token: of everything, and of middles only."""
    batches = [sampler.batch(step, num_sequences, length) for step in range(NUM_BATCHES)]
    weights = np.concatenate([batch.weights.flatten() for batch in batches])
    counted = {"loss": weights > 0.0, "middle_loss": weights > MIDDLE_WEIGHT - 0.5}

    def validate(net: network.Network, parameters: network.Parameters) -> dict[str, Any]:
        losses = np.concatenate([_losses(net, parameters, batch) for batch in batches])
        return {name: round(float(losses[chosen].mean()), 4) for name, chosen in counted.items() if chosen.any()}

    return validate


def _losses(net: network.Network, parameters: network.Parameters, batch: Batch) -> NDArray[np.float32]:
    """The loss of each target, in the order of the flattened batch."""
    device = next(iter(parameters.values())).device
    ids, targets, _, segments = (torch.from_numpy(field).to(device) for field in batch.fields())
    found: NDArray[np.float32] = net.losses(parameters, ids, targets, segments).cpu().numpy()
    return found
