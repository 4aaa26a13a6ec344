"""Which of the answers that were shown were accepted. Counts leave the process through `keyturn/stats` only."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_SHOWN = 256
"""Answers that may still be accepted; the oldest go first."""


@dataclass
class Counts:
    """What happened in this session."""

    requests: int = 0
    engine_requests: int = 0
    shown: int = 0
    accepted: int = 0


@dataclass
class Acceptance:
    """Numbers the answers that are shown, and counts each of them that is accepted, once."""

    counts: Counts = field(default_factory=Counts)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _not_accepted: OrderedDict[int, None] = field(default_factory=OrderedDict)

    def shown(self) -> int:
        """The number of one more answer that is shown, however often and in however many items."""
        self.counts.shown += 1
        number = next(self._numbers)
        self._not_accepted[number] = None
        while len(self._not_accepted) > MAX_SHOWN:
            self._not_accepted.popitem(last=False)
        return number

    def accept(self, number: object) -> bool:
        """Count an acceptance, once for each answer that was shown."""
        if not isinstance(number, int) or number not in self._not_accepted:
            return False
        del self._not_accepted[number]
        self.counts.accepted += 1
        return True
