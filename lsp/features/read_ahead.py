"""What the engine does for a document while nobody asks: it encodes what the next request will need.

didChange, didOpen, keyturn/caret ─► after a pause: encode the prompt at the caret, then refresh stale tokens
a suggestion was made             ─► refresh stale tokens
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lsp.session.documents import Document
from lsp.session.session import Session
from model.request import CancelCheck, Request

if TYPE_CHECKING:
    from model.assistant.assistant import Assistant

IDLE_SECONDS = 0.03
MAX_BYTES_ENCODED_ON_OPEN = 16 * 1024


@dataclass
class ReadAhead:
    """Starts idle work in the engine's thread, and gives it up. Lives on the event loop."""

    session: Session
    _timers: dict[str, asyncio.TimerHandle] = field(default_factory=dict)

    def opened(self, document: Document) -> None:
        """A small document is encoded right away; which part of a large one is needed nobody knows yet."""
        if len(document.text) <= MAX_BYTES_ENCODED_ON_OPEN:
            self.start_timer(document)

    def changed(self, document: Document) -> None:
        """The text has changed, or the caret is elsewhere: what was read ahead is no longer what will be needed."""
        self.session.engine.stop_idle(document.snapshot.document)
        self.start_timer(document)

    def start_timer(self, document: Document) -> None:
        """Encode ahead after a pause."""
        uri = document.snapshot.document
        self.stop_timer(uri)
        self._timers[uri] = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._encode_when_idle, uri)

    def stop_timer(self, uri: str) -> None:
        if (timer := self._timers.pop(uri, None)) is not None:
            timer.cancel()

    def refresh(self, uri: str) -> None:
        """Refresh the document's stale tokens while nobody asks."""
        document = self.session.documents.get(uri)
        if document is not None and self.session.settings_of(document).idle_refresh:
            self.session.engine.when_idle(uri, lambda assistant, cancelled: assistant.refresh(uri, cancelled))

    def _encode_when_idle(self, uri: str) -> None:
        self._timers.pop(uri, None)
        document = self.session.documents.get(uri)
        if document is not None and self.session.is_wanted(document):
            settings = self.session.settings_of(document)
            request = settings.request(document.snapshot, document.caret)
            self.session.engine.when_idle(uri, _EncodeAhead(request, settings.idle_refresh))


@dataclass
class _EncodeAhead:
    """Idle work after an edit or a move: the prompt and the syntax tree, then stale tokens, a slice a call."""

    request: Request
    then_refresh: bool
    is_encoded: bool = False

    def __call__(self, assistant: Assistant, cancelled: CancelCheck) -> bool:
        if self.is_encoded:
            return assistant.refresh(self.request.document, cancelled)
        assistant.encode_ahead(self.request, cancelled)
        self.is_encoded = True
        return self.then_refresh
