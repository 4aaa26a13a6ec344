"""From a caret in a document to suggestions there.

tree and caret ─► where a suggestion stops ─► completer ─► only what is worth showing ─► what of it is in doubt
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ast_tools.scope import CaretContext, caret_context, finish, make_stop
from ast_tools.text import char_start
from ast_tools.traced import TracedText
from ast_tools.tree import SyntaxTree
from model.assistant.suggestion import DoubtFinder, Suggestion, Suggestions, no_doubts, suggestion_of
from model.assistant.syntax_trees import SyntaxTrees
from model.completer import Completer, Description
from model.engine import Completion, never_stop
from model.request import CancelCheck, Request, Sampling, never_cancelled
from model.snapshot import Snapshot

VARIED_TEMPERATURE = 0.6
"""Of the second and later items, at least."""


class Assistant:
    """A completer, and the syntax trees of the documents that it is asked about. Used from one thread at a time."""

    def __init__(self, completer: Completer, find_doubts: DoubtFinder = no_doubts) -> None:
        self.completer = completer
        self._find_doubts = find_doubts
        self._trees = SyntaxTrees()

    def suggest(self, request: Request, cancelled: CancelCheck = never_cancelled) -> Suggestions:
        """Ask the model, once for each item wanted. Raises what `Completer.complete` raises."""
        context = self._context(request)
        stop = never_stop if context is None else make_stop(context)
        items: dict[bytes, Suggestion] = {}
        completions = []
        for sampling in _samplings(request):
            completion = self.completer.complete(replace(request, sampling=sampling), stop, cancelled)
            completions.append(completion)
            suggestion = _suggestion(request, completion, _shown(context, completion))
            if suggestion is not None and suggestion.edit.new not in items:
                items[suggestion.edit.new] = replace(suggestion, doubts=self._find_doubts(suggestion))
        return Suggestions(tuple(items.values()), completions[0])

    def encode_ahead(self, request: Request, cancelled: CancelCheck = never_cancelled) -> None:
        """Have the prompt encoded and the tree parsed that this request needs, so that it is answered sooner."""
        self.completer.encode_ahead(request, cancelled)
        self.tree(request.snapshot)

    def tree(self, snapshot: Snapshot) -> SyntaxTree | None:
        """The syntax tree of exactly this snapshot's text; None where it has no grammar or is too large."""
        return self._trees.of(snapshot)

    def refresh(self, document: str, cancelled: CancelCheck = never_cancelled) -> bool:
        """Re-encode one slice of the document's stale tokens; True while more are left."""
        return self.completer.refresh(document, cancelled)

    def forget(self, document: str) -> None:
        """Drop all that is remembered of a document."""
        self._trees.forget(document)
        self.completer.forget(document)

    def cache_bytes(self, document: str | None = None) -> int:
        """Bytes of cache held for one document, or for all."""
        return self.completer.cache_bytes(document)

    def describe(self) -> Description:
        """What answers now."""
        return self.completer.describe()

    def _context(self, request: Request) -> CaretContext | None:
        """What surrounds the caret; None where nothing but the model shall end the suggestion."""
        if request.stop == "none":
            return None
        snapshot = request.snapshot
        context = caret_context(snapshot.text, self.tree(snapshot), request.caret, snapshot.language)
        return context if request.stop == "auto" else replace(context, kind=request.stop)


def _samplings(request: Request) -> Iterator[Sampling]:
    """The one asked for, then varied ones, repeatable so that asking twice shows the same choice."""
    asked = request.sampling
    yield asked
    for number in range(1, request.num_items):
        temperature = max(asked.temperature, VARIED_TEMPERATURE)
        yield replace(asked, temperature=temperature, seed=(asked.seed or 0) + number)


def _shown(context: CaretContext | None, completion: Completion) -> TracedText:
    """What of the completion is worth showing."""
    if context is None:
        return TracedText.of(completion.text)
    return finish(context, completion.text, is_complete=completion.finish != "length")


def _suggestion(request: Request, completion: Completion, shown: TracedText) -> Suggestion | None:
    """The text to show as an edit at the caret; None where there is nothing to show."""
    is_worth_it = shown.text if request.stop == "none" else shown.text.strip()
    if not is_worth_it:
        return None
    data = request.snapshot.text.data
    caret = char_start(data, min(max(request.caret, 0), len(data)))
    return suggestion_of(completion, shown, caret)
