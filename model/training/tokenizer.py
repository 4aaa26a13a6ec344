"""Trains the tokenizer: byte-level BPE that splits code where an editor's caret stands.

Digits are single, a newline with its indentation is one pre-token, runs of spaces are tokens. The markers bear
Qwen2.5-Coder's names, so whatever knows that family's fill-in-the-middle knows ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from model.errors import ModelError

END = "<|endoftext|>"
PREFIX, SUFFIX, MIDDLE, PAD = "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>"
FILE, PATH = "<|file_sep|>", "<|path|>"
SPECIAL = (END, PREFIX, SUFFIX, MIDDLE, PAD, FILE, PATH)

SPLIT = (
    r"\r?\n[ \t]*"  # a line's end with the next line's indentation
    r"| ?[\p{L}\p{M}_]+"  # a word or an identifier's part, with the space before it
    r"|\p{N}"  # digits one by one
    r"| ?[^\s\p{L}\p{M}_\p{N}]+"  # operators and brackets
    r"|[ \t]+(?=[ \t]\S)"  # a run of spaces, the last of which belongs to the word behind it
    r"|[ \t]+|\s"
)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learn `vocab_size` entries, markers and the 256 bytes included."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path, max_length: int) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json`, as transformers' AutoTokenizer reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "eos_token": END,
        "pad_token": PAD,
        "additional_special_tokens": [token for token in SPECIAL if token not in (END, PAD)],
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a work folder or a checkpoint; markers that stand in a file's text are plain text."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    return tokenizer


def special_id(tokenizer: Tokenizer, name: str) -> int:
    """The id of a marker; raises `ModelError` for a tokenizer that `train_tokenizer` did not make."""
    found = tokenizer.token_to_id(name)
    if found is None:
        raise ModelError(f"The tokenizer lacks {name}; delete the work folder and train again.")
    return found
