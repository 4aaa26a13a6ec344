"""Which cores the engine's threads run on, in the first forward pass after a pause.

The engine's thread and OpenMP's workers wait for each other a hundred times a forward pass. A worker that slept may be
woken on the core where the engine's thread itself runs, and Linux leaves it there for some 10 ms: until then the two
take turns, and to encode one token takes 20 ms and not 8. So they are kept on different cores for that one pass. For
longer it would be others, an editor above all, who find a core taken: docs/decisions.md has the numbers.
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
    """Keep the calling thread on one core and the workers on the others, where there is a thread for every core.

    With another number of threads the system chooses, and so it does where there is but one core, where the workers are
    not known, and where it has no such call or forbids it.
    """
    available = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    if not _workers or not 1 < len(available) == torch.get_num_threads():
        yield
        return
    own = sorted(available)[os.getpid() % len(available)]  # another one in another server
    apart = {0: {own}, **dict.fromkeys(_workers & _threads(), available - {own})}
    try:
        _allow(apart)
        yield
    finally:
        _allow(dict.fromkeys(apart, available))


def _allow(cores: dict[int, set[int]]) -> None:
    """The cores that each of these threads may run on; 0 is the calling one."""
    for thread, some in cores.items():
        with suppress(OSError):  # forbidden, as in some containers; or it ends just now
            os.sched_setaffinity(thread, some)


def _threads() -> set[int]:
    """All threads of this process."""
    return {int(name) for name in os.listdir("/proc/self/task")}
