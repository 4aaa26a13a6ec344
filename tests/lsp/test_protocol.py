"""What a client may do wrong, and what the server makes of it: one reply to each request, and it lives on."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from lsp.server import KeyturnServer
from lsp.wire.transport import StdoutWriter
from tests.lsp.client import PATIENCE, Client, ServerError, environment, serving

URI = "file:///project/main.py"


def code_of(client: Client, method: str, params: object = None) -> int:
    with pytest.raises(ServerError) as caught:
        client.request(method, params)
    assert "Traceback" not in str(caught.value)
    return caught.value.code


def test_an_orderly_end_exits_with_0(server: Client) -> None:
    assert server.shut_down() == 0


def test_exit_without_shutdown_exits_with_1(server: Client) -> None:
    server.notify("exit")
    assert server.exit_status() == 1


def test_exit_before_initialize_exits_with_1(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        client.notify("exit")
        assert client.exit_status() == 1


def test_a_closed_stream_without_shutdown_exits_with_1(server: Client) -> None:
    assert server.process.stdin is not None
    server.process.stdin.close()
    assert server.exit_status() == 1


def test_a_closed_stream_after_shutdown_exits_with_0(server: Client) -> None:
    server.request("shutdown")
    assert server.process.stdin is not None
    server.process.stdin.close()
    assert server.exit_status() == 0


def test_a_client_that_never_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its messages would pile up without end."""
    monkeypatch.setattr("lsp.wire.protocol._MAX_UNREAD_BYTES", 2**20)
    read_end, write_end = os.pipe()

    async def talk() -> tuple[int, int]:
        protocol = KeyturnServer().protocol
        ends: list[None] = []
        writer = StdoutWriter(os.fdopen(write_end, "wb"), lambda: ends.append(None))
        protocol.connect(writer)
        num_messages = 0
        while not protocol.exit_code.done():
            protocol.receive(b"garbage")
            num_messages += 1
            assert num_messages < 100_000
        unread = writer.unread_bytes
        os.close(read_end)
        await writer.finish()
        assert ends == [None] and writer.unread_bytes == 0
        return protocol.exit_code.result(), unread

    code, unread = asyncio.run(talk())
    assert code == 1
    assert 2**20 < unread < 2**20 + 1000


def test_a_request_in_flight_does_not_hold_up_the_end(server: Client) -> None:
    server.open(URI, "never(")
    pending = server.start_completion(URI, 0, 6)
    assert server.shut_down() == 0
    assert [reply["error"]["code"] for reply in server.replies[pending]] == [-32800]


def test_requests_before_initialize_are_refused(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        assert code_of(client, "textDocument/inlineCompletion", {}) == -32002
        assert code_of(client, "shutdown") == -32002
        client.initialize()
        assert client.stats(URI)["counts"] is None


@pytest.mark.parametrize(
    "announced",
    [
        {"capabilities": {"textDocument": {"publishDiagnostics": {"tagSupport": {"valueSet": [1, 2, -1, -2]}}}}},
        {"capabilities": {"workspace": {"symbol": {"symbolKind": {"valueSet": [1, 99]}}, "configuration": True}}},
        {"capabilities": {"general": {"markdown": 5, "positionEncodings": ["utf-9", "utf-8"]}}},
        {"trace": "compact"},
    ],
)
def test_clients_may_announce_what_nobody_has_heard_of(tmp_path: Path, announced: dict[str, Any]) -> None:
    with serving(tmp_path) as client:
        result = client.request("initialize", {"processId": None, "rootUri": None, "capabilities": {}} | announced)
        knows_utf8 = "general" in announced.get("capabilities", {})
        assert result["capabilities"]["positionEncoding"] == ("utf-8" if knows_utf8 else "utf-16")
        client.notify("initialized", {})
        client.open(URI, "pri")
        assert client.texts(URI, 0, 3) == ["hello"]


@pytest.mark.parametrize("params", [None, {}, {"capabilities": 5}, {"capabilities": {}, "processId": "x"}])
def test_an_initialize_that_says_too_little_is_refused(tmp_path: Path, params: object) -> None:
    with serving(tmp_path) as client:
        assert code_of(client, "initialize", params) == -32602
        client.initialize()


def test_initialize_is_accepted_once(shared: Client) -> None:
    assert code_of(shared, "initialize", {"processId": None, "rootUri": None, "capabilities": {}}) == -32600


def test_requests_after_shutdown_are_refused(server: Client) -> None:
    server.request("shutdown")
    assert code_of(server, "keyturn/stats", {"uri": URI}) == -32600
    server.open(URI, "pri")
    server.notify("exit")
    assert server.exit_status() == 0


@pytest.mark.parametrize(
    "params",
    [
        None,
        5,
        [],
        {},
        {"textDocument": {"uri": URI}, "position": {"line": -1, "character": 0}, "context": {"triggerKind": 2}},
        {"textDocument": {"uri": URI}, "position": {"line": "one", "character": 0}, "context": {"triggerKind": 2}},
        {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 0}, "context": {"triggerKind": 9}},
        {"textDocument": 5, "position": {"line": 0, "character": 0}, "context": {"triggerKind": 2}},
    ],
)
def test_invalid_params_are_answered(shared: Client, params: object) -> None:
    assert code_of(shared, "textDocument/inlineCompletion", params) == -32602
    shared.open(URI, "pri")
    assert shared.texts(URI, 0, 3) == ["nt(value)"]


