"""Which cores the engine's threads may run on. Each test in a process of its own: what is bound stays bound."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
    pytest.skip("one core, or a system that keeps no thread to one", allow_module_level=True)

PROGRAM = """
import os
import sys
import threading
import torch
from model.embedded.cores import cores, use_threads

everywhere = os.sched_getaffinity(0)
before = set(os.listdir("/proc/self/task"))
told = []


def work(*counts):
    for count in counts:
        use_threads(count)
        assert torch.get_num_threads() == count
        torch.zeros(1 << 20).add_(1)
        me = str(threading.get_native_id())
        started = set(os.listdir("/proc/self/task")) - before - {me}
        told.append((os.sched_getaffinity(0), [os.sched_getaffinity(int(task)) for task in started]))
        assert cores() == sorted(everywhere)


def in_a_thread(*counts):
    thread = threading.Thread(target=work, args=counts)
    thread.start()
    thread.join()
    assert os.sched_getaffinity(0) == everywhere and len(told) == len(counts)


def is_apart(own, started):
    # Whatever else torch has started goes everywhere.
    return len(own) == 1 and started.count(everywhere - own) == len(everywhere) - 1


def is_everywhere(own, started):
    return own == everywhere and len(started) > 0 and all(one == everywhere for one in started)
"""


def check(*lines: str) -> None:
    subprocess.run([sys.executable, "-c", "\n".join((PROGRAM, *lines))], check=True)


def test_a_thread_for_every_core_keeps_them_apart() -> None:
    """Also when it is asked for again; the main thread, and what it starts, goes everywhere."""
    check("in_a_thread(len(everywhere), len(everywhere))", "assert all(is_apart(*one) for one in told)")


def test_another_number_of_threads_goes_everywhere() -> None:
    """Also those that were kept apart before, which are again when there is one for every core again."""
    check(
        "n = len(everywhere)",
        "in_a_thread(n, n + 1, n)",
        "assert is_apart(*told[0]) and is_everywhere(*told[1]) and is_apart(*told[2])",
    )


def test_where_it_is_forbidden_the_system_chooses() -> None:
    check(
        "known = os.sched_setaffinity",
        "def forbidden(thread, some):",
        "    if len(some) == 1: raise PermissionError",
        "    known(thread, some)",
        "os.sched_setaffinity = forbidden",
        "in_a_thread(len(everywhere))",
        "assert is_everywhere(*told[0])",
    )


def test_the_main_thread_is_left_alone() -> None:
    check("work(len(everywhere))", "assert is_everywhere(*told[0])")
