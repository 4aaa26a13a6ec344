"""A finished text knows where its characters came from, and which of its bytes are which piece's."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ast_tools.caret import CaretContext
from ast_tools.languages import LANGUAGES
from ast_tools.scope import caret_context, finish
from ast_tools.text import Text
from ast_tools.traced import TracedText
from tests.ast_tools.strategies import boundaries, texts
from tests.ast_tools.test_scope import BY_NAME, context_of

PLACES = [
    ("python", "if a:\n\tb\nif x:|\n"),
    ("python", "if a:\n  b\nif x:|\ny = 1\n"),
    ("python", "if a:\n    b\nif x:\n    |\ny = 1\n"),
    ("python", "def f():\n    a = 1\n    |\n    return a\n"),
    ("python", "foo(bar(|)) + 1\n"),
    ("python", "x = ['|']\r\n"),
    ("javascript", "f() {\n  g();\n  if (x) {|});\n"),
    ("javascript", "function f() {|}\n"),
    ("go", "func f() {\n\tg()\n\tif x {|\n"),
    ("c", "int f() {\n  a;\n  while (x) {|}\n    y();\n}\n"),
    (None, "if x then\n  y\nif x then|\n"),
    (None, "  x {\n    y\n  }\n  x {|}\n"),
]
"""Places where much of what is generated is cut, re-indented or moved."""

LINES = ["x = 1", "é = '🎈'", "if y:", "f(a, 'b')", "🎈", "", "}", "});", ")", "\u2028", "\f", "y = 1", "y();"]

blocks = st.lists(
    st.tuples(
        st.sampled_from(["", "  ", "    ", "      ", "        ", "\t", "\t\t", " \t"]),
        st.sampled_from(LINES),
        st.sampled_from(["\n", "\n", "\r\n", "\r"]),
    ),
    max_size=8,
).map(lambda lines: "".join(piece for line in lines for piece in line))
"""Lines of a block that knows no style of its own."""

generated_texts = texts | blocks | st.tuples(st.sampled_from(["\n", "\r\n", "\r"]), blocks).map("".join)


@st.composite
def contexts(draw: st.DrawFn) -> CaretContext:
    """What surrounds a caret, in a random text or in a place where much happens."""
    if draw(st.booleans()):
        language, source = draw(st.sampled_from(PLACES))
        context = context_of(source, BY_NAME[language] if language else None)
    else:
        text = Text.from_str(draw(texts))
        caret = draw(st.sampled_from(boundaries(text.data)))
        context = caret_context(text, None, caret, draw(st.sampled_from([None, *LANGUAGES])))
    return replace(context, kind=draw(st.sampled_from(["line", "block", context.kind, context.kind])))


@st.composite
def ends_in(draw: st.DrawFn, generated: str) -> list[int]:
    """The ends of pieces that tile a text: some are empty, some end inside a character."""
    size = len(generated.encode())
    return [*sorted(draw(st.lists(st.integers(0, size), max_size=12))), size]


def finished(place: str, generated: str, language: str = "python") -> TracedText:
    return finish(context_of(place, BY_NAME[language]), generated)


def pieces_of(data: bytes, ends: list[int]) -> list[bytes]:
    return [data[start:end] for start, end in pairwise([0, *ends])]


def check(place: str, pieces: list[str | bytes], shown: list[str | bytes], language: str = "python") -> None:
    """What is shown of each piece that was generated."""
    data = [piece.encode() if isinstance(piece, str) else piece for piece in pieces]
    generated = b"".join(data).decode()
    text = finished(place, generated, language)
    ends = text.map_ends([sum(map(len, data[: number + 1])) for number in range(len(data))], generated)
    assert pieces_of(str(text).encode(), list(ends)) == [
        piece.encode() if isinstance(piece, str) else piece for piece in shown
    ]


@given(context=contexts(), generated=generated_texts, is_complete=st.booleans())
@settings(max_examples=500, deadline=None)
def test_origins_tell_where_characters_came_from(context: CaretContext, generated: str, is_complete: bool) -> None:
    """What has an origin is the character there, the origins rise, and only white space and a comma have none."""
    text = finish(context, generated, is_complete=is_complete)
    assert len(text.origins) == len(text) == len(str(text))
    origins = [origin for origin in text.origins if origin is not None]
    assert all(first < second for first, second in pairwise(origins))
    for char, origin in zip(str(text), text.origins, strict=True):
        if origin is None:
            assert char in " \t\n,"
        else:
            assert char == generated[origin]


@given(data=st.data(), context=contexts(), generated=generated_texts, is_complete=st.booleans())
@settings(max_examples=500, deadline=None)
def test_the_mapped_pieces_tile_the_text(
    data: st.DataObject, context: CaretContext, generated: str, is_complete: bool
) -> None:
    """A byte that was kept stays in its piece, one that was put in is in the piece of the byte before it."""
    ends = data.draw(ends_in(generated))
    text = finish(context, generated, is_complete=is_complete)
    mapped = text.map_ends(ends, generated)
    origins = byte_origins(text, generated)
    assert len(mapped) == len(ends)
    assert list(mapped) == sorted(mapped)
    assert mapped[-1] == len(origins)
    for (first, last), (start, end) in zip(pairwise([0, *ends]), pairwise([0, *mapped]), strict=True):
        kept = [origin for origin in origins[start:end] if origin is not None]
        assert kept == [origin for origin in range(first, last) if origin in origins]
    for place, origin in enumerate(origins):
        if origin is None:
            assert bisect_right(mapped, place) == (bisect_right(mapped, place - 1) if place else 0)


def byte_origins(text: TracedText, generated: str) -> list[int | None]:
    """For each byte of a text its own offset in the generated text's UTF-8."""
    origins: list[int | None] = []
    for char, origin in zip(str(text), text.origins, strict=True):
        first = None if origin is None else len(generated[:origin].encode())
        origins += [None if first is None else first + number for number in range(len(char.encode()))]
    return origins


