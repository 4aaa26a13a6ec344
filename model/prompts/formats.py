"""The model families that fill in the middle, and their markers. A new family is one more entry of `FORMATS`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """One model family's markers, by token name; `name` is what `keyturn doctor` prints.

    `models` is a pattern for the names of such models, for servers that do not show their vocabulary; `ends` is what
    ends an answer there, as text.
    """

    name: str
    prefix: str
    suffix: str
    middle: str
    ends: tuple[str, ...]
    bos: str | None = None
    models: str = r"(?!)"


FORMATS = (
    Format(
        "qwen2.5-coder",
        "<|fim_prefix|>",
        "<|fim_suffix|>",
        "<|fim_middle|>",
        ("<|endoftext|>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>")
        + ("<|repo_name|>", "<|file_sep|>", "<|im_start|>", "<|im_end|>"),
        models=r"qwen.*coder",
    ),
    Format(
        "starcoder2",
        "<fim_prefix>",
        "<fim_suffix>",
        "<fim_middle>",
        ("<|endoftext|>", "<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<fim_pad>", "<repo_name>", "<file_sep>"),
        models=r"starcoder|santacoder",
    ),
    Format(
        "deepseek-coder",
        "<｜fim▁begin｜>",
        "<｜fim▁hole｜>",
        "<｜fim▁end｜>",
        ("<｜end▁of▁sentence｜>", "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>", "<|EOT|>"),
        bos="<｜begin▁of▁sentence｜>",
        models=r"deepseek.*coder",
    ),
    Format(
        "code-llama",
        "▁<PRE>",
        "▁<SUF>",
        "▁<MID>",
        ("</s>", "▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>"),
        bos="<s>",
        models=r"code-?llama",
    ),
)
"""A family is recognised by the markers in its vocabulary. Sources: the model cards of Qwen2.5-Coder, StarCoder2 and
DeepSeek-Coder; Rozière et al., "Code Llama", section 2.3, for the prefix-suffix-middle order."""
