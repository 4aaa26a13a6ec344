from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lsp.client import Client, serving

SCRIPT = {
    "rules": [
        {"after": r"never\(", "text": "too late", "delay_ms": 600_000},
        {"after": "pri", "text": "nt(value)"},
        {"after": "broken", "fail": "The engine broke; start it again."},
    ],
    "default": {"text": ".asked_again"},
}


@pytest.fixture(scope="module")
def _running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with serving(tmp_path_factory.mktemp("server"), SCRIPT) as client:
        client.initialize()
        yield client


@pytest.fixture
def shared(_running: Client) -> Iterator[Client]:
    """Like `server`, but one process for all tests of a module: for those that do not end it."""
    _running.replies.clear()
    _running.notifications.clear()
    yield _running
    _running.close_all()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Client]:
    """An initialized server that follows SCRIPT, speaking utf-16."""
    with serving(tmp_path, SCRIPT) as client:
        client.initialize()
        yield client
