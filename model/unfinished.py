"""Long measurements continue where they were stopped: the result so far is in a file beside the final one."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.errors import ModelError
from model.machine import is_same

Result = dict[str, Any]


def part_of(output: Path) -> Path:
    """The file that has the result for `output` until it is complete."""
    return output.with_name(output.name + ".part")


def begun(output: Path, empty: Result) -> Result:
    """What an earlier run of the same measurement has left of its output, or the empty result.

    The same is one that agrees in everything that `empty` already knows: weights, machine, commit and so on.
    """
    try:
        found: Result = json.loads(part_of(output).read_text(encoding="utf-8"))
        same = {key: found[key] for key, value in empty.items() if value} == {k: v for k, v in empty.items() if v}
    except (OSError, ValueError, TypeError, KeyError):
        return empty
    return empty | found if same else empty


def recorded(output: Path, found: Result, names: Sequence[str]) -> Result:
    """The complete result in `output`, some of whose figures will be kept beside new ones.

    Raises `ModelError` unless it agrees with `found` in what these names tell, as far as it has them, and is of the
    same machine.
    """
    old: Result = json.loads(output.read_text(encoding="utf-8"))
    if any(old.get(name, found[name]) != found[name] for name in names) or not is_same(
        old["machine"], found["machine"]
    ):
        raise ModelError(f"{output} differs in {', '.join(names)} or machine; write to another file.")
    return old


def keep(output: Path, found: Result) -> None:
    """All of what was found so far is kept, or what was kept before."""
    part = part_of(output)
    new = part.with_name(part.name + ".new")
    new.write_text(json.dumps(found), encoding="utf-8")
    os.replace(new, part)


def finish(output: Path, found: Result) -> None:
    """Write the whole result; its part goes."""
    output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    part_of(output).unlink(missing_ok=True)
