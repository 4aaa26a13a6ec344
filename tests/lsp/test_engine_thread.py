"""The engine's thread with a stand-in for the engine, so that each moment of its life can be held still."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from lsp.session.engine_thread import EngineState, EngineThread, Feature
from model.assistant.assistant import Assistant
from model.completer import Description
from model.errors import Cancelled, ModelError
from model.factory import EngineSettings
from model.request import CancelCheck

PATIENCE = 20.0
GHOST: Feature = "inline completion"


@dataclass
class Watcher:
    """Collects what the thread tells."""

    states: list[EngineState] = field(default_factory=list)
    progress: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def problem(self, message: str) -> None:
        self.problems.append(message)

    def on_state(self, state: EngineState) -> None:
        self.states.append(state)

    def on_progress(self, message: str, percent: int) -> None:
        self.progress.append(message)


@dataclass
class FakeAssistant:
    names: tuple[str, str] = ("fake", "fake")
    forgotten: list[str] = field(default_factory=list)

    def describe(self) -> Description:
        return Description(*self.names, 100)

    def forget(self, document: str) -> None:
        self.forgotten.append(document)

    def cache_bytes(self, document: str | None = None) -> int:
        return 7


@dataclass
class Bench:
    thread: EngineThread
    watcher: Watcher
    assistant: FakeAssistant
    may_load: threading.Event


def on_bench(test: Callable[[Bench], Awaitable[None]], *, load: bool = True) -> None:
    """Run a test on an event loop with a started thread, and close it."""

    async def run() -> None:
        watcher, assistant, may_load = Watcher(), FakeAssistant(), threading.Event()

        def loader(
            settings: EngineSettings, progress: Callable[[str, int], None], notice: Callable[[str], None]
        ) -> Assistant:
            progress("loading", 50)
            notice("Beware.")
            assert may_load.wait(PATIENCE)
            if settings.model == "missing":
                raise ModelError("There is no such model.")
            if settings.model == "bug":
                raise ZeroDivisionError("by zero")
            return cast(Assistant, assistant)

        thread = EngineThread(watcher, loader)
        thread.start()
        if load:
            may_load.set()
            thread.load(EngineSettings())
        try:
            await asyncio.wait_for(test(Bench(thread, watcher, assistant, may_load)), PATIENCE)
        finally:
            may_load.set()
            assert thread.close()

    asyncio.run(run())


class Holding:
    """Work that says when it runs, and ends when it is cancelled or released."""

    def __init__(self, result: Any = "done") -> None:
        self.result = result
        self.runs = threading.Event()
        self.released = threading.Event()
        self.was_cancelled = False

    def __call__(self, assistant: Assistant, cancelled: CancelCheck) -> Any:
        self.runs.set()
        while not self.released.wait(0.001):
            if cancelled():
                self.was_cancelled = True
                raise Cancelled("stopped")
        return self.result

    async def until_running(self) -> None:
        await asyncio.to_thread(self.runs.wait, PATIENCE)


def quick(assistant: Assistant, cancelled: CancelCheck) -> str:
    return "quick"


def test_requests_wait_for_the_engine() -> None:
    async def test(bench: Bench) -> None:
        bench.thread.load(EngineSettings())
        waiting = asyncio.ensure_future(bench.thread.run("a", GHOST, quick))
        bench.may_load.set()
        assert await waiting == "quick"
        assert [state.phase for state in bench.watcher.states] == ["loading", "ready"]
        assert bench.watcher.progress == ["loading"]

    on_bench(test, load=False)


def test_what_the_engine_has_to_say_reaches_the_user() -> None:
    async def test(bench: Bench) -> None:
        assert await bench.thread.run("a", GHOST, lambda assistant, cancelled: "done") == "done"
        assert bench.watcher.problems == ["Beware."]

    on_bench(test)


def test_an_engine_that_changes_is_shown_by_its_new_name() -> None:
    async def test(bench: Bench) -> None:
        def work(assistant: Assistant, cancelled: CancelCheck) -> None:
            bench.assistant.names = "other", "embedded"

        await bench.thread.run("a", GHOST, lambda assistant, cancelled: None)
        assert bench.thread.state.model == "fake"
        told = len(bench.watcher.states)
        await bench.thread.run("a", GHOST, work)
        await bench.thread.run("a", GHOST, lambda assistant, cancelled: None)
        assert bench.watcher.states[told:] == [EngineState("ready", "", "other", "embedded")] == [bench.thread.state]

    on_bench(test)


def test_the_same_engine_is_not_loaded_twice() -> None:
    """Clients tell their settings at start more than once."""

    async def test(bench: Bench) -> None:
        for _ in range(3):
            bench.thread.load(EngineSettings())
        bench.may_load.set()
        assert await bench.thread.run("a", GHOST, quick) == "quick"
        bench.thread.load(EngineSettings())
        assert bench.watcher.progress == ["loading"]
        bench.thread.load(EngineSettings(model="other"))
        assert await bench.thread.run("a", GHOST, quick) == "quick"
        assert bench.watcher.progress == ["loading", "loading"]

    on_bench(test, load=False)


@pytest.mark.parametrize(("model", "message"), [("missing", "There is no such model."), ("bug", "by zero")])
def test_a_failed_load_fails_those_who_wait_and_can_be_repeated(model: str, message: str) -> None:
    async def test(bench: Bench) -> None:
        bench.thread.load(EngineSettings(model=model))
        waiting = asyncio.ensure_future(bench.thread.run("a", GHOST, quick))
        bench.may_load.set()
        with pytest.raises(ModelError, match=message):
            await waiting
        with pytest.raises(ModelError, match=message):
            await bench.thread.run("a", GHOST, quick)
        bench.thread.load(EngineSettings())
        assert await bench.thread.run("a", GHOST, quick) == "quick"

    on_bench(test, load=False)


def test_a_newer_request_is_answered_and_the_older_one_stopped() -> None:
    async def test(bench: Bench) -> None:
        older = Holding()
        first = asyncio.ensure_future(bench.thread.run("a", GHOST, older))
        await older.until_running()
        assert await bench.thread.run("a", GHOST, quick) == "quick"
        with pytest.raises(Cancelled):
            await first
        assert older.was_cancelled

    on_bench(test)


def test_features_are_asked_apart_and_ghost_text_comes_first() -> None:
    """A docstring that is being written gives way to ghost text, and is written afterwards."""

    async def test(bench: Bench) -> None:
        order: list[str] = []
        docstring = Holding()
        writing = asyncio.ensure_future(bench.thread.run("a", "docstring", docstring))
        await docstring.until_running()
        docstring.runs.clear()
        assert await bench.thread.run("a", GHOST, quick) == "quick"
        assert docstring.was_cancelled and not writing.done()
        await docstring.until_running()
        other = asyncio.ensure_future(
            bench.thread.run("b", "docstring", lambda assistant, cancelled: order.append("b"))
        )
        await asyncio.sleep(0)
        docstring.released.set()
        assert await writing == "done"
        await other
        assert order == ["b"]

    on_bench(test)


def test_a_newer_request_of_a_feature_stops_the_one_that_gave_way() -> None:
    async def test(bench: Bench) -> None:
        older, ghost = Holding(), Holding()
        first = asyncio.ensure_future(bench.thread.run("a", "docstring", older))
        await older.until_running()
        typed = asyncio.ensure_future(bench.thread.run("a", GHOST, ghost))
        await ghost.until_running()
        second = asyncio.ensure_future(bench.thread.run("a", "docstring", quick))
        with pytest.raises(Cancelled):
            await first
        ghost.released.set()
        assert (await typed, await second) == ("done", "quick")

    on_bench(test)


def test_waiting_requests_are_done_in_the_order_of_their_features() -> None:
    async def test(bench: Bench) -> None:
        blocker, order = Holding(), []
        first = asyncio.ensure_future(bench.thread.run("a", GHOST, blocker))
        await blocker.until_running()

        def noting(name: str) -> Callable[[Assistant, CancelCheck], None]:
            return lambda assistant, cancelled: order.append(name)

        features: tuple[tuple[str, Feature], ...] = (("b", "docstring"), ("c", GHOST), ("d", "docstring"), ("e", GHOST))
        waiting = [asyncio.ensure_future(bench.thread.run(name, feature, noting(name))) for name, feature in features]
        await asyncio.sleep(0)
        blocker.released.set()
        await asyncio.gather(first, *waiting)
        assert order == ["c", "e", "b", "d"]

    on_bench(test)


def test_a_cancelled_request_that_runs_is_stopped() -> None:
    async def test(bench: Bench) -> None:
        running = Holding()
        request = asyncio.ensure_future(bench.thread.run("a", GHOST, running))
        await running.until_running()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert await bench.thread.run("b", GHOST, quick) == "quick"
        assert running.was_cancelled

    on_bench(test)


def test_a_cancelled_request_that_waits_is_never_run() -> None:
    async def test(bench: Bench) -> None:
        blocker, waiting = Holding(), Holding()
        first = asyncio.ensure_future(bench.thread.run("a", GHOST, blocker))
        await blocker.until_running()
        second = asyncio.ensure_future(bench.thread.run("b", GHOST, waiting))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        blocker.released.set()
        assert await first == "done"
        assert await bench.thread.run("c", GHOST, quick) == "quick"
        assert not waiting.runs.is_set()

    on_bench(test)


def test_a_crash_is_delivered_and_the_thread_lives_on() -> None:
    async def test(bench: Bench) -> None:
        def crash(assistant: Assistant, cancelled: CancelCheck) -> str:
            raise KeyError("oops")

        with pytest.raises(KeyError):
            await bench.thread.run("a", GHOST, crash)
        assert await bench.thread.run("a", GHOST, quick) == "quick"

    on_bench(test)


def test_idle_work_gives_way_to_a_request_and_goes_on_afterwards() -> None:
    async def test(bench: Bench) -> None:
        idle = Holding(result=False)
        bench.thread.when_idle("a", idle)
        await idle.until_running()
        idle.runs.clear()
        assert await bench.thread.run("b", GHOST, quick) == "quick"
        assert idle.was_cancelled
        await idle.until_running()
        idle.released.set()

    on_bench(test)


def test_idle_work_is_done_slice_by_slice_until_nothing_is_left() -> None:
    async def test(bench: Bench) -> None:
        slices = iter([True, True, False])
        finished = threading.Event()

        def work(assistant: Assistant, cancelled: CancelCheck) -> bool:
            more = next(slices)
            if not more:
                finished.set()
            return more

        bench.thread.when_idle("a", work)
        assert await asyncio.to_thread(finished.wait, PATIENCE)

    on_bench(test)


def test_the_latest_idle_work_comes_first() -> None:
    """Someone who goes to another file does not wait until all of the first one is refreshed."""

    async def test(bench: Bench) -> None:
        holding, order, finished = Holding(result=True), [], threading.Event()

        def of(document: str, left: int) -> Callable[[Assistant, CancelCheck], bool]:
            slices = iter(range(left, -1, -1))

            def work(assistant: Assistant, cancelled: CancelCheck) -> bool:
                order.append(document)
                more = bool(next(slices))
                if not more and document == "a":
                    finished.set()
                return more

            return work

        bench.thread.when_idle("blocked", holding)
        await holding.until_running()
        bench.thread.when_idle("a", of("a", 3))
        bench.thread.when_idle("b", of("b", 2))
        bench.thread.stop_idle("blocked")
        assert await asyncio.to_thread(finished.wait, PATIENCE)
        assert order == ["b"] * 3 + ["a"] * 4

    on_bench(test)


def test_idle_work_that_comes_later_does_not_wait_for_the_whole_of_another() -> None:
    async def test(bench: Bench) -> None:
        second_slice, first, order = threading.Event(), threading.Event(), []

        def long(assistant: Assistant, cancelled: CancelCheck) -> bool:
            order.append("long")
            first.set()
            assert second_slice.wait(PATIENCE)
            return len(order) < 9

        def other(assistant: Assistant, cancelled: CancelCheck) -> bool:
            order.append("other")
            return False

        bench.thread.when_idle("a", long)
        assert await asyncio.to_thread(first.wait, PATIENCE)
        bench.thread.when_idle("b", other)
        second_slice.set()
        while len(order) < 9:
            await asyncio.sleep(0.01)
        assert order.index("other") == 1

    on_bench(test)


@pytest.mark.parametrize("stop", ["stop_idle", "forget"])
def test_stopped_idle_work_does_not_come_back(stop: str) -> None:
    async def test(bench: Bench) -> None:
        idle = Holding(result=True)
        bench.thread.when_idle("a", idle)
        await idle.until_running()
        getattr(bench.thread, stop)("a")
        assert await bench.thread.run("b", GHOST, quick) == "quick"
        idle.runs.clear()
        assert await bench.thread.run("b", GHOST, quick) == "quick"
        assert not idle.runs.is_set()

    on_bench(test)


def test_forgetting_a_document_stops_its_work_and_drops_its_cache() -> None:
    async def test(bench: Bench) -> None:
        assert await bench.thread.run("a", GHOST, quick) == "quick"
        assert bench.thread.cache_bytes == {"a": 7}
        running = Holding()
        pending = asyncio.ensure_future(bench.thread.run("a", GHOST, running))
        await running.until_running()
        bench.thread.forget("a")
        with pytest.raises(Cancelled):
            await pending
        assert await bench.thread.run("b", GHOST, quick) == "quick"
        assert bench.assistant.forgotten == ["a"]
        assert set(bench.thread.cache_bytes) == {"b"}

    on_bench(test)


class Tensors:
    """Stands for a document's cache."""


