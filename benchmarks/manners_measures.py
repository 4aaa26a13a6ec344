"""What is wrong with a suggestion, seen from outside: one function a kind of trouble.

Each takes a place and what was shown there, and answers with the trouble's cause, or "" where there is none. None of
them knows the product's own rules, so that a broken rule shows.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import yaml

from ast_tools.languages import language_for
from ast_tools.text import Text
from ast_tools.tree import SyntaxTree
from benchmarks.scanning import Scan, Span, scan

MAX_PERIOD = 40
"""Longest repetition that is looked for, in words and signs."""

MIN_STUTTER = 16
"""Characters of a repetition without blanks, such as `0000`, that is a loop, at least."""

MAX_RULE = 80
"""Characters of a line that is drawn with `-` and the like, at most."""

NEIGHBOURS = 5
"""Lines below the caret that a suggestion must not repeat."""

_WORD = re.compile(r"\w+|[^\w\s]")
_STUTTER = re.compile(r"(\w{1,9}?|[^\w\s])\1{3,}")
_KEYWORDS = {"pass", "else:", "try:", "finally:", "break", "continue", "return", "returnNone", "default:", "}else{"}


@dataclass(frozen=True)
class Place:
    """A caret in a file that was whole before `taken` was taken out at it. The file's `name` tells its language."""

    name: str
    before: str
    after: str
    taken: str = ""
    kind: str = ""

    @property
    def line(self) -> str:
        """The caret's line up to the caret."""
        return self.before[self.before.rfind("\n") + 1 :]

    @property
    def rest(self) -> str:
        """The caret's line behind the caret."""
        return self.after.partition("\n")[0]

    @property
    def is_python(self) -> bool:
        return self.name.endswith(".py")


Measure = Callable[[Place, str], str]


def doubled_closer(place: Place, shown: str) -> str:
    """It closes what is not open, or what is closed behind the caret, and opens nothing that takes that closer."""
    caret, end = len(place.before), len(place.before) + len(shown)
    accepted = _scanned(place.before + shown + place.after, place.name)
    taken_by = {span.closed_at: span for span in accepted.spans}
    by_start = {span.start: span for span in accepted.spans}
    for span in reversed(closed_behind(place)):
        closed_at = by_start[span.start].closed_at
        taker = taken_by.get((span.closed_at or 0) - len(place.taken) + len(shown))
        if closed_at is not None and caret <= closed_at < end and (taker is None or taker.start < caret):
            return span.closer
    return next((shown[at - caret] for at in accepted.surplus if caret <= at < end), "")


def loop(place: Place, shown: str) -> str:
    """A line for the third time, or words and signs three times in a row."""
    lines = [line for line in (_bare(line) for line in _own_lines(place, shown)) if _says_something(line)]
    above = [line for line in map(_bare, _lines_before(place, shown)) if line][-2:]
    for line in lines:
        if lines.count(line) + (2 if above == [line, line] else 0) > 2:
            return f"line: {line}"
    for found in _STUTTER.finditer(shown):
        if len(found[0]) >= (MAX_RULE if found[1] in "=#*~.+/-_" else MIN_STUTTER):
            return f"characters: {found[1]}"
    words = _WORD.findall(place.before[-2000:])[-3 * MAX_PERIOD :]
    first = len(words)
    words += _WORD.findall(shown)
    for period in range(1, MAX_PERIOD + 1):
        run = 0
        for i in range(period, len(words)):
            run = run + 1 if words[i] == words[i - period] else 0
            repeated = " ".join(words[i - period + 1 : i + 1])
            ends_early = not words[i - period + 1][0].isalnum()  # only the sign is missing that sets the last one apart
            if run >= 2 * period - ends_early and i >= first + period - 1 and re.search(r"[^\W\d]", repeated):
                return f"words: {repeated}"
    return ""


def half_string(place: Place, shown: str) -> str:
    """It ends in a string or comment that nothing closes.

    A long one that a former line opened may go on, and Markdown's code may begin.
    """
    behind = {span.start for span in closed_behind(place)}
    lines_start, last_line = len(place.before) - len(place.line), (place.before + shown).rfind("\n") + 1
    for span in _scanned(place.before + shown, place.name).spans:
        is_open = span.kind in ("string", "comment") and span.closed_at is None and span.end is None
        may_stay_open = span.start in behind or (span.opener == "```" and span.start >= last_line)
        if is_open and not may_stay_open and span.start >= lines_start:
            return span.opener
    return ""


def unparsable(place: Place, shown: str) -> str:
    """The file parsed before, and does not any more."""
    if place.rest.strip() or fault(place, ""):
        return ""
    return fault(place, shown)


def uncompleted(place: Place, shown: str) -> str:
    """Only the rest of the caret's line was missing for the file to parse, and it still does not."""
    if place.rest.strip() or not fault(place, "") or fault(place, place.taken):
        return ""
    return fault(place, shown)


