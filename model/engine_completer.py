"""A completer made of an engine, a tokenizer and a prompt layout.

It keeps each document's tokens up to date (`model.tokens`), cuts them to the model's window and lays them out
(`model.prompts`), and asks the engine.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ast_tools.text import Edit, char_start, diff
from model.completer import Description
from model.engine import Completion, Engine, Generation, Scorer, StopRule, never_stop
from model.errors import RequestError
from model.prompts.caret_line import CaretLine
from model.prompts.layout import Layout
from model.prompts.prompt import Prompt
from model.prompts.window import Window
from model.request import CancelCheck, Request, never_cancelled
from model.snapshot import Snapshot
from model.tokenizer import Tokenizer
from model.tokens import TokenizedText

MAX_DOCUMENTS = 64
"""Documents whose tokens are remembered; the least recently used goes first and is tokenised again when it returns."""

VIEW_BYTES = 512 * 1024
"""A larger text is seen through a view of this size around the caret, so that no request tokenises megabytes."""

VIEW_STEP = VIEW_BYTES // 8
"""Bytes that a view shows at least on either side of the caret, where the text has them, and may grow by."""


@dataclass
class _Known:
    """What is remembered of one document: its tokens, which are those of a view, and what they were made of.

    `view_start` is the view's first byte in a text of `text_length` bytes.
    """

    tokens: TokenizedText
    revision: int
    view_start: int
    text_length: int
    window: Window = field(default_factory=Window)


class EngineCompleter:
    """One loaded model with its tokenizer and prompt layout, ready for documents. See `model.completer`."""

    def __init__(
        self, engine: Engine, tokenizer: Tokenizer, layout: Layout, *, model_name: str, context_tokens: int
    ) -> None:
        self.engine = engine
        self.tokenizer = tokenizer
        self.layout = layout
        self.model_name = model_name
        self.max_context = min(context_tokens, engine.max_context)
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def describe(self) -> Description:
        engine = self.engine
        return Description(self.model_name, engine.name, self.max_context, self.layout.name, engine.details)

    def complete(
        self, request: Request, stop: StopRule = never_stop, cancelled: CancelCheck = never_cancelled
    ) -> Completion:
        started = time.perf_counter()
        generation = Generation(request, self.prompt(request), stop)
        tokenized = (time.perf_counter() - started) * 1000
        completion = self.engine.complete(generation, cancelled)
        return replace(completion, timings_ms=completion.timings_ms.after_tokenizing(tokenized))

    def score(self, request: Request, continuation: bytes) -> list[float]:
        """Natural-log probabilities of the tokens of a continuation at the caret.

        The prompt leaves room for them; for the request's `max_tokens` where that is more, and then it is the prompt of
        `complete`. Raises `RequestError` for an engine that does not know probabilities.
        """
        if not isinstance(self.engine, Scorer):
            raise RequestError(f"The {self.engine.name} engine does not tell probabilities.")
        room = max(request.max_tokens, len(self.tokenizer.encode(continuation)))
        prompt = self.prompt(replace(request, max_tokens=room))
        ids = self.tokenizer.encode(prompt.begun + continuation).ids
        return self.engine.score(Generation(replace(request, max_tokens=len(ids)), prompt), ids)

    def encode_ahead(self, request: Request, cancelled: CancelCheck = never_cancelled) -> None:
        self.engine.encode_ahead(Generation(request, self.prompt(request)), cancelled)

    def refresh(self, document: str, cancelled: CancelCheck = never_cancelled) -> bool:
        return self.engine.refresh(document, cancelled)

    def forget(self, document: str) -> None:
        self._known.pop(document, None)
        self.engine.forget(document)

    def cache_bytes(self, document: str | None = None) -> int:
        return self.engine.cache_bytes(document)

    def prompt(self, request: Request) -> Prompt:
        """What the model reads for a request. Raises `RequestError` for an adapter, or for context, as there are none
        yet.
        """
        if request.adapter is not None:
            raise RequestError(f"{self.model_name} has no adapter '{request.adapter}'.")
        if request.context:
            raise RequestError(f"{self.model_name} is shown one document, without texts from outside of it.")
        known = self._sync(request.snapshot, request.caret)
        data = known.tokens.data
        caret = char_start(data, min(max(request.caret - known.view_start, 0), len(data)))
        before, after = known.tokens.split(caret)
        if not self.layout.fills_the_middle:
            after = after[:0]
        # A prompt gets half of the context at least: a long answer to hardly any text is worth nothing.
        budget = self.max_context - min(request.max_tokens, self.max_context // 2) - self.layout.num_markers
        before, after = known.window.cut(known.tokens, before, after, budget)
        lead = known.window.lead(self.tokenizer, before)
        prompt = self.layout.prompt(before, after, lead, known.window.identities(before, lead))
        if not self.engine.heals:
            return prompt
        line = CaretLine.at(data, caret)
        count = 1 if line.has_begun else known.tokens.num_joined(caret, line.examples)
        return replace(prompt.reopened(self.tokenizer, count), barred=line.barred)

    def _sync(self, snapshot: Snapshot, caret: int) -> _Known:
        """Bring the remembered tokens to the snapshot's text: by its edits where they fit, else by comparing texts."""
        known = self._known.get(snapshot.document)
        view_start, data = _view(snapshot.text.data, caret, known)
        text_length = len(snapshot.text.data)
        if known is None:
            tokens = TokenizedText.of(self.tokenizer, data)
            known = _Known(tokens, snapshot.revision, view_start, text_length)
        elif known.tokens.data != data:
            edits = _edits_since(snapshot, known, data) or diff(known.tokens.data, data)
            known.tokens = known.tokens.apply(edits)
        known.revision, known.view_start, known.text_length = snapshot.revision, view_start, text_length
        self._known[snapshot.document] = known
        self._known.move_to_end(snapshot.document)
        while len(self._known) > MAX_DOCUMENTS:
            self._known.popitem(last=False)
        return known


