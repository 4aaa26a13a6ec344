"""Where a docstring is missing."""

from __future__ import annotations

import pytest

from ast_tools.functions import missing_docstring
from ast_tools.languages import language_for
from ast_tools.text import Text
from ast_tools.tree import SyntaxTree


def check(marked: str, path: str = "a.py") -> str | None:
    """The text with ⟦⟧ where a docstring goes; `|` marks the caret. None where none is missing."""
    before, after = marked.split("|")
    language = language_for(path)
    assert language is not None
    tree = SyntaxTree.parse(Text.from_str(before + after), language)
    assert tree is not None
    place = missing_docstring(tree, len(before.encode()))
    if place is None:
        return None
    data = tree.text.data
    assert data[: place.offset].decode().endswith("\n" + place.indentation)
    return (data[: place.offset] + "⟦⟧".encode() + data[place.offset :]).decode()


@pytest.mark.parametrize(
    ("marked", "expected"),
    [
        ("def f|(a):\n    return a\n", "def f(a):\n    ⟦⟧return a\n"),
        ("def f(a):\n\n    # why\n    return |a\n", "def f(a):\n\n    # why\n    ⟦⟧return a\n"),
        ("class A:\n\tx = |1\n", "class A:\n\t⟦⟧x = 1\n"),
        (
            "class A:\n    '''It.'''\n    def f(self):\n        pass|\n",
            "class A:\n    '''It.'''\n    def f(self):\n        ⟦⟧pass\n",
        ),
        ("größe = 1\r\nasync def ö():\r\n  |pass\r\n", "größe = 1\r\nasync def ö():\r\n  ⟦⟧pass\r\n"),
        ("def f():\n    'It' 'is.'|\n", None),
        ("def f():\n    x\n\n|\n    y\n", "def f():\n    ⟦⟧x\n\n\n    y\n"),
        ("def f():\n    x\n\n\n|y\n", None),
        ('def f|():\n    """It."""\n    return 1\n', None),
        ("def f|():\n    r'It.'\n", None),
        ("def f(): return |1\n", None),
        ("x = |1\n", None),
        ("def f(|\n", None),
        ("", None),
    ],
)
def test_the_innermost_definition(marked: str, expected: str | None) -> None:
    assert check(marked or "|") == expected


def test_other_languages_document_in_front() -> None:
    assert check("function f() {\n  return |1;\n}\n", "a.js") is None
