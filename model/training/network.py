"""A lean training forward pass of the Llama architecture; its parameters bear the names of a Hugging Face checkpoint.

Parameters are float32, the forward pass multiplies in bfloat16: small updates are not lost, and processors with
bfloat16 units are several times faster than in float32. One function from ids to loss compiles into few fused loops.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from model.errors import ModelError

Parameters = dict[str, Tensor]

ChunkErrors = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]

BLOCK = 256
"""Queries of one attention block on a processor."""

CHUNK = 512
"""Tokens of one step of the output head on a processor."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a Llama with tied embeddings."""

    vocab_size: int = 16384
    hidden_size: int = 384
    num_layers: int = 5
    num_heads: int = 6
    num_kv_heads: int = 2
    head_dim: int = 64
    intermediate_size: int = 1024
    max_positions: int = 4096
    rope_theta: float = 100_000.0
    rms_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_heads or self.num_heads % self.num_kv_heads:
            raise ModelError(
                "A recipe's hidden_size must be a multiple of num_heads, and that of num_kv_heads: "
                "transformers loads no other Llama."
            )

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


def causal_bias(segments: Tensor, dtype: torch.dtype) -> Tensor:
    """What each token must not see, as numbers to add to the attention scores: 0 or minus infinity.

    segments  [sequences, tokens] the sample each token belongs to; samples do not see each other
    returns   [sequences, 1, tokens, tokens]
    """
    length = segments.shape[1]
    at = torch.arange(length, device=segments.device)
    seen = (at <= at[:, None]) & (segments[:, :, None] == segments[:, None, :])
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, float("-inf"))[:, None]


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Causal attention of q [sequences, heads, tokens, size] to k and v [sequences, kv heads, tokens, size].

    On a processor by blocks of queries, each against the keys up to its end: the scores of a block stay in the
    processor's cache, which halves the time of torch's own kernel (8,192 tokens in rows of 512, forward and backward:
    52 ms against 118 ms on two cores).
    """
    num_sequences, heads, length, size = q.shape
    kv_heads = k.shape[1]
    if q.is_cuda:
        k, v = (t.repeat_interleave(heads // kv_heads, dim=1) for t in (k, v))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    blocks = []
    for start in range(0, length, BLOCK):
        end = min(start + BLOCK, length)
        block = q[:, :, start:end].reshape(num_sequences, kv_heads, -1, size)
        scores = (block @ k[:, :, :end].transpose(-1, -2)).view(num_sequences, kv_heads, -1, end - start, end)
        seen = torch.softmax(scores * size**-0.5 + bias[:, :, None, start:end, :end], dim=-1)
        mixed = seen.view(num_sequences, kv_heads, -1, end) @ v[:, :, :end]
        blocks.append(mixed.view(num_sequences, heads, end - start, size))
    return torch.cat(blocks, dim=2)


def hidden_states(
    shape: Shape, parameters: Parameters, ids: Tensor, bias: Tensor, cos: Tensor, sin: Tensor, dtype: torch.dtype
) -> Tensor:
    """[sequences, tokens] ids to [sequences, tokens, hidden], normed for the output head; `bias` by `causal_bias`."""
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
        mixed = attention(q, k, v, bias)
        x = x + F.linear(mixed.transpose(1, 2).flatten(2), weight[at + "self_attn.o_proj.weight"])
        h = norm(x, at + "post_attention_layernorm.weight")
        joint = torch.cat([weight[at + "mlp.gate_proj.weight"], weight[at + "mlp.up_proj.weight"]])
        gate, up = F.linear(h, joint).chunk(2, dim=-1)
        x = x + F.linear(F.silu(gate) * up, weight[at + "mlp.down_proj.weight"])
    return norm(x, "model.norm.weight")


def logits(parameters: Parameters, hidden: Tensor) -> Tensor:
    """Scores of the next token, float32."""
    return F.linear(hidden, parameters["model.embed_tokens.weight"].to(hidden.dtype)).float()


class _HeadLoss(torch.autograd.Function):
    """Cross-entropy of the output head, a chunk of tokens at a time, with its gradient made on the way.

    Scores for every token and every entry of the vocabulary would be hundreds of megabytes, written and read several
    times; a chunk's scores are used up while they are in the processor's cache.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        importance: Tensor,
        chunk: int,
        chunk_errors: ChunkErrors,
    ) -> Tensor:
        hidden_grad, weight_grad = torch.empty_like(hidden), torch.zeros_like(weight, dtype=torch.float32)
        total = torch.zeros((), device=hidden.device)
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            loss, errors = chunk_errors(hidden[part] @ weight.T, targets[part], importance[part])
            total += loss
            torch.mm(errors, weight, out=hidden_grad[part])
            weight_grad += errors.T @ hidden[part]
        ctx.save_for_backward(hidden_grad, weight_grad)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        hidden_grad, weight_grad = ctx.saved_tensors
        return hidden_grad * grad, (weight_grad * grad).to(hidden_grad.dtype), None, None, None, None


