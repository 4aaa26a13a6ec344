"""Tiny random checkpoints and tokenizers of every family, made on the spot."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from model.embedded.checkpoint import load_decoder
from model.embedded.decoder import Decoder
from model.tokenizer import HubTokenizer

SIZES = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
}

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}


def families() -> dict[str, tuple[type, Any]]:
    """Name → (transformers class, configuration): each shape that the decoder claims to know."""
    linear = {"rope_type": "linear", "rope_theta": 100000.0, "factor": 4.0}
    untied = {**SIZES, "tie_word_embeddings": False}
    return {
        "llama": (LlamaForCausalLM, LlamaConfig(**SIZES, tie_word_embeddings=True)),
        "llama-biased": (LlamaForCausalLM, LlamaConfig(**untied, attention_bias=True, mlp_bias=True)),
        "llama-linear-rope": (LlamaForCausalLM, LlamaConfig(**untied, rope_parameters=linear)),
        "llama3": (LlamaForCausalLM, LlamaConfig(**untied, rope_parameters=LLAMA3)),
        "llama-no-gqa": (LlamaForCausalLM, LlamaConfig(**{**untied, "num_key_value_heads": 4})),
        "mistral": (MistralForCausalLM, MistralConfig(**untied, sliding_window=None)),
        "qwen2": (Qwen2ForCausalLM, Qwen2Config(**{**SIZES, "tie_word_embeddings": True})),
        "qwen3": (Qwen3ForCausalLM, Qwen3Config(**untied, head_dim=32)),
    }


def save_checkpoint(folder: Path, family: str = "llama", seed: int = 0) -> Any:
    """Write random weights of a family to the folder; returns the transformers model, float32, for comparison."""
    torch.manual_seed(seed)
    kind, config = families()[family]
    model = kind(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or "norm" in name:  # defaults of 0 and 1 would hide a mistake
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    return model


def load_tiny(folder: Path, dtype: torch.dtype = torch.float32, cache_dtype: torch.dtype | None = None) -> Decoder:
    return load_decoder(
        folder, dtype=dtype, cache_dtype=cache_dtype, max_context=None, progress=lambda message, percent: None
    )


CORPUS = [
    "def add(first, second):\n    return first + second\n\n\nclass Point:\n    x: int = 10\n\n    def norm(self):\n",
    "for i in range(100):\n\tif i % 2 == 0:\n\t\tprint(f'{i:>8}')  # even\n\nimport os.path\r\nimport sys\r\n",
    "const value = await fetch(`/api/${id}`);\n  return { ...value, name: 'größe' };\n}\n// ほげ 🎈 emoji\n",
    "    self._items[key] = value_of(key)   # a comment, with words\n\n\n        raise ValueError('bad')\n",
]

QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
OURS = r"\r?\n[ \t]*| ?[\p{L}\p{M}_]+|\p{N}| ?[^\s\p{L}\p{M}_\p{N}]+|[ \t]+(?=[ \t]\S)|[ \t]+|\s"


def _split(pattern: str) -> Any:
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def _byte_level() -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


PRE_TOKENIZERS = {
    "ours": lambda: pre_tokenizers.Sequence([_split(OURS), _byte_level()]),
    "qwen": lambda: pre_tokenizers.Sequence([_split(QWEN), _byte_level()]),
    "gpt2": lambda: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    "starcoder2": lambda: pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    "deepseek": lambda: pre_tokenizers.Sequence(
        [
            _split(r"[\r\n]"),
            _split(r"\s?\p{L}+"),
            _split(r"\s?\p{P}+"),
            _split(r"[一-龥ࠀ-一가-퟿]+"),
            pre_tokenizers.Digits(individual_digits=True),
            _byte_level(),
        ]
    ),
}
"""The pre-tokenizers of the families, as their published tokenizers describe them."""

MARKERS = {
    "ours": ["<|endoftext|>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"],
    "qwen": ["<|endoftext|>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>"],
    "gpt2": ["<|endoftext|>"],
    "starcoder2": ["<|endoftext|>", "<fim_prefix>", "<fim_suffix>", "<fim_middle>"],
    "deepseek": [
        "<｜begin▁of▁sentence｜>",
        "<｜end▁of▁sentence｜>",
        "<｜fim▁begin｜>",
        "<｜fim▁hole｜>",
        "<｜fim▁end｜>",
    ],
    "sentencepiece": ["<s>", "</s>", "<unk>", "▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>"],
}
TOKENIZERS = tuple(MARKERS)


@cache
def raw_tokenizer(name: str) -> str:
    """A small trained tokenizer of the family, as tokenizer.json text."""
    if name == "sentencepiece":
        return _sentencepiece()
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = PRE_TOKENIZERS[name]()
    raw.decoder = decoders.ByteLevel()
    if name == "qwen":
        raw.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZES["vocab_size"] - 10,
        special_tokens=MARKERS[name],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(CORPUS * 2, trainer)
    return str(raw.to_str())


def _sentencepiece() -> str:
    """A Llama-like vocabulary: marks for spaces, bytes as a fallback, no pre-tokenizer, newlines never merged."""
    base = Tokenizer(models.BPE())
    base.normalizer = normalizers.Replace(" ", "▁")
    base.pre_tokenizer = _split(r"[\r\n]")
    base.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=200, show_progress=False))
    import json

    spec = json.loads(base.to_str())
    newlines = {"\n", "\r"}
    pieces = [p for p in spec["model"]["vocab"] if p not in newlines]
    names = [*MARKERS["sentencepiece"], *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    vocab = {piece: index for index, piece in enumerate(names)}
    merges = [tuple(merge) for merge in spec["model"]["merges"] if not newlines & set("".join(merge))]
    raw = Tokenizer(models.BPE(vocab=vocab, merges=merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    raw.add_special_tokens(MARKERS["sentencepiece"])
    return str(raw.to_str())


def tokenizer(name: str) -> HubTokenizer:
    return HubTokenizer(Tokenizer.from_str(raw_tokenizer(name)))
