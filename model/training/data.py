"""Training sequences, each a function of the seed and its number: a run that resumes sees what it would have seen.

A sequence is packed from samples. Most are fill-in-the-middle in prefix-suffix-middle order,

    <|fim_prefix|> prefix <|fim_suffix|> suffix <|fim_middle|> middle <|endoftext|>

(Bavarian et al., "Efficient Training of Language Models to Fill in the Middle"), the rest plain text. Prefix, suffix
and middle are cut as text and tokenised apart, as a caret cuts them in an editor. A prefix that does not fit starts
at a line in the middle of its file, like the window of `model.prompt`.

The loss counts every token, a middle's `MIDDLE_WEIGHT` times. At this size the text around a middle teaches most of
what the model knows; alone it would leave the middles, a few percent of the tokens, almost unheard.

The token to be predicted at the suffix marker is the first of the middle, not the first of the suffix, which nobody
can know. The marker stands where the prefix ends, so this is plain left-to-right prediction; the middle marker then
only has to look at the suffix marker. Without it a model this small had not found the way back to the end of the
prefix after five million tokens.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from model.training.tokenizer import END, MIDDLE, PAD, PREFIX, SUFFIX, special_id

MIN_ROOM = 64
"""A sample is not started in less room than this."""

FIM_SHARE = 0.8
"""Part of the sequences that is made of fill-in-the-middle samples."""

SHORT_WINDOW = (MIN_ROOM, 320)
LONG_SHARE = 0.1
"""Most samples show a short window of their file: that a middle goes on where the prefix ended, far back behind the
suffix, has to be learned from many middles. With long windows alone a sequence has one or two, a fiftieth of its
tokens. Each long window takes all the room that is left in its sequence."""

MIDDLE_WEIGHT = 4.0
MAX_MIDDLE = 400
MAX_SUFFIX = 512
CHARS_PER_TOKEN = 6
"""More than any file has on average: a window of so many characters fills the sequence."""


@dataclass(frozen=True)
class Batch:
    """Sequences with their targets.

    ids       [sequences, tokens]
    targets   [sequences, tokens] the next token; at a suffix marker the first of the middle
    weights   [sequences, tokens] its part in the loss, 0 for padding
    """

    ids: NDArray[np.int64]
    targets: NDArray[np.int64]
    weights: NDArray[np.float32]


class Sampler:
    """Makes batches from texts."""

    def __init__(self, texts: Sequence[str], tokenizer: Tokenizer, seed: int = 0) -> None:
        self._texts = texts
        self._ends = list(accumulate(len(text) for text in texts))
        self._tokenizer = tokenizer
        self._seed = seed
        self._end, self._pad, self._prefix, self._suffix, self._middle = (
            special_id(tokenizer, name) for name in (END, PAD, PREFIX, SUFFIX, MIDDLE)
        )
        size = tokenizer.get_vocab_size()
        self._opens_line = [(tokenizer.id_to_token(i) or "").startswith(("Ċ", "č")) for i in range(size)]

    def batch(self, step: int, num_sequences: int, length: int) -> Batch:
        """The batch of a step; the same for the same arguments."""
        rng = random.Random(f"{self._seed}/{step}/{length}")
        rows = [self._sequence(rng, length + 1) for _ in range(num_sequences)]
        ids, targets = (np.array([row[i] for row in rows], dtype=np.int64) for i in (0, 1))
        weights = np.array([row[2] for row in rows], dtype=np.float32)
        return Batch(ids[:, :-1], targets[:, 1:], weights[:, 1:])

    def _sequence(self, rng: random.Random, length: int) -> tuple[list[int], list[int], list[float]]:
        """Ids; the same as targets, but where the suffix marker is answered by the middle; weights of the targets."""
        ids: list[int] = []
        targets: list[int] = []
        weights: list[float] = []
        fills = rng.random() < FIM_SHARE
        while length - len(ids) >= MIN_ROOM:
            room = length - len(ids)
            text = vary(self._pick(rng), rng)
            if fills:
                window = room if rng.random() < LONG_SHARE else min(room, rng.randint(*SHORT_WINDOW))
                sample, middle = self.fill_in_the_middle(text, window, rng)
            else:
                sample, middle = self.plain(text, room, rng), 0
            ids += sample
            targets += sample
            weights += [1.0] * (len(sample) - middle) + [MIDDLE_WEIGHT] * middle
            if middle:
                answer = len(ids) - len(sample) + sample.index(self._suffix) + 1
                targets[answer], weights[answer] = sample[-middle], MIDDLE_WEIGHT
        padding = length - len(ids)
        padded = [self._pad] * padding
        return ids + padded, targets + padded, weights + [0.0] * padding

    def _pick(self, rng: random.Random) -> str:
        """A file, by its share of the characters."""
        return self._texts[bisect(self._ends, rng.randrange(self._ends[-1]))]

    def plain(self, text: str, room: int, rng: random.Random) -> list[int]:
        """Text from a random line on, with the end marker if its end fits."""
        start = 0
        if len(text) > room * 3 and rng.random() < 0.8:
            start = text.rfind("\n", 0, rng.randrange(len(text) - room * 2)) + 1
        ids = [*self._encode(text[start : start + room * CHARS_PER_TOKEN]), self._end]
        return ids[:room]

    def fill_in_the_middle(self, text: str, room: int, rng: random.Random) -> tuple[list[int], int]:
        """A sample of at most `room` tokens, and how many tokens at its end are the middle and the end marker."""
        start, end = cut(text, rng)
        middle = self.middle(text[start:end])
        if len(middle) > room // 2:
            end = start + text[start:end].find("\n") if "\n" in text[start:end].strip("\n") else start
            middle = self.middle(text[start:end])[-(room // 2) :]
        budget = room - len(middle) - 3
        most = None if rng.random() < 0.5 else rng.randint(0, min(MAX_SUFFIX, budget // 2))
        return [*self.prompt(text, start, end, budget, most), *middle], len(middle)

    def prompt(self, text: str, start: int, end: int, budget: int, most_after: int | None = None) -> list[int]:
        """The text around a middle, at most `budget` tokens and the three markers.

        Without `most_after` the budget is divided as `model.prompt.Window` does it: a quarter for the text behind the
        middle, more where the text before it needs less.
        """
        reach = budget * CHARS_PER_TOKEN
        before = self._encode(text[max(0, start - reach) : start])
        after = self._encode(text[end : end + reach])
        after = after[: max(budget // 4, budget - len(before)) if most_after is None else most_after]
        before = self._window(before, budget - len(after), start <= reach)
        return [self._prefix, *before, self._suffix, *after, self._middle]

    def middle(self, text: str) -> list[int]:
        """The tokens of a middle, with the end marker."""
        return [*self._encode(text), self._end]

    def _window(self, ids: list[int], budget: int, whole: bool) -> list[int]:
        """The last tokens that fit, from a line's start on if one is near."""
        if whole and len(ids) <= budget:
            return ids
        first = max(0, len(ids) - budget)
        for i in range(first, min(first + 64, len(ids))):
            if self._opens_line[ids[i]]:
                return ids[i:]
        return ids[first:]

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids


