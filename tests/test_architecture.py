"""docs/architecture.md names every file, in its room, and no file that is gone."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FLOORS = ("ast_tools", "model", "lsp")


def named() -> dict[str, list[str]]:
    """Room → the files that the code map has there."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    found: dict[str, list[str]] = {}
    room = ""
    for line in page.partition("## Code map")[2].partition("\n## ")[0].splitlines():
        if heading := re.fullmatch(r"    (\S+)/", line):
            room = heading[1]
        elif entry := re.match(r"      (\w+\.py) +\S", line):
            found.setdefault(room, []).append(entry[1])
    return found


def existing() -> dict[str, list[str]]:
    """Room → its files. A package's own `__init__.py` says what the room is for, and needs no line."""
    found: dict[str, list[str]] = {}
    for path in (path for floor in FLOORS for path in (ROOT / floor).rglob("*.py")):
        if path.name != "__init__.py":
            found.setdefault(path.parent.relative_to(ROOT).as_posix(), []).append(path.name)
    return found


def test_the_code_map_names_every_file_once() -> None:
    assert {room: sorted(files) for room, files in named().items()} == {
        room: sorted(files) for room, files in existing().items()
    }


def test_every_path_on_the_page_exists() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for path in re.findall(r"`((?:ast_tools|model|lsp|tests|editors|docs)/[\w./]+)`", page):
        assert (ROOT / path).exists(), path
