r"""Our own document text: UTF-8 bytes, the Language Server Protocol's lines and columns, edits, and differences.

Lines end at `\n`, `\r\n` and `\r` only (LSP 3.18, "Text Documents"); a form feed or U+2028 is an ordinary
character. Offsets are bytes throughout. `Text` is immutable: an edit makes a new one, so a snapshot costs nothing.
"""

from __future__ import annotations

import enum
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

_LINE_ENDING = re.compile(rb"\r\n|\n|\r")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

MAX_DIFF_LINES = 500
"""Differing middles of more lines become one edit: matching lines costs their product in the worst case."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Bytes `start`..`end` of the old text are replaced by `new`."""

    start: int
    end: int
    new: bytes


class PositionEncoding(enum.Enum):
    """What a column counts: bytes, UTF-16 code units, or code points."""

    UTF8 = "utf-8"
    UTF16 = "utf-16"
    UTF32 = "utf-32"


def encode(text: str) -> bytes:
    """UTF-8; lone surrogates, which JSON can carry and UTF-8 cannot, become U+FFFD, as wide in every encoding."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return _LONE_SURROGATE.sub("\ufffd", text).encode("utf-8")


class Text:
    """An immutable text with a line index."""

    __slots__ = ("_line_starts", "data")

    def __init__(self, data: bytes, line_starts: list[int] | None = None) -> None:
        self.data = data
        self._line_starts = [0, *_starts_in(data, 0, len(data))] if line_starts is None else line_starts

    @classmethod
    def from_str(cls, text: str) -> Text:
        return cls(encode(text))

    def __len__(self) -> int:
        return len(self.data)

    def __str__(self) -> str:
        return self.decode()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Text) and self.data == other.data

    def __hash__(self) -> int:
        return hash(self.data)

    def decode(self) -> str:
        return self.data.decode("utf-8", errors="replace")

    @property
    def num_lines(self) -> int:
        """At least 1: the empty text has one empty line."""
        return len(self._line_starts)

    @property
    def newline(self) -> str:
        r"""The line ending that most lines have, "\n" where there is none."""
        crlf = self.data.count(b"\r\n")
        lf = self.data.count(b"\n") - crlf
        cr = self.data.count(b"\r") - crlf
        if crlf > lf and crlf >= cr:
            return "\r\n"
        return "\r" if cr > lf else "\n"

    def line_at(self, offset: int) -> int:
        """The 0-based line that holds a byte offset."""
        return bisect_right(self._line_starts, max(0, offset)) - 1

    def line_start(self, line: int) -> int:
        return self._line_starts[line]

    def line_end(self, line: int) -> int:
        """Where the line's text ends, before its line ending."""
        if line + 1 == len(self._line_starts):
            return len(self.data)
        end = self._line_starts[line + 1] - 1
        return end - 1 if self.data[end : end + 1] == b"\n" and self.data[end - 1 : end] == b"\r" else end

    def line(self, line: int) -> str:
        return self.slice(self.line_start(line), self.line_end(line))

    def slice(self, start: int, end: int) -> str:
        return self.data[start:end].decode("utf-8", errors="replace")

    def offset_at(self, line: int, column: int, encoding: PositionEncoding) -> int:
        """Byte offset of a position; positions outside are moved to the nearest one inside.

        Past a line's end is its end, past the last line the text's end, inside a character that character's start.
        """
        if line < 0:
            return 0
        if line >= self.num_lines:
            return len(self.data)
        start, end = self.line_start(line), self.line_end(line)
        column = max(0, column)
        if encoding is PositionEncoding.UTF8:
            return self._char_start(min(start + column, end))
        raw = self.data[start:end]
        if raw.isascii():
            return start + min(column, len(raw))
        text = raw.decode("utf-8", errors="replace")
        if encoding is PositionEncoding.UTF16:
            units = text.encode("utf-16-le")[: 2 * column]
            text = units.decode("utf-16-le", errors="ignore")  # drops half of a surrogate pair
        else:
            text = text[:column]
        return start + len(text.encode("utf-8"))

    def position_at(self, offset: int, encoding: PositionEncoding) -> tuple[int, int]:
        """(line, column) of a byte offset, both 0-based."""
        offset = self._char_start(min(max(0, offset), len(self.data)))
        line = self.line_at(offset)
        before = self.data[self.line_start(line) : offset]
        if encoding is PositionEncoding.UTF8 or before.isascii():
            return line, len(before)
        text = before.decode("utf-8", errors="replace")
        return line, len(text.encode("utf-16-le")) // 2 if encoding is PositionEncoding.UTF16 else len(text)

    def apply(self, edit: Edit) -> Text:
        """The text after an edit; only the lines that the edit touches are looked at again."""
        data = self.data[: edit.start] + edit.new + self.data[edit.end :]
        shift = len(edit.new) - (edit.end - edit.start)
        # A line start is behind its ending; \r and \n may join or part at the edit's borders, hence one byte more.
        first = bisect_right(self._line_starts, max(0, edit.start - 1))
        last = bisect_right(self._line_starts, edit.end + 1)
        inside = _starts_in(data, self._line_starts[first - 1], min(len(data), edit.end + shift + 1))
        behind = self._line_starts[last:]
        if shift:
            behind = [start + shift for start in behind]
        head = self._line_starts[:first]
        starts = [start for start in inside if start > head[-1] and (not behind or start < behind[0])]
        return Text(data, [*head, *starts, *behind])

    def _char_start(self, offset: int) -> int:
        while 0 < offset < len(self.data) and self.data[offset] & 0xC0 == 0x80:
            offset -= 1
        return offset


