"""Llama checkpoints with random weights: for timing they serve as well as trained ones, at any size."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from safetensors.torch import save_file

from model.factory import DEFAULT_MODEL
from model.training.network import Shape, new_parameters

SHAPES = {
    "38M": Shape(
        hidden_size=512, num_layers=10, num_heads=8, num_kv_heads=4, intermediate_size=1376, max_positions=32_768 + 512
    ),
}


def save_random(name: str, folder: Path) -> Path:
    """A checkpoint of one of `SHAPES` with the default model's tokenizer, in `folder / name`."""
    import torch

    shape, target = SHAPES[name], folder / name
    target.mkdir(parents=True, exist_ok=True)
    parameters = {name: tensor.detach().to(torch.bfloat16) for name, tensor in new_parameters(shape, seed=1).items()}
    save_file(parameters, target / "model.safetensors", metadata={"format": "pt"})
    (target / "config.json").write_text(json.dumps(shape.config(end_id=0, pad_id=0)), encoding="utf-8")
    for part in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DEFAULT_MODEL / part, target)
    return target
