"""Text to token ids and back, byte for byte.

`HubTokenizer` wraps a checkpoint's `tokenizer.json`; `ByteTokenizer` has one token a byte and needs no file. Both are
lossless: the token bytes of an encoding, joined, are the text. Two things of a checkpoint's tokenizer are therefore
left out: Unicode normalisation (Qwen's NFC would change the user's bytes) and the space that SentencePiece puts in
front of a text (a piece of a file is not a sentence). Special tokens are never made from a file's text, so a file that
talks about `<|fim_middle|>` cannot break the prompt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as RawTokenizer

IntArray = NDArray[np.int32]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Encoded:
    """Tokens of one text.

    ids       [n] token ids
    starts    [n] byte offset of each token in the text
    boundary  [n] True where a token starts a pre-token: tokenising the rest of the text alone, from there, gives the
              same tokens. Merges never cross a boundary.
    """

    ids: IntArray
    starts: IntArray
    boundary: BoolArray

    def __len__(self) -> int:
        return len(self.ids)


class Tokenizer(Protocol):
    """What the model floor needs of a tokenizer."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def layout_ids(self) -> frozenset[int]:
        """Tokens that lay prompts out: a model that writes one has ended its answer."""
        ...

    def encode(self, text: bytes) -> Encoded:
        """Tokenise valid UTF-8; special tokens in the text are plain text."""
        ...

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for; empty for special tokens."""
        ...

    def special_id(self, token: str) -> int | None:
        """The id of an added token such as `<|fim_prefix|>`, None if there is none."""
        ...


class ByteTokenizer:
    """One token a byte: for engines that have no vocabulary of their own, and for tests."""

    vocab_size = 256
    layout_ids: frozenset[int] = frozenset()

    def encode(self, text: bytes) -> Encoded:
        ids = np.frombuffer(text, dtype=np.uint8).astype(np.int32)
        return Encoded(ids, np.arange(len(ids), dtype=np.int32), np.ones(len(ids), dtype=np.bool_))

    def token_bytes(self, token_id: int) -> bytes:
        return bytes((token_id,))

    def special_id(self, token: str) -> int | None:
        return None


class HubTokenizer:
    """A Hugging Face `tokenizer.json`, byte-level BPE or SentencePiece-like BPE with byte fallback."""

    def __init__(self, raw: RawTokenizer) -> None:
        spec = json.loads(raw.to_str())
        layout = {token["id"]: token["content"] for token in spec["added_tokens"] if _is_layout(token)}
        vocab = raw.get_vocab(with_added_tokens=True)
        self.start_ids: list[int] = raw.encode("", add_special_tokens=True).ids
        """What the tokenizer itself puts around a text, such as Llama 3's begin token."""
        self._special_ids = {content: token_id for token_id, content in layout.items()}
        self.layout_ids = frozenset(layout)
        self.vocab_size = max(vocab.values(), default=-1) + 1
        self._bytes = _token_bytes(vocab, spec, layout, self.vocab_size)
        self._lengths = np.array([len(piece) for piece in self._bytes], dtype=np.int32)
        self._is_newline = np.array([piece in (b"\n", b"\r") for piece in self._bytes], dtype=np.bool_)
        self._marks_spaces = _marks_spaces(spec)
        self._splits_words = spec["pre_tokenizer"] is not None and not _is_metaspace(spec)
        self._raw = _for_plain_text(spec)
        if not self._splits_words and any(b"\n" in piece and len(piece) > 1 for piece in self._bytes):
            raise ModelError(
                "This tokenizer joins words across lines, so a file cannot be tokenised piecewise; use another model."
            )
        self.encode(b"x = 1\n\ty")  # One that puts something in front of a text, or drops a space, is told of now.

    @classmethod
    def from_folder(cls, folder: Path) -> HubTokenizer:
        """Read `tokenizer.json`; raises `ModelError` when it is missing or broken."""
        from tokenizers import Tokenizer as RawTokenizer

        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ModelError(f"{folder} has no tokenizer.json; point `model` at a Hugging Face checkpoint folder.")
        try:
            return cls(RawTokenizer.from_file(str(path)))
        except ModelError:
            raise
        except Exception as error:  # the Rust side raises bare Exception
            raise ModelError(f"{path} cannot be read as a tokenizer ({error}); download the model again.") from error

    def encode(self, text: bytes) -> Encoded:
        plain = text.decode("utf-8")
        if self._marks_spaces:  # the mark itself cannot be written in such a vocabulary; its neighbour stands in
            plain = plain.replace("▁", "▂")
        encoding = self._raw.encode(plain, add_special_tokens=False)
        ids = np.array(encoding.ids, dtype=np.int32)
        lengths = self._lengths[ids]
        if int(lengths.sum()) != len(text):
            raise ModelError("This model's tokenizer does not keep every byte of a text; use another model.")
        starts = np.zeros(len(ids), dtype=np.int32)
        np.cumsum(lengths[:-1], out=starts[1:])
        return Encoded(ids, starts, self._boundaries(ids, encoding.word_ids))

    def _boundaries(self, ids: IntArray, word_ids: Sequence[int | None]) -> BoolArray:
        boundary = np.ones(len(ids), dtype=np.bool_)
        if self._splits_words:
            words = np.array(word_ids, dtype=np.int32)
            boundary[1:] = words[1:] != words[:-1]
        else:  # one word for the whole text: only newlines, which nothing merges with, part it
            newline = self._is_newline[ids]
            boundary[1:] = newline[1:] | newline[:-1]
        return boundary

    def token_bytes(self, token_id: int) -> bytes:
        return self._bytes[token_id] if 0 <= token_id < len(self._bytes) else b""

    def special_id(self, token: str) -> int | None:
        return self._special_ids.get(token)


