"""Carets for `benchmarks.manners`: in Python's standard library and in samples of other languages."""

from __future__ import annotations

import random
import re
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.manners_measures import Place, fault
from benchmarks.scanning import Span, scan

SEED = 25
SAMPLES = Path(__file__).with_name("samples")

MAX_BODY = 20
"""Lines of a body that is taken out, at most."""

MAX_TRIES = 200
"""Lines of a file that are looked at for a caret of one kind."""

_LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "encodings", "pydoc_data", "__pycache__"}
_TABLES = re.compile(r"_sysconfigdata.*|entities|stringprep|token|keyword|opcode|sre_constants|__phello__|this")
_BYTES = range(2_000, 150_000)


def in_standard_library(count: int) -> list[Place]:
    """Seeded carets in the standard library of the Python that runs."""
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = [
        path
        for path in sorted(root.rglob("*.py"))
        if not _LEFT_OUT.intersection(path.relative_to(root).parts)
        and not _TABLES.fullmatch(path.stem)
        and path.stat().st_size in _BYTES
    ]
    return draw([(path.relative_to(root).as_posix(), path) for path in paths], count)


def in_samples(count: int) -> list[Place]:
    """Seeded carets in the sample files."""
    return draw([(path.name, path) for path in sorted(SAMPLES.iterdir())], count)


def draw(files: Sequence[tuple[str, Path]], count: int) -> list[Place]:
    """Carets of every kind and in every file as many as of every other, as far as there are such places."""
    rng = random.Random(SEED)
    found: dict[tuple[str, str, str], Place] = {}
    kinds: list[str] = []
    deck: list[tuple[str, Path]] = []
    for _ in range(count * 20):
        if len(found) == count:
            break
        kinds = kinds or rng.sample(list(KINDS), len(KINDS))
        deck = deck or rng.sample(files, len(files))
        kind, (name, path) = kinds.pop(), deck.pop()
        place = _find(kind, name, path, rng)
        if place is None:
            kinds.append(kind)  # the next file may have such a place
        else:
            found.setdefault((name, place.before, kind), place)
    return list(found.values())