@given(generated=texts, data=st.data())
def test_an_unchanged_text_keeps_its_pieces(generated: str, data: st.DataObject) -> None:
    ends = data.draw(ends_in(generated))
    assert list(TracedText.of(generated).map_ends(ends, generated)) == ends


def test_indentation_that_was_changed_belongs_to_the_line_ending() -> None:
    pieces = ["\n", "    ", "if y", ":\n        ", "z"]
    check("if a:\n\tb\nif x:|\n", pieces, ["\n\t", "", "if y", ":\n\t\t", "z"])


def test_indentation_as_the_file_has_it_stays_with_its_piece() -> None:
    check("if a:\n\tb\nif x:|\n", ["\n", "\t", "y"], ["\n", "\t", "y"])
    assert None not in finished("if a:\n  b\nif x:|\n", "\n  y\n  z").origins


def test_of_a_windows_line_ending_the_line_feed_stays() -> None:
    text = finished("if x:|\n", "\r\n    y\r\n    z\r\n")
    assert str(text) == "\n    y\n    z"
    assert text.origins == (*range(1, 7), *range(8, 14))
    check("if x:|\n", ["\r", "\n    y", "\r\n", "    z"], ["", "\n    y", "\n", "    z"])


def test_a_changed_line_ending_has_no_origin() -> None:
    assert finished("if x:|\n", "\r    y\r    z").origins == (None, *range(1, 6), None, *range(7, 12))
    check("if x:|\n", ["\r", "    y", "\r", "    z"], ["\n", "    y\n", "", "    z"])


def test_a_bracket_that_the_file_has_leaves_an_empty_piece() -> None:
    check("foo(bar(|))\n", ["x", "[0]", "))", "\n", "y"], ["x", "[0]", "", "", ""])


def test_a_piece_is_cut_in_its_middle() -> None:
    check("foo(bar(|)\n", ["x", "))\n"], ["x", ")"])


def test_text_that_moved_up_to_the_caret_keeps_its_origins() -> None:
    check("def f():\n    a = 1\n    |\n", ["\n", "    ret", "urn a", "\n"], ["", "ret", "urn a", ""])


def test_pieces_that_end_inside_a_character_still_do() -> None:
    balloon = [bytes([byte]) for byte in "🎈".encode()]
    check("if a:\n\tb\nif x:|\n", ["\n    'é", *balloon, " y'"], ["\n\t'é", *balloon, " y'"])
    check("x = '|é'\n", [*balloon, b"\xc3", b"\xa9'"], [*balloon, b"", b""])


def test_the_line_below_a_block_belongs_to_its_last_byte() -> None:
    """What stands behind the caret goes on a line of its own; an empty piece takes none of it."""
    place = "f(() => {\n  g();\n  if (x) {|});\n"
    check(place, ["\n    ", "h();", "", "\n  ", "}"], ["\n    ", "h();\n  ", "", "", ""], "javascript")


def test_what_is_in_front_of_a_line_that_the_file_has_keeps_its_origins() -> None:
    """The line equals the file's only once it is indented as the file is."""
    place = "if (a) {\n  b();\n  while (x) {|}\n    y();\n}\n"
    check(place, ["\n\t\t", "z();", "\n", "\t\ty", "();\n"], ["\n    ", "z();\n  ", "", "", ""], "c")


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
