"""A cache written for obviousness: one record a token, one explicit rotation a token, one token at a time.

It follows the paper's description (He et al., arXiv 2407.03157) and shares nothing with `model.embedded` but the
weights: what an edit left in place keeps its keys and values, new tokens are encoded at their true positions seeing
everything before them, and a key is rotated by its token's position whenever somebody looks at it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model.embedded.decoder import Decoder, DecoderLayer
from model.embedded.linear import Linear
from model.prompts.prompt import Prompt


@dataclass
class Record:
    """One cached token: keys un-rotated and values, each [layers, kv_heads, head_dim]."""

    token: int
    serial: int
    keys: Tensor
    values: Tensor


def rotation(position: int, frequencies: Tensor) -> Tensor:
    """[head_dim, head_dim] matrix of the rotary embedding at one position."""
    half = len(frequencies)
    matrix = torch.zeros(2 * half, 2 * half)
    for i, frequency in enumerate(frequencies.tolist()):
        angle = torch.tensor(position * frequency, dtype=torch.float32)
        matrix[i, i] = matrix[half + i, half + i] = angle.cos()
        matrix[i, half + i], matrix[half + i, i] = -angle.sin(), angle.sin()
    return matrix


def norm(x: Tensor, eps: float, weight: Tensor | float = 1.0) -> Tensor:
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weight


def bias(linear: Linear) -> Tensor | float:
    return 0.0 if linear.bias is None else linear.bias


class OracleCache:
    """The records of one document, brought from prompt to prompt."""

    def __init__(self, decoder: Decoder, frequencies: Tensor) -> None:
        self.decoder = decoder
        self.rotations = [rotation(position, frequencies) for position in range(decoder.config.max_positions)]
        self.records: list[Record] = []

    def update(self, prompt: Prompt, *, reuse: bool) -> Tensor:
        """Bring the records to the prompt; the logits after its last token."""
        kept = self._kept(prompt) if reuse else {}
        old, self.records = self.records, []
        hidden = torch.empty(0)
        for i in range(len(prompt)):
            if i in kept:
                self.records.append(replace(old[kept[i]], serial=int(prompt.serials[i])))
            else:
                hidden = self._encode(int(prompt.ids[i]), int(prompt.serials[i]), i)
        return self.decoder.logits(hidden[None])[0]

    def _kept(self, prompt: Prompt) -> dict[int, int]:
        """Index in the prompt → index of the record that stays."""
        kept: dict[int, int] = {}
        usable = len(prompt) - 1
        while (n := len(kept)) < min(usable, len(self.records)) and self.records[n].token == prompt.ids[n]:
            kept[n] = n
        by_serial = {r.serial: i for i, r in enumerate(self.records) if r.serial >= 0 and i >= len(kept)}
        for i in range(len(kept), usable):
            serial = int(prompt.serials[i])
            if serial >= 0 and serial in by_serial:
                kept[i] = by_serial[serial]
        return kept

    def _encode(self, token: int, serial: int, position: int) -> Tensor:
        """Run one token at the end of the records and append its own."""
        decoder, config = self.decoder, self.decoder.config
        record = Record(
            token,
            serial,
            torch.zeros(config.num_layers, config.num_kv_heads, config.head_dim),
            torch.zeros(config.num_layers, config.num_kv_heads, config.head_dim),
        )
        self.records.append(record)
        x = decoder._embedding[token]
        for index, layer in enumerate(decoder._layers):
            x = self._block(x, index, layer, position)
        return norm(x, config.rms_norm_eps)

    def _block(self, x: Tensor, index: int, layer: DecoderLayer, position: int) -> Tensor:
        config = self.decoder.config
        heads, kv_heads, size = config.num_heads, config.num_kv_heads, config.head_dim
        normed = norm(x, config.rms_norm_eps)
        projected = (layer.qkv.weight @ normed + bias(layer.qkv)).view(-1, size)
        query, key, value = projected.split([heads, kv_heads, kv_heads])
        if layer.query_norm is not None and layer.key_norm is not None:
            query = norm(query, config.rms_norm_eps, layer.query_norm)
            key = norm(key, config.rms_norm_eps, layer.key_norm)
        self.records[-1].keys[index], self.records[-1].values[index] = key, value
        query = query @ self.rotations[position].T
        seen = [r.keys[index] @ self.rotations[i].T for i, r in enumerate(self.records)]
        attended = []
        for head in range(heads):
            group = head // (heads // kv_heads)
            scores = torch.stack([k[group] @ query[head] for k in seen]) / size**0.5
            weights = torch.softmax(scores, dim=0)
            attended.append(sum(w * r.values[index, group] for w, r in zip(weights, self.records, strict=True)))
        flat = torch.cat([torch.as_tensor(a) for a in attended])
        x = x + layer.output.weight @ flat + bias(layer.output)
        normed = norm(x, config.rms_norm_eps)
        gate, up = (layer.gate_up.weight @ normed + bias(layer.gate_up)).chunk(2)
        down: Tensor = layer.down.weight @ (torch.nn.functional.silu(gate) * up)
        return x + down + bias(layer.down)
