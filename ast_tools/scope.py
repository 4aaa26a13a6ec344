"""What surrounds a caret, where a suggestion there must stop, and what of it is worth showing.

    caret_context   looks at the lines around the caret, and asks the tree whether they are code
    make_stop       the rule that ends generation: with the line, or with the block
    finish          the text to show: no bracket, word or line that the file already has after the caret

All of it works on half-typed code and on languages without a grammar; nothing here raises. Only lines near the caret
are looked at, so a large file costs no more than a small one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ast_tools.brackets import Brackets, balance
from ast_tools.languages import Language
from ast_tools.text import Text
from ast_tools.tree import SyntaxTree

TAB_WIDTH = 4
MAX_BLOCK_LINES = 24
NEAR_LINES = 200
"""Lines before and after the caret that are looked at for the opener, the next line and the indentation style."""

MAX_LINE_BYTES = 2000
"""Bytes of a line on either side of the caret that are looked at."""

_COLON_OPENER = re.compile(
    r"^\s*(?:async\s+)?(?:class|def|if|elif|else|for|while|with|try|except|finally|match|case)\b.*:$"
    r"|^\s*[)\]].*:$",
    re.DOTALL,
)
_KEYWORD_OPENER = re.compile(r"(?:\b(?:then|do|begin|else)|:|\{)$")
_LINES = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+")
_CLOSERS = frozenset(")]}/>\"'`,;: \t")


@dataclass(frozen=True)
class CaretContext:
    """What stands around a caret.

    kind         whether a suggestion is one line or a block
    indentation  white space in front of the caret's line
    before       the caret's line up to the caret (at most `MAX_LINE_BYTES`)
    after        the caret's line behind the caret, the same
    next_line    the next line that is not blank, None at the end of the file
    base_width   columns of the block's opener: the block ends with the first line that is not deeper
    indent_unit  what one level of indentation is in this file: a tab or some spaces, "" if nothing tells
    has_closer   the closing brace of the block is in the file already
    """

    kind: Literal["line", "block"]
    indentation: str
    before: str
    after: str
    next_line: str | None
    base_width: int
    indent_unit: str
    has_closer: bool
    language: Language | None

    @property
    def by_indentation(self) -> bool:
        """Whether blocks end by indentation; in a language without a grammar they do unless a brace opened this one."""
        if self.language is None:
            return not self.before.rstrip().endswith("{")
        return self.language.blocks_by_indentation


def caret_context(text: Text, tree: SyntaxTree | None, caret: int, language: Language | None) -> CaretContext:
    """Look around the byte offset `caret`. `tree` may be None: it only tells code from strings and comments."""
    caret = min(max(0, caret), len(text))
    line = text.line_at(caret)
    start, end = text.line_start(line), text.line_end(line)
    caret = min(caret, end)  # between \r and \n is the end of the line
    before = text.slice(max(start, caret - MAX_LINE_BYTES), caret)
    after = text.slice(caret, min(end, caret + MAX_LINE_BYTES))
    blank = not before.strip()
    opener = _line_before(text, line) if blank else before
    next_line = _line_after(text, line)
    is_code = tree is None or not tree.is_in_string_or_comment(caret)
    base_width = width_of(opener or "")
    opens = is_code and opener is not None and _opens_block(opener, language)
    has_closer = opens and _has_closer(after, next_line, base_width)
    is_empty = next_line is None or has_closer or width_of(next_line) <= base_width
    nothing_after = all(char in _CLOSERS for char in after)
    fits = not (blank and before) or width_of(before) > base_width
    return CaretContext(
        kind="block" if opens and is_empty and nothing_after and fits else "line",
        indentation=before[: len(before) - len(before.lstrip())],
        before=before,
        after=after,
        next_line=next_line,
        base_width=base_width,
        indent_unit=_indent_unit(text, line),
        has_closer=has_closer,
        language=language,
    )


def make_stop(context: CaretContext) -> Callable[[str], int | None]:
    """The rule that ends generation: given all text so far, the length to cut it to, or None to go on."""
    return _line_stop if context.kind == "line" else lambda generated: _block_stop(context, generated)


def finish(context: CaretContext, generated: str) -> str:
    r"""The text to show for what was generated, "" when nothing useful is left. Lines end with "\n"."""
    cut = make_stop(context)(generated)
    text = (generated if cut is None else generated[:cut]).replace("\r\n", "\n").replace("\r", "\n")
    text = _without_repeated_lines(context, text).rstrip()
    first, newline, rest = text.partition("\n")
    if context.after.strip() and not newline:
        first = _without_overlap(first, context.after.rstrip())
    text = _in_file_indentation(context, first + newline + rest).rstrip()
    if newline and text and context.after.strip():  # what stands behind the caret goes below the block
        text += "\n" + context.indentation
    return text


def width_of(line: str) -> int:
    """Columns of a line's indentation."""
    return _columns(line[: len(line) - len(line.lstrip(" \t"))])


def _columns(white: str) -> int:
    columns = 0
    for char in white:
        columns += TAB_WIDTH - columns % TAB_WIDTH if char == "\t" else 1
    return columns


def _opens_block(line: str, language: Language | None) -> bool:
    code = line.rstrip()
    if language is None:
        return bool(_KEYWORD_OPENER.search(code))
    if language.blocks_by_indentation:
        return bool(_COLON_OPENER.search(_without_comment(code, language)))
    return _without_comment(code, language).endswith("{")


def _without_comment(line: str, language: Language) -> str:
    """The line without a comment that ends it. A mark inside a string is no comment."""
    if language.line_comment not in line:
        return line
    at = line.rfind(language.line_comment)
    quoted = any(line.count(quote, 0, at) % 2 for quote in language.quotes)
    return line if quoted else line[:at].rstrip()


