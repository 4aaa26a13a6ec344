from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.editors.neovim.editor import Editor, editing
from tests.editors.neovim.install import SUITES, Neovim, install, install_tools

OpenEditor = Callable[..., Editor]


@pytest.fixture(scope="session", params=sorted(SUITES, reverse=True))
def neovim(request: pytest.FixtureRequest) -> Neovim:
    """0.12 shows suggestions itself, 0.10 by the plugin's own means. A failed install fails the tests."""
    install_tools()
    return install(request.param)


@pytest.fixture
def open_editor(neovim: Neovim, tmp_path: Path) -> Iterator[OpenEditor]:
    """Opens one editor for the test; see `editing`. By default waits until the server is ready."""
    with ExitStack() as stack:

        def open_one(content: bytes | str = "", *, is_ready: bool = True, **more: Any) -> Editor:
            editor = stack.enter_context(editing(neovim, tmp_path, content, **more))
            if is_ready:
                editor.wait_until_ready()
            return editor

        yield open_one
