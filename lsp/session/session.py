"""What the features of one client's session share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lsp.session.documents import Document, Documents
from lsp.session.engine_thread import EngineThread
from lsp.session.settings import Settings


class Reporter(Protocol):
    """How features speak to the user."""

    def problem(self, message: str) -> None:
        """Show a sentence, once in a session."""
        ...

    def latency(self, milliseconds: float) -> None:
        """A request was answered after so long."""
        ...


@dataclass
class Session:
    """Documents, engine and settings of one client. Lives on the event loop."""

    documents: Documents
    engine: EngineThread
    reporter: Reporter
    settings: Settings = field(default_factory=Settings)
    roots: Callable[[], Iterable[Path]] = tuple
    """The folders of the project now."""
    takes_snippets: bool = False
    """Whether the client has said that it expands snippets."""

    def is_wanted(self, document: Document) -> bool:
        """Whether suggestions are wanted in a document."""
        return self.settings.allows(document.snapshot.path, document.language_id, self.roots())
