"""The forward pass of the Llama-shaped families: Llama, Mistral, Qwen2 and Qwen3.

They differ in little: biases on the projections (Qwen2), norms on queries and keys (Qwen3), tied or untied heads. One
call runs any number of new tokens at any slots, under any mask: a prefill slice, one decode step, several edited spans
at once, or a draft tree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.cache.rope import RotaryTable
from model.embedded.attention import Attention
from model.embedded.kv_cache import CacheShape, KVCache
from model.embedded.linear import Linear
from model.tokenizer import IntArray

TensorSource = Callable[[str], "Tensor | None"]
"""A checkpoint's tensor by name; None where it has none of that name."""


@dataclass(frozen=True)
class DecoderConfig:
    """The sizes that shape a decoder."""

    num_layers: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rms_norm_eps: float
    max_positions: int
    dtype: torch.dtype
    cache_dtype: torch.dtype
    """Of keys and values; they and the queries are rounded to it."""

    @property
    def cache_shape(self) -> CacheShape:
        return CacheShape(self.num_layers, self.num_kv_heads, self.head_dim, self.cache_dtype)


@dataclass(frozen=True)
class DecoderLayer:
    """One block's weights. `qkv` and `gate_up` are the checkpoint's separate projections, joined, and the weights of
    the norms in front of them multiplied in.
    """

    qkv: Linear
    query_norm: Tensor | None
    key_norm: Tensor | None
    output: Linear
    gate_up: Linear
    down: Linear


def decoder_layer_from(tensor: TensorSource, index: int, *, rounded: bool) -> DecoderLayer:
    """Collect the weights of one block under their Hugging Face names."""

    def need(name: str) -> Tensor:
        found = tensor(f"model.layers.{index}.{name}")
        if found is None:
            raise KeyError(f"model.layers.{index}.{name}")
        return found

    def joined(*names: str, norm: str | None = None) -> Linear:
        weights = torch.cat([need(f"{name}.weight") for name in names])
        if norm is not None:
            weights = normed(weights, need(f"{norm}.weight"))
        biases = [tensor(f"model.layers.{index}.{name}.bias") for name in names]
        present = [bias for bias in biases if bias is not None]
        return Linear(weights, torch.cat(present) if len(present) == len(names) else None, rounded=rounded)

    return DecoderLayer(
        qkv=joined("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", norm="input_layernorm"),
        query_norm=tensor(f"model.layers.{index}.self_attn.q_norm.weight"),
        key_norm=tensor(f"model.layers.{index}.self_attn.k_norm.weight"),
        output=joined("self_attn.o_proj"),
        gate_up=joined("mlp.gate_proj", "mlp.up_proj", norm="post_attention_layernorm"),
        down=joined("mlp.down_proj"),
    )


def normed(weight: Tensor, norm: Tensor) -> Tensor:
    """[out, in] a projection that takes what the norm in front of it, [in], has not multiplied yet."""
    return (weight.float() * norm.float()).to(weight.dtype)


class Decoder:
    """A loaded model. Holds weights only; every call works on a cache given to it."""

    def __init__(
        self,
        config: DecoderConfig,
        rotary: RotaryTable,
        embedding: Tensor,
        layers: list[DecoderLayer],
        head: Linear,
    ) -> None:
        self.config = config
        self.rotary = rotary
        self._embedding = embedding
        self._layers = layers
        self._head = head

    @property
    def vocab_size(self) -> int:
        """Token ids that the embedding knows."""
        return self._embedding.shape[0]

    @torch.inference_mode()
    def forward(
        self,
        ids: IntArray,
        slots: IntArray,
        cache: KVCache,
        *,
        positions: IntArray | None = None,
        mask: Tensor | None = None,
        wanted: int | None = None,
    ) -> Tensor:
        """Run new tokens and write their keys and values into the cache.

        ids        [new] token ids
        slots      [new] their slots, rising
        positions  [new] their rotary positions where these are not the slots: in a draft tree
        mask       [new, slots] True where a new token may look, itself included; by default at all slots up to its own.
                   Slots of the new tokens themselves are in it: all are written before any is read.
        wanted     how many hidden states the caller needs, the last ones; None for all. The other tokens leave the last
                   layer once their keys and values are written: nothing looks at the rest of it.
        returns    [wanted, hidden_size], for `logits`
        """
        config = self.config
        where = slots.astype(np.int64)
        at = where if positions is None else positions.astype(np.int64)
        attention = Attention(cache, self.rotary, where, at, mask, config.num_heads // config.num_kv_heads)
        new = len(ids)
        x = F.embedding(torch.from_numpy(ids.astype(np.int64)), self._embedding).to(config.dtype)
        for index, layer in enumerate(self._layers):
            heads = layer.qkv(self._norm(x)).view(new, -1, config.head_dim).transpose(0, 1)
            if layer.query_norm is not None and layer.key_norm is not None:
                heads = self._with_normed_heads(heads, layer.query_norm, layer.key_norm)
            if wanted is not None and index == len(self._layers) - 1:
                x = x[max(0, new - wanted) :]
            attended = attention(index, heads.to(config.cache_dtype), len(x)).to(config.dtype)
            if not len(x):
                return x
            x = x + layer.output(attended)
            gate, up = layer.gate_up(self._norm(x)).chunk(2, dim=-1)
            x = x + layer.down(F.silu(gate) * up)
        return self._norm(x)

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """[new, vocabulary] float32 scores of the next token from [new, hidden_size]."""
        return self._head(hidden).float()

    def _with_normed_heads(self, heads: Tensor, query_norm: Tensor, key_norm: Tensor) -> Tensor:
        """Queries, keys and values, the first two normed, as Qwen3 does."""
        config = self.config
        query, key, value = torch.split(heads, [config.num_heads, config.num_kv_heads, config.num_kv_heads])
        normed = (
            F.rms_norm(part, norm.shape, norm, config.rms_norm_eps)
            for part, norm in ((query, query_norm), (key, key_norm))
        )
        return torch.cat([*normed, value])

    def _norm(self, x: Tensor) -> Tensor:
        """Root mean square norm (Zhang and Sennrich, 2019) whose weight is in the projection behind it."""
        if x.shape[0] > 1:
            return F.rms_norm(x, x.shape[1:], eps=self.config.rms_norm_eps)
        # For one token the library's dozen steps take longer than the layer around them.
        length = float(torch.linalg.vector_norm(x, dtype=torch.float32))
        scale: float = (length * length / x.shape[-1] + self.config.rms_norm_eps) ** -0.5
        return x * scale
