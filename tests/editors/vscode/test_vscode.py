"""The extension in VS Code itself: what a person sees and what the keys do."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.editors.vscode.conftest import SCREENSHOTS, SERVER
from tests.editors.vscode.workbench import Workbench
from tests.editors.wire import Wire, wait_for
from tests.model.vllm.scripted_server import Request, piece, serving

SOURCE = Path(shlex.__file__).read_bytes()

SHOP = b'''"""A small shop: what is there and what it is worth."""

import json
from dataclasses import asdict, dataclass


@dataclass
class Item:
    name: str
    price: float
    quantity: int = 0

    def total(self):
        return self.price * self.quantity


def load_items(path):
    with open(path, encoding="utf-8") as file:
        return [Item(**entry) for entry in json.load(file)]


def save_items(path, items):
    with open(path, "w", encoding="utf-8") as file:
        json.dump([asdict(item) for item in items], file)


def find_item(items, name):
    for item in items:
        if item.name == name:
            return item
    return None


'''

INLINE = "textDocument/inlineCompletion"

Open = Callable[..., Workbench]
Scripted = Callable[..., dict[str, object]]


def requests(window: Workbench) -> int:
    """Completions that were asked of the engine or answered from memory."""
    return len(window.wire.messages("client", "textDocument/inlineCompletion"))


def engine_requests(window: Workbench, name: str) -> int:
    return int(window.wire.ask("keyturn/stats", {"uri": uri(window, name)})["engine_requests"])


def told(window: Workbench) -> list[dict[str, int]]:
    """Where the server was told that the caret is, in order."""
    return [message["params"]["position"] for message in window.wire.messages("client", "keyturn/caret")]


def uri(window: Workbench, name: str) -> str:
    return (window.project / name).as_uri()


def server_text_is(window: Workbench, name: str, text: str) -> bool:
    stats = window.wire.ask("keyturn/stats", {"uri": uri(window, name), "digest": True})
    return bool(stats["sha256"] == hashlib.sha256(text.encode()).hexdigest())


def test_the_default_model_shows_ghost_text_and_tab_accepts_it(vscode: Open) -> None:
    """From a keystroke to the file on disk, with the weights that ship. The picture is the README's."""
    window = vscode({"shop.py": SHOP})
    window.open("shop.py", caret=(34, 1))
    window.wait_until_ready()
    window.type("def remove_item(items, name):")
    window.press("Enter")
    window.wait_for_ghost()
    offered = window.wire.suggestions()[-1]
    first, _, below = offered.partition("\n")
    # Lines below the caret's stand first in the page. All come in pieces, by their colours, and not all at once.
    whole = "".join((below + first).split())
    wait_for(lambda: "".join(window.ghost_text().split()) == whole, f"{offered!r} on screen")
    window.page.screenshot(path=SCREENSHOTS / "ghost_text.png")
    window.press("Tab")
    wait_for(lambda: not window.ghost_text(), "the ghost text to go")
    assert window.save("shop.py") == f"{SHOP.decode()}def remove_item(items, name):\n    {offered}"
    accepted = wait_for(lambda: window.wire.messages("client", "workspace/executeCommand"), "the acceptance")
    assert accepted[0]["params"]["command"] == "keyturn.accepted"
    window.wait_for_status(r"^sparkle keyturn \d+ ms \| keyturn: Ready: keyturn-python, last suggestion in \d+ ms")


def test_the_default_model_after_an_edit_above(vscode: Open) -> None:
    """A fresh suggestion, from a cache that was edited: nearly all of its tokens were kept or turned."""
    window = vscode({"main.py": SOURCE})
    window.open("main.py", caret=(45, 1))
    window.wait_until_ready()
    window.press("End", "Enter")
    window.type("self.extra = ")
    window.wait_for_ghost()
    window.go_to(3, 1)
    window.type("# A line above.\n")
    window.go_to(47, 22)
    wait_for(lambda: {"line": 46, "character": 21} in told(window)[-1:], "the server to hear where the caret is")
    assert len(told(window)) < 10, "typing is told as well"
    answered = window.wire.num_answers()
    window.type(" ")
    wait_for(lambda: window.wire.num_answers() > answered, "an answer after the edit")
    tokens = window.wire.ask("keyturn/stats", {"uri": uri(window, "main.py")})["counts"]
    assert tokens["encoded"] < tokens["prompt"] // 4
    assert tokens["kept"] + tokens["turned"] > tokens["prompt"] // 2


