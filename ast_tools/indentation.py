"""Indentation: how wide, in which style, and how to write a text in the style of a file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ast_tools.brackets import Lexer
from ast_tools.languages import Language
from ast_tools.text import Text
from ast_tools.traced import TracedText

TAB_WIDTH = 4
MAX_INDENTATION = 400
"""Bytes of a line that are looked at for its indentation."""

_GOES_ON = re.compile(r"\s*(?:[)\]}.?+*%|=,]|&&|- )")
"""How a line begins that is no statement of its own: with what closes or goes on with the one above."""

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
    return text.sub(_INDENTATION, lambda white: _restyled(white, style, base_width, level, unit_width))


def at_depth(text: TracedText, before: str, depths: frozenset[int], style: Style) -> TracedText:
    r"""A suggestion on a blank line, its first line at the nearest of the depths that are right there.

    `before` is the white space in front of the caret, `depths` are columns; none are given where any is right. The
    lines below that are as deep as the first was move with it.

        before  "    "   depths 4   "    x = 1\n        return x"   becomes   "x = 1\n    return x"
    """
    first, *others = str(text).split("\n")
    white = white_of(first)
    own = width_of(before)
    if not first.strip() or not depths or _GOES_ON.match(first):
        return text
    width = _columns(before + white, style)
    depth = min((depth for depth in depths if depth >= own), key=lambda depth: (abs(depth - width), depth), default=own)
    new_white = _white(depth, style).removeprefix(before) if depth > own else ""
    rest = text[len(white) :]
    kept = text[: len(white)][len(white) - len(new_white) :] if white.endswith(new_white) else None
    moved = (kept or TracedText.put_in(new_white)) + rest
    second = next((_columns(white_of(line), style) for line in others if line.strip()), 0)
    opens = first.rstrip().endswith((":", "{", "(", "["))
    if second < width or (opens and second == width) or depth == width:
        return moved
    return moved.sub(_INDENTATION, lambda found: _white(max(0, _columns(found, style) + depth - width), style))


def first_misplaced(lines: Sequence[str], language: Language) -> int | None:
    """The number of the first line that the lines above have no place for, in a language of indented blocks.

    It is deeper than the line above, which opens no block, or not deeper than one that does, or between two blocks.
    """
    lexer = Lexer(language)
    widths: list[int] = []
    opens = continues = False
    for number, line in enumerate(lines):
        is_inside = continues or bool(lexer.stack or lexer.ending)
        lexer.read(f"{line}\n")
        code = line[: lexer.comment_at].rstrip()
        if not code and not is_inside:
            continue
        if not is_inside:
            width = width_of(line)
            if widths and (width > widths[-1]) is not opens:
                return number
            while widths and width < widths[-1]:
                widths.pop()
            if not opens and number > 0 and widths[-1:] != [width]:
                return number
            if widths[-1:] != [width]:
                widths.append(width)
        opens = code.endswith(":") and not lexer.stack and not lexer.ending
        continues = code.endswith("\\")
    return None


def _columns(white: str, style: Style) -> int:
    """Columns of white space that a model wrote: a tab in a file of spaces is a level, whatever its width."""
    return len(white.replace("\t", style.unit)) if style.unit.strip("\t") else width_of(white)


def _white(width: int, style: Style) -> str:
    """White space of so many columns, as the file writes it."""
    return "\t" * (width // TAB_WIDTH) + " " * (width % TAB_WIDTH) if style.unit == "\t" else " " * width


def _restyled(white: str, style: Style, base_width: int, level: int, unit_width: int) -> str:
    width = _columns(white, style)
    if width > base_width and level != unit_width:
        width = base_width + (width - base_width) // level * unit_width
    return _white(width, style)
