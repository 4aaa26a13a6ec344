"""Where suggestions stop and what of them is shown. `|` is the caret; everything else is text."""

from __future__ import annotations

from dataclasses import replace

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
            return str(finish(context, written[:cut]))
    return str(finish(context, written))


def check(source: str, generated: str, shown: str, language: str | None = "python") -> None:
    assert show(source, generated, BY_NAME[language] if language else None) == shown


def numbered(count: int) -> str:
    """So many lines of a block, each another one."""
    return "".join(f"\n    x{number}" for number in range(count))


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
    # a bracket that the file lacks is kept, one that it has is not
    ("foo(bar(|)", "x)", "x)"),
    ("foo(bar(|)", "x))", "x)"),
    ("foo(bar(|\n)", "x))", "x)"),
    ("foo(bar|\n)\n", ")", ""),
    ("foo(\n    a,\n    |\n)\n", "b)", "b"),
    ("foo(\n    a,\n    |\n)\n", ")", ""),
    ("foo(\n    a,\n|\n)\n", ")", ""),
    ("foo(\n    a,\n|\nx = 1\n", ")", ")"),
    ("foo(|, y)", "x, y)", "x"),
    ("foo(|, y)", "bar(x, y)", "bar(x, y)"),
    ("x = {a: foo(|)}", "1)}", "1"),
    ("x = [foo(|]", "1)]", "1)"),
    ("foo(a[|])", "0])", "0"),
    ("foo(x|)", ")", ""),
    ("x = {a: foo(|)}", "1)", "1"),
    ("x = f|)", "oo(1)", "oo(1"),
    ("def f(x) -> dict|]:", "[str, int]:", "[str, int"),
    ("x = g(\n    f|)", "oo(1)", "oo(1)"),
    # quotes
    ("x = '|'", "it\\'s'", "it\\'s"),
    ("x = 'hello| world'", " big world'", " big"),
    ("foo('|)", "b')", "b'"),
    ('f"{x|}"', 'y}"', "y"),
    ('f"{x|}"', "y}", "y"),
    ("'(|)'", "f()", "f()"),
    ('"""|"""', 'Doc."""\n', "Doc."),
    ('def f():\n    """Do.\n\n    More |\n    """\n', 'text.\n    """\n', "text."),
    ("# (see |)", "this)", "this"),
    ("# (see |)", "f()", "f()"),
    # words that the line has already
    ("x = | + 1", "y + 1", "y"),
    ("from a import |", "b", "b"),
    ("x = |foo(1)", "foo(1)", ""),
    ("x = |xs", "x", "x"),
    ("x = |s", "items", "item"),
    ("x[|:]", "1:", "1"),
    # brackets of their own in what the line has already
    ("print(|bar(x))", "a, bar(x))", "a, "),
    ("x = [|a[0], b]", "c, a[0], b]", "c, "),
    # white space in front of a word that stands behind the caret
    ("    |foo(x)\n", "return ", "return "),
    ("    |foo(x)\n", "return foo(x)\n", "return "),
    ("if |x:", "not ", "not "),
    ("x = a |if b else c", "+ d ", "+ d "),
    ('"hello |world"', "big ", "big "),
    ("x = |  # one", "1 ", "1"),
    ("foo(|)", "x ", "x"),
    # blank lines that the model begins with
    ("def f():\n    a = 1\n    |\n", "\n    return a\n", "return a"),
    ("def f():\n    a = 1\n    |\n", "\nf()\n", ""),
    ("x = 1\n\n|", "\n\ndef f():\n    y", "def f():"),
    ("x = 1\n\n|", "\n\n\n\n\n\ny", ""),
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
    ("if (a and\n        b):|\n", "\n    c\nd", "\n    c"),
    ("class A:\n    def f(\n        self,\n        x):|\n", "\n        return x\n    y", "\n        return x"),
    ("def f(x):\n    # the square\n    |\n", "y = x * x\n    return y\nf()", "y = x * x\n    return y"),
    ('def f(x):\n    """The square."""\n    |\n', "y = x\n    return y\nf()", "y = x\n    return y"),
    ('def f(x):\n    """The square.\n\n    Of x.\n    """\n    |\nf(1)\n', "y\n    z\nf(1)\n", "y\n    z"),
    (
        "def f():|\n",
        '\n    """Do.\n\ntext at the margin\n"""\n    x\ny',
        '\n    """Do.\n\ntext at the margin\n"""\n    x',
    ),
    ("x = [|\n", "\n    1,\n    2,\n]\ny = 1", "\n    1,\n    2,\n]"),
    ("x = [|]\n", "\n    1,\n    2,\n]\ny = 1", "\n    1,\n    2,\n"),
    ("x = [|\n]\n", "\n    1,\n    2,\n]\ny = 1", "\n    1,\n    2,"),
    ("foo(\n    |\n)\n", "a,\n    b,\n)\nc", "a,\n    b,"),
    ("x = {|\n", "'a': 1}\ny", "'a': 1}"),
    ("if x:\n    y\n    |\nelse:\n    z\n", "w\nelse:\n", "w"),
    ("def f():\n    |", "return (1", "return (1"),
    ("def f(:|\n", "\n    y\nz", ""),
    # at most so many lines
    ("def f():|\n", numbered(40), numbered(23)),
    # a line that the file has below ends the block
    ("def f():\n    |\nx = 1\n", "y = 1\n    if y:\n        z\nx = 1\n", "y = 1\n    if y:\n        z"),
    ("while x:|\n# then\ny\n", "\n    z\n# then\ny\n", "\n    z"),
    # a block that has its body already gets a line
    ("def f():|\n    return 1\n", "\n    x = 2\n    y", ""),
    ("def f():\n    |\n    return 1\n", "x = 2\n    y = 3\n", "x = 2"),
    ("if a:\n    if b:\n    |\n", "c\n    d\n", "    c"),
    # a mapping's colon opens no block
    ("x = {'a':|\n", " 1,\n 'b': 2", " 1,"),
    ("x: |\n", "int = 1\ny", "int = 1"),
    # tabs stay tabs, and spaces stay spaces
    ("if a:\n\tb\nif x:|\n", "\n    y\n    if z:\n        w\n", "\n\ty\n\tif z:\n\t\tw"),
    ("if a:\n  b\nif x:|\n", "\n\ty\n\tz\n", "\n  y\n  z"),
    ("if a:\n  b\nif x:|\n", "\n    y\n    if z:\n        w\n", "\n  y\n  if z:\n    w"),
    ("if a:\n    b\n    c\nif x:|\n", "\n  y\n  if z:\n    w\n", "\n    y\n    if z:\n        w"),
    ("if a:\n  b\n  if c:\n      d\nif x:|\n", "\n    y\n", "\n    y"),
    (
        "foo(\n        a,\n)\nif a:\n  b\nbar(\n        a,\n)\nif x:|\n",
        "\n    y\n",
        "\n  y",
    ),
    ("if a:\n\tb\n\tif x:|\n", "\n\t    y\n", "\n\t\ty"),
    ("if a:\n\t|\n", "b\n    c\n", "b\n\tc"),
]