def test_a_word_is_accepted_and_typing_through_keeps_the_rest(vscode: Open, scripted: Scripted) -> None:
    """Neither asks the engine again."""
    window = vscode({"a.txt": b"first line\n"}, scripted((r"call $", "alpha beta gamma")))
    window.open("a.txt", caret=(2, 1))
    window.wait_until_ready()
    window.type("call ")
    assert window.wait_for_ghost() == "alpha beta gamma"
    asked = engine_requests(window, "a.txt")
    window.press("Control+ArrowRight")
    assert window.wait_for_ghost(r"^\s*beta gamma").strip() == "beta gamma"
    window.type(" bet")
    assert window.wait_for_ghost(r"^a gamma") == "a gamma"
    assert engine_requests(window, "a.txt") == asked
    window.press("Tab")
    assert window.save("a.txt") == "first line\ncall alpha beta gamma"


def test_nothing_repeats_what_stands_behind_the_caret(vscode: Open, scripted: Scripted) -> None:
    """A bracket and a line that the file has already are not suggested again."""
    window = vscode({"a.py": b"x = f()\ny = 2\n"}, scripted((r"f\($", "a, b)\ny = 2\n")))
    window.open("a.py", caret=(1, 7))
    window.wait_until_ready()
    window.press("Backspace")
    window.type("(")
    assert window.wait_for_ghost() == "a, b"
    window.press("Tab")
    assert window.save("a.py") == "x = f(a, b)\ny = 2\n"


def test_no_stale_suggestion_is_shown(vscode: Open, scripted: Scripted) -> None:
    """A slow answer to text that is no longer there never appears."""
    rules = scripted((r"one $", "STALE"), (r"two $", "fresh"), delay_ms=400)
    window = vscode({"a.txt": b"\n"}, rules)
    window.open("a.txt", caret=(1, 1))
    window.wait_until_ready()
    window.type("one ", delay=5)
    wait_for(lambda: requests(window), "the first request")
    window.press("Home")
    window.press("Shift+End")
    window.type("two ", delay=5)
    seen = set()
    wait_for(lambda: seen.add(text := window.ghost_text()) or text == "fresh", "the fresh suggestion")
    assert "STALE" not in seen


def test_a_killed_server_comes_back(vscode: Open, scripted: Scripted) -> None:
    """With the text that the editor has by then."""
    window = vscode({"a.txt": b"\n"}, scripted((r"call $", "again")))
    window.open("a.txt", caret=(1, 1))
    window.wait_until_ready()
    first = window.wire.server_pid()
    window.wire.kill_server()
    wait_for(lambda: window.wire.server_pid() != first, "a new server")
    window.wait_until_ready()
    window.type("call ")
    assert window.wait_for_ghost() == "again"
    assert server_text_is(window, "a.txt", "call \n")


def test_a_server_that_dies_again_and_again_is_given_up(vscode: Open, scripted: Scripted) -> None:
    """After five restarts, with a message and the error in the status bar."""
    window = vscode({"a.txt": b"\n"}, scripted())
    window.open("a.txt", caret=(1, 1))
    for _ in range(6):
        window.wait_for_status("^sparkle")
        pid = window.wire.server_pid()
        window.wire.kill_server()
        wait_for(lambda pid=pid: not psutil.pid_exists(pid), "the server to die")  # type: ignore[misc]
        wait_for(
            lambda pid=pid: window.wire.server_pid() != pid or window.status().startswith("error"),  # type: ignore[misc]
            "a new server or an end",
        )
    window.wait_for_status("^error keyturn .*The server has stopped")
    wait_for(lambda: any("will not be restarted" in text for text in window.messages()), "the message")


def test_a_server_that_does_not_start_is_told_once(vscode: Open) -> None:
    window = vscode({"a.txt": b"\n"}, {}, server=[sys.executable, "-c", "raise SystemExit(1)"])
    window.wait_for_status("^error keyturn .*does not start")
    wait_for(lambda: any("the log tells why" in text for text in window.messages()), "the message")
    time.sleep(2)
    assert len(window.messages()) == 1


def test_restarts_in_a_row_leave_one_server(vscode: Open, scripted: Scripted) -> None:
    """Each begins while the one before is under way."""
    window = vscode({"a.txt": b"\n"}, scripted((r"call $", "once")))
    window.open("a.txt", caret=(1, 1))
    window.wait_until_ready()

    def servers() -> list[int]:
        return [entry["message"]["pid"] for entry in window.wire.entries() if "pid" in entry["message"]]

    for _ in range(3):
        window.run("keyturn: Restart the Server")
    wait_for(lambda: len(servers()) == 4, "the servers of three restarts")
    wait_for(lambda: [pid for pid in servers() if psutil.pid_exists(pid)] == servers()[-1:], "the last one alone")
    window.wait_until_ready()
    window.type("call ")
    assert window.wait_for_ghost() == "once"


