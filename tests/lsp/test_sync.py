"""The server's text equals the client's, whatever is edited, in each position encoding."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.lsp.client import Client, serving

URI = "file:///project/main.py"

PIECES = [
    *("a", "b", "def f():", "    ", "\t", "\n", "\n\n", "\r\n", "\r", "\f", "\v", "\x1c", "\x85", "\u2028", "\u2029"),
    *("\x00", "é", "e\u0301", "ß", "漢字", "🎈", "👩‍👩‍👧", "\ud83d", "ﬁ", "\ufeff", "(", ")", "x = 1\n"),
]
texts = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)

Change = tuple[int, int, str] | str


@st.composite
def sessions(draw: st.DrawFn) -> tuple[str, list[list[Change]]]:
    """A text, and batches of changes: (start, end, new) in characters of the text before it, or a whole text."""
    first = text = draw(texts)
    batches: list[list[Change]] = []
    for _ in range(draw(st.integers(1, 4))):
        batch: list[Change] = []
        for _ in range(draw(st.integers(1, 3))):
            new = draw(texts)
            if draw(st.integers(0, 9)) == 0:
                batch.append(new)
                text = new
            else:
                start = draw(st.integers(0, len(text)))
                end = min(len(text), start + draw(st.integers(0, 6)))
                start, end = _off_pairs(text, start), _off_pairs(text, end)
                batch.append((start, end, new))
                text = text[:start] + new + text[end:]
        batches.append(batch)
    return first, batches


def _off_pairs(text: str, offset: int) -> int:
    """Not between \\r and \\n: LSP has no position there."""
    return offset - 1 if text[:offset].endswith("\r") and text[offset:].startswith("\n") else offset


def position(text: str, offset: int, encoding: str) -> tuple[int, int]:
    """(line, column) as a client would compute it, from first principles."""
    lines = re.split(r"\r\n|\n|\r", text[:offset])
    return len(lines) - 1, sum(width(char, encoding) for char in lines[-1])


def width(char: str, encoding: str) -> int:
    if encoding == "utf-32":
        return 1
    if encoding == "utf-16":
        return 2 if ord(char) > 0xFFFF else 1
    return len(char.encode("utf-8", "surrogatepass"))


def digest(text: str) -> str:
    return hashlib.sha256(re.sub("[\ud800-\udfff]", "\ufffd", text).encode()).hexdigest()


@pytest.fixture(scope="module", params=["utf-8", "utf-16", "utf-32"])
def encoded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, str]]:
    with serving(tmp_path_factory.mktemp("server")) as client:
        client.initialize(encodings=[request.param])
        yield client, request.param


@given(session=sessions())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_servers_text_follows_the_clients(
    encoded: tuple[Client, str], session: tuple[str, list[list[Change]]]
) -> None:
    client, encoding = encoded
    text, batches = session
    client.open(URI, text)
    for number, batch in enumerate(batches, start=2):
        changes: list[tuple[int, int, int, int, str] | str] = []
        for change in batch:
            if isinstance(change, str):
                changes.append(change)
                text = change
                continue
            start, end, new = change
            changes.append((*position(text, start, encoding), *position(text, end, encoding), new))
            text = text[:start] + new + text[end:]
        client.change(URI, *changes)
        stats = client.stats(URI, digest=True)
        assert (stats["version"], stats["sha256"]) == (number, digest(text))
    client.close(URI)


@given(
    text=st.lists(st.sampled_from(PIECES), min_size=30, max_size=60).map("".join),
    places=st.lists(st.integers(0, 200), min_size=8, max_size=20),
    new=st.sampled_from(PIECES),
    length=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_replacement_everywhere(
    encoded: tuple[Client, str], text: str, places: list[int], new: str, length: int
) -> None:
    """Many changes in one message, from the text's end to its start; some overlap, and end the run of those."""
    client, encoding = encoded
    client.open(URI, text)
    changes: list[tuple[int, int, int, int, str]] = []
    for place in sorted(places, reverse=True):
        start = _off_pairs(text, min(place, len(text)))
        end = max(start, _off_pairs(text, min(place + length, len(text))))
        changes.append((*position(text, start, encoding), *position(text, end, encoding), new))
        text = text[:start] + new + text[end:]
    client.change(URI, *changes)
    assert client.stats(URI, digest=True)["sha256"] == digest(text)
    client.complete(URI, 0, 0)
    client.close(URI)


def test_changes_that_clients_write_with_nulls(encoded: tuple[Client, str]) -> None:
    client, _ = encoded
    client.open(URI, "x")
    identifier = {"uri": URI, "version": None}
    content = [{"range": None, "rangeLength": None, "text": "y"}]
    client.notify("textDocument/didChange", {"textDocument": identifier, "contentChanges": content})
    assert client.stats(URI, digest=True)["sha256"] == digest("y")
    client.close(URI)


def test_a_change_that_cannot_be_read_ends_the_document(encoded: tuple[Client, str]) -> None:
    """What it holds now is unknown: nothing is suggested for another text. Opened again it is known."""
    client, _ = encoded
    client.open(URI, "x")
    assert client.texts(URI, 0, 1) == ["hello"]
    client.notify(
        "textDocument/didChange", {"textDocument": {"uri": URI, "version": 2}, "contentChanges": [{"range": 5}]}
    )
    assert client.complete(URI, 0, 1) is None
    assert any("main.py" in message and "cannot read" in message for message in client.messages())
    client.open(URI, "x")
    assert client.texts(URI, 0, 1) == ["hello"]
    client.close(URI)


def test_a_long_session_of_typing_stays_in_step(encoded: tuple[Client, str]) -> None:
    """More edits than the log keeps, with suggestions in between."""
    client, encoding = encoded
    text = "start🎈\r\n"
    client.open(URI, text)
    for number in range(600):
        new = PIECES[number * 7 % len(PIECES)]
        offset = _off_pairs(text, number * 31 % (len(text) + 1))
        client.change(URI, (*position(text, offset, encoding), *position(text, offset, encoding), new))
        text = text[:offset] + new + text[offset:]
        if number % 50 == 0:
            client.complete(URI, *position(text, len(text), encoding))
    assert client.stats(URI, digest=True)["sha256"] == digest(text)
    client.close(URI)