BRACES = [
    # behind a bracket, a line that leaves one of its own open goes on until that is closed
    ("a.then(|)\n", "(r) => {\n  b(r);\n});\n", "(r) => {\n  b(r);\n}", "javascript"),
    ("a.then(|\n", "(r) => {\n  b(r);\n});\n", "(r) => {\n  b(r);\n});", "javascript"),
    ("go func(|\n", ") {\n\tx()\n}()\n", ") {", "go"),
    ("x = f(|)\n", "a, g(b,\n         c))\n", "a, g(b,\n         c)", "python"),
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
    # the closing brace is there already, or it is not
    ("int f(int a,\n      int b) {|\n}\n", "\n  return a;\n}\n", "\n  return a;", "c"),
    ("int f()\n{|\n}\n", "\n  return 1;\n}\n", "\n  return 1;", "c"),
    ("int f()\n{|\n", "\n  return 1;\n}\nint g", "\n  return 1;\n}", "cpp"),
    ("f(function () {|\n", "\n  x();\n});\ny", "\n  x();\n});", "javascript"),
    ("f(function () {|})\n", "\n  x();\n});\ny", "\n  x();\n", "javascript"),
    ("f(() => {|)\n", "\n  x();\n})\ny", "\n  x();\n}\n", "javascript"),
    ("f(function () {|\n);\n", "\n  x();\n});\ny", "\n  x();\n}", "javascript"),
    ("struct A {|\n", "\n  int x;\n};\nint y;", "\n  int x;\n};", "cpp"),
    ("if (a) {\n  b();\n  |\n}\n", "}\n", "", "java"),
    ("if (a) {\n  b();\n|\n}\n", "}\n", "", "java"),
    ("if (a) {\n  if (b) {\n    c();\n  |\n}\n", "}\n", "}", "java"),
    ("if (a) {\n  b(|\n}\n", "c);\n}", "c);", "java"),
    ("f(|\n);\n", "a);", "a", "typescript"),
    ("class A {\n  f() {|\n\n  g() {}\n}\n", "\n    h();\n  }\n\n  g() {}\n", "\n    h();\n  }", "typescript"),
    ("fn f() {\n    // the sum\n    |\n}\n", "let x = 1;\n    x\n}\n", "let x = 1;\n    x", "rust"),
    ("impl A {|\n", "\n    fn f() {}\nfn g() {", "\n    fn f() {}", "rust"),
    ("switch (x) {\n  case 1:|\n}\n", "\n    y();\n    break;\n  case 2:\n", "\n    y();\n    break;", "c"),
    ("func f() {\n\tswitch x {\n\tcase 1:|\n\t}\n}\n", "\n\t\tg()\n\tcase 2:\n", "\n\t\tg()", "go"),
    ("if x {|\n", "\n\ty()\n} else {\n\tz()\n}\n", "\n\ty()\n}", "go"),
    ("const x = {|\n", "\n  a: 1,\n  b: [2],\n};\nf();", "\n  a: 1,\n  b: [2],\n};", "javascript"),
    ("import {|} from 'a';\n", " b } from 'a';", " b", "javascript"),
    ("if (a) {\n  b();\n  while (x) {|}\n    y();\n}\n", "\n\t\ty();\n\t}", "", "c"),
    ("namespace a {\n\nint f() {|\n\n}  // a\n", "\n  return 1;\n}\n\nint g", "\n  return 1;\n}", "cpp"),
    ("namespace a {\n\nint f() {|\n}\n\n}  // a\n", "\n  return 1;\n}\n\nint g", "\n  return 1;", "cpp"),
    ("int f() {\n}\n\nint g() {|\n}\n", "\n  return 1;\n}\n", "\n  return 1;", "cpp"),
    ("namespace a {\nint f() {|\n\n}\n", "\n  return 1;\n}\n}\n", "\n  return 1;\n}", "cpp"),
    ("namespace a { namespace b {\nint f() {|\n}\n}}\n", "\n  return 1;\n}\n}\n}\n", "\n  return 1;", "cpp"),
    ("namespace a { namespace b {\nint f() {|\n}}\n", "\n  return 1;\n}\n}\n}\n", "\n  return 1;\n}", "cpp"),
    ("namespace a {\n\nstruct A {|\n\n}}\n", "\n  int x;\n};\n\n}}\n", "\n  int x;", "cpp"),
    ("namespace a {\n\nstruct A {|\n\n}\n", "\n  int x;\n};\n\n}\n", "\n  int x;\n};", "cpp"),
    ("f(g(|),\n  h(1));\n", "x),", "x", "cpp"),
    # GNU's style has tabs and spaces
    (
        "int f() {\n  a;\n\tb;\n  c;\n\td;\n  if (x) {|\n}\n",
        "\n\t  e;\n  }\n}\n",
        "\n\t  e;\n  }",
        "c",
    ),
    # braces in strings, characters and comments
    ("int f() {|\n", "\n  c = '}';\n  d = \"}\";\n}\nx", "\n  c = '}';\n  d = \"}\";\n}", "c"),
    ("fn f<'a>(x: &'a str) {|\n", "\n    c = '}';\n}\nx", "\n    c = '}';\n}", "rust"),
    ("func f() {|\n", "\n\ts := `}\n}`\n}\nx", "\n\ts := `}\n}`\n}", "go"),
    ("f() {|\n", "\n  /* }\n  } */\n  x;\n}\ny", "\n  /* }\n  } */\n  x;\n}", "java"),
    ("f = () => {|\n", "\n  x = `a${b}}`;\n}\ny", "\n  x = `a${b}}`;\n}", "typescript"),
    ('String s = "|";\n', 'a { b";', "a { b", "java"),
    ("char c = '|';\n", "x';", "x", "c"),
    # markup and type parameters
    ("const a = <p>|</p>;\n", "hi</p>;", "hi", "tsx"),
    ("const a = <p>don't {|}</p>;\n", "x}", "x", "tsx"),
    ("let v: Vec<|> = x;\n", "u8> = x;", "u8", "rust"),
    ("let v: Vec<|>;\n", "Vec<u8>", "Vec<u8>", "rust"),
    ("List<|> a;\n", "String>", "String", "java"),
    # the file's indentation
    ("func f() {\n\tg()\n\tif x {|\n", "\n        h()\n    }\n", "\n\t\th()\n\t}", "go"),
    ("f() {\n  g();\n  if (x) {|\n", "\n      h();\n  }\n", "\n    h();\n  }", "javascript"),
    ("f(|) {\n", "x) {", "x", "javascript"),
    ("  return |\n}", "x;\n}", "x;", "c"),
]

