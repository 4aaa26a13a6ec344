"""The one thread that owns the engine, and the ways to have work done in it.

Three kinds of work wait for the thread, in this order:

    chores      load an engine, forget a document: in the order they came
    requests    at most one a document and feature: a newer one withdraws the one before; features in `PRECEDENCE`
    idle work   at most one a document, done in slices, given up as soon as anything above arrives

A request that runs gives way to one of a feature with precedence, and is begun again behind it. All methods are called
on the event loop. Whatever a job raises is delivered to whoever asked for it; the thread lives until `close`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar, get_args

from model.errors import Cancelled, KeyturnError, ModelError
from model.factory import EngineSettings, load_assistant
from model.freed_memory import give_back
from model.request import CancelCheck

if TYPE_CHECKING:
    from model.assistant.assistant import Assistant

logger = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[["Assistant", CancelCheck], T]
Phase = Literal["waiting", "loading", "ready", "error"]
Loader = Callable[[EngineSettings, Callable[[str, int], None], Callable[[str], None]], "Assistant"]

Feature = Literal["inline completion", "docstring"]
PRECEDENCE: tuple[Feature, ...] = get_args(Feature)
"""Which feature's request is done first: what someone waits for while typing comes before what was asked for once."""

Key = tuple[str, Feature]
"""The document and the feature that a request is about."""


@dataclass(frozen=True)
class EngineState:
    """What the engine is doing. `error` says why it cannot be used; `model` and `engine` are names of what answers."""

    phase: Phase = "waiting"
    error: str = ""
    model: str | None = None
    engine: str | None = None


class Observer(Protocol):
    """Hears what the engine is doing, always on the event loop."""

    def on_progress(self, message: str, percent: int) -> None: ...

    def on_state(self, state: EngineState) -> None: ...

    def problem(self, message: str) -> None: ...