def _find(kind: str, name: str, path: Path, rng: random.Random) -> Place | None:
    try:
        source = Source(name, path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        return None
    if fault(Place(name, source.text, ""), ""):
        return None  # a file that is broken on purpose, or of Python 2
    for index in rng.choices(range(len(source.lines)), k=MAX_TRIES):
        cut = KINDS[kind](source, index, rng)
        if cut is not None:
            start, end, put_in = cut
            return Place(name, source.text[:start] + put_in, source.text[end:], source.text[start:end], kind)
    return None


Cut = tuple[int, int, str]
"""What is taken out, and the white space that an editor puts in there."""


class Source:
    """A whole file, by lines."""

    def __init__(self, name: str, text: str) -> None:
        self.is_python, self.is_text = name.endswith(".py"), name.endswith((".yaml", ".md"))
        self.text, self.scan = text, scan(text, name)
        self.lines: list[tuple[int, int]] = []
        start = 0
        for line in text.split("\n"):
            self.lines.append((start, start + len(line)))
            start += len(line) + 1

    def line(self, index: int) -> str:
        start, end = self.lines[index]
        return self.text[start:end]

    def indent(self, index: int) -> str:
        line = self.line(index)
        return line[: len(line) - len(line.lstrip())]

    def is_blank(self, index: int) -> bool:
        return not self.line(index).strip()

    def is_code(self, index: int) -> bool:
        """Whether the line begins and ends in code, and has some."""
        start, end = self.lines[index]
        first = start + len(self.indent(index))
        return not self.is_blank(index) and not any(map(self._prose, (first, first + 1, end)))

    def is_whole(self, index: int) -> bool:
        """Whether a statement ends with the line, as far as brackets tell; it may be a docstring."""
        start, end = self.lines[index]
        is_docstring = self.is_python and self.line(index).endswith('"""') and not self._prose(end)
        is_continued = self.line(index).endswith("\\")
        return (
            (self.is_code(index) or is_docstring)
            and not is_continued
            and not [*self._arguments(start), *self._arguments(end)]
        )

    def is_between(self, index: int) -> bool:
        """Whether the line is blank, and stands between statements."""
        start = self.lines[index][0]
        return self.is_blank(index) and not self._prose(start) and not self._arguments(start)

    def long_prose(self, offset: int) -> list[Span]:
        """Comments and strings of several lines that the offset stands in, and line comments."""
        return [s for s in self._prose(offset) if s.kind == "line comment" or len(s.opener) > 1 or s.opener == "`"]

    def _prose(self, offset: int) -> list[Span]:
        return [span for span in self.scan.at(offset) if span.kind != "bracket"]

    def _arguments(self, offset: int) -> list[Span]:
        return [s for s in self.scan.at(offset) if s.kind == "bracket" and (self.is_python or s.opener in "([")]


def _body(source: Source, index: int) -> tuple[int, int] | None:
    """Where the body of the block begins that the line opens, at the line's end, and where it ends."""
    end = source.lines[index][1]
    if not source.is_whole(index) or source.is_text:
        return None
    last = index
    if source.is_python and source.line(index).rstrip().endswith(":"):
        deeper = len(source.indent(index))
        for below in range(index + 1, min(index + MAX_BODY + 2, len(source.lines))):
            if source.is_blank(below):
                continue
            if len(source.indent(below)) <= deeper:
                break
            last = below
    elif source.line(index).endswith("{"):
        [block] = [span for span in source.scan.spans if span.start == end - 1]
        last = index + source.text.count("\n", end, block.closed_at) - 1
    if not index < last <= index + MAX_BODY or not source.is_whole(last):
        return None
    return end, source.lines[last][1]


def opener(source: Source, index: int, rng: random.Random) -> Cut | None:
    """Behind what opens a block, whose body is taken out."""
    body = _body(source, index)
    return body and (*body, "")


def empty_body(source: Source, index: int, rng: random.Random) -> Cut | None:
    """The same on a new line, as deep as the body was."""
    body = _body(source, index)
    return body and (*body, "\n" + source.indent(index + 1))


def rest_of_line(source: Source, index: int, rng: random.Random) -> Cut | None:
    """Within a line, whose rest is taken out."""
    start, end = source.lines[index]
    first = start + len(source.indent(index)) + 1
    if not (source.is_code(index) or source.is_text) or end - first < 3:
        return None
    return rng.randrange(first, end - 1), end, ""


def closer_kept(source: Source, index: int, rng: random.Random) -> Cut | None:
    """Within a pair of brackets on one line, whose rest is taken out, as where an editor has closed the bracket."""
    start, end = source.lines[index]
    if not source.is_code(index):
        return None
    pairs = [
        (span.start + 1, span.closed_at)
        for span in source.scan.spans
        if span.kind == "bracket" and start <= span.start and span.closed_at is not None and span.closed_at < end
    ]
    pairs = [(first, last) for first, last in pairs if last - first > 1]
    if not pairs:
        return None
    first, last = rng.choice(pairs)
    return rng.randrange(first, last - 1), last, ""


def prose(source: Source, index: int, rng: random.Random) -> Cut | None:
    """In a docstring or a comment, at the line's end or with the line's rest taken out."""
    start, end = source.lines[index]
    begun = start + len(source.indent(index))
    middle = (begun + end) // 2
    if end - begun < 10 or not source.long_prose(middle) or not source.long_prose(end):
        return None
    return (rng.randrange(middle, end) if rng.random() < 0.5 else end), end, ""


def statement_end(source: Source, index: int, rng: random.Random) -> Cut | None:
    """Behind a whole statement, nothing taken out."""
    end = source.lines[index][1]
    return (end, end, "") if source.is_whole(index) or (source.is_text and not source.is_blank(index)) else None


def empty_line(source: Source, index: int, rng: random.Random) -> Cut | None:
    """On an empty line between statements, as deep as the one below."""
    below = next((i for i in range(index, len(source.lines)) if not source.is_blank(i)), None)
    if below is None or not source.is_between(index):
        return None
    return (*source.lines[index], source.indent(below))


def column_0(source: Source, index: int, rng: random.Random) -> Cut | None:
    """On an empty line between statements, at its beginning."""
    return (*source.lines[index], "") if source.is_between(index) else None


def new_line(source: Source, index: int, rng: random.Random) -> Cut | None:
    """On a new line below a statement, as deep as that, nothing taken out."""
    end = source.lines[index][1]
    if not source.is_whole(index) or source.line(index).rstrip().endswith((":", "{")):
        return None
    return end, end, "\n" + source.indent(index)


def file_end(source: Source, index: int, rng: random.Random) -> Cut | None:
    """Everything behind the line is taken out, or also a part of the line."""
    start, end = source.lines[index]
    begun = start + len(source.indent(index)) + 1
    if index < 5 or not (source.is_code(index) or source.is_text) or end - begun < 3:
        return None
    return (rng.randrange(begun, end) if rng.random() < 0.5 else end), len(source.text), ""


KINDS: dict[str, Callable[[Source, int, random.Random], Cut | None]] = {
    "opener": opener,
    "empty body": empty_body,
    "rest of line": rest_of_line,
    "closer kept": closer_kept,
    "prose": prose,
    "statement's end": statement_end,
    "new line": new_line,
    "empty line": empty_line,
    "column 0": column_0,
    "file's end": file_end,
}
