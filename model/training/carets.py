"""The places of the evaluation: carets in code that the model has never seen, and edits that came before."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ast_tools.languages import language_for
from ast_tools.text import Edit, Text
from ast_tools.tree import SyntaxTree
from model.errors import ModelError
from model.training.corpus import CorpusFile

SEED = 20

KINDS = ("line start", "block start", "after .", "after (", "after =", "after import")

_MARKS = {"after .": r"\w\.(?=\w)", "after (": r"\w\((?=\S)", "after =": r"[^=!<>:+\-*/%&|^]= ?(?=[^=\s])"}
_IMPORT = re.compile(r"^\s*(?:from\s+\S+\s+)?import (?=\w)")

MAX_ABOVE = 60
"""Lines above the caret among which an edit is made."""

MAX_EDITED = 8
"""Lines that an edit puts in, takes out or writes anew."""


@dataclass(frozen=True)
class Caret:
    """A place in a file, in bytes; its line goes on until `line_end`. `kind` is one of `KINDS`."""

    file: CorpusFile
    data: bytes
    offset: int
    line_end: int
    kind: str

    @property
    def truth(self) -> str:
        """What stands between the caret and the line's end, without white space at its end."""
        return self.data[self.offset : self.line_end].decode().rstrip()

    @property
    def is_behind_indentation(self) -> bool:
        """Whether blanks are in front of it on its line, and nothing else."""
        line = self.data[self.data.rfind(b"\n", 0, self.offset) + 1 : self.offset]
        return bool(line) and not line.strip()

    def at_column_0(self) -> Caret:
        """The same line asked for at its begin."""
        return replace(self, offset=self.data.rfind(b"\n", 0, self.offset) + 1)

    @property
    def other_lines(self) -> list[bytes]:
        """The file's lines but the caret's own: what once stood above may be taken from them and tells nothing."""
        start = self.data.rfind(b"\n", 0, self.offset) + 1
        return (self.data[:start] + self.data[self.line_end + 1 :]).splitlines(keepends=True)


@dataclass(frozen=True)
class EditBefore:
    """What happened just before: the file as it was, where the caret stood then, and the edit that made it today's."""

    data: bytes
    caret: int
    edit: Edit
    kind: str


def draw_carets(files: Sequence[CorpusFile], count: int, seed: int = SEED) -> list[Caret]:
    """`count` carets in lines of code, of every package and every kind as many as of every other, where it has them.

    Raises `ModelError` when the files have no such places.
    """
    rng = random.Random(seed)
    packages = sorted({file.package for file in files})
    texts = {package: [file for file in files if file.package == package] for package in packages}
    codes: dict[str, _Code] = {}
    carets: dict[tuple[str, int], Caret] = {}
    for _ in range(count * 100):
        if len(carets) == count or not packages:
            break
        package, kind = rng.choice(packages), rng.choice(KINDS)
        file = rng.choices(texts[package], weights=[len(file.text) for file in texts[package]])[0]
        if file.path not in codes:
            codes[file.path] = _Code(file)
        caret = codes[file.path].draw(kind, rng)
        if caret is not None:
            carets.setdefault((file.path, caret.offset), caret)
    if len(carets) < count:
        raise ModelError(f"Only {len(carets)} carets were found in {len(files)} files; ask for fewer.")
    return list(carets.values())


def edit_before(caret: Caret, rng: random.Random) -> EditBefore:
    """A real edit above the caret's line: lines were put in, taken out or written anew, within `MAX_ABOVE` lines."""
    data = caret.data
    starts = [0, *(match.end() for match in re.finditer(rb"\n", data))]
    line = sum(start <= caret.offset for start in starts) - 1
    first = rng.randint(max(0, line - MAX_ABOVE), max(0, line - 1))
    last = min(line, first + rng.randint(1, MAX_EDITED))
    start, end = starts[first], starts[last]
    others = caret.other_lines or [b"\n"]
    elsewhere = rng.randrange(len(others))
    foreign = b"".join(others[elsewhere : elsewhere + rng.randint(1, MAX_EDITED)])
    kinds = ("insertion", "deletion", "replacement") if data[start:end] not in (b"", foreign) else ("deletion",)
    kind = rng.choice(kinds)
    if kind == "insertion":
        before, edit = data[:start] + data[end:], Edit(start, start, data[start:end])
    elif kind == "deletion":
        before, edit = data[:start] + foreign + data[start:], Edit(start, start + len(foreign), b"")
    else:
        before, edit = data[:start] + foreign + data[end:], Edit(start, start + len(foreign), data[start:end])
    return EditBefore(before, caret.offset + len(before) - len(data), edit, kind)


class _Code:
    """One file's lines of code: not in strings, not in comments, not blank."""

    def __init__(self, file: CorpusFile) -> None:
        self.file, self.data = file, file.text.encode()
        language = language_for("x.py")
        assert language is not None
        self._tree = SyntaxTree.parse(Text.from_str(file.text), language)
        self._places: dict[str, list[tuple[int, int]]] = {}

    def draw(self, kind: str, rng: random.Random) -> Caret | None:
        """A caret of the kind, None where the file has no such place."""
        if kind not in self._places:
            self._places[kind] = self._find(kind)
        places = self._places[kind]
        if not places:
            return None
        offset, line_end = rng.choice(places)
        return Caret(self.file, self.data, offset, line_end, kind)

    def _find(self, kind: str) -> list[tuple[int, int]]:
        found = []
        start, opened = 0, False
        for line in self.data.split(b"\n"):
            end, text = start + len(line), line.decode()
            indent = start + len(line) - len(line.lstrip())
            code = bool(line.strip()) and not line.lstrip().startswith(b"#") and not self._is_prose(indent)
            if code:
                for offset in _offsets(kind, text, opened):
                    at = start + len(text[:offset].encode())
                    if not self._is_prose(at):
                        found.append((at, end))
                opened = text.rstrip().endswith(":")
            start = end + 1
        return found

    def _is_prose(self, offset: int) -> bool:
        return (
            self._tree is None
            or self._tree.is_in_string_or_comment(offset)
            or self.data.startswith((b'"""', b"'''", b'r"""'), offset)
        )


def _offsets(kind: str, line: str, opened: bool) -> list[int]:
    """Character offsets of the kind's places in a line of code; `opened` if the line before it ended with a colon."""
    if kind == "line start" or kind == "block start":
        return [len(line) - len(line.lstrip())] if opened == (kind == "block start") else []
    if kind == "after import":
        found = _IMPORT.match(line)
        return [found.end()] if found else []
    if line.lstrip().startswith(("import ", "from ")):
        return []
    return [match.end() for match in re.finditer(_MARKS[kind], line) if line[match.end() :].strip()]
