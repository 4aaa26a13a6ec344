"""A text that was cut out of a generated one and changed, and knows where each of its characters came from.

What is known about a generated text is known by its tokens: how sure the model was of each. After cuts and
re-indentation the origins tell which bytes of the text to show are which token's.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class TracedText:
    """A text and the origin of each character: its index in the generated text, None for one that was put in.

    text     what is shown
    origins  as many as the text has characters; those that are not None rise
    """

    text: str
    origins: tuple[int | None, ...]

    @classmethod
    def of(cls, generated: str) -> TracedText:
        """A generated text as it is."""
        return cls(generated, tuple(range(len(generated))))

    @classmethod
    def put_in(cls, text: str) -> TracedText:
        """A text that was not generated."""
        return cls(text, (None,) * len(text))

    def __str__(self) -> str:
        return self.text

    def __len__(self) -> int:
        """Characters."""
        return len(self.text)

    def __getitem__(self, part: slice) -> TracedText:
        return TracedText(self.text[part], self.origins[part])

    def __add__(self, other: TracedText | str) -> TracedText:
        """Both, the other behind. A plain string is put in; a traced text is from further on in the generated text."""
        if isinstance(other, str):
            other = TracedText.put_in(other)
        return TracedText(self.text + other.text, self.origins + other.origins)

    def rstrip(self) -> TracedText:
        """The text without the white space at its end."""
        return self[: len(self.text.rstrip())]

    def sub(self, pattern: re.Pattern[str], new_of: Callable[[str], str]) -> TracedText:
        """The text with `new_of` put in for what the pattern finds; what would be replaced by itself stays."""
        text: list[str] = []
        origins: list[int | None] = []
        at = 0
        for found in pattern.finditer(self.text):
            new = new_of(found.group())
            if new != found.group():
                start, end = found.span()
                text += self.text[at:start], new
                origins += self.origins[at:start] + (None,) * len(new)
                at = end
        return TracedText("".join(text), tuple(origins)) + self[at:] if text else self

    def map_ends(self, ends: Sequence[int], generated: str) -> tuple[int, ...]:
        r"""Where the pieces of the generated text, its tokens for example, end in this text.

        ends       byte offsets in the generated text's UTF-8, rising, the last is its length. A piece may be empty,
                   and an end may lie inside a character.
        generated  the text that the origins point into
        returns    as many byte offsets in this text's UTF-8. They never fall, and the last is its length.

        A byte that was kept stays in its piece. A character that was put in belongs to the piece of the byte before it,
        at the beginning to the first piece. A piece of which nothing was kept is empty, or holds what was put in.

            generated   if x:\n··y          ends  5 6 8 9     if x: | \n | ·· | y
            this text   if x:\n→y           ends  5 7 7 8     if x: | \n→ |  | y
        """
        old_bounds, new_bounds = _byte_bounds(generated), _byte_bounds(self.text)
        kept = [(index, origin) for index, origin in enumerate(self.origins) if origin is not None]
        old_starts = [old_bounds[origin] for _, origin in kept]
        old_ends = [old_bounds[origin + 1] for _, origin in kept]
        new_starts = [new_bounds[index] for index, _ in kept] + [new_bounds[-1]]

        def mapped(end: int) -> int:
            num_whole = bisect_right(old_ends, end)  # kept characters, each with what was put in behind it
            num_bytes = max(0, end - old_starts[num_whole]) if num_whole < len(kept) else 0  # of the next one
            return new_starts[num_whole] + num_bytes

        return tuple(mapped(end) for end in ends)


def _byte_bounds(text: str) -> Sequence[int]:
    """The byte offset of each character in UTF-8, and the text's length in bytes."""
    if text.isascii():
        return range(len(text) + 1)
    return list(accumulate(map(_num_bytes, text), initial=0))


def _num_bytes(char: str) -> int:
    return 1 if char < "\x80" else 2 if char < "\u0800" else 3 if char < "\U00010000" else 4
