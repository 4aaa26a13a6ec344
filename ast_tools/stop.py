"""Where generation ends: with the line, or with the block. Asked after every token, about all text so far."""

from __future__ import annotations

import re
from collections.abc import Callable

from ast_tools.brackets import CLOSERS, OPENER_OF, Lexer
from ast_tools.caret import CaretContext
from ast_tools.indentation import width_of
from ast_tools.overlap import end_on_the_line
from ast_tools.repetition import loop_start

MAX_BLOCK_LINES = 24
MAX_BLANK_LINES = 3

_LINES = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+")
_BLANK_LINES = re.compile(r"(?:[ \t]*(?:\r\n|\n|\r))*")
_BEHIND_A_BLOCK = re.compile(r"[)\]};,]*")
_BEHIND_A_STATEMENT = re.compile(r"[;,]?")
_TERMINATOR = re.compile(r"(?:end\w*|fi|done|esac)[;,)]*")
_BEGINNING_OF_ONE = re.compile(r"e|en|end\w*|f|fi|d|do|don|done|es|esa|esac")
_LESS_DEEP = re.compile(r"[)\]}#{]|\w+:")
"""What a block in braces may hold less deep than its other lines: closers, preprocessor lines and labels."""


def make_stop(context: CaretContext) -> Callable[[str], int | None]:
    """The rule that ends generation: given all text so far, the length to cut it to, or None to go on."""
    if context.is_in_indentation:
        return lambda generated: 0
    rule = _line_stop if context.kind == "line" else _block_stop

    def stop(generated: str) -> int | None:
        cut = rule(context, generated)
        return loop_start(context.lead, generated) if cut is None else cut

    return stop


def is_one_line(context: CaretContext, generated: str) -> bool:
    """Whether this text is cut as a line.

    What follows `foo(` is, unless the model begins a new line for it, or leaves a bracket of its own open on the line,
    as in `foo((x) => {`.
    """
    if context.kind == "line":
        return True
    if context.by_indentation or context.is_on_blank_line or context.has_braced_block:
        return False
    if generated.lstrip(" \t")[:1] in ("", "\n", "\r"):
        return False
    line = _LINES.findall(generated)[0]
    lexer = Lexer(context.language, context.block_brackets)
    lexer.read(line)
    return not (line.endswith(("\n", "\r")) and len(lexer.stack) > len(context.block_brackets))


def _line_stop(context: CaretContext, generated: str) -> int | None:
    """End with the first line, or where the file goes on with what the model writes.

    Behind text, a line ending says that the line is complete. On a blank line the model may leave lines blank first.
    """
    begin = 0
    if context.is_on_blank_line and not context.after.strip():
        blank = _BLANK_LINES.match(generated)
        begin = blank.end() if blank else 0
        if generated.count("\n", 0, begin) > MAX_BLANK_LINES:
            return 0
    ends = [at for at in (generated.find("\n", begin), generated.find("\r", begin)) if at >= 0]
    line = generated[begin : min(ends)] if ends else generated[begin:]
    end = end_on_the_line(context, line)
    if end is not None:
        return begin + end
    return min(ends) if ends else None


def _block_stop(context: CaretContext, generated: str) -> int | None:
    """End before the first line that is outside the block, or repeats the file's next line, or is one too many."""
    if is_one_line(context, generated):
        return _line_stop(context, generated)
    if not context.by_indentation:
        return _bracket_stop(context, generated)
    lexer = Lexer(context.language)
    at = 0
    for number, line in enumerate(_LINES.findall(generated)):
        begins = context.before if number == 0 else ""
        content = begins + line.rstrip("\r\n")
        is_first_on_its_line = not begins.strip() and not lexer.ending
        if is_first_on_its_line and content.strip() and width_of(content) <= context.base_width:
            return _terminator_stop(context, generated, at, line)
        if _is_one_too_many(context, number, line, content):
            return _end_of_text(generated, at)
        lexer.read(line)
        at += len(line)
    return None


def _terminator_stop(context: CaretContext, generated: str, at: int, line: str) -> int | None:
    """A line that is not deeper ends the block; in a language without a grammar an `end` that is missing belongs to
    it."""
    word = line.strip()
    if context.language is None and width_of(line) == context.base_width and at > 0:
        if not line.endswith(("\n", "\r")) and _BEGINNING_OF_ONE.fullmatch(word):
            return None  # goes on with the next token
        if _TERMINATOR.fullmatch(word) and word != (context.next_line or "").strip():
            return at + len(line.rstrip())
    return _end_of_text(generated, at)


def _bracket_stop(context: CaretContext, generated: str) -> int | None:
    lexer = Lexer(context.language, context.block_brackets)
    first_width: int | None = None
    at = 0
    for number, line in enumerate(_LINES.findall(generated)):
        begins = context.before if number == 0 else ""
        content = begins + line.rstrip("\r\n")
        if content.strip() and not begins.strip() and not lexer.ending:
            width = width_of(content)
            first_width = width if first_width is None else first_width
            if width <= context.base_width < first_width and not _LESS_DEEP.match(content.strip()):
                return _end_of_text(generated, at)
        for index, bracket in lexer.feed(line):
            if bracket in CLOSERS and len(lexer.stack) <= len(context.block_brackets) and _closes(lexer, bracket):
                return _end_of_block(context, generated, at + index)
        if _is_one_too_many(context, number, line, content):
            return _end_of_text(generated, at)
        at += len(line)
    return None


def _closes(lexer: Lexer, bracket: str) -> bool:
    return not lexer.stack or lexer.stack[-1] == OPENER_OF[bracket]


def _end_of_block(context: CaretContext, generated: str, closer_at: int) -> int | None:
    """The block's bracket belongs to the suggestion if the file lacks it, and so does what ends the statement then."""
    if context.has_closer:
        return _end_of_text(generated, closer_at)
    end = closer_at + 1
    if context.after.strip():
        return end
    behind = (_BEHIND_A_STATEMENT if context.closers else _BEHIND_A_BLOCK).match(generated, end)
    if behind is None:
        return end
    return None if behind.end() == len(generated) else behind.end()


def _is_one_too_many(context: CaretContext, number: int, line: str, content: str) -> bool:
    is_whole = line.endswith(("\n", "\r"))
    repeats = is_whole and bool(content.strip()) and content.rstrip() == (context.next_line or "").rstrip()
    return repeats or number >= MAX_BLOCK_LINES


def _end_of_text(generated: str, at: int) -> int:
    """The end of what is not white space before an index."""
    return len(generated[:at].rstrip())
