"""pygls' protocol with what it does wrong mended here, in one place.

pygls 2.1.1 keeps its good parts: the table of features, the capabilities built from it, conversion of LSP's types and
the requests that the server sends. What is replaced, and why:

- Messages with invalid params, requests after `shutdown` and bodies that are not JSON got no reply. Here every request
  gets exactly one, held by `_unanswered`, the set of ids that still wait for theirs.
- Requests before `initialize` were handled. LSP answers -32002.
- Every dictionary inside a message was taken for a message of its own (`json.loads` with an `object_hook`). Here a
  message is parsed once and its params are converted once.
- Errors sent tracebacks to the client and popped up as messages. Here the client gets one sentence, the log the rest.
- Requests in flight were kept with those that the server sends, and notifications with coroutine handlers never left
  that table.
- A second copy of each document was kept, split into lines by `str.splitlines`. `lsp.session.documents` has the text.
- The exit status was 0 without `shutdown`, and `exit` raised `SystemExit` inside the event loop.
- Whole messages were logged at level INFO, file contents included.
- A client that announced a value which lsprotocol does not know, as Visual Studio does, could not begin a session.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections.abc import Awaitable, Callable, Generator
from typing import Any

from cattrs import Converter, transform_error
from lsprotocol import types
from pygls.exceptions import (
    JsonRpcException,
    JsonRpcInternalError,
    JsonRpcInvalidParams,
    JsonRpcInvalidRequest,
    JsonRpcMethodNotFound,
    JsonRpcParseError,
    JsonRpcRequestCancelled,
    JsonRpcServerNotInitialized,
)
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol, lsp_method

from lsp.wire.transport import Writer

logger = logging.getLogger(__name__)

CARET_METHOD = "keyturn/caret"
DOCSTRING_METHOD = "keyturn/docstring"

MessageId = int | str
Handler = Callable[[Any], Any]

_OWN_TYPES = {
    CARET_METHOD: types.TextDocumentPositionParams,
    DOCSTRING_METHOD: types.TextDocumentPositionParams,
}
_CAPABILITIES_READ = {
    "general": ("positionEncodings",),
    "window": ("workDoneProgress",),
    "workspace": ("configuration", "didChangeConfiguration"),
}
_MAX_ERROR_CHARS = 400
_MAX_UNREAD_BYTES = 64 * 2**20
"""A client that leaves more than this unread is given up."""


class KeyturnProtocol(LanguageServerProtocol):
    """One client's side of the conversation: messages in, exactly one reply to each request out."""

    def __init__(self, server: LanguageServer, converter: Converter) -> None:
        super().__init__(server, converter)
        self.on_unreadable: Callable[[str, object], None] = lambda method, raw_params: None
        """Called with a notification whose parameters were not what the protocol says."""
        self._initialized = False
        self._unanswered: set[MessageId] = set()
        self._tasks: dict[MessageId, asyncio.Task[Any]] = {}
        self._background: set[asyncio.Task[Any]] = set()
        self._connection: Writer | None = None
        self._exit_code: asyncio.Future[int] | None = None

    def _register_builtin_features(self) -> None:
        """Only those of pygls' own handlers that keep no text."""
        builtins: tuple[Any, ...] = (
            self.lsp_initialize,
            self.lsp_initialized,
            self.lsp_shutdown,
            self.lsp_exit,
            self.lsp_set_trace,
            self.lsp_workspace__did_change_workspace_folders,
            self.lsp_workspace__execute_command,
            self.lsp_work_done_progress_cancel,
        )
        for handler in builtins:
            self.fm.add_builtin_feature(handler.method_name, handler)

    # The connection (lsp.wire.transport.Peer)

    def connect(self, writer: Writer) -> None:
        self._connection = writer

    @property
    def exit_code(self) -> asyncio.Future[int]:
        if self._exit_code is None:
            self._exit_code = asyncio.get_running_loop().create_future()
        return self._exit_code

    @property
    def has_shut_down(self) -> bool:
        return self._shutdown

    def end(self, code: int) -> None:
        """End the connection with this exit status, unless it is ending already."""
        if not self.exit_code.done():
            self.exit_code.set_result(code)

    # Messages in

    def receive(self, body: bytes) -> None:
        """Handle one message. Whatever is in it, nothing is raised."""
        try:
            message = json.loads(body.decode("utf-8"), parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            logger.warning("The client sent a message that is not JSON: %s", error)
            self._send_error(None, JsonRpcParseError(f"The message is not JSON: {_short(error)}"))
            return
        match message:
            case {"method": str(method), "id": bool() | None}:
                self._send_error(None, JsonRpcInvalidRequest(f"A request's id must be a number or a string: {method}"))
            case {"method": str(method), "id": int() | str() as msg_id}:
                self._receive_request(msg_id, method, message.get("params"))
            case {"method": str(method)} if "id" not in message:
                self._receive_notification(method, message.get("params"))
            case {"id": int() | str() as msg_id, "error": error}:
                self._receive_response(msg_id, None, error or {})
            case {"id": int() | str() as msg_id, "result": result}:
                self._receive_response(msg_id, result, None)
            case _:
                found = message.get("id") if isinstance(message, dict) else None
                self._send_error(
                    found if isinstance(found, int | str) else None,
                    JsonRpcInvalidRequest("The message is neither a request, a notification nor a response."),
                )

    def _receive_request(self, msg_id: MessageId, method: str, raw_params: object) -> None:
        if msg_id in self._unanswered:
            self._send_error(msg_id, JsonRpcInvalidRequest(f"The id {msg_id!r} belongs to a request in flight."))
            return
        self._unanswered.add(msg_id)
        try:
            self._check_lifecycle(method)
            handler = self._find_handler(method, is_request=True)
            result = self._call(handler, self._params(method, raw_params))
        except Exception as error:
            self._answer_error(msg_id, error, method)
            return
        if not inspect.isawaitable(result):
            self._answer(msg_id, result)
            return
        task = asyncio.ensure_future(result)
        self._tasks[msg_id] = task
        task.add_done_callback(lambda done: self._answer_task(msg_id, done, method))

    def _receive_notification(self, method: str, raw_params: object) -> None:
        if method == types.CANCEL_REQUEST:
            self._cancel(raw_params)
            return
        if method != types.EXIT and (not self._initialized or self._shutdown):
            logger.info("Ignoring the notification %r outside of a session.", method)
            return
        try:
            handler = self._find_handler(method, is_request=False)
            result = self._call(handler, self._params(method, raw_params))
        except JsonRpcMethodNotFound:
            logger.debug("Ignoring the notification %r.", method)
        except JsonRpcInvalidParams as error:
            logger.warning("Ignoring the notification %r: %s", method, error)
            self.on_unreadable(method, raw_params)
        except Exception:
            logger.exception("The notification %r failed.", method)
        else:
            if inspect.isawaitable(result):
                self.spawn(result)

    def _receive_response(self, msg_id: MessageId, result: Any, error: Any) -> None:
        """A reply to one of the server's own requests."""
        message_type = self._result_types.pop(msg_id, None)
        future = self._request_futures.pop(msg_id, None)
        if future is None or future.done():
            logger.info("Ignoring a response to the unknown request %r.", msg_id)
            return
        if error is not None:
            message = error.get("message") if isinstance(error, dict) else None
            future.set_exception(JsonRpcException(str(message or "the client reported an error")))
            return
        try:
            raw = {"jsonrpc": self.VERSION, "id": msg_id, "result": result}
            future.set_result(result if message_type is None else self._converter.structure(raw, message_type).result)
        except Exception as problem:
            future.set_exception(JsonRpcInvalidParams(_explain(problem)))

    def _cancel(self, raw_params: object) -> None:
        msg_id = raw_params.get("id") if isinstance(raw_params, dict) else None
        task = self._tasks.get(msg_id) if isinstance(msg_id, int | str) else None
        if task is not None:
            task.cancel()

    def _check_lifecycle(self, method: str) -> None:
        if self._shutdown:
            raise JsonRpcInvalidRequest("The server is shutting down; it takes no more requests.")
        if method == types.INITIALIZE:
            if self._initialized:
                raise JsonRpcInvalidRequest("`initialize` may be sent only once.")
        elif not self._initialized:
            raise JsonRpcServerNotInitialized("The first request must be `initialize`.")

    def _find_handler(self, method: str, *, is_request: bool) -> Handler:
        known = types.METHOD_TO_TYPES.get(method)
        if known is not None and (known[1] is not None) is not is_request:
            raise JsonRpcMethodNotFound(f"{method} is a {'notification' if is_request else 'request'}.")
        handler: Handler = self._get_handler(method)
        return handler

    def _params(self, method: str, raw: object) -> Any:
        """LSP's own methods and those that look like one get their params type, others the plain JSON."""
        params_type: Any = types.METHOD_TO_TYPES.get(method, (None, None, _OWN_TYPES.get(method)))[2]
        if params_type is None:
            return raw
        if method == types.TEXT_DOCUMENT_DID_CHANGE:
            raw = _without_nulls(raw)
        try:
            return self._converter.structure({} if raw is None else raw, params_type)
        except Exception as error:
            if method == types.INITIALIZE and (known := _what_is_read(raw)) != raw:
                return self._params(method, known)
            raise JsonRpcInvalidParams(f"Invalid params for {method}: {_explain(error)}") from error

    def _call(self, handler: Handler, params: Any) -> Any:
        result = handler(params)
        return _run_steps(result) if inspect.isgenerator(result) else result

    def spawn(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        """Run something beside the conversation; a failure is logged."""
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background_done)
        return task

    def _background_done(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("A background task failed.", exc_info=error)

    # Replies

    def _answer_task(self, msg_id: MessageId, task: asyncio.Task[Any], method: str) -> None:
        self._tasks.pop(msg_id, None)
        if task.cancelled():
            self._answer_error(msg_id, JsonRpcRequestCancelled("The request was cancelled."), method)
        elif (error := task.exception()) is not None:
            self._answer_error(msg_id, error, method)
        else:
            self._answer(msg_id, task.result())

    def _answer(self, msg_id: MessageId, result: Any) -> None:
        if msg_id not in self._unanswered:
            return
        try:
            reply = json.dumps({"jsonrpc": self.VERSION, "id": msg_id, "result": self._converter.unstructure(result)})
        except Exception as error:
            self._answer_error(msg_id, error, "result")
            return
        self._unanswered.discard(msg_id)
        self._write(reply)

    def _answer_error(self, msg_id: MessageId, error: BaseException, method: str) -> None:
        if msg_id not in self._unanswered:
            return
        self._unanswered.discard(msg_id)
        if not isinstance(error, JsonRpcException):
            logger.error("The request %r failed.", method, exc_info=error)
            error = JsonRpcInternalError(f"keyturn failed on {method}: {_short(error)}")
        self._send_error(msg_id, error)

    def _send_error(self, msg_id: MessageId | None, error: JsonRpcException) -> None:
        reply = {"code": error.code, "message": error.message}
        self._write(json.dumps({"jsonrpc": self.VERSION, "id": msg_id, "error": reply}))

    def _send_data(self, data: Any) -> None:
        """The way of pygls' `notify` and `send_request` to the wire."""
        self._write(json.dumps(self._converter.unstructure(data)))

    def _write(self, body: str) -> None:
        if self._connection is None:
            return
        if self._connection.unread_bytes > _MAX_UNREAD_BYTES:
            if not self.exit_code.done():
                logger.error("Giving up on the client: it does not read its messages.")
            self.end(1)
            return
        encoded = body.encode("utf-8")
        self._connection.write(b"Content-Length: %d\r\n\r\n%b" % (len(encoded), encoded))

    # The life of a session

    @lsp_method(types.INITIALIZE)
    def lsp_initialize(self, params: types.InitializeParams) -> Generator[Any, Any, types.InitializeResult]:
        result = yield from super().lsp_initialize(params)
        self._initialized = True
        return result

    @lsp_method(types.SHUTDOWN)
    def lsp_shutdown(self, *args: Any) -> Generator[Any, Any, None]:
        """Requests in flight are answered as cancelled; the connection stays until `exit`."""
        if (handler := self.fm.features.get(types.SHUTDOWN)) is not None:
            yield handler, args, None
        for task in list(self._tasks.values()):
            task.cancel()
        self._shutdown = True

    @lsp_method(types.EXIT)
    def lsp_exit(self, *args: Any) -> Generator[Any, Any, None]:
        if (handler := self.fm.features.get(types.EXIT)) is not None:
            yield handler, args, None
        self.end(0 if self._shutdown else 1)


def _what_is_read(params: object) -> object:
    """The parameters of `initialize` with those capabilities only that are used here, and without `trace`.

    Clients may announce more kinds and tags than a server has heard of.
    """
    match params:
        case {"capabilities": dict(announced), **others}:
            capabilities = {
                part: {name: found[name] for name in names if name in found}
                for part, names in _CAPABILITIES_READ.items()
                if isinstance(found := announced.get(part), dict)
            }
            if "experimental" in announced:
                capabilities["experimental"] = announced["experimental"]
            others.pop("trace", None)
            return others | {"capabilities": capabilities}
    return params


def _without_nulls(change: object) -> object:
    """The parameters of a change whose client writes null for what is absent; a version may be null before LSP 3.16."""
    match change:
        case {"textDocument": dict(item), "contentChanges": list(changes)}:
            changes = [
                {name: value for name, value in one.items() if value is not None} if isinstance(one, dict) else one
                for one in changes
            ]
            version = item.get("version")
            item = item | {"version": 0 if version is None else version}
            return change | {"textDocument": item, "contentChanges": changes}  # type: ignore[operator]
    return change


def _run_steps(steps: Generator[Any, Any, Any]) -> Any:
    """Run one of pygls' generator handlers: it yields (handler, args, kwargs) and is sent what the handler returned."""
    value: Any = None
    while True:
        try:
            handler, args, kwargs = steps.send(value)
        except StopIteration as end:
            return end.value
        value = handler(*args, **(kwargs or {}))


def _explain(error: BaseException) -> str:
    """One sentence on why params did not fit their type."""
    try:
        problems = transform_error(error)
    except Exception:
        problems = [str(error)]
    return _short("; ".join(problems))


def _refuse(constant: str) -> None:
    """NaN and the infinities, which Python's parser takes and JSON does not have."""
    raise ValueError(f"{constant} is no value of JSON")


def _short(error: object) -> str:
    text = str(error) or type(error).__name__
    return text if len(text) <= _MAX_ERROR_CHARS else text[:_MAX_ERROR_CHARS] + "…"
