"""The line that the caret is on, as far as it tells how a completion may begin there."""

from __future__ import annotations

import re
from dataclasses import dataclass

NEAR_BYTES = 8192
"""Bytes before and behind the caret that tell how deep the file's lines are."""


@dataclass(frozen=True)
class CaretLine:
    """A line without its end, in bytes.

    before       what it has in front of the caret
    after        what it has behind the caret
    is_indented  whether no text is in front of the caret, and all of the line's indentation is. A blank line may get
                 more at column 0, and where lines nearby begin with more blanks, and none with just these
    """

    before: bytes
    after: bytes = b""
    is_indented: bool = False

    @classmethod
    def at(cls, data: bytes, caret: int) -> CaretLine:
        """The line of the byte offset `caret`."""
        start, end = data.rfind(b"\n", 0, caret) + 1, data.find(b"\n", caret)
        before, after = data[start:caret], data[caret : end if end >= 0 else len(data)]
        is_indented = not before.strip(b" \t")
        if is_indented and not after.strip():
            near = data[max(0, caret - NEAR_BYTES) : caret + NEAR_BYTES]
            is_indented = bool(before) and not _has_only_deeper_lines(near, before)
        return cls(before, after, is_indented)

    @property
    def has_begun(self) -> bool:
        """Whether there is text in front of the caret."""
        return bool(self.before.strip(b" \t"))

    @property
    def barred(self) -> bytes:
        """Bytes of which none may stand right behind the caret: a blank line is to get text, and a line that is
        indented no more indentation.
        """
        if self.has_begun:
            return b""
        return (b" \t" if self.is_indented else b"") + (b"" if self.after.strip() else b"\r\n")

    @property
    def examples(self) -> tuple[bytes, ...]:
        """What may follow a caret that has no text in front of it."""
        return (b"x",) if self.is_indented else (b"x", b"  x", b"    x", b"\tx")


def _has_only_deeper_lines(near: bytes, indentation: bytes) -> bool:
    """Whether lines begin with the indentation and more blanks, and none with just that."""
    begin = rb"\n" + re.escape(indentation)
    return re.search(begin + rb"\S", near) is None and re.search(begin + rb"[ \t]+\S", near) is not None
