"""Tells the user what the engine is up to: progress while it loads, one message when it fails, a status bar's text.

A status bar needs a notification of our own. It is sent to clients that ask for it in `initialize`, with
`capabilities.experimental.keyturnStatus: true`; others would warn about a method they do not know.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable
from typing import Any, Protocol

from lsprotocol import types

from lsp.session.engine_thread import EngineState

logger = logging.getLogger(__name__)

STATUS_METHOD = "keyturn/status"


class Client(Protocol):
    """The ways to say something to a client."""

    def window_show_message(self, params: types.ShowMessageParams) -> None: ...

    def progress(self, params: types.ProgressParams) -> None: ...

    async def window_work_done_progress_create_async(self, params: types.WorkDoneProgressCreateParams) -> None: ...

    def send_notification(self, method: str, params: object) -> None: ...

    def spawn(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        """Run something beside the conversation; a failure is logged."""
        ...


class Status:
    """The observer of the engine and the reporter of the features, for one client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._engine = EngineState()
        self._said: set[str] = set()
        self._progress: LoadProgress | None = None
        self._last_ms: float | None = None
        self._loading: tuple[str, int | None] | None = None
        self._quiet = ""
        self.wants_status = False
        self.shows_progress = False

    def on_state(self, state: EngineState) -> None:
        self._engine = state
        self._loading = None
        if state.phase == "loading":
            self._begin_progress()
        else:
            self._end_progress("Ready" if state.phase == "ready" else "Failed")
        if state.phase == "error":
            logger.error("%s", state.error)
            self.say_once(state.error, types.MessageType.Error)
        self._send()

    def on_progress(self, message: str, percent: int) -> None:
        self._loading = (message, percent)
        if self._progress is not None:
            self._progress.report(message, percent)
        self._send()

    def problem(self, message: str) -> None:
        self.say_once(message, types.MessageType.Warning)

    def latency(self, milliseconds: float) -> None:
        self._last_ms = round(milliseconds, 1)
        self._send()

    def say_once(self, message: str, kind: types.MessageType) -> None:
        """Show a message in the editor; the same one never again in this session."""
        if message not in self._said:
            self._said.add(message)
            self.say(message, kind)

    def say(self, message: str, kind: types.MessageType) -> None:
        """Show a message in the editor."""
        self._client.window_show_message(types.ShowMessageParams(type=kind, message=f"keyturn: {message}"))

    def quiet(self, reason: str) -> None:
        """Why nothing is suggested where the user is now; empty where it is."""
        if reason != self._quiet:
            self._quiet = reason
            self._send()

    def switched_off(self) -> None:
        """No engine is loaded, since the settings want no suggestions."""
        self._loading = ("Suggestions are switched off in the settings.", None)
        self._send()

    def _send(self) -> None:
        if not self.wants_status:
            return
        message, percent = self._loading or (self._engine.error or self._quiet, None)
        self._client.send_notification(
            STATUS_METHOD,
            {
                "state": self._engine.phase,
                "message": message,
                "percent": percent,
                "model": self._engine.model,
                "engine": self._engine.engine,
                "last_ms": self._last_ms,
            },
        )

    def _begin_progress(self) -> None:
        self._end_progress("Starting again")
        if self.shows_progress:
            self._progress = LoadProgress(self._client)

    def _end_progress(self, message: str) -> None:
        if self._progress is not None:
            self._progress.end(message)
            self._progress = None


class LoadProgress:
    """One progress bar. What happens before the client has agreed to it is shown once it has."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._token = f"keyturn-load-{uuid.uuid4()}"
        self._is_created = False
        self._is_ended = False
        self._latest = ("Loading the model", 0)
        client.spawn(self._create())

    async def _create(self) -> None:
        try:
            await self._client.window_work_done_progress_create_async(
                types.WorkDoneProgressCreateParams(token=self._token)
            )
        except Exception as error:
            logger.info("The client shows no progress: %s", error)
            return
        if not self._is_ended:
            self._is_created = True
            message, percent = self._latest
            self._notify(types.WorkDoneProgressBegin(title="keyturn", message=message, percentage=percent))

    def report(self, message: str, percent: int) -> None:
        self._latest = (message, percent)
        if self._is_created:
            self._notify(types.WorkDoneProgressReport(message=message, percentage=percent))

    def end(self, message: str) -> None:
        self._is_ended = True
        if self._is_created:
            self._notify(types.WorkDoneProgressEnd(message=message))

    def _notify(self, value: object) -> None:
        self._client.progress(types.ProgressParams(token=self._token, value=value))
