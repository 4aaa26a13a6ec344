"""The language server: which messages it takes, and what each of them sets in motion.

Nothing that takes long is imported here. `initialize` is answered first; the engine is loaded behind it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Iterable, Iterator
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams
from pygls.lsp.server import LanguageServer
from pygls.protocol import default_converter
from pygls.uris import to_fs_path

from ast_tools.text import PositionEncoding
from lsp import __version__
from lsp.convert import ACCEPTED_COMMAND
from lsp.features.acceptance import Acceptance
from lsp.features.docstring import Docstrings
from lsp.features.inline_completion import InlineCompletion
from lsp.features.read_ahead import ReadAhead
from lsp.log import set_up_logging
from lsp.session.documents import Documents
from lsp.session.engine_thread import EngineThread
from lsp.session.session import Session
from lsp.session.settings import (
    editor_layer,
    is_of_others,
)
from lsp.session.status import Status
from lsp.session.window_settings import WindowSettings, merge, read_files
from lsp.wire.protocol import CARET_METHOD, DOCSTRING_METHOD, KeyturnProtocol
from lsp.wire.transport import claim_stdio, converse_over_stdio, converse_over_tcp, is_alive, watch_parent

logger = logging.getLogger(__name__)

STATS_METHOD = "keyturn/stats"
_CONFIGURATION_SECONDS = 1.0


class KeyturnServer(LanguageServer):
    """One client's session: its documents, its settings, its engine."""

    protocol: KeyturnProtocol

    def __init__(self) -> None:
        super().__init__(
            "keyturn",
            __version__,
            text_document_sync_kind=types.TextDocumentSyncKind.Incremental,
            protocol_cls=KeyturnProtocol,
            converter_factory=default_converter,
        )
        self.status = Status(self)
        self.engine = EngineThread(self.status)
        self.documents = Documents()
        self.session = Session(self.documents, self.engine, self.status)
        self.acceptance = Acceptance()
        self.read_ahead = ReadAhead(self.session)
        self.inline = InlineCompletion(self.session, self.acceptance, self.read_ahead)
        self.docstrings = Docstrings(self.session, self.read_ahead)
        self.protocol.on_unreadable = self._unreadable
        self._files = read_files([])
        self._initial_layer = self._editor_layer = editor_layer(None)
        self._lone_root: Path | None = None
        self._here: str | None = None
        self._pulls_configuration = False
        _register(self)

    def send_notification(self, method: str, params: object) -> None:
        self.protocol.notify(method, params)

    def spawn(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        """Run something beside the conversation; a failure is logged."""
        return self.protocol.spawn(work)

    def _unreadable(self, method: str, raw_params: object) -> None:
        """A notification's parameters were not what the protocol says."""
        if method == types.TEXT_DOCUMENT_DID_CHANGE:
            _lose(self, raw_params)

    @property
    def settings(self) -> WindowSettings:
        return self.session.settings

    def initialize(self, params: types.InitializeParams) -> None:
        """Learn what the client is and can; nothing is loaded yet."""
        capabilities = params.capabilities
        self.documents.encoding = PositionEncoding(str(_value(self.protocol.workspace.position_encoding)))
        experimental = capabilities.experimental
        own = experimental if isinstance(experimental, dict) else {}
        self.status.wants_status = bool(own.get("keyturnStatus"))
        self.session.takes_snippets = bool(own.get("keyturnSnippets"))
        self.status.shows_progress = bool(capabilities.window and capabilities.window.work_done_progress)
        self._pulls_configuration = bool(capabilities.workspace and capabilities.workspace.configuration)
        self._lone_root = None if params.workspace_folders else _root_of(params)
        self._files = read_files(self._folders())
        self._initial_layer = editor_layer(params.initialization_options)
        # An editor in another container has a process that cannot be seen from here; it is not watched.
        if params.process_id is not None and is_alive(params.process_id):
            self.spawn(watch_parent(params.process_id, lambda: self.protocol.end(1)))
        self._configure()

    def _folders(self) -> Iterator[Path]:
        """The folders of the window, as the client last named them."""
        if self._lone_root is not None:
            yield self._lone_root
        yield from _paths_of(folder.uri for folder in self.protocol.workspace.folders.values())

    async def begin(self) -> None:
        """After `initialized`: ask for the editor's settings, then load the engine."""
        self.engine.start()
        if self._pulls_configuration:
            await self._watch_configuration()
            await self._pull_configuration()
        self._take_settings()

    async def reconfigure(self, raw: object) -> None:
        """The editor's settings have changed: it sent them, or sent nothing and is asked. Files are read again."""
        if isinstance(raw, dict) and isinstance(raw.get("keyturn"), dict):
            self._initial_layer = editor_layer(None)  # even a section without settings takes the first ones back
        self._files = read_files(self._folders())
        if editor_layer(raw).values or not self._pulls_configuration:
            self._hear_editor(raw)
        else:
            await self._pull_configuration()
        self._take_settings()

    def folders_changed(self) -> None:
        self._files = read_files(self._folders())
        self._take_settings()

    def is_in(self, uri: str) -> None:
        """The user is in this document; if nothing is suggested there the status says why."""
        self._here = uri
        self.tell_why_quiet()

    def tell_why_quiet(self) -> None:
        document = None if self._here is None else self.documents.get(self._here)
        self.status.quiet((document and self.session.why_quiet(document)) or "")

    def stats(self, uri: str, *, digest: bool) -> dict[str, Any]:
        """What `keyturn/stats` answers. Counts are of the session, the rest is of one document."""
        document = self.documents.get(uri)
        latest = self.inline.latest.get(uri)
        completion = latest.completion if latest is not None else None
        counts, engine = self.acceptance.counts, self.engine.state
        return {
            "counts": None if completion is None else vars(completion.counts),
            "timings_ms": None if completion is None else completion.timings_ms.rounded(),
            "cache_bytes": None if document is None else self.engine.cache_bytes.get(uri, 0),
            "version": None if document is None else document.version,
            "sha256": document.digest() if document is not None and digest else None,
            "requests": counts.requests,
            "engine_requests": counts.engine_requests,
            "shown": counts.shown,
            "accepted": counts.accepted,
            "model": engine.model,
            "engine": engine.engine,
            "state": engine.phase,
        }

    def _hear_editor(self, raw: object) -> None:
        """Settings that the client has sent, or answered. Once it tells any it no longer means its first ones."""
        if is_of_others(raw):
            return
        self._editor_layer = editor_layer(raw)
        if self._editor_layer.values:
            self._initial_layer = editor_layer(None)

    def _take_settings(self) -> None:
        self._configure()
        self._report_problems()
        self._load_engine()

    def _configure(self) -> None:
        settings = merge(self._files, [self._initial_layer, self._editor_layer])
        set_up_logging(settings.first.log_level, settings.first.log_file)
        self.inline.settings_changed(settings)
        self.tell_why_quiet()

    def _report_problems(self) -> None:
        for problem in self.settings.problems:
            logger.warning("%s", problem)
            self.status.say_once(problem, types.MessageType.Warning)

    def _load_engine(self) -> None:
        if self.settings.are_suggestions_wanted:
            self.engine.load(self.settings.first.for_engine())
        elif self.engine.state.phase == "waiting":
            self.status.switched_off()

    async def _pull_configuration(self) -> None:
        """Hear the client's `keyturn` section. When it does not answer in time what it told before holds until then."""
        item = types.ConfigurationItem(section="keyturn")
        asked = asyncio.ensure_future(self._asked_configuration(types.ConfigurationParams(items=[item])))
        await asyncio.wait([asked], timeout=_CONFIGURATION_SECONDS)
        if not asked.done():
            logger.warning("The client does not tell its settings; they are taken when it does.")
            asked.add_done_callback(lambda _: self._take_settings())

    async def _asked_configuration(self, params: types.ConfigurationParams) -> None:
        try:
            answer = await self.workspace_configuration_async(params)
        except Exception as error:
            logger.warning("The client did not tell its settings: %s", str(error) or type(error).__name__)
        else:
            self._hear_editor(answer[0] if answer else None)

    async def _watch_configuration(self) -> None:
        workspace = self.client_capabilities.workspace
        watch = workspace.did_change_configuration if workspace is not None else None
        if watch is None or not watch.dynamic_registration:
            return
        registration = types.Registration(
            id="keyturn-configuration",
            method=types.WORKSPACE_DID_CHANGE_CONFIGURATION,
            register_options={"section": "keyturn"},
        )
        self.client_register_capability(types.RegistrationParams(registrations=[registration]))


def _register(server: KeyturnServer) -> None:
    server.feature(types.INITIALIZE)(_initialize)
    server.feature(types.INITIALIZED)(_initialized)
    server.feature(types.TEXT_DOCUMENT_DID_OPEN)(_did_open)
    server.feature(types.TEXT_DOCUMENT_DID_CHANGE)(_did_change)
    server.feature(types.TEXT_DOCUMENT_DID_CLOSE)(_did_close)
    server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions())(_inline_completion)
    server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)(_did_change_configuration)
    server.feature(types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)(_did_change_workspace_folders)
    server.feature(CARET_METHOD)(_caret_moved)
    server.feature(DOCSTRING_METHOD)(_docstring)
    server.feature(STATS_METHOD)(_stats)
    server.command(ACCEPTED_COMMAND)(_accepted)


