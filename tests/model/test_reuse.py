"""Reuse plans: what is kept, what is turned, what each mode allows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.cache.reuse import plan_reuse
from model.prompts.prompt import Prompt
from model.request import ReuseMode


def prompt_of(letters: str) -> Prompt:
    """A letter is a token whose serial is its own; capitals have none."""
    ids = np.array([ord(c) for c in letters], dtype=np.int32)
    serials = np.array([ord(c) if c.islower() else -1 for c in letters], dtype=np.int64)
    return Prompt(ids, serials, 0)


def plan(cached: str, wanted: str, mode: ReuseMode = "pie", exact: int | None = None) -> list[tuple[int, int, int]]:
    held = prompt_of(cached)
    made = plan_reuse(held.ids, held.serials, len(cached) if exact is None else exact, prompt_of(wanted), mode)
    return [(run.old, run.new, run.length) for run in made.runs]


@pytest.mark.parametrize(
    ("cached", "wanted", "runs"),
    [
        ("abcdefgM", "abcdefgM", [(0, 0, 7)]),
        ("abcdefgM", "abXYefgM", [(0, 0, 2), (4, 4, 3)]),
        ("abcdefgM", "abXYZefgM", [(0, 0, 2), (4, 5, 3)]),
        ("abcdefgM", "abefgM", [(0, 0, 2), (4, 2, 3)]),
        ("abcdefgM", "XabcdefgM", [(0, 1, 7)]),
        ("abcdefgM", "aXcdXfgM", [(0, 0, 1), (2, 2, 2), (5, 5, 2)]),
        ("abSdefM", "abdSefM", [(0, 0, 2), (3, 2, 1), (4, 4, 2)]),
        ("", "abc", []),
        ("abc", "xyz", []),
        ("abc", "a", []),
        ("cba", "abcM", [(2, 0, 1)]),
    ],
)
def test_runs(cached: str, wanted: str, runs: list[tuple[int, int, int]]) -> None:
    """Small letters are the file's tokens, capitals markers and new text."""
    assert plan(cached, wanted) == runs


def test_exact_keeps_the_common_prefix_only() -> None:
    assert plan("abcdefgM", "abXcdefgM", "exact") == [(0, 0, 2)]


def test_exact_keeps_nothing_behind_the_exact_part() -> None:
    assert plan("abcdefgM", "abcdefgM", "exact", exact=3) == [(0, 0, 3)]


def test_off_keeps_nothing() -> None:
    assert plan("abcdefgM", "abcdefgM", "off") == []


def test_equal_serials_with_other_tokens_are_not_reused() -> None:
    """A wrong serial can cost time, never an answer."""
    held, wanted = prompt_of("abcM"), prompt_of("XbcM")
    lied = Prompt(wanted.ids, np.array([-1, ord("c"), ord("b"), -1]), 0)
    for run in plan_reuse(held.ids, held.serials, 4, lied, "pie").runs:
        assert np.array_equal(held.ids[run.old : run.old + run.length], lied.ids[run.new : run.new + run.length])


@given(cached=st.text("abcdefghM", max_size=12), wanted=st.text("abcdefghM", min_size=1, max_size=12))
@settings(max_examples=300, deadline=None)
def test_every_plan_is_sound(cached: str, wanted: str) -> None:
    """Runs rise on both sides without overlap, hold equal tokens, and leave the last token to be run."""
    old_end = new_end = 0
    for old, new, length in plan("".join(dict.fromkeys(cached)), "".join(dict.fromkeys(wanted))):
        assert length > 0
        assert old >= old_end
        assert new >= new_end
        old_end, new_end = old + length, new + length
    assert new_end < len(dict.fromkeys(wanted))
