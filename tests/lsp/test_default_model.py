"""The server with the default model's real weights: edits cost what they change, and memory stays bounded."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from model.prompts.window import LEAD
from tests.lsp.client import Client, serving

URI = "file:///project/real.py"
SOURCE = Path(shlex.__file__).read_text(encoding="utf-8")
LINES = SOURCE.splitlines()
CARET_LINE = next(i for i, line in enumerate(LINES) if i > 200 and line.startswith("        ") and len(line) > 30)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Client]:
    with serving(tmp_path, KEYTURN_ENGINE="embedded", KEYTURN_CONTEXT_TOKENS="4096") as client:
        client.initialize()
        client.open(URI, SOURCE)
        yield client


def counts(server: Client, line: int) -> dict[str, int]:
    server.complete(URI, line, 8)
    found: dict[str, int] = server.stats(URI)["counts"]
    return found


def test_a_model_that_takes_its_time_to_load_shows_progress(tmp_path: Path) -> None:
    with serving(tmp_path, KEYTURN_ENGINE="embedded") as client:
        client.initialize(window={"workDoneProgress": True}, experimental={"keyturnStatus": True})
        client.notified("keyturn/status", state="ready")
        shown = client.wait(lambda: _progress(client) if _progress(client)[-1:] == ["end"] else None)
        assert shown[0] == "begin"
        assert set(shown[1:-1]) <= {"report"}
        (created,) = [m for m in client.requests if m["method"] == "window/workDoneProgress/create"]
        assert {m["params"]["token"] for m in client.notifications if m["method"] == "$/progress"} == {
            created["params"]["token"]
        }


def _progress(client: Client) -> list[str]:
    return [m["params"]["value"]["kind"] for m in client.notifications if m["method"] == "$/progress"]


def test_an_edit_far_above_is_all_that_is_encoded(server: Client) -> None:
    """A line put in at the top of a real file moves everything; only it and the lead are encoded."""
    first = counts(server, CARET_LINE)
    assert first["prompt"] > 2000
    server.change(URI, (2, 0, 2, 0, "# a new line\n"))
    second = counts(server, CARET_LINE + 1)
    assert second["encoded"] <= 16 + LEAD
    assert second["turned"] > first["prompt"] // 2
    assert second["prompt"] == second["kept"] + second["turned"] + second["encoded"]
    assert server.stats(URI)["cache_bytes"] > 0
    assert server.shut_down() == 0


def test_a_real_suggestion_leaks_no_marker(server: Client) -> None:
    """What the model writes is text, and replaces nothing beyond its line."""
    items = []
    for number, end in enumerate(range(1500, 6500, 1000)):
        uri = URI.replace(".py", f"{number}.py")
        server.open(uri, SOURCE[:end])
        lines = SOURCE[:end].split("\n")
        items += server.complete(uri, len(lines) - 1, len(lines[-1])) or []
    assert items
    for item in items:
        assert "<|" not in item["insertText"]
        assert item["range"]["start"]["line"] == item["range"]["end"]["line"]


def test_exact_reuse_is_obeyed(tmp_path: Path) -> None:
    with serving(tmp_path, KEYTURN_ENGINE="embedded", KEYTURN_REUSE="exact") as server:
        server.initialize()
        server.open(URI, SOURCE[:6000])
        counts(server, 100)
        server.change(URI, (2, 0, 2, 0, "# a new line\n"))
        found = counts(server, 101)
        assert found["turned"] == 0
        assert found["stale"] == 0
        assert found["encoded"] > found["prompt"] // 2


def test_where_the_caret_goes_is_read_ahead(tmp_path: Path) -> None:
    """A client that tells where its user has gone finds that place encoded, in a file not read when opened."""
    uri, text = "file:///project/long.py", SOURCE * 5
    with serving(tmp_path, KEYTURN_ENGINE="embedded") as server:
        server.initialize()
        server.open(uri, text)
        server.complete(uri, 0, 0)
        server.notify("keyturn/caret", {"textDocument": {"uri": uri}, "position": {"line": "one"}})
        elsewhere = {"textDocument": {"uri": "file:///elsewhere.py"}, "position": {"line": 0, "character": 0}}
        server.notify("keyturn/caret", elsewhere)
        for attempt in range(8):
            line = 300 * (1 + attempt % 4)
            server.notify("keyturn/caret", {"textDocument": {"uri": uri}, "position": {"line": line, "character": 4}})
            time.sleep(0.2 * 2**attempt)
            server.complete(uri, line, 4)
            tokens = server.stats(uri)["counts"]
            assert tokens["prompt"] > 1500
            if tokens["encoded"] < 10:
                return
        pytest.fail(f"the place was not read ahead: {tokens}")


def test_ten_long_files_stay_within_bounds(tmp_path: Path) -> None:
    """Ten open files of 2,000 lines, completed in each: under 700 MB resident."""
    text = "\n".join((LINES * 10)[:2000]) + "\n"
    with serving(tmp_path, KEYTURN_ENGINE="embedded") as server:
        server.initialize()
        for number in range(10):
            uri = f"file:///project/{number}.py"
            server.open(uri, text)
            server.complete(uri, 500 + 100 * number, 8)
            assert server.stats(uri)["counts"]["prompt"] > 1500
        assert psutil.Process(server.process.pid).memory_info().rss < 700e6
