"""The forward pass of the Llama-shaped families: Llama, Mistral, Qwen2 and Qwen3.

They differ in little: biases on the projections (Qwen2), norms on queries and keys (Qwen3), tied or untied heads. One
call runs any number of new tokens at any slots, under any mask: a prefill slice, one decode step, several edited spans
at once, or a draft tree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.embedded.kv_cache import CacheShape, KVCache
from model.rope import RotaryTable

TensorSource = Callable[[str], "Tensor | None"]
"""A checkpoint's tensor by name, in the engine's dtype; None where it has none of that name."""


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

    @property
    def cache_shape(self) -> CacheShape:
        return CacheShape(self.num_layers, self.num_kv_heads, self.head_dim, self.dtype)


@dataclass(frozen=True)
class Layer:
    """One block's weights. `qkv` and `gate_up` are the checkpoint's separate projections, joined."""

    attention_norm: Tensor
    qkv: Tensor
    qkv_bias: Tensor | None
    query_norm: Tensor | None
    key_norm: Tensor | None
    output: Tensor
    output_bias: Tensor | None
    mlp_norm: Tensor
    gate_up: Tensor
    gate_up_bias: Tensor | None
    down: Tensor
    down_bias: Tensor | None


def layer_from(tensor: TensorSource, index: int) -> Layer:
    """Collect the weights of one block under their Hugging Face names."""

    def need(name: str) -> Tensor:
        found = tensor(f"model.layers.{index}.{name}")
        if found is None:
            raise KeyError(f"model.layers.{index}.{name}")
        return found

    def joined(names: tuple[str, ...], part: str) -> Tensor | None:
        parts = [tensor(f"model.layers.{index}.{name}.{part}") for name in names]
        present = [p for p in parts if p is not None]
        return torch.cat(present) if len(present) == len(names) else None

    projections = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    gates = ("mlp.gate_proj", "mlp.up_proj")
    return Layer(
        attention_norm=need("input_layernorm.weight"),
        qkv=torch.cat([need(f"{name}.weight") for name in projections]),
        qkv_bias=joined(projections, "bias"),
        query_norm=tensor(f"model.layers.{index}.self_attn.q_norm.weight"),
        key_norm=tensor(f"model.layers.{index}.self_attn.k_norm.weight"),
        output=need("self_attn.o_proj.weight"),
        output_bias=tensor(f"model.layers.{index}.self_attn.o_proj.bias"),
        mlp_norm=need("post_attention_layernorm.weight"),
        gate_up=torch.cat([need(f"{name}.weight") for name in gates]),
        gate_up_bias=joined(gates, "bias"),
        down=need("mlp.down_proj.weight"),
        down_bias=tensor(f"model.layers.{index}.mlp.down_proj.bias"),
    )


class Decoder:
    """A loaded model. Holds weights only; every call works on a cache given to it."""

    def __init__(
        self,
        config: DecoderConfig,
        rotary: RotaryTable,
        embedding: Tensor,
        layers: list[Layer],
        final_norm: Tensor,
        head: Tensor,
    ) -> None:
        self.config = config
        self.rotary = rotary
        self._embedding = embedding
        self._layers = layers
        self._final_norm = final_norm
        self._head = head

    @property
    def vocab_size(self) -> int:
        """Token ids that the embedding knows."""
        return self._embedding.shape[0]

    @torch.inference_mode()
    def forward(self, ids: Tensor, slots: Tensor, positions: Tensor, cache: KVCache, mask: Tensor) -> Tensor:
        """Run new tokens and write their keys and values into the cache.

        ids        [new] token ids
        slots      [new] where their keys and values go, rising
        positions  [new] their rotary positions; equal to the slots except in a draft tree
        mask       [new, context] True where a new token may look; `context` slots are visible at most. Rows of the new
                   tokens themselves are in it: all are written before any is read.
        returns    [new, hidden_size], after the final norm
        """
        config = self.config
        context = mask.shape[1]
        group = config.num_heads // config.num_kv_heads
        where = _as_slice(slots)
        # Queries that share a key head form one batch of group · new queries, so keys are read once, not repeated.
        bias = torch.zeros(mask.shape, dtype=config.dtype).masked_fill_(~mask, float("-inf")).repeat(group, 1)
        turned = cache.turned
        x = F.embedding(ids, self._embedding)
        for index, layer in enumerate(self._layers):
            normed = self._norm(x, layer.attention_norm)
            query, key, value = self._project(normed, layer)
            cache.keys[index, :, where] = key
            cache.values[index, :, where] = value
            turned[index, :, where] = self.rotary.rotate(key, positions)
            query = self.rotary.rotate(query, positions).reshape(config.num_kv_heads, -1, config.head_dim)
            attended = F.scaled_dot_product_attention(
                query[None], turned[index, :, :context][None], cache.values[index, :, :context][None], attn_mask=bias
            )
            # [1, kv_heads, group · new, head_dim] → [new, heads · head_dim]
            attended = attended.reshape(config.num_heads, -1, config.head_dim).transpose(0, 1).flatten(1)
            x = x + F.linear(attended, layer.output, layer.output_bias)
            x = x + self._mlp(self._norm(x, layer.mlp_norm), layer)
        return self._norm(x, self._final_norm)

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """[…, vocabulary] float32 scores of the next token."""
        return F.linear(hidden, self._head).float()

    def _project(self, x: Tensor, layer: Layer) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values as [heads, new, head_dim], normed where the family does so, un-rotated."""
        config = self.config
        heads = F.linear(x, layer.qkv, layer.qkv_bias).view(len(x), -1, config.head_dim).transpose(0, 1)
        query, key, value = torch.split(heads, [config.num_heads, config.num_kv_heads, config.num_kv_heads])
        if layer.query_norm is not None and layer.key_norm is not None:
            query, key = self._norm(query, layer.query_norm), self._norm(key, layer.key_norm)
        return query, key, value

    def _mlp(self, x: Tensor, layer: Layer) -> Tensor:
        gate, up = F.linear(x, layer.gate_up, layer.gate_up_bias).chunk(2, dim=-1)
        return F.linear(F.silu(gate) * up, layer.down, layer.down_bias)

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, weight.shape, weight, self.config.rms_norm_eps)


def causal_mask(slots: Tensor, context: int) -> Tensor:
    """[new, context] True where a slot may look: at itself and at everything before it."""
    return torch.arange(context) <= slots[:, None]


def _as_slice(slots: Tensor) -> Tensor | slice:
    """A slice where the slots follow each other: writing through it is a plain copy."""
    first, last = int(slots[0]), int(slots[-1])
    return slice(first, last + 1) if last - first + 1 == len(slots) else slots
