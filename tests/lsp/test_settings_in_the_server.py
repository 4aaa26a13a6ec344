"""How settings reach the running server, and how it speaks of bad ones."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from lsprotocol.types import TextDocumentItem

from lsp.features.acceptance import Acceptance
from lsp.features.inline_completion import InlineCompletion
from lsp.features.read_ahead import ReadAhead
from lsp.session.documents import Documents
from lsp.session.engine_thread import EngineThread, Feature
from lsp.session.session import Session
from lsp.session.settings import Settings
from lsp.session.status import Status
from lsp.session.window_settings import WindowSettings
from tests.lsp.client import PATIENCE, Client, ServerError, serving

URI = "file:///project/main.py"


def test_bad_settings_are_reported_once_each(tmp_path: Path) -> None:
    (tmp_path / "keyturn.toml").write_text('engine = "embedded"\nmax_tokens = "many"\n')
    with serving(tmp_path, KEYTURN_NONSENSE="1") as client:
        client.initialize(root=tmp_path, options={"keyturn": {"reuse": "sometimes"}})
        client.open(URI, "x")
        assert client.texts(URI, 0, 1) == ["hello"]
        client.notify("workspace/didChangeConfiguration", {"settings": {"keyturn": {"seed": 5}}})
        client.stats(URI)
        messages = client.messages()
    assert len(messages) == len(set(messages)) == 4
    assert all(name in " ".join(messages) for name in ("`engine`", "`max_tokens`", "`reuse`", "`nonsense`"))


def test_the_editor_is_asked_for_its_settings(tmp_path: Path) -> None:
    with serving(tmp_path, settings={"maxTokens": 1}) as client:
        client.initialize(workspace={"configuration": True, "didChangeConfiguration": {"dynamicRegistration": True}})
        client.open(URI, "x")
        client.texts(URI, 0, 1)
        assert client.stats(URI)["counts"]["generated"] == 1
        assert {message["method"] for message in client.requests} == {
            "workspace/configuration",
            "client/registerCapability",
        }


def test_a_client_that_never_tells_its_settings_is_served(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        client._sort = lambda message: client.replies[message.get("id")].append(message)  # type: ignore[method-assign]
        client.initialize(workspace={"configuration": True})
        client.open(URI, "x")
        assert client.texts(URI, 0, 1) == ["hello"]


def test_patterns_hold_in_each_folder_of_the_project(tmp_path: Path) -> None:
    """In those that were added later, too."""
    later = "file:///later/secret/main.py"
    with serving(tmp_path) as client:
        client.initialize(root=tmp_path, options={"keyturn": {"disabledGlobs": ["secret/*"]}})
        client.open(later, "x")
        assert client.texts(later, 0, 1) == ["hello"]
        added = [{"uri": "file:///later", "name": "later"}, {"uri": "untitled:nowhere", "name": "nowhere"}]
        client.notify("workspace/didChangeWorkspaceFolders", {"event": {"added": added, "removed": []}})
        assert client.texts(later, 0, 1) == []
        client.notify("workspace/didChangeWorkspaceFolders", {"event": {"added": [], "removed": added}})
        assert client.texts(later, 0, 1) == ["hello"]


def hold_answers(client: Client) -> list[Any]:
    """From now on the server's questions are kept and not answered."""
    held: list[Any] = []
    sort = client._sort

    def hold(message: dict[str, Any]) -> None:
        if message.get("method") == "workspace/configuration":
            held.append(message["id"])
        else:
            sort(message)

    client._sort = hold  # type: ignore[method-assign]
    return held


def test_settings_hold_until_a_late_answer(tmp_path: Path) -> None:
    """A client that is busy has not taken back what it told; its answer counts when it comes."""
    with serving(tmp_path, settings={"enabled": False}) as client:
        client.initialize(workspace={"configuration": True})
        client.open(URI, "x")
        client.wait(lambda: client.requests)
        assert client.stats(URI)["version"] == 1
        assert client.complete(URI, 0, 1) == []
        held = hold_answers(client)
        client.notify("workspace/didChangeConfiguration", {"settings": None})
        [question] = client.wait(lambda: held)
        time.sleep(1.2)  # longer than the server waits
        assert client.complete(URI, 0, 1) == []
        client.send({"jsonrpc": "2.0", "id": question, "result": [{"enabled": True}]})
        until = time.monotonic() + PATIENCE
        while not client.complete(URI, 0, 1):
            assert time.monotonic() < until


def test_a_question_from_before_the_settings_is_answered(tmp_path: Path) -> None:
    """Also when they say that nothing is wanted."""
    with serving(tmp_path) as client:
        held = hold_answers(client)
        client.initialize(workspace={"configuration": True})
        client.open(URI, "x")
        [question] = client.wait(lambda: held)
        asked = client.start(
            "textDocument/inlineCompletion",
            {
                "textDocument": {"uri": URI},
                "position": {"line": 0, "character": 1},
                "context": {"triggerKind": 2},
            },
        )
        client.stats(URI)
        client.send({"jsonrpc": "2.0", "id": question, "result": [{"enabled": False}]})
        with pytest.raises(ServerError):
            client.reply(asked)
        assert client.complete(URI, 0, 1) == []