def repeated_neighbour(place: Place, shown: str) -> str:
    """It has but lines that are there, but for blanks, quotes, `;`, a comment or depth.

    They are among the next ones, or the one above; or its last line is the very next.
    """
    own = [line for line in map(_bare, _own_lines(place, shown)) if line]
    below = [line for line in map(_bare, place.after.split("\n")[1:100]) if line][:NEIGHBOURS]
    above = [line for line in map(_bare, _lines_before(place, shown)) if line][-1:]
    told = [line for line in own if _says_something(line)]
    if told and (set(own) <= set(below) or _bare(shown) in below or own[-1:] == told[-1:] == below[:1]):
        return f"below: {told[-1]}"
    return f"above: {told[-1]}" if told and own == above else ""


def wrong_depth(place: Place, shown: str) -> str:
    """The line of code that it begins is as deep as no line may be there."""
    is_on_new_line = not place.line.strip() or not shown.split("\n")[0].strip()
    around = _scanned(place.before + place.taken + place.after, place.name).at(len(place.before))
    is_code = all(span.kind == "bracket" and not place.is_python for span in around)
    if not is_on_new_line or place.rest.strip() or not is_code or place.name.endswith(".md"):
        return ""
    first = _own_lines(place, shown)[0]
    legal = legal_depths(place, _lines_before(place, shown), first)
    return "" if _white(first) in legal else f"{len(_white(first))}, not {sorted(map(len, legal))}"


def other_language(place: Place, shown: str) -> str:
    """It looks like Python in a file of another language."""
    code = list(place.before + shown)
    for span in _scanned(place.before + shown, place.name).spans:
        if span.kind != "bracket":
            end = span.end if span.end is not None else span.closed_at
            stop = len(code) if end is None else end
            code[span.start : stop] = ["\n" if char == "\n" else " " for char in code[span.start : stop]]
    lines = "".join(code)[len(place.before) - len(place.line) :]
    for pattern, others in _PYTHON:
        found = re.search(pattern, lines, re.MULTILINE)
        if found and place.name[place.name.rindex(".") :] not in (".py", *others):
            return found[0].strip()
    return '"""' if '"""' in shown and not place.name.endswith((".py", ".java")) else ""


MEASURES: dict[str, Measure] = {
    "doubled closer": doubled_closer,
    "loop": loop,
    "half string": half_string,
    "unparsable": unparsable,
    "uncompleted": uncompleted,
    "repeated neighbour": repeated_neighbour,
    "wrong depth": wrong_depth,
    "other language": other_language,
}

_TEXTS = (".yaml", ".md")
_PYTHON: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"^\s*(async )?def \w+", ()),
    (r"^\s*elif\b", ()),
    (r"\bself\.\w", (".rs",)),
    (r"\b(None|True|False)\b", (".rs", *_TEXTS)),
    (r"^\s*(from [\w.]+ )?import [\w.]+( as \w+)?\s*$", ()),
    (r"\b__[a-z]+__\b", ()),
    (r"^\s*(if|for|while|with|class) .*:\s*$", (".md",)),
    (r"^\s*(try|except|else|finally)\b.*:\s*$", _TEXTS),
    (r"^\s*(raise|except|lambda)\b", _TEXTS),
    (r"\bisinstance\(|(?<![.\w])print\(", _TEXTS),
    (r"^\s*#(?!\s*(include|define|if|ifn?def|endif|el|pragma|undef|error)\b|!?\[|\w+ *[{(=;])", _TEXTS),
)
"""What only Python has, and the languages that have it nevertheless."""


@lru_cache(maxsize=64)
def _scanned(text: str, name: str) -> Scan:
    return scan(text, name)


def closed_behind(place: Place) -> list[Span]:
    """What is open at the caret and closed behind it, in the file as it was whole."""
    whole = _scanned(place.before + place.taken + place.after, place.name)
    end = len(place.before) + len(place.taken)
    return [span for span in whole.at(len(place.before)) if span.closed_at is not None and span.closed_at >= end]


def fault(place: Place, shown: str) -> str:
    """Why the file does not parse once `shown` stands at the caret; "" if it does.

    What the user would write next is allowed for: brackets that are left open are closed, and a block that is begun
    gets a body.
    """
    problems = []
    for text in _with_what_comes_next(place, place.before + shown):
        found = _syntax_problem(text + place.after, place.name)
        if found is None:
            return ""
        problems.append(found)
    return max(problems)[1]


