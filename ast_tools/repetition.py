"""Text that goes round in circles, as language models write it: the same lines, sentences or arguments again and again.

A text loops if its end repeats what stands right in front of it:

    a phrase         total + total + total +     three times, `MIN_PHRASE` characters in all
    lines            main()⏎main()⏎main()⏎       three times, blank lines aside
    several lines    a function                  twice, and its first line for the third time
    a stutter        inininininin                `MIN_STUTTER` characters of one word
    marks, digits    0, 0, 0, 0, 0, 0, …         `MIN_MARKS` characters in all: short rows of them are common
    a rule           ----------------            more than `MAX_RULE` characters

or if it holds a line of some length for the third time, whatever is between.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MIN_PHRASE = 20
MIN_STUTTER = 12
MIN_MARKS = 64
MAX_RULE = 80
MIN_LINE = 10
"""Characters of a line that may stand in a suggestion twice and not three times."""

MIN_MARKS_LINES = 8
"""Lines without a letter, such as rows of a matrix of zeros, that are a loop."""

SEVERAL_LINES = 3
MAX_LOOKBACK = 2000
"""Characters at the end of a text that are looked at."""

_KEY = 6
"""Characters at the end of a text whose earlier places are found first; each gives a period to try."""

_LINE = re.compile(r"\S[^\n]*\n")
_LETTER = re.compile(r"[^\W\d]")
_WORD = re.compile(r"\w+")
_NO_RULE = re.compile(r"[^-=#*~.+/_ ]")
_INSIDE_A_WORD = re.compile(r"(?<=\w)(?=\w)")
_COMMON_LINE = re.compile(
    r"(?:return|raise|throw|break|continue|pass|yield|else|try|finally|except|catch|default|end|fi|done|esac)\b"
)


def loop_start(before: str, generated: str) -> int | None:
    """The index in `generated` where a loop begins that it ends in; None if it does not loop there.

    `before` is the text in front of it. A loop that began there begins at 0. The last line counts as a line only once
    its line ending is there.
    """
    repeated = _repeated_phrase((before + generated)[-MAX_LOOKBACK:])
    if repeated is not None:
        return max(0, len(generated) - repeated)
    whole = generated[: generated.rfind("\n") + 1]
    if not whole:
        return None
    repeated = _repeated_lines((before + whole)[-MAX_LOOKBACK:])
    return _third_line(whole) if repeated is None else len(whole[: max(0, len(whole) - repeated)].rstrip())


def _repeated_lines(text: str) -> int | None:
    """How many characters at the end of a text of whole lines are a loop of lines."""
    starts = [found.start() for found in _LINE.finditer(text)]
    lines = [text[start : text.index("\n", start)].rstrip() for start in starts]
    for period in range(1, len(lines) // 2 + 1):
        num = period
        while num < len(lines) and lines[-num - 1] == lines[-num - 1 + period]:
            num += 1
        least = 2 * period + 1 if period >= SEVERAL_LINES else 3 * period
        unit = "".join(lines[-period:])
        if num >= least and (_LETTER.search(unit) or num >= MIN_MARKS_LINES):
            return len(text) - starts[-num]
    return None


def _repeated_phrase(text: str) -> int | None:
    """How many characters at the end of a text are a loop within its last line."""
    text = text[text.rfind("\n") + 1 :]
    for period in _periods(text):
        unit = text[-period:]
        if unit != text[-2 * period : -period] or not unit.strip():
            continue
        length = _length_of_run(text, period)
        if length < _least(unit):
            continue
        start, step = len(text) - length, -1 if _WORD.fullmatch(unit) else 1
        while _INSIDE_A_WORD.match(text, start):
            start += step
        return len(text) - start
    return None


def _periods(text: str) -> Iterator[int]:
    """How far in front of the text's end the same characters stand, nearest first."""
    key = text[-_KEY:]
    at = len(text) - len(key)
    place = text.rfind(key, 0, len(text) - 1) if key else -1
    while place >= 0 and 2 * (at - place) <= len(text):
        yield at - place
        place = text.rfind(key, 0, place + len(key) - 1)


def _length_of_run(text: str, period: int) -> int:
    """The length of the longest end of the text in which each character is the one a period before."""
    length = 2 * period
    while length + period <= len(text) and text[-length - period : -length] == text[-period:]:
        length += period
    while length < len(text) and text[-length - 1] == text[-length - 1 + period]:
        length += 1
    return length


def _least(unit: str) -> int:
    """How long a run of repetitions must be to be a loop."""
    thrice = 2 * len(unit) + len(unit.strip())  # the white space at its end need not be there yet
    if unit.isdigit():
        return max(thrice, 2 * MIN_STUTTER)
    if not _LETTER.search(unit):
        return max(thrice, MIN_MARKS if _NO_RULE.search(unit) else MAX_RULE + 1)
    return max(thrice, MIN_STUTTER if _WORD.fullmatch(unit) else MIN_PHRASE)


def _third_line(generated: str) -> int | None:
    """Where the last whole line stands for the second time, if it stands there for the third."""
    lines = generated.split("\n")[:-1]
    last = lines[-1].strip() if lines else ""
    if len(last) < MIN_LINE or not _LETTER.search(last) or _COMMON_LINE.match(last):
        return None
    places = [number for number, line in enumerate(lines) if line.strip() == last]
    return len("\n".join(lines[: places[1]])) if len(places) > 2 else None
