"""lsprotocol's classes without what no server needs of them.

attrs writes, compiles and runs the methods of each of 550 classes when `lsprotocol.types` is imported, which is most of
what an editor waits for between the server's start and the answer to `initialize`. A third of it is for `__repr__`, a
tenth for slots.
"""

from __future__ import annotations

import functools

import attrs


def import_lean() -> None:
    """Import `lsprotocol.types`, unless it was imported; its objects print as `<… object at …>`."""
    define = attrs.define
    attrs.define = functools.partial(define, repr=False, match_args=False, slots=False)
    try:
        import lsprotocol.types  # noqa: F401
    finally:
        attrs.define = define
