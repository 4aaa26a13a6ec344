"""A text knows where its characters came from, and which of its bytes are which piece's."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast_tools.traced import TracedText
from tests.ast_tools.strategies import texts


@st.composite
def ends_in(draw: st.DrawFn, generated: str) -> list[int]:
    """The ends of pieces that tile a text: some are empty, some end inside a character."""
    size = len(generated.encode())
    return [*sorted(draw(st.lists(st.integers(0, size), max_size=12))), size]


@given(generated=texts, data=st.data())
def test_an_unchanged_text_keeps_its_pieces(generated: str, data: st.DataObject) -> None:
    ends = data.draw(ends_in(generated))
    assert list(TracedText.of(generated).map_ends(ends, generated)) == ends


def test_what_is_put_in_at_the_beginning_belongs_to_the_first_piece() -> None:
    text = TracedText("  ab", (None, None, 1, 2))
    assert text.map_ends([0, 1, 2, 3], "xab") == (2, 2, 3, 4)
    assert TracedText("  ", (None, None)).map_ends([0, 3], "xab") == (2, 2)


def test_nothing_is_left_of_any_piece() -> None:
    assert TracedText.of("xyz")[:0].map_ends([0, 1, 3], "xyz") == (0, 0, 0)


def test_operations_keep_origins() -> None:
    text = TracedText.of("ab \t")
    assert text[1:] == TracedText("b \t", (1, 2, 3))
    assert text.rstrip() == TracedText("ab", (0, 1))
    assert text[:1] + "é" + text[2:3] == TracedText("aé ", (0, None, 2))
    assert (str(text), len(text), bool(text), bool(text[:0])) == ("ab \t", 4, True, False)


@pytest.mark.parametrize(
    ("pattern", "new", "text"),
    [
        ("b+", "xyz", TracedText("axyzcxyz", (0, None, None, None, 3, None, None, None))),
        ("b+", "b", TracedText("abcb", (0, None, 3, 4))),
        ("c", "", TracedText("abbb", (0, 1, 2, 4))),
        ("d", "x", TracedText.of("abbcb")),
        ("^", "x", TracedText("xabbcb", (None, 0, 1, 2, 3, 4))),
    ],
)
def test_what_is_put_in_for_a_match_has_no_origin(pattern: str, new: str, text: TracedText) -> None:
    """A match that is replaced by itself, as the second of `b+` with `b`, keeps its own."""
    assert TracedText.of("abbcb").sub(re.compile(pattern), lambda _: new) == text
