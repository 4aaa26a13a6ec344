"""`keyturn complete --batch REQUESTS.jsonl`: many completions, one JSON request and one JSON answer a line, in order.

A request has `id`, `prefix`, `suffix` and maybe `document`, `language`, `max_tokens` and `stop`. Lines that name the
same document share its cache: the text of each is taken for an edit of the one before. A bad line is answered by its
`id` and an `error`, and the rest goes on.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any, get_args

from ast_tools.languages import Language, language_for
from ast_tools.text import Text, diff
from lsp.commands.exits import DONE, ENGINE_FAILED, NO, UsageError
from lsp.commands.headless import answer_as_json, configuration_for, current_folder, load, warn, write_line
from lsp.session.documents import path_of
from lsp.session.secret_files import may_hold_secrets, refusal
from lsp.session.settings import Settings
from model.engine_completer import MAX_DOCUMENTS
from model.errors import EngineError, KeyturnError, ModelError
from model.request import Stop
from model.snapshot import Snapshot

if TYPE_CHECKING:
    from model.assistant.assistant import Assistant

logger = logging.getLogger(__name__)

_MAX_TOKENS = 4096


class BadLineError(Exception):
    """A line that is not a request; the message says what is wrong with it."""


@dataclass(frozen=True)
class BatchRequest:
    """One line of the file, checked."""

    id: object
    prefix: str
    suffix: str
    document: str | None
    language: Language | None
    max_tokens: int
    stop: Stop


def run(options: argparse.Namespace) -> int:
    num_lines = num_bad = 0
    with _opened(options.batch) as lines:
        configuration = configuration_for(current_folder(), options)
        warn(configuration)
        batch = Batch(load(configuration.settings), configuration.settings, options.stop)
        for answer in batch.answers(lines):
            write_line(json.dumps(answer, ensure_ascii=False))
            num_lines, num_bad = num_lines + 1, num_bad + ("error" in answer)
    if batch.has_failed:
        return ENGINE_FAILED
    return NO if num_lines and num_bad == num_lines else DONE


@contextmanager
def _opened(name: str) -> Iterator[IO[bytes]]:
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        file = open(name, "rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror or error}.") from error
    with file:
        yield file


class Batch:
    """Answers lines with one engine, and keeps as many of the latest documents that they name as the engine does.

    `has_failed` once the engine could not answer a line that was right.
    """

    def __init__(self, assistant: Assistant, settings: Settings, stop: Stop) -> None:
        self._assistant = assistant
        self._settings = settings
        self._stop = stop
        self._documents: OrderedDict[str, Snapshot] = OrderedDict()
        self.has_failed = False

    def answers(self, lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield self._answer(line, number)

    def _answer(self, line: bytes, number: int) -> dict[str, Any]:
        request_id: object = None
        try:
            raw = _parse(line, number)
            request_id = raw.get("id")
            return self._complete(_check(raw, self._settings, self._stop), number)
        except (BadLineError, KeyturnError) as error:
            self.has_failed |= isinstance(error, (EngineError, ModelError))
            return {"id": request_id, "error": str(error)}
        except Exception as error:
            self.has_failed = True
            logger.exception("Line %d failed.", number)
            return {"id": request_id, "error": f"keyturn failed: {error or type(error).__name__}"}

    def _complete(self, request: BatchRequest, number: int) -> dict[str, Any]:
        uri = f"batch:{number}" if request.document is None else f"document:{request.document}"
        prefix = Text.from_str(request.prefix)
        snapshot = self._edited(uri, Text.from_str(request.prefix + request.suffix), request.language)
        asked = self._settings.request(snapshot, len(prefix))
        try:
            answer = self._assistant.suggest(replace(asked, stop=request.stop, max_tokens=request.max_tokens))
        finally:
            if request.document is None:
                self._forget(uri)
            else:
                self._documents[uri] = snapshot
                self._documents.move_to_end(uri)
            while len(self._documents) > MAX_DOCUMENTS:
                self._forget(self._documents.popitem(last=False)[0])
        return answer_as_json(request.id, answer)

    def _forget(self, uri: str) -> None:
        self._assistant.forget(uri)

    def _edited(self, uri: str, text: Text, language: Language | None) -> Snapshot:
        """The document with a new text, as an edit of the text it had."""
        before = self._documents.get(uri)
        if before is None:
            return Snapshot(uri, text, language=language)
        edits = tuple(diff(before.text.data, text.data))
        return Snapshot(uri, text, before.revision + len(edits), edits, language=language)


def _parse(line: bytes, number: int) -> dict[str, Any]:
    try:
        raw = json.loads(line.decode("utf-8-sig"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BadLineError(f"Line {number} is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise BadLineError(f"Line {number} is not a JSON object.")
    return raw


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no value of JSON")


def _check(raw: dict[str, Any], settings: Settings, stop: Stop) -> BatchRequest:
    language = _field(raw, "language", str, None)
    document = _field(raw, "document", str, None)
    if not settings.secret_files and any(
        may_hold_secrets(name, language) for name in (document, path_of(document or ""))
    ):
        raise BadLineError(refusal(document))
    asked_stop = stop if raw.get("stop") is None else raw["stop"]
    if asked_stop not in get_args(Stop):
        raise BadLineError('`stop` must be "line", "block" or "none".')
    asked_tokens = _field(raw, "max_tokens", int, settings.max_tokens)
    if not 1 <= asked_tokens <= _MAX_TOKENS:
        raise BadLineError(f"`max_tokens` must be from 1 to {_MAX_TOKENS}.")
    return BatchRequest(
        id=raw.get("id"),
        prefix=_field(raw, "prefix", str),
        suffix=_field(raw, "suffix", str, ""),
        document=document,
        language=None if language is None else language_for(None, language),
        max_tokens=asked_tokens,
        stop=asked_stop,
    )


_REQUIRED = object()


def _field(raw: dict[str, Any], name: str, kind: type, default: Any = _REQUIRED) -> Any:
    value = raw.get(name)
    if value is None:
        if default is _REQUIRED:
            raise BadLineError(f"`{name}` is missing.")
        return default
    if not isinstance(value, kind) or isinstance(value, bool):
        raise BadLineError(f"`{name}` must be {'a whole number' if kind is int else 'a string'}.")
    return value
