"""What surrounds a caret: whether a line or a block is missing there, and what the file already has behind it.

Only lines near the caret are looked at, so a large file costs no more than a small one. The tree, where there is one,
tells code from strings and comments. All else is told by lines, brackets and indentation, which half-typed code has
too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from ast_tools.brackets import CLOSER_OF, Lexer, code_of, unopened
from ast_tools.indentation import Style, style_of, white_of, width_of
from ast_tools.languages import Language
from ast_tools.text import Text, char_start, encode
from ast_tools.tree import SyntaxTree

NEAR_LINES = 200
"""Lines before and after the caret that are looked at for the opener, the next line and the indentation style."""

MAX_LINE_BYTES = 2000
"""Bytes of a line on either side of the caret that are looked at."""

MAX_LEAD_BYTES = 2000
"""Bytes in front of the caret in which a repetition is looked for."""

MAX_LINES_BELOW = 5
MAX_STATEMENT_BYTES = 1 << 13
MAX_CLOSING_LINES = 3
MAX_MARGIN_BYTES = 1 << 17

_COLON_STATEMENT = re.compile(
    r"\s*(?:async\s+)?(?:class|def|if|elif|else|for|while|with|try|except|finally|match|case)\b|\s*[)\]]"
)
_AT_MARGIN = re.compile(rb"(?<![^\r\n])[^\s/#*][^\r\n]*")
_CASE = re.compile(r"\s*(?:case\b.*|default\s*):$")
_KEYWORD_OPENER = re.compile(r"(?:\b(?:then|do|begin|else)|:)$")
_GOES_ON = re.compile(r"[-+*/%&|^=<>,.\\(\[?]$")
_LIST_MARK = re.compile(r"\s*(?:[-*+]|\d+[.)])\s")
_LEADING_CLOSERS = re.compile(r"\s*([)\]}]+)")
_BEHIND_NOTHING = frozenset(")]}/>\"'`,;: \t")


@dataclass(frozen=True)
class CaretContext:
    """What surrounds a caret.

    kind            whether one line or a block is missing
    indentation     white space in front of the caret's line
    before          the caret's line up to the caret (at most `MAX_LINE_BYTES`)
    after           the caret's line behind the caret, the same
    lead            the text in front of the caret (at most `MAX_LEAD_BYTES`)
    line_above      the line above that is not blank, None at the file's begin
    lines_below     the next lines that are not blank, at most `MAX_LINES_BELOW`
    depths          columns of indentation that a statement may have on the caret's line, if the line is blank
    base_width      columns of the block's opener; a block told by indentation ends with the first line not deeper
    by_indentation  whether the block ends by indentation, else with its bracket
    block_brackets  what the opener's line leaves open, the block's own bracket last
    has_closer      the file has the bracket already that closes the block
    open_brackets   what the caret's line leaves open in front of the caret
    closers         what closes behind the caret: on its line, and on the next lines as deep as it
    outer_closers   what closes on the next lines and is less deep: brackets opened above
    has_loose_ends  something closes behind the caret that nothing opened, as when `(x` was deleted from `f(x)`
    ending          what ends the string or comment that the caret is in, "" in code
    style           how the file is indented
    text, caret     the document, and the caret's byte offset
    tree            its syntax tree, None without one
    """

    kind: Literal["line", "block"]
    indentation: str
    before: str
    after: str
    lead: str
    line_above: str | None
    lines_below: tuple[str, ...]
    depths: frozenset[int]
    base_width: int
    by_indentation: bool
    block_brackets: str
    has_closer: bool
    open_brackets: str
    closers: str
    outer_closers: str
    has_loose_ends: bool
    ending: str
    style: Style
    language: Language | None
    text: Text
    caret: int
    tree: SyntaxTree | None

    @property
    def next_line(self) -> str | None:
        """The next line that is not blank, None at the end of the file."""
        return self.lines_below[0] if self.lines_below else None

    @property
    def is_on_blank_line(self) -> bool:
        return not self.before.strip()

    @property
    def is_in_indentation(self) -> bool:
        """Whether the caret is within the white space that a line of code begins with, where nothing is missing."""
        return self.is_on_blank_line and self.after[:1] in (" ", "\t") and bool(self.after.strip())

    @property
    def has_braced_block(self) -> bool:
        """Whether the block holds statements in braces, not a list of values."""
        is_python_like = self.language is not None and self.language.blocks_by_indentation
        return not is_python_like and self.block_brackets.endswith("{")


@dataclass(frozen=True)
class _Opener:
    """A line that opens a block: how deep its statement is, what it leaves open, and whether a bracket opens it."""

    width: int
    brackets: str
    by_indentation: bool


def caret_context(text: Text, tree: SyntaxTree | None, caret: int, language: Language | None) -> CaretContext:
    """Look around the byte offset `caret`. `tree` may be None: it only tells code from strings and comments."""
    caret = min(max(0, caret), len(text))
    line = text.line_at(caret)
    start, end = text.line_start(line), text.line_end(line)
    caret = min(caret, end)  # between \r and \n is the end of the line
    before = text.slice(max(start, caret - MAX_LINE_BYTES), caret)
    after = text.slice(caret, min(end, caret + MAX_LINE_BYTES))
    lines_below = tuple(islice(_lines_below(text, line), MAX_LINES_BELOW))
    next_line = lines_below[0] if lines_below else None
    line_above = next(_lines_near(text, range(line - 1, max(-1, line - NEAR_LINES), -1)), None)
    open_brackets, ending, is_code = _state_at(before, language, tree, caret)
    is_blank = not before.strip()
    own_width = width_of(before)
    if is_blank:
        open_brackets = _brackets_above(text, line, own_width, language)

    opener = _opener(text, line, before, language) if is_code else None
    base_width = opener.width if opener else own_width - 1
    has_closer = opener is None or (_has_closer(opener, after, next_line) and not _lacks_closers(text, caret, opener))
    is_missing = (
        opener is not None
        and all(char in _BEHIND_NOTHING for char in after)
        and (next_line is None or has_closer or width_of(next_line) <= base_width)
        and not (is_blank and before and own_width <= base_width)
    )
    closers, outer_closers = _closers_behind(text, line, own_width, after, ending, language)
    style = Style("\t") if before.startswith("\t") else style_of(text, line - NEAR_LINES, line + NEAR_LINES)
    if not style.unit and language is not None:
        style = Style(language.indentation)
    return CaretContext(
        kind="block" if is_missing else "line",
        indentation=white_of(before),
        before=before,
        after=after,
        lead=text.slice(char_start(text.data, max(0, caret - MAX_LEAD_BYTES)), caret),
        line_above=line_above,
        lines_below=lines_below,
        depths=_depths(text, line, before, opener, open_brackets, style, language, tree) if is_blank else frozenset(),
        base_width=base_width,
        by_indentation=opener.by_indentation if opener else language is None or language.blocks_by_indentation,
        block_brackets=opener.brackets if opener else "",
        has_closer=has_closer,
        open_brackets=open_brackets,
        closers=closers,
        outer_closers=outer_closers,
        has_loose_ends=_statement_start(text, line, before + after, language) is None,
        ending=ending,
        style=style,
        language=language,
        text=text,
        caret=caret,
        tree=tree,
    )


def _state_at(before: str, language: Language | None, tree: SyntaxTree | None, caret: int) -> tuple[str, str, bool]:
    """The open brackets of the caret's line, what ends the string or comment there, and whether the caret is in code.

    The tree knows strings that began lines ago; the lexer knows strings that are still half typed.
    """
    line_start = caret - len(encode(before))
    lexer = Lexer(language, ending="" if tree is None else tree.ending_at(line_start))
    lexer.read(before)
    is_code = tree is None or not tree.is_in_string_or_comment(caret)
    return "".join(lexer.stack), lexer.ending, is_code and not lexer.ending


def _opener(text: Text, line: int, before: str, language: Language | None) -> _Opener | None:
    """What opens a block right before the caret, or above it with only comments between; None if nothing does."""
    number, content = line, before
    if not before.strip():
        above = _line_above(text, line, language)
        if above is None:
            return None
        number, content = above
    lexer = Lexer(language)
    lexer.read(content)
    code = content[: lexer.comment_at].rstrip()
    brackets = "".join(lexer.stack)
    if lexer.ending not in ("", "\n") or not code:
        return None
    if code[-1] in CLOSER_OF and brackets.endswith(code[-1]):
        first = _statement_start(text, number, code, language)
        return _Opener(width_of(code if first is None else _near_line(text, first)), brackets, False)
    if brackets and language is not None:
        return None
    start = _statement_start(text, number, code, language)
    first = number if start is None else start
    head = code if first == number else _near_line(text, first)
    if language is None:
        opens = bool(_KEYWORD_OPENER.search(code))
    elif language.blocks_by_indentation:
        opens = code.endswith(":") and bool(_COLON_STATEMENT.match(head))
    else:
        opens = bool(_CASE.match(code))
    return _Opener(width_of(head), "", True) if opens else None


def _statement_start(text: Text, line: int, code: str, language: Language | None) -> int | None:
    """The line where the statement begins that goes on in `line`: where the brackets were opened that close there.

    None if they are opened nowhere near.
    """
    missing = _num_closed(code, language)
    number, limit = line, max(0, text.line_start(line) - MAX_STATEMENT_BYTES)
    while missing > 0 and number > 0 and text.line_start(number) > limit:
        number -= 1
        above = _near_line(text, number)
        lexer = Lexer(language)
        lexer.read(above)
        missing += _num_closed(above, language) - sum(_is_inside_statements(b, language) for b in lexer.stack)
    return number if missing <= 0 else None


def _num_closed(code: str, language: Language | None) -> int:
    """Brackets within a statement that are closed here and opened on a line above."""
    return sum(_is_inside_statements(bracket, language) for _, bracket in unopened(code, language))


def _is_inside_statements(bracket: str, language: Language | None) -> bool:
    """Whether the bracket is a part of one statement: a brace is in Python, and opens a block elsewhere."""
    return bracket not in "{}" or (language is not None and language.blocks_by_indentation)


def _has_closer(opener: _Opener, after: str, next_line: str | None) -> bool:
    """Whether the file has the block's closing bracket: on the caret's line, or on the next as deep as the opener."""
    if not opener.brackets:
        return False
    closer = CLOSER_OF[opener.brackets[-1]]
    if after.strip():
        return after.lstrip().startswith(closer)
    return next_line is not None and next_line.lstrip().startswith(closer) and width_of(next_line) == opener.width


def _lacks_closers(text: Text, caret: int, opener: _Opener) -> bool:
    """Whether more braces are opened at the margin above than are closed there below, as in C++ namespaces, whose
    content is not indented: the next one closes the namespace then."""
    if opener.width or not opener.brackets.endswith("{"):
        return False
    num_open = 0
    for found in _AT_MARGIN.finditer(text.data, max(0, caret - MAX_MARGIN_BYTES), caret):
        num_open = max(0, num_open + _num_opened(found.group()))
    if num_open < 2:
        return False
    depth = num_closed = 0
    for found in _AT_MARGIN.finditer(text.data, caret, caret + MAX_MARGIN_BYTES):
        depth += _num_opened(found.group())
        if depth < 0:
            num_closed, depth = num_closed - depth, 0
    return num_closed < num_open


def _num_opened(line: bytes) -> int:
    """Braces that a line opens, less those that it closes."""
    code = line.partition(b"//")[0]
    return code.count(b"{") - code.count(b"}")


def _brackets_above(text: Text, line: int, width: int, language: Language | None) -> str:
    """What a line above leaves open that a blank line's own depth would close: `foo(`, with its arguments between."""
    for number in range(line - 1, max(-1, line - NEAR_LINES), -1):
        content = _near_line(text, number)
        if not content.strip() or width_of(content) > width:
            continue
        if width_of(content) < width:
            return ""
        lexer = Lexer(language)
        lexer.read(content)
        num_open = len(lexer.stack)
        for between in range(number + 1, line if num_open else number):
            lexer.read(f"\n{_near_line(text, between)}")
        return "".join(lexer.stack[:num_open])
    return ""


