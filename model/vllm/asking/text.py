"""Prompts as text, for servers whose tokenizer is not to be had: one token a byte, and one for each marker."""

from __future__ import annotations

import re

import numpy as np

from model.prompts.formats import FORMATS, Format
from model.tokenizer import ByteTokenizer, IntArray

BYTES_PER_TOKEN = 2
"""Of dense source code; most has three or four, and a prompt that is too long for its server is refused."""


def format_of(model_name: str) -> Format | None:
    """The fill-in-the-middle markers of a model, as far as its name tells."""
    return next((found for found in FORMATS if re.search(found.models, model_name, re.IGNORECASE)), None)


class TextTokenizer(ByteTokenizer):
    """Bytes, and behind them a family's markers, which the server reads out of the text."""

    def __init__(self, markers: Format | None) -> None:
        self._markers = [markers.prefix, markers.suffix, markers.middle] if markers else []
        special = {*self._markers, *markers.ends} if markers else set()
        self._special = re.compile("|".join(re.escape(_as_text(marker).strip()) for marker in special) or r"(?!)")

    @property
    def knows_markers(self) -> bool:
        return bool(self._markers)

    @property
    def vocab_size(self) -> int:  # type: ignore[override]
        return 256 + len(self._markers)

    def special_id(self, token: str) -> int | None:
        return 256 + self._markers.index(token) if token in self._markers else None

    def token_bytes(self, token_id: int) -> bytes:
        return bytes((token_id,)) if token_id < 256 else b""

    def text(self, ids: IntArray) -> str:
        """A prompt as the server gets it; a character that a window has cut is left out.

        A marker in the file's own text is broken up: the server would read it as one.
        """
        parts = []
        for piece in np.split(ids, np.flatnonzero(ids >= 256)):
            is_marked = len(piece) and piece[0] >= 256
            parts.append(_as_text(self._markers[int(piece[0]) - 256]) if is_marked else "")
            text = piece[1 if is_marked else 0 :].astype(np.uint8).tobytes().decode("utf-8", errors="ignore")
            parts.append(self._special.sub(lambda found: found[0][0] + "\u200b" + found[0][1:], text))
        return "".join(parts)

    def without_markers(self, answer: str) -> str:
        """An answer up to its first marker, which some servers write out."""
        return self._special.split(answer, maxsplit=1)[0]


def _as_text(marker: str) -> str:
    """SentencePiece writes the space in front of a token as "▁"; elsewhere the character means itself."""
    return re.sub("^▁", " ", marker)