def _for_plain_text(spec: dict[str, Any]) -> RawTokenizer:
    """The same vocabulary for a text that is to be kept as it is.

    Tokens that lay prompts out are gone (some families do not mark theirs as special), and of the normalizers only the
    one is left that SentencePiece vocabularies need: it writes spaces as `▁`.
    """
    from tokenizers import Tokenizer as RawTokenizer

    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    plain = spec | {
        "added_tokens": [token for token in spec["added_tokens"] if not _is_layout(token)],
        "normalizer": replace if _marks_spaces(spec) else None,
        "post_processor": None,
        "truncation": None,
        "padding": None,
    }
    if _is_metaspace(spec):
        plain["pre_tokenizer"] = None
    return RawTokenizer.from_str(json.dumps(plain))


def _is_layout(token: dict[str, Any]) -> bool:
    """Whether an added token lays prompts out, rather than standing for text such as a run of spaces."""
    return bool(token["special"] or re.fullmatch(r"▁?<.+>", token["content"]))


def _marks_spaces(spec: dict[str, Any]) -> bool:
    return _is_metaspace(spec) or '"▁"' in json.dumps(spec["normalizer"], ensure_ascii=False)


def _is_metaspace(spec: dict[str, Any]) -> bool:
    return (spec["pre_tokenizer"] or {}).get("type") == "Metaspace"


def _is_byte_level(spec: dict[str, Any]) -> bool:
    return "ByteLevel" in json.dumps([spec["pre_tokenizer"], spec["decoder"]])


_BYTE_FALLBACK = re.compile(r"<0x([0-9A-F]{2})>")


def _token_bytes(vocab: dict[str, int], spec: dict[str, Any], layout: dict[int, str], size: int) -> list[bytes]:
    """The bytes of every id; tokens that lay prompts out stand for nothing."""
    table = [b""] * size
    byte_level, byte_of = _is_byte_level(spec), _byte_level_alphabet()
    added = {token["id"] for token in spec["added_tokens"]}
    for piece, token_id in vocab.items():
        if token_id in layout:
            continue
        if token_id in added:
            table[token_id] = piece.encode("utf-8")
        elif byte_level:
            table[token_id] = bytes(byte_of[char] for char in piece if char in byte_of)
        elif fallback := _BYTE_FALLBACK.fullmatch(piece):
            table[token_id] = bytes((int(fallback[1], 16),))
        else:
            table[token_id] = piece.replace("▁", " ").encode("utf-8", errors="replace")
    return table


def _byte_level_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-ins: printable bytes are themselves, the others follow from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}