def _closers_behind(
    text: Text, line: int, width: int, after: str, ending: str, language: Language | None
) -> tuple[str, str]:
    """`closers` and `outer_closers` of a `CaretContext`. Next lines count while they begin with closing brackets."""
    here = "".join(bracket for _, bracket in unopened(after, language, ending if ending in after else ""))
    outer = ""
    if all(char in _BEHIND_NOTHING for char in after):
        for _, content in zip(range(MAX_CLOSING_LINES), _lines_below(text, line), strict=False):
            found = _LEADING_CLOSERS.match(content)
            if found is None:
                break
            if width_of(content) >= width and not outer:
                here += found.group(1)
            else:
                outer += found.group(1)
    return here, outer


def _depths(
    text: Text,
    line: int,
    before: str,
    opener: _Opener | None,
    open_brackets: str,
    style: Style,
    language: Language | None,
    tree: SyntaxTree | None,
) -> frozenset[int]:
    """`depths` of a `CaretContext`; empty where any may be right, as in a statement that goes on from the line above.

    Who has indented the caret's line has chosen its depth; below an opener it may be one level more.
    """
    above = next(_lines_near(text, range(line - 1, max(-1, line - NEAR_LINES), -1)), None)
    own = width_of(before)
    if above is None:
        return frozenset([own])
    if opener is not None:
        return _depths_below(opener, own, next(_lines_below(text, line), ""), style, language)
    code = code_of(above, language).rstrip()
    if open_brackets:
        return frozenset([own] if before else [width_of(above)])
    if language is None and _LIST_MARK.match(above):
        return frozenset()
    if _GOES_ON.search(code):
        return frozenset()
    around = frozenset(_widths_around(text, line, language, tree))
    is_chosen = before and (own in around or language is None or not language.blocks_by_indentation)
    return frozenset([own]) if is_chosen else around


