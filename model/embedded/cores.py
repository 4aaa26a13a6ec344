"""Which core each of the engine's threads runs on.

The engine's thread waits for OpenMP's workers a hundred times a forward pass. Linux may wake a worker on the core where
the thread itself runs, if the other cores were busy for a moment, and leave it there for some 10 ms. Until then the two
take turns, and a forward pass takes three times as long. So they are kept apart where that takes no choice from the
scheduler: where there is a thread for every core.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress

import torch

_ELEMENTS_A_THREAD = 1 << 16
"""Twice what torch gives one thread at least."""

_workers: set[int] = set()
"""Threads that were started for an engine's thread and kept off its core."""


def cores() -> list[int]:
    """The cores that this process may use; on systems that do not tell, as many as there are."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(os.getpid()))  # the main thread's, which nobody here keeps to a core
    return list(range(os.cpu_count() or 1))


def use_threads(count: int) -> None:
    """Have torch compute with so many threads when this thread calls it.

    With a thread for every core this thread gets one of its own, and the workers that OpenMP starts for it get the
    others. Not so the main thread: what it starts, processes too, would inherit its core.
    """
    torch.set_num_threads(count)
    if not hasattr(os, "sched_setaffinity") or threading.current_thread() is threading.main_thread():
        return
    available = cores()
    own = available[os.getpid() % len(available)]  # another one in another server
    others = {core for core in available if core != own}
    try:
        if count == len(available) and others:
            _keep(others)  # inherited by the workers, which the first parallel loop starts
            torch.zeros(count * _ELEMENTS_A_THREAD).add_(1)
            _workers.update(_threads_on(others) - {threading.get_native_id()})
            os.sched_setaffinity(0, {own})
            return
    except OSError:  # forbidden, as in some containers: the system chooses
        pass
    with suppress(OSError):
        _keep(set(available))


def _keep(some: set[int]) -> None:
    """Keep this thread and the workers that are known on these cores."""
    for one in (0, *(_workers & _threads())):
        with suppress(ProcessLookupError):  # it ends just now
            os.sched_setaffinity(one, some)


def _threads_on(some: set[int]) -> set[int]:
    """This process's threads that may run on these cores and no others."""
    found = set()
    for one in _threads():
        with suppress(ProcessLookupError):
            if os.sched_getaffinity(one) == some:
                found.add(one)
    return found


def _threads() -> set[int]:
    """All threads of this process."""
    return {int(name) for name in os.listdir("/proc/self/task")}
