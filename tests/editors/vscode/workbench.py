"""A VS Code that a test drives: code-server on the loopback interface, its window in a headless Chromium."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from tests.editors.vscode.install import Installation
from tests.editors.wire import Wire, wait_for

GHOST = ".ghost-text, .ghost-text-decoration, .ghost-text-decoration-preview"

STATUS = '.statusbar-item[id$="keyturn.status"]'

SETTINGS: dict[str, Any] = {
    "editor.inlineSuggest.enabled": True,
    "editor.quickSuggestions": {"other": "off", "comments": "off", "strings": "off"},
    "editor.suggestOnTriggerCharacters": False,
    "editor.wordBasedSuggestions": "off",
    "editor.parameterHints.enabled": False,
    "editor.autoClosingBrackets": "never",
    "editor.autoClosingQuotes": "never",
    "editor.minimap.enabled": False,
    "editor.fontFamily": "DejaVu Sans Mono",
    "files.autoSave": "off",
    "chat.disableAIFeatures": True,
    "workbench.startupEditor": "none",
    "workbench.tips.enabled": False,
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "security.workspace.trust.enabled": False,
    "extensions.ignoreRecommendations": True,
    "telemetry.telemetryLevel": "off",
    "window.restoreWindows": "none",
    "workbench.colorTheme": "Default Dark Modern",
}


class Workbench:
    """One window, one folder."""

    def __init__(self, page: Page, project: Path, wire: Wire) -> None:
        self.page, self.project, self.wire = page, project, wire

    # Doing

    def open(self, name: str, *, caret: tuple[int, int] | None = None) -> None:
        """Open a file of the project, at a line and column (from 1), once the server knows of it."""
        self.page.keyboard.press("Control+P")
        box = self.page.locator(".quick-input-widget input").first
        box.wait_for(state="visible")
        box.fill(name if caret is None else f"{name}:{caret[0]}:{caret[1]}")
        # Until the file itself is chosen: the list still shows what it had for an empty name.
        chosen = f'.quick-input-list .monaco-list-row.focused[aria-label^="{name}"]'
        self.page.locator(chosen).wait_for(state="visible")
        self.page.keyboard.press("Enter")
        self.page.locator(f'.tab.active[data-resource-name="{name}"]').wait_for(state="visible")
        wait_for(lambda: self.opened(name), f"the server to hear of {name}")
        self.page.locator(".editor-group-container.active .monaco-editor.focused").first.wait_for(state="attached")

    def open_notebook(self, name: str) -> None:
        """Open a notebook and put the caret at the start of its first cell's second line."""
        self.page.keyboard.press("Control+P")
        box = self.page.locator(".quick-input-widget input").first
        box.wait_for(state="visible")
        box.fill(name)
        self.page.locator(f'.quick-input-list .monaco-list-row[aria-label^="{name}"]').first.click()
        self.page.locator(".notebookOverlay .cell.code .view-line").first.click()
        self.page.keyboard.press("Control+End")

    def opened(self, name: str) -> bool:
        said = self.wire.messages("client", "textDocument/didOpen")
        return any(message["params"]["textDocument"]["uri"].endswith(name) for message in said)

    def wait_until_ready(self) -> None:
        """Until the model is loaded and the editor asks for suggestions.

        VS Code makes the part of an editor that asks when it has time, seconds after a file is opened; the command
        makes it at once.
        """
        self.wait_for_status("^sparkle")
        answered = self.wire.num_answers()
        self.run("Trigger Inline Suggestion")
        wait_for(lambda: self.wire.num_answers() > answered, "an answer to the command")
        if self.ghost_text():
            self.press("Escape")

    def go_to(self, line: int, column: int) -> None:
        self.page.keyboard.press("Control+G")
        box = self.page.locator(".quick-input-widget input").first
        box.wait_for(state="visible")
        box.fill(f":{line}:{column}")
        self.page.keyboard.press("Enter")
        box.wait_for(state="hidden")

    def type(self, text: str, delay: float = 30) -> None:
        self.page.keyboard.type(text, delay=delay)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def run(self, command: str, answer: str | None = None) -> None:
        """A command by its title, from the palette; `answer` is typed where the command asks for a text."""
        self.page.keyboard.press("F1")
        box = self.page.locator(".quick-input-widget input").first
        box.wait_for(state="visible")
        box.fill(f">{command}")
        self.page.locator(f'.quick-input-list .monaco-list-row[aria-label^="{command}"]').first.click()
        if answer is not None:
            self.page.locator('.quick-input-widget input[type="password"]').fill(answer)
            self.press("Enter")
        box.wait_for(state="hidden")

    def save(self, name: str) -> str:
        """Save the open file; its text on disk. VS Code empties a file before it writes it."""
        path = self.project / name
        before = path.stat().st_mtime_ns
        self.page.keyboard.press("Control+S")
        wait_for(lambda: path.stat().st_mtime_ns != before, f"{name} to be saved")
        self.page.locator(f'.tab.active[data-resource-name="{name}"]:not(.dirty)').wait_for(state="visible")
        return path.read_bytes().decode()

    # Seeing

    def ghost_text(self) -> str:
        """What is shown as ghost text, with its lines; empty where there is none."""
        shown = [part for part in self.page.locator(GHOST).all_inner_texts() if part]
        return "\n".join(shown).replace("\u00a0", " ").replace("\u00b7", " ")

    def wait_for_ghost(self, pattern: str = ".") -> str:
        """Until ghost text that matches the expression is on screen; the text."""
        found: str = wait_for(
            lambda: (text := self.ghost_text()) and re.search(pattern, text) and text,
            f"ghost text like {pattern!r}, offered were {self.wire.suggestions()[-3:]}",
        )
        return found

    def status(self) -> str:
        """The status bar item: its icon, its text and what it says to a screen reader."""
        item = self.page.locator(STATUS).first
        found = re.search(r"codicon-([a-z-]+)", item.inner_html())
        label = item.get_attribute("aria-label") or ""
        return f"{found[1] if found else ''} {item.inner_text().strip()} | {label}".replace("\u00a0", " ")

    def wait_for_status(self, pattern: str) -> str:
        found: str = wait_for(
            lambda: (said := self.status()) and re.search(pattern, said) and said,
            f"a status like {pattern!r}, it is {self.status()!r}",
        )
        return found

    def messages(self) -> list[str]:
        """Texts of the messages on screen."""
        return self.page.locator(".notification-list-item-message").all_inner_texts()

    def dialog(self) -> str:
        """The text of the modal dialog, which is then closed."""
        box = self.page.locator(".monaco-dialog-box")
        box.wait_for(state="visible")
        text = box.inner_text()
        self.page.keyboard.press("Escape")
        box.wait_for(state="hidden")
        return text


