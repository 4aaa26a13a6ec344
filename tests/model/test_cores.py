"""Which cores the engine's threads may run on. Each test in a process of its own: what is bound stays bound."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system keeps no thread to a core")

PROGRAM = """
import os
import sys
import threading
import torch
from model.embedded.cores import cores, use_threads

everywhere = os.sched_getaffinity(0)
told = []


def bound():
    return [os.sched_getaffinity(int(task)) for task in os.listdir("/proc/self/task")]


def work(*counts):
    for count in counts:
        use_threads(count)
        assert torch.get_num_threads() == count
        torch.zeros(1 << 20).add_(1)
        told.append((os.sched_getaffinity(0), cores(), bound()))


def in_a_thread(*counts):
    thread = threading.Thread(target=work, args=counts)
    thread.start()
    thread.join()
"""


def check(*lines: str) -> None:
    subprocess.run([sys.executable, "-c", "\n".join((PROGRAM, *lines))], check=True)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core only")
def test_a_thread_for_every_core_keeps_them_apart() -> None:
    """Also when it is asked for again, and the main thread and what it starts go everywhere."""
    check(
        "in_a_thread(len(everywhere), len(everywhere))",
        "for own, available, all_threads in told:",
        "    assert own == {max(everywhere)} and available == sorted(everywhere)",
        "    assert everywhere - {max(everywhere)} in all_threads",
        "assert os.sched_getaffinity(0) == everywhere",
    )


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core only")
def test_fewer_threads_or_more_go_everywhere() -> None:
    check(
        "in_a_thread(len(everywhere), len(everywhere) + 1)",
        "in_a_thread(len(everywhere) - 1 or 1)",
        "assert [own == everywhere for own, *_ in told] == [False, True, True]",
    )


def test_the_main_thread_is_left_alone() -> None:
    check("work(len(everywhere))", "assert all(where == everywhere for where in bound())")