WITHOUT_GRAMMAR = [
    ("if x then|\n", "\n  y\nend\nz", "\n  y\nend"),
    ("if x then|\nend\n", "\n  y\nend\n", "\n  y"),
    ("if x then|\n", "\n  y\nending = 1", "\n  y"),
    ("for x in y; do|\n", "\n  z\ndone\nw", "\n  z\ndone"),
    ("if x then\n  |\nend\n", "y()\n  z()\nend\n", "y()\n  z()"),
    ("a:\n  |\nc: 1\n", "b: 1\n  d: 2\nc: 1\n", "b: 1\n  d: 2"),
    ("x {\n  |\n", "y: 1;\n}\n\nz {", "y: 1;\n}"),
    ("x {\n  |\n}\n", "y: 1;\n}\n\nz {", "y: 1;"),
    ("#id {|\n", "\n  y: 1;\n}\nz", "\n  y: 1;\n}"),
    ('say("|")\n', 'hello")', "hello"),
    ("don't say (|)\n", "it)", "it"),
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


@pytest.mark.parametrize(("source", "generated", "shown", "language"), BRACES)
def test_windows_line_endings_in_braces_change_nothing(source: str, generated: str, shown: str, language: str) -> None:
    check(source.replace("\n", "\r\n"), generated.replace("\n", "\r\n"), shown, language)


def test_a_repeated_line_ends_generation() -> None:
    """No token is generated for a block whose rest the file has."""
    assert make_stop(context_of("while x:|\ny\n", BY_NAME["python"]))("\n    z\ny\n") == len("\n    z")
    deeper = context_of("if (a) {\n  while (x) {|}\n    y();\n}\n", BY_NAME["c"])
    assert make_stop(deeper)("\n    z();\n    y();\n") == len("\n    z();")


@pytest.mark.parametrize("language", [*BY_NAME, None])
def test_an_empty_file(language: str | None) -> None:
    comment = BY_NAME[language].line_comment if language else "#"
    check("|", f"{comment} x\ny", f"{comment} x", language)


def test_a_block_cut_off_by_the_token_limit_loses_its_half_line() -> None:
    context = context_of("def f():|", BY_NAME["python"])
    assert str(finish(context, "\n    x = 1\n    retu", is_complete=False)) == "\n    x = 1"
    assert str(finish(context, "\n    x = 1\n    retu")) == "\n    x = 1\n    retu"
    assert str(finish(context, "\n    retu", is_complete=False)) == "\n    retu"


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("x = |", "line"),
        ("def f():|", "block"),
        ("def f():|  # why", "line"),
        ("def f():\n    |\n", "block"),
        ("def f():\n    x\n    |\n", "line"),
        ("def f():\n    |\n    x\n", "line"),
        ("def f():\n    |x\n", "line"),
        ("f(|)", "block"),
        ("f(x|)", "line"),
        ("for x in y[1:|\n", "line"),
    ],
)
def test_whether_a_line_or_a_block_is_missing(source: str, kind: str) -> None:
    assert context_of(source, BY_NAME["python"]).kind == kind


