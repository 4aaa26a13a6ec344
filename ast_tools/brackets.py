"""Brackets of generated text: a small lexer that knows strings and line comments, and no grammar.

Generated text is a fragment, looked at after every token; a parser would have to see the whole file each time.
"""

from __future__ import annotations

from dataclasses import dataclass

from ast_tools.languages import Language

_PAIRS = {")": "(", "]": "[", "}": "{"}


@dataclass(frozen=True)
class Balance:
    """Brackets left open, and the index of the first closing one that nothing in the text opened."""

    num_open: int
    first_unopened: int | None


class Brackets:
    """Follows the brackets of one block line by line, beginning just inside its opening brace."""

    def __init__(self, language: Language | None) -> None:
        self._quotes = language.quotes if language else "\"'`"
        self._comment = language.line_comment if language else "//"
        self._stack: list[str] = ["{"]

    def closes_at(self, line: str) -> int | None:
        """The index in the line of the brace that closes the block, None while it is open."""
        for index, char in _code(line, self._quotes, self._comment):
            if char in _PAIRS.values():
                self._stack.append(char)
            elif char in _PAIRS and self._stack and self._stack[-1] == _PAIRS[char]:
                self._stack.pop()
                if not self._stack:
                    return index
        return None


def balance(text: str, quotes: str = "\"'`") -> Balance:
    """The balance of one line of text."""
    stack: list[str] = []
    first_unopened: int | None = None
    for index, char in _code(text, quotes, ""):
        if char in _PAIRS.values():
            stack.append(char)
        elif char in _PAIRS:
            if stack and stack[-1] == _PAIRS[char]:
                stack.pop()
            elif first_unopened is None:
                first_unopened = index
    return Balance(len(stack), first_unopened)


def _code(line: str, quotes: str, comment: str) -> list[tuple[int, str]]:
    """(index, character) of a line's brackets outside strings and comments; an unclosed string is no string."""
    found: list[tuple[int, str]] = []
    index = 0
    while index < len(line):
        char = line[index]
        if comment and line.startswith(comment, index):
            break
        if char in quotes and (end := _string_end(line, index)) is not None:
            index = end
        elif char in "()[]{}":
            found.append((index, char))
        index += 1
    return found


def _string_end(line: str, start: int) -> int | None:
    """Index of the quote that closes the string begun at `start`, None if the line has none."""
    index = start + 1
    while index < len(line):
        if line[index] == "\\":
            index += 1
        elif line[index] == line[start]:
            return index
        index += 1
    return None
