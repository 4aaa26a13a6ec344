"""What the features of one client's session share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from lsp.session.documents import Document, Documents
from lsp.session.engine_thread import EngineThread
from lsp.session.settings import Settings
from lsp.session.window_settings import WindowSettings


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
    settings: WindowSettings = field(default_factory=WindowSettings)
    takes_snippets: bool = False
    """Whether the client has said that it expands snippets."""

    def settings_of(self, document: Document) -> Settings:
        """Those that a document follows."""
        return self.settings.at(document.snapshot.path)

    def why_quiet(self, document: Document) -> str | None:
        """Why nothing is suggested in a document, in a sentence; None where it is."""
        return self.settings.why_quiet(document.snapshot.path, document.language_id)

    def is_wanted(self, document: Document) -> bool:
        """Whether suggestions are wanted in a document."""
        return self.why_quiet(document) is None
