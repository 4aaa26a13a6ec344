"""What a user gets to see at a caret, through a real server process that follows a script."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lsp.client import Client, ServerError, serving, span
from tests.lsp.conftest import SCRIPT

URI = "file:///project/main.py"


def test_a_suggestion_has_a_plain_text_a_range_at_the_caret_and_the_accept_command(shared: Client) -> None:
    shared.open(URI, "x = 1\npri")
    (item,) = shared.complete(URI, 1, 3) or []
    assert item["insertText"] == "nt(value)"
    assert item["range"] == span(1, 3, 1, 3)
    assert item["command"]["command"] == "keyturn.accepted"
    assert "filterText" not in item


@pytest.mark.parametrize(
    ("encoding", "column"), [("utf-8", 19), ("utf-16", 15), ("utf-32", 13)], ids=["utf-8", "utf-16", "utf-32"]
)
def test_positions_are_in_the_encoding_that_the_client_prefers(tmp_path: Path, encoding: str, column: int) -> None:
    line = 's = "🎈🎈"; pri'
    with serving(tmp_path, {"rules": [{"after": "; pri", "text": "nt()"}]}) as client:
        result = client.initialize(encodings=["utf-7", encoding, "utf-16"])
        assert result["capabilities"]["positionEncoding"] == encoding
        client.open(URI, f"{line}\n")
        (item,) = client.complete(URI, 0, column) or []
        assert item["range"] == span(0, column, 0, column)
        # One unit further left, the caret is at another place, for which the script has nothing.
        assert client.complete(URI, 0, column - 1) == []


def test_without_a_preference_positions_are_utf_16(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        assert client.initialize()["capabilities"]["positionEncoding"] == "utf-16"


@pytest.mark.parametrize(
    "before",
    [
        "é🎈👩‍👩‍👧 ",
        "a\r\nb\r",
        "a\u2028b\u2029\x85c",
        "a\x0cb\x0b\x1c\x1d",
        "\ud83d",
        "\x00\x01\x7f",
        "\ufeff",
        "\t",
        "ﬁ漢字",
    ],
    ids=ascii,
)
def test_the_caret_is_found_after_nasty_text(shared: Client, before: str) -> None:
    """Nasty in the line before the caret: whatever splits lines or counts columns otherwise misses the caret."""
    text = f"{before}pri"
    last_line = text.replace("\r\n", "\n").replace("\r", "\n").rsplit("\n", 1)[-1]
    column = sum(2 if ord(char) > 0xFFFF else 1 for char in last_line)
    line = text.replace("\r\n", "\n").replace("\r", "\n").count("\n")
    shared.open(URI, text)
    (item,) = shared.complete(URI, line, column) or []
    assert item["insertText"] == "nt(value)"
    assert item["range"] == span(line, column, line, column)


def test_a_caret_outside_of_the_document_is_moved_into_it(shared: Client) -> None:
    shared.open(URI, "pri")
    assert shared.texts(URI, 99, 99) == ["nt(value)"]
    assert shared.texts(URI, 0, 99) == ["nt(value)"]


def test_typing_along_a_suggestion_does_not_ask_the_model(server: Client) -> None:
    """The script would answer otherwise after every one of these characters."""
    server.open(URI, "pri\n")
    assert server.texts(URI, 0, 3) == ["nt(value)"]
    server.change(URI, (0, 3, 0, 3, "n"))
    assert server.texts(URI, 0, 4) == ["t(value)"]
    server.change(URI, (0, 4, 0, 4, "t("))
    assert server.texts(URI, 0, 6) == ["value)"]
    assert server.stats(URI)["shown"] == 1


def test_deleting_back_along_a_suggestion_does_not_ask_the_model(server: Client) -> None:
    server.open(URI, "pri\n")
    server.texts(URI, 0, 3)
    server.change(URI, (0, 3, 0, 3, "nt"))
    server.change(URI, (0, 4, 0, 5, ""))
    assert server.texts(URI, 0, 4) == ["t(value)"]
    assert server.stats(URI)["shown"] == 1


def test_a_bracket_that_the_editor_closes_on_its_own_is_not_suggested_twice(shared: Client) -> None:
    shared.open(URI, "pri\n")
    shared.texts(URI, 0, 3)
    shared.change(URI, (0, 3, 0, 3, "nt()"))
    assert shared.texts(URI, 0, 6) == ["value"]


@pytest.mark.parametrize(
    ("change", "column"),
    [((0, 3, 0, 3, "X"), 4), ((0, 0, 0, 0, " "), 4), ((1, 0, 1, 0, "y"), 3), ((0, 2, 0, 3, ""), 2)],
    ids=["typed otherwise", "changed before", "changed after", "deleted too far"],
)
def test_any_other_change_asks_the_model(server: Client, change: tuple[int, int, int, int, str], column: int) -> None:
    server.open(URI, "pri\n\n")
    server.texts(URI, 0, 3)
    server.change(URI, change)
    server.texts(URI, 0, column)
    assert server.stats(URI)["shown"] == 2


def test_an_answer_is_accepted_once_however_often_it_is_shown(server: Client) -> None:
    """Accept, undo, accept again, as people do; and of several items only one is taken."""
    server.open(URI, "pri\n")
    for taken in (True, False):
        (item,) = server.complete(URI, 0, 3) or []
        accepted = {"command": "keyturn.accepted", "arguments": item["command"]["arguments"]}
        server.change(URI, (0, 3, 0, 3, "nt(value)"))
        assert server.request("workspace/executeCommand", accepted) is taken
        server.change(URI, (0, 3, 0, 12, ""))
    server.change(URI, (1, 0, 1, 0, "y"))
    (item,) = server.complete(URI, 0, 3) or []
    accepted = {"command": "keyturn.accepted", "arguments": item["command"]["arguments"]}
    assert server.request("workspace/executeCommand", accepted) is True
    found = server.stats(URI)
    assert (found["shown"], found["accepted"]) == (2, 2)


def test_a_suggestion_typed_to_its_end_is_followed_by_a_new_one(shared: Client) -> None:
    shared.open(URI, "pri")
    shared.texts(URI, 0, 3)
    shared.change(URI, (0, 3, 0, 3, "nt(value)"))
    assert shared.texts(URI, 0, 12) == [".asked_again"]


def test_the_selected_menu_entry_is_extended_over_its_range(shared: Client) -> None:
    shared.open(URI, "x = p\n")
    (item,) = shared.complete(URI, 0, 5, selected={"range": span(0, 4, 0, 5), "text": "pri"}) or []
    assert item["insertText"] == "print(value)"
    assert item["range"] == span(0, 4, 0, 5)
    assert "filterText" not in item


def test_a_menu_entry_that_matched_loosely_is_still_shown(shared: Client) -> None:
    """Editors show an item only if the text it replaces begins its filter text."""
    shared.open(URI, "x = pi\n")
    (item,) = shared.complete(URI, 0, 6, selected={"range": span(0, 4, 0, 6), "text": "pri"}) or []
    assert item["insertText"] == "print(value)"
    assert item["filterText"].startswith("pi")


def test_asking_about_a_menu_entry_leaves_the_document_alone(shared: Client) -> None:
    shared.open(URI, "x = p\n")
    digest = shared.stats(URI, digest=True)["sha256"]
    shared.complete(URI, 0, 5, selected={"range": span(0, 4, 0, 5), "text": "pri"})
    assert shared.stats(URI, digest=True)["sha256"] == digest
    assert shared.texts(URI, 0, 5) == [".asked_again"]


def test_the_newest_request_for_a_document_wins(shared: Client) -> None:
    shared.open(URI, "never(\npri")
    older = shared.start_completion(URI, 0, 6)
    newer = shared.start_completion(URI, 1, 3)
    with pytest.raises(ServerError) as caught:
        shared.reply(older)
    assert caught.value.code == -32800
    assert [item["insertText"] for item in shared.reply(newer)] == ["nt(value)"]


def test_a_request_that_is_served_from_memory_wins_too(tmp_path: Path) -> None:
    with serving(tmp_path, SCRIPT, KEYTURN_DEBOUNCE_MS="0") as client:
        client.initialize()
        client.open(URI, "pri\nnever(")
        assert client.texts(URI, 0, 3) == ["nt(value)"]
        older = client.start_completion(URI, 1, 6)
        assert client.texts(URI, 0, 3) == ["nt(value)"]
        with pytest.raises(ServerError) as caught:
            client.reply(older)
        assert caught.value.code == -32800


def test_a_request_for_one_document_leaves_the_others_waiting(shared: Client) -> None:
    other = "file:///project/other.py"
    shared.open(URI, "never(")
    shared.open(other, "pri")
    slow = shared.start_completion(URI, 0, 6)
    waiting = shared.start_completion(other, 0, 3)
    shared.cancel(slow)
    assert [item["insertText"] for item in shared.reply(waiting)] == ["nt(value)"]
    with pytest.raises(ServerError) as caught:
        shared.reply(slow)
    assert caught.value.code == -32800


def test_a_suggestion_for_a_text_that_is_gone_is_not_shown(tmp_path: Path) -> None:
    script = {"rules": [{"after": "slow", "text": "late", "delay_ms": 300}, {"after": "", "text": "quick"}]}
    with serving(tmp_path, script) as client:
        client.initialize()
        client.open(URI, "slow")
        pending = client.start_completion(URI, 0, 4)
        client.change(URI, (0, 0, 0, 4, "fast"))
        assert client.reply(pending) is None
        assert client.texts(URI, 0, 4) == ["quick"]


def test_an_explicit_request_gets_distinct_items(shared: Client) -> None:
    shared.open(URI, "pri")
    assert shared.texts(URI, 0, 3, kind=1) == ["nt(value)"]


def test_accepting_is_counted_once(server: Client) -> None:
    server.open(URI, "pri")
    (item,) = server.complete(URI, 0, 3) or []
    accepted = {"command": item["command"]["command"], "arguments": item["command"]["arguments"]}
    assert server.request("workspace/executeCommand", accepted) is True
    assert server.request("workspace/executeCommand", accepted) is False
    stats = server.stats(URI)
    assert (stats["requests"], stats["shown"], stats["accepted"]) == (1, 1, 1)


def test_stats_tell_what_the_last_completion_cost(server: Client) -> None:
    server.open(URI, "pri")
    server.texts(URI, 0, 3)
    stats = server.stats(URI)
    assert set(stats["counts"]) == {"prompt", "kept", "turned", "encoded", "generated", "stale"}
    assert set(stats["timings_ms"]) == {"tokenize", "turn", "encode", "first_token", "decode", "total"}
    assert stats["counts"]["prompt"] == 3
    assert stats["cache_bytes"] > 0
    assert stats["engine"] == "scripted"
    assert stats["state"] == "ready"


def test_closing_a_document_forgets_it(server: Client) -> None:
    server.open(URI, "pri")
    server.texts(URI, 0, 3)
    server.close(URI)
    assert server.complete(URI, 0, 3) is None
    stats = server.stats(URI)
    assert (stats["counts"], stats["cache_bytes"], stats["version"]) == (None, None, None)
    server.open(URI, "x")
    assert server.texts(URI, 0, 1) == [".asked_again"]


def test_a_document_closed_before_the_model_was_asked_is_not_remembered(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        client.initialize(options={"debounceMs": 100})
        client.open(URI, "x")
        pending = client.start_completion(URI, 0, 1)
        client.close(URI)
        with pytest.raises(ServerError) as caught:
            client.reply(pending)
        assert caught.value.code == -32800
        client.open(URI, "x")
        stats = client.stats(URI)
        assert (stats["counts"], stats["cache_bytes"]) == (None, 0)


def test_opening_an_open_document_replaces_it(shared: Client) -> None:
    shared.open(URI, "old")
    shared.texts(URI, 0, 3)
    shared.open(URI, "pri")
    assert shared.texts(URI, 0, 3) == ["nt(value)"]


@pytest.mark.parametrize(
    "uri", ["untitled:Untitled-1", "vscode-notebook-cell:/project/a.ipynb#W0", "file:///%E4%B8%AD.xyz"]
)
def test_documents_that_are_no_files_get_suggestions_too(shared: Client, uri: str) -> None:
    shared.open(uri, "pri", language="plaintext")
    assert shared.texts(uri, 0, 3) == ["nt(value)"]


def test_a_failing_engine_is_reported_once_and_lives_on(server: Client) -> None:
    server.open(URI, "broken")
    assert server.complete(URI, 0, 6) == []
    server.change(URI, "pri")
    server.change(URI, "broken")
    assert server.complete(URI, 0, 6) == []
    server.change(URI, "pri")
    assert server.texts(URI, 0, 3) == ["nt(value)"]
    assert server.messages() == ["keyturn: The engine broke; start it again."]


def test_without_an_engine_there_is_one_message_and_no_suggestion(tmp_path: Path) -> None:
    with serving(tmp_path, {"rules": 5}) as client:
        client.initialize()
        client.open(URI, "pri")
        assert client.complete(URI, 0, 3) == []
        assert client.complete(URI, 0, 3) == []
        assert client.stats(URI)["state"] == "error"
        (message,) = client.messages()
        assert "script" in message
        assert client.shut_down() == 0


def test_requests_wait_for_the_engine_and_can_be_cancelled_meanwhile(tmp_path: Path) -> None:
    """Before `initialized` nothing is loaded."""
    with serving(tmp_path) as client:
        client.request("initialize", {"processId": None, "rootUri": None, "capabilities": {}})
        client.notify("initialized", {})
        client.open(URI, "x")
        other = "file:///project/other.py"
        client.open(other, "y")
        pending = client.start_completion(URI, 0, 1)
        cancelled = client.start_completion(other, 0, 1)
        client.cancel(cancelled)
        with pytest.raises(ServerError) as caught:
            client.reply(cancelled)
        assert caught.value.code == -32800
        assert [item["insertText"] for item in client.reply(pending)] == ["hello"]


def test_loading_has_a_status_for_clients_that_want_one(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        client.initialize(experimental={"keyturnStatus": True})
        assert client.notified("keyturn/status", state="ready")["model"] == "script.json"
        client.open(URI, "x")
        client.texts(URI, 0, 1)
        assert client.wait(
            lambda: [m for m in client.notifications if (m.get("params") or {}).get("last_ms") is not None]
        )


def test_other_clients_get_no_status(shared: Client) -> None:
    shared.open(URI, "pri")
    shared.texts(URI, 0, 3)
    assert [m["method"] for m in shared.notifications] == []


def test_a_request_that_is_held_back_does_not_come_after_a_newer_one(tmp_path: Path) -> None:
    """Automatic requests wait a moment, explicit ones do not."""
    with serving(tmp_path, KEYTURN_DEBOUNCE_MS="300") as client:
        client.initialize()
        client.open(URI, "x\ny")
        automatic = client.start_completion(URI, 0, 1)
        explicit = client.start_completion(URI, 1, 1, kind=1)
        assert [item["insertText"] for item in client.reply(explicit)] == ["hello"]
        with pytest.raises(ServerError) as caught:
            client.reply(automatic)
        assert caught.value.code == -32800


SNIPPET = {"default": {"text": "open(path, mode)  # \\}$x", "unsure": ["path", "mode"]}}


def test_parts_in_doubt_become_placeholders_for_clients_that_take_them(tmp_path: Path) -> None:
    with serving(tmp_path, SNIPPET) as client:
        client.initialize(experimental={"keyturnSnippets": True})
        client.open(URI, "x = ")
        (item,) = client.complete(URI, 0, 4, kind=1) or []
        assert item["insertText"] == {"kind": "snippet", "value": "open(${1:path}, ${2:mode})  # \\\\\\}\\$x$0"}
        assert item["range"] == span(0, 4, 0, 4)
        (item,) = client.complete(URI, 0, 4, kind=2) or []
        assert item["insertText"] == "open(path, mode)  # \\}$x", "asked by nobody, it is plain text"


def test_nobody_else_gets_placeholders(tmp_path: Path) -> None:
    with serving(tmp_path, SNIPPET) as client:
        client.initialize()
        client.open(URI, "x = ")
        assert client.texts(URI, 0, 4, kind=1) == ["open(path, mode)  # \\}$x"]


def test_several_lines_are_no_snippet(tmp_path: Path) -> None:
    """Editors would indent them again."""
    script = {"default": {"text": "\n    open(path)\n    close()\n", "unsure": ["path"]}}
    with serving(tmp_path, script) as client:
        client.initialize(experimental={"keyturnSnippets": True})
        client.open(URI, "def f():\n")
        assert client.texts(URI, 0, 8, kind=1) == ["\n    open(path)\n    close()"]
