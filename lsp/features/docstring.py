"""`keyturn/docstring`: a docstring for the function or class around a position, as an edit."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lsprotocol import types
from pygls.exceptions import JsonRpcRequestCancelled

from lsp.convert import to_range
from lsp.features.read_ahead import ReadAhead
from lsp.session.session import Session
from model.errors import Cancelled, EngineError, KeyturnError
from model.request import CancelCheck

if TYPE_CHECKING:
    from model.assistant.assistant import Assistant
    from model.assistant.suggestion import Suggestion

logger = logging.getLogger(__name__)


@dataclass
class Docstrings:
    """Answers requests for docstrings. A newer one for a document withdraws the one before; ghost text comes first."""

    session: Session
    read_ahead: ReadAhead

    async def suggest(self, params: types.TextDocumentPositionParams) -> types.TextEdit | None:
        """The edit; None where no docstring is missing, or none came, or the text has changed meanwhile."""
        session = self.session
        document = session.documents.get(params.text_document.uri)
        if document is None or not session.is_wanted(document):
            return None
        text, num_changes, encoding = document.text, document.num_changes, session.documents.encoding
        caret = text.offset_at(params.position.line, params.position.character, encoding)
        request = session.settings_of(document).request(document.snapshot, caret)

        def work(assistant: Assistant, cancelled: CancelCheck) -> Suggestion | None:
            from model.assistant.docstring import suggest_docstring  # Imports tree_sitter: not while the server starts.

            return suggest_docstring(assistant, request, cancelled)

        try:
            found = await session.engine.run(params.text_document.uri, "docstring", work)
        except Cancelled as error:
            raise JsonRpcRequestCancelled(str(error)) from error
        except KeyturnError as error:
            logger.info("No docstring: %s", error)
            if isinstance(error, EngineError):
                session.reporter.problem(str(error))
            return None
        if session.documents.get(params.text_document.uri) is not document or document.num_changes != num_changes:
            return None
        self.read_ahead.start_timer(document)  # the cache is of the text with the quotes
        if found is None:
            return None
        span = to_range(text, found.edit.start, found.edit.end, encoding)
        return types.TextEdit(range=span, new_text=found.text)
