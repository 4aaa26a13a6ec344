"""A lean training forward pass of the Llama architecture; its parameters bear the names of a Hugging Face checkpoint.

Parameters are float32, the forward pass multiplies in bfloat16: small updates are not lost, and processors with
bfloat16 units are several times faster than in float32. One function from ids to loss compiles into few fused loops.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Parameters = dict[str, Tensor]


@dataclass(frozen=True)
class Shape:
    """The sizes of a Llama with tied embeddings."""

    vocab_size: int = 8192
    hidden_size: int = 384
    num_layers: int = 6
    num_heads: int = 6
    num_kv_heads: int = 2
    head_dim: int = 64
    intermediate_size: int = 1024
    max_positions: int = 4096
    rope_theta: float = 100_000.0
    rms_norm_eps: float = 1e-5

    def config(self, *, end_id: int, pad_id: int) -> dict[str, Any]:
        """`config.json` of the checkpoint."""
        return {
            "_name_or_path": "keyturn-python",
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": self.max_positions,
            "rope_theta": self.rope_theta,
            "rope_parameters": {"rope_type": "default", "rope_theta": self.rope_theta},
            "rms_norm_eps": self.rms_norm_eps,
            "tie_word_embeddings": True,
            "attention_bias": False,
            "mlp_bias": False,
            "bos_token_id": None,
            "eos_token_id": end_id,
            "pad_token_id": pad_id,
            "torch_dtype": "bfloat16",
        }

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def new_parameters(shape: Shape, seed: int) -> Parameters:
    """Random weights; those that write into the residual stream are smaller the more layers there are."""
    generator = torch.Generator().manual_seed(seed)
    hidden, inner = shape.hidden_size, shape.intermediate_size
    query, kv = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    into_residual = 0.02 / (2 * shape.num_layers) ** 0.5

    def normal(rows: int, columns: int, std: float = 0.02) -> Tensor:
        return torch.empty(rows, columns).normal_(0.0, std, generator=generator)

    found: Parameters = {"model.embed_tokens.weight": normal(shape.vocab_size, hidden)}
    for i in range(shape.num_layers):
        layer = {
            "input_layernorm": torch.ones(hidden),
            "self_attn.q_proj": normal(query, hidden),
            "self_attn.k_proj": normal(kv, hidden),
            "self_attn.v_proj": normal(kv, hidden),
            "self_attn.o_proj": normal(hidden, query, into_residual),
            "post_attention_layernorm": torch.ones(hidden),
            "mlp.gate_proj": normal(inner, hidden),
            "mlp.up_proj": normal(inner, hidden),
            "mlp.down_proj": normal(hidden, inner, into_residual),
        }
        found |= {f"model.layers.{i}.{name}.weight": tensor for name, tensor in layer.items()}
    found["model.norm.weight"] = torch.ones(hidden)
    return {name: tensor.requires_grad_() for name, tensor in found.items()}


def rotary_table(shape: Shape, length: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines, each [tokens, head_dim / 2]."""
    frequencies = shape.rope_theta ** (-torch.arange(0, shape.head_dim, 2) / shape.head_dim)
    angles = torch.arange(length)[:, None] * frequencies[None]
    return angles.cos(), angles.sin()


def hidden_states(
    shape: Shape, parameters: Parameters, ids: Tensor, cos: Tensor, sin: Tensor, dtype: torch.dtype
) -> Tensor:
    """[sequences, tokens] ids to [sequences, tokens, hidden], normed for the output head."""
    weight = {name: tensor.to(dtype) for name, tensor in parameters.items()}
    cos, sin = cos.to(dtype), sin.to(dtype)
    num_sequences, length = ids.shape
    heads, kv_heads, size = shape.num_heads, shape.num_kv_heads, shape.head_dim

    def norm(x: Tensor, name: str) -> Tensor:
        return F.rms_norm(x, (shape.hidden_size,), weight[name], shape.rms_norm_eps)

    def split_heads(x: Tensor) -> Tensor:
        return x.view(num_sequences, length, -1, size).transpose(1, 2)

    def turn(x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=-1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)

    x = F.embedding(ids, weight["model.embed_tokens.weight"])
    for i in range(shape.num_layers):
        at = f"model.layers.{i}."
        h = norm(x, at + "input_layernorm.weight")
        joint = torch.cat([weight[f"{at}self_attn.{p}_proj.weight"] for p in "qkv"])
        q, k, v = torch.split(F.linear(h, joint), [heads * size, kv_heads * size, kv_heads * size], dim=-1)
        q, k, v = turn(split_heads(q)), turn(split_heads(k)), split_heads(v)
        k, v = (t.repeat_interleave(heads // kv_heads, dim=1) for t in (k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + F.linear(mixed.transpose(1, 2).flatten(2), weight[at + "self_attn.o_proj.weight"])
        h = norm(x, at + "post_attention_layernorm.weight")
        joint = torch.cat([weight[at + "mlp.gate_proj.weight"], weight[at + "mlp.up_proj.weight"]])
        gate, up = F.linear(h, joint).chunk(2, dim=-1)
        x = x + F.linear(F.silu(gate) * up, weight[at + "mlp.down_proj.weight"])
    return norm(x, "model.norm.weight")


def logits(parameters: Parameters, hidden: Tensor) -> Tensor:
    """Scores of the next token, float32."""
    return F.linear(hidden, parameters["model.embed_tokens.weight"].to(hidden.dtype)).float()


def loss(
    shape: Shape,
    parameters: Parameters,
    ids: Tensor,
    targets: Tensor,
    weights: Tensor,
    cos: Tensor,
    sin: Tensor,
    dtype: torch.dtype,
) -> Tensor:
    """Weighted mean cross-entropy in nats."""
    hidden = hidden_states(shape, parameters, ids, cos, sin, dtype)
    each = F.cross_entropy(logits(parameters, hidden).flatten(0, 1), targets.flatten(), reduction="none")
    flat = weights.flatten()
    return (each * flat).sum() / flat.sum()