def test_a_projects_file_counts_where_the_editor_says_nothing(vscode: Open, scripted: Scripted) -> None:
    """The defaults that VS Code knows are no settings of anyone."""
    files = {"a.txt": b"\n", "keyturn.toml": b"max_tokens = 3\n"}
    window = vscode(files, scripted((r"call $", "one two three four five")))
    window.open("a.txt", caret=(1, 1))
    window.wait_until_ready()
    window.type("call ")
    window.wait_for_ghost()
    assert window.wire.ask("keyturn/stats", {"uri": uri(window, "a.txt")})["counts"]["generated"] == 3


def test_a_wrong_setting_shows_one_message(vscode: Open, scripted: Scripted) -> None:
    """And its default counts; everything else works."""
    window = vscode({"a.txt": b"\n"}, {**scripted((r"call $", "fine")), "keyturn.maxTokens": -3})
    window.open("a.txt", caret=(1, 1))
    wait_for(lambda: any("`max_tokens`" in text for text in window.messages()), "the message")
    window.wait_until_ready()
    window.type("call ")
    assert window.wait_for_ghost() == "fine"
    assert len(window.wire.messages("server", "window/showMessage")) == 1


def test_settings_of_a_wrong_kind_stop_nothing(vscode: Open, scripted: Scripted) -> None:
    """VS Code hands an extension whatever stands in the file."""
    wrong: dict[str, object] = {"keyturn.disabledLanguages": {"markdown": True}, "keyturn.enabled": None}
    window = vscode({"a.txt": b"\n"}, {**scripted((r"call $", "fine")), **wrong})
    window.open("a.txt", caret=(1, 1))
    wait_for(lambda: any("`disabled_languages`" in text for text in window.messages()), "the message")
    window.wait_until_ready()
    window.type("call ")
    assert window.wait_for_ghost() == "fine"


def test_a_command_that_is_none_is_told(vscode: Open) -> None:
    window = vscode({"a.txt": b"\n"}, {"keyturn.command": ["keyturn", 5]}, server=None)
    window.wait_for_status("^error keyturn .*`keyturn.command` must be a list of words")


def test_no_server_is_one_message_that_says_what_to_do(vscode: Open) -> None:
    window = vscode({"a.txt": b"\n"}, {}, server=None)
    window.wait_for_status("^error keyturn .*not installed")
    wait_for(lambda: any("server is not installed" in text for text in window.messages()), "the message")
    buttons = window.page.locator(".notification-list-item-buttons-container .monaco-button").all_inner_texts()
    assert buttons == ["Copy Install Command", "Open Settings"]
    window.page.locator(".notification-list-item-buttons-container .monaco-button", has_text="Open Settings").click()
    window.page.locator(".settings-editor .setting-item-label", has_text="Command").first.wait_for(state="visible")


WRITTEN = {"installed": None, "string": "~/elsewhere/keyturn", "list": ["~/elsewhere/keyturn", "serve"]}


@pytest.mark.parametrize("way", WRITTEN)
def test_the_server_is_found_where_people_put_it(vscode: Open, scripted: Scripted, tmp_path: Path, way: str) -> None:
    """Where the README installs it, and by the setting, however people write that."""
    program = tmp_path / "window" / (".keyturn/bin" if way == "installed" else "elsewhere") / "keyturn"
    program.parent.mkdir(parents=True)
    wire = Wire(tmp_path / "window" / "wire.jsonl")
    program.write_text(f'#!/bin/sh\nexec {shlex.join(wire.command(*SERVER))} "$@"\n')
    program.chmod(0o755)
    command = {} if way == "installed" else {"keyturn.command": WRITTEN[way]}
    window = vscode({"a.txt": b"\n"}, scripted((r"call $", "fine")) | command, server=None)
    window.open("a.txt", caret=(1, 1))
    window.wait_until_ready()
    window.type("call ")
    assert window.wait_for_ghost() == "fine"