def test_settings_of_other_servers_are_none_of_ours(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        client.initialize(options={"keyturn": {"maxTokens": 1}})
        client.open(URI, "x")
        client.notify("workspace/didChangeConfiguration", {"settings": {"pylsp": {"plugins": {}}, "gopls": {}}})
        client.texts(URI, 0, 1)
        assert client.stats(URI)["counts"]["generated"] == 1
        assert client.messages() == []


def test_first_settings_can_be_unset(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        client.initialize(options={"keyturn": {"enabled": False}})
        client.open(URI, "x")
        assert client.complete(URI, 0, 1) == []
        client.notify("workspace/didChangeConfiguration", {"settings": {"keyturn": {}}})
        assert client.texts(URI, 0, 1) == ["hello"]


def test_an_empty_answer_takes_nothing_back(tmp_path: Path) -> None:
    """Some clients answer an empty table for a section that they do not know."""
    with serving(tmp_path, settings={}) as client:
        client.initialize(options={"maxTokens": 1}, workspace={"configuration": True})
        client.open(URI, "x")
        client.texts(URI, 0, 1)
        assert client.stats(URI)["counts"]["generated"] == 1


@pytest.mark.parametrize("rest", [{"enabled": None}, {"command": ["keyturn"]}])
def test_the_last_setting_can_be_unset(tmp_path: Path, rest: dict[str, Any]) -> None:
    """What is left is ours, though there are no settings of the server in it."""
    with serving(tmp_path) as client:
        client.initialize()
        client.open(URI, "x")
        client.notify("workspace/didChangeConfiguration", {"settings": {"enabled": False}})
        assert client.complete(URI, 0, 1) == []
        client.notify("workspace/didChangeConfiguration", {"settings": rest})
        assert client.texts(URI, 0, 1) == ["hello"]


def test_files_are_read_again_when_settings_change(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        client.initialize(root=tmp_path)
        client.open(URI, "x")
        assert client.texts(URI, 0, 1) == ["hello"]
        (tmp_path / "keyturn.toml").write_text("enabled = false\n")
        client.notify("workspace/didChangeConfiguration", {"settings": {"keyturn": {}}})
        assert client.complete(URI, 0, 1) == []


def test_changed_settings_count_from_the_next_request(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        client.initialize()
        client.open(URI, "x")
        assert client.texts(URI, 0, 1) == ["hello"]
        client.notify("workspace/didChangeConfiguration", {"settings": {"keyturn": {"enabled": False}}})
        assert client.complete(URI, 0, 1) == []
        client.notify("workspace/didChangeConfiguration", {"settings": {"keyturn": {"disabledLanguages": ["python"]}}})
        assert client.complete(URI, 0, 1) == []
        client.notify("workspace/didChangeConfiguration", {"settings": {"keyturn": {}}})
        assert client.texts(URI, 0, 1) == ["hello"]


def test_another_engine_is_loaded_when_its_settings_change(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text('{"default": {"text": "other"}}')
    with serving(tmp_path) as client:
        client.initialize()
        client.open(URI, "x")
        assert client.texts(URI, 0, 1) == ["hello"]
        client.notify("workspace/didChangeConfiguration", {"settings": {"keyturn": {"script": str(tmp_path / "none")}}})
        assert client.complete(URI, 0, 1) == []
        client.notify("workspace/didChangeConfiguration", {"settings": {"keyturn": {"script": str(other)}}})
        assert client.texts(URI, 0, 1) == ["other"]
        assert client.stats(URI)["model"] == "other.json"
        (message,) = client.messages()
        assert "none" in message


def test_a_server_that_starts_disabled_loads_its_engine_when_it_is_enabled(tmp_path: Path) -> None:
    with serving(tmp_path, KEYTURN_ENABLED="0") as client:
        client.initialize(experimental={"keyturnStatus": True})
        assert "switched off" in client.notified("keyturn/status", state="waiting")["message"]
        client.open(URI, "x")
        assert client.complete(URI, 0, 1) == []
        assert client.stats(URI)["state"] == "waiting"
        client.notify("workspace/didChangeConfiguration", {"settings": {"keyturn": {"enabled": True}}})
        assert client.texts(URI, 0, 1) == ["hello"]


def test_the_log_goes_to_the_file_that_is_named(tmp_path: Path) -> None:
    log = tmp_path / "keyturn.log"
    with serving(tmp_path, KEYTURN_LOG_FILE=str(log), KEYTURN_LOG_LEVEL="info") as client:
        client.initialize()
        client.change("file:///never/opened.py", "secret text")
        client.shut_down()
    content = log.read_text(encoding="utf-8")
    assert "not open: file:///never/opened.py" in content
    assert "secret" not in content


class EngineThatIsTold(EngineThread):
    """Notes what work is given up for which document; nothing runs."""

    def __init__(self) -> None:
        self.stopped: list[str] = []

    def stop_idle(self, document: str) -> None:
        self.stopped.append(document)

    def withdraw(self, document: str, feature: Feature) -> None:
        pass


@pytest.mark.asyncio
async def test_settings_that_exclude_a_file_end_what_was_begun_ahead() -> None:
    """The file was never asked about; its text must not reach the engine, which may be a server elsewhere."""
    documents, engine = Documents(), EngineThatIsTold()
    session = Session(documents, engine, Status.__new__(Status))
    read_ahead = ReadAhead(session)
    for name in ("a.sql", "b.py"):
        read_ahead.opened(documents.open(TextDocumentItem(f"file:///project/{name}", "", 1, "SECRET=1")))
    settings = WindowSettings(Settings(disabled_globs=("*.sql",)))
    InlineCompletion(session, Acceptance(), read_ahead).settings_changed(settings)
    assert engine.stopped == ["file:///project/a.sql"]
    assert [*read_ahead._timers] == ["file:///project/b.py"]