def vary(text: str, rng: random.Random) -> str:
    """Some files get tabs for their indentation, some \\r\\n for their line ends: editors show such files, too."""
    luck = rng.random()
    if luck < 0.05:
        lines = text.split("\n")
        return "\n".join(
            "\t" * ((n := len(line) - len(line.lstrip(" "))) // 4) + " " * (n % 4) + line[n:] for line in lines
        )
    if luck < 0.08:
        return text.replace("\n", "\r\n")
    return text


def cut(text: str, rng: random.Random) -> tuple[int, int]:
    """Where a middle starts and ends, mostly as a caret stands: inside a line or at its indentation.

    Half of the middles are the rest of a line, a quarter are a few whole lines, an eighth a part of a line (closers
    that the editor put there stay behind it), an eighth any span of characters.
    """
    luck = rng.random()
    if luck < 0.125:
        start = rng.randrange(len(text) + 1)
        return start, min(len(text), start + rng.randint(1, MAX_MIDDLE))
    line_start, line_end = _line(text, rng)
    indent = line_start + _indent(text[line_start:line_end])
    if luck < 0.625:
        return caret_in(text, indent, line_end, rng), line_end
    if luck < 0.75:
        start = caret_in(text, indent, line_end, rng)
        return start, rng.randint(start, line_end)
    return _whole_lines(text, line_start, indent, line_end, rng)


def caret_in(text: str, indent: int, line_end: int, rng: random.Random) -> int:
    """A caret in a line: at its indentation, behind a mark that people pause at, or anywhere."""
    luck = rng.random()
    if luck < 0.3 or indent >= line_end:
        return indent
    if luck < 0.7:
        marks = [i + 1 for i in range(indent, line_end - 1) if text[i] in " .(=[,:"]
        if marks:
            return rng.choice(marks)
    return rng.randrange(indent, line_end)


def _whole_lines(text: str, line_start: int, indent: int, line_end: int, rng: random.Random) -> tuple[int, int]:
    """One to six lines, from the indentation or the end of the line before, to a line's end or the next's start."""
    end = line_end
    for _ in range(rng.randint(0, 5)):
        following = text.find("\n", _next_line(text, end))
        if following < 0 or following - line_start > MAX_MIDDLE:
            break
        end = following - 1 if text[following - 1] == "\r" else following
    luck = rng.random()
    if luck < 0.3:
        return line_start, _next_line(text, end)
    if luck < 0.6:
        before = line_start - len("\n") - text.endswith("\r\n", 0, line_start)
        return max(0, before), end
    return indent, end


def _line(text: str, rng: random.Random) -> tuple[int, int]:
    """A line that is not blank, without its ending, if a few tries find one."""
    start = end = 0
    for _ in range(8):
        at = rng.randrange(len(text))
        start = text.rfind("\n", 0, at) + 1
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        if end > start and text[end - 1] == "\r":
            end -= 1
        if text[start:end].strip():
            break
    return start, max(start, end)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))


def _next_line(text: str, end: int) -> int:
    """Behind the line ending at `end`."""
    following = text.find("\n", end)
    return len(text) if following < 0 else following + 1
