"""The other side of the wire: a client that drives a server process as an editor does. For the demo and benchmarks."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Sequence
from typing import Any

from lsprotocol import types
from pygls.lsp.client import LanguageClient

from ast_tools.text import Edit, PositionEncoding, Text
from lsp import __version__
from lsp.session.status import STATUS_METHOD

LOADING_SECONDS = 120.0
ANSWER_SECONDS = 60.0


class ServerFailed(Exception):
    """The server said that it cannot work; its own words."""


class EditorClient(LanguageClient):
    """A language client that waits for the engine and hears what the server says."""

    def __init__(self) -> None:
        super().__init__("keyturn-client", __version__)
        self.failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.ready = asyncio.Event()

        @self.feature(types.WINDOW_SHOW_MESSAGE)  # type: ignore[untyped-decorator]
        def on_message(params: types.ShowMessageParams) -> None:
            if params.type is types.MessageType.Error and not self.failure.done():
                self.failure.set_result(params.message)

        @self.feature(STATUS_METHOD)  # type: ignore[untyped-decorator]
        def on_status(params: Any) -> None:
            if params.state == "ready":
                self.ready.set()

    @property
    def process_id(self) -> int:
        """Of the server, once it was started."""
        assert self._server is not None
        return self._server.pid

    async def start_server(self) -> None:
        """This program's own; it takes no modules from the folder that it is started in."""
        await self.start_io(sys.executable, "-P", "-m", "lsp.cli", "serve")

    async def open_session(self, options: dict[str, Any]) -> None:
        capabilities = types.ClientCapabilities(
            general=types.GeneralClientCapabilities(position_encodings=[types.PositionEncodingKind.Utf8]),
            experimental={"keyturnStatus": True},
        )
        await self.initialize_async(
            types.InitializeParams(capabilities=capabilities, initialization_options=options, process_id=None)
        )
        self.initialized(types.InitializedParams())
        await self.wait_for(self.ready.wait(), LOADING_SECONDS)

    async def wait_for(self, answer: Awaitable[Any], seconds: float = ANSWER_SECONDS) -> Any:
        """The answer, or the server's own words if it fails first."""
        asked = asyncio.ensure_future(answer)
        done, _ = await asyncio.wait({asked, self.failure}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if asked in done:
            return asked.result()
        asked.cancel()
        if self.failure in done:
            raise ServerFailed(self.failure.result())
        raise TimeoutError("The server did not answer in time; `keyturn doctor` may tell why.")

    def open_document(self, uri: str, text: str, language_id: str = "python") -> None:
        item = types.TextDocumentItem(uri, language_id, 0, text)
        self.text_document_did_open(types.DidOpenTextDocumentParams(item))

    def change_document(self, uri: str, version: int, text: Text, edits: Sequence[Edit]) -> None:
        """`edits` one after the other, the first one to `text`; without any nothing is sent."""
        if not edits:
            return
        changes = []
        for edit in edits:
            span = types.Range(position(text, edit.start), position(text, edit.end))
            changes.append(types.TextDocumentContentChangePartial(span, edit.new.decode()))
            text = text.apply(edit)
        identifier = types.VersionedTextDocumentIdentifier(version, uri)
        self.text_document_did_change(types.DidChangeTextDocumentParams(identifier, changes))

    async def suggestions(self, uri: str, at: types.Position) -> list[types.InlineCompletionItem]:
        """What the server has for ghost text there."""
        answer = await self.text_document_inline_completion_async(
            types.InlineCompletionParams(
                text_document=types.TextDocumentIdentifier(uri),
                position=at,
                context=types.InlineCompletionContext(types.InlineCompletionTriggerKind.Automatic),
            )
        )
        return list(answer.items if isinstance(answer, types.InlineCompletionList) else answer or [])

    async def end_session(self) -> None:
        try:
            await asyncio.wait_for(self.shutdown_async(None), 10)
            self.exit(None)
        except (TimeoutError, RuntimeError, ConnectionError):
            pass
        await self.stop()  # type: ignore[no-untyped-call]


def position(text: Text, offset: int) -> types.Position:
    """In bytes, as `EditorClient.open_session` has agreed with the server."""
    return types.Position(*text.position_at(offset, PositionEncoding.UTF8))
