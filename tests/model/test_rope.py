"""Rotary frequencies: those that transformers computes for the same configuration."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from model.cache.rope import SUPPORTED, TURNED, inverse_frequencies, is_table_of
from model.errors import ModelError

YARN = {"rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 512}
SCALINGS: dict[str, dict[str, Any]] = {
    "linear": {"rope_type": "linear", "rope_theta": 100_000.0, "factor": 4.0},
    "llama3": {
        "rope_type": "llama3",
        "rope_theta": 500_000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
    "yarn": YARN,
    "yarn with betas": YARN | {"beta_fast": 16.0, "beta_slow": 2.0},
    "yarn, not truncated": YARN | {"truncate": False},
    "yarn of Qwen": YARN | {"rope_theta": 1_000_000.0, "original_max_position_embeddings": 32_768},
}


@pytest.mark.parametrize("parameters", SCALINGS.values(), ids=SCALINGS)
@pytest.mark.parametrize("head_dim", [32, 128])
def test_frequencies_are_those_of_transformers(parameters: dict[str, Any], head_dim: int) -> None:
    config = LlamaConfig(
        hidden_size=4 * head_dim,
        num_attention_heads=4,
        head_dim=head_dim,
        max_position_embeddings=int(4 * parameters.get("original_max_position_embeddings", 2048)),
        rope_parameters=dict(parameters),
    )
    theirs, _ = ROPE_INIT_FUNCTIONS[parameters["rope_type"]](config, torch.device("cpu"))
    assert torch.allclose(inverse_frequencies(head_dim, parameters, TURNED), theirs, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("parameters", SCALINGS.values(), ids=SCALINGS)
def test_a_table_tells_its_own_frequencies_from_plain_ones(parameters: dict[str, Any], dtype: torch.dtype) -> None:
    scaled = inverse_frequencies(128, parameters, TURNED)
    plain = inverse_frequencies(128, {"rope_theta": parameters["rope_theta"]})
    angles = torch.outer(torch.arange(4096, dtype=torch.float32), scaled)
    table = torch.cat((angles.cos(), angles.sin()), dim=1).to(dtype) * (1.2 if "yarn" in parameters["rope_type"] else 1)
    assert is_table_of(table, scaled)
    assert not is_table_of(table, plain)
    assert not is_table_of(table, scaled[:32])


def test_the_embedded_engine_refuses_what_scales_more_than_frequencies() -> None:
    assert "yarn" not in SUPPORTED
    with pytest.raises(ModelError, match="yarn"):
        inverse_frequencies(64, YARN)