def _initialize(ls: KeyturnServer, params: types.InitializeParams) -> None:
    ls.initialize(params)


def _initialized(ls: KeyturnServer, params: types.InitializedParams) -> None:
    ls.spawn(ls.begin())


def _did_open(ls: KeyturnServer, params: types.DidOpenTextDocumentParams) -> None:
    uri = params.text_document.uri
    if ls.documents.get(uri) is not None:
        ls.inline.closed(uri)
    ls.read_ahead.opened(ls.documents.open(params.text_document))


def _did_change(ls: KeyturnServer, params: types.DidChangeTextDocumentParams) -> None:
    document = ls.documents.change(params)
    if document is not None:
        ls.read_ahead.changed(document)


def _lose(ls: KeyturnServer, raw_params: object) -> None:
    """A change that cannot be read: what the document holds now is unknown, so nothing is suggested in it."""
    item = raw_params.get("textDocument") if isinstance(raw_params, dict) else None
    uri = item.get("uri") if isinstance(item, dict) else None
    document = ls.documents.get(uri) if isinstance(uri, str) else None
    if document is not None:
        uri = document.snapshot.document
        ls.documents.close(uri)
        ls.inline.closed(uri)
        ls.status.say(
            f"The editor sent a change of {document.snapshot.path or uri} that keyturn cannot read. "
            "Nothing is suggested there until the file is opened again.",
            types.MessageType.Warning,
        )


