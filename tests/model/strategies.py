"""Hypothesis strategies for texts that break things, and for edits of them."""

from __future__ import annotations

from hypothesis import strategies as st

from ast_tools.text import Edit

PIECES = [
    *("a", "b", "foo", "self.x", "return", "def f(x):", "value_of", "1234", "  ", "    ", "\t", "\n", "\n\n", "\n    "),
    *("\r\n", "\r", "\f", "\x1c", "\x00", "\u2028", "\x85", "é", "e\u0301", "größe", "漢字", "🎈", "👩‍👩‍👧", "ﬁ", " "),
    *("):", "()", "'s", "'", '"', "{", "}", ";", "# ", "//", "...", "==", "<|fim_middle|>", "<s>", "▁", "<0x0A>"),
    *("        x = y\n", "    return None\n\n\n", "class A:\n"),
]

texts = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)
short_texts = st.lists(st.sampled_from(PIECES), max_size=5).map("".join)


@st.composite
def edits_of(draw: st.DrawFn, data: bytes) -> Edit:
    """An insertion, deletion or replacement on character boundaries, mostly small."""
    boundaries = [0, *(i for i in range(1, len(data)) if data[i] & 0xC0 != 0x80), len(data)]
    first = draw(st.integers(0, len(boundaries) - 1))
    last = min(len(boundaries) - 1, first + draw(st.sampled_from([0, 0, 0, 1, 1, 2, 5, 40])))
    return Edit(boundaries[first], boundaries[last], draw(short_texts).encode())


def replay(data: bytes, edit: Edit) -> bytes:
    return data[: edit.start] + edit.new + data[edit.end :]