def _has_closer(after: str, next_line: str | None, base_width: int) -> bool:
    """Whether the file has the block's closing brace: on the caret's line, or on the next at the opener's own depth."""
    if after.strip():
        return after.lstrip().startswith("}")
    return next_line is not None and next_line.lstrip().startswith("}") and width_of(next_line) == base_width


def _line_before(text: Text, line: int) -> str | None:
    for number in range(line - 1, max(-1, line - NEAR_LINES), -1):
        content = _near_line(text, number)
        if content.strip():
            return content
    return None


def _line_after(text: Text, line: int) -> str | None:
    for number in range(line + 1, min(text.num_lines, line + NEAR_LINES)):
        content = _near_line(text, number)
        if content.strip():
            return content
    return None


def _near_line(text: Text, line: int) -> str:
    start = text.line_start(line)
    return text.slice(start, min(text.line_end(line), start + MAX_LINE_BYTES))


def _indent_unit(text: Text, line: int) -> str:
    """A tab or spaces, by the indented lines around and their smallest step; "" where nothing is indented."""
    tabs, widths = 0, []
    for number in range(max(0, line - NEAR_LINES), min(text.num_lines, line + NEAR_LINES)):
        start = text.line_start(number)
        head = text.data[start : start + 80]
        white = len(head) - len(head.lstrip(b" \t"))
        if not white or white == len(head.rstrip()):
            continue
        if head[:1] == b"\t":
            tabs += 1
        else:
            widths.append(white)
    if tabs > len(widths):
        return "\t"
    steps = [width for width in widths if width > 1]
    return " " * min(min(steps), 8) if steps else ""


def _line_stop(generated: str) -> int | None:
    """End with the first line; one that begins with a line ending has nothing for this line."""
    ends = [at for at in (generated.find("\n"), generated.find("\r")) if at >= 0]
    return min(ends) if ends else None


def _block_stop(context: CaretContext, generated: str) -> int | None:
    """End before the first line that is outside the block, or repeats the file's next line, or is one too many."""
    brackets = None if context.by_indentation else Brackets(context.language)
    at = 0
    for number, line in enumerate(_LINES.findall(generated)):
        begins = context.before if number == 0 else ""
        is_whole = line.endswith(("\n", "\r"))
        content = line.rstrip("\r\n")
        if brackets is None:
            begins_line = number > 0 or not begins.strip()
            if begins_line and content.strip() and width_of(begins + content) <= context.base_width:
                return _end_of_text(generated, at)
        elif (closed := brackets.closes_at(content)) is not None:
            if context.has_closer:
                return _end_of_text(generated, at + closed) if generated[: at + closed].strip() else 0
            return at + closed + 1
        if is_whole and content.strip() and (begins + content).rstrip() == (context.next_line or "").rstrip():
            return _end_of_text(generated, at)
        if number >= MAX_BLOCK_LINES:
            return _end_of_text(generated, at)
        at += len(line)
    return None


def _end_of_text(generated: str, at: int) -> int:
    """The end of what is not white space before an index."""
    return len(generated[:at].rstrip())


def _without_repeated_lines(context: CaretContext, text: str) -> str:
    """Cut before a line that equals the file's next one, so accepting never doubles it."""
    if context.next_line is None:
        return text
    lines = text.split("\n")
    for number, line in enumerate(lines):
        whole = (context.before if number == 0 else "") + line
        if number == len(lines) - 1:
            whole += context.after
        if line.strip() and whole.rstrip() == context.next_line.rstrip():
            return "\n".join(lines[:number])
    return text


def _without_overlap(generated: str, after: str) -> str:
    """Drop what the line already has behind the caret.

    A tail that equals the beginning of what follows goes, if the brackets of the rest stay balanced: `x)` before `)`
    is `x`, but `f()` before `)` stays. So does everything from a closing bracket that nothing in the text opens and
    that the line has already.
    """
    for size in range(min(len(generated), len(after)), 0, -1):
        rest = generated[: len(generated) - size]
        if generated.endswith(after[:size]) and _may_drop(rest, after[:size], is_all=size == len(after)):
            return rest
    stripped = after.lstrip()
    unopened = balance(generated).first_unopened
    if unopened is not None and stripped.startswith(generated[unopened]):
        return generated[:unopened]
    return generated


def _may_drop(rest: str, dropped: str, *, is_all: bool) -> bool:
    """Whether `dropped`, which ends the generated text and begins what follows it, is there twice."""
    if not dropped.strip():
        return False
    if not all(char in _CLOSERS for char in dropped):
        return is_all and balance(rest).num_open == 0  # else a word that begins alike, `x` before `xs`
    if any(char in "()[]{}" for char in dropped):
        return balance(rest).num_open == 0 and balance(rest + dropped).first_unopened is not None
    return all((rest + dropped).count(quote) % 2 for quote in "\"'`" if quote in dropped)


def _in_file_indentation(context: CaretContext, text: str) -> str:
    """Indent the lines as the file does: by tabs where it uses tabs, by its spaces where the text has tabs."""
    lines = text.split("\n")
    unit = context.indent_unit
    for number, line in enumerate(lines[1:], start=1):
        body = line.lstrip(" \t")
        white = line[: len(line) - len(body)]
        if unit == "\t" and " " in white:
            columns = _columns(white)
            lines[number] = "\t" * (columns // TAB_WIDTH) + " " * (columns % TAB_WIDTH) + body
        elif unit.isspace() and unit != "\t" and "\t" in white:
            lines[number] = white.replace("\t", unit) + body
    return "\n".join(lines)
