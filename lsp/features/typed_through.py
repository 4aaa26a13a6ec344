"""Remembers the last suggestion of a document and serves it while the user types along it."""

from __future__ import annotations

from dataclasses import dataclass

from ast_tools.text import Text, encode
from model.assistant.suggestion import Suggestion

_CLOSERS = frozenset(b")]}\"'`")
_MAX_CLOSERS = 2


@dataclass(frozen=True)
class Remembered:
    """What was suggested at `caret` in `text`. No suggestions is an answer too, for this very place."""

    text: Text
    caret: int
    suggestions: tuple[Suggestion, ...]
    is_explicit: bool

    def at(self, text: Text, caret: int, *, explicit: bool) -> tuple[Suggestion, ...] | None:
        """What is left to suggest at a caret; None when the model must be asked.

            then    before | after          suggested "print(x)"
            now     before pri | after      left      "nt(x)"

        Holds in both directions: characters typed, and typed ones deleted again. An explicit request wants choices
        of its own, any other one item at most.
        """
        if explicit and not self.is_explicit:
            return None
        num_typed = caret - self.caret
        if num_typed < 0 or text.data[: self.caret] != self.text.data[: self.caret]:
            return None
        closers = self._closers_added(text, caret)
        if closers is None:
            return None
        if num_typed == 0:
            return self._as_many(self.suggestions, explicit=explicit) if not closers else None
        # Suggestions have bare line feeds, which editors turn into the file's own line endings.
        typed = encode(text.slice(self.caret, caret).replace("\r\n", "\n").replace("\r", "\n"))
        left = [
            suggestion.part(len(typed), len(suggestion.edit.new) - len(closers), caret)
            for suggestion in self.suggestions
            if suggestion.edit.new.startswith(typed) and suggestion.edit.new.endswith(closers)
        ]
        return self._as_many(tuple(rest for rest in left if rest.edit.new), explicit=explicit) or None

    @staticmethod
    def _as_many(suggestions: tuple[Suggestion, ...], *, explicit: bool) -> tuple[Suggestion, ...]:
        return suggestions if explicit else suggestions[:1]

    def _closers_added(self, text: Text, caret: int) -> bytes | None:
        """Closers that the editor put behind the caret on its own; None when something else has changed there."""
        num_before = len(self.text.data) - self.caret
        num_added = len(text.data) - caret - num_before
        if not 0 <= num_added <= _MAX_CLOSERS:
            return None
        added = text.data[caret : caret + num_added]
        if not _CLOSERS.issuperset(added) or text.data[caret + num_added :] != self.text.data[self.caret :]:
            return None
        return added