def test_suggestions_are_paused_here_and_everywhere(vscode: Open, scripted: Scripted) -> None:
    """By the commands, at once and without a restart; the status bar says so."""
    window = vscode({"a.txt": b"\n"}, scripted((r"call $", "shown")))
    window.open("a.txt", caret=(1, 1))
    window.wait_until_ready()
    pid = window.wire.server_pid()
    for command, where in (("in This Language", "in this language"), ("Pause or Resume Suggestions", "paused.")):
        window.run(f"keyturn: Pause or Resume Suggestions{' ' + command if 'in' in command[:3] else ''}")
        window.wait_for_status(f"^circle-slash keyturn .*{where}")
        told = len(window.wire.messages("client", "workspace/didChangeConfiguration"))
        assert told
        window.press("Control+A")
        asked = requests(window)
        window.type("call ")
        wait_for(lambda asked=asked: requests(window) > asked, "a request")  # type: ignore[misc]
        time.sleep(1)
        assert window.ghost_text() == ""
        window.run(f"keyturn: Pause or Resume Suggestions{' ' + command if 'in' in command[:3] else ''}")
        window.wait_until_ready()
        window.press("Control+A")
        window.type("call ")
        assert window.wait_for_ghost() == "shown"
    assert window.wire.server_pid() == pid


def test_the_status_bar_says_why_a_file_with_secrets_gets_no_suggestions(vscode: Open, scripted: Scripted) -> None:
    window = vscode({"a.txt": b"\n", ".env": b"\n"}, scripted((r"call $", "shown")))
    window.open(".env", caret=(1, 1))
    window.wait_for_status("^circle-slash keyturn .*.env may hold secrets")
    window.open("a.txt", caret=(1, 1))
    window.wait_until_ready()


def test_statistics_tell_what_was_kept(vscode: Open, scripted: Scripted) -> None:
    window = vscode({"a.txt": b"\n"}, scripted((r"call $", "shown")))
    window.open("a.txt", caret=(1, 1))
    window.wait_until_ready()
    window.type("call ")
    window.wait_for_ghost()
    window.press("Tab")
    wait_for(lambda: window.wire.messages("client", "workspace/executeCommand"), "the acceptance")
    window.run("keyturn: Show Statistics")
    told = window.dialog()
    assert "accepted: 1" in told
    assert "tokens read" in told


def test_untitled_files_and_notebook_cells(vscode: Open, scripted: Scripted) -> None:
    """Text that is in no file, and the code cells of a notebook."""
    cell = {"cell_type": "code", "source": ["x = 1\n"], "metadata": {}, "outputs": [], "execution_count": None}
    notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    window = vscode({"n.ipynb": json.dumps(notebook).encode()}, scripted((r"x = $", "shown")))
    window.wait_for_status("^sparkle")
    window.run("File: New Untitled Text File")
    window.page.locator(".editor-group-container.active .monaco-editor.focused").first.wait_for(state="attached")
    window.wait_until_ready()
    window.type("x = ")
    assert window.wait_for_ghost() == "shown"
    window.press("Tab")
    wait_for(lambda: not window.ghost_text(), "the acceptance")
    window.open_notebook("n.ipynb")
    window.wait_until_ready()
    window.type("x = ")
    assert window.wait_for_ghost() == "shown"


def test_emoji_and_tabs_before_the_caret(vscode: Open, scripted: Scripted) -> None:
    """Columns are UTF-16 on the wire; the suggestion stands where the caret is."""
    window = vscode({"a.txt": "\t🎈é\tx\r\nend\r\n".encode()}, scripted((r"x = $", "y")))
    window.open("a.txt", caret=(1, 1))
    window.wait_until_ready()
    window.press("End")
    window.type(" = ")
    assert window.wait_for_ghost() == "y"
    window.press("Tab")
    assert window.save("a.txt") == "\t🎈é\tx = y\r\nend\r\n"