def test_other_misuse_is_answered(shared: Client) -> None:
    assert code_of(shared, "textDocument/noSuchThing", {}) == -32601
    assert code_of(shared, "textDocument/didOpen", {}) == -32601
    assert code_of(shared, "keyturn/stats", {"uri": 5}) == -32602
    assert code_of(shared, "keyturn/stats") == -32602
    assert code_of(shared, "workspace/executeCommand", {"command": "no.such"}) == -32602
    assert shared.request("workspace/executeCommand", {"command": "keyturn.accepted"}) is False
    assert shared.request("workspace/executeCommand", {"command": "keyturn.accepted", "arguments": [{}]}) is False


def test_unknown_and_invalid_notifications_are_ignored(shared: Client) -> None:
    shared.notify("$/unheardOf", {"a": 1})
    shared.notify("no/such/thing")
    shared.notify("textDocument/didOpen", {"textDocument": 5})
    shared.notify("textDocument/didChange", {"contentChanges": "none"})
    shared.notify("textDocument/inlineCompletion", {})
    shared.notify("$/cancelRequest", {"id": 12345})
    shared.notify("$/cancelRequest", 7)
    shared.change("file:///never/opened.py", (0, 0, 0, 0, "x"))
    shared.close("file:///never/opened.py")
    assert shared.stats(URI)["version"] is None
    assert shared.messages() == []


def test_a_document_that_was_never_opened_has_no_suggestion(shared: Client) -> None:
    assert shared.complete("file:///never/opened.py", 3, 4) is None
    assert shared.complete("not a uri at all", 0, 0) is None


BAD_BODIES = [b"{", b"", b"\xff\xfe\x00", b"[" * 100_000, b'{"jsonrpc": "2.0", "id": 1e999999', b"nul"]
BAD_BODIES += [b'{"jsonrpc": "2.0", "id": NaN, "method": "keyturn/stats"}']


@pytest.mark.parametrize("body", BAD_BODIES, ids=lambda body: repr(body[:12]))
def test_a_body_that_is_not_json_is_answered_without_an_id(shared: Client, body: bytes) -> None:
    shared.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    with pytest.raises(ServerError) as caught:
        shared.reply(None)
    assert caught.value.code == -32700
    assert shared.stats(URI)["counts"] is None


BAD_MESSAGES: list[Any] = [
    5,
    [],
    {},
    {"jsonrpc": "2.0"},
    {"id": None, "method": "shutdown"},
    {"id": 1.5, "method": "x"},
]


@pytest.mark.parametrize("message", BAD_MESSAGES, ids=repr)
def test_json_that_is_no_message_is_answered(shared: Client, message: object) -> None:
    shared.send(message)
    with pytest.raises(ServerError) as caught:
        shared.reply(None)
    assert caught.value.code == -32600
    assert shared.stats(URI)["counts"] is None


def test_responses_that_nobody_waits_for_are_ignored(shared: Client) -> None:
    shared.send({"jsonrpc": "2.0", "id": "unknown", "result": 5})
    shared.send({"jsonrpc": "2.0", "id": "unknown", "error": None})
    assert shared.stats(URI)["counts"] is None


def test_an_id_in_flight_cannot_be_used_again(shared: Client) -> None:
    shared.open(URI, "never(")
    first = shared.start_completion(URI, 0, 6)
    shared.send({"jsonrpc": "2.0", "id": first, "method": "keyturn/stats", "params": {"uri": URI}})
    with pytest.raises(ServerError) as caught:
        shared.reply(first)
    assert caught.value.code == -32600
    shared.cancel(first)
    replies = shared.wait(lambda: len(shared.replies[first]) == 2 and shared.replies[first])
    assert replies[1]["error"]["code"] == -32800


@pytest.mark.parametrize(
    "garbage",
    [
        b"hello there\r\n\r\n",
        b"Content-Length: abc\r\n\r\n",
        b"Content-Length: -5\r\n\r\n",
        b"Content-Length: 99999999999999\r\n\r\n",
        b"Content-Length: 999999999999999999999999999999\r\n\r\n{}",
        b"Content-Type: text/plain\r\n\r\n",
        b"\r\n\r\n\r\n",
        bytes(range(256)) * 100,
    ],
    ids=lambda garbage: repr(garbage[:20]),
)
def test_garbage_between_messages_is_skipped(shared: Client, garbage: bytes) -> None:
    before = psutil.Process(shared.process.pid).memory_info().rss
    shared.write(garbage)
    assert shared.stats(URI)["counts"] is None
    assert psutil.Process(shared.process.pid).memory_info().rss - before < 20 * 1024 * 1024