@given(data=st.data())
@settings(max_examples=500, deadline=None)
def test_nothing_raises_and_nothing_is_repeated(data: st.DataObject) -> None:
    """Whatever the text, the caret and the model: a cut lies in the text, a line stays one, no line comes twice."""
    text = Text.from_str(data.draw(texts))
    caret = data.draw(st.integers(-2, len(text) + 2))
    language = data.draw(st.sampled_from([None, *LANGUAGES]))
    tree = SyntaxTree.parse(text, language) if language and data.draw(st.booleans()) else None
    context = caret_context(text, tree, caret, language)
    forced = data.draw(st.sampled_from(["line", "block", context.kind]))
    context = replace(context, kind=forced)
    generated = data.draw(texts)
    cut = make_stop(context)(generated)
    assert cut is None or 0 <= cut <= len(generated)
    shown = str(finish(context, generated, is_complete=data.draw(st.booleans())))
    if context.kind == "line":
        assert "\n" not in shown
        assert "\r" not in shown
    if context.next_line is not None and shown.strip():
        lines = (context.before + shown + context.after).split("\n")
        if "\n" in shown and (context.after.strip() or not (context.has_closer or context.by_indentation)):
            lines.pop()  # what stood behind the caret, or the closing bracket that the file lacks
        assert context.next_line.rstrip() not in [line.rstrip() for line in lines]


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_what_the_rule_cuts_is_not_shown(data: st.DataObject) -> None:
    """The rule sees text grow; what is behind the cut when it ends generation changes nothing."""
    text = Text.from_str(data.draw(texts))
    caret = data.draw(st.sampled_from(boundaries(text.data)))
    language = data.draw(st.sampled_from([None, *LANGUAGES]))
    context = caret_context(text, None, caret, language)
    stop = make_stop(context)
    generated = data.draw(texts)
    for end in range(len(generated) + 1):
        cut = stop(generated[:end])
        if cut is not None:
            assert finish(context, generated[:end]) == finish(context, generated[:cut])
            break


@pytest.mark.parametrize(
    ("language", "source", "generated", "shown"),
    [
        ("javascript", "if (| {", "x) {\n", "x)"),
        ("typescript", "class A | {", "extends B {\n", "extends B"),
        ("java", "class A | {", "extends B {\n", "extends B"),
        ("rust", "fn f() -> |{", "u8 {\n", "u8 "),
        ("go", "if err != nil| {", " && x {\n", " && x"),
    ],
)
def test_a_block_that_the_line_opens_is_not_opened_again(
    language: str, source: str, generated: str, shown: str
) -> None:
    check(source, generated, shown, language)


def test_a_huge_line_is_looked_at_near_the_caret_only() -> None:
    text = Text(b"x = [" + b"1, " * 2_000_000 + b"]\n")
    context = caret_context(text, None, 3_000_000, language_for("a.py"))
    assert len(context.before) <= 2000
    assert len(context.after) <= 2000
    assert context.kind == "line"
