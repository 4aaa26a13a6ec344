"""Imports that the garbage collector never looks at again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import gc
import sys
from pathlib import Path
from model.boot import import_lasting

Path("recorder.py").write_text("import gc; collects = gc.isenabled()")
import_lasting("recorder")
frozen = gc.get_freeze_count()
assert not sys.modules["recorder"].collects and gc.isenabled() and frozen > 0

kept = [[] for _ in range(1000)]
import_lasting("recorder")  # known by now
assert gc.get_freeze_count() <= frozen

try:
    import_lasting("no_such_module")
except ModuleNotFoundError:
    assert gc.isenabled()
else:
    raise AssertionError

gc.disable()
import_lasting("csv")
assert not gc.isenabled()
"""


def test_a_module_is_imported_once_without_collections_and_they_go_on_as_they_were(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, cwd=tmp_path)