def _depths_below(opener: _Opener, own: int, next_line: str, style: Style, language: Language | None) -> frozenset[int]:
    """Columns of a line below an opener: those of its block, or, where it is in braces, of what closes it."""
    is_a_level = not style.steps or own - opener.width in style.steps
    step, below = width_of(style.unit), width_of(next_line)
    if opener.by_indentation and language is not None and not is_a_level:
        levels = [opener.width + step, below] if step else [below]  # the lines below may go on from this one
        return frozenset(level for level in levels if level > opener.width) or frozenset([own])
    if own > opener.width:
        return frozenset([own])
    if not step:
        return frozenset()
    may_be_less = not opener.by_indentation or language is None
    return frozenset([opener.width + step, *([max(own, opener.width)] if may_be_less else [])])


def _widths_around(text: Text, line: int, language: Language | None, tree: SyntaxTree | None) -> Iterator[int]:
    """Columns of the statements above that one on this line may follow: each less deep than the ones below it."""
    width = MAX_LINE_BYTES
    number = line
    while width > 0 and number > max(0, line - NEAR_LINES):
        number -= 1
        content = _near_line(text, number)
        if not content.strip() or width_of(content) >= width:
            continue
        if tree is not None and tree.ending_at(text.line_start(number)):
            continue  # it begins within a string or comment
        start = _statement_start(text, number, content, language)
        number = number if start is None else start
        width = width_of(_near_line(text, number))
        yield width


def _line_above(text: Text, line: int, language: Language | None) -> tuple[int, str] | None:
    """The last line above that has code; comments, and a docstring below a colon, leave a body empty."""
    docstring = ""
    for number in range(line - 1, max(-1, line - NEAR_LINES), -1):
        content = _near_line(text, number)
        bare = content.strip()
        if docstring:
            if bare.lstrip("rRuU").startswith(docstring):
                docstring = ""
            continue
        if not bare or (language is not None and not code_of(content, language)):
            continue
        if language is not None and language.blocks_by_indentation and bare.endswith(language.long_quotes):
            if not bare.lstrip("rRuU").startswith(bare[-3:]) or len(bare) < 6:
                docstring = bare[-3:]
            continue
        return number, content
    return None


def _lines_below(text: Text, line: int) -> Iterator[str]:
    return _lines_near(text, range(line + 1, min(text.num_lines, line + NEAR_LINES)))


def _lines_near(text: Text, numbers: range) -> Iterator[str]:
    """The lines that are not blank."""
    return (content for number in numbers if (content := _near_line(text, number)).strip())


def _near_line(text: Text, line: int) -> str:
    start = text.line_start(line)
    return text.slice(start, min(text.line_end(line), start + MAX_LINE_BYTES))
