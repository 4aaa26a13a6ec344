"""What the demo does to a file, whatever file it is; that it runs is seen by running it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ast_tools.text import Text
from lsp.commands.demo import _comment_mark, _highlighted, _session

FILES = {
    "empty.py": "",
    "short.js": "function add(a, b) {\n  return a + b;\n}\n\nfunction sub(a, b) {\n  return \n}\n",
    "short.go": 'package main\n\nfunc main() {\n\tfmt.Println("x")\n}\n',
    "notes.txt": "Hello.\nThis is text.\n",
    "crlf.py": "class A:\r\n    def f(self):\r\n        return 1\r\n",
    "long.py": "class A:\n" + "    def f(self):\n        return 1\n" * 900,
}


@pytest.mark.parametrize("name", FILES)
def test_the_steps_write_above_the_caret_and_at_it(name: str) -> None:
    text = Text.from_str(FILES[name])
    caret, steps = _session(text, _comment_mark(Path(name)))
    before, after = text.slice(0, caret), text.slice(caret, len(text))
    for step in steps:
        for edit in step.edits:
            text = text.apply(edit)
    written = text.decode()
    assert written.startswith(before) and written.endswith(after)
    word = written[len(before) : len(written) - len(after)]
    assert word.strip()
    assert word == "return " if not after.split("\n")[0].strip() else after.startswith(word)


def test_the_line_near_the_top_is_a_comment_in_the_files_language() -> None:
    marks = [_comment_mark(Path(name)) for name in ("a.py", "a.js", "a.go", "a.txt")]
    assert marks == ["#", "//", "//", "#"]


@pytest.mark.parametrize("line", ["", "  ", "\traise ", "\t\treturn 1", "    x = 1  ", "raise"])
def test_a_line_is_shown_with_its_own_width(line: str) -> None:
    assert _highlighted("python", line).plain == line.expandtabs(4)
