"""Tokens made by editing equal tokens made from scratch, whatever the tokenizer and the edit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ast_tools.text import Edit
from model.tokenizer import ByteTokenizer
from model.tokens import TokenizedText
from tests.model.strategies import edits_of, replay, texts
from tests.model.tiny import CORPUS, TOKENIZERS, tokenizer

LONG = "\n".join(CORPUS * 30).encode()


@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=texts)
@settings(max_examples=60, deadline=None)
def test_encoding_keeps_every_byte(name: str, text: str) -> None:
    """Joined, the tokens' bytes are the text; special tokens in it are plain text."""
    tokens = tokenizer(name)
    encoded = tokens.encode(text.encode())
    joined = b"".join(tokens.token_bytes(int(i)) for i in encoded.ids).decode()
    assert joined == (text.replace("▁", "▂") if name == "sentencepiece" else text)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_editing_equals_tokenising_from_scratch(name: str, data: st.DataObject) -> None:
    """After any sequence of edits the tokens, their places and boundaries are those of the whole text."""
    tokens = TokenizedText.of(tokenizer(name), data.draw(texts).encode())
    for _ in range(data.draw(st.integers(1, 6))):
        edit = data.draw(edits_of(tokens.data))
        expected = replay(tokens.data, edit)
        tokens = tokens.apply([edit])
        assert tokens.data == expected
        tokens.check_integrity()


@pytest.mark.parametrize("name", TOKENIZERS)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_splitting_equals_tokenising_the_parts(name: str, data: st.DataObject) -> None:
    """The tokens on either side of the caret are those of the two texts, each tokenised alone."""
    tokens = TokenizedText.of(tokenizer(name), data.draw(texts).encode())
    caret = data.draw(edits_of(tokens.data)).start
    before, after = tokens.split(caret)
    assert np.array_equal(before.ids, tokens.tokenizer.encode(tokens.data[:caret]).ids)
    assert np.array_equal(after.ids, tokens.tokenizer.encode(tokens.data[caret:]).ids)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_small_edit_of_a_long_file_keeps_the_serials_of_the_rest(name: str) -> None:
    """One character typed costs a handful of new serials, wherever it is typed."""
    tokens = TokenizedText.of(tokenizer(name), LONG)
    for place in (0, len(LONG) // 3, len(LONG) // 2, len(LONG) - 1):
        at = LONG.find(b" ", place) if LONG.find(b" ", place) >= 0 else len(LONG)
        edited = tokens.apply([Edit(at, at, b"z")])
        edited.check_integrity()
        assert len(np.setdiff1d(edited.serials, tokens.serials)) <= 4


@pytest.mark.parametrize("name", TOKENIZERS)
def test_splitting_inside_a_word_cuts_that_word_only(name: str) -> None:
    tokens = TokenizedText.of(tokenizer(name), LONG)
    caret = LONG.find(b"first", len(LONG) // 2) + 2
    before, after = tokens.split(caret)
    lost = np.setdiff1d(tokens.serials, np.concatenate((before.serials, after.serials)))
    assert len(lost) <= 5


@pytest.mark.parametrize("name", TOKENIZERS)
def test_windows_do_not_end_inside_a_character(name: str) -> None:
    """A rare character is several tokens, so tokens may start inside of it, wherever the window's end falls."""
    text = "# ─── 設定 🎈 größe ───\nx = 'ほげ'\n" * 20
    tokens = TokenizedText.of(tokenizer(name), text.encode())
    for caret in range(60):
        at = len(text[:caret].encode())
        tokens.apply([Edit(at, at, b"z")]).check_integrity()
        _, after = tokens.split(at)
        assert np.array_equal(after.ids, tokens.tokenizer.encode(tokens.data[at:]).ids)


def test_splitting_between_the_tokens_of_a_word_keeps_what_follows() -> None:
    """Tokens behind the caret that the cut leaves as they were keep their serials, in a word or a whole line."""
    tokens = TokenizedText.of(tokenizer("sentencepiece"), b"x = first + second + value_of(key)  # comment\n" * 9)
    caret = int(tokens.starts[np.flatnonzero(tokens.starts > 100)[0]])
    _, after = tokens.split(caret)
    first = int(np.searchsorted(tokens.starts, caret))
    assert np.array_equal(after.ids, tokens.ids[first:])
    assert np.array_equal(after.serials, tokens.serials[first:])


def test_a_long_line_without_any_boundary_is_tokenised_right() -> None:
    """The window grows until it finds a boundary, in the worst case over the whole text."""
    tokens = TokenizedText.of(tokenizer("ours"), b"a" * 5000)
    edited = tokens.apply([Edit(2500, 2501, b"b")])
    edited.check_integrity()


def test_every_byte_is_a_token_without_a_vocabulary() -> None:
    tokens = TokenizedText.of(ByteTokenizer(), "aß🎈".encode())
    assert tokens.ids.tobytes() == np.frombuffer("aß🎈".encode(), dtype=np.uint8).astype(np.int32).tobytes()
    tokens.apply([Edit(1, 3, b"xyz")]).check_integrity()
