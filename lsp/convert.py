"""Between LSP's types and our own. Nothing else converts positions or builds items."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lsprotocol import types

from ast_tools.text import Edit, PositionEncoding, Text, encode
from lsp.session.documents import Document, offsets_of
from model.assistant.suggestion import Suggestion

ACCEPTED_COMMAND = "keyturn.accepted"


@dataclass(frozen=True)
class Place:
    """Where something is asked for.

    `text` and `caret` are what the suggestion continues. With an entry of the completion menu selected they are the
    document as if that entry were accepted already, and `selected` is the edit that accepting it would make.
    """

    text: Text
    caret: int
    span: tuple[int, int]
    selected: Edit | None = None


def place_of(document: Document, params: types.InlineCompletionParams, encoding: PositionEncoding) -> Place:
    """The place a request speaks of, clamped to the document."""
    text = document.text
    caret = text.offset_at(params.position.line, params.position.character, encoding)
    info = params.context.selected_completion_info
    if info is None:
        return Place(text, caret, (caret, caret))
    start, end = offsets_of(text, info.range, encoding)
    if not start <= caret <= end or text.line_at(start) != text.line_at(end):
        return Place(text, caret, (caret, caret))
    selected = Edit(start, end, encode(info.text))
    return Place(text.apply(selected), start + len(selected.new), (start, end), selected)


def to_item(
    document_text: Text,
    place: Place,
    suggestion: Suggestion,
    number: int,
    encoding: PositionEncoding,
    *,
    as_snippet: bool = False,
) -> types.InlineCompletionItem:
    """One suggestion as the editor gets it; the number tells its acceptance.

    The range ends where the text that is replaced ends and starts at or before the caret, on one line. Editors show an
    item only if what it replaces up to the caret begins `filterText`, or `insertText` when that is absent.

    With `as_snippet` the parts in doubt become placeholders, if there are any. Only in a single line at a caret:
    editors indent the further lines of a snippet again, and some of them ignore its range.
    """
    start, end = place.span
    insert_text: str | types.StringValue = suggestion.text
    filter_text = None
    if as_snippet and suggestion.doubts and place.selected is None and "\n" not in suggestion.text:
        insert_text = types.StringValue(value=_snippet(suggestion))
    if place.selected is not None:
        insert_text = place.selected.new.decode("utf-8") + suggestion.text
        replaced = document_text.slice(start, end)
        # A fuzzy match: the menu offers `print` for the typed `pnt`.
        filter_text = None if insert_text.startswith(replaced) else replaced + insert_text
    return types.InlineCompletionItem(
        insert_text=insert_text,
        filter_text=filter_text,
        range=to_range(document_text, start, end, encoding),
        command=types.Command(title="Accept the suggestion", command=ACCEPTED_COMMAND, arguments=[number]),
    )


def _snippet(suggestion: Suggestion) -> str:
    """The suggestion in snippet syntax (LSP 3.18, "Snippet Syntax"): each part in doubt is a placeholder."""
    new, parts, at = suggestion.edit.new, [], 0
    for number, (start, end) in enumerate(suggestion.doubts, start=1):
        parts += [_escaped(new[at:start]), f"${{{number}:{_escaped(new[start:end])}}}"]
        at = end
    return "".join([*parts, _escaped(new[at:]), "$0"])


def _escaped(text: bytes) -> str:
    return re.sub(r"([\\$}])", r"\\\1", text.decode("utf-8", errors="replace"))


def to_range(text: Text, start: int, end: int, encoding: PositionEncoding) -> types.Range:
    first_line, first_column = text.position_at(start, encoding)
    last_line, last_column = text.position_at(end, encoding)
    return types.Range(
        start=types.Position(line=first_line, character=first_column),
        end=types.Position(line=last_line, character=last_column),
    )
