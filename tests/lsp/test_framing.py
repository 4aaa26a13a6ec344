"""The cutter of the byte stream, without a process around it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp.wire.framing import FrameDecoder, LostStreamError


def frame(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def decode(*chunks: bytes, **limits: int) -> list[bytes]:
    decoder = FrameDecoder(**limits)
    return [body for chunk in chunks for body in decoder.feed(chunk)]


@given(st.lists(st.binary(max_size=40)), st.lists(st.integers(1, 30)))
def test_however_the_stream_is_cut_the_bodies_are_the_same(bodies: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(map(frame, bodies))
    chunks = []
    while stream:
        size = sizes.pop() if sizes else len(stream)
        chunks.append(stream[:size])
        stream = stream[size:]
    assert decode(*chunks) == bodies


@given(st.binary(max_size=300))
def test_a_message_after_any_garbage_is_found(garbage: bytes) -> None:
    """The first message may be taken for a part of the garbage; a later one may not."""
    if b"ontent-" in garbage.lower():
        return
    assert decode(garbage, b"\r\n\r\n", frame(b"one"), frame(b"two"))[-1] == b"two"


def test_a_body_longer_than_announced_costs_no_other_message() -> None:
    assert decode(b"Content-Length: 2\r\n\r\n{}{}" + frame(b"next")) == [b"{}", b"next"]


def test_of_two_lengths_the_one_next_to_the_body_counts() -> None:
    assert decode(b"Content-Length: 500\r\nContent-Length: 2\r\n\r\n{}" + frame(b"next")) == [b"{}", b"next"]


def test_an_absurd_length_is_skipped_without_waiting_for_its_body() -> None:
    assert decode(b"Content-Length: 4000000000\r\n\r\n{}" + frame(b"next")) == [b"next"]


def test_headers_end_at_bare_line_feeds_too() -> None:
    assert decode(b"Content-Length: 2\n\n{}") == [b"{}"]


def test_endless_garbage_is_given_up() -> None:
    with pytest.raises(LostStreamError):
        decode(*[b"x" * 1000] * 200, max_garbage_bytes=100_000)


def test_an_unfinished_message_is_pending() -> None:
    decoder = FrameDecoder()
    assert list(decoder.feed(frame(b"body")[:-1])) == []
    assert decoder.pending_bytes == 3
    assert list(decoder.feed(b"y")) == [b"body"]
    assert decoder.pending_bytes == 0
