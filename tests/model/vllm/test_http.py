"""The connection to a server: one sentence for each thing that goes wrong, and nothing that hangs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from model.errors import Cancelled, EngineError, ModelError, RequestError
from model.vllm.asking.address import Address
from model.vllm.asking.failures import ServerAway, ServerRefused
from model.vllm.asking.http import Connection
from tests.model.vllm.scripted_server import Request, Server, piece, serving


def connection(server: Server, **address: Any) -> Connection:
    return Connection(Address(server.url, **address))


def status(code: int, message: str = "because") -> Any:
    return lambda request: request.answer({"error": {"message": message}}, code)


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        (401, ServerRefused, "wants an API key; set `api_key`."),
        (403, ServerRefused, "wants an API key; set `api_key`."),
        (404, ServerRefused, "(status 404): because"),
        (500, ServerRefused, "(status 500): because"),
        (429, ServerAway, "is busy (status 429)"),
        (503, ServerAway, "is busy (status 503)"),
    ],
)
def test_a_status_becomes_a_sentence(code: int, kind: type[EngineError], says: str) -> None:
    with serving({"POST /v1/completions": status(code), "GET /v1/models": status(code)}) as server:
        found = connection(server)
        for ask in (
            *([lambda: found.get("/v1/models")] if code != 404 else []),
            lambda: found.post("/v1/completions", {}),
            lambda: found.stream("/v1/completions", {}, lambda event: False),
        ):
            with pytest.raises(kind) as raised:
                ask()
            assert says in str(raised.value) and server.url in str(raised.value)


@pytest.mark.parametrize("code", [400, 413, 422])
def test_a_request_that_is_wrong_says_nothing_about_the_server(code: int) -> None:
    routes = {"POST /v1/completions": status(code, "too long")}
    with serving(routes) as server, pytest.raises(RequestError, match="too long"):
        connection(server).post("/v1/completions", {})


def test_what_others_take_for_line_ends_is_text() -> None:
    heard: list[dict[str, Any]] = []

    def answer(request: Request) -> None:
        data = json.dumps(piece("a\u2028b\x85c"), ensure_ascii=False).encode()
        request.answer(b"data: " + data + b"\r\n\r\ndata: [DONE]\n\n")

    with serving({"POST /x": answer}) as server:
        connection(server).stream("/x", {}, lambda event: bool(heard.append(event)))
    assert heard == [piece("a\u2028b\x85c")]


def test_a_wrong_key_is_told_from_a_missing_one() -> None:
    with serving({"GET /v1/models": status(401)}) as server, pytest.raises(ServerRefused, match="refuses the API key"):
        connection(server, api_key="wrong").get("/v1/models")


def test_the_key_is_sent_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    keys: list[str | None] = []
    caplog.set_level("DEBUG", "model")
    with serving({"GET /v1/models": lambda request: keys.append(request.header("Authorization"))}) as server:
        server.routes["GET /v1/models"] = lambda request: (
            keys.append(request.header("Authorization")),
            request.answer({}),
        )[0]
        connection(server, api_key="secret\n").get("/v1/models")
    assert keys == ["Bearer secret"]
    nowhere = Connection(Address("http://127.0.0.1:9", "secret"))
    with pytest.raises(ServerAway) as raised:
        nowhere.get("/v1/models")
    shown = f"{caplog.text} {raised.value} {nowhere.address!r} {nowhere.address}"
    assert "secret" not in shown


@pytest.mark.parametrize("key", ["two words", "schlüssel", "a\nb"])
def test_a_key_that_is_none_is_named(key: str) -> None:
    with pytest.raises(ModelError, match="`api_key` has characters"):
        Connection(Address("http://host", key))


def test_a_password_in_the_address_is_not_shown() -> None:
    with pytest.raises(ServerAway) as raised:
        Connection(Address("http://user:password@127.0.0.1:9/v1")).get("/v1/models")
    assert str(raised.value) == "The server at http://127.0.0.1:9 does not answer; start it, or check `url`."


def test_a_url_may_end_with_v1() -> None:
    assert Address("http://host:8000/v1/").base == Address("http://host:8000").base == "http://host:8000"


def test_no_server_at_all() -> None:
    with serving({}) as server:
        pass
    with pytest.raises(ServerAway, match="does not answer"):
        connection(server).get("/v1/models")
    with pytest.raises(ServerAway, match="does not answer"):
        connection(server).check(1.0)


def test_what_is_no_address_or_no_file() -> None:
    for url in ("nonsense", "localhost:8000", "http://", "http://[::", "ftp://host"):
        with pytest.raises(ModelError, match="url"):
            Connection(Address(url))
    with pytest.raises(ModelError, match="ca_file"):
        Connection(Address("https://host", ca_file="/does/not/exist"))


def test_a_page_that_is_not_an_api() -> None:
    page = {"POST /v1/completions": lambda request: request.answer(b"<html>")}
    with serving(page) as server, pytest.raises(ServerRefused, match="does not answer in JSON"):
        connection(server).post("/v1/completions", {})


def test_events_arrive_one_by_one() -> None:
    heard: list[dict[str, Any]] = []
    with serving({"POST /x": lambda request: request.stream([piece("a"), piece("b")])}) as server:
        connection(server).stream("/x", {}, lambda event: bool(heard.append(event)))
    assert heard == [piece("a"), piece("b")]


def endless(request: Request) -> None:
    def events() -> Iterator[Any]:
        for number in count():
            time.sleep(0.005)
            yield piece(str(number))

    request.stream(events())


def test_who_has_heard_enough_closes_the_stream_and_a_new_connection_is_ready() -> None:
    with serving({"POST /x": endless, "GET /health": lambda request: request.answer({})}) as server:
        connection(server).stream("/x", {}, lambda event: True)
        assert server.closed.wait(10)
        assert wait_for(lambda: server.count("GET /health") == 1)


def test_a_request_that_nobody_wants_any_more_ends_at_once() -> None:
    with serving({"POST /x": endless}) as server:
        started = threading.Event()
        with pytest.raises(Cancelled):
            connection(server).stream("/x", {}, lambda event: started.set() or False, started.is_set)  # type: ignore[func-returns-value]
        assert server.closed.wait(10)


def test_a_server_that_says_nothing_can_be_cancelled() -> None:
    arrived, release = threading.Event(), threading.Event()

    def silent(request: Request) -> None:
        arrived.set()
        release.wait(20)

    with serving({"POST /x": silent}) as server:
        with pytest.raises(Cancelled):
            connection(server).post("/x", {}, arrived.is_set)
        release.set()


def test_a_connection_that_dropped_is_tried_once_more() -> None:
    tries = count()

    def once(request: Request) -> None:
        request.drop() if next(tries) == 0 else request.answer({"fine": True})

    with serving({"POST /x": once, "POST /never": Request.drop}) as server:
        found = connection(server)
        assert found.post("/x", {}) == {"fine": True}
        with pytest.raises(ServerAway):
            found.post("/never", {})
        assert server.count("POST /never") == 2


def test_a_stream_that_breaks_off_is_not_begun_again() -> None:
    def breaks(request: Request) -> None:
        request.http.send_response(200)
        request.http.send_header("Transfer-Encoding", "chunked")
        request.http.end_headers()
        request.http.wfile.write(b'10\r\ndata: {"a": 1}\n\n\r\n')
        request.drop()

    heard: list[Any] = []
    with serving({"POST /x": breaks}) as server:
        with pytest.raises(ServerAway):
            connection(server).stream("/x", {}, lambda event: bool(heard.append(event)))
        assert server.count("POST /x") == 1


def test_closing_ends_the_thread() -> None:
    with serving({"GET /x": lambda request: request.answer({})}) as server:
        found = connection(server)
        found.get("/x")
        found.close()
        assert wait_for(lambda: not found._thread.is_alive())


def test_what_is_given_up_ends_by_itself() -> None:
    with serving({"GET /x": lambda request: request.answer({})}) as server:
        found = connection(server)
        found.get("/x")
        thread = found._thread
        del found
        assert wait_for(lambda: not thread.is_alive())


def test_a_ca_file_that_is_no_certificate(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nonsense")
    with pytest.raises(ModelError, match="ca_file"):
        Connection(Address("https://host", ca_file=str(tmp_path / "ca.pem")))


def wait_for(condition: Any, seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.005)
    return bool(condition())
