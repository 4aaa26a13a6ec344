"""Where suggestions stop and what of them is shown. `|` is the caret; everything else is text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ast_tools.languages import LANGUAGES, Language, language_for
from ast_tools.scope import CaretContext, caret_context, finish, make_stop
from ast_tools.text import Text
from ast_tools.tree import SyntaxTree
from tests.ast_tools.strategies import boundaries, texts

BY_NAME = {language.name: language for language in LANGUAGES}


def context_of(source: str, language: Language | None) -> CaretContext:
    caret = len(source[: source.index("|")].encode())
    text = Text.from_str(source.replace("|", "", 1))
    tree = SyntaxTree.parse(text, language) if language else None
    return caret_context(text, tree, caret, language)


def show(source: str, generated: str, language: Language | None) -> str:
    """What is shown when the model writes `generated`, a few characters at a time, until the rule stops it."""
    context = context_of(source, language)
    stop = make_stop(context)
    written = ""
    for start in range(0, len(generated), 3):
        written += generated[start : start + 3]
        cut = stop(written)
        if cut is not None:
            return finish(context, written[:cut])
    return finish(context, written)


def check(source: str, generated: str, shown: str, language: str | None = "python") -> None:
    assert show(source, generated, BY_NAME[language] if language else None) == shown


LINES = [
    # inside a line, a suggestion is the rest of the line
    ("import o|\n", "s\nimport sys\n", "s"),
    ("x = |\ny = 2\n", "1  # one\nz = 3", "1  # one"),
    ("x = |", "1", "1"),
    ("x = |", "\ny = 2", ""),
    ("x = |", "   \n", ""),
    ("|", "import os\nimport sys\n", "import os"),
    ("    |\n", "return x\n    y", "return x"),
    # closing brackets that the line has already
    ("foo(|)", "x, y)", "x, y"),
    ("foo(|)", "bar())", "bar()"),
    ("foo(|)", "bar()", "bar()"),
    ("foo(bar(|))", "x))", "x"),
    ("foo(bar(|))", "x)", "x"),
    ("foo(|)", "x) + 1", "x"),
    ("foo[|]", "0]", "0"),
    ("x = {|}", "'a': 1}", "'a': 1"),
    ("foo(|):", "x, y):", "x, y"),
    ("foo(|,", "x,", "x"),
    ("print('|')", "hello')", "hello"),
    ('print("|")', 'hello")', "hello"),
    ('print("|")', "hello", "hello"),
    ("print(|)", "'hello')", "'hello'"),
    ("print(|)", "'a)b'", "'a)b'"),
    ("foo(|)", "')'", "')'"),
    ("foo(|)", "(1, 2)", "(1, 2)"),
    # words that the line has already
    ("x = | + 1", "y + 1", "y"),
    ("from a import |", "b", "b"),
    ("x = |foo(1)", "foo(1)", ""),
    ("x = |xs", "x", "x"),
    # lines that the file has already
    ("|\nimport os\n", "import os\n", ""),
    ("import o|\nimport os\n", "s\n", ""),
    ("def f():\n    |\n    return 1\n", "return 1\n", ""),
    # strings and comments
    ("# see: |\nx = 1", "the docs\nmore", "the docs"),
    ("# if this:|\n", " then that\nx", " then that"),
    ("x = 'def f():|'\n", "\n    pass", ""),
    ('x = """def f():|\n"""\n', "\n    pass", ""),
    # half-typed code
    ("def f(|", "x, y):\n    pass", "x, y):"),
    ("foo(bar(|", "x))\ny", "x))"),
    ("if x ==|", " 1:\n    y", " 1:"),
    ("class |:\n    pass", "A:", "A"),
    ("🎈 = '|'", "ö'", "ö"),
]

BLOCKS = [
    # after an opener, a suggestion is the block
    ("def f():|\n", "\n    x = 1\n    return x\n\n\ndef g():\n", "\n    x = 1\n    return x"),
    ("def f():|", "\n    return 1\nx = 2", "\n    return 1"),
    ("def f():|", " return 1\nx = 2", " return 1"),
    ("def f():\n    |\n", "x = 1\n    return x\n\nf()\n", "x = 1\n    return x"),
    ("def f():\n|", "    return 1\nf()\n", "    return 1"),
    ("def f():\n|", "f()\n", ""),
    (
        "class A:\n    def f(self):|\n\n    def g(self):\n",
        "\n        return 1\n\n    def g(self):\n",
        "\n        return 1",
    ),
    ("class A:\n    def f(self):\n        |\n    x = 1", "a\n        b\n    x = 1\n", "a\n        b"),
    ("if x:|\nelse:\n    y\n", "\n    z\nelse:\n    y\n", "\n    z"),
    ("for i in x:  # all|\n", "\n    pass", ""),
    ("for i in x: |\n", "\n    pass\ny", "\n    pass"),
    ("def f(\n    a,\n) -> int:|\n", "\n    return a\ng()", "\n    return a"),
    ("async def f():|\n", "\n    await g()\n\n    return 1\nx", "\n    await g()\n\n    return 1"),
    ("try:\n    |\nexcept E:\n    pass\n", "f()\nexcept E:\n", "f()"),
    ("with a as b:|\n\nx = 1\n", "\n    c\n\nx = 1\n", "\n    c"),
    ("match x:|\n", "\n    case 1:\n        y\nz", "\n    case 1:\n        y"),
    ("@a\ndef f(x):|\n", '\n    """Doc."""\n    return x\n@a', '\n    """Doc."""\n    return x'),
    # a block that has its body already gets a line
    ("def f():|\n    return 1\n", "\n    x = 2\n    y", ""),
    ("def f():\n    |\n    return 1\n", "x = 2\n    y = 3\n", "x = 2"),
    # a mapping's colon opens no block
    ("x = {'a':|\n", " 1,\n 'b': 2", " 1,"),
    ("x: |\n", "int = 1\ny", "int = 1"),
    # tabs stay tabs, and spaces stay spaces
    ("if a:\n\tb\nif x:|\n", "\n    y\n    if z:\n        w\n", "\n\ty\n\tif z:\n\t\tw"),
    ("if a:\n  b\nif x:|\n", "\n\ty\n\tz\n", "\n  y\n  z"),
]

BRACES = [
    ("function f() {|\n", "\n  return 1;\n}\nf();\n", "\n  return 1;\n}", "javascript"),
    ("function f() {|}\n", "\n  return 1;\n}\n", "\n  return 1;\n", "javascript"),
    ("function f() {\n  |\n}\n", "return 1;\n}\nf();", "return 1;", "javascript"),
    ("if (x) {\n  |\n}\n", "if (y) {\n    z();\n  }\n}\n", "if (y) {\n    z();\n  }", "javascript"),
    ("if (x) {|\n", "\n  y('}');\n}\nz", "\n  y('}');\n}", "javascript"),
    ("if (x) {|\n", "\n  y(); // }\n}\nz", "\n  y(); // }\n}", "javascript"),
    ("const f = (x) => {|};\n", "\n  return x;\n};", "\n  return x;\n", "typescript"),
    ("f(|);\n", "x, y);", "x, y", "typescript"),
    ("const a = <B |/>;\n", "x={1} />", "x={1}", "tsx"),
    ("class A {\n  int f() {|\n}\n", "\n    return 1;\n  }\n\n  int g() {\n", "\n    return 1;\n  }", "java"),
    ("func f() {\n\t|\n}\n", "return\n}\n\nfunc g() {", "return", "go"),
    ("func f() {|\n", "\n\tg()\n}\n\nfunc", "\n\tg()\n}", "go"),
    ("fn f() {|\n", '\n    let x: &\'static str = "}";\n}\nfn', '\n    let x: &\'static str = "}";\n}', "rust"),
    ("int f(void) {|\n", "\n  return 0;\n}\nint g", "\n  return 0;\n}", "c"),
    ("struct A {\n  |\n};\n", "int x;\n  int y;\n};\n", "int x;\n  int y;", "cpp"),
    ("x = y[|];\n", "0];", "0", "c"),
    ("  return |\n}", "x;\n}", "x;", "c"),
]

WITHOUT_GRAMMAR = [
    ("if x then|\n", "\n  y\nend\n", "\n  y"),
    ("fn f() {|\n", "\n  y\n}\nz", "\n  y\n}"),
    ("key: |\n", "value\nother: 1", "value"),
    ("some words |\n", "and more\nnext", "and more"),
    ("f(|)\n", "x)", "x"),
]


@pytest.mark.parametrize(("source", "generated", "shown"), LINES)
def test_in_a_line(source: str, generated: str, shown: str) -> None:
    check(source, generated, shown)


@pytest.mark.parametrize(("source", "generated", "shown"), BLOCKS)
def test_after_a_colon(source: str, generated: str, shown: str) -> None:
    check(source, generated, shown)


@pytest.mark.parametrize(("source", "generated", "shown", "language"), BRACES)
def test_in_braces(source: str, generated: str, shown: str, language: str) -> None:
    check(source, generated, shown, language)


@pytest.mark.parametrize(("source", "generated", "shown"), WITHOUT_GRAMMAR)
def test_without_a_grammar(source: str, generated: str, shown: str) -> None:
    check(source, generated, shown, None)


@pytest.mark.parametrize(("source", "generated", "shown"), LINES + BLOCKS)
def test_line_endings_of_windows_change_nothing(source: str, generated: str, shown: str) -> None:
    check(source.replace("\n", "\r\n"), generated.replace("\n", "\r\n"), shown)


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_nothing_raises_and_nothing_is_repeated(data: st.DataObject) -> None:
    """Whatever the text, the caret and the model: a cut lies in the text, a line stays one, no line comes twice."""
    text = Text.from_str(data.draw(texts))
    caret = data.draw(st.sampled_from(boundaries(text.data)))
    language = data.draw(st.sampled_from([None, *LANGUAGES]))
    tree = SyntaxTree.parse(text, language) if language else None
    context = caret_context(text, tree, caret, language)
    generated = data.draw(texts)
    cut = make_stop(context)(generated)
    assert cut is None or 0 <= cut <= len(generated)
    shown = finish(context, generated)
    if context.kind == "line":
        assert "\n" not in shown
        assert "\r" not in shown
    if context.next_line is not None and shown.strip():
        assert context.next_line.rstrip() not in [line.rstrip() for line in shown.split("\n")[1:]]


def test_a_huge_line_is_looked_at_near_the_caret_only() -> None:
    text = Text(b"x = [" + b"1, " * 2_000_000 + b"]\n")
    context = caret_context(text, None, 3_000_000, language_for("a.py"))
    assert len(context.before) <= 2000
    assert len(context.after) <= 2000
    assert context.kind == "line"
