"""The contract of whatever answers: a model in this process, a server, or a script. One interface for the pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from model.engine import Completion, StopRule, never_stop
from model.request import CancelCheck, Request, never_cancelled


@dataclass(frozen=True)
class Description:
    """What answers now, for the status, `keyturn doctor` and `--json`.

    model           its name, for people
    engine          the engine's kind: "embedded", "vllm", "scripted"
    context_tokens  tokens that prompt and completion may hold together
    layout          how prompts are laid out: a model family, or "left-to-right"
    details         what else there is to know, name → value
    """

    model: str
    engine: str
    context_tokens: int
    layout: str = ""
    details: Mapping[str, str] = field(default_factory=dict)


class Completer(Protocol):
    """Continues documents. Used from one thread at a time, the one that owns the engine."""

    def describe(self) -> Description:
        """What answers now; it may change, as when a server goes away and something else takes its place."""
        ...

    def complete(
        self, request: Request, stop: StopRule = never_stop, cancelled: CancelCheck = never_cancelled
    ) -> Completion:
        """Continue the text at the caret, once, until `stop` ends it. Raises what `Engine.complete` raises."""
        ...

    def encode_ahead(self, request: Request, cancelled: CancelCheck = never_cancelled) -> None:
        """Encode the prompt that this request would have, so that it finds a warm cache."""
        ...

    def refresh(self, document: str, cancelled: CancelCheck = never_cancelled) -> bool:
        """Re-encode one slice of the document's stale tokens; True while more are left."""
        ...

    def forget(self, document: str) -> None:
        """Drop all that is remembered of a document."""
        ...

    def cache_bytes(self, document: str | None = None) -> int:
        """Bytes of cache held for one document, or for all."""
        ...
