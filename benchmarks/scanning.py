"""Strings, comments and brackets of a text, found without a grammar, so that half-typed text has them too.

The product's own rules have no part in this: `benchmarks.manners` measures those.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_CLOSERS = {"(": ")", "[": "]", "{": "}", "${": "}"}
_CHAR = r"'(?:\\[^\n][^'\n]{0,8}|[^'\\\n])'"


@dataclass(frozen=True)
class Syntax:
    """What strings, comments and brackets look like. Strings of one line end with it, long ones do not."""

    line_comment: str = r"//"
    block_comment: tuple[str, str] | None = ("/*", "*/")
    quotes: tuple[str, ...] = ('"',)
    long_quotes: tuple[str, ...] = ()
    raw_quotes: tuple[str, ...] = ()
    char: str = ""
    quotes_begin_words: bool = False
    brackets: str = "()[]{}"


_PYTHON = Syntax("#", None, ('"', "'"), ('"""', "'''"))
_SCRIPT = Syntax(quotes=('"', "'"), long_quotes=("`",))
SYNTAXES = {
    ".py": _PYTHON,
    ".ts": _SCRIPT,
    ".js": _SCRIPT,
    ".go": Syntax(long_quotes=("`",), raw_quotes=("`",), char=_CHAR),
    ".rs": Syntax(quotes=(), long_quotes=('"',), char=_CHAR),
    ".java": Syntax(long_quotes=('"""',), char=_CHAR),
    ".c": Syntax(char=_CHAR),
    ".yaml": Syntax(r"(?<!\S)#", None, ('"', "'"), quotes_begin_words=True, brackets="[]{}"),
    ".md": Syntax("", ("<!--", "-->"), (), ("```",), ("```",), brackets=""),
}
"""By the ends of files' names."""


@dataclass(frozen=True)
class Span:
    """A string, a comment or a pair of brackets: where it opens, and where its closer starts, None without one.

    A line comment, and a string of one line that is not closed, have none: they `end` with the line.
    """

    kind: str
    opener: str
    closer: str
    start: int
    closed_at: int | None = None
    end: int | None = None

    def holds(self, offset: int) -> bool:
        """Whether text at the offset stands within."""
        if offset < self.start + len(self.opener):
            return False
        if self.end is not None:
            return offset <= self.end
        return self.closed_at is None or offset <= self.closed_at


@dataclass(frozen=True)
class Scan:
    """All spans, in the order in which they open, and the closing brackets that close nothing."""

    spans: tuple[Span, ...]
    surplus: tuple[int, ...]

    def at(self, offset: int) -> list[Span]:
        """What is open at the offset, the innermost last."""
        return [span for span in self.spans if span.holds(offset)]

    def is_code(self, offset: int) -> bool:
        return all(span.kind == "bracket" for span in self.at(offset))


def syntax_of(name: str) -> Syntax:
    return SYNTAXES[name[name.rindex(".") :]]


def scan(text: str, name: str) -> Scan:
    """Read the text of a file of this name from its beginning."""
    return _Scanner(text, syntax_of(name)).scan()


class _Scanner:
    def __init__(self, text: str, syntax: Syntax) -> None:
        self.text, self.syntax = text, syntax
        self.spans: list[Span] = []
        self.surplus: list[int] = []
        self.open: list[Span] = []
        self.code = re.compile("|".join(_openers(syntax)) or r"(?!)", re.MULTILINE)

    def scan(self) -> Scan:
        at = 0
        while at < len(self.text):
            is_string = bool(self.open) and self.open[-1].kind != "bracket"
            at = self._in_string(self.open[-1], at) if is_string else self._in_code(at)
        self.spans += self.open
        return Scan(tuple(sorted(self.spans, key=lambda span: span.start)), tuple(self.surplus))

    def _in_code(self, at: int) -> int:
        found = self.code.search(self.text, at)
        if found is None:
            return len(self.text)
        kind, token = str(found.lastgroup), found[0]
        if kind == "line":
            end = self._line_end(found.start())
            self.spans.append(Span("line comment", token, "", found.start(), end=end))
            return end
        if kind == "closing":
            self._close(found.start(), token)
        elif kind == "block":
            assert self.syntax.block_comment is not None
            self._opens("comment", token, self.syntax.block_comment[1], found.start())
        elif kind == "raw":
            self._opens("string", token, '"' + token.strip('rb"'), found.start())
        elif kind in ("long", "quote"):
            quote = token.strip()
            self._opens("string", quote, quote, found.end() - len(quote))
        elif kind == "bracket":
            self._opens("bracket", token, _CLOSERS[token], found.start())
        return found.end()

    def _in_string(self, span: Span, at: int) -> int:
        is_raw = span.kind == "comment" or span.opener in self.syntax.raw_quotes or span.opener.startswith(("r", "b"))
        pattern = re.escape(span.closer)
        if not is_raw:
            pattern += r"|\\[\s\S]"
        if span.opener == "`" and not is_raw:
            pattern += r"|\$\{"
        if span.opener in self.syntax.quotes:
            pattern += r"|\n"
        found = re.compile(pattern).search(self.text, at)
        if found is None:
            return len(self.text)
        if found[0] == "${":
            self._opens("bracket", "${", "}", found.start())
        elif found[0] == "\n":
            self.open.pop()
            self.spans.append(Span(span.kind, span.opener, span.closer, span.start, end=found.start()))
        elif found[0] == span.closer:
            self._close(found.start(), span.closer)
        return found.end()

    def _opens(self, kind: str, opener: str, closer: str, start: int) -> None:
        self.open.append(Span(kind, opener, closer, start))

    def _close(self, at: int, closer: str) -> None:
        """Close the nearest that has this closer; brackets within it that are still open never close."""
        for i in reversed(range(len(self.open))):
            span = self.open[i]
            if span.closer == closer:
                lost = [Span(s.kind, s.opener, s.closer, s.start, end=at) for s in self.open[i + 1 :]]
                self.spans += [*lost, Span(span.kind, span.opener, span.closer, span.start, closed_at=at)]
                del self.open[i:]
                return
        self.surplus.append(at)

    def _line_end(self, at: int) -> int:
        end = self.text.find("\n", at)
        return len(self.text) if end < 0 else end


def _openers(syntax: Syntax) -> Iterator[str]:
    """Patterns of all that opens or closes something in code, those to be tried first in front."""
    word = r"(?<![\w)\]}])" if syntax.quotes_begin_words else ""
    if syntax.char:
        yield f"(?P<char>{syntax.char})"
    if syntax.line_comment:
        yield f"(?P<line>{syntax.line_comment})"
    if syntax.block_comment:
        yield f"(?P<block>{re.escape(syntax.block_comment[0])})"
    if '"' in syntax.long_quotes:
        yield r'(?P<raw>\bb?r#*")'
    if syntax.long_quotes:
        line = r"^ *" if "```" in syntax.long_quotes else ""
        yield f"(?P<long>{'|'.join(f'(?:{line}){re.escape(quote)}' for quote in syntax.long_quotes)})"
    if syntax.quotes:
        yield f"(?P<quote>{word}[{''.join(syntax.quotes)}])"
    if syntax.brackets:
        yield r"(?P<bracket>[" + re.escape(syntax.brackets[::2]) + "])"
        yield r"(?P<closing>[" + re.escape(syntax.brackets[1::2]) + "])"
