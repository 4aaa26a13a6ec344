"""Recorded figures: how they spread, and how they are written down."""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.unfinished import finish

PLACES = ("after a jump", "typing on")
"""Where an editor's latency is measured."""

EDITS = {
    "append": "typing at the end",
    "character in": "character inserted",
    "line in": "line inserted",
    "line out": "line removed",
    "line anew": "line rewritten",
}
"""Edits of `benchmarks.edit_latency`, as pages and pictures name them; the others go by their recorded names."""


def spread(milliseconds: Sequence[float]) -> dict[str, Any]:
    """Least, median, ninth decile (of so many at least nine tenths are no longer) and most."""
    ordered = sorted(milliseconds)
    return {
        "min": round(ordered[0], 1),
        "median": round(statistics.median(ordered), 1),
        "p90": round(ordered[math.ceil(len(ordered) * 0.9) - 1], 1),
        "max": round(ordered[-1], 1),
    }


def trials(measured: Sequence[float | None]) -> dict[str, Any]:
    """Trials in an editor: milliseconds, None where nothing was suggested, -1 where a suggestion was typed along."""
    times = [one for one in measured if one is not None and one >= 0]
    return {
        "timed": len(times),
        "nothing_suggested": measured.count(None),
        "typed_along": measured.count(-1),
        "milliseconds": spread(times),
    }


def trials_by_place(measured: Sequence[Sequence[float | None]]) -> dict[str, Any]:
    """Trials with a figure for each of `PLACES`."""
    return {place: trials(times) for place, times in zip(PLACES, zip(*measured, strict=True), strict=True)}


def percentiles(milliseconds: Sequence[float]) -> dict[str, Any]:
    """The 50th, 95th and 99th of a hundred, and how many there were."""
    ordered = sorted(milliseconds)
    return {
        "count": len(ordered),
        **{f"p{share}": round(ordered[math.ceil(len(ordered) * share / 100) - 1], 1) for share in (50, 95, 99)},
    }


def record(output: Path, found: dict[str, Any]) -> None:
    """Write a result, and show it."""
    finish(output, found)
    sys.stdout.write(output.read_text(encoding="utf-8"))
