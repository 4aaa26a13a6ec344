"""A document at one moment, as it is handed from the event loop to the engine's thread."""

from __future__ import annotations

from dataclasses import dataclass

from ast_tools.languages import Language
from ast_tools.text import Edit, Text


@dataclass(frozen=True)
class Snapshot:
    """An immutable document.

    `document` names it for as long as it is open, as its URI does. `edits` are the latest ones, the last of them made
    `revision`, which grows by one with each. They may be fewer than all, or wrong: then the texts themselves are
    compared, which costs time and finds fewer tokens to keep, never a wrong answer. `language` is None for one
    that keyturn does not know by syntax.
    """

    document: str
    text: Text
    revision: int = 0
    edits: tuple[Edit, ...] = ()
    path: str | None = None
    language: Language | None = None
