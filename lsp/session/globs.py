"""Patterns on files, as `.gitignore` files and editors write them.

A pattern is on the path within a folder of the project, as in git. Besides, `{a,b}` stands for either, `./` for that
folder and `~` for a home folder, and a pattern that begins with `/` is on the whole path as well. A file outside of
every folder is matched by its whole path.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import bracex
from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

MAX_ALTERNATIVES = 100
"""That the braces of one pattern may stand for."""

MAX_CHARS = 1000


@dataclass(frozen=True)
class Globs:
    """A list of patterns. As in git the last one that fits a file decides, and one with `!` takes others back."""

    within: GitIgnoreSpec
    whole: GitIgnoreSpec

    def fit(self, path: str, folders: Iterable[Path] = ()) -> bool:
        """Whether they mean a file; `folders` are those of the project."""
        file = Path(os.path.normpath(path))
        names = [str(file.relative_to(folder)) for folder in folders if file.is_relative_to(folder)]
        return self.whole.match_file(file) or any(self.within.match_file(name) for name in names or [str(file)])


@lru_cache(maxsize=64)
def compiled(patterns: tuple[str, ...]) -> Globs:
    """The patterns; those that no file can fit are passed over."""
    within, whole = [], []
    for pattern in patterns:
        for alternative in _alternatives(pattern):
            placed, is_within, is_whole = _placed(alternative)
            if (rule := _rule(placed)) is not None:
                within += [rule] if is_within else []
                whole += [rule] if is_whole else []
    return Globs(GitIgnoreSpec(within, backend="simple"), GitIgnoreSpec(whole, backend="simple"))


def unfit(patterns: Iterable[str]) -> Iterator[str]:
    """Those that no file can fit, or whose braces stand for something that no file can fit."""
    for pattern in patterns:
        alternatives = _alternatives(pattern)
        if not alternatives or any(_rule(_placed(alternative)[0]) is None for alternative in alternatives):
            yield pattern


def _alternatives(pattern: str) -> list[str]:
    """What the braces stand for; nothing if they are too many, or do not match."""
    braces = re.sub(r"\\.", "", pattern)
    if len(pattern) > MAX_CHARS or braces.count("{") != braces.count("}"):
        return []
    try:
        return bracex.expand(pattern.strip(), keep_escapes=True, limit=MAX_ALTERNATIVES)
    except (bracex.ExpansionLimitException, RecursionError):
        return []


def _placed(pattern: str) -> tuple[str, bool, bool]:
    """The pattern in git's words, whether it is on the path within a folder, and whether on the whole path."""
    sign, body = ("!", pattern[1:]) if pattern.startswith("!") else ("", pattern)
    if body.startswith("./"):
        return sign + body[1:], True, False
    head, slash, tail = body.partition("/")
    if head.startswith("~") and (home := _home(head)) != head:
        return sign + GitIgnoreSpecPattern.escape(home) + slash + tail, False, True
    return pattern, True, bool(sign) or body.startswith("/")


def _home(name: str) -> str:
    """The folder that `~` or `~name` stands for; the name itself if there is none."""
    try:
        return os.path.expanduser(name)
    except ValueError:  # characters that no name has
        return name


def _rule(pattern: str) -> GitIgnoreSpecPattern | None:
    """None for a pattern that no file can fit."""
    body = pattern.removeprefix("!").removeprefix("/").removesuffix("/")
    if any(part in ("", ".", "..") for part in body.split("/")):
        return None
    try:
        with warnings.catch_warnings(action="error", category=FutureWarning):
            rule = GitIgnoreSpecPattern(pattern)
    except (ValueError, FutureWarning, re.error):
        return None
    return None if rule.include is None else rule
