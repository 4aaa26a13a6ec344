"""Which cores the engine's threads may run on during a short pass, and that all may run everywhere after it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
    pytest.skip("one core, or a system that keeps no thread to one", allow_module_level=True)

PROGRAM = """
import os
import threading
import torch
from model.embedded.cores import find_workers, kept_apart

everywhere = os.sched_getaffinity(0)


def masks():
    return {int(task): os.sched_getaffinity(int(task)) for task in os.listdir("/proc/self/task")}


def work(check, count):
    torch.set_num_threads(count)
    before = set(masks())
    find_workers()
    started = set(masks()) - before
    assert len(started) == count - 1, started
    check(threading.get_native_id(), started)
    assert all(mask == everywhere for mask in masks().values()), masks()


def in_a_thread(check, count=len(everywhere)):
    failed = []
    threading.excepthook = failed.append
    thread = threading.Thread(target=work, args=(check, count))
    thread.start()
    thread.join()
    assert not failed, failed


def are_apart(me, workers):
    now = masks()
    assert len(now[me]) == 1
    for task, mask in now.items():
        if task != me:
            assert mask == (everywhere - now[me] if task in workers else everywhere), now


def are_free(me, workers):
    assert all(mask == everywhere for mask in masks().values())
"""


def check(*lines: str) -> None:
    """In a process of its own, which has started no workers yet."""
    subprocess.run([sys.executable, "-c", "\n".join((PROGRAM, *lines))], check=True)


def test_a_thread_for_every_core_is_kept_apart_for_the_pass() -> None:
    """And again for the next one, also when a pass fails; other threads may run everywhere at any time."""
    check(
        "def passes(me, workers):",
        "    for _ in range(2):",
        "        with kept_apart():",
        "            are_apart(me, workers)",
        "        are_free(me, workers)",
        "    try:",
        "        with kept_apart():",
        "            raise RuntimeError",
        "    except RuntimeError:",
        "        are_free(me, workers)",
        "in_a_thread(passes)",
    )


@pytest.mark.parametrize("more", [-1, 1])
def test_with_another_number_of_threads_than_cores_the_system_chooses(more: int) -> None:
    check(
        "def free(me, workers):",
        "    with kept_apart():",
        "        are_free(me, workers)",
        f"in_a_thread(free, len(everywhere) + {more})",
    )


def test_where_it_is_forbidden_the_system_chooses() -> None:
    check(
        "def forbidden(thread, cores):",
        "    raise PermissionError",
        "os.sched_setaffinity = forbidden",
        "def free(me, workers):",
        "    with kept_apart():",
        "        are_free(me, workers)",
        "in_a_thread(free)",
    )


def test_where_threads_are_not_listed_the_system_chooses() -> None:
    """As where /proc is not mounted."""
    check(
        "listed = os.listdir",
        "def unlisted(path):",
        "    raise FileNotFoundError(path)",
        "os.listdir = unlisted",
        "find_workers()",
        "with kept_apart():",
        "    os.listdir = listed",
        "    are_free(None, None)",
    )
