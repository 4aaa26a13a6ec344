"""Whether the plugin can turn a model's keys, and how many it may keep: read from vLLM's own configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from vllm.config import VllmConfig
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig

from model.cache.rope import TURNED, inverse_frequencies, is_table_of
from model.errors import ModelError

MODEL_TYPES = frozenset(
    ("gemma", "granite", "llama", "mistral", "mixtral", "phi3", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe")
)
"""Models whose keys are rotated as wholes, or their first part, in the half-split form, in every layer."""

DEFAULT_MEMORY_MB = 4096


class UnfitError(Exception):
    """A worker found something else than the configuration says; the message says what. vLLM then serves alone."""


@dataclass(frozen=True)
class Support:
    """The model can be served with turned keys.

    `frequencies` are radians a position; `num_rows` tokens are held in all and `max_tokens` of one document, on
    `device`; `bytes_per_token` and `block_size` are those of one rank.
    """

    frequencies: Tensor
    num_rows: int
    max_tokens: int
    bytes_per_token: int
    block_size: int
    num_kv_heads: int
    head_dim: int
    dtype: torch.dtype
    device: str | None

    def __str__(self) -> str:
        megabytes = self.num_rows * self.bytes_per_token / 2**20
        return (
            f"keys and values of up to {self.num_rows} tokens ({megabytes:.0f} MiB a rank) are kept through edits, "
            f"of up to {self.max_tokens} tokens of one document."
        )

    def check_rotation(self) -> None:
        """Raise `UnfitError` unless vLLM rotates keys as the model's configuration says."""
        from vllm.model_executor.layers.rotary_embedding import _ROPE_DICT

        tables = [r.cos_sin_cache for r in _ROPE_DICT.values() if r.is_neox_style and hasattr(r, "cos_sin_cache")]
        if not any(is_table_of(table.cpu(), self.frequencies) for table in tables):
            raise UnfitError("This vLLM rotates its keys in an unknown way.")


def support_of(vllm_config: VllmConfig, kv_cache_config: KVCacheConfig) -> Support | str:
    """What can be kept, or a sentence that says why nothing can; vLLM then serves as it would alone."""
    reason = _obstacle(vllm_config, kv_cache_config)
    if reason:
        return without(reason)
    options = _options(vllm_config)
    config = vllm_config.model_config.hf_text_config
    parameters: dict[str, Any] = dict(config.rope_parameters)
    spec = kv_cache_config.kv_cache_groups[0].kv_cache_spec
    rotated = int(spec.head_size * parameters.pop("partial_rotary_factor", 1.0))
    try:
        frequencies = inverse_frequencies(rotated, parameters, TURNED)
    except (ModelError, KeyError, TypeError, ValueError) as error:
        return without(str(error))
    stages = vllm_config.parallel_config.pipeline_parallel_size
    bytes_per_token = spec.page_size_bytes // spec.block_size * -(-config.num_hidden_layers // stages)
    num_rows = int(options["memory_mb"] * 2**20) // bytes_per_token
    max_tokens = int(options["document_mb"] * 2**20) // bytes_per_token
    if not min(num_rows, max_tokens):
        return without(f"One of its tokens takes {bytes_per_token} bytes, which is more than it is given.")
    return Support(
        frequencies=frequencies,
        num_rows=num_rows,
        max_tokens=min(max_tokens, num_rows),
        bytes_per_token=bytes_per_token,
        block_size=spec.block_size,
        num_kv_heads=spec.num_kv_heads,
        head_dim=spec.head_size,
        dtype=spec.dtype,
        device=options["device"],
    )


def without(reason: str) -> str:
    """What is said of a model that the plugin leaves alone."""
    return f"{reason} This model is served without reuse of edited documents."


def _obstacle(vllm_config: VllmConfig, kv_cache_config: KVCacheConfig) -> str | None:
    model = vllm_config.model_config
    groups = kv_cache_config.kv_cache_groups
    if len(groups) != 1:
        return "Its layers keep caches of several kinds."
    spec = groups[0].kv_cache_spec
    if type(spec) is not FullAttentionSpec:  # those that derive from it keep something else
        return f"Its cache is a {type(spec).__name__}, whose keys cannot be turned."
    if spec.sliding_window or spec.attention_chunk_size or getattr(model.hf_text_config, "use_sliding_window", False):
        return "Its layers see a sliding window only."
    if spec.head_size != spec.head_size_v:
        return "Its keys and values differ in size."
    if not spec.dtype.is_floating_point or spec.dtype.itemsize < 2:
        return f"Its cache is kept as {spec.dtype}, which a turn would spoil."
    if model.hf_text_config.model_type not in MODEL_TYPES:
        return f"How {model.hf_text_config.model_type} models rotate their keys is not known to keyturn."
    if vllm_config.parallel_config.decode_context_parallel_size > 1:
        return "Its cache is spread over ranks by position."
    speculative = vllm_config.speculative_config
    if speculative is not None and speculative.method not in ("ngram", "suffix"):
        return "A draft model has a cache of its own."
    return _cpu_obstacle(spec)


def _cpu_obstacle(spec: FullAttentionSpec) -> str | None:
    """vLLM's attention on processors packs keys for the instruction set that it finds."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return None
    isa = cpu_instructions(spec.dtype, spec.block_size, spec.head_size)
    return None if isa in ("vec", "vec16", "amx") else f"On this processor keys are packed for {isa}."


def cpu_instructions(dtype: torch.dtype, block_size: int, head_dim: int) -> str:
    """The instructions for which vLLM's attention on this processor orders its cache."""
    from vllm.v1.attention.backends.cpu_attn import _get_attn_isa

    isa: str = _get_attn_isa(dtype, block_size, head_dim)
    return isa


def _options(vllm_config: VllmConfig) -> dict[str, Any]:
    """`kv_connector_extra_config`, checked: `memory_mb` in all, `document_mb` of one document, `device`.

    Raises `ValueError`, which ends vLLM's start, for what is not understood.
    """
    transfer = vllm_config.kv_transfer_config
    given = dict(transfer.kv_connector_extra_config if transfer else {})
    memory = given.pop("memory_mb", DEFAULT_MEMORY_MB)
    document = given.pop("document_mb", memory)
    device = given.pop("device", None)
    for name, value in (("memory_mb", memory), ("document_mb", document)):
        if type(value) not in (int, float) or not 0 < value < 2**40:
            raise ValueError(f"keyturn: {name} in kv_connector_extra_config must be a number of megabytes.")
    if device not in (None, "cpu", "cuda"):
        raise ValueError('keyturn: device in kv_connector_extra_config must be "cpu" or "cuda".')
    if given:
        raise ValueError(f"keyturn: kv_connector_extra_config has no {', '.join(sorted(given))}.")
    return {"memory_mb": memory, "document_mb": document, "device": device}
