"""What a checkpoint's config.json says of its shape, read by ourselves.

transformers would read it, too, for 80 MB of memory and as long as torch itself takes to import; the tests hold this
against it. Older files keep the rotary parameters in `rope_scaling` and `rope_theta`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.embedded.decoder import DecoderConfig
from model.errors import ModelError

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
"""The `model_type`s whose forward pass `model.embedded.decoder` is."""

_DEFAULTS: dict[str, dict[str, Any]] = {
    "mistral": {"num_key_value_heads": 8, "sliding_window": 4096},
    "qwen2": {"num_key_value_heads": 32},
    "qwen3": {"num_key_value_heads": 32, "head_dim": 128},
}
"""What a family means where its file is silent, as far as the families differ."""


@dataclass(frozen=True)
class ModelConfig(DecoderConfig):
    """A checkpoint's sizes; `rope` as `model.cache.rope.inverse_frequencies` takes it."""

    rope: dict[str, Any]
    tie_word_embeddings: bool


def read_config(
    folder: Path,
    dtype: torch.dtype = torch.float32,
    max_context: int | None = None,
    cache_dtype: torch.dtype | None = None,
) -> ModelConfig:
    """The folder's configuration, to be run in `dtype` with at most `max_context` positions.

    The cache is of the same type unless `cache_dtype` names another.

    Raises `ModelError` when it is not one that the embedded engine runs.
    """
    path = folder / "config.json"
    if not folder.is_dir():
        raise ModelError(f"There is no model folder {folder}; download a checkpoint and set `model` to its folder.")
    if not path.is_file():
        raise ModelError(f"{folder} has no config.json; set `model` to a Hugging Face checkpoint folder.")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        family = found["model_type"]
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise ModelError(f"{path} cannot be read ({type(error).__name__}); download the model again.") from error
    if family not in FAMILIES:
        raise ModelError(f"The embedded engine runs {', '.join(FAMILIES)} models, and {folder} holds a '{family}' one.")
    if found.get("quantization_config") is not None:
        raise ModelError(
            f"{folder} holds quantized weights, which the embedded engine cannot run; use the original model."
        )
    if found.get("hidden_act", "silu") != "silu":
        raise ModelError(
            f"The embedded engine knows the silu activation only, and this model has {found['hidden_act']}."
        )
    try:
        return _parsed(_DEFAULTS.get(family, {}) | found, dtype, cache_dtype or dtype, max_context)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} lacks a size or has one that is none ({error}); download the model again.") from error


def _parsed(
    found: dict[str, Any], dtype: torch.dtype, cache_dtype: torch.dtype, max_context: int | None
) -> ModelConfig:
    heads, hidden = _size(found, "num_attention_heads"), _size(found, "hidden_size")
    num_layers = _size(found, "num_hidden_layers")
    positions = _size(found, "max_position_embeddings")
    window = _sliding_window(found, num_layers)
    return ModelConfig(
        num_layers=num_layers,
        hidden_size=hidden,
        num_heads=heads,
        num_kv_heads=_size(found, "num_key_value_heads", heads),
        head_dim=_size(found, "head_dim", hidden // heads),
        rms_norm_eps=float(found.get("rms_norm_eps", 1e-6)),
        max_positions=min(positions, window or positions, max_context or positions),
        dtype=dtype,
        cache_dtype=cache_dtype,
        rope=_rope(found),
        tie_word_embeddings=bool(found.get("tie_word_embeddings", False)),
    )


def _size(found: dict[str, Any], name: str, default: int | None = None) -> int:
    value = found.get(name)
    if value is None:
        value = default
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is {value}")
    return value


def _rope(found: dict[str, Any]) -> dict[str, Any]:
    parameters = dict(found.get("rope_parameters") or found.get("rope_scaling") or {})
    parameters.setdefault("rope_type", parameters.get("type", "default"))
    parameters.setdefault("rope_theta", found.get("rope_theta", 10_000.0))
    if found.get("partial_rotary_factor") is not None:
        parameters.setdefault("partial_rotary_factor", found["partial_rotary_factor"])
    return parameters


def _sliding_window(found: dict[str, Any], num_layers: int) -> int | None:
    """The window of sliding attention, if any layer slides: inside it all attention is full attention."""
    window: int | None = found.get("sliding_window")
    if window is None or found["model_type"] == "llama":
        return None
    if found.get("layer_types"):
        return window if "sliding_attention" in found["layer_types"] else None
    if found["model_type"] == "mistral":
        return window
    slides = found.get("use_sliding_window", False) and found.get("max_window_layers", 28) < num_layers
    return window if slides else None
