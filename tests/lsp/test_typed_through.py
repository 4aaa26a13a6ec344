"""What is left of a remembered suggestion at another caret."""

from __future__ import annotations

import pytest

from ast_tools.text import Text
from lsp.typed_through import Remembered


def check(then: str, suggestions: list[str], now: str, *, explicit: bool = False) -> tuple[str, ...] | None:
    """`|` marks the caret in both texts."""
    before, after = then.split("|")
    remembered = Remembered(Text.from_str(before + after), len(before.encode()), tuple(suggestions), is_explicit=False)
    before, after = now.split("|")
    return remembered.at(Text.from_str(before + after), len(before.encode()), explicit=explicit)


@pytest.mark.parametrize(
    ("then", "suggestions", "now", "left"),
    [
        ("pri|", ["nt(x)"], "pri|", ("nt(x)",)),
        ("pri|\nz", ["nt(x)"], "print|\nz", ("(x)",)),
        ("if x:|\n", ["\n    pass\n"], "if x:\n    |\n", ("pass\n",)),
        ("if x:|\r\n", ["\n    pass\n"], "if x:\r\n    |\r\n", ("pass\n",)),
        ("größe = |", ["ölig🎈()"], "größe = öl|", ("ig🎈()",)),
        ("f|", ["oo()", "or x in y"], "f|", ("oo()",)),  # whoever does not ask gets one
        ("f|", ["oo()", "or x in y"], "fo|", ("o()",)),
        ("f|", ["oo()", "or x in y"], "for|", (" x in y",)),
        ("f|", ["oo"], "foo|", None),
        ("f|", ["oo"], "fx|", None),
        ("f|", ["oo"], "|f", None),
        ("f|", ["oo"], "|", None),
        ("f|", ["oo"], "gf|", None),
        ("f|\n", ["oo"], "fo|\n\n", None),
        ("f|\n", ["oo"], "fo|", None),
        ("f|", [], "f|", ()),
        ("f|", [], "fo|", None),
        ("f|", ["(a, b)"], "f(|)", ("a, b",)),
        ("f|", ["('a')"], "f('|')", ("a",)),
        ("f|", ["(a, b) + c"], "f(|)", None),
        ("f|", ["oo"], "f|)", None),
        ("f|", ["oo"], "fo|;", None),
    ],
)
def test_what_is_left(then: str, suggestions: list[str], now: str, left: tuple[str, ...] | None) -> None:
    assert check(then, suggestions, now) == left


def test_an_explicit_request_wants_choices_of_its_own() -> None:
    assert check("pri|", ["nt(x)"], "prin|", explicit=True) is None
