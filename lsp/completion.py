"""The way of one inline completion request, from the client's position to items, and the work done ahead of it.

    didChange         ─► documents ─► after a pause: encode ahead, then refresh the cache, while nothing else is asked
    inlineCompletion  ─► place ─► typed through? ─► engine thread (lsp.suggestion) ─► remember ─► items

The newest request for a document wins. Whatever is withdrawn is answered at once.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lsprotocol import types
from pygls.exceptions import JsonRpcRequestCancelled

from lsp.config import Settings
from lsp.convert import Place, place_of, to_item
from lsp.documents import Document, Documents
from lsp.engine_thread import EngineThread
from lsp.syntax_trees import SyntaxTrees
from lsp.typed_through import Remembered
from model.engine import CancelCheck, Cancelled, Completion, EngineError, KeyturnError, ReuseMode, Sampling
from model.snapshot import Snapshot

if TYPE_CHECKING:
    from ast_tools.languages import Language
    from lsp.suggestion import Answer, Stop
    from model.factory import CompleterLike

logger = logging.getLogger(__name__)

MAX_ITEMS = 3
IDLE_SECONDS = 0.03
MAX_BYTES_ENCODED_ON_OPEN = 16 * 1024
_MAX_SHOWN = 256
_STOPS: dict[str, Stop] = {"auto": "auto", "never": "line", "always": "block"}


@dataclass
class Counts:
    """What happened in this session. It leaves the process through `keyturn/stats` only."""

    requests: int = 0
    engine_requests: int = 0
    shown: int = 0
    accepted: int = 0


@dataclass
class Latest:
    """A document's latest suggestion, to be typed through, and its latest completion, for `keyturn/stats`.

    `shown_as` is the number under which the latest answer is counted once it was shown.
    """

    remembered: Remembered | None = None
    shown_as: int | None = None
    completion: Completion | None = None
    num_requests: int = 0


class Reporter(Protocol):
    """How the pipeline speaks to the user."""

    def problem(self, message: str) -> None: ...

    def latency(self, milliseconds: float) -> None: ...


@dataclass
class Suggester:
    """Answers inline completion requests about open documents. Lives on the event loop."""

    documents: Documents
    engine: EngineThread
    reporter: Reporter
    settings: Settings = field(default_factory=Settings)
    roots: Callable[[], Iterable[Path]] = tuple
    """The folders of the project now."""
    counts: Counts = field(default_factory=Counts)
    latest: dict[str, Latest] = field(default_factory=dict)
    _trees: SyntaxTrees = field(default_factory=SyntaxTrees)
    _timers: dict[str, asyncio.TimerHandle] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _not_accepted: OrderedDict[int, None] = field(default_factory=OrderedDict)

    async def suggest(self, params: types.InlineCompletionParams) -> list[types.InlineCompletionItem] | None:
        """Items for the client: none where there is nothing to suggest, None where the question is void.

        Neovim keeps showing, and accepts, what it had when it hears null; an empty list makes it forget.
        """
        started = time.perf_counter()
        self.counts.requests += 1
        document = self.documents.get(params.text_document.uri)
        if document is None:
            return None
        if not self._is_wanted(document):
            return []
        explicit = params.context.trigger_kind is types.InlineCompletionTriggerKind.Invoked
        document_text, num_changes = document.text, document.num_changes
        place = place_of(document, params, self.documents.encoding)
        latest = self._supersede(params.text_document.uri)

        suggestions = None
        if latest.remembered is not None:
            suggestions = latest.remembered.at(place.text, place.caret, explicit=explicit)
        if suggestions is not None:
            self._start_timer(document)  # the model was not asked, and its cache lacks what was typed
        else:
            suggestions = await self._ask(document, place, latest, explicit)
            if document.num_changes != num_changes or self.documents.get(params.text_document.uri) is not document:
                # The text it was made for is gone. Has the user typed along, the next request is served at once.
                return None

        self.reporter.latency((time.perf_counter() - started) * 1000)
        if not suggestions:
            return []
        shown_as = latest.shown_as = latest.shown_as or self._count_shown()
        return [to_item(document_text, place, text, shown_as, self.documents.encoding) for text in suggestions]

    async def _ask(self, document: Document, place: Place, latest: Latest, explicit: bool) -> tuple[str, ...]:
        """Ask the model, in its thread, and remember the answer. Nothing to suggest when it fails."""
        uri, num_changes = document.snapshot.document, document.num_changes
        snapshot = document.snapshot if place.selected is None else document.suppose(place.selected)
        settings, language, trees = self.settings, document.language, self._trees
        request_number = latest.num_requests
        self.counts.engine_requests += 1

        def work(completer: CompleterLike, cancelled: CancelCheck) -> Answer:
            from lsp.suggestion import Question, think  # Imports tree_sitter: not while the server starts.

            question = Question(
                snapshot=snapshot,
                caret=place.caret,
                language=language,
                stop=_STOPS[settings.multiline],
                max_tokens=settings.max_tokens,
                reuse=settings.reuse,
                sampling=Sampling(temperature=settings.temperature, seed=settings.seed),
                num_items=MAX_ITEMS if explicit else 1,
            )
            return think(completer, trees, question, cancelled)

        if settings.debounce_ms and not explicit:
            await asyncio.sleep(settings.debounce_ms / 1000)
            if latest.num_requests != request_number:
                raise JsonRpcRequestCancelled("A newer request took its place, or the document was closed.")
        try:
            answer = await self.engine.run(uri, work)
        except Cancelled as error:
            raise JsonRpcRequestCancelled(str(error)) from error
        except EngineError as error:
            logger.warning("The engine failed: %s", error)
            self.reporter.problem(str(error))
            return ()
        except KeyturnError as error:
            logger.info("No suggestion: %s", error)
            return ()
        if self.settings is settings:
            latest.remembered = Remembered(place.text, place.caret, answer.texts, explicit)
        latest.completion, latest.shown_as = answer.completion, None
        if self.documents.get(uri) is document and document.num_changes == num_changes:
            self._refresh_when_idle(uri)
        return answer.texts

    def _supersede(self, uri: str) -> Latest:
        """Withdraw whatever is under way for the document: the newest request wins."""
        latest = self.latest.setdefault(uri, Latest())
        latest.num_requests += 1
        self._stop_timer(uri)
        self.engine.withdraw(uri)
        return latest

    def _count_shown(self) -> int:
        """The number of one more answer that is shown, however often and in however many items."""
        self.counts.shown += 1
        number = next(self._numbers)
        self._not_accepted[number] = None
        while len(self._not_accepted) > _MAX_SHOWN:
            self._not_accepted.popitem(last=False)
        return number

    def accept(self, number: object) -> bool:
        """Count an acceptance, once for each answer that was shown."""
        if not isinstance(number, int) or number not in self._not_accepted:
            return False
        del self._not_accepted[number]
        self.counts.accepted += 1
        return True

    def _is_wanted(self, document: Document) -> bool:
        return self.settings.allows(document.snapshot.path, document.language_id, self.roots())

    # Ahead of requests

    def opened(self, document: Document) -> None:
        """A small document is encoded right away; which part of a large one is needed nobody knows yet."""
        if len(document.text) <= MAX_BYTES_ENCODED_ON_OPEN:
            self._start_timer(document)

    def changed(self, document: Document) -> None:
        self.engine.stop_idle(document.snapshot.document)
        self._start_timer(document)

    def moved(self, params: types.TextDocumentPositionParams) -> None:
        """Someone has gone elsewhere: what a suggestion needs there is encoded before one is asked for."""
        document = self.documents.get(params.text_document.uri)
        if document is not None:
            position = params.position
            document.caret = document.text.offset_at(position.line, position.character, self.documents.encoding)
            self.engine.stop_idle(document.snapshot.document)
            self._start_timer(document)

    def closed(self, uri: str) -> None:
        """Forget everything about a document."""
        self._stop_timer(uri)
        if (latest := self.latest.pop(uri, None)) is not None:
            # A request that still waits for a pause in the typing must not bring the document back to the engine.
            latest.num_requests += 1
        self.engine.forget(uri, also=lambda: self._trees.forget(uri))

    def settings_changed(self, settings: Settings) -> None:
        """Suggestions made under other settings are no longer served, nor asked for where none are wanted now."""
        self.settings = settings
        for latest in self.latest.values():
            latest.remembered = None
        for document in self.documents:
            if not self._is_wanted(document):
                uri = document.snapshot.document
                self.engine.stop_idle(uri)
                self._supersede(uri)

    def _start_timer(self, document: Document) -> None:
        uri = document.snapshot.document
        self._stop_timer(uri)
        self._timers[uri] = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._encode_when_idle, uri)

    def _stop_timer(self, uri: str) -> None:
        if (timer := self._timers.pop(uri, None)) is not None:
            timer.cancel()

    def _encode_when_idle(self, uri: str) -> None:
        self._timers.pop(uri, None)
        document = self.documents.get(uri)
        if document is not None and self._is_wanted(document):
            work = _EncodeAhead(document.snapshot, document.caret, document.language, self._trees, self.settings)
            self.engine.when_idle(uri, work)

    def _refresh_when_idle(self, uri: str) -> None:
        if self.settings.idle_refresh:
            self.engine.when_idle(uri, lambda completer, cancelled: completer.refresh(uri, cancelled))


@dataclass
class _EncodeAhead:
    """Idle work after an edit or a move: the prompt at the caret, the syntax tree, stale tokens, a slice a call."""

    snapshot: Snapshot
    caret: int
    language: Language | None
    trees: SyntaxTrees
    settings: Settings
    is_encoded: bool = False

    def __call__(self, completer: CompleterLike, cancelled: CancelCheck) -> bool:
        reuse: ReuseMode = self.settings.reuse
        if self.is_encoded:
            return completer.refresh(self.snapshot.document, cancelled)
        completer.encode_ahead(
            self.snapshot, self.caret, max_tokens=self.settings.max_tokens, reuse=reuse, cancelled=cancelled
        )
        self.trees.of(self.snapshot, self.language)
        self.is_encoded = True
        return self.settings.idle_refresh