def test_withdrawn_work_lets_go_of_what_it_held() -> None:
    """An error and the frames of its traceback must not hold each other, and a cache with them, until `gc` runs."""

    async def test(bench: Bench) -> None:
        held: list[weakref.ref[Tensors]] = []
        runs = threading.Event()

        def work(assistant: Assistant, cancelled: CancelCheck) -> None:
            cache = Tensors()
            held.append(weakref.ref(cache))
            runs.set()
            while not cancelled():
                pass
            raise Cancelled("stopped")

        pending = asyncio.ensure_future(bench.thread.run("a", GHOST, work))
        await asyncio.to_thread(runs.wait, PATIENCE)
        bench.thread.forget("a")
        with pytest.raises(Cancelled):
            await pending
        assert await bench.thread.run("b", GHOST, quick) == "quick"
        assert held[0]() is None

    gc.disable()
    try:
        on_bench(test)
    finally:
        gc.enable()


def test_closing_answers_everyone() -> None:
    async def test(bench: Bench) -> None:
        running = Holding()
        first = asyncio.ensure_future(bench.thread.run("a", GHOST, running))
        await running.until_running()
        second = asyncio.ensure_future(bench.thread.run("b", GHOST, quick))
        await asyncio.sleep(0)
        assert bench.thread.close()
        for pending in (first, second):
            with pytest.raises(Cancelled):
                await pending

    on_bench(test)