def _did_close(ls: KeyturnServer, params: types.DidCloseTextDocumentParams) -> None:
    ls.documents.close(params.text_document.uri)
    ls.inline.closed(params.text_document.uri)
    ls.tell_why_quiet()


def _caret_moved(ls: KeyturnServer, params: types.TextDocumentPositionParams) -> None:
    """Someone has gone elsewhere: what a suggestion needs there is encoded before one is asked for."""
    document = ls.documents.get(params.text_document.uri)
    if document is not None:
        ls.is_in(params.text_document.uri)
        position = params.position
        document.caret = document.text.offset_at(position.line, position.character, ls.documents.encoding)
        ls.read_ahead.changed(document)


async def _inline_completion(
    ls: KeyturnServer, params: types.InlineCompletionParams
) -> list[types.InlineCompletionItem] | None:
    ls.is_in(params.text_document.uri)
    return await ls.inline.suggest(params)


async def _docstring(ls: KeyturnServer, params: types.TextDocumentPositionParams) -> types.TextEdit | None:
    ls.is_in(params.text_document.uri)
    return await ls.docstrings.suggest(params)


async def _did_change_configuration(ls: KeyturnServer, params: types.DidChangeConfigurationParams) -> None:
    await ls.reconfigure(params.settings)


def _did_change_workspace_folders(ls: KeyturnServer, params: types.DidChangeWorkspaceFoldersParams) -> None:
    ls.folders_changed()


def _stats(ls: KeyturnServer, params: object) -> dict[str, Any]:
    uri = params.get("uri") if isinstance(params, dict) else None
    if not isinstance(uri, str):
        raise JsonRpcInvalidParams(f'Invalid params for {STATS_METHOD}: it takes {{"uri": "…"}}.')
    return ls.stats(uri, digest=isinstance(params, dict) and params.get("digest") is True)


def _accepted(ls: KeyturnServer, *arguments: object) -> bool:
    return bool(arguments) and ls.acceptance.accept(arguments[0])


def serve_stdio() -> int:
    """Serve one client over standard input and output; the exit status."""
    stdin_fd, stdout = claim_stdio()

    async def serve() -> int:
        server = KeyturnServer()
        return await _until_closed(server, converse_over_stdio(server.protocol, stdin_fd, stdout))

    return asyncio.run(serve())


def serve_tcp(host: str, port: int) -> int:
    """Serve one client over TCP; the exit status."""

    async def serve() -> int:
        server = KeyturnServer()
        return await _until_closed(server, converse_over_tcp(server.protocol, host, port))

    return asyncio.run(serve())


async def _until_closed(server: KeyturnServer, conversation: Any) -> int:
    code: int = await conversation
    if not server.engine.close():
        # Python waits for no daemon thread, and torch dislikes being torn down while it runs.
        logger.warning("The engine is still busy; ending without it.")
        logging.shutdown()
        os._exit(code)
    return code


def _root_of(params: types.InitializeParams) -> Path | None:
    """The folder of the project, as clients say it that know one only."""
    paths = [*_paths_of([params.root_uri or ""]), *([Path(params.root_path)] if params.root_path else [])]
    return paths[0] if paths else None


def _paths_of(uris: Iterable[str]) -> Iterator[Path]:
    """Of those that are files."""
    paths = (to_fs_path(uri) for uri in uris if uri.startswith("file:"))
    return (Path(path) for path in paths if path)


def _value(encoding: object) -> object:
    return getattr(encoding, "value", encoding)
