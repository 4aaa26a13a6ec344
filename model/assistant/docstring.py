"""A docstring for the function or class around a caret: one line, filled in where it is missing."""

from __future__ import annotations

import re
from dataclasses import replace

from ast_tools.functions import missing_docstring
from ast_tools.text import Edit
from ast_tools.traced import TracedText
from model.assistant.assistant import Assistant
from model.assistant.suggestion import Suggestion, suggestion_of
from model.request import CancelCheck, Request, never_cancelled
from model.snapshot import Snapshot

_QUOTES = '"""'
_END = re.compile(r'"""|[\r\n]')


def suggest_docstring(
    assistant: Assistant, request: Request, cancelled: CancelCheck = never_cancelled
) -> Suggestion | None:
    """What to put in front of the body; None where no docstring is missing, or the model has no sentence for it.

    The model is asked in the document as it would be with the quotes opened. Raises what `Completer.complete` raises.
    """
    tree = assistant.tree(request.snapshot)
    place = None if tree is None else missing_docstring(tree, request.caret)
    if place is None:
        return None
    opened = Edit(place.offset, place.offset, f"{_QUOTES}\n{place.indentation}".encode())
    caret = place.offset + len(_QUOTES)
    asked = replace(request, snapshot=_supposed(request.snapshot, opened), caret=caret)
    completion = assistant.completer.complete(asked, _end_of_sentence, cancelled)
    sentence = TracedText.of(completion.text).rstrip()
    if completion.finish == "length" or not re.search(r"\w", sentence.text) or sentence.text.endswith("\\"):
        return None
    shown = TracedText.put_in(_QUOTES) + sentence + f"{_QUOTES}\n{place.indentation}"
    return suggestion_of(completion, shown, place.offset)


def _supposed(snapshot: Snapshot, edit: Edit) -> Snapshot:
    """The document as it would be after an edit that nobody has made."""
    edits = (*snapshot.edits, edit)
    return replace(snapshot, text=snapshot.text.apply(edit), revision=snapshot.revision + 1, edits=edits)


def _end_of_sentence(text: str) -> int | None:
    """The stop rule: the closing quotes, or the line's end."""
    found = _END.search(text)
    return found.start() if found else None
