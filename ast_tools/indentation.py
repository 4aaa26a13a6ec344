"""Indentation: how wide, in which style, and how to write a text in the style of a file."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from ast_tools.text import Text
from ast_tools.traced import TracedText

TAB_WIDTH = 4
MAX_INDENTATION = 400
"""Bytes of a line that are looked at for its indentation."""

_INDENTATION = re.compile(r"(?<=\n)[ \t]+")


@dataclass(frozen=True)
class Style:
    """How a file is indented: one level is `unit`, a tab or some spaces, "" where nothing tells; `steps` are all the
    widths by which its lines are deeper than the ones before."""

    unit: str = ""
    steps: frozenset[int] = frozenset()


def white_of(line: str) -> str:
    """The blanks and tabs that a line begins with."""
    return line[: len(line) - len(line.lstrip(" \t"))]


def width_of(line: str) -> int:
    """Columns of a line's indentation."""
    columns = 0
    for char in white_of(line):
        columns += TAB_WIDTH - columns % TAB_WIDTH if char == "\t" else 1
    return columns


def style_of(text: Text, first: int, last: int) -> Style:
    """The style of the lines `first`..`last`.

    Spaces are told by how much deeper than its opener a block is, most often; where there are no blocks, a line than
    the one before. Lines aligned within brackets do not count.
    """
    num_tabbed = num_spaced = width = 0
    block_steps: Counter[int] = Counter()
    other_steps: Counter[int] = Counter()
    code = b""
    for number in range(max(0, first), min(text.num_lines, last)):
        start = text.line_start(number)
        head = text.data[start : min(text.line_end(number), start + MAX_INDENTATION)]
        body = head.lstrip(b" \t")
        if not body:
            continue
        white = head[: len(head) - len(body)]
        if white.startswith(b"\t"):
            num_tabbed += 1
            continue
        num_spaced += bool(white)
        is_aligned = code.count(b"(") > code.count(b")") and not code.endswith((b"(", b"[", b"{"))
        if 2 <= len(white) - width <= 8 and not is_aligned:
            steps = block_steps if code.endswith((b"{", b":")) else other_steps
            steps[len(white) - width] += 1
        width = len(white)
        code = body.rstrip()
    if min(num_tabbed, num_spaced) * 5 > max(num_tabbed, num_spaced):
        return Style()  # both, as in GNU's style: the model's own is as good
    if num_tabbed > num_spaced:
        return Style("\t")
    steps = block_steps or other_steps
    if not steps:
        return Style()
    unit = " " * max(steps, key=lambda step: (steps[step], -step))
    return Style(unit, frozenset([*block_steps, *other_steps]))


def restyle(text: TracedText, style: Style, base_width: int, *, after_opener: bool) -> TracedText:
    r"""Indent the lines of a suggestion as the file does; the first stands behind the caret and has its own already.

    A level is one unit, whatever the model took for one: the first line below an opener (`after_opener`) tells that.
    What the file does too, here and there, is left as it is.
    """
    unit = style.unit
    lines = str(text).split("\n")[1:]
    if not lines or not unit:
        return text
    unit_width = TAB_WIDTH if unit == "\t" else len(unit)
    level = unit_width
    if after_opener and not any(line.startswith("\t") for line in lines):
        inner = next((width_of(line) - base_width for line in lines if line.strip()), 0)
        deeper = [width_of(line) - base_width for line in lines if line.strip() and width_of(line) > base_width]
        if inner > 1 and inner not in style.steps and all(width % inner == 0 for width in deeper):
            level = inner
    return text.sub(_INDENTATION, lambda white: _restyled(white, unit, base_width, level, unit_width))


def _restyled(white: str, unit: str, base_width: int, level: int, unit_width: int) -> str:
    # A tab that the model writes into a file of spaces is a level, whatever its width.
    width = width_of(white) if unit == "\t" else len(white.replace("\t", unit))
    if width > base_width and level != unit_width:
        width = base_width + (width - base_width) // level * unit_width
    return "\t" * (width // TAB_WIDTH) + " " * (width % TAB_WIDTH) if unit == "\t" else " " * width
