"""Lines that the file has right there already: a suggestion of one of them again is worth nothing.

Two lines are alike if they differ in blanks, quotes, commas, semicolons, a comment or their depth only. The line above
and the next one count whatever they are. The lines further down count where they say what is said once: an import, a
definition, a case, a key, a list item, a comment, and, if all of the line is suggested, an assignment. Calls come twice
in good code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ast_tools.brackets import CLOSERS, code_of
from ast_tools.caret import CaretContext
from ast_tools.indentation import width_of
from ast_tools.languages import Language
from ast_tools.traced import TracedText

MANY_LINES = 3
"""So many lines at a suggestion's begin that the file goes on with are not said again, whatever follows them."""

_LETTER = re.compile(r"[^\W\d]")
_NO_DIFFERENCE = re.compile(r"[\s'\"`;,]+")
_CONSTANT = re.compile(r"(?:None|True|False|null|true|false|nil|undefined|self|this)$")
_SAID_ONCE = re.compile(
    r"(?:import|from|use|using|#include|package|def|class|fn|func|function|type|interface|struct|enum|const|let|var)\b"
    r"|(?:elif|case|except|when)\b|[-*+] |[\"']?[\w$.-]+[\"']?\s*:(?!:)|(?:#+|//+!?|--|\*)(?: \w+){3}"
)
_ASSIGNMENT = re.compile(r"[\w.\[\]\"', ]+(?::[^=]+)?=(?!=)")


def without_neighbours(context: CaretContext, text: TracedText) -> TracedText:
    """The text up to a line that equals the file's next one; nothing where all of it is there already."""
    text = _before_next_line(context, text)
    if not str(text).strip():
        return text
    first, *others = str(text).split("\n")
    if others:
        lines = [context.before + first if context.is_on_blank_line else "", *others]
        is_there = _are_next(context, lines)
    else:
        is_there = _is_there(context, context.before + first + context.after)
    return text[:0] if is_there else text


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
    key = _key(line, context.language)
    if not key:
        return False
    if any(
        near is not None and _key(near, context.language) == key for near in (context.line_above, context.next_line)
    ):
        return True
    bare = line.strip()
    if not _SAID_ONCE.match(bare) and not (context.is_on_blank_line and _ASSIGNMENT.match(bare)):
        return False
    return any(_key(near, context.language) == key for near in _lines_of_block(context, width_of(line)))


def _lines_of_block(context: CaretContext, width: int) -> list[str]:
    """The lines below, up to the first that is less deep."""
    lines: list[str] = []
    for line in context.lines_below:
        if width_of(line) < width:
            break
        lines.append(line)
    return lines


def _are_next(context: CaretContext, lines: Sequence[str]) -> bool:
    """Whether the file goes on with lines like these, or, where they are many, like the first of them."""
    keys = [key for line in lines if (key := _key(line, context.language))]
    below = [key for line in context.lines_below if (key := _key(line, context.language))]
    num = min(len(keys), len(below))
    return 0 < num >= min(len(keys), MANY_LINES) and keys[:num] == below[:num]


def _key(line: str, language: Language | None) -> str:
    """What is compared of a line; "" for one that says too little, such as brackets or a constant."""
    key = _NO_DIFFERENCE.sub("", code_of(line, language) or line)
    return key if _LETTER.search(key) and not _CONSTANT.match(key) else ""
