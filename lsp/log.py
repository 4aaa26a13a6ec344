"""Where log lines go: standard error, or a file. Standard output belongs to the protocol."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

_FLOORS = ("lsp", "model", "ast_tools")
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def set_up_logging(level: str, log_file: str | None) -> None:
    """Log keyturn's own messages from `level` on, others' from warnings on. May be called again."""
    root = logging.getLogger()
    handler, problem = _handler(log_file)
    handler.setFormatter(logging.Formatter(_FORMAT))
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    # pygls reports each unknown method itself; the protocol does so in its own words.
    logging.getLogger("pygls").setLevel(logging.ERROR)
    for floor in _FLOORS:
        logging.getLogger(floor).setLevel(level.upper())
    if problem:
        logging.getLogger(__name__).warning("%s", problem)


def _handler(log_file: str | None) -> tuple[logging.Handler, str]:
    if log_file is None:
        return logging.StreamHandler(sys.stderr), ""
    try:
        return logging.FileHandler(Path(log_file).expanduser(), encoding="utf-8", errors="backslashreplace"), ""
    except (OSError, RuntimeError) as error:  # RuntimeError: a home folder that is not known
        return logging.StreamHandler(sys.stderr), f"The log file cannot be written, logging to standard error: {error}"
