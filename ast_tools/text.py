r"""Our own document text: UTF-8 bytes, the Language Server Protocol's lines and columns, edits, and differences.

Lines end at `\n`, `\r\n` and `\r` only (LSP 3.18, "Text Documents"); a form feed or U+2028 is an ordinary
character. Offsets are bytes throughout. `Text` is immutable: an edit makes a new one, so a snapshot costs nothing.
"""

from __future__ import annotations

import enum
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

_LINE_ENDING = re.compile(rb"\r\n|\n|\r")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTINUATIONS = bytes(range(0x80, 0xC0))
_NOT_FOUR_BYTES = bytes(range(0xF0))
_CHUNK = 1 << 16

MAX_DIFF_LINES = 500
MAX_DIFF_PAIRS = 10_000
"""A differing middle of more lines, or with more pairs of equal lines, becomes one edit: matching costs that much."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Bytes `start`..`end` of the old text are replaced by `new`."""

    start: int
    end: int
    new: bytes

    def apply_to(self, data: bytes) -> bytes:
        """The bytes after the edit."""
        return b"".join((data[: self.start], self.new, data[self.end :]))


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
            return char_start(self.data, min(start + column, end))
        return _advance(self.data, start, end, column, encoding)

    def position_at(self, offset: int, encoding: PositionEncoding) -> tuple[int, int]:
        """(line, column) of a byte offset, both 0-based."""
        offset = char_start(self.data, min(max(0, offset), len(self.data)))
        line = self.line_at(offset)
        before = self.data[self.line_start(line) : offset]
        if encoding is PositionEncoding.UTF8 or before.isascii():
            return line, len(before)
        return line, _num_units(before, encoding)

    def apply_rising(self, edits: Sequence[Edit]) -> Text:
        """The text after all of the edits, each of which ends above the start of the one before."""
        parts, end = [], len(self.data)
        for edit in edits:
            parts += [self.data[edit.end : end], edit.new]
            end = edit.start
        return Text(b"".join([self.data[:end], *reversed(parts)]))

    def apply(self, edit: Edit) -> Text:
        """The text after an edit; only the lines that the edit touches are looked at again."""
        data = edit.apply_to(self.data)
        shift = len(edit.new) - (edit.end - edit.start)
        # Whether a line starts at an offset is told by the bytes on both its sides: \r and \n may join or part there.
        #
        #     kept             looked at again            kept, shifted
        #     … edit.start - 1 │ edit.start … edit.end │ edit.end + 1 …
        first = max(1, bisect_right(self._line_starts, edit.start - 1))
        last = max(first, bisect_right(self._line_starts, edit.end))
        behind = self._line_starts[last:]
        if shift:
            behind = [start + shift for start in behind]
        touched = _starts_in(data, max(0, edit.start - 1), min(len(data), edit.end + shift))
        return Text(data, [*self._line_starts[:first], *touched, *behind])


def _starts_in(data: bytes, start: int, end: int) -> list[int]:
    """Line starts behind the line endings in data[start:end], a \\r at its end judged by the byte that follows."""
    starts = [match.end() for match in _LINE_ENDING.finditer(data, start, end)]
    if starts and starts[-1] == end and data[end - 1 : end + 1] == b"\r\n":
        starts.pop()  # the ending goes on past `end`
    return starts


def _num_units(data: bytes, encoding: PositionEncoding) -> int:
    """Characters or UTF-16 code units, counted by their first bytes; a character of four bytes is two units."""
    num_chars = len(data.translate(None, _CONTINUATIONS))
    return num_chars + len(data.translate(None, _NOT_FOUR_BYTES)) if encoding is PositionEncoding.UTF16 else num_chars


def _advance(data: bytes, start: int, end: int, column: int, encoding: PositionEncoding) -> int:
    """The offset `column` units behind `start`; that of the character if the column is inside one."""
    while start < end:
        chunk = data[start : min(start + _CHUNK, end)]
        num_units = len(chunk) if chunk.isascii() else _num_units(chunk, encoding)
        if num_units > column:
            break
        start, column = start + len(chunk), column - num_units
    else:
        return end
    if chunk.isascii():
        return start + column
    low, high = 0, len(chunk)  # the longest head of the chunk that has at most `column` units
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _num_units(chunk[:middle], encoding) <= column else (low, middle - 1)
    return start + low


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
    if min(len(old_lines), len(new_lines)) < 2 or not _are_few_pairs(old_lines, new_lines):
        return [Edit(head, len(old) - tail, new_middle)]
    return list(_line_edits(old_lines, new_lines, head))


def _are_few_pairs(old: Sequence[bytes], new: Sequence[bytes]) -> bool:
    if max(len(old), len(new)) > MAX_DIFF_LINES:
        return False
    counts = Counter(old)
    return sum(counts[line] for line in new) <= MAX_DIFF_PAIRS


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
    while low > 0 and (char_continues(a, low) or char_continues(b, low)):
        low -= 1
    return low


def _common_suffix(a: bytes, b: bytes, limit: int) -> int:
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        same = a[len(a) - middle : len(a) - low] == b[len(b) - middle : len(b) - low]
        low, high = (middle, high) if same else (low, middle - 1)
    while low > 0 and (char_continues(a, len(a) - low) or char_continues(b, len(b) - low)):
        low -= 1
    return low


def char_start(data: bytes, offset: int) -> int:
    """Where the character begins that an offset is in; the offset itself between characters and at the end."""
    while offset > 0 and char_continues(data, offset):
        offset -= 1
    return offset


def char_continues(data: bytes, offset: int) -> bool:
    """Whether a character that began before the offset goes on there."""
    return offset < len(data) and data[offset] & 0xC0 == 0x80
