"""A server, and the embedded engine while the server is away."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import TypeVar

from model.completer import Completer, Description
from model.engine import Completion, StopRule, never_stop
from model.errors import Cancelled, KeyturnError, ModelError, RequestError
from model.request import CancelCheck, Request, never_cancelled
from model.vllm.asking.discover import Site
from model.vllm.asking.failures import ServerAway, ServerRefused

logger = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_PAUSE = 2.0
LONGEST_PAUSE = 60.0
"""Seconds before a server that failed is asked again, twice as many each time."""

LONGEST_WISH = 600.0
"""Seconds that it is left alone at most, if it says itself when it wants to be asked again."""

SILENCE = 5.0
"""Seconds in which a server answered nothing, since each question was withdrawn before, until it is asked whether it is
up: while someone types, a server that hangs is asked on and on."""

UNSEEN = 60.0
"""Seconds without an answer after which a server is asked first whether it is the one that it was."""

LOOK = 10.0
"""Seconds from one such question to the next at least."""


class FallbackCompleter:
    """The server while it answers, else the embedded model.

    What goes wrong with the server is said once, and it is asked again after a while.

    A server that comes back is looked at anew: it may serve another model, and holds no documents. It may have been
    away unnoticed, so the same is asked of one that refuses a request and of one that was not asked for a while.

    A request that is not answered in time is left with the server for a while. The server may be loading its model, so
    it is not asked again before that request has ended.
    """

    def __init__(self, site: Site, load_local: Callable[[], Completer] | None, notice: Callable[[str], None]) -> None:
        """`load_local` makes the completer that stands in, None for none."""
        self._site = site
        self._load_local = load_local
        self._notice = notice
        self._remote: Completer | None = None
        self._local: Completer | None = None
        self._said: set[str] = set()
        self._pause = FIRST_PAUSE
        self._retry_at = 0.0
        self._silent_since = 0.0
        self._last_withdrawn = -math.inf
        self._last_answer = self._last_look = -math.inf
        self._error: KeyturnError = ServerAway("The server has not been asked yet.")
        self._reach(never_cancelled)

    def describe(self) -> Description:
        current = self._remote or self._local
        return current.describe() if current else Description("no model", "vllm", 0)

    def complete(
        self, request: Request, stop: StopRule = never_stop, cancelled: CancelCheck = never_cancelled
    ) -> Completion:
        """Raises what the server raised where nothing stands in for it."""
        answer = self._ask(lambda completer: completer.complete(request, stop, cancelled), cancelled)
        if self._remote is not None:
            self._pause, self._last_withdrawn = FIRST_PAUSE, -math.inf
        return answer

    def encode_ahead(self, request: Request, cancelled: CancelCheck = never_cancelled) -> None:
        self._ask(lambda completer: completer.encode_ahead(request, cancelled), cancelled)

    def refresh(self, document: str, cancelled: CancelCheck = never_cancelled) -> bool:
        return self._ask(lambda completer: completer.refresh(document, cancelled), cancelled)

    def forget(self, document: str) -> None:
        for completer in (self._remote, self._local):
            if completer is not None:
                completer.forget(document)

    def cache_bytes(self, document: str | None = None) -> int:
        return sum(completer.cache_bytes(document) for completer in (self._remote, self._local) if completer)

    def _ask(self, ask: Callable[[Completer], T], cancelled: CancelCheck) -> T:
        """Ask the server, and what stands in for it if it fails."""
        started = time.monotonic()
        try:
            if self._remote is None and started >= self._retry_at and not self._is_late():
                self._reach(cancelled)
            elif self._remote is not None and started - self._last_answer > UNSEEN:
                self._look_again(cancelled)
            while self._remote is not None:
                try:
                    answer = ask(self._remote)
                except RequestError:
                    if not self._look_again(cancelled):
                        raise
                else:
                    self._last_answer = time.monotonic()
                    return answer
        except (ServerAway, ServerRefused) as error:
            self._failed(error)
        except Cancelled:
            if self._remote is None:
                self._wait_a_while()  # each key withdraws the question before it: the next one is for the stand-in
            else:
                self._withdrawn(started)
            raise
        if self._local is None:
            raise self._error.with_traceback(None)  # or it would hold the frames of each request that it ended
        return ask(self._local)

    def _is_late(self) -> bool:
        """Whether the server still has a request that it should have answered."""
        late = self._error.late if isinstance(self._error, ServerAway) else None
        return late is not None and not late.done()

    def _reach(self, cancelled: CancelCheck) -> None:
        """Find the server, or have what stands in for it ready."""
        try:
            self._remote = self._site.connect(cancelled)
            self._last_answer = self._last_look = time.monotonic()
        except (ServerAway, ServerRefused, ModelError) as error:
            self._failed(error)

    def _look_again(self, cancelled: CancelCheck) -> bool:
        """Whether the server is another than it was; then it has been connected to anew."""
        now = time.monotonic()
        if now - self._last_look < LOOK:
            return False
        is_another = self._site.is_another(cancelled)
        self._last_look = now
        if is_another:
            self._remote = None  # also if what follows is withdrawn
            self._reach(cancelled)
        return is_another

    def _withdrawn(self, started: float) -> None:
        """Note that a question, asked at `started`, was withdrawn before its answer."""
        now = time.monotonic()
        if now - self._last_withdrawn > SILENCE:
            self._silent_since = started
        self._last_withdrawn = now
        if now - self._silent_since < SILENCE:
            return
        self._silent_since = now
        try:
            self._site.check()
        except (ServerAway, ServerRefused) as error:
            self._failed(error)

    def _failed(self, error: KeyturnError) -> None:
        logger.info("%s", error)
        self._error = error
        self._remote = None
        self._last_withdrawn = -math.inf
        self._say(str(error) if self._load_local is None else f"{error} The embedded model stands in for it.")
        try:
            if self._load_local is not None and self._local is None:
                self._local = self._load_local()
        finally:
            # From when it is loaded, which takes its time; also where that fails.
            self._wait_a_while(error.retry_after if isinstance(error, ServerAway) else 0.0)

    def _wait_a_while(self, wish: float = 0.0) -> None:
        """Have the server not looked for in the next seconds; `wish` is how many it wants."""
        self._retry_at = time.monotonic() + max(self._pause, min(wish, LONGEST_WISH))
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _say(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self._notice(message)
