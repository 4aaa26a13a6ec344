"""Servers whose API is almost OpenAI's, and servers that take a request and say nothing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from ast_tools.text import Text
from model.engine import Completion
from model.errors import KeyturnError
from model.factory import DEFAULT_MODEL
from model.request import Request
from model.snapshot import Snapshot
from model.tokenizer import HubTokenizer
from model.vllm.asking import fallback
from model.vllm.asking.address import Address
from model.vllm.asking.events import events
from model.vllm.asking.failures import ServerAway, ServerRefused
from model.vllm.asking.fallback import FallbackCompleter
from model.vllm.asking.http import Connection
from tests.model.vllm.scripted_server import Handler, Server, piece, serving
from tests.model.vllm.scripted_server import Request as HttpRequest
from tests.model.vllm.stand_in import site, with_stand_in

MODELS: dict[str, Handler] = {"GET /v1/models": lambda request: request.answer({"data": [{"id": "m"}]})}


def question() -> Request:
    return Request(Snapshot("file:///a.py", Text.from_str("x = ")), 4)


def ask(server: Server, path: str = "", **more: Any) -> Completion:
    return site(Address(server.url + path), **more).connect().complete(question())


def writing(body: bytes, kind: str = "text/event-stream") -> Handler:
    """Answers with these bytes, in small pieces."""

    def answer(request: HttpRequest) -> None:
        request.http.send_response(200)
        request.http.send_header("Content-Type", kind)
        request.http.send_header("Content-Length", str(len(body)))
        request.http.end_headers()
        for start in range(0, len(body), 7):
            request.http.wfile.write(body[start : start + 7])
            request.http.wfile.flush()

    return answer


def stream(*events: Any) -> bytes:
    return b"".join(f"data: {json.dumps(event)}\n\n".encode() for event in events) + b"data: [DONE]\n\n"


def choices(*found: Any) -> bytes:
    return stream({"choices": list(found)})


A = {"index": 0, "text": "a"}
OTHER = {"index": 1, "text": "b"}
CUT = json.dumps({"choices": [A]}).replace(" ", "\n", 1).replace("[", "\n[").encode().split(b"\n")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (choices(A), "a"),
        (choices({"text": "a"}), "a"),
        (choices(A | {"index": None}), "a"),
        # An error that says nothing is none.
        (stream({"error": None, "choices": [A]}), "a"),
        (stream({"error": {}, "choices": [A]}), "a"),
        (stream({"error": "", "choices": [A]}), "a"),
        (stream({"error": False, "choices": [A]}), "a"),
        (stream({"error": {"message": None, "code": 0}, "choices": [A]}), "a"),
        # Choices that are none, or another's.
        (choices(None, A), "a"),
        (stream({"choices": [None]}, {"choices": [A]}), "a"),
        (stream({"choices": None}, {"choices": {}}, {"choices": "a"}, {}, None, [], 1, {"choices": [A]}), "a"),
        (choices(A, OTHER), "a"),
        (choices(OTHER, A), "a"),
        (stream({"choices": [OTHER]}, {"choices": [A]}, {"choices": [OTHER]}), "a"),
        # The chat API's words.
        (choices({"index": 0, "delta": {"content": "a"}}), "a"),
        (stream({"choices": [{"delta": {"role": "assistant"}}]}, {"choices": [{"delta": {"content": "a"}}]}), "a"),
        (choices({"text": "", "delta": {"content": "a"}}), "a"),
        (choices({"text": None, "delta": {"content": "a"}}), "a"),
        (choices({"text": "a", "delta": None}), "a"),
        (choices({"text": 7, "delta": "b"}, A), "a"),
        # Fields without a value, or of another kind.
        (choices(A | {"logprobs": None, "finish_reason": None, "token_ids": None}), "a"),
        (choices(A | {"logprobs": [], "token_ids": []}), "a"),
        (choices(A | {"logprobs": {"tokens": None, "token_logprobs": None}}), "a"),
        (choices(A | {"logprobs": {"tokens": "a", "token_logprobs": "b"}}), "a"),
        (choices(A | {"token_ids": [98]}), "a"),  # unasked, and of a tokenizer that is not known
        (stream({"choices": [A], "usage": None}, {"usage": {"prompt_tokens_details": None}}, {"usage": 3}), "a"),
        # Event streams, more or less.
        (b"\xef\xbb\xbf" + choices(A), "a"),
        (choices(A).replace(b"\n", b"\r\n"), "a"),
        (choices(A).replace(b"data: ", b"data:"), "a"),
        (b": ping\n\nevent: x\nid: 1\nretry: 5\n\ndata:\n\n" + choices(A), "a"),
        (b"".join(b"data: " + line + b"\n" for line in CUT) + b"\n", "a"),
        (b"".join(b"data: " + line + b"\n" for line in CUT), "a"),
        (stream({"choices": [A]}, {"choices": [A]}).replace(b"\n\n", b"\n"), "aa"),
        (choices(A).removesuffix(b"data: [DONE]\n\n").rstrip(), "a"),
        (choices({"text": "é\u2028🎈"}), "é\u2028🎈"),
        (
            json.dumps({"choices": [{"text": "é\u2028🎈"}]}, ensure_ascii=False).join(["data: ", "\n"]).encode(),
            "é\u2028🎈",
        ),
        (b"data: [DONE]\n\n", ""),
    ],
)
def test_an_answer_in_loose_form(body: bytes, text: str) -> None:
    with serving(MODELS | {"POST /v1/completions": writing(body)}) as server:
        assert ask(server).text == text


OUT = "could not answer: out of memory"
NO_STREAM = "does not stream its answers"


@pytest.mark.parametrize(
    ("body", "kind", "says"),
    [
        (stream({"error": {"message": "out of memory"}}), "text/event-stream", OUT),
        (stream({"choices": [A]}, {"error": {"message": "out of memory", "code": 500}}), "text/event-stream", OUT),
        (stream({"error": "out of memory"}, {"choices": [A]}), "text/event-stream", OUT),
        (stream({"error": {"detail": "out of memory"}}), "text/event-stream", OUT),
        (stream({"error": True, "message": "out of memory"}), "text/event-stream", OUT),
        (stream({"object": "error", "message": "out of memory"}), "text/event-stream", OUT),
        (stream({"error": {"code": 500}}), "text/event-stream", "could not answer: {'code': 500}"),
        (b'error: {"message": "out of memory"}\n\n', "text/event-stream", OUT),
        (b'{"error": {"message": "out of memory"}}', "application/json", OUT),
        (b'{"error": {"message": "out of memory"}}', "text/event-stream", OUT),
        (b'{"error": null, "choices": [{"text": "a"}]}', "application/json", NO_STREAM),
        (b"<html>Sign in</html>", "text/html", NO_STREAM),
        (b"data: {nonsense}\n\n", "text/event-stream", "does not answer in JSON"),
        (b"data: {nonsense}\ndata: [DONE]\n\n", "text/event-stream", "does not answer in JSON"),
        (b'data: {"choices": [\n\n', "text/event-stream", "does not answer in JSON"),
        (b'data: {"choices": [', "text/event-stream", "does not answer in JSON"),
    ],
)
def test_an_answer_that_is_an_error(body: bytes, kind: str, says: str) -> None:
    routes = MODELS | {"POST /v1/completions": writing(body, kind)}
    with serving(routes) as server, pytest.raises(ServerRefused) as raised:
        ask(server)
    assert says in str(raised.value) and server.url in str(raised.value)


@pytest.mark.asyncio
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
async def test_an_event_that_is_no_json_is_told_of_at_its_end(end: bytes) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"data: {nonsense}" + end
        pytest.fail("more was read")

    with pytest.raises(json.JSONDecodeError):
        async for _ in events(pieces()):
            pass


@pytest.mark.parametrize("later", [{}, {"usage": None}, {"usage": {"prompt_tokens_details": {"cached_tokens": None}}}])
def test_what_a_server_kept_stays_known(later: dict[str, Any]) -> None:
    first = {"choices": [A], "usage": {"prompt_tokens_details": {"cached_tokens": 3}}}
    with serving(MODELS | {"POST /v1/completions": writing(stream(first, later))}) as server:
        assert ask(server).counts.kept == 3


TOKENS = HubTokenizer.from_folder(DEFAULT_MODEL).encode(b"a + b").ids.tolist()


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([{"token_ids": TOKENS, "text": "?"}], "a + b"),
        ([{"token_ids": TOKENS[:1]}, {"token_ids": [], "text": "?"}, {"token_ids": TOKENS[1:]}], "a + b"),
        ([{"token_ids": None, "text": "a + b"}], "a + b"),
        ([{"token_ids": [], "text": "a + b"}], "a + b"),
        ([{"token_ids": ["a"], "text": "a + b"}], "a + b"),
        ([{"token_ids": [10**9], "text": "a + b"}], "a + b"),
        ([{"token_ids": [-1], "text": "a + b"}], "a + b"),
        ([{"token_ids": [True], "text": "a + b"}], "a + b"),
    ],
)
def test_tokens_count_where_they_are_named(events: list[dict[str, Any]], text: str) -> None:
    entry = {"id": "m", "root": str(DEFAULT_MODEL), "max_model_len": 1000}

    def answer(request: HttpRequest) -> None:
        request.stream([{"choices": [event]} for event in events]) if "stream" in request.body else request.answer({})

    routes: dict[str, Handler] = {
        "GET /version": lambda request: request.answer({"version": "0.32.0"}),
        "GET /v1/models": lambda request: request.answer({"data": [entry]}),
        "POST /v1/completions": answer,
    }
    with serving(routes) as server:
        assert ask(server).text == text


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("", ""),
        ("/", ""),
        ("/v1", ""),
        ("/v1/completions", ""),
        ("/v1/chat/completions", ""),
        ("/v1?version=2", "?version=2"),
        ("/v1/completions/?version=2&key=a%20b", "?version=2&key=a+b"),
    ],
)
def test_a_url_of_a_path_or_with_a_query(path: str, query: str) -> None:
    routes = {route + query: handler for route, handler in (MODELS | {"POST /v1/completions": stays}).items()}
    with serving(routes) as server:
        assert ask(server, path).text == "remote"


def stays(request: HttpRequest) -> None:
    request.stream([piece("remote")])


def status(code: int) -> Handler:
    return lambda request: request.answer({}, code)


@pytest.mark.parametrize(
    ("models", "version", "model", "says"),
    [
        (status(404), None, "mine", ""),
        (status(405), None, "mine", ""),
        (status(501), None, "mine", ""),
        (lambda request: request.answer({"data": []}), None, "mine", ""),
        (lambda request: request.answer({"data": None}), None, "mine", ""),
        (lambda request: request.answer(b"<html>"), None, "mine", ""),
        (lambda request: request.answer({"data": [None, {"id": None}, {"id": "mine"}]}), None, "mine", ""),
        (lambda request: request.answer({"data": [{"id": "m"}]}), None, "mine", "has no model 'mine'"),
        (status(404), None, None, "lists no models; check `url`, and set `model` if it is right."),
        (status(403), None, "mine", "wants an API key"),
        # A path that a gateway does not know.
        (MODELS["GET /v1/models"], status(403), None, ""),
        (MODELS["GET /v1/models"], status(400), None, ""),
        (MODELS["GET /v1/models"], status(500), None, ""),
        (MODELS["GET /v1/models"], status(503), None, "is busy"),
        (MODELS["GET /v1/models"], lambda request: request.answer({"version": None}), None, ""),
    ],
)
def test_a_server_that_does_not_say_what_it_is(
    models: Handler, version: Handler | None, model: str | None, says: str
) -> None:
    routes = {"GET /v1/models": models, "POST /v1/completions": stays}
    with serving(routes if version is None else routes | {"GET /version": version}) as server:
        if not says:
            assert ask(server, model=model).text == "remote"
            assert server.asked[-1][1]["model"] == (model or "m")
            assert "logprobs" not in server.asked[-1][1], "it was taken for a vLLM"
            return
        with pytest.raises(KeyturnError) as raised:
            ask(server, model=model)
        assert says in str(raised.value)


class Held:
    """Answers to be given later: `begun` once a question is there, and it waits for `release`."""

    def __init__(self) -> None:
        self.begun, self.release = threading.Event(), threading.Event()

    def before_the_headers(self, request: HttpRequest) -> None:
        self._wait()
        stays(request)

    def after_the_headers(self, request: HttpRequest) -> None:
        def events() -> Iterator[Any]:
            self._wait()
            yield piece("remote")

        request.stream(events())

    def after_a_token(self, request: HttpRequest) -> None:
        def events() -> Iterator[Any]:
            yield piece("re")
            self._wait()
            yield piece("mote")

        request.stream(events())

    def with_pings(self, request: HttpRequest) -> None:
        request.http.send_response(200)
        request.http.send_header("Content-Type", "text/event-stream")
        request.http.send_header("Connection", "close")
        request.http.end_headers()
        self.begun.set()
        while not self.release.wait(0.02):
            request.http.wfile.write(b": ping\n\n")
            request.http.wfile.flush()

    def _wait(self) -> None:
        self.begun.set()
        assert self.release.wait(20)


SECONDS = 0.5
LATE = f"did not begin to answer within {SECONDS:g} seconds; if it is only slow, raise `server_timeout_seconds`."
SILENT = "fell silent in the middle of an answer; it is asked again in a while."


def patient(server: Server, folder: Path, notices: list[str]) -> FallbackCompleter:
    return with_stand_in(site(Address(server.url), answer_seconds=SECONDS), folder, notices)


@pytest.mark.parametrize(
    ("way", "says"),
    [("before_the_headers", LATE), ("after_the_headers", LATE), ("with_pings", LATE), ("after_a_token", SILENT)],
)
def test_a_server_that_takes_the_request_and_says_nothing(way: str, says: str, tmp_path: Path) -> None:
    held, notices = Held(), list[str]()
    with serving(MODELS | {"POST /v1/completions": getattr(held, way)}) as server:
        completer = patient(server, tmp_path, notices)
        started = time.monotonic()
        assert completer.complete(question()).text == "local"
        assert SECONDS <= time.monotonic() - started < 5
        assert notices == [f"The server at {server.url} {says} The embedded model stands in for it."]
        held.release.set()


def test_a_request_whose_answer_nobody_reads_has_the_same_limit() -> None:
    """As those are that have an edit computed."""
    held = Held()
    with serving({"POST /x": held.before_the_headers}) as server:
        connection = Connection(Address(server.url), answer_seconds=SECONDS)
        with pytest.raises(ServerAway, match="did not begin to answer"):
            connection.post("/x", {})
        held.release.set()


def test_a_server_that_is_slow_between_tokens_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits are for silence, not for the whole answer."""
    monkeypatch.setattr("model.vllm.asking.http.LATE_SECONDS", SECONDS)

    def events() -> Iterator[Any]:
        for text in "remote remote":
            time.sleep(SECONDS / 6)
            yield piece(text)

    with serving(MODELS | {"POST /v1/completions": lambda request: request.stream(events())}) as server:
        assert patient(server, tmp_path, []).complete(question()).text == "remote remote"