def test_endless_garbage_ends_the_server(server: Client) -> None:
    try:
        for _ in range(64):
            server.write(b"x" * 65536)
    except BrokenPipeError:
        pass
    assert server.exit_status() == 1


def test_headers_are_read_as_generously_as_http_does(shared: Client) -> None:
    body = b'{"jsonrpc": "2.0", "id": "h", "method": "keyturn/stats", "params": {"uri": ""}}'
    shared.write(b"content-type: application/vscode-jsonrpc; charset=utf-8\r\nCONTENT-LENGTH:%d\r\n\r\n" % len(body))
    for byte in body:
        shared.write(bytes([byte]))
    assert shared.reply("h")["counts"] is None


def test_stray_output_does_not_reach_the_client(tmp_path: Path) -> None:
    code = """
import os
from lsp.session.documents import Documents
from lsp.server import serve_stdio
opened = Documents.open
def noisy(self, item):
    print("stray", flush=True)
    os.write(1, b"stray")
    os.system("echo stray")
    return opened(self, item)
Documents.open = noisy
raise SystemExit(serve_stdio())
"""
    with serving(tmp_path, command=("-c", code)) as client:
        client.initialize()
        client.open(URI, "x = ")
        assert client.texts(URI, 0, 4) == ["hello"]
        assert client.shut_down() == 0
    assert (tmp_path / "stderr.log").read_text().count("stray") == 3


def test_a_killed_client_takes_the_server_with_it(tmp_path: Path) -> None:
    code = """
import subprocess, sys
server = subprocess.Popen([sys.executable, "-m", "lsp.cli", "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
body = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"processId":null,"rootUri":null,"capabilities":{}}}'
server.stdin.write(b"Content-Length: %d\\r\\n\\r\\n%b" % (len(body), body))
server.stdin.flush()
server.stdout.readline()
print(server.pid, flush=True)
server.wait()
"""
    client = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment(tmp_path, {}), cwd=tmp_path
    )
    assert client.stdout is not None
    server = psutil.Process(int(client.stdout.readline()))
    client.kill()
    client.wait()
    client.stdout.close()
    server.wait(PATIENCE)


def test_the_death_of_the_editors_process_ends_the_server(tmp_path: Path) -> None:
    """Even when the pipe stays open, as it does when a child of the editor holds it."""
    editor = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with serving(tmp_path) as client:
        client.request("initialize", {"processId": editor.pid, "rootUri": None, "capabilities": {}})
        editor.kill()
        editor.wait()
        assert editor.stdin is not None
        editor.stdin.close()
        assert client.exit_status() == 1


def listening(folder: Path) -> subprocess.Popen[bytes]:
    """A server on a free TCP port."""
    return subprocess.Popen(
        [sys.executable, "-m", "lsp.cli", "serve", "--tcp", "127.0.0.1:0"],
        stderr=subprocess.PIPE,
        env=environment(folder, {}),
        cwd=folder,
    )


def connected(process: subprocess.Popen[bytes]) -> socket.socket:
    """A connection to the port that the server names."""
    assert process.stderr is not None
    port = int(process.stderr.readline().rsplit(b":", 1)[1])
    return socket.create_connection(("127.0.0.1", port), PATIENCE)


def test_tcp_serves_one_client(tmp_path: Path) -> None:
    process = listening(tmp_path)
    with connected(process) as connection:
        for body in (
            b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"processId":null,"rootUri":null,"capabilities":{}}}',
            b'{"jsonrpc":"2.0","id":2,"method":"shutdown"}',
            b'{"jsonrpc":"2.0","method":"exit"}',
        ):
            connection.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    assert received.count(b"Content-Length") == 2
    assert process.wait(PATIENCE) == 0
    assert process.stderr is not None
    process.stderr.close()


def test_a_tcp_client_that_breaks_off_is_no_wrong_use(tmp_path: Path) -> None:
    process = listening(tmp_path)
    with connected(process) as connection:
        connection.sendall(b"Content-Length: 2\r\n\r\n[]")
        connection.recv(1)
        # Closing now resets the connection.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert process.stderr is not None
    assert (process.wait(PATIENCE), process.stderr.read()) == (1, b"")
    process.stderr.close()


def test_nothing_heavy_is_imported_before_initialize_is_answered() -> None:
    code = """
import sys, lsp, lsp.server, lsp.cli
heavy = {"torch", "transformers", "tokenizers", "numpy", "tree_sitter", "rich"} & set(sys.modules)
sys.exit(f"imported: {sorted(heavy)}" if heavy else 0)
"""
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    )
