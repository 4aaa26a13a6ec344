"""What a stopped measurement has left is used by the same measurement, and by no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.unfinished import Result, begun, finish, keep, part_of

EMPTY: Result = {"machine": {"commit": "one"}, "carets": 6, "rows": [], "tables": {}}


def test_the_same_measurement_goes_on(tmp_path: Path) -> None:
    output = tmp_path / "result.json"
    assert begun(output, EMPTY) == EMPTY
    kept = EMPTY | {"rows": [1]}
    keep(output, kept)
    assert begun(output, EMPTY) == kept
    finish(output, kept)
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize(
    "left", ["", "[]", "{", "null", '{"rows": [1]}', '{"machine": {"commit": "two"}, "carets": 6, "rows": [1]}']
)
def test_anything_else_starts_anew(tmp_path: Path, left: str) -> None:
    output = tmp_path / "result.json"
    part_of(output).write_text(left)
    assert begun(output, EMPTY) == EMPTY


def test_a_part_of_another_kind_of_result_has_every_key(tmp_path: Path) -> None:
    """It was left before a table more was to be made."""
    output = tmp_path / "result.json"
    keep(output, {"machine": {"commit": "one"}, "carets": 6, "rows": [1]})
    assert begun(output, EMPTY) == EMPTY | {"rows": [1]}
