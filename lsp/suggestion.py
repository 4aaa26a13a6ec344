"""From a place in a text to what shall be suggested there: the part of the work that runs in the engine's thread.

Knows no LSP; the server, the command line and the benchmarks share it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from ast_tools.languages import Language
from ast_tools.scope import CaretContext, caret_context, finish, make_stop
from lsp.syntax_trees import SyntaxTrees
from model.engine import CancelCheck, Completion, ReuseMode, Sampling, StopRule, never_cancelled, never_stop
from model.snapshot import Snapshot

if TYPE_CHECKING:
    from model.factory import CompleterLike

Stop = Literal["auto", "line", "block", "none"]
"""Where a suggestion ends: as the place suggests, with the line, with the block, or where the model ends it."""

_VARIED_TEMPERATURE = 0.6


@dataclass(frozen=True)
class Question:
    """What is asked: the text, the byte offset of the caret, and the limits of the answer."""

    snapshot: Snapshot
    caret: int
    language: Language | None
    stop: Stop = "auto"
    max_tokens: int = 64
    reuse: ReuseMode = "pie"
    sampling: Sampling = field(default_factory=Sampling)
    num_items: int = 1


@dataclass(frozen=True)
class Answer:
    """Distinct texts to show, best first; none when nothing useful came. `completion` is the first one's."""

    texts: tuple[str, ...]
    completion: Completion


def think(
    completer: CompleterLike, trees: SyntaxTrees, question: Question, cancelled: CancelCheck = never_cancelled
) -> Answer:
    """Ask the model, once for each item wanted. Raises what `Completer.complete` raises."""
    snapshot = question.snapshot

    def complete(sampling: Sampling, stop: StopRule) -> Completion:
        return completer.complete(
            snapshot,
            question.caret,
            max_tokens=question.max_tokens,
            sampling=sampling,
            reuse=question.reuse,
            stop=stop,
            cancelled=cancelled,
        )

    if question.stop == "none":
        completion = complete(question.sampling, never_stop)
        return Answer((completion.text,) if completion.text else (), completion)

    tree = trees.of(snapshot, question.language)
    context = _limited(caret_context(snapshot.text, tree, question.caret, question.language), question.stop)
    stop_rule = make_stop(context)
    texts: dict[str, None] = {}
    first: Completion | None = None
    for sampling in _samplings(question):
        completion = complete(sampling, stop_rule)
        first = first or completion
        text = str(finish(context, completion.text, is_complete=completion.finish != "length"))
        if text.strip():
            texts[text] = None
    assert first is not None
    return Answer(tuple(texts), first)


def _limited(context: CaretContext, stop: Stop) -> CaretContext:
    if stop == "line" or stop == "block":
        return replace(context, kind=stop)
    return context


def _samplings(question: Question) -> list[Sampling]:
    """The one asked for, then varied ones, repeatable so that asking twice shows the same choice."""
    asked = question.sampling
    varied = max(asked.temperature, _VARIED_TEMPERATURE)
    return [asked] + [
        replace(asked, temperature=varied, seed=(asked.seed or 0) + number) for number in range(1, question.num_items)
    ]
