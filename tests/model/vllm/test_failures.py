"""Failures while a connection is made: each is named as what it is, and the stand-in answers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from ast_tools.text import Text
from model.errors import KeyturnError
from model.request import Request
from model.snapshot import Snapshot
from model.vllm.asking import fallback, http
from model.vllm.asking.address import Address
from model.vllm.asking.failures import ServerAway
from model.vllm.asking.http import Connection
from tests.model.vllm.scripted_server import CERTIFICATES, Handler, piece, serving
from tests.model.vllm.scripted_server import Request as HttpRequest
from tests.model.vllm.stand_in import site, with_stand_in

ROUTES: dict[str, Handler] = {
    "GET /v1/models": lambda request: request.answer({"data": [{"id": "m"}]}),
    "POST /v1/completions": lambda request: request.stream([piece("remote")]),
}
GOOD, OTHER, EXPIRED = (str(CERTIFICATES / f"{name}.pem") for name in ("good", "other", "expired"))


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


def question() -> Request:
    return Request(Snapshot("file:///a.py", Text.from_str("x = ")), 4)


def check(address: Address, folder: Path, says: str) -> None:
    """The stand-in answers in the server's place, and one sentence says why. Nothing said: the server answers."""
    notices: list[str] = []
    completer = with_stand_in(site(address), folder, notices)
    for _ in range(2):
        assert completer.complete(question()).text == ("local" if says else "remote")
    if not says:
        assert not notices
        return
    [notice] = notices
    assert says in notice
    assert notice.endswith(" The embedded model stands in for it.")


@pytest.mark.parametrize(
    ("certificate", "scheme", "ca_file", "says"),
    [
        ("good", "https", GOOD, ""),
        ("good", "https", None, "is not trusted (self-signed certificate); set `ca_file` to its authority's."),
        ("good", "https", OTHER, "is not trusted (self-signed certificate); `ca_file` must have its authority."),
        ("other", "https", OTHER, "certificate is not valid for '127.0.0.1'.); `url` must have a name that it is made"),
        ("expired", "https", EXPIRED, "is not trusted (certificate has expired); it has to be renewed."),
        ("good", "http", None, "speaks HTTPS; begin `url` with https://."),
        (None, "https", None, "; if it speaks HTTP, begin `url` with http://."),
        (None, "http", None, ""),
    ],
)
def test_tls(certificate: str | None, scheme: str, ca_file: str | None, says: str, tmp_path: Path) -> None:
    with serving(ROUTES, certificate) as server:
        check(Address(f"{scheme}://{server.url.partition('://')[2]}", ca_file=ca_file), tmp_path, says)


def test_a_front_that_answers_http_with_a_word_about_https(tmp_path: Path) -> None:
    """As nginx does: the port speaks both, and HTTP gets status 400."""
    with serving({}, "good") as tls, serving({}) as plain, both(plain.url, tls.url) as url:
        plain.routes["GET /health"] = lambda request: request.answer(b"plain HTTP request was sent to HTTPS port", 400)
        check(Address(url), tmp_path, "speaks HTTPS; begin `url` with https://.")


def test_https_that_breaks_off_is_not_taken_for_http(tmp_path: Path) -> None:
    with serving(ROUTES | {"GET /health": HttpRequest.drop}, "good") as server:
        check(Address(server.url, ca_file=GOOD), tmp_path, "does not answer; start it, or check `url`.")


