"""What the served process leaves out of lsprotocol's classes is nothing that messages need."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import json
import sys

if "lean" in sys.argv:
    from lsp.wire.lean_types import import_lean
    import_lean()

import attrs
from lsprotocol import converters, types

converter = converters.get_converter()
message = {"textDocument": {"uri": "file:///a.py", "version": 3}, "contentChanges": [
    {"range": {"start": {"line": 1, "character": 2}, "end": {"line": 1, "character": 4}}, "text": "ab"}, {"text": "c"}]}
params = converter.structure(message, types.DidChangeTextDocumentParams)
again = converter.structure(message, types.DidChangeTextDocumentParams)
start, end = params.content_changes[0].range.start, params.content_changes[0].range.end

def is_hashable(value):
    try:
        return isinstance(hash(value), int)
    except TypeError:
        return False

@attrs.define
class Later:
    x: int

print(json.dumps({
    "same": params == again,
    "other": [start == end, types.DefinitionOptions() == types.ReferenceOptions(), start == None, params != again],
    "hashable": [is_hashable(start), is_hashable(params), is_hashable(Later(1))],
    "order": [start < end, end <= start],
    "back": converter.unstructure(params, types.DidChangeTextDocumentParams),
    "later": repr(Later(1)),
    "prints": "version=3" in repr(params),
}))
"""


def run(*arguments: str) -> dict[str, object]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True)
    result: dict[str, object] = json.loads(done.stdout)
    return result


def test_lean_types_are_the_same_but_for_how_they_print() -> None:
    lean, full = run("lean"), run()
    assert (lean.pop("prints"), full.pop("prints")) == (False, True)
    assert lean == full
    assert full["other"] == [False] * 4 and full["hashable"] == [False] * 3
    assert full["same"] is True and full["order"] == [True, False] and full["later"] == "Later(x=1)"
