"""The open documents: their text as the client has it, and the edits that led there.

Everything here runs on the event loop and takes microseconds to milliseconds. What another thread needs of a document
is a `Snapshot`, which is immutable.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from urllib.parse import unquote, urlsplit

from lsprotocol import types
from pygls.uris import to_fs_path

from ast_tools.languages import language_for
from ast_tools.text import Edit, PositionEncoding, Text, diff, encode
from model.snapshot import Snapshot

logger = logging.getLogger(__name__)

MANY_EDITS = 8
"""From so many on it is cheaper to index the lines anew than after each edit."""

MAX_LOGGED_EDITS = 256
MAX_LOGGED_BYTES = 1024 * 1024


@dataclass
class Document:
    """One open document.

    `caret` is where the latest edit ended, or where the client has said: the best guess while nothing is asked.
    `num_changes` counts the client's changes, whatever it does with its own `version`.
    """

    language_id: str
    version: int
    snapshot: Snapshot
    caret: int = 0
    num_changes: int = 0
    _logged_bytes: int = field(default=0, repr=False)

    @classmethod
    def opened(cls, item: types.TextDocumentItem) -> Document:
        path = path_of(item.uri)
        language = language_for(path, item.language_id)
        snapshot = Snapshot(item.uri, Text.from_str(item.text), path=path, language=language)
        return cls(item.language_id, item.version, snapshot)

    @property
    def text(self) -> Text:
        return self.snapshot.text

    def change(
        self,
        changes: Iterable[types.TextDocumentContentChangeEvent],
        version: int,
        encoding: PositionEncoding,
    ) -> None:
        """Apply the client's changes, each to the result of the one before.

        Those that rise towards the text's start, as of a replacement everywhere, have their offsets in the text as it
        is, and are applied at once: one by one, ten thousand of them would take seconds.
        """
        rising: list[Edit] = []
        for change in changes:
            new = encode(change.text)
            if not isinstance(change, types.TextDocumentContentChangePartial):
                self._apply_rising(rising)
                for edit in diff(self.text.data, new):
                    self.apply(edit)
                continue
            start, end = offsets_of(self.text, change.range, encoding)
            if rising and end >= rising[-1].start:
                self._apply_rising(rising)
                start, end = offsets_of(self.text, change.range, encoding)
            rising.append(Edit(start, end, new))
        self._apply_rising(rising)
        self.version = version
        self.num_changes += 1

    def apply(self, edit: Edit) -> None:
        text = self.text.apply(edit)
        edits = self._log(self.snapshot.edits, edit)
        self.snapshot = replace(self.snapshot, text=text, revision=self.snapshot.revision + 1, edits=edits)
        self.caret = edit.start + len(edit.new)

    def _apply_rising(self, edits: list[Edit]) -> None:
        """Apply edits each of which ends above the start of the one before; the list is empty then."""
        if len(edits) < MANY_EDITS:
            for edit in edits:
                self.apply(edit)
        else:
            log = self.snapshot.edits
            for edit in edits:
                log = self._log(log, edit)
            text, revision = self.text.apply_rising(edits), self.snapshot.revision + len(edits)
            self.snapshot = replace(self.snapshot, text=text, revision=revision, edits=log)
            self.caret = edits[-1].start + len(edits[-1].new)
        edits.clear()

    def suppose(self, edit: Edit) -> Snapshot:
        """The document as it would be after `edit`, for a question about text that is not there.

        The edit and its reversal both enter the log, so that whoever follows the revisions keeps an exact history.
        """
        start, end = self.caret, edit.start + len(edit.new)
        undo = Edit(edit.start, end, self.text.data[edit.start : edit.end])
        self.apply(edit)
        supposed = self.snapshot
        self.apply(undo)
        self.caret = start
        return supposed

    def digest(self) -> str:
        """A hash of the text in UTF-8, to compare with the client's."""
        return hashlib.sha256(self.text.data).hexdigest()

    def _log(self, edits: tuple[Edit, ...], edit: Edit) -> tuple[Edit, ...]:
        """Keep the latest edits, as many as fit into the limits."""
        self._logged_bytes += len(edit.new)
        first = max(0, len(edits) + 1 - MAX_LOGGED_EDITS)
        dropped = sum(len(old.new) for old in edits[:first])
        while self._logged_bytes - dropped > MAX_LOGGED_BYTES and first < len(edits):
            dropped += len(edits[first].new)
            first += 1
        self._logged_bytes -= dropped
        return (*edits[first:], edit)


class Documents:
    """The open documents by URI, in the position encoding that was negotiated with the client."""

    def __init__(self) -> None:
        self.encoding = PositionEncoding.UTF16
        self._open: dict[str, Document] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Document]:
        return iter(self._open.values())

    def get(self, uri: str) -> Document | None:
        return self._open.get(uri)

    def open(self, item: types.TextDocumentItem) -> Document:
        document = Document.opened(item)
        self._open[item.uri] = document
        return document

    def change(self, params: types.DidChangeTextDocumentParams) -> Document | None:
        """The changed document; None, and a line in the log, when the client never opened it."""
        document = self._open.get(params.text_document.uri)
        if document is None:
            logger.warning("Ignoring a change to a document that is not open: %s", params.text_document.uri)
            return None
        document.change(params.content_changes, params.text_document.version, self.encoding)
        return document

    def close(self, uri: str) -> None:
        if self._open.pop(uri, None) is None:
            logger.warning("Ignoring the close of a document that is not open: %s", uri)


def offsets_of(text: Text, span: types.Range, encoding: PositionEncoding) -> tuple[int, int]:
    """The byte span of a range, clamped to the text and put in order."""
    start = text.offset_at(span.start.line, span.start.character, encoding)
    end = text.offset_at(span.end.line, span.end.character, encoding)
    return min(start, end), max(start, end)


def path_of(uri: str) -> str | None:
    """The file name in a URI: a real path for `file:`, the path part alone for cells and unnamed documents."""
    if uri.startswith("file:"):
        return to_fs_path(uri)
    try:
        return unquote(urlsplit(uri).path) or None
    except ValueError:
        return None
