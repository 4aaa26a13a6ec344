"""Training sequences, each a function of the seed and its number: a run that resumes sees what it would have seen.

A sequence is packed from samples that do not see each other. Most are fill-in-the-middle in prefix-suffix-middle order,

    <|fim_prefix|> prefix <|fim_suffix|> suffix <|fim_middle|> middle <|endoftext|>

(Bavarian et al., "Efficient Training of Language Models to Fill in the Middle"), the rest plain text with the file's
name in front. Prefix, suffix and middle are cut as text and tokenised apart, as a caret cuts them in an editor. A
prefix that does not fit starts at a line in the middle of its file, like the window of `model.prompts`.

Most middles start at the end of a line some lines before the place that matters: `model.prompts` puts the lines in
front of the caret behind the suffix, too, so that a completion goes on from text that stands right before it. A model
of this size hardly learns to find the end of the prefix from behind the suffix.

The loss counts every token, a middle's `MIDDLE_WEIGHT` times. The token to be predicted at the suffix marker is the
first of the middle, not the first of the suffix, which nobody can know.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ast_tools.text import char_continues
from model.training.shards import TokenFiles, vocabulary_bytes
from model.training.tokenizer import END, MIDDLE, PAD, PREFIX, SUFFIX, special_id

MIN_ROOM = 48
"""A sample is not started in less room than this."""

FIM_SHARE = 0.65
"""Part of the samples that are fill-in-the-middle."""

SHORT_SHARE = 0.6
SHORT_ROOM = (96, 768)
"""So many of those take this much room at most, whatever the sequence's length: each has one middle, and in long
sequences there would be few."""

MIDDLE_WEIGHT = 2.0
MAX_MIDDLE = 400
"""Characters of a middle cut at random characters."""

MAX_LEAD_LINES = 8
"""Lines between a middle's start and the place that matters."""


@dataclass(frozen=True)
class Batch:
    """Sequences with their targets, each [sequences, tokens].

    ids       token ids
    targets   the next token; at a suffix marker the first of the middle
    weights   the target's part in the loss, 0 for padding
    segments  which sample of the sequence the token belongs to
    """

    ids: NDArray[np.int64]
    targets: NDArray[np.int64]
    weights: NDArray[np.float32]
    segments: NDArray[np.int64]

    def fields(self) -> tuple[NDArray[Any], ...]:
        return self.ids, self.targets, self.weights, self.segments

    def parts(self, num_sequences: int) -> Iterator[Batch]:
        """The batch in pieces of so many sequences."""
        for start in range(0, len(self.ids), num_sequences):
            yield Batch(*(field[start : start + num_sequences] for field in self.fields()))


@dataclass
class Sample:
    """One sample: its ids; where the suffix begins and the middle begins, both 0 for plain text."""

    ids: list[int]
    suffix: int = 0
    middle: int = 0


