"""Floods and monsters: always one reply each, no wedge, and memory back to where it was."""

from __future__ import annotations

import psutil
import pytest

from tests.lsp.client import Client

URI = "file:///project/main.py"
MEBIBYTE = 1024 * 1024


def resident(client: Client) -> int:
    return int(psutil.Process(client.process.pid).memory_info().rss)


def flood(client: Client, num_requests: int, *, cancel: bool) -> None:
    """Send requests that would never finish, each withdrawn by the next; every one gets exactly one reply."""
    ids = []
    for _ in range(num_requests):
        ids.append(client.start_completion(URI, 0, 6))
        if cancel and len(ids) > 1:
            client.cancel(ids[-2])
    client.cancel(ids[-1])
    client.wait(lambda: all(client.replies[msg_id] for msg_id in ids))
    client.stats(URI)
    assert [len(client.replies[msg_id]) for msg_id in ids] == [1] * num_requests
    assert {client.replies[msg_id][0]["error"]["code"] for msg_id in ids} == {-32800}


@pytest.mark.parametrize("cancel", [False, True], ids=["superseded", "cancelled by the client"])
def test_a_flood_of_requests_leaves_nothing_behind(server: Client, cancel: bool) -> None:
    server.open(URI, "never(" + "\n# padding" * 2000)
    # The process grows to what a flood takes during the first two or three of them, and then no more.
    for _ in range(4):
        flood(server, 1000, cancel=cancel)
    before = resident(server)
    flood(server, 1000, cancel=cancel)
    assert resident(server) - before < 4 * MEBIBYTE
    server.change(URI, "pri")
    assert server.texts(URI, 0, 3) == ["nt(value)"]
    assert server.shut_down() == 0


def test_a_flood_of_changes_is_taken_in(shared: Client) -> None:
    shared.open(URI, "")
    for number in range(2000):
        shared.change(URI, (0, number, 0, number, "x"))
    shared.change(URI, (0, 2000, 0, 2000, " pri"))
    assert shared.texts(URI, 0, 2004) == ["nt(value)"]
    assert shared.stats(URI)["version"] == 2002


def test_a_client_that_does_not_read_cannot_stop_the_server(shared: Client) -> None:
    """Replies of more than any pipe holds are queued while requests keep coming in."""
    shared.open(URI, "pri")
    ids = [shared.start("keyturn/stats", {"uri": URI, "digest": True}) for _ in range(3000)]
    for msg_id in ids:
        assert shared.reply(msg_id)["version"] == 1


def test_a_line_of_five_megabytes(shared: Client) -> None:
    size = 5 * MEBIBYTE
    shared.open(URI, "x" * size)
    shared.change(URI, (0, size, 0, size, " pri"))
    assert shared.texts(URI, 0, size + 4) == ["nt(value)"]
    shared.change(URI, (0, 3, 0, 5, "yy"))
    assert shared.texts(URI, 0, size + 4) == ["nt(value)"]


def test_a_binary_file(shared: Client) -> None:
    content = bytes(range(256)).decode("latin-1") * 2000
    shared.open(URI, content, language="plaintext")
    shared.change(URI, (0, 0, 5, 3, "\x00\x01"))
    assert shared.complete(URI, 10, 3) is not None
    assert shared.complete(URI, 1_000_000, 0) is not None


def test_large_documents_leave_with_their_memory(server: Client) -> None:
    """Text and line index of each are some 3 MiB, its tree is more. A process that keeps them grows by 33 and more."""

    def visit() -> int:
        server.open(URI, "line = 'some text'\n" * 50_000)
        server.texts(URI, 20_000, 3)
        server.close(URI)
        server.stats(URI)
        return resident(server)

    before = max(visit() for _ in range(6))
    for _ in range(10):
        visit()
    after = min(visit() for _ in range(4))  # the allocator takes its time, what is kept does not go
    assert after - before < 25 * MEBIBYTE
