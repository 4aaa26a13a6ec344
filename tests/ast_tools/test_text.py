"""Document text: incremental equals from scratch, and columns are the protocol's."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ast_tools.text import Edit, PositionEncoding, Text, diff, encode
from tests.ast_tools.strategies import boundaries, edits_of, texts

ENCODINGS = list(PositionEncoding)


def lines_of(text: str) -> list[str]:
    """The protocol's lines, written the slow way."""
    return re.split(r"\r\n|\n|\r", text)


def oracle(text: str, line: int, column: int, encoding: PositionEncoding) -> int:
    """`offset_at`, one character at a time."""
    if line < 0:
        return 0
    ends = list(re.finditer(r"\r\n|\n|\r", text))
    if line > len(ends):
        return len(text.encode())
    at = ends[line - 1].end() if line else 0
    end = ends[line].start() if line < len(ends) else len(text)
    while at < end and width(text[at], encoding) <= column:
        column -= width(text[at], encoding)
        at += 1
    return len(text[:at].encode())


def width(text: str, encoding: PositionEncoding) -> int:
    codec = {"utf-8": ("utf-8", 1), "utf-16": ("utf-16-le", 2), "utf-32": ("utf-32-le", 4)}[encoding.value]
    return len(text.encode(codec[0])) // codec[1]


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_editing_equals_making_anew(data: st.DataObject) -> None:
    """Bytes and line starts after any edits are those of the edited text; the old text is untouched."""
    text = Text.from_str(data.draw(texts))
    for _ in range(4):
        edit = data.draw(edits_of(text.data))
        before = bytes(text.data)
        edited = text.apply(edit)
        assert text.data == before
        assert edited.data == before[: edit.start] + edit.new + before[edit.end :]
        assert edited._line_starts == Text(edited.data)._line_starts
        text = edited


@given(text=texts)
@settings(max_examples=200, deadline=None)
def test_lines_are_those_of_the_protocol(text: str) -> None:
    """Only \\n, \\r\\n and \\r end a line; form feeds, U+2028 and their kind do not."""
    ours = Text.from_str(text)
    assert [ours.line(i) for i in range(ours.num_lines)] == lines_of(text)
    for offset in boundaries(ours.data):
        line = ours.line_at(offset)
        assert ours.line_start(line) <= offset
        assert line + 1 == ours.num_lines or offset < ours.line_start(line + 1)


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(text=texts)
@settings(max_examples=100, deadline=None)
def test_positions_and_offsets_agree(encoding: PositionEncoding, text: str) -> None:
    """Every character's position leads back to it and counts what the encoding counts."""
    ours = Text.from_str(text)
    for offset in boundaries(ours.data):
        line, column = ours.position_at(offset, encoding)
        start = ours.line_start(line)
        assert column == width(ours.slice(start, offset), encoding)
        if offset <= ours.line_end(line):
            assert ours.offset_at(line, column, encoding) == offset


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(text=texts, line=st.integers(-1, 12), column=st.integers(-1, 30))
@settings(max_examples=300, deadline=None)
def test_any_position_leads_to_what_the_slow_way_finds(
    encoding: PositionEncoding, text: str, line: int, column: int
) -> None:
    assert Text.from_str(text).offset_at(line, column, encoding) == oracle(text, line, column, encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("num_before", range(14))
def test_positions_in_a_line_of_many_chunks(encoding: PositionEncoding, num_before: int) -> None:
    """Long lines are counted piece by piece; characters lie across the pieces' borders."""
    text = "." * num_before + "ab漢🎈é\u2028" * 20_000
    ours = Text.from_str(text)
    border = len(ours.data[: 1 << 16].decode(errors="ignore"))
    for num_chars in (0, border - 1, border, border + 1, border + 2, 119_999, 120_000):
        column = width(text[:num_chars], encoding)
        offset = len(text[:num_chars].encode())
        assert ours.position_at(offset, encoding) == (0, column)
        assert ours.offset_at(0, column, encoding) == offset


@pytest.mark.parametrize(
    ("text", "line", "column", "encoding", "offset"),
    [
        ("ab\ncd", 0, 99, PositionEncoding.UTF16, 2),
        ("ab\r\ncd", 0, 99, PositionEncoding.UTF16, 2),
        ("ab\ncd", 9, 0, PositionEncoding.UTF16, 5),
        ("ab\ncd", -1, 5, PositionEncoding.UTF16, 0),
        ("ab\ncd", 1, -5, PositionEncoding.UTF16, 3),
        ("🎈x", 0, 1, PositionEncoding.UTF16, 0),
        ("🎈x", 0, 2, PositionEncoding.UTF16, 4),
        ("🎈x", 0, 1, PositionEncoding.UTF32, 4),
        ("🎈x", 0, 3, PositionEncoding.UTF8, 0),
        ("é\u2028x", 0, 3, PositionEncoding.UTF16, 6),
        ("", 0, 0, PositionEncoding.UTF8, 0),
    ],
)
def test_positions_outside_move_inside(
    text: str, line: int, column: int, encoding: PositionEncoding, offset: int
) -> None:
    """A position past a line, past the text or inside a character becomes the nearest one that exists."""
    assert Text.from_str(text).offset_at(line, column, encoding) == offset


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_a_difference_leads_from_one_text_to_the_other(data: st.DataObject) -> None:
    old = data.draw(texts).encode()
    new = data.draw(texts).encode()
    text = old
    for edit in diff(old, new):
        assert edit.start in boundaries(text)
        assert edit.end in boundaries(text)
        text = text[: edit.start] + edit.new + text[edit.end :]
    assert text == new


def test_a_difference_in_three_places_is_three_edits() -> None:
    """Renaming in several lines leaves the lines between alone."""
    old = b"".join(b"line %d\n" % i for i in range(100))
    new = old.replace(b"line 7\n", b"row 7\n").replace(b"line 50\n", b"").replace(b"line 90\n", b"line 90!\n")
    edits = diff(old, new)
    assert len(edits) == 3
    assert sum(len(edit.new) + edit.end - edit.start for edit in edits) < 30


def test_a_difference_of_texts_with_few_distinct_lines_is_one_edit() -> None:
    """Matching lines that all look alike would take a second."""
    old, new = b"a\nb\n" * 200, b"b\nc\na\n" * 150
    assert len(diff(old, new)) == 1


def test_lone_surrogates_become_replacement_characters() -> None:
    """JSON can carry them and UTF-8 cannot; the stand-in is as wide."""
    assert encode("a\ud83cb") == "a\ufffdb".encode()


@given(text=st.text(st.sampled_from(["a", "\ud83c", "\udf88", "🎈", "\n", "\r"]), max_size=20))
@settings(max_examples=100, deadline=None)
def test_lone_surrogates_leave_every_column_where_it_was(text: str) -> None:
    """A client counts the surrogates that it sent as one unit each, and so do we."""
    ours = Text.from_str(text)
    for number, line in enumerate(lines_of(text)):
        for index in range(len(line) + 1):
            column = len(line[:index].encode("utf-16-le", "surrogatepass")) // 2
            offset = ours.offset_at(number, column, PositionEncoding.UTF16)
            assert ours.slice(ours.line_start(number), offset) == encode(line[:index]).decode()


def test_an_edit_at_a_split_line_ending() -> None:
    """Putting a character between \\r and \\n makes two lines of one."""
    assert Text.from_str("a\r\nb").apply(Edit(2, 2, b"x")).num_lines == 3
