"""Lines that the file has right there already: a suggestion of one of them again is worth nothing.

Two lines are alike if they differ in blanks, quotes, commas, semicolons, a comment or their depth only. The line above
and the next one count whatever they are, and so does the first line of an `else` that comes next. Lines further away
count where they say what is said once in a block: an import, a definition, a key, a list item, a comment; below the
caret also a case and an assignment. Calls come twice in good code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile

from ast_tools.brackets import CLOSERS, code_of
from ast_tools.caret import CaretContext
from ast_tools.indentation import width_of
from ast_tools.languages import Language
from ast_tools.traced import TracedText

MANY_LINES = 3
"""So many lines at a suggestion's begin that the file goes on with are not said again, whatever follows them."""

_LETTER = re.compile(r"[^\W\d]")
_NO_DIFFERENCE = re.compile(r"[\s'\"`;,]+")
_BEGIN = re.compile(rf"\A{_NO_DIFFERENCE.pattern}")
_CONSTANT = re.compile(r"(?:None|True|False|null|true|false|nil|undefined|self|this)$")
_SAID_ONCE = re.compile(
    r"(?:import|from|use|using|#include|package|def|async def|class|fn|func|function|type|interface|struct|enum|const"
    r"|let|var)\b|[-*+] |(?:#+|//+!?|--|\*)(?: \w+){3}|[\"']?[\w$.-]+[\"']?\s*:(?!:)\s*[^\s#]"
)
_SAID_ONCE_BELOW = re.compile(r"(?:elif|case|except|when)\b|[\w.\[\]\"', ]+(?::[^=]+)?[-+*/|&]?=(?!=)")
_OTHER_BRANCH = re.compile(r"\}?\s*(?:else|elif|elsif|elseif)\b")

MAX_LINES_ABOVE = 200


def without_neighbours(context: CaretContext, text: TracedText) -> TracedText:
    """The text up to a line that equals the file's next one; nothing where all of it is there already."""
    text = _before_next_line(context, text)
    if not str(text).strip():
        return text
    if "\n" not in str(text):
        return text[:0] if _is_there(context, context.before + str(text) + context.after) else text
    first, *others = str(text).split("\n")
    if _are_alike(others[-1], context.next_line or "", context.language):
        return without_neighbours(context, text[: str(text).rindex("\n")].rstrip())
    lines = [line for line in (context.before + first if context.is_on_blank_line else "", *others) if line.strip()]
    is_said_again = bool(_SAID_ONCE.match(lines[0].strip())) and _is_there(context, lines[0])
    return text[:0] if is_said_again or _are_below(context, lines) else text


def _before_next_line(context: CaretContext, text: TracedText) -> TracedText:
    """Cut before a line that equals the file's next one, so accepting never doubles it.

    The bracket that closes a block is none of these when the file lacks it: what looks like it closes something else.
    """
    if context.next_line is None:
        return text
    lines = str(text).split("\n")
    may_close = context.kind == "block" and not context.by_indentation and not context.has_closer
    for number, line in enumerate(lines):
        whole = (context.before if number == 0 else "") + line + (context.after if len(lines) == 1 else "")
        if may_close and number == len(lines) - 1 > 0 and CLOSERS.issuperset(line.strip()):
            break
        if line.strip() and whole.rstrip() == context.next_line.rstrip():
            return text[: len("\n".join(lines[:number]))]
    return text


def _is_there(context: CaretContext, line: str) -> bool:
    """Whether one of the lines that count has the same to say."""
    near = [context.line_above or "", context.next_line or ""]
    if _OTHER_BRANCH.match(near[1].strip()):
        near += context.lines_below[1:2]
    bare = line.strip()
    if _SAID_ONCE.match(bare):
        near += [*_block_above(context, width_of(line)), *_block_below(context, width_of(line))]
    elif _SAID_ONCE_BELOW.match(bare):
        near += _block_below(context, width_of(line))
    return any(_are_alike(line, other, context.language) for other in near)


def _block_above(context: CaretContext, width: int) -> Iterator[str]:
    """The lines above that are as deep, up to the first that is less deep; none below a decorator, which tells two
    definitions apart."""
    if (context.line_above or "").lstrip().startswith("@"):
        return
    line = context.text.line_at(context.caret)
    for number in range(line - 1, max(-1, line - MAX_LINES_ABOVE), -1):
        above = context.text.line(number)
        if above.strip() and width_of(above) < width:
            return
        if width_of(above) == width:
            yield above


def _block_below(context: CaretContext, width: int) -> Iterator[str]:
    """The next lines, up to the first that is less deep."""
    return takewhile(lambda below: width_of(below) >= width, context.lines_below)


def _are_below(context: CaretContext, lines: Sequence[str]) -> bool:
    """Whether the next lines hold all of these in a row, or, where they are many, the first of them."""
    keys = [key for line in lines if (key := _key(line, context.language))]
    below = [key for line in context.lines_below if (key := _key(line, context.language))]
    num = min(len(keys), MANY_LINES)
    return num > 0 and any(keys[: len(below) - at] == below[at : at + len(keys)] for at in range(len(below) - num + 1))


def _are_alike(line: str, other: str, language: Language | None) -> bool:
    if _BEGIN.sub("", line)[:1] != _BEGIN.sub("", other)[:1]:  # most lines, at once
        return False
    key = _key(line, language)
    return bool(key) and key == _key(other, language)


def _key(line: str, language: Language | None) -> str:
    """What is compared of a line; "" for one that says too little, such as brackets or a constant."""
    key = _NO_DIFFERENCE.sub("", code_of(line, language) or line)
    return key if _LETTER.search(key) and not _CONSTANT.match(key) else ""
