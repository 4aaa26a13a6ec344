"""Text that goes round in circles, as language models write it: the same lines, sentences or arguments again and again.

A text loops if its end repeats what stands right in front of it:

    a phrase         total + total + total +     three times, `MIN_PHRASE` characters in all
    lines            main()⏎main()⏎main()⏎       three times
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

SEVERAL_LINES = 3
MAX_LOOKBACK = 2000
"""Characters at the end of a text that are looked at."""

_KEY = 6
"""Characters at the end of a text whose earlier places are found first; each gives a period to try."""

_LETTER = re.compile(r"[^\W\d]")
_WORD = re.compile(r"\w+")
_NO_RULE = re.compile(r"[^-=#*~.+/_ ]")
_INSIDE_A_WORD = re.compile(r"(?<=\w)(?=\w)")
_COMMON_LINE = re.compile(
    r"(?:return|raise|throw|break|continue|pass|yield|else|try|finally|except|catch|default|end|fi|done|esac)\b"
)


def loop_start(before: str, generated: str) -> int | None:
    """The index in `generated` where a loop begins that it ends in; None if it does not loop there.

    `before` is the text in front of it. A loop that began there begins at 0.
    """
    repeated = _repeated_tail((before + generated)[-MAX_LOOKBACK:])
    if repeated is not None:
        return max(0, len(generated) - repeated)
    return _third_line(generated)


def _repeated_tail(text: str) -> int | None:
    """How many characters at the end of a text are a loop."""
    for period in _periods(text):
        unit = text[-period:]
        if unit != text[-2 * period : -period] or not unit.strip():
            continue
        length = _length_of_run(text, period)
        if length < _least(unit):
            continue
        start = len(text) - length
        if "\n" in unit:  # a loop of lines begins with a line
            if start > 0 and text[start] != "\n" and text[start - 1] != "\n":
                start = text.index("\n", start)
        elif _WORD.fullmatch(unit):
            while _INSIDE_A_WORD.match(text, start):
                start -= 1
        else:
            while _INSIDE_A_WORD.match(text, start):
                start += 1
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
    if _WORD.fullmatch(unit):
        return max(thrice, MIN_STUTTER)
    if "\n" not in unit:
        return max(thrice, MIN_PHRASE)
    num_lines = sum(1 for line in unit.split("\n") if line.strip())
    return thrice if num_lines < SEVERAL_LINES else 2 * len(unit) + len(unit) // num_lines


def _third_line(generated: str) -> int | None:
    """Where the last whole line stands for the second time, if it stands there for the third."""
    lines = generated.split("\n")[:-1]
    last = lines[-1].strip() if lines else ""
    if len(last) < MIN_LINE or not _LETTER.search(last) or _COMMON_LINE.match(last):
        return None
    places = [number for number, line in enumerate(lines) if line.strip() == last]
    return len("\n".join(lines[: places[1]])) if len(places) > 2 else None
