"""What is asked of a model, as one value that is passed down whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from model.snapshot import Snapshot

ReuseMode = Literal["pie", "exact", "off"]
"""What of a document's cache survives an edit: everything, what is in front of the edit, or nothing."""

Stop = Literal["auto", "line", "block", "none"]
"""Where a suggestion ends: as the code around the caret suggests, with the line, with the block, or where the model
ends it.
"""

CancelCheck = Callable[[], bool]
"""Answers True once nobody wants the result any more. Cheap, safe from any thread."""


def never_cancelled() -> bool:
    """The `CancelCheck` of a request that nobody withdraws."""
    return False


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: greedy at temperature 0, else top-p sampling, repeatable with a seed."""

    temperature: float = 0.0
    top_p: float = 0.95
    seed: int | None = None


@dataclass(frozen=True)
class Request:
    """Continue a document at a caret.

    snapshot    the document, with its language and path
    caret       byte offset in its text; outside of the text, its nearest end
    max_tokens  tokens of a suggestion, at most
    stop        where a suggestion ends before that
    num_items   distinct suggestions wanted, at most
    sampling    how tokens are chosen
    reuse       what of the document's cache may be used
    adapter     name of the adapter to run the model with; None for the model as it is
    context     texts from outside of the document to show the model in front of it
    """

    snapshot: Snapshot
    caret: int
    max_tokens: int = 64
    stop: Stop = "auto"
    num_items: int = 1
    sampling: Sampling = Sampling()
    reuse: ReuseMode = "pie"
    adapter: str | None = None
    context: tuple[str, ...] = ()

    @property
    def document(self) -> str:
        """The name of the document, and of its cache."""
        return self.snapshot.document
