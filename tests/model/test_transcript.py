"""Generated tokens as text, and their bytes in it."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from model.engine import Token
from model.transcript import Transcript

BYTES = [b"", b"a", b"\n", "é".encode(), "🎈".encode(), b"\xf0\x9f", b"\x8e\x88", b"\xff"]
ANY_BYTES = st.lists(st.one_of(st.sampled_from(BYTES), st.binary(max_size=3)), max_size=12)


def transcript_of(pieces: list[bytes]) -> Transcript:
    transcript = Transcript()
    for number, piece in enumerate(pieces):
        transcript.add(number, piece, -float(number))
    return transcript


def test_a_character_may_be_in_two_tokens() -> None:
    found = transcript_of([b"x", b"\xf0\x9f", b"\x8e\x88", b"y"])
    assert found.text == "x🎈y"
    assert [(token.start, token.end) for token in found.tokens()] == [(0, 1), (1, 3), (3, 5), (5, 6)]


def test_tokens_keep_their_id_and_probability_when_their_text_is_cut() -> None:
    found = transcript_of([b"ab", b"c\n", b"d"])
    found.cut(3)
    assert found.text == "abc"
    assert found.tokens() == (Token(0, 0, 2, 0.0), Token(1, 2, 3, -1.0), Token(2, 3, 3, -2.0))


def test_no_token_no_bytes() -> None:
    assert Transcript().tokens() == ()


@given(ANY_BYTES, st.integers(0, 20))
def test_tokens_tile_the_text(pieces: list[bytes], length: int) -> None:
    found = transcript_of(pieces)
    assert found.text == b"".join(pieces).decode("utf-8", errors="ignore") or not _is_whole(pieces)
    found.cut(length)
    tokens = found.tokens()
    assert [token.id for token in tokens] == [*range(len(pieces))]
    bounds = [0, *(token.end for token in tokens)]
    assert [token.start for token in tokens] == bounds[:-1]
    assert bounds == sorted(bounds)
    assert not tokens or bounds[-1] == len(found.text.encode())


@given(st.text(max_size=20), st.lists(st.integers(0, 60), max_size=6))
def test_bytes_that_are_text_stay_with_their_token(text: str, cuts: list[int]) -> None:
    data = text.encode("utf-8", errors="ignore")
    at = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(at)]
    found = transcript_of(pieces)
    assert found.text.encode() == data
    assert [data[token.start : token.end] for token in found.tokens()] == pieces


def _is_whole(pieces: list[bytes]) -> bool:
    """Whether the last character is not left half written."""
    data = b"".join(pieces)
    return data.decode("utf-8", errors="ignore") == (data + b"x").decode("utf-8", errors="ignore").removesuffix("x")
