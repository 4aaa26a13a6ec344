"""A server on a real socket that does what a test says: for what a real vLLM does on bad days only."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Handler = Callable[["Request"], None]


@dataclass
class Request:
    """One request, and the ways to answer it."""

    http: BaseHTTPRequestHandler
    body: dict[str, Any]

    def header(self, name: str) -> str | None:
        return self.http.headers.get(name)

    def answer(self, found: Any, status: int = 200, **headers: str) -> None:
        """Headers are written with underscores."""
        data = found if isinstance(found, bytes) else json.dumps(found).encode()
        self.http.send_response(status)
        self.http.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.http.send_header(name.replace("_", "-"), value)
        self.http.end_headers()
        self.http.wfile.write(data)

    def stream(self, events: Iterator[Any] | list[Any]) -> None:
        """Server-sent events until they end or nobody listens any more, which raises `OSError`."""
        self.http.send_response(200)
        self.http.send_header("Content-Type", "text/event-stream")
        self.http.send_header("Connection", "close")
        self.http.end_headers()
        for event in events:
            self.http.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
            self.http.wfile.flush()
        self.http.wfile.write(b"data: [DONE]\n\n")
        self.http.close_connection = True

    def drop(self) -> None:
        """Close the connection without a word."""
        self.http.close_connection = True
        self.http.connection.close()


@dataclass
class Server:
    """`routes` are "GET /path" → what answers; `asked` all requests so far."""

    url: str
    routes: dict[str, Handler]
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)
    """Set once a client has closed a stream that was not at its end."""

    def count(self, route: str) -> int:
        return sum(asked == route for asked, _ in self.asked)


def piece(text: str, finish: str | None = None) -> dict[str, Any]:
    """One event of a completion in text."""
    return {"choices": [{"text": text, "finish_reason": finish}]}


CERTIFICATES = Path(__file__).with_name("certificates")
"""Each a key and a certificate that is its own authority: `good` and `expired` for 127.0.0.1, `other` for another."""


@contextmanager
def serving(routes: dict[str, Handler], certificate: str | None = None) -> Iterator[Server]:
    """A server on loopback for the length of a test, over TLS with a certificate. What it has no route for is 404."""

    class Http(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            route = f"{self.command} {self.path}"
            server.asked.append((route, body))
            request = Request(self, body)
            try:
                found = server.routes.get(route)
                if found is None:
                    request.answer({"error": {"message": "no such path"}}, 404)
                else:
                    found(request)
            except OSError:
                server.closed.set()
                self.close_connection = True

        do_GET = do_POST = _serve  # noqa: N815

        def log_message(self, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Http)
    http.daemon_threads = True
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATES / f"{certificate}.pem")
        http.socket = context.wrap_socket(http.socket, server_side=True)
    scheme = "http" if certificate is None else "https"
    server = Server(f"{scheme}://127.0.0.1:{http.server_address[1]}", routes)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
