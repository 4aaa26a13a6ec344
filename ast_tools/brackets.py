"""Brackets, strings and comments of a fragment of code: a small lexer that needs no grammar.

Generated text is a fragment that grows by a token at a time. A parser would have to see the whole file each time; this
reads a block in some tens of microseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from ast_tools.languages import Language

OPENER_OF = {")": "(", "]": "[", "}": "{"}
CLOSER_OF = {opener: closer for closer, opener in OPENER_OF.items()}
CLOSERS = frozenset(OPENER_OF)

_CHAR_LITERAL = r"'(?:\\[^'\r\n][^'\r\n]{0,8}|[^\\'\r\n])'"
_NEWLINE = "\n"


class Lexer:
    """Follows code across pieces of text.

    stack       the brackets that are open
    ending      what ends the string or comment that is open, a line feed for one that ends with its line, "" in code
    comment_at  where in the last text its first line comment begins, None without one
    """

    def __init__(self, language: Language | None, stack: str = "", ending: str = "") -> None:
        self._language = language
        self._marks = _marks(language)
        self.stack = list(stack)
        self.ending = ending
        self.comment_at: int | None = None

    def feed(self, text: str) -> Iterator[tuple[int, str]]:
        """(index, bracket) of each bracket in code. When one is handed out, it is not yet on or off the stack."""
        self.comment_at = None
        at = 0
        while at < len(text):
            if self.ending:
                at = self._skip(text, at)
                continue
            mark = self._marks.search(text, at)
            if mark is None:
                return
            at = mark.end()
            token = mark.group()
            if mark.lastgroup == "bracket":
                yield mark.start(), token
                self._follow(token)
            elif mark.lastgroup == "comment":
                self.ending = _NEWLINE
                if self.comment_at is None:
                    self.comment_at = mark.start()
            elif mark.lastgroup == "block":
                self.ending = self._language.block_comment[1] if self._language and self._language.block_comment else ""
            elif mark.lastgroup in ("long", "quote"):
                self.ending = token

    def read(self, text: str) -> None:
        """Go over a text."""
        for _ in self.feed(text):
            pass

    def _follow(self, bracket: str) -> None:
        if bracket not in CLOSERS:
            self.stack.append(bracket)
        elif self.stack and self.stack[-1] == OPENER_OF[bracket]:
            self.stack.pop()

    def _skip(self, text: str, at: int) -> int:
        """The index behind the string's or comment's end or next escape. A string not closed ends with its line."""
        found = _ends(self.ending, self._is_long()).search(text, at)
        if found is None:
            return len(text)
        if found.group()[0] != "\\":
            self.ending = ""
        return found.end()

    def _is_long(self) -> bool:
        language = self._language
        return language is not None and (
            self.ending in language.long_quotes or self.ending == (language.block_comment or ("", ""))[1]
        )


def unopened(text: str, language: Language | None, ending: str = "", stack: str = "") -> list[tuple[int, str]]:
    """(index, bracket) of the closing brackets that nothing in the text opened, nor is on the stack; as in `Lexer`."""
    lexer = Lexer(language, stack, ending)
    return [
        (index, bracket)
        for index, bracket in lexer.feed(text)
        if bracket in CLOSERS and (not lexer.stack or lexer.stack[-1] != OPENER_OF[bracket])
    ]


def closing_points(text: str, language: Language | None, ending: str = "") -> list[int]:
    """Where marks begin in the text that close what was opened in front of it: a string or comment that `ending` ends,
    and brackets.
    """
    behind = 0 if ending in ("", _NEWLINE) else end_of_string(text, language, ending)
    strings = [behind - len(ending)] if behind else []
    return strings + [index for index, _ in unopened(text, language, ending)]


def end_of_string(text: str, language: Language | None, ending: str) -> int | None:
    """The index behind the mark that closes a string open at the text's begin; None if it stays open."""
    lexer = Lexer(language, ending=ending)
    at = 0
    while lexer.ending and at < len(text):
        at = lexer._skip(text, at)
    return None if lexer.ending else at


def code_of(line: str, language: Language | None) -> str:
    """The line without the comment and the white space that end it."""
    lexer = Lexer(language)
    lexer.read(line)
    return line[: lexer.comment_at].rstrip()


def is_balanced(text: str, language: Language | None) -> bool:
    """Whether every bracket in the text is closed there, and none is closed that is not opened."""
    lexer = Lexer(language)
    lexer.read(text)
    return not lexer.stack and not unopened(text, language)


@cache
def _marks(language: Language | None) -> re.Pattern[str]:
    """What the lexer looks for in code."""
    if language is None:  # an apostrophe is no quote, so only strings that end on their line are ones
        return re.compile(
            r"(?P<bracket>[()\[\]{}])|(?P<comment>(?:^|(?<=\s))(?://|#\s))"
            r"""|(?P<string>"(?:\\.|[^"\\\r\n])*"|(?<!\w)'(?:\\.|[^'\\\r\n])*'|`[^`\r\n]*`)"""
        )
    parts = [r"(?P<bracket>[()\[\]{}])", f"(?P<comment>{re.escape(language.line_comment)})"]
    if language.block_comment:
        parts.append(f"(?P<block>{re.escape(language.block_comment[0])})")
    if language.has_char_literals:
        parts.append(f"(?P<char>{_CHAR_LITERAL})")
    if language.long_quotes:
        parts.append(f"(?P<long>{'|'.join(language.long_quotes)})")
    if language.quotes:
        quotes = f"[{language.quotes}]"
        # Behind a letter a `'` is an apostrophe, as in JSX, if it is not a prefixed string of Python's.
        parts.append(f"(?P<quote>{quotes})" if language.blocks_by_indentation else rf"(?P<quote>(?!(?<=\w)'){quotes})")
    return re.compile("|".join(parts))


@cache
def _ends(ending: str, is_long: bool) -> re.Pattern[str]:
    """What the lexer looks for in a string or comment: its end, or an escape that could hide it."""
    if ending == _NEWLINE:
        return re.compile(r"[\r\n]")
    if ending == "*/":
        return re.compile(r"\*/")
    lines = "" if is_long else r"|[\r\n]"
    return re.compile(rf"\\(?:\r\n|[\s\S])|{re.escape(ending)}{lines}")
