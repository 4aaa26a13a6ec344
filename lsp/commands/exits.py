"""Exit statuses of the command line, and the error for wrong use."""

from __future__ import annotations

DONE, NO, WRONG_USE, ENGINE_FAILED = 0, 1, 2, 3


class UsageError(Exception):
    """The command cannot be carried out as given; the message says what to do."""
