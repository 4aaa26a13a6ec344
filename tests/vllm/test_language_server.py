"""The language server with a real vLLM behind it, on good days and bad ones."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.lsp.client import Client, ServerError, environment
from tests.lsp.client import serving as language_server
from tests.vllm.server import Vllm, free_port, serving

URI = "file:///project/real.py"
SOURCE = Path(shlex.__file__).read_text(encoding="utf-8")
LINES = SOURCE.splitlines()
CARET_LINE = next(i for i, line in enumerate(LINES) if i > 200 and line.startswith("        ") and len(line) > 30)
PLAIN = ("--dtype", "float32", "--max-model-len", "4096")

VLLM = {"KEYTURN_ENGINE": "vllm", "KEYTURN_SERVER_TIMEOUT_SECONDS": "60"}
"""A server on a processor takes its time for a long prompt."""

OpenClient = Callable[..., Client]


@pytest.fixture
def open_client(tmp_path: Path) -> Iterator[OpenClient]:
    with ExitStack() as stack:

        def open_one(url: str, **variables: str) -> Client:
            variables = VLLM | {"KEYTURN_URL": url, "KEYTURN_CONTEXT_TOKENS": "4000"} | variables
            variables |= {"XDG_CACHE_HOME": str(tmp_path / "cache")}
            client = stack.enter_context(language_server(tmp_path, **variables))
            client.initialize(experimental={"keyturnStatus": True})
            client.open(URI, SOURCE)
            return client

        yield open_one


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    return bool(condition())


def test_the_command_line_prints_tokens_that_tile_the_text(tight: Vllm, tmp_path: Path) -> None:
    """And each has the probability that vLLM gave it."""
    (tmp_path / "real.py").write_text(SOURCE, encoding="utf-8")
    variables = environment(tmp_path, **VLLM, KEYTURN_URL=tight.url, KEYTURN_FALLBACK="false")
    done = subprocess.run(
        [sys.executable, "-m", "lsp.cli", "complete", f"real.py:{CARET_LINE + 1}:9", "--json", "--stop", "none"],
        env=variables | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    bounds = [0, *(token["end"] for token in answer["tokens"])]
    assert [token["start"] for token in answer["tokens"]] == bounds[:-1]
    assert bounds[-1] == len(answer["text"].encode()) > 0
    assert all(token["logprob"] <= 0 and token["id"] >= 0 for token in answer["tokens"])
    assert answer["logprob"] < 0
    assert answer["counts"]["generated"] == len(answer["tokens"])


def test_an_edit_far_above_is_computed_on_didchange_and_the_rest_is_turned(
    tight: Vllm, open_client: OpenClient
) -> None:
    client = open_client(tight.url)
    assert client.complete(URI, CARET_LINE, 8) is not None
    first = client.stats(URI)
    assert (first["engine"], first["model"]) == ("vllm", "served")
    turned = tight.metric("keyturn:tokens_turned_total")
    client.change(URI, (2, 0, 2, 0, "# a new line\n"))
    client.complete(URI, CARET_LINE + 1, 8)
    second = client.stats(URI)["counts"]
    assert second["turned"] > first["counts"]["prompt"] // 2
    assert tight.metric("keyturn:tokens_turned_total") >= turned + second["turned"]
    assert not client.messages()


def test_idle_time_is_used_to_read_ahead(tight: Vllm, open_client: OpenClient) -> None:
    client = open_client(tight.url)
    client.complete(URI, CARET_LINE, 8)
    encoded = tight.metric("keyturn:tokens_encoded_total")
    client.change(URI, (2, 0, 2, 0, "# a new line\n"))
    assert wait_for(lambda: tight.metric("keyturn:tokens_encoded_total") > encoded), "nothing was computed ahead"


def test_a_cancelled_request_is_aborted_in_the_server(tight: Vllm, open_client: OpenClient) -> None:
    wordy = {"KEYTURN_MAX_TOKENS": "1000", "KEYTURN_MULTILINE": "always", "KEYTURN_CONTEXT_TOKENS": "2000"}
    client = open_client(tight.url, **wordy)
    client.complete(URI, 3, 0)
    client.open("file:///project/other.py", "def long():\n    numbers = [" + "1, 2, 3, " * 100)
    generated = tight.metric("vllm:generation_tokens_total")
    running = client.start_completion("file:///project/other.py", 1, 900)
    assert wait_for(lambda: tight.metric("vllm:num_requests_running") > 0)
    client.cancel(running)
    with pytest.raises(ServerError):
        client.reply(running)
    assert wait_for(lambda: tight.metric("vllm:num_requests_running") == 0)
    assert tight.metric("vllm:generation_tokens_total") - generated < 500


def test_a_server_that_dies_comes_back_and_serves_another_model(tmp_path: Path, open_client: OpenClient) -> None:
    """Killed in the middle of a request: one sentence, the embedded model stands in; back, under another name."""
    port = free_port()
    with serving(tmp_path / "first.log", *PLAIN, port=port) as server:
        client = open_client(server.url, KEYTURN_MAX_TOKENS="400", KEYTURN_MULTILINE="always")
        client.complete(URI, CARET_LINE, 8)
        assert client.stats(URI)["engine"] == "vllm"
        client.change(URI, (5, 0, 5, 0, "\n# another\n"))
        running = client.start_completion(URI, CARET_LINE + 2, 8)
        wait_for(lambda: server.metric("vllm:num_requests_running") > 0, 2.0)
        server.kill()
        assert isinstance(client.reply(running), list)
    client.complete(URI, CARET_LINE + 2, 8, kind=1)
    assert client.stats(URI)["engine"] == "embedded"
    with serving(tmp_path / "second.log", *PLAIN, port=port, name="swapped"):
        for number in range(400):
            client.change(URI, (0, 0, 0, 0, "#"))
            client.complete(URI, CARET_LINE + 2, 8)
            if client.stats(URI)["engine"] == "vllm":
                break
            assert number < 399, "the server was not found again"
        assert client.stats(URI)["model"] == "swapped"
        [said] = client.messages()
        what = f"The server at {server.url} does not answer; start it, or check `url`."
        assert said == f"keyturn: {what} The embedded model stands in for it."
        assert client.shut_down() == 0


def test_a_wrong_key_is_one_sentence_and_a_right_one_works(tmp_path: Path, open_client: OpenClient) -> None:
    with serving(tmp_path / "log", *PLAIN, "--api-key", "right") as server:
        wrong = open_client(server.url, KEYTURN_API_KEY="wrong")
        for _ in range(3):
            wrong.complete(URI, CARET_LINE, 8, kind=1)
        assert wrong.stats(URI)["engine"] == "embedded"
        [said] = wrong.messages()
        assert said.startswith(f"keyturn: The server at {server.url} refuses the API key; set `api_key`.")
        right = open_client(server.url, KEYTURN_API_KEY="right")
        right.complete(URI, CARET_LINE, 8)
        assert right.stats(URI)["engine"] == "vllm"
        assert not right.messages()


def test_a_disk_that_is_full_for_the_log_changes_nothing(tight: Vllm, open_client: OpenClient) -> None:
    client = open_client(tight.url, KEYTURN_LOG_FILE="/dev/full", KEYTURN_LOG_LEVEL="debug")
    for line in range(CARET_LINE, CARET_LINE + 5):
        client.change(URI, (0, 0, 0, 0, "#"))
        assert client.complete(URI, line, 8) is not None
    assert client.stats(URI)["engine"] == "vllm"
    assert client.shut_down() == 0


def test_stock_vllm_works_and_is_named_once(tmp_path: Path, open_client: OpenClient) -> None:
    with serving(tmp_path / "log", *PLAIN, plugin=False) as server:
        client = open_client(server.url)
        for _ in range(3):
            client.change(URI, (2, 0, 2, 0, "# a new line\n"))
            assert client.complete(URI, CARET_LINE, 8) is not None
        assert client.stats(URI)["engine"] == "vllm"
        assert client.stats(URI)["counts"]["turned"] == 0
        [said] = client.messages()
        assert "has no keyturn plugin" in said


def test_doctor_asks_the_server(tight: Vllm, tmp_path: Path) -> None:
    variables = environment(tmp_path, **VLLM, KEYTURN_URL=tight.url, XDG_CACHE_HOME=str(tmp_path))
    line = [sys.executable, "-m", "lsp.cli", "doctor", "--json"]
    done = subprocess.run(line, env=variables, cwd=tmp_path, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["model"] == {
        "engine": "vllm",
        "url": tight.url,
        "server": "vLLM 0.32.0",
        "plugin": "answers",
        "prompts": "token ids",
        "log_probabilities": "asked for",
        "layout": "qwen2.5-coder",
        "name": "served",
        "context_tokens": 2048,
    }
    assert found["speed"]["first_token_ms"] > 0 and found["answer"]
