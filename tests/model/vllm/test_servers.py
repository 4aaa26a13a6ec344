"""Servers that are no vLLM, servers that lack the plugin, and what stands in for a server that is away."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ast_tools.text import Text
from model.engine import Token
from model.engine_completer import EngineCompleter
from model.errors import Cancelled, ModelError, RequestError
from model.factory import DEFAULT_MODEL, EngineSettings, load_assistant
from model.request import Request, Sampling
from model.snapshot import Snapshot
from model.tokenizer import HubTokenizer
from model.vllm.asking import fallback
from model.vllm.asking.address import Address
from model.vllm.asking.client import VllmEngine
from model.vllm.asking.discover import Site
from model.vllm.asking.failures import ServerAway, ServerRefused
from model.vllm.asking.fallback import FallbackCompleter
from model.vllm.asking.text import TextTokenizer, format_of
from model.vllm.routes import digest
from tests.model.vllm import stand_in
from tests.model.vllm.scripted_server import Handler, Server, piece, serving
from tests.model.vllm.scripted_server import Request as HttpRequest

CODE = "def add(a, b):\n    return \n\nprint(add(1, 2))\n"
CARET = CODE.index("\n\nprint")


def listing(*names: str) -> Handler:
    return lambda request: request.answer({"data": [{"id": name} for name in names]})


def saying(*texts: str) -> Handler:
    return lambda request: request.stream([piece(text) for text in texts])


def plain(model: str, *texts: str) -> dict[str, Handler]:
    """A server as most are: no version, no tokens, no plugin."""
    return {"GET /v1/models": listing(model), "POST /v1/completions": saying(*texts)}


def end_of_line(text: str) -> int | None:
    return text.find("\n") if "\n" in text else None


def site(server: Server, model: str | None = None, **more: Any) -> Site:
    return stand_in.site(Address(server.url), model=model, **more)


def connected(server: Server, model: str | None = None, **more: Any) -> EngineCompleter:
    return site(server, model, **more).connect()


def snapshot(text: str = CODE) -> Snapshot:
    return Snapshot("file:///a.py", Text.from_str(text))


@pytest.mark.parametrize(
    ("model", "prompt"),
    [
        ("Qwen2.5-Coder-7B", f"<|fim_prefix|><|fim_suffix|>{CODE[CARET:]}<|fim_middle|>{CODE[:CARET]}"),
        ("bigcode/starcoder2-3b", f"<fim_prefix><fim_suffix>{CODE[CARET:]}<fim_middle>{CODE[:CARET]}"),
        ("codellama-13b", f" <PRE> <SUF>{CODE[CARET:]} <MID>{CODE[:CARET]}"),
        ("DeepSeek-Coder-V2", f"<｜fim▁begin｜><｜fim▁hole｜>{CODE[CARET:]}<｜fim▁end｜>{CODE[:CARET]}"),
        ("some-model", CODE[:CARET]),
    ],
)
def test_a_plain_server_gets_text_laid_out_as_its_model_likes_it(model: str, prompt: str) -> None:
    with serving(plain(model, "a", " + b", "\n")) as server:
        completion = connected(server).complete(Request(snapshot(), CARET), end_of_line)
        assert completion.text == "a + b"
        assert completion.finish == "stop"
        body = next(body for route, body in server.asked if route == "POST /v1/completions")
        assert body["prompt"] == prompt
        assert set(body) == {"model", "prompt", "max_tokens", "temperature", "stream"}


def test_a_server_that_tells_no_probabilities_leaves_them_unknown() -> None:
    """Each piece of text is a token of which nothing more is known."""
    with serving(plain("some-model", "a", " + é")) as server:
        completion = connected(server).complete(Request(snapshot(), CARET))
    assert completion.tokens == (Token(None, 0, 1, None), Token(None, 1, 6, None))
    assert completion.logprob is None


def test_probabilities_of_tokens_without_ids(tmp_path: Path) -> None:
    """As vLLM tells them to who does not know its tokenizer; a token that is no whole character is not told apart."""

    def answer(request: HttpRequest) -> None:
        if not request.body.get("stream"):
            request.answer({"choices": [{"text": ""}]})
            return
        request.stream(
            [
                {"choices": [{"text": "a +", "logprobs": {"tokens": ["a", " +"], "token_logprobs": [-0.5, None]}}]},
                {"choices": [{"text": "🎈", "logprobs": {"tokens": ["\ufffd"] * 2, "token_logprobs": [-1.0, -2.0]}}]},
            ]
        )

    routes = stock_vllm("", root="nowhere") | {"POST /v1/completions": answer}
    with serving(routes) as server:
        completion = connected(server).complete(Request(snapshot(), CARET))
        body = next(body for route, body in server.asked if body and body.get("stream"))
    assert body["logprobs"] == 0
    assert completion.text == "a +🎈"
    assert completion.tokens == (Token(None, 0, 1, -0.5), Token(None, 1, 3, None), Token(None, 3, 7, None))
    assert completion.logprob is None


def test_an_answer_that_ends_by_itself(tmp_path: Path) -> None:
    def answers(request: HttpRequest) -> None:
        request.stream([piece("a"), piece("", "stop"), {"choices": [], "usage": {"prompt_tokens": 3}}])

    with serving({"GET /v1/models": listing("m"), "POST /v1/completions": answers}) as server:
        completion = connected(server).complete(Request(snapshot(), CARET))
    assert (completion.text, completion.finish, completion.counts.generated) == ("a", "end", 1)


@pytest.mark.parametrize("pieces", [("a + b<|fim_pad|>", "<|file_sep|>x.py"), ("a + b<|fi", "m_pad|>junk", "\n")])
def test_an_answer_ends_at_a_marker_that_the_server_writes_out(pieces: tuple[str, ...]) -> None:
    with serving(plain("Qwen2.5-Coder-7B", *pieces)) as server:
        completion = connected(server).complete(Request(snapshot(), CARET))
    assert (completion.text, completion.finish) == ("a + b", "end")


@pytest.mark.parametrize("answer", [{"choices": [{"text": "x"}]}, "<html>Sign in</html>"])
def test_an_answer_that_is_no_stream_is_no_empty_one(answer: Any) -> None:
    routes = {"GET /v1/models": listing("m"), "POST /v1/completions": lambda request: request.answer(answer)}
    with serving(routes) as server, pytest.raises(ServerRefused, match="does not stream"):
        connected(server).complete(Request(snapshot(), CARET))


def test_an_answer_that_is_an_end_at_once_is_timed_too() -> None:
    def ends(request: HttpRequest) -> None:
        time.sleep(0.02)
        request.stream([piece("", "stop")])

    with serving({"GET /v1/models": listing("m"), "POST /v1/completions": ends}) as server:
        completion = connected(server).complete(Request(snapshot(), CARET))
    assert (completion.text, completion.finish) == ("", "end")
    assert completion.timings_ms.first_token >= 20


def test_an_error_in_the_middle_of_an_answer() -> None:
    def fails(request: HttpRequest) -> None:
        request.stream([piece("a"), {"error": {"message": "out of memory"}}])

    routes = {"GET /v1/models": listing("m"), "POST /v1/completions": fails}
    with serving(routes) as server, pytest.raises(ServerRefused, match=r"could not answer: .*out of memory"):
        connected(server).complete(Request(snapshot(), CARET))


def test_a_long_file_is_cut_to_the_context_in_bytes() -> None:
    text = "x = 1\n" * 5000
    with serving(plain("m", "y")) as server:
        connected(server, context_tokens=100).complete(Request(snapshot(text), len(text)))
        assert 80 < len(server.asked[-1][1]["prompt"]) <= 200


def test_a_vllm_without_its_tokenizer_is_sent_text_and_answers_in_text() -> None:
    routes = plain("Qwen2.5-Coder-7B", "a", " + b") | {
        "GET /version": lambda request: request.answer({"version": "0.32.0"})
    }
    notices: list[str] = []
    with serving(routes) as server:
        completer = connected(server, notice=notices.append)
        assert completer.complete(Request(snapshot(), CARET)).text == "a + b"
        assert not {"stop_token_ids", "return_token_ids"} & set(server.asked[-1][1])
        assert server.asked[-1][1]["skip_special_tokens"] is False, "or the ending marker is left out"
        server.routes["GET /v1/models"] = listing("some-model")
        connected(server).complete(Request(snapshot(), CARET))
        assert "skip_special_tokens" not in server.asked[-1][1], "markers that nobody knows would be shown"
    assert "does not show its tokenizer" in notices[0]


@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_how_a_vllm_samples_is_not_left_to_the_models_own_defaults(temperature: float) -> None:
    with serving(stock_vllm("x")) as server:
        completer = connected(server)
        completer.complete(Request(snapshot(), CARET, sampling=Sampling(temperature=temperature, seed=1)))
        body = server.asked[-1][1]
        assert (body["temperature"], body["repetition_penalty"], body["top_k"]) == (temperature, 1.0, 0)
        assert (body["presence_penalty"], body["frequency_penalty"], body["min_p"]) == (0.0, 0.0, 0.0)


def test_a_marker_in_the_file_is_not_one_to_the_server() -> None:
    text = 'MARK = "<|fim_middle|>"  # and <|endoftext|>\n'
    with serving(plain("qwen2.5-coder", "x")) as server:
        connected(server).complete(Request(snapshot(text), len(text)))
        prompt = server.asked[-1][1]["prompt"]
    assert prompt.count("<|fim_middle|>") == 1 and "<|endoftext|>" not in prompt
    assert prompt.replace("\u200b", "").count("<|fim_middle|>") == 2


def test_a_window_that_cuts_a_character_leaves_it_out() -> None:
    tokenizer = TextTokenizer(format_of("starcoder"))
    ids = tokenizer.encode("é".encode()).ids
    assert tokenizer.text(ids[1:]) == ""
    assert tokenizer.text(ids) == "é"


def test_the_model_that_is_wanted_is_asked_for() -> None:
    with serving({**plain("one", "x"), "GET /v1/models": listing("one", "two")}) as server:
        connected(server, "two").complete(Request(snapshot(), CARET))
        assert server.asked[-1][1]["model"] == "two"
        with pytest.raises(ServerRefused, match="has no model 'three'; set `model` to one of: one, two"):
            connected(server, "three")


@pytest.mark.parametrize("answer", [{"data": []}, {"data": "x"}, [], {"object": "list"}, None])
def test_a_server_that_is_something_else(answer: Any) -> None:
    routes: dict[str, Handler] = {} if answer is None else {"GET /v1/models": lambda request: request.answer(answer)}
    with serving(routes) as server, pytest.raises(ServerRefused, match="lists no models"):
        connected(server)


def tokens_of(text: str) -> Handler:
    """Answers as vLLM does, with token ids of the default model."""
    tokenizer = HubTokenizer.from_folder(DEFAULT_MODEL)

    def answer(request: HttpRequest) -> None:
        if not request.body.get("stream"):
            request.answer({"choices": [{"text": ""}]})
            return
        ids = tokenizer.encode(text.encode()).ids.tolist()
        request.stream(
            [
                {"choices": [{"token_ids": [token], "text": "?", "logprobs": {"token_logprobs": [-0.5]}}]}
                for token in ids
            ]
        )

    return answer


def stock_vllm(text: str, root: str = str(DEFAULT_MODEL), max_model_len: int = 1000) -> dict[str, Handler]:
    """vLLM without the plugin, of a model whose folder is on this machine."""
    entry = {"id": "served", "root": root, "max_model_len": max_model_len}
    return {
        "GET /version": lambda request: request.answer({"version": "0.32.0"}),
        "GET /v1/models": lambda request: request.answer({"data": [entry]}),
        "POST /v1/completions": tokens_of(text),
    }


def test_vllm_without_the_plugin_works_and_says_so() -> None:
    notices: list[str] = []
    with serving(stock_vllm("a + b")) as server:
        completer = connected(server, notice=notices.append)
        assert isinstance(completer.engine, VllmEngine) and not completer.engine.has_plugin
        completion = completer.complete(Request(snapshot(), CARET))
        assert completion.text == "a + b"
        assert completion.logprob == pytest.approx(-0.5 * completion.counts.generated)
        ids = HubTokenizer.from_folder(DEFAULT_MODEL).encode(b"a + b").ids.tolist()
        assert [(token.id, token.logprob) for token in completion.tokens] == [(token, -0.5) for token in ids]
        assert completion.tokens[-1].end == len("a + b")
        again = completer.complete(Request(snapshot(), CARET))
        assert again.counts.kept == again.counts.prompt - 1
        assert completer.describe().context_tokens == 1000
        completer.encode_ahead(Request(snapshot(), CARET))
        assert not completer.refresh("file:///a.py")
    [notice] = notices
    assert "has no keyturn plugin" in notice and "keyturn vllm serve" in notice


def test_a_prompt_that_does_not_fit_is_refused_before_it_is_sent() -> None:
    with serving(stock_vllm("")) as server:
        completer = connected(server)
        completer.engine.max_context = 5  # type: ignore[misc]
        with pytest.raises(RequestError, match="lower `context_tokens`"):
            completer.complete(Request(snapshot(), CARET))


def test_a_tokenizer_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    files = {name: (DEFAULT_MODEL / name).read_text() for name in ("tokenizer.json", "config.json")}
    offered = files | {"../../evil": "x"}
    routes = stock_vllm("a") | {
        "GET /v1/models": listing("elsewhere"),
        "GET /v1/keyturn": lambda request: request.answer({"version": 1, "tokenizer": digest(offered)}),
        "GET /v1/keyturn/tokenizer": lambda request: request.answer(offered),
    }
    with serving(routes) as server:
        for _ in range(2):
            completer = connected(server)
            assert completer.layout.name == "qwen2.5-coder"
        assert server.count("GET /v1/keyturn/tokenizer") == 1
    [kept] = tmp_path.glob("keyturn/tokenizers/*")
    assert sorted(path.name for path in kept.iterdir()) == sorted(files)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {kept / name for name in files}


@pytest.mark.parametrize("about", [{"version": 1, "tokenizer": "another"}, {"version": 99, "tokenizer": None}])
def test_a_tokenizer_that_is_not_what_it_says_is_not_used(
    about: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    files = {"tokenizer.json": (DEFAULT_MODEL / "tokenizer.json").read_text()}
    routes = stock_vllm("a") | {
        "GET /v1/models": listing("elsewhere"),
        "GET /v1/keyturn": lambda request: request.answer(about),
        "GET /v1/keyturn/tokenizer": lambda request: request.answer(files),
    }
    with serving(routes) as server:
        engine = connected(server).engine
        assert isinstance(engine, VllmEngine) and not engine.speaks_tokens
    assert not list(tmp_path.rglob("tokenizer.json"))


def test_a_project_cannot_bring_the_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "org" / "model"
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_bytes((DEFAULT_MODEL / "tokenizer.json").read_bytes())
    monkeypatch.chdir(tmp_path)
    with serving(stock_vllm("a") | {"GET /v1/models": listing("org/model")}) as server:
        engine = connected(server).engine
        assert isinstance(engine, VllmEngine) and not engine.speaks_tokens


def test_a_model_that_cannot_be_edited_is_told_from_a_missing_plugin() -> None:
    notices: list[str] = []
    routes = stock_vllm("a") | {"GET /v1/keyturn": lambda request: request.answer({"version": 1, "tokenizer": None})}
    with serving(routes) as server:
        connected(server, notice=notices.append)
    assert "whose cache keyturn cannot edit" in notices[0]


def test_a_tokenizer_folder_that_is_none() -> None:
    with serving(stock_vllm("")) as server, pytest.raises(ModelError, match=r"no.*tokenizer\.json|has none"):
        connected(server, tokenizer="/does/not/exist")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that failed is asked again at once."""
    monkeypatch.setattr(fallback, "FIRST_PAUSE", 0.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the completer takes for the time, in seconds."""
    now = [0.0]
    monkeypatch.setattr(fallback.time, "monotonic", lambda: now[0])
    return now


def with_stand_in(server: Server, tmp_path: Path, notices: list[str]) -> FallbackCompleter:
    return stand_in.with_stand_in(site(server), tmp_path, notices)


def test_what_stands_in_while_the_server_is_away_and_how_it_comes_back(tmp_path: Path, quick: None) -> None:
    notices: list[str] = []
    with serving(plain("remote", "remote")) as server:
        completer = with_stand_in(server, tmp_path, notices)
        assert completer.complete(Request(snapshot(), CARET)).text == "remote"
        assert (completer.describe().model, completer.describe().engine) == ("remote", "vllm")
        server.routes["POST /v1/completions"] = lambda request: request.answer({}, 503)
        assert completer.complete(Request(snapshot(), CARET)).text == "local"
        assert completer.describe().engine == "scripted"
        assert completer.complete(Request(snapshot(), CARET)).text == "local"
        server.routes["POST /v1/completions"] = saying("back")
        assert completer.complete(Request(snapshot(), CARET)).text == "back"
        assert completer.describe().engine == "vllm"
    assert completer.complete(Request(snapshot(), CARET)).text == "local"
    assert len(notices) == 2
    assert all("stands in" in notice for notice in notices)


def test_a_server_that_is_away_at_the_start_is_found_later(tmp_path: Path, quick: None) -> None:
    notices: list[str] = []
    with serving({}) as server:
        completer = with_stand_in(server, tmp_path, notices)
        assert completer.complete(Request(snapshot(), CARET)).text == "local"
        server.routes.update(plain("other", "remote"))
        assert completer.complete(Request(snapshot(), CARET)).text == "remote"
        assert completer.describe().model == "other"


def test_a_model_that_was_swapped_is_found(tmp_path: Path, quick: None) -> None:
    with serving(plain("old", "x")) as server:
        completer = with_stand_in(server, tmp_path, [])

        def only_new(request: HttpRequest) -> None:
            new = request.body["model"] == "new"
            request.stream([piece("new")]) if new else request.answer({"error": {"message": "no such model"}}, 404)

        server.routes["GET /v1/models"] = listing("new")
        server.routes["POST /v1/completions"] = only_new
        assert completer.complete(Request(snapshot(), CARET)).text == "local"
        assert completer.complete(Request(snapshot(), CARET)).text == "new"


def test_a_server_that_failed_is_left_alone_for_a_while(tmp_path: Path) -> None:
    with serving({}) as server:
        completer = with_stand_in(server, tmp_path, [])
        asked = len(server.asked)
        for _ in range(5):
            completer.complete(Request(snapshot(), CARET))
        assert len(server.asked) == asked


def test_the_pause_grows_while_completing_fails_though_connecting_works(tmp_path: Path, clock: list[float]) -> None:
    with serving(plain("m", "x")) as server:
        completer = with_stand_in(server, tmp_path, [])
        server.routes["POST /v1/completions"] = lambda request: request.answer({}, 503)
        for _ in range(600):
            clock[0] += 1.0
            completer.complete(Request(snapshot(), CARET))
        assert server.count("POST /v1/completions") < 20


def test_a_request_that_the_server_cannot_take_leaves_the_server_in_place(tmp_path: Path) -> None:
    notices: list[str] = []
    with serving(plain("m", "x")) as server:
        completer = with_stand_in(server, tmp_path, notices)
        server.routes["POST /v1/completions"] = lambda request: request.answer({"error": "too long"}, 400)
        with pytest.raises(RequestError, match="too long"):
            completer.complete(Request(snapshot(), CARET))
        assert completer.describe().engine == "vllm" and not notices


def test_a_server_that_refuses_is_asked_whether_it_is_still_the_same(tmp_path: Path, clock: list[float]) -> None:
    """It has started again, with a shorter context, and nobody asked meanwhile."""
    with serving(stock_vllm("a + b")) as server:
        completer = with_stand_in(server, tmp_path, [])
        assert completer.complete(Request(snapshot(), CARET)).text == "a + b"

        def short(request: HttpRequest) -> None:
            refused = len(request.body["prompt"]) + request.body["max_tokens"] > 60
            request.answer({"error": "too long"}, 400) if refused else tokens_of("short")(request)

        server.routes.update(stock_vllm("", max_model_len=60) | {"POST /v1/completions": short})
        clock[0] += 30
        long = snapshot("x = 1\n" * 40 + CODE)
        assert completer.complete(Request(long, CARET + 240)).text == "short"
        assert completer.describe().context_tokens == 60


def test_a_refusal_by_the_same_server_is_not_looked_into_each_time(tmp_path: Path, clock: list[float]) -> None:
    with serving(plain("m", "x")) as server:
        completer = with_stand_in(server, tmp_path, [])
        server.routes["POST /v1/completions"] = lambda request: request.answer({"error": "too long"}, 400)
        for _ in range(20):
            clock[0] += 1.0
            with pytest.raises(RequestError, match="too long"):
                completer.complete(Request(snapshot(), CARET))
        assert server.count("POST /v1/completions") == 20
        assert server.count("GET /v1/models") == 3


def test_after_a_pause_a_server_is_asked_whether_it_is_still_the_same(tmp_path: Path, clock: list[float]) -> None:
    """The name that it serves is another model's now: token ids of the old one would be nonsense to it."""
    with serving(stock_vllm("old")) as server:
        completer = with_stand_in(server, tmp_path, [])
        assert completer.complete(Request(snapshot(), CARET)).text == "old"
        server.routes.update(stock_vllm("", root="/models/of/the/server") | {"POST /v1/completions": saying("new")})
        looks = server.count("GET /v1/models")
        clock[0] += 50
        completer.encode_ahead(Request(snapshot(), CARET))
        assert server.count("GET /v1/models") == looks
        clock[0] += 70
        assert completer.complete(Request(snapshot(), CARET)).text == "new"
        assert isinstance(server.asked[-1][1]["prompt"], str), "its tokenizer is not to be had"


def test_another_server_is_found_though_the_look_was_withdrawn(tmp_path: Path, clock: list[float]) -> None:
    with serving(stock_vllm("x")) as server:
        completer = with_stand_in(server, tmp_path, [])
        assert completer.describe().context_tokens == 1000
        server.routes.update(stock_vllm("new", max_model_len=500))
        server.routes["POST /v1/completions"] = lambda request: time.sleep(0.1)
        asked = server.count("POST /v1/completions")
        clock[0] += 100
        with pytest.raises(Cancelled):  # while it is asked for the plugin
            completer.complete(
                Request(snapshot(), CARET), cancelled=lambda: server.count("POST /v1/completions") > asked
            )
        server.routes["POST /v1/completions"] = tokens_of("new")
        clock[0] += 5
        assert completer.complete(Request(snapshot(), CARET)).text == "new"
        assert completer.describe().context_tokens == 500


def test_looking_for_the_server_can_be_withdrawn() -> None:
    release = threading.Event()
    with serving({"GET /version": lambda request: release.wait(20)}) as server:
        with pytest.raises(Cancelled):
            site(server).connect(lambda: bool(server.count("GET /version")))
        release.set()


def is_over(moment: float) -> bool:
    return time.monotonic() > moment


def test_a_server_that_hangs_while_someone_types_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each keystroke withdraws the question before it, so none ever runs into its time limit."""
    monkeypatch.setattr(fallback, "SILENCE", 0.2)
    release = threading.Event()
    notices: list[str] = []
    with serving(plain("remote", "remote") | {"GET /health": lambda request: request.answer({})}) as server:
        completer = with_stand_in(server, tmp_path, notices)

        def type_for(seconds: float) -> str | None:
            """The first answer that comes before the next keystroke withdraws its question."""
            until = time.monotonic() + seconds
            while (now := time.monotonic()) < until:
                completer.encode_ahead(
                    Request(snapshot(), CARET)
                )  # as the server does between keystrokes; asks for nothing
                with suppress(Cancelled):
                    return completer.complete(Request(snapshot(), CARET), cancelled=partial(is_over, now + 0.05)).text
            return None

        server.routes["POST /v1/completions"] = lambda request: release.wait(20)
        assert type_for(0.6) is None
        assert completer.describe().engine == "vllm" and not notices, "a server that is up is slow, no more"
        server.routes["GET /health"] = lambda request: release.wait(20)
        assert type_for(10.0) == "local"
        release.set()
    assert notices == [
        f"The server at {server.url} does not answer; start it, or check `url`. The embedded model stands in for it."
    ]


def test_a_server_that_refuses_to_say_what_it_is_has_a_stand_in(tmp_path: Path) -> None:
    """As one behind TLS does when it is asked without."""
    notices: list[str] = []
    with serving({"GET /v1/models": lambda request: request.answer({}, 400)}) as server:
        assert with_stand_in(server, tmp_path, notices).complete(Request(snapshot(), CARET)).text == "local"
    assert "status 400" in notices[0]


def test_a_look_for_the_server_that_was_withdrawn_is_not_repeated_at_each_key(tmp_path: Path) -> None:
    """While a network swallows what is sent each key would withdraw the look of the key before."""
    release = threading.Event()
    with serving({"GET /version": lambda request: request.answer({}, 503)}) as server:
        completer = with_stand_in(server, tmp_path, [])
        server.routes["GET /version"] = lambda request: release.wait(20)
        completer._retry_at = 0.0
        looks = server.count("GET /version")
        with pytest.raises(Cancelled):
            completer.complete(Request(snapshot(), CARET), cancelled=lambda: server.count("GET /version") > looks)
        assert completer.complete(Request(snapshot(), CARET)).text == "local"
        assert server.count("GET /version") == looks + 1
        release.set()


def test_an_error_that_is_said_again_holds_no_requests() -> None:
    with serving({}) as server:
        pass
    completer = FallbackCompleter(site(server), None, lambda message: None)
    for _ in range(3):
        with pytest.raises(ServerAway) as caught:
            completer.complete(Request(snapshot(), CARET))
        assert len(caught.traceback) < 5


def test_without_a_stand_in_the_error_is_said(quick: None) -> None:
    notices: list[str] = []
    with serving(plain("m", "fine")) as server:
        completer = FallbackCompleter(site(server), None, notices.append)
        server.routes["POST /v1/completions"] = lambda request: request.answer({}, 429)
        with pytest.raises(ServerAway, match="is busy"):
            completer.complete(Request(snapshot(), CARET))
        server.routes["POST /v1/completions"] = saying("fine")
        assert completer.complete(Request(snapshot(), CARET)).text == "fine"
    assert len(notices) == 1 and "stands in" not in notices[0]


def test_the_settings_lead_to_a_server(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="set `url`"):
        load_assistant(EngineSettings(engine="vllm"))
    with serving(plain("m", "x") | {"GET /health": lambda request: request.answer({})}) as server:
        completer = load_assistant(EngineSettings(engine="vllm", url=server.url, fallback=False)).completer
        assert completer.complete(Request(snapshot(), CARET)).text == "x"


def test_the_embedded_model_stands_in_by_default() -> None:
    with serving({}) as server:
        pass
    notices: list[str] = []
    started = time.monotonic()
    settings = EngineSettings(engine="vllm", url=server.url, model="big")
    completer = load_assistant(settings, notice=notices.append).completer
    assert completer.describe().engine == "embedded"
    assert completer.complete(Request(snapshot(), CARET, max_tokens=2)).counts.generated > 0
    assert time.monotonic() - started < 60
    assert notices == [
        f"The server at {server.url} does not answer; start it, or check `url`. The embedded model stands in for it."
    ]


def test_a_key_is_not_shown_with_the_settings() -> None:
    assert "secret" not in repr(EngineSettings(api_key="secret"))
