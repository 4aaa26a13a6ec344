"""What the commands without an editor share: their settings, their engine, their output."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsp.commands.exits import UsageError
from lsp.log import set_up_logging
from lsp.session.secret_files import may_hold_secrets, refusal
from lsp.session.settings import (
    Configuration,
    Settings,
    SettingsLayer,
    configure,
    find_project_root,
    misfit,
    standard_layers,
)
from model.assistant.suggestion import Suggestions
from model.factory import load_assistant

if TYPE_CHECKING:
    from model.assistant.assistant import Assistant

_OPTIONS = ("model", "reuse", "max_tokens", "temperature", "seed")


def current_folder() -> Path:
    try:
        return Path.cwd()
    except OSError as error:
        raise UsageError("The current folder is gone; change to one that exists.") from error


def configuration_for(folder: Path, options: argparse.Namespace | None = None) -> Configuration:
    """The settings that count in a folder, the command line's over all others. Problems go to standard error."""
    layers, problems = standard_layers(find_project_root(folder.resolve()))
    given = {name: value for name in _OPTIONS if (value := getattr(options, name, None)) is not None}
    command_line = SettingsLayer("the command line", given)
    for name, value in given.items():
        if (wanted := misfit(name, value)) is not None:
            raise UsageError(f"--{name.replace('_', '-')} must be {wanted}, not {value!r}.")
    configuration = configure([*layers, command_line], problems)
    set_up_logging(configuration.settings.log_level, configuration.settings.log_file)
    return configuration


def warn(configuration: Configuration) -> None:
    for problem in configuration.problems:
        say(problem)


def say(message: str) -> None:
    """A line to standard error, which is not the answer."""
    sys.stderr.write(f"keyturn: {message}\n")


def refuse_secrets(path: Path, settings: Settings) -> None:
    """Before a file is read: one that may hold secrets needs the user's leave, by whatever name it goes."""
    if not settings.secret_files and any(
        may_hold_secrets(str(name), None) for name in (path.absolute(), path.resolve())
    ):
        raise UsageError(refusal(str(path)))


def load(settings: Settings) -> Assistant:
    """Load the engine; what it has to say meanwhile goes to standard error."""
    return load_assistant(settings.for_engine(), notice=say)


def answer_as_json(request_id: object, answer: Suggestions) -> dict[str, Any]:
    """The object that `complete --json` and `complete --batch` print: the first suggestion, and what it cost."""
    completion = answer.completion
    suggestion = answer.items[0] if answer.items else None
    return {
        "id": request_id,
        "text": suggestion.text if suggestion else "",
        "logprob": _rounded(completion.logprob),
        "tokens": [
            {"id": token.id, "start": token.start, "end": token.end, "logprob": _rounded(token.logprob)}
            for token in (suggestion.tokens if suggestion else ())
        ],
        "counts": vars(completion.counts),
        "timings_ms": completion.timings_ms.rounded(),
    }


def _rounded(logprob: float | None) -> float | None:
    return None if logprob is None else round(logprob, 6)


def write_line(line: str) -> None:
    """One line to standard output, at once, in UTF-8 whatever the terminal thinks."""
    sys.stdout.flush()
    sys.stdout.buffer.write(line.encode("utf-8", errors="replace") + b"\n")
    sys.stdout.buffer.flush()
