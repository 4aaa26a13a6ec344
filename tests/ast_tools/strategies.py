"""Hypothesis strategies: texts of characters that break line and column arithmetic, and edits of them."""

from __future__ import annotations

from hypothesis import strategies as st

from ast_tools.text import Edit

PIECES = [
    *("a", "foo", "x = 1", "if x:", "    ", "\t", "\n", "\n    ", "\r\n", "\r", "\f", "\x0b", "\x1c", "\x00"),
    *("\u2028", "\x85", "é", "e\u0301", "漢", "🎈", "👩‍👩‍👧", "(", ")", "{", "}", '"', "'", "#", "//", ":", ","),
]

texts = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
short_texts = st.lists(st.sampled_from(PIECES), max_size=4).map("".join)


def boundaries(data: bytes) -> list[int]:
    """Byte offsets between characters."""
    return [i for i in range(len(data) + 1) if i in (0, len(data)) or data[i] & 0xC0 != 0x80]


@st.composite
def edits_of(draw: st.DrawFn, data: bytes) -> Edit:
    """An insertion, deletion or replacement on character boundaries."""
    places = boundaries(data)
    first = draw(st.integers(0, len(places) - 1))
    last = min(len(places) - 1, first + draw(st.sampled_from([0, 0, 0, 1, 2, 9])))
    return Edit(places[first], places[last], draw(short_texts).encode())