class Sampler:
    """Makes batches from tokenised files."""

    def __init__(self, files: TokenFiles, tokenizer: Tokenizer, seed: int = 0) -> None:
        self._files = files
        self._tokenizer = tokenizer
        self._seed = seed
        self._end, self._pad, self._prefix, self._suffix, self._middle = (
            special_id(tokenizer, name) for name in (END, PAD, PREFIX, SUFFIX, MIDDLE)
        )
        pieces = vocabulary_bytes(tokenizer)
        self._pieces = pieces
        self._lengths = np.array([len(piece) for piece in pieces], dtype=np.int64)
        self._opens_line = np.array([piece.startswith((b"\n", b"\r")) for piece in pieces])

    def batch(self, step: int, num_sequences: int, length: int) -> Batch:
        """The batch of a step; the same for the same arguments."""
        rng = random.Random(f"{self._seed}/{step}/{length}")
        rows = [self._sequence(rng, length) for _ in range(num_sequences)]
        ids, targets, weights, segments = (np.array(column) for column in zip(*rows, strict=True))
        return Batch(ids, targets, weights.astype(np.float32), segments)

    def _sequence(self, rng: random.Random, length: int) -> tuple[list[Any], ...]:
        """The fields of a `Batch` for one sequence; a sample's last token has no target within the sample."""
        ids: list[int] = []
        targets: list[int] = []
        weights: list[float] = []
        segments: list[int] = []
        segment = 0
        while (room := length - len(ids)) >= MIN_ROOM:
            sample = self._sample(rng, room + 1)
            here, count = len(ids), len(sample.ids) - 1
            ids += sample.ids[:-1]
            targets += sample.ids[1:]
            segments += [segment] * count
            if sample.middle:
                weights += [1.0] * (sample.middle - 1) + [MIDDLE_WEIGHT] * (count - sample.middle + 1)
                targets[here + sample.suffix] = sample.ids[sample.middle]
            else:
                weights += [1.0] * count
            segment += 1
        padding = length - len(ids)
        ids, targets = ids + [self._pad] * padding, targets + [self._pad] * padding
        segments += [segment] * padding
        return ids, targets, weights + [0.0] * padding, segments

    def _sample(self, rng: random.Random, room: int) -> Sample:
        """At least two and at most `room` tokens of one file."""
        index = self._pick(rng)
        if rng.random() < FIM_SHARE:
            if rng.random() < SHORT_SHARE:
                room = min(room, rng.randint(*SHORT_ROOM))
            for _ in range(4):
                sample = self.fill_in_the_middle(index, room, rng)
                if sample is not None:
                    return sample
        return self.plain(index, room, rng)

    def _pick(self, rng: random.Random) -> int:
        """A file, by its share of the tokens."""
        ends = self._files.token_ends
        return int(np.searchsorted(ends, rng.randrange(int(ends[-1])), side="right"))

    def plain(self, index: int, room: int, rng: random.Random) -> Sample:
        """A file's name and start, or its text from a random line on; with the end marker if its end fits."""
        tokens = self._files.text(index)
        head: list[int] = []
        start = 0
        if len(tokens) > room and rng.random() < 0.8:
            start = self._line_start(tokens, rng.randrange(len(tokens) - room // 2))
        else:
            head = self._files.header(index).tolist()
        return Sample([*head, *tokens[start : start + room].tolist(), self._end][:room])

    def fill_in_the_middle(self, index: int, room: int, rng: random.Random) -> Sample | None:
        """A sample, or None where the cut that was drawn leaves a middle that takes more than half of the room."""
        tokens = self._files.text(index)
        starts = np.cumsum(self._lengths[tokens]) - self._lengths[tokens]
        data = b"".join([self._pieces[i] for i in tokens.tolist()])
        start, end = cut(data, self._files.spans(index), rng)
        middle = [*self._encode(data[start:end]), self._end]
        if len(middle) > room // 2:
            return None
        budget = room - len(middle) - 3
        before, after = self._around(data, tokens, starts, start, end, budget)
        luck = rng.random()
        if luck < 0.3:  # as `model.prompts.window` divides it
            most = max(budget // 4, budget - len(before))
        elif luck < 0.35:
            most = 0
        else:
            most = rng.randint(0, budget // 2)
        after = after[: max(most, budget - len(before) if luck >= 0.35 else 0)]
        before = self._window(before, budget - len(after))
        ids = [self._prefix, *before, self._suffix, *after, self._middle, *middle]
        suffix = 1 + len(before)
        return Sample(ids, suffix, suffix + len(after) + 2)

    def _around(
        self,
        data: bytes,
        tokens: NDArray[np.uint16],
        starts: NDArray[np.int64],
        start: int,
        end: int,
        budget: int,
    ) -> tuple[list[int], list[int]]:
        """The tokens before and after a cut, about `budget` at most: the line of the cut encoded, the rest as it is."""
        line_start = data.rfind(b"\n", 0, start)
        first = int(np.searchsorted(starts, max(0, line_start)))
        if first < len(tokens) and starts[first] != max(0, line_start):  # the newline is the end of \r\n
            first -= 1
        from_byte = int(starts[first]) if first < len(tokens) else len(data)
        before = tokens[max(0, first - budget) : first].tolist() + self._encode(data[from_byte:start])

        line_end = data.find(b"\n", end)
        if line_end < 0:
            return before, self._encode(data[end:])[:budget]
        last = int(np.searchsorted(starts, line_end, side="right")) - 1
        if starts[last] < end:  # the cut is inside \r\n: encode on to the next line
            last += 1
        until = int(starts[last]) if last < len(tokens) else len(data)
        return before, self._encode(data[end:until]) + tokens[last : last + budget].tolist()

    def _window(self, ids: list[int], budget: int) -> list[int]:
        """The last tokens that fit, from a line's start on if one is near."""
        if len(ids) <= budget:
            return ids
        first = len(ids) - budget
        for i in range(first, min(first + 64, len(ids))):
            if self._opens_line[ids[i]]:
                return ids[i:]
        return ids[first:]

    def _line_start(self, tokens: NDArray[np.uint16], index: int) -> int:
        """The first token from `index` on that opens a line, if one is near."""
        near = np.flatnonzero(self._opens_line[tokens[index : index + 64]])
        return index + int(near[0]) if len(near) else index

    def _encode(self, data: bytes) -> list[int]:
        ids: list[int] = self._tokenizer.encode(data.decode("utf-8"), add_special_tokens=False).ids
        return ids


def cut(data: bytes, nodes: NDArray[np.uint32], rng: random.Random) -> tuple[int, int]:
    """Byte offsets where a middle starts and ends, both between characters.

    A sixth of the middles are cut at random characters, a quarter at the edges of a syntax node, the rest at a line's
    end. All but the first start, for the most part, at the end of a line up to `MAX_LEAD_LINES` lines before.
    """
    luck = rng.random()
    if luck < 0.16:
        start = _between_characters(data, rng.randrange(len(data) + 1))
        return start, _between_characters(data, start + rng.randint(1, MAX_MIDDLE))
    if luck < 0.41 and len(nodes):
        start, end = (int(edge) for edge in nodes[rng.randrange(len(nodes))])
        return (start if rng.random() < 0.5 else lead(data, start, rng)), end
    line_start, line_end = _line(data, rng)
    luck = rng.random()
    end = line_end
    if luck < 0.15:  # closers that the editor put there stay behind the caret
        end = _between_characters(data, rng.randint(line_start, line_end))
    elif luck < 0.3:
        for _ in range(rng.randint(1, 5)):
            end = _line_end(data, end + 1 + data.startswith(b"\r\n", end))
    if rng.random() < 0.25:
        start = caret_in(data, line_start, line_end, rng)
        return min(start, end), end
    return lead(data, line_start, rng), end


def lead(data: bytes, offset: int, rng: random.Random) -> int:
    """The end of the line before the offset's, or of a line up to `MAX_LEAD_LINES` lines further up."""
    start = data.rfind(b"\n", 0, offset)
    for _ in range(rng.randint(0, MAX_LEAD_LINES)):
        start = data.rfind(b"\n", 0, max(0, start))
    start = max(0, start)
    return start - 1 if start and data[start - 1 : start] == b"\r" else start


def caret_in(data: bytes, line_start: int, line_end: int, rng: random.Random) -> int:
    """A caret in a line: at its indentation, behind a mark that people pause at, or anywhere."""
    line = data[line_start:line_end]
    indent = line_start + len(line) - len(line.lstrip(b" \t"))
    luck = rng.random()
    if luck < 0.3 or indent >= line_end:
        return indent
    if luck < 0.7:
        marks = [i + 1 for i in range(indent, line_end - 1) if data[i] in b" .(=[,:"]
        if marks:
            return rng.choice(marks)
    return _between_characters(data, rng.randrange(indent, line_end))


def _line(data: bytes, rng: random.Random) -> tuple[int, int]:
    """A line that is not blank, without its ending, if a few tries find one."""
    start = end = 0
    for _ in range(8):
        at = rng.randrange(len(data))
        start = data.rfind(b"\n", 0, at) + 1
        end = _line_end(data, at)
        if data[start:end].strip():
            break
    return min(start, end), end


def _line_end(data: bytes, offset: int) -> int:
    """The end of the line that the offset is in, before its \\n or \\r\\n."""
    end = data.find(b"\n", offset)
    if end < 0:
        return len(data)
    return end - 1 if end > offset and data[end - 1 : end] == b"\r" else end


def _between_characters(data: bytes, offset: int) -> int:
    """The offset, or the next one that is not inside a UTF-8 sequence."""
    offset = min(offset, len(data))
    while char_continues(data, offset):
        offset += 1
    return offset
