"""The model floor's front door: a document and a caret in, a completion out.

It keeps each document's tokens up to date (`model.tokens`), cuts them to the model's window and lays them out
(`model.prompt`), and asks the engine. Used from one thread, the one that owns the engine.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from ast_tools.text import Edit, Text, diff
from model.engine import (
    CancelCheck,
    Completion,
    CompletionRequest,
    Engine,
    ReuseMode,
    Sampling,
    StopRule,
    never_cancelled,
    never_stop,
)
from model.prompt import Layout, Prompt, Window
from model.snapshot import Snapshot
from model.tokenizer import Tokenizer
from model.tokens import TokenizedText

MAX_DOCUMENTS = 64
"""Documents whose tokens are remembered; the least recently used goes first and is tokenised again when it returns."""

VIEW_BYTES = 512 * 1024
"""A larger text is seen through a view of this size around the caret, so that no request tokenises megabytes."""


@dataclass
class _Known:
    """What is remembered of one document: its tokens, the revision they are of, the view's start, the window."""

    tokens: TokenizedText
    revision: int
    view_start: int
    window: Window = field(default_factory=Window)


class Completer:
    """One loaded model with its tokenizer and prompt layout, ready for documents."""

    def __init__(
        self, engine: Engine, tokenizer: Tokenizer, layout: Layout, *, model_name: str, context_tokens: int
    ) -> None:
        self.engine = engine
        self.tokenizer = tokenizer
        self.layout = layout
        self.model_name = model_name
        self.engine_name = engine.name
        self.max_context = min(context_tokens, engine.max_context)
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def complete(
        self,
        snapshot: Snapshot,
        caret: int,
        *,
        max_tokens: int = 64,
        sampling: Sampling = Sampling(),
        reuse: ReuseMode = "pie",
        stop: StopRule = never_stop,
        cancelled: CancelCheck = never_cancelled,
    ) -> Completion:
        """Continue the text at the byte offset `caret`. Raises what `Engine.complete` raises."""
        started = time.perf_counter()
        prompt = self._prompt(snapshot, caret, max_tokens)
        tokenized = (time.perf_counter() - started) * 1000
        request = CompletionRequest(snapshot.document, prompt, max_tokens, sampling, reuse, stop)
        completion = self.engine.complete(request, cancelled)
        completion.timings_ms.tokenize = tokenized
        completion.timings_ms.first_token += tokenized
        completion.timings_ms.total += tokenized
        return completion

    def encode_ahead(
        self,
        snapshot: Snapshot,
        caret: int,
        *,
        max_tokens: int = 64,
        reuse: ReuseMode = "pie",
        cancelled: CancelCheck = never_cancelled,
    ) -> None:
        """Encode the prompt that a request at `caret` would have, so that it finds a warm cache."""
        prompt = self._prompt(snapshot, caret, max_tokens)
        self.engine.encode_ahead(CompletionRequest(snapshot.document, prompt, max_tokens, reuse=reuse), cancelled)

    def refresh(self, document: str, cancelled: CancelCheck = never_cancelled) -> bool:
        """Re-encode one slice of the document's stale tokens; True while more are left."""
        return self.engine.refresh(document, cancelled)

    def forget(self, document: str) -> None:
        """Drop all that is remembered of a document."""
        self._known.pop(document, None)
        self.engine.forget(document)

    def cache_bytes(self, document: str | None = None) -> int:
        """Bytes of cache held for one document, or for all."""
        return self.engine.cache_bytes(document)

    def _prompt(self, snapshot: Snapshot, caret: int, max_tokens: int) -> Prompt:
        known = self._sync(snapshot, caret)
        before, after = known.tokens.split(min(max(caret - known.view_start, 0), len(known.tokens.data)))
        if not self.layout.fills_the_middle:
            after = type(after)(after.ids[:0], after.serials[:0])
        budget = max(16, self.max_context - max_tokens - self.layout.num_markers)
        before, after = known.window.cut(known.tokens, before, after, budget)
        return self.layout.prompt(before, after)

    def _sync(self, snapshot: Snapshot, caret: int) -> _Known:
        """Bring the remembered tokens to the snapshot's text: by its edits where they fit, else by comparing texts."""
        view_start, data = _view(snapshot.text, caret)
        known = self._known.get(snapshot.document)
        if known is None:
            known = _Known(TokenizedText.of(self.tokenizer, data), snapshot.revision, view_start)
        elif known.tokens.data != data:
            edits = _edits_since(snapshot, known, data) or diff(known.tokens.data, data)
            known.tokens = known.tokens.apply(edits)
        known.revision, known.view_start = snapshot.revision, view_start
        self._known[snapshot.document] = known
        self._known.move_to_end(snapshot.document)
        while len(self._known) > MAX_DOCUMENTS:
            self._known.popitem(last=False)
        return known


def _view(text: Text, caret: int) -> tuple[int, bytes]:
    """(first byte, bytes) of what is tokenised: the text, or a view around the caret whose start moves in steps."""
    data = text.data
    if len(data) <= VIEW_BYTES:
        return 0, data
    step = VIEW_BYTES // 4
    start = _char_start(data, max(0, (caret // step - 2) * step))
    return start, data[start : _char_start(data, min(len(data), start + VIEW_BYTES))]


def _char_start(data: bytes, offset: int) -> int:
    while 0 < offset < len(data) and data[offset] & 0xC0 == 0x80:
        offset -= 1
    return offset


def _edits_since(snapshot: Snapshot, known: _Known, data: bytes) -> Sequence[Edit] | None:
    """The snapshot's own edits since the remembered revision if they really lead from its text to `data`, else None."""
    count = snapshot.revision - known.revision
    if known.view_start or len(data) != len(snapshot.text.data) or not 0 < count <= len(snapshot.edits):
        return None
    edits = snapshot.edits[-count:]
    replayed = known.tokens.data
    for edit in edits:
        replayed = replayed[: edit.start] + edit.new + replayed[edit.end :]
    return edits if replayed == data else None