class Job(Generic[T]):
    """One request for the thread. Its future resolves exactly once, on the event loop."""

    def __init__(self, work: Work[T], future: asyncio.Future[T]) -> None:
        self.work = work
        self.future = future
        self.is_withdrawn = False

    def withdraw(self) -> None:
        """Nobody wants the result any more: answer at once, stop the work at its next check."""
        self.is_withdrawn = True
        self.fail(Cancelled("A newer request took its place."))

    def succeed(self, result: T) -> None:
        if not self.future.done():
            self.future.set_result(result)

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class EngineThread:
    """Runs one engine in one thread for an event loop that never waits for it."""

    def __init__(self, observer: Observer, loader: Loader = load_assistant) -> None:
        self._observer = observer
        self._loader = loader
        self._loop = asyncio.get_running_loop()
        self._wake = threading.Condition()
        self._chores: deque[Callable[[], None]] = deque()
        self._requests: OrderedDict[Key, Job[Any]] = OrderedDict()
        self._idle: OrderedDict[str, Work[bool]] = OrderedDict()
        """Until it is finished; the first one runs. The latest comes first: someone is in that file now."""
        self._running: tuple[Key, Job[Any]] | None = None
        self._running_idle: str | None = None
        self._num_loads = 0
        self._settings: EngineSettings | None = None
        self._closing = False
        self._assistant: Assistant | None = None
        self._names = ("", "")
        self._loaded_id = 0
        self._thread = threading.Thread(target=self._run, name="keyturn-engine", daemon=True)
        self.state = EngineState()
        self.cache_bytes: dict[str, int] = {}
        """Bytes of cache by document, as of the latest finished job."""

    def start(self) -> None:
        self._thread.start()

    def load(self, settings: EngineSettings) -> None:
        """Load an engine, in place of the one before if there is one. Requests wait until it is there.

        One that is loaded or loading with the same settings stays.
        """
        if settings == self._settings and self.state.phase in ("loading", "ready"):
            return
        self._settings = settings
        self._num_loads += 1
        load_id = self._num_loads
        self._set_state(replace(self.state, phase="loading", error=""))
        self._add_chore(lambda: self._load(settings, load_id))

    async def run(self, document: str, feature: Feature, work: Work[T]) -> T:
        """Do `work` for a document. Raises `Cancelled` when the same feature is asked for there again.

        Raises `ModelError` when there is no engine; what `work` raises otherwise.
        """
        if self.state.phase == "error":
            raise ModelError(self.state.error)
        key = (document, feature)
        self.withdraw(*key)
        job: Job[T] = Job(work, self._loop.create_future())
        with self._wake:
            self._requests[key] = job
            self._drop_idle(document)
            self._wake.notify()
        try:
            return await job.future
        except asyncio.CancelledError:
            job.is_withdrawn = True
            with self._wake:
                if self._requests.get(key) is job:
                    del self._requests[key]
            raise
        finally:
            # An error holds this frame by its traceback; without this the frame would hold the error.
            del job

    def withdraw(self, document: str, feature: Feature) -> None:
        """Withdraw the feature's request for a document, waiting or running. Its caller gets `Cancelled` at once."""
        key = (document, feature)
        with self._wake:
            jobs = [self._requests.pop(key, None)]
            if self._running is not None and self._running[0] == key:
                jobs.append(self._running[1])
        for job in jobs:
            if job is not None:
                job.withdraw()

    def when_idle(self, document: str, work: Work[bool]) -> None:
        """Do `work` while nothing else is to be done, again and again until it answers False.

        Replaces the document's earlier idle work, and comes before that of others.
        """
        with self._wake:
            self._drop_idle(document)
            self._idle[document] = work
            self._idle.move_to_end(document, last=False)
            self._wake.notify()

    def stop_idle(self, document: str) -> None:
        """Give up the document's idle work, for its text has changed."""
        with self._wake:
            self._drop_idle(document)

    def forget(self, document: str) -> None:
        """Drop what the engine holds of a document, and the document's work."""
        for feature in PRECEDENCE:
            self.withdraw(document, feature)
        self.stop_idle(document)

        def chore() -> None:
            if self._assistant is not None:
                self._assistant.forget(document)
            self.cache_bytes.pop(document, None)
            give_back()

        self._add_chore(chore)

    def close(self, timeout: float = 0.5) -> bool:
        """Withdraw everything and end the thread; False when it is still busy after `timeout` seconds."""
        with self._wake:
            self._closing = True
            jobs = list(self._requests.values())
            self._requests.clear()
            self._stop_all_idle()
            if self._running is not None:
                jobs.append(self._running[1])
            self._wake.notify()
        for job in jobs:
            job.withdraw()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _drop_idle(self, document: str) -> None:
        self._idle.pop(document, None)
        if self._running_idle == document:
            self._running_idle = None

    def _stop_all_idle(self) -> None:
        self._idle.clear()
        self._running_idle = None

    def _add_chore(self, chore: Callable[[], None]) -> None:
        with self._wake:
            self._chores.append(chore)
            self._wake.notify()

    def _set_state(self, state: EngineState) -> None:
        self.state = state
        self._observer.on_state(state)

    # In the thread

    def _run(self) -> None:
        while (task := self._next()) is not None:
            try:
                task()
            except Exception:
                logger.exception("The engine thread goes on after a failure.")
            # A finished job holds a document's text; keep none while waiting for the next one.
            del task

    def _next(self) -> Callable[[], None] | None:
        """The next thing to do; None once the thread shall end."""
        with self._wake:
            while not self._closing:
                if self._chores:
                    return self._chores.popleft()
                if self._assistant is not None and self._requests:
                    key = min(self._requests, key=_rank)  # the first one of the feature that comes first
                    job = self._requests.pop(key)
                    self._running = (key, job)
                    return lambda: self._do_request(key, job)
                if self._assistant is not None and self._idle:
                    document, work = next(iter(self._idle.items()))
                    self._running_idle = document
                    return lambda: self._do_idle(document, work)
                self._wake.wait()
            return None

    def _do_request(self, key: Key, job: Job[Any]) -> None:
        assert self._assistant is not None
        deliver: tuple[Callable[..., None], object] | None
        try:
            deliver = (job.succeed, job.work(self._assistant, lambda: job.is_withdrawn or self._gives_way(key)))
        except Cancelled as error:
            deliver = (job.fail, error) if job.is_withdrawn else None
        except BaseException as error:
            deliver = (job.fail, error)
        self._look_at_assistant(key[0])
        with self._wake:
            self._running = None
            if deliver is None and not job.is_withdrawn and not self._closing:
                self._requests.setdefault(key, job)  # it gave way, and is begun again
                self._requests.move_to_end(key, last=False)
        if deliver is not None:
            self._on_loop(*deliver)
        # An error's traceback holds this frame and the engine's, with a whole cache: it must go with the error.
        del deliver

    def _do_idle(self, document: str, work: Work[bool]) -> None:
        assert self._assistant is not None
        more = False
        try:
            more = work(self._assistant, lambda: self._is_interrupted(document))
        except Cancelled:
            more = True
        except KeyturnError as error:
            logger.info("Idle work ended: %s", error)
        except Exception:
            logger.exception("Idle work failed.")
        self._look_at_assistant(document)
        with self._wake:
            if not more and self._running_idle == document:
                del self._idle[document]
            self._running_idle = None

    def _gives_way(self, key: Key) -> bool:
        """Whether a request of a feature with precedence waits."""
        with self._wake:
            return any(_rank(waiting) < _rank(key) for waiting in self._requests)

    def _is_interrupted(self, document: str) -> bool:
        return bool(self._requests or self._chores or self._closing or self._running_idle != document)

    def _load(self, settings: EngineSettings, load_id: int) -> None:
        # Two engines at once would need the memory of both.
        self._assistant = None
        self.cache_bytes = {}
        give_back()

        def progress(message: str, percent: int) -> None:
            self._on_loop(self._observer.on_progress, message, percent)

        def notice(message: str) -> None:
            self._on_loop(self._observer.problem, message)

        try:
            assistant = self._loader(settings, progress, notice)
        except KeyturnError as error:
            self._on_loop(self._fail_loading, load_id, str(error))
        except Exception as error:
            logger.exception("The engine could not be loaded.")
            reason = str(error) or type(error).__name__
            self._on_loop(self._fail_loading, load_id, f"The engine could not be loaded: {reason}.")
        else:
            self._assistant = assistant
            self._loaded_id = load_id
            self._names = _names(assistant)
            self._on_loop(self._finish_loading, load_id, *self._names)
            give_back()

    def _look_at_assistant(self, document: str) -> None:
        """Note the sizes of its caches, and its names: a server may have gone away, and another model answers."""
        if self._assistant is None:
            return
        names = _names(self._assistant)
        if names != self._names:
            self._names = names
            self._on_loop(self._finish_loading, self._loaded_id, *names)
        try:
            documents = {*self.cache_bytes, document}
            self.cache_bytes = {name: self._assistant.cache_bytes(name) for name in documents}
        except Exception:
            logger.exception("The size of the cache is unknown.")

    def _on_loop(self, callback: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:  # The loop has closed: nobody is left to be told.
            logger.debug("Dropped a result: the event loop has closed.")

    # Back on the loop

    def _finish_loading(self, load_id: int, model_name: str, engine_name: str) -> None:
        if load_id != self._num_loads:
            return
        self._set_state(EngineState("ready", "", model_name, engine_name))

    def _fail_loading(self, load_id: int, message: str) -> None:
        if load_id != self._num_loads:
            return
        with self._wake:
            jobs = list(self._requests.values())
            self._requests.clear()
            self._stop_all_idle()
        self._set_state(replace(self.state, phase="error", error=message))
        for job in jobs:
            job.fail(ModelError(message))


def _rank(key: Key) -> int:
    """The lower, the earlier its turn."""
    return PRECEDENCE.index(key[1])


def _names(assistant: Assistant) -> tuple[str, str]:
    """Of the model and of the engine that answer."""
    found = assistant.describe()
    return found.model, found.engine