def test_a_slow_server_gets_on_with_the_request_and_is_asked_again_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that loads its model when it is asked, and would begin again if the request were taken back."""
    monkeypatch.setattr(fallback, "FIRST_PAUSE", 0.0)
    held = Held()
    with serving(MODELS | {"POST /v1/completions": held.after_the_headers}) as server:
        completer = patient(server, tmp_path, [])
        for _ in range(3):
            assert completer.complete(question()).text == "local"
        assert server.count("POST /v1/completions") == 1 and not server.closed.is_set()
        error = completer._error
        held.release.set()
        assert isinstance(error, ServerAway) and error.late is not None and error.late.result(10) is True
        assert completer.complete(question()).text == "remote"
        assert server.count("POST /v1/completions") == 2


def test_a_request_without_an_answer_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallback, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr("model.vllm.asking.http.LATE_SECONDS", 2 * SECONDS)
    held = Held()
    with serving(MODELS | {"POST /v1/completions": held.with_pings}) as server:
        completer = patient(server, tmp_path, [])
        assert completer.complete(question()).text == "local"
        assert server.closed.wait(10)
        server.routes["POST /v1/completions"] = stays
        error = completer._error
        assert isinstance(error, ServerAway) and error.late is not None and error.late.exception(10) is not None
        assert completer.complete(question()).text == "remote"
        held.release.set()