def _with_what_comes_next(place: Place, text: str) -> Iterator[str]:
    behind = {span.start for span in closed_behind(place)}
    still_open = [span for span in _scanned(text, place.name).at(len(text)) if span.start not in behind]
    closers = "".join(span.closer for span in reversed(still_open) if span.kind == "bracket")
    if not place.is_python:
        for filler in ("", "x") if closers else ("",):
            yield text + filler + closers
            yield text + filler + closers + ";"
        return
    lines = text.split("\n")
    white = _white(lines[-1])
    bodies = ("", f"\n{white}    pass", f"\n{white}    case _: pass", f"\n{white}def _(): pass")
    heads = [text + closers + body for body in bodies]
    if closers:  # of a header that goes over several lines
        heads.append(f"{text}{closers}:\n{white}    pass")
    for begun in heads:
        yield begun
        depth = len(white) + 1
        for line in reversed(lines):
            if line.strip() and len(_white(line)) < depth:
                depth = len(_white(line))
                if line.strip().startswith("try:"):
                    begun += f"\n{_white(line)}finally: pass"
                    yield begun


def _syntax_problem(text: str, name: str) -> tuple[int, str] | None:
    """How far a parser came, and what kind of problem it met; None without one."""
    if name.endswith(".py"):
        return _python_problem(text)
    if name.endswith(".yaml"):
        try:
            yaml.compose(text, yaml.SafeLoader)
        except yaml.YAMLError:
            return 0, "other"
        return None
    language = language_for(name)
    tree = SyntaxTree.parse(Text.from_str(text), language) if language else None
    if tree is None or not tree.root.has_error:
        return None
    found = _scanned(text, name)
    if any(span.kind != "bracket" and span.closed_at is None for span in found.spans if span.closer):
        return 0, "strings"
    is_unbalanced = found.surplus or any(span.closer and span.closed_at is None for span in found.spans)
    return 0, "brackets" if is_unbalanced else "other"


def _python_problem(text: str) -> tuple[int, str] | None:
    try:
        with warnings.catch_warnings(action="ignore"):
            ast.parse(text)
    except SyntaxError as error:
        what = str(error.msg)
        if isinstance(error, IndentationError):
            return error.lineno or 0, "indentation"
        causes = {"strings": r"string", "brackets": r"never closed|unmatched|does not match", "other": ""}
        return error.lineno or 0, next(cause for cause, words in causes.items() if re.search(words, what))
    except (ValueError, RecursionError, MemoryError):  # a zero byte, or calls too deep
        return 0, "other"
    return None


def legal_depths(place: Place, lines: list[str], first: str) -> set[str]:
    """White space that may begin the line `first` below these."""
    above = _lines_of_code(place, lines)
    unit = _unit(f"{place.before}x{place.taken}{place.after}")
    if not above:
        return {""}
    last = above[-1]
    enclosing, depth = {""}, len(_white(last)) + 1
    for line in reversed(above):
        if len(_white(line)) < depth:
            depth = len(_white(line))
            enclosing.add(_white(line))
    code = re.sub(r"\s+(#|//).*", "", last).rstrip()
    deeper = _white(last) + unit
    if place.is_python:
        return {deeper} if code.endswith(":") else enclosing
    if code.endswith(("{", "(", "[")) and not re.match(r"\s*([\])}]|case\b|default\b)", first):
        return {deeper}
    if code.lstrip().startswith("- "):
        return enclosing | {_white(last) + "  ", deeper}
    return enclosing if code.endswith((";", "}")) else enclosing | {deeper, deeper + unit}


def _lines_of_code(place: Place, lines: list[str]) -> list[str]:
    """Those of the file's first lines that are code; in Python only those that begin a statement."""
    found, start = [], 0
    spans = [s for s in _scanned(place.before, place.name).spans if place.is_python or s.kind != "bracket"]
    for line in lines:
        if line.strip() and not any(span.holds(start) for span in spans):
            found.append(line)
        start += len(line) + 1
    return found


def _unit(text: str) -> str:
    """One level of the file's indentation."""
    steps: Counter[str] = Counter()
    white = ""
    for line in filter(str.strip, text.split("\n")):
        if (now := _white(line)) != white:
            if now.startswith(white):
                steps[now[len(white) :]] += 1
            white = now
    return steps.most_common(1)[0][0] if steps else "    "


def _white(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _own_lines(place: Place, shown: str) -> list[str]:
    """The lines that the suggestion completes or writes, without blank ones."""
    lines = (place.line + shown + place.rest).split("\n")
    return [line for line in (lines if shown.split("\n")[0].strip() else lines[1:]) if line.strip()]


def _lines_before(place: Place, shown: str) -> list[str]:
    """The lines above those."""
    lines = place.before.split("\n")
    return lines[:-1] if shown.split("\n")[0].strip() else lines


def _bare(line: str) -> str:
    """A line but for depth, blanks, quotes, `;` and a comment's mark, or a comment behind code."""
    code = re.sub(r"(?<=\S)\s+(#|//|/\*).*", "", line.strip())
    return re.sub(r"[\s\"'`;]|^\s*(#|//+|/?\*+)", "", code)


def _says_something(bare: str) -> bool:
    return len(bare) > 2 and re.search(r"[^\W\d_]", bare) is not None and bare not in _KEYWORDS