def test_a_server_behind_a_proxy_is_not_asked_past_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for whether it speaks HTTPS, either."""
    with serving({}) as server:
        for route, handler in ROUTES.items():
            server.routes[route.replace(" ", " http://gpu.test")] = handler
        server.routes["GET http://gpu.test/health"] = lambda request: request.answer({}, 400)
        monkeypatch.setenv("HTTP_PROXY", server.url)
        monkeypatch.setattr(http.asyncio, "open_connection", fails)
        check(Address("http://gpu.test"), tmp_path, "")


@contextmanager
def both(plain: str, tls: str) -> Iterator[str]:
    """The URL of a port that leads to one of two servers, by the first byte that comes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def lead() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            first = client.recv(1, socket.MSG_PEEK)
            host, _, port = (tls if first == b"\x16" else plain).rpartition("/")[2].partition(":")
            server = socket.create_connection((host, int(port)))
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=pump, args=(source, target), daemon=True).start()

    threading.Thread(target=lead, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(4096):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def test_a_server_that_sends_on_is_told_from_one_that_is_none(tmp_path: Path) -> None:
    def elsewhere(request: HttpRequest) -> None:
        request.answer(b"", 301, Location="https://gpu.test:8443/login?next=models")

    with serving({"GET /v1/models": elsewhere, "GET /version": elsewhere}) as server:
        check(Address(server.url), tmp_path, "sends requests on to https://gpu.test:8443; set `url` to that.")


UNUSABLE = "The proxy socks://127.0.0.1:9 cannot be used; set HTTP_PROXY to one that begins with http://, or name "
NO_SERVER = "http://gpu.test does not answer through the proxy "


@pytest.mark.parametrize(
    ("url", "environment", "says"),
    [
        # A desktop's settings, of which none may keep the server on this machine from being asked.
        ("SERVER", {"ALL_PROXY": "socks://127.0.0.1:9", "NO_PROXY": "127.0.0.1,[::1]"}, ""),
        ("SERVER", {"ALL_PROXY": "socks://127.0.0.1:9", "NO_PROXY": "fe80::/10,host:port"}, ""),
        ("SERVER", {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "::1,[::1"}, ""),
        ("http://gpu.test", {"ALL_PROXY": "socks://127.0.0.1:9", "NO_PROXY": "127.0.0.0/8,[::1]"}, UNUSABLE),
        ("http://gpu.test", {"ALL_PROXY": "http://127.0.0.1:9"}, NO_SERVER + "http://127.0.0.1:9 (it cannot be"),
        ("http://gpu.test", {"ALL_PROXY": "PROXY"}, ""),
        ("http://gpu.test", {"ALL_PROXY": "PROXY", "BAD_PROXY": "407"}, "(status 407, it wants a name and a password)"),
        ("http://gpu.test", {"ALL_PROXY": "PROXY", "BAD_PROXY": "503"}, "is busy (status 503) through the proxy"),
        ("https://gpu.test", {"ALL_PROXY": "PROXY"}, "(501 Unsupported method ('CONNECT')); mend HTTPS_PROXY, or"),
    ],
)
def test_proxies(
    url: str, environment: dict[str, str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(dict(ROUTES)) as server:
        for route, handler in ROUTES.items():
            method, _, path = route.partition(" ")
            server.routes[f"{method} http://gpu.test{path}"] = handler
        if status := environment.get("BAD_PROXY"):
            server.routes["GET http://gpu.test/v1/models"] = lambda request: request.answer({}, int(status))
        for name, value in environment.items():
            monkeypatch.setenv(name, value.replace("PROXY", server.url))
        check(Address(url.replace("SERVER", server.url)), tmp_path, says)


def fails(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("no such thing")


@pytest.mark.parametrize(
    ("url", "more", "says"),
    [
        ("nonsense", {}, "`url` must be a server's address"),
        ("http://[::", {}, "`url` cannot be used"),
        ("http://127.0.0.1:99999", {}, "`url` cannot be used: there is no port 99999."),
        ("http://127.0.0.1:9", {"api_key": "two words"}, "`api_key` has characters"),
        ("https://127.0.0.1:9", {"ca_file": "/does/not/exist"}, "`ca_file` must be a PEM file of certificates"),
        ("https://127.0.0.1:9", {"SSL_CERT_FILE": "/does/not/exist"}, "SSL_CERT_FILE or SSL_CERT_DIR in the"),
        ("http://127.0.0.1:9", {"SSL_CERT_FILE": "/does/not/exist"}, "does not answer; start it, or check `url`."),
        ("http://127.0.0.1:9", {"client": fails}, "can be made (RuntimeError: no such thing)."),
    ],
)
def test_what_stops_a_connection_before_it_is_made(
    url: str, more: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "SSL_CERT_FILE" in more:
        monkeypatch.setenv("SSL_CERT_FILE", more["SSL_CERT_FILE"])
    if "client" in more:
        monkeypatch.setattr(http.httpx, "AsyncHTTPTransport", more["client"])
    settings = {name: more[name] for name in ("api_key", "ca_file") if name in more}
    check(Address(url, **settings), tmp_path, says)


def test_what_is_no_failure_of_http_has_a_sentence_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http.httpx.AsyncClient, "get", fails)
    check(Address("http://127.0.0.1:9"), tmp_path, "cannot be asked (RuntimeError).")


def test_a_connection_that_could_not_be_made_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallback, "FIRST_PAUSE", 0.0)
    ca_file = tmp_path / "ca.pem"
    with serving(ROUTES, "good") as server:
        completer = with_stand_in(site(Address(server.url, ca_file=str(ca_file))), tmp_path, [])
        assert completer.complete(question()).text == "local"
        ca_file.write_bytes(Path(GOOD).read_bytes())
        assert completer.complete(question()).text == "remote"


HOUR = 3600.0


@pytest.mark.parametrize(
    ("retry_after", "date", "seconds"),
    [
        (None, None, 2.0),
        ("30", None, 30.0),
        ("30.5", None, 30.5),
        (" 30 ", None, 30.0),
        ("0", None, 2.0),
        ("1", None, 2.0),
        ("-30", None, 2.0),
        ("soon", None, 2.0),
        ("", None, 2.0),
        ("inf", None, 2.0),
        ("1e3", None, 2.0),
        ("99999999999999999999", None, fallback.LONGEST_WISH),
        ("9" * 400, None, fallback.LONGEST_WISH),
        (formatdate(HOUR + 30, usegmt=True), formatdate(HOUR, usegmt=True), 30.0),
        (formatdate(HOUR + 30), formatdate(HOUR, usegmt=True), 30.0),  # "-0000", without a time zone
        (formatdate(HOUR + 9999, usegmt=True), formatdate(HOUR, usegmt=True), fallback.LONGEST_WISH),
        (formatdate(HOUR - 30, usegmt=True), formatdate(HOUR, usegmt=True), 2.0),
        (formatdate(HOUR, usegmt=True), "nonsense", 2.0),  # by this machine's clock long past
        ("Wed, 99 Foo 2026 00:00:00 GMT", None, 2.0),
    ],
)
def test_when_a_busy_server_is_asked_again(
    retry_after: str | None,
    date: str | None,
    seconds: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    in_tokyo: None,
) -> None:
    def busy(request: HttpRequest) -> None:
        headers = {} if retry_after is None else {"Retry_After": retry_after}
        if date is not None:
            request.http.date_time_string = lambda timestamp=None: date  # type: ignore[method-assign]
        request.answer({}, 503, **headers)

    with serving(ROUTES | {"GET /v1/models": busy}) as server:
        now = [1000.0]
        monkeypatch.setattr(fallback.time, "monotonic", lambda: now[0])
        completer = with_stand_in(site(Address(server.url)), tmp_path, [])
        server.routes["GET /v1/models"] = ROUTES["GET /v1/models"]
        now[0] += seconds - 0.1
        assert completer.complete(question()).text == "local"
        now[0] += 0.2
        assert completer.complete(question()).text == "remote"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"error": {"message": "out of memory"}}, "out of memory"),
        ({"error": "out of memory"}, "out of memory"),
        ({"object": "error", "message": "out of memory"}, "out of memory"),
        ({"detail": "out of memory"}, "out of memory"),
        ({"detail": [{"loc": ["body"], "msg": "out of memory"}]}, "out of memory"),
        ({"error": None, "message": "out of memory"}, "out of memory"),
        ({"error": {"message": {"detail": "out of memory"}}}, "out of memory"),
        (b"out of memory\nat line 3", "out of memory"),
        (b"", "no reason given"),
        ({"error": None}, "no reason given"),
    ],
)
def test_the_message_of_an_error(body: Any, says: str) -> None:
    with serving({"POST /x": lambda request: request.answer(body, 500)}) as server:
        connection = Connection(Address(server.url))
        with pytest.raises(KeyturnError) as raised:
            connection.post("/x", {})
        assert str(raised.value) == f"The server at {server.url} refuses the request (status 500): {says}"


def test_a_server_that_is_away_says_so_in_one_way() -> None:
    """Whatever the first question to it is."""
    with serving({}) as server:
        pass
    connection, sentences = Connection(Address(server.url)), set()
    for ask in (lambda: connection.check(1.0), lambda: connection.get("/x"), lambda: connection.post("/x", {})):
        with pytest.raises(ServerAway) as raised:
            ask()
        sentences.add(str(raised.value))
    assert sentences == {f"The server at {server.url} does not answer; start it, or check `url`."}
