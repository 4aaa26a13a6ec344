"""Watches a run: the loss on the held-out packages, on batches like those of the training."""

from __future__ import annotations

from typing import Any

import torch

from model.training import network
from model.training.data import MIDDLE_WEIGHT, Batch, Sampler
from model.training.train import Validate

NUM_BATCHES = 8
SEED = 7


def make_validation(sampler: Sampler, length: int = 512, num_sequences: int = 8) -> Validate:
    """A function from weights to mean losses in nats a token: of everything, and of middles only."""
    batches = [sampler.batch(step, num_sequences, length) for step in range(NUM_BATCHES)]

    def validate(net: network.Network, parameters: network.Parameters) -> dict[str, Any]:
        found = {}
        for name, least in (("loss", 0.0), ("middle_loss", MIDDLE_WEIGHT - 0.5)):
            losses = [_loss(net, parameters, batch, least) for batch in batches]
            total, count = (sum(column) for column in zip(*losses, strict=True))
            found[name] = round(total / count, 4)
        return found

    return validate


def _loss(net: network.Network, parameters: network.Parameters, batch: Batch, least: float) -> tuple[float, float]:
    """The summed loss of the targets whose weight is more than `least`, and their number."""
    device = next(iter(parameters.values())).device
    ids, targets, weights, *masks = (torch.from_numpy(field).to(device) for field in batch.fields())
    counted = (weights > least).float()
    count = float(counted.sum())
    if not count:
        return 0.0, 0.0
    with torch.no_grad():
        return float(net.loss(parameters, ids, targets, counted, *masks)) * count, count
