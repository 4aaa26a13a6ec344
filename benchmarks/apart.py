"""A peer in a process of its own, with the environment that it would have without keyturn.

OpenMP's threads spin before they sleep, for as long as the environment says when the process first loads it. keyturn
ships with little of it (`model.embedded`); what is compared with it has the library's own default.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Self
from unittest.mock import patch

DEFAULT_SPINS = "300000"
"""libgomp's, where nothing is set."""


class Apart:
    """What `make` makes, in another process until the `with` block ends; its methods are asked for by name."""

    def __init__(self, make: Callable[[], Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make), daemon=True)
        with patch.dict(os.environ, GOMP_SPINCOUNT=DEFAULT_SPINS):
            self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.join()

    def ask(self, method: str, *arguments: Any) -> Any:
        """The method's answer. Raises `EOFError` when the other process has failed; its traceback is on stderr."""
        self._connection.send((method, arguments))
        return self._connection.recv()


def _serve(connection: Connection, make: Callable[[], Any]) -> None:
    made = make()
    while True:
        try:
            method, arguments = connection.recv()
        except EOFError:
            return
        connection.send(getattr(made, method)(*arguments))