def _starts_in(data: bytes, start: int, end: int) -> list[int]:
    """Line starts behind the line endings that begin in data[start:end]."""
    starts = [match.end() for match in _LINE_ENDING.finditer(data, start, end)]
    if starts and starts[-1] == end and data[end - 1 : end + 1] == b"\r\n":
        starts[-1] += 1  # the ending goes on past `end`
    return starts


def diff(old: bytes, new: bytes) -> list[Edit]:
    """Few edits that lead from one text to the other, each applied to the result of the one before.

    What is common at both ends is cut off first; in what differs, equal lines are matched. Edits stand on character
    boundaries.
    """
    if old == new:
        return []
    head = _common_prefix(old, new)
    limit = min(len(old), len(new)) - head
    tail = _common_suffix(old, new, limit)
    old_middle, new_middle = old[head : len(old) - tail], new[head : len(new) - tail]
    old_lines, new_lines = old_middle.splitlines(keepends=True), new_middle.splitlines(keepends=True)
    if max(len(old_lines), len(new_lines)) > MAX_DIFF_LINES or min(len(old_lines), len(new_lines)) < 2:
        return [Edit(head, len(old) - tail, new_middle)]
    return list(_line_edits(old_lines, new_lines, head))


def _line_edits(old: Sequence[bytes], new: Sequence[bytes], offset: int) -> Iterator[Edit]:
    at = offset
    for tag, i, j, k, m in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        before, after = b"".join(old[i:j]), b"".join(new[k:m])
        if tag != "equal":
            head = _common_prefix(before, after)
            tail = _common_suffix(before, after, min(len(before), len(after)) - head)
            yield Edit(at + head, at + len(before) - tail, after[head : len(after) - tail])
        at += len(after)


def _common_prefix(a: bytes, b: bytes) -> int:
    """Bytes that both begin with, cut to a character boundary. Bisection over memcmp is fast enough for megabytes."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle - 1)
    while low > 0 and (_continues(a, low) or _continues(b, low)):
        low -= 1
    return low


def _common_suffix(a: bytes, b: bytes, limit: int) -> int:
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        same = a[len(a) - middle : len(a) - low] == b[len(b) - middle : len(b) - low]
        low, high = (middle, high) if same else (low, middle - 1)
    while low > 0 and (_continues(a, len(a) - low) or _continues(b, len(b) - low)):
        low -= 1
    return low


def _continues(data: bytes, offset: int) -> bool:
    """Whether a character that began before the offset goes on there."""
    return offset < len(data) and data[offset] & 0xC0 == 0x80
