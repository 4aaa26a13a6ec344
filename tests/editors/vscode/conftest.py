"""One installation and one browser for all tests; a window for each test that asks for one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.editors.vscode.install import Installation, install
from tests.editors.vscode.workbench import Workbench, workbench

SCREENSHOTS = Path(__file__).parents[3] / ".editors" / "screenshots"

CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

SERVER = [sys.executable, "-m", "lsp.cli"]

Open = Callable[..., Workbench]


@pytest.fixture(scope="session")
def installation() -> Installation:
    return install()


@pytest.fixture(scope="session")
def browser(installation: Installation) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(installation.chromium), args=list(CHROMIUM_FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def vscode(
    installation: Installation, browser: Browser, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Open]:
    """Opens a window on a project; a picture of it is kept however the test ends."""
    with ExitStack() as stack:

        def open_window(files: dict[str, bytes], settings: dict[str, object] | None = None, **more: Any) -> Workbench:
            folder = tmp_path / "window"
            SCREENSHOTS.mkdir(parents=True, exist_ok=True)
            picture = SCREENSHOTS / f"{request.node.name}.png"
            server = more.get("server", SERVER)
            return stack.enter_context(workbench(installation, browser, folder, files, settings or {}, server, picture))

        yield open_window


@pytest.fixture
def scripted(tmp_path: Path) -> Callable[..., dict[str, object]]:
    """Settings for the scripted engine with these rules: text before the caret → what to suggest."""

    def settings(*rules: tuple[str, str], **more: object) -> dict[str, object]:
        path = tmp_path / "script.json"
        path.write_text(json.dumps({"rules": [{"after": after, "text": text, **more} for after, text in rules]}))
        return {"keyturn.engine": "scripted", "keyturn.script": str(path)}

    return settings