def test_five_hundred_keystrokes_leave_both_sides_with_the_same_text(vscode: Open) -> None:
    """Typing, deleting, pasting over, undo and accepted suggestions, in a real file, with the default model.

    Nothing that was shown was older than what had been typed, and the server's memory stays flat.
    """
    window = vscode({"main.py": SOURCE})
    window.open("main.py", caret=(45, 1))
    window.wait_until_ready()
    rng = random.Random(4)
    words = ["self.state = ", "for item in range(", "return self.", "if not token:", "# 🎈 note", "x = {", '"""', "\t"]
    keys = 0
    sizes = []
    while keys < 500:
        luck = rng.random()
        if luck < 0.1:
            window.go_to(rng.randint(1, 300), rng.randint(1, 60))
        elif luck < 0.7:
            word = rng.choice(words)
            window.type(word, delay=8)
            keys += len(word)
            if rng.random() < 0.3:
                window.press("Tab")
        elif luck < 0.8:
            window.press("Enter")
        elif luck < 0.9:
            window.press("Control+Backspace")
        elif luck < 0.95:
            window.press("Control+Z")
        else:
            window.press("Shift+ArrowDown")
            window.type("z")
        keys += 1
        if keys > 100:
            sizes.append(psutil.Process(window.wire.server_pid()).memory_info().rss)
    window.press("Escape")
    text = window.save("main.py")
    wait_for(lambda: server_text_is(window, "main.py", text), "the server to have the editor's text")
    errors = [m for m in window.wire.messages("server") if m.get("error", {}).get("code") not in (None, -32800)]
    assert errors == []
    assert max(sizes[len(sizes) // 2 :]) < 1.1 * max(sizes[: len(sizes) // 2])


def test_several_suggestions_are_gone_through(vscode: Open) -> None:
    """Alt+] asks for more than one, and shows the next."""
    answers = itertools.count(1)

    def varied(request: Request) -> None:
        request.stream([piece(f"answer {next(answers)}")])

    models = {"GET /v1/models": lambda request: request.answer({"data": [{"id": "big"}]})}
    with serving(models | {"POST /v1/completions": varied}) as server:
        settings = {"keyturn.engine": "vllm", "keyturn.url": server.url, "keyturn.fallback": False}
        window = vscode({"a.txt": b"first line\n"}, settings)
        window.open("a.txt", caret=(2, 1))
        window.wait_until_ready()
        window.type("call ")
        first = window.wait_for_ghost()
        window.press("Alt+]")
        second = wait_for(lambda: (text := window.ghost_text()) and text != first and text, "another suggestion")
        window.press("Alt+]")
        third = wait_for(lambda: (text := window.ghost_text()) and text not in (first, second) and text, "a third")
        kinds = [m["params"]["context"]["triggerKind"] for m in window.wire.messages("client", INLINE)]
        assert 1 in kinds
        window.press("Tab")
        assert window.save("a.txt") == f"first line\ncall {third}"


def test_parts_in_doubt_are_placeholders(vscode: Open, scripted: Scripted) -> None:
    """Who asks for suggestions gets them as a snippet: after acceptance what is typed replaces the parts in doubt."""
    rules = scripted((r"call $", "open(path, {mode})"), unsure=["path", "mode"])
    window = vscode({"a.txt": b"first line\n"}, rules)
    window.open("a.txt", caret=(2, 1))
    window.wait_until_ready()
    window.type("call ")
    window.wait_for_ghost()
    window.press("Escape")  # so that what is on screen next is the answer to the explicit request, not this one
    wait_for(lambda: not window.ghost_text(), "the automatic suggestion to go")
    window.run("Trigger Inline Suggestion")
    assert window.wait_for_ghost() == "open(path, {mode})"
    window.press("Tab")
    wait_for(lambda: not window.ghost_text(), "the ghost text to go")
    window.type("here")
    window.press("Tab")
    window.type("now")
    assert window.save("a.txt") == "first line\ncall open(here, {now})"


def test_the_key_of_a_server_is_kept_in_secret_storage(vscode: Open) -> None:
    """It reaches the server that is asked, and stands in no file of settings."""

    def guarded(request: Request) -> None:
        if request.header("Authorization") != "Bearer secret-key":
            request.answer({"error": {"message": "no"}}, 401)
        elif request.body:
            request.stream([piece("from afar")])
        else:
            request.answer({"data": [{"id": "big"}]})

    with serving({"GET /v1/models": guarded, "POST /v1/completions": guarded}) as server:
        settings = {"keyturn.engine": "vllm", "keyturn.url": server.url, "keyturn.fallback": False}
        window = vscode({"a.txt": b"first line\n"}, settings)
        window.open("a.txt", caret=(2, 1))
        wait_for(lambda: any("wants an API key" in text for text in window.messages()), "the message about the key")
        window.run("keyturn: Set API Key", answer="secret-key")
        window.wait_for_status(r"Ready: big")
        window.wait_until_ready()
        window.go_to(2, 1)
        window.type("call ")
        assert window.wait_for_ghost() == "from afar"
        assert "secret-key" not in window.wire.path.read_text()
    written = [path for path in window.project.parent.rglob("settings.json") if "secret-key" in path.read_text()]
    assert not written
