"""`keyturn complete FILE:LINE:COLUMN`: one completion at a caret, without an editor."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from ast_tools.languages import language_for
from ast_tools.text import PositionEncoding, Text
from lsp.commands.exits import DONE, UsageError
from lsp.commands.headless import answer_as_json, configuration_for, load, refuse_secrets, say, warn, write_line
from model.snapshot import Snapshot

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_COUNTED = "; the first is 1"


def run(options: argparse.Namespace) -> int:
    path, line, column = _target(options.target)
    configuration = configuration_for(path.parent, options)
    warn(configuration)
    refuse_secrets(path, configuration.settings)
    text = _read(path)
    caret = _caret(text, path, line, column)
    assistant = load(configuration.settings)
    snapshot = Snapshot(path.resolve().as_uri(), text, path=str(path), language=language_for(str(path)))
    request = replace(configuration.settings.request(snapshot, caret), stop=options.stop)
    answer = assistant.suggest(request)
    if not options.json:
        if answer.items:
            write_line(answer.items[0].text)
        else:
            say("There is nothing to suggest here.")
        return DONE
    at_line, at_column = text.position_at(caret, PositionEncoding.UTF16)
    found = assistant.describe()
    position = {"line": at_line, "character": at_column}
    write_line(
        json.dumps(
            answer_as_json(options.target, answer)
            | {
                "range": {"start": position, "end": position},
                "model": found.model,
                "engine": found.engine,
            },
            ensure_ascii=False,
        )
    )
    return DONE


def _target(target: str) -> tuple[Path, int, int]:
    file, *numbers = target.rsplit(":", 2)
    if not file or len(numbers) != 2 or not all(number.isascii() and number.isdecimal() for number in numbers):
        raise UsageError(f"The caret is given as FILE:LINE:COLUMN, for example main.py:12:5, not {target!r}.")
    return Path(file), int(numbers[0]), int(numbers[1])


def _read(path: Path) -> Text:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error
    data = data.removeprefix(_BYTE_ORDER_MARK)
    try:
        content = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a text file in UTF-8.") from error
    if "\0" in content:
        raise UsageError(f"{path} is a binary file; there is nothing to complete in it.")
    return Text.from_str(content)


def _caret(text: Text, path: Path, line: int, column: int) -> int:
    """The byte offset of a 1-based line and column; a column is a character, as editors show it."""
    if not 1 <= line <= text.num_lines:
        raise UsageError(f"{path} has {text.num_lines} lines; there is no line {line}{_COUNTED if line < 1 else ''}.")
    length = len(text.line(line - 1))
    if not 1 <= column <= length + 1:
        hint = _COUNTED if column < 1 else ""
        raise UsageError(f"Line {line} of {path} ends at column {length + 1}; there is no column {column}{hint}.")
    return text.offset_at(line - 1, column - 1, PositionEncoding.UTF32)
