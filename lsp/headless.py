"""What the commands without an editor share: their settings, their engine, their output."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsp.config import Configuration, Layer, Settings, configure, find_project_root, misfit, standard_layers
from lsp.exits import UsageError
from lsp.log import set_up_logging
from model.engine import Completion, Sampling
from model.factory import load_completer

if TYPE_CHECKING:
    from model.factory import CompleterLike

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
    command_line = Layer("the command line", given)
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


def load(settings: Settings) -> CompleterLike:
    """Load the engine; what it has to say meanwhile goes to standard error."""
    return load_completer(settings.for_engine(), notice=say)


def sampling_of(settings: Settings) -> Sampling:
    return Sampling(temperature=settings.temperature, seed=settings.seed)


def answer_as_json(request_id: object, text: str, completion: Completion) -> dict[str, Any]:
    """The object that `complete --json` and `complete --batch` print."""
    return {
        "id": request_id,
        "text": text,
        "logprob": round(completion.logprob, 6),
        "tokens": vars(completion.tokens),
        "timings_ms": completion.timings_ms.rounded(),
    }


def write_line(line: str) -> None:
    """One line to standard output, at once, in UTF-8 whatever the terminal thinks."""
    sys.stdout.flush()
    sys.stdout.buffer.write(line.encode("utf-8", errors="replace") + b"\n")
    sys.stdout.buffer.flush()
