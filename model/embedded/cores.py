"""Which cores the engine's threads run on, in the first forward pass after a pause.

The engine's thread and OpenMP's workers wait for each other a hundred times a forward pass. A worker that slept may be
woken on the core where the engine's thread itself runs, and Linux leaves it there for some 10 ms: until then the two
take turns, and to encode one token takes 20 ms and not 8. So they are kept on different cores for that one pass. For
longer it would be others, an editor above all, who find a core taken: docs/benchmarks.md has the numbers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

_ELEMENTS_A_THREAD = 1 << 16
"""Twice what torch gives one thread at least."""

_workers: set[int] = set()
"""OpenMP's workers that were found."""


def find_workers() -> None:
    """Start OpenMP's workers for the calling thread, unless they run, and remember them."""
    with suppress(OSError):
        before = _threads()
        torch.zeros(torch.get_num_threads() * _ELEMENTS_A_THREAD).add_(1)
        _workers.update(_threads() - before)


@contextmanager
def kept_apart() -> Iterator[None]:
    """Keep the calling thread on one core and the workers on the others, where every core has a thread.

    Nothing is done where the scheduler has a choice without it (fewer threads than cores), where there is but one core,
    and where the system has no such call or forbids it.
    """
    available = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    if not 1 < len(available) <= torch.get_num_threads():
        yield
        return
    own = sorted(available)[os.getpid() % len(available)]  # another one in another server
    try:
        _allow({own}, available - {own})
        yield
    finally:
        _allow(available, available)


def _allow(own: set[int], others: set[int]) -> None:
    """The cores that this thread, and those that the workers may run on."""
    for thread, cores in (0, own), *((worker, others) for worker in _workers & _threads()):
        with suppress(OSError):  # forbidden, as in some containers; or it ends just now
            os.sched_setaffinity(thread, cores)


def _threads() -> set[int]:
    """All threads of this process."""
    return {int(name) for name in os.listdir("/proc/self/task")}
