"""config.json as we read it: what transformers makes of the same file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from model.embedded.config import read_config

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 30,
    "num_attention_heads": 4,
    "max_position_embeddings": 8192,
    "vocab_size": 300,
}
LINEAR = {"type": "linear", "factor": 4.0}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"num_key_value_heads": 2, "head_dim": 32, "rms_norm_eps": 1e-5, "tie_word_embeddings": True},
        {"num_key_value_heads": None, "rope_theta": 500_000.0, "sliding_window": None},
        {"num_key_value_heads": 2, "sliding_window": 1024, "use_sliding_window": True, "max_window_layers": 10},
        {"num_key_value_heads": 2, "sliding_window": 1024, "use_sliding_window": True, "max_window_layers": 30},
        {"num_key_value_heads": 2, "sliding_window": 1024, "use_sliding_window": False},
        {"num_key_value_heads": 2, "rope_scaling": LINEAR, "rope_theta": 10_000.0},
        {"num_key_value_heads": 2, "rope_parameters": {"rope_type": "default", "rope_theta": 7.0}, "rope_theta": 9.0},
        {"rope_scaling": LLAMA3 | {"original_max_position_embeddings": 4096}, "rope_theta": 500_000.0},
    ],
)
def test_any_file_is_read_as_transformers_reads_it(tmp_path: Path, family: str, more: dict[str, Any]) -> None:
    if family == "mistral" and more.get("num_key_value_heads", 0) is None:
        more = more | {"num_key_value_heads": 4}  # transformers refuses what its own older versions wrote
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family} | SIZES | more))
    theirs = AutoConfig.from_pretrained(str(tmp_path), local_files_only=True)
    ours = read_config(tmp_path)
    heads = theirs.num_attention_heads
    assert (ours.num_layers, ours.hidden_size, ours.num_heads) == (30, 64, heads)
    assert ours.num_kv_heads == (theirs.num_key_value_heads or heads)
    assert ours.head_dim == (getattr(theirs, "head_dim", None) or 64 // heads)
    assert ours.rms_norm_eps == theirs.rms_norm_eps
    assert ours.tie_word_embeddings == theirs.tie_word_embeddings
    assert {key: ours.rope[key] for key in theirs.rope_parameters} == theirs.rope_parameters
    window = getattr(theirs, "sliding_window", None)
    slides = family == "mistral" or "sliding_attention" in getattr(theirs, "layer_types", [])
    assert ours.max_positions == (window if window and slides else 8192)