@contextmanager
def workbench(
    installation: Installation,
    browser: Browser,
    folder: Path,
    files: dict[str, bytes],
    settings: dict[str, object],
    server: list[str] | None,
    picture: Path,
) -> Iterator[Workbench]:
    """A window on a project with these files; `server` is the command behind the tap, None for no command.

    However it ends, a picture of it is kept.
    """
    project, user_data, extensions = folder / "project", folder / "data", folder / "extensions"
    for path in (project, user_data / "User", user_data / "Machine"):
        path.mkdir(parents=True)
    for name, data in files.items():
        (project / name).write_bytes(data)
    wire = Wire(folder / "wire.jsonl")
    command = {} if server is None else {"keyturn.command": wire.command(*server)}
    write_settings(user_data / "User" / "settings.json", {**SETTINGS, **settings, **command})
    # What a machine decides is read from its own file.
    shutil.copyfile(user_data / "User" / "settings.json", user_data / "Machine" / "settings.json")
    base = [str(installation.node), str(installation.code_server)]
    places = ["--user-data-dir", str(user_data), "--extensions-dir", str(extensions)]
    environment = {
        **os.environ,
        "EXTENSIONS_GALLERY": '{"serviceUrl":""}',
        "HOME": str(folder),
        "PATH": "/usr/bin:/bin",
    }
    installed = subprocess.run(
        [*base, *places, "--install-extension", str(installation.vsix)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert installed.returncode == 0, installed.stdout + installed.stderr
    port = _free_port()
    flags = ["--auth", "none", "--bind-addr", f"127.0.0.1:{port}", "--disable-telemetry", "--disable-update-check"]
    with (folder / "code-server.log").open("wb") as log:
        process = subprocess.Popen(
            [*base, *places, *flags, "--disable-workspace-trust"], env=environment, stdout=log, stderr=log
        )
        try:
            wait_for(lambda: _answers(port), "code-server to answer")
            context = browser.new_context(viewport={"width": 1100, "height": 640})
            page = context.new_page()
            page.set_default_timeout(40_000)
            page.goto(f"http://127.0.0.1:{port}/?folder={project}")
            page.locator(".monaco-workbench").wait_for(state="visible")
            window = Workbench(page, project, wire)
            try:
                page.locator(STATUS).first.wait_for(state="visible")
                yield window
            finally:
                page.screenshot(path=picture)
                context.close()
        finally:
            process.terminate()
            process.wait(20)


def write_settings(path: Path, settings: dict[str, object]) -> None:
    path.write_text(json.dumps(settings, indent=1), encoding="utf-8")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2):
            return True
    except OSError:
        return False