def _view(data: bytes, caret: int, known: _Known | None) -> tuple[int, bytes]:
    """(first byte, bytes) of what is tokenised: the text, or a view that stays until the caret nears its end."""
    if len(data) <= VIEW_BYTES:
        return 0, data
    if known is not None:
        start, end = _followed(data, known)
        margin_before, margin_after = min(VIEW_STEP, start), min(VIEW_STEP, len(data) - end)
        if start + margin_before <= caret <= end - margin_after and end - start <= VIEW_BYTES + VIEW_STEP:
            return start, data[start:end]
    start = char_start(data, max(0, min(caret, len(data)) - VIEW_BYTES // 2))
    return start, data[start : char_start(data, min(len(data), start + VIEW_BYTES))]


def _followed(data: bytes, known: _Known) -> tuple[int, int]:
    """Where the remembered view is in the edited text, if all edits were behind it, in front of it, or inside of it.

    If they were at several of these places, the view shows something else, and the texts are compared.
    """
    start, end = known.view_start, known.view_start + len(known.tokens.data)
    grown = len(data) - known.text_length
    if data[start:end] == known.tokens.data:
        return start, end
    if start + grown >= 0 and data[start + grown : end + grown] == known.tokens.data:
        return start + grown, end + grown
    return char_start(data, start), char_start(data, min(max(start, end + grown), len(data)))


def _edits_since(snapshot: Snapshot, known: _Known, data: bytes) -> Sequence[Edit] | None:
    """The snapshot's own edits since the remembered revision if they really lead from its text to `data`, else None."""
    count = snapshot.revision - known.revision
    if known.view_start or len(data) != len(snapshot.text.data) or not 0 < count <= len(snapshot.edits):
        return None
    edits = snapshot.edits[-count:]
    replayed = known.tokens.data
    for edit in edits:
        replayed = edit.apply_to(replayed)
    return edits if replayed == data else None
