"""What the pipeline answers: edits to put into the document, and which parts of them are in doubt."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ast_tools.text import Edit, encode
from ast_tools.traced import TracedText
from model.engine import Completion, Token

Span = tuple[int, int]
"""First byte and end, within a suggestion's new text in UTF-8."""


@dataclass(frozen=True)
class Suggestion:
    """An edit of the document that was asked about.

    edit    what is replaced, and by what
    tokens  the tokens that wrote the new text; their bytes tile it
    doubts  the parts of the new text that are probably wrong, rising, apart from each other
    """

    edit: Edit
    tokens: tuple[Token, ...] = ()
    doubts: tuple[Span, ...] = ()

    @property
    def text(self) -> str:
        """The new text."""
        return self.edit.new.decode("utf-8")

    def part(self, start: int, end: int, caret: int) -> Suggestion:
        """The bytes `start`..`end` of the new text, to be put in at the byte `caret` of the document."""
        tokens = (Token(t.id, *_within((t.start, t.end), start, end), t.logprob) for t in self.tokens)
        doubts = (_within(doubt, start, end) for doubt in self.doubts)
        return Suggestion(
            Edit(caret, caret, self.edit.new[start:end]),
            tuple(tokens),
            tuple((first, last) for first, last in doubts if first < last),
        )


@dataclass(frozen=True)
class Suggestions:
    """Distinct suggestions, best first; none where nothing useful came. `completion` is the first one's."""

    items: tuple[Suggestion, ...]
    completion: Completion


def suggestion_of(completion: Completion, shown: TracedText, caret: int) -> Suggestion:
    """The text to show, put in at the byte `caret`, with the tokens of the completion that it was made of."""
    ends = shown.map_ends([token.end for token in completion.tokens], completion.text)
    starts = [0, *ends][: len(ends)]
    tokens = tuple(
        Token(token.id, start, end, token.logprob)
        for token, start, end in zip(completion.tokens, starts, ends, strict=True)
    )
    return Suggestion(Edit(caret, caret, encode(shown.text)), tokens)


DoubtFinder = Callable[[Suggestion], tuple[Span, ...]]
"""Which parts of a suggestion are in doubt."""


def no_doubts(suggestion: Suggestion) -> tuple[Span, ...]:
    """The `DoubtFinder` of a model whose probabilities are not calibrated."""
    return ()


def doubts_below(logprob: float) -> DoubtFinder:
    """A `DoubtFinder`: the tokens whose natural-log probability is known and lower than this one."""

    def find(suggestion: Suggestion) -> tuple[Span, ...]:
        unsure = (t for t in suggestion.tokens if t.logprob is not None and t.logprob < logprob and t.start < t.end)
        return tuple(_joined((token.start, token.end) for token in unsure))

    return find


def _within(span: Span, start: int, end: int) -> Span:
    """The part of a span that is in `start`..`end`, counted from `start`."""
    first, last = (min(max(at, start), end) - start for at in span)
    return first, last


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Rising spans, those that touch made one."""
    joined: list[Span] = []
    for start, end in spans:
        if joined and joined[-1][1] == start:
            start = joined.pop()[0]
        joined.append((start, end))
    return joined
