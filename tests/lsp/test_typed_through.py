"""What is left of a remembered suggestion at another caret."""

from __future__ import annotations

import pytest

from ast_tools.text import Edit, Text
from lsp.features.typed_through import Remembered
from model.assistant.suggestion import Suggestion
from model.engine import Token


def check(then: str, suggestions: list[str], now: str, *, explicit: bool = False) -> tuple[str, ...] | None:
    """`|` marks the caret in both texts."""
    before, after = then.split("|")
    caret = len(before.encode())
    made = tuple(Suggestion(Edit(caret, caret, text.encode())) for text in suggestions)
    remembered = Remembered(Text.from_str(before + after), caret, made, is_explicit=False)
    before, after = now.split("|")
    caret = len(before.encode())
    left = remembered.at(Text.from_str(before + after), caret, explicit=explicit)
    assert left is None or all(one.edit.start == one.edit.end == caret for one in left)
    return None if left is None else tuple(one.text for one in left)


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


def test_tokens_and_doubts_stay_with_their_bytes() -> None:
    """What is typed takes its tokens along; the rest still tiles what is left, and so do the parts in doubt."""
    tokens = (Token(1, 0, 4, -0.1), Token(2, 4, 8, -2.0), Token(3, 8, 9, None))
    whole = Suggestion(Edit(1, 1, b"oo(\xc3\xa9, b)"), tokens, ((3, 5), (7, 8)))
    remembered = Remembered(Text.from_str("f"), 1, (whole,), is_explicit=False)
    (rest,) = remembered.at(Text.from_str("foo(é)"), 6, explicit=False) or ()
    assert rest == Suggestion(
        Edit(6, 6, b", b"), (Token(1, 0, 0, -0.1), Token(2, 0, 3, -2.0), Token(3, 3, 3, None)), ((2, 3),)
    )
