"""Freed memory goes back to the operating system.

The C library keeps what is freed for what will be allocated next. That saves time while someone types. After a file was
closed or a model was replaced, tens of megabytes would be kept for nothing.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable


def _malloc_trim() -> Callable[[int], int] | None:
    """GNU's; None where the C library has no such function."""
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    return trim


_trim = _malloc_trim()


def give_back() -> None:
    """Give the freed pages back. Takes milliseconds, more when there is much. Does nothing where it is not possible."""
    if _trim is not None:
        _trim(0)
