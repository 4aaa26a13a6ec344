"""What a stopped measurement has left is used by the same measurement, and by no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.unfinished import Result, begun, finish, keep, part_of

EMPTY: Result = {"machine": {"commit": "one"}, "carets": 6, "rows": [], "tables": {}}


def test_the_same_measurement_goes_on(tmp_path: Path) -> None:
    part = part_of(tmp_path / "result.json")
    assert begun(part, EMPTY) == EMPTY
    kept = EMPTY | {"rows": [1]}
    keep(part, kept)
    assert begun(part, EMPTY) == kept
    finish(tmp_path / "result.json", kept)
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize(
    "left", ["", "[]", "{", "null", '{"rows": [1]}', '{"machine": {"commit": "two"}, "carets": 6, "rows": [1]}']
)
def test_anything_else_starts_anew(tmp_path: Path, left: str) -> None:
    part = tmp_path / "part"
    part.write_text(left)
    assert begun(part, EMPTY) == EMPTY


def test_a_part_of_another_kind_of_result_has_every_key(tmp_path: Path) -> None:
    """It was left before a table more was to be made."""
    part = tmp_path / "part"
    keep(part, {"machine": {"commit": "one"}, "carets": 6, "rows": [1]})
    assert begun(part, EMPTY) == EMPTY | {"rows": [1]}
