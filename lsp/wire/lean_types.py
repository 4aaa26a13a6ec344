"""lsprotocol's classes without what no server needs of them.

attrs writes, compiles and runs the methods of each of 550 classes when `lsprotocol.types` is imported, which is most of
what an editor waits for between the server's start and the answer to `initialize`. A third of it is for `__repr__`, a
quarter for `__eq__`, which one method can do for all classes, a tenth for slots.
"""

from __future__ import annotations

from typing import Any

import attrs

from model.boot import import_lasting


def import_lean() -> None:
    """Import `lsprotocol.types`, unless it was imported; its objects print as `<… object at …>`."""
    define = attrs.define

    def define_lean(cls: type) -> type:
        if "__eq__" not in vars(cls):
            cls.__eq__ = _equal  # type: ignore[method-assign,assignment]
            cls.__hash__ = None  # type: ignore[assignment]
        return define(cls, repr=False, eq=False, match_args=False, slots=False)

    attrs.define = define_lean  # type: ignore[assignment]
    try:
        import_lasting("lsprotocol.types")
    finally:
        attrs.define = define


def _equal(self: Any, other: object) -> Any:
    """As attrs compares: field by field, and only objects of the same class."""
    return vars(self) == vars(other) if other.__class__ is self.__class__ else NotImplemented
