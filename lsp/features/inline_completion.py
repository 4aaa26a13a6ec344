"""Ghost text: answers inline completion requests.

    inlineCompletion  ─► place ─► typed through? ─► engine thread (model.assistant) ─► remember ─► items

The newest request for a document wins. Whatever is withdrawn is answered at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lsprotocol import types
from pygls.exceptions import JsonRpcRequestCancelled

from lsp.convert import Place, place_of, to_item
from lsp.features.acceptance import Acceptance
from lsp.features.read_ahead import ReadAhead
from lsp.features.typed_through import Remembered
from lsp.session.documents import Document
from lsp.session.session import Session
from lsp.session.window_settings import WindowSettings
from model.assistant.suggestion import Suggestion, Suggestions
from model.engine import Completion
from model.errors import Cancelled, EngineError, KeyturnError
from model.request import CancelCheck

if TYPE_CHECKING:
    from model.assistant.assistant import Assistant

logger = logging.getLogger(__name__)

MAX_ITEMS = 3


@dataclass
class Latest:
    """A document's latest suggestion, to be typed through, and its latest completion, for `keyturn/stats`.

    `shown_as` is the number under which the latest answer is counted once it was shown.
    """

    remembered: Remembered | None = None
    shown_as: int | None = None
    completion: Completion | None = None
    num_requests: int = 0


@dataclass
class InlineCompletion:
    """Answers inline completion requests about open documents. Lives on the event loop."""

    session: Session
    acceptance: Acceptance
    read_ahead: ReadAhead
    latest: dict[str, Latest] = field(default_factory=dict)

    async def suggest(self, params: types.InlineCompletionParams) -> list[types.InlineCompletionItem] | None:
        """Items for the client: none where there is nothing to suggest, None where the question is void.

        Neovim keeps showing, and accepts, what it had when it hears null; an empty list makes it forget.
        """
        started = time.perf_counter()
        self.acceptance.counts.requests += 1
        uri = params.text_document.uri
        document = self.session.documents.get(uri)
        if document is None:
            return None
        if not self.session.is_wanted(document):
            return []
        explicit = params.context.trigger_kind is types.InlineCompletionTriggerKind.Invoked
        document_text, num_changes = document.text, document.num_changes
        place = place_of(document, params, self.session.documents.encoding)
        latest = self._supersede(uri)

        suggestions = None
        if latest.remembered is not None:
            suggestions = latest.remembered.at(place.text, place.caret, explicit=explicit)
        if suggestions is not None:
            self.read_ahead.start_timer(document)  # the model was not asked, and its cache lacks what was typed
        else:
            suggestions = await self._ask(document, place, latest, explicit)
            if document.num_changes != num_changes or self.session.documents.get(uri) is not document:
                # The text it was made for is gone. If the user has typed along, the next request is served at once.
                return None

        self.session.reporter.latency((time.perf_counter() - started) * 1000)
        if not suggestions:
            return []
        shown_as = latest.shown_as = latest.shown_as or self.acceptance.shown()
        as_snippets = self.session.takes_snippets and explicit
        return [
            to_item(document_text, place, suggestion, shown_as, self.session.documents.encoding, as_snippet=as_snippets)
            for suggestion in suggestions
        ]

    async def _ask(self, document: Document, place: Place, latest: Latest, explicit: bool) -> tuple[Suggestion, ...]:
        """Ask the model, in its thread, and remember the answer. Nothing to suggest when it fails."""
        uri, num_changes = document.snapshot.document, document.num_changes
        snapshot = document.snapshot if place.selected is None else document.suppose(place.selected)
        settings, request_number = self.session.settings_of(document), latest.num_requests
        request = settings.request(snapshot, place.caret, num_items=MAX_ITEMS if explicit else 1)
        self.acceptance.counts.engine_requests += 1

        def work(assistant: Assistant, cancelled: CancelCheck) -> Suggestions:
            return assistant.suggest(request, cancelled)

        if settings.debounce_ms and not explicit:
            await asyncio.sleep(settings.debounce_ms / 1000)
            if latest.num_requests != request_number:
                raise JsonRpcRequestCancelled("A newer request took its place, or the document was closed.")
        try:
            answer = await self.session.engine.run(uri, "inline completion", work)
        except Cancelled as error:
            raise JsonRpcRequestCancelled(str(error)) from error
        except EngineError as error:
            logger.warning("The engine failed: %s", error)
            self.session.reporter.problem(str(error))
            return ()
        except KeyturnError as error:
            logger.info("No suggestion: %s", error)
            return ()
        if self.session.settings_of(document) is settings:
            latest.remembered = Remembered(place.text, place.caret, answer.items, explicit)
        latest.completion, latest.shown_as = answer.completion, None
        if self.session.documents.get(uri) is document and document.num_changes == num_changes:
            self.read_ahead.refresh(uri)
        return answer.items

    def closed(self, uri: str) -> None:
        """Forget everything about a document."""
        self.read_ahead.stop_timer(uri)
        if (latest := self.latest.pop(uri, None)) is not None:
            # A request that still waits for a pause in the typing must not bring the document back to the engine.
            latest.num_requests += 1
        self.session.engine.forget(uri)

    def settings_changed(self, settings: WindowSettings) -> None:
        """Suggestions made under other settings are no longer served, nor asked for where none are wanted now."""
        self.session.settings = settings
        for latest in self.latest.values():
            latest.remembered = None
        for document in self.session.documents:
            if not self.session.is_wanted(document):
                uri = document.snapshot.document
                self.session.engine.stop_idle(uri)
                self.session.engine.withdraw(uri, "docstring")
                self._supersede(uri)

    def _supersede(self, uri: str) -> Latest:
        """Withdraw whatever is under way for the document: the newest request wins."""
        latest = self.latest.setdefault(uri, Latest())
        latest.num_requests += 1
        self.read_ahead.stop_timer(uri)
        self.session.engine.withdraw(uri, "inline completion")
        return latest