def chunk_errors(scores: Tensor, targets: Tensor, importance: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted loss of some tokens, and its gradient to their scores."""
    wide = scores.float()
    logarithm = wide.logsumexp(-1, keepdim=True)
    loss = ((logarithm - wide.gather(1, targets[:, None])).squeeze(1) * importance).sum()
    errors = (wide - logarithm).exp() * importance[:, None]
    at = torch.arange(wide.shape[1], device=wide.device)
    errors = errors - torch.where(at == targets[:, None], importance[:, None], 0.0)
    return loss, errors.to(scores.dtype)


class Network:
    """The functions above for one shape, compiled for each length that they see."""

    def __init__(self, shape: Shape, dtype: torch.dtype, *, compiled: bool) -> None:
        self.shape, self.dtype = shape, dtype
        self._hidden_states: Callable[..., Tensor] = hidden_states
        self._errors: ChunkErrors = chunk_errors
        if compiled:
            self._hidden_states = torch.compile(hidden_states, dynamic=False)
            self._errors = torch.compile(chunk_errors, dynamic=False)
        self._tables: dict[int, tuple[Tensor, Tensor]] = {}

    def hidden(self, parameters: Parameters, ids: Tensor, segments: Tensor) -> Tensor:
        """What the output head sees, [sequences, tokens, hidden]; the fields of `data.Batch`."""
        length = ids.shape[1]
        if length not in self._tables:
            cos, sin = rotary_table(self.shape, length)
            self._tables[length] = cos.to(ids.device), sin.to(ids.device)
        bias = causal_bias(segments, self.dtype)
        return self._hidden_states(self.shape, parameters, ids, bias, *self._tables[length], self.dtype)

    def loss(self, parameters: Parameters, ids: Tensor, targets: Tensor, weights: Tensor, segments: Tensor) -> Tensor:
        """Weighted mean cross-entropy in nats."""
        hidden = self.hidden(parameters, ids, segments)
        weight = parameters["model.embed_tokens.weight"].to(hidden.dtype)
        share = (weights / weights.sum()).flatten()
        apply: Callable[..., Tensor] = _HeadLoss.apply
        return apply(hidden.flatten(0, 1), weight, targets.flatten(), share, _chunk(hidden), self._errors)

    @torch.no_grad()
    def losses(self, parameters: Parameters, ids: Tensor, targets: Tensor, segments: Tensor) -> Tensor:
        """Cross-entropy of each target in nats, [sequences · tokens] float32, without gradients."""
        hidden = self.hidden(parameters, ids, segments).flatten(0, 1)
        chunk = _chunk(hidden)
        parts = zip(torch.split(hidden, chunk), torch.split(targets.flatten(), chunk), strict=True)
        return torch.cat([F.cross_entropy(logits(parameters, part), aim, reduction="none") for part, aim in parts])


def _chunk(hidden: Tensor) -> int:
    """Tokens whose scores are made at once."""
    return CHUNK if hidden.device.type == "cpu" else 16 * CHUNK
