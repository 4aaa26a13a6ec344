"""What is not shown, or shown otherwise, since it would not fit into the file. `|` is the caret.

A table a kind of trouble. `CUT` are suggestions that the token limit cut off.
"""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ast_tools.acceptance import num_errors
from ast_tools.languages import Language
from ast_tools.repetition import loop_start
from ast_tools.scope import caret_context, finish, make_stop
from ast_tools.text import Text
from ast_tools.tree import SyntaxTree
from tests.ast_tools.test_scope import BY_NAME, check, context_of


@dataclass(frozen=True)
class Case:
    """What is shown in a file of a language when the model writes `generated`."""

    source: str
    generated: str
    shown: str
    language: str | None = "python"


CLOSED_BELOW = [
    # docstrings, on their first line, in their middle, on their last line
    Case('class Base:\n    """Base c|\n\n    It has no methods.\n    """\n', 'lass."""\n\n    def', "lass."),
    Case('class Base:\n    """Base.\n\n    It has |\n    """\n', 'no methods."""\n', "no methods."),
    Case('class Base:\n    """Base.\n\n    |\n    More.\n    """\n', 'It is small."""\n', "It is small."),
    Case('class Base:\n    """Base.\n\n    |\n    """\n', '"""\n', ""),
    Case('def f():\n    """Don\'t |\n    do it.\n    """\n', 'ever."""\n', "ever."),
    # other strings of several lines
    Case('q = """SELECT a|\n    FROM t\n    """\n', ', b"""\n', ", b"),
    Case('q = """\n    SELECT a\n    |\n    """\n', 'FROM t"""\n', "FROM t"),
    Case('f(\n    """a|\n    b""",\n    c,\n)\n', ' z""")\n', " z"),
    Case("const q = `SELECT a|\n  FROM t`;\nf();\n", ", b`;\n", ", b", "javascript"),
    Case("const q = `SELECT ${x}|\n  FROM ${t}`;\nf();\n", ", b`;\n", ", b", "typescript"),
    Case("package a\n\nvar q = `SELECT a|\n  FROM t`\n\nfunc f() {}\n", ", b`\n", ", b", "go"),
    Case('class A {\n  String s = """\n      a|\n      b""";\n}\n', 'c""";\n', "c", "java"),
    Case('let s = "a|\n   b";\nfn f() {}\n', 'c";\n', "c", "rust"),
    # comments of several lines
    Case("/* The |\n   first. */\nint f(void);\n", "one. */\n", "one.", "c"),
    Case("/**\n * Adds |\n * @param a first\n */\nfunction f(a) {}\n", "numbers. */\n", "numbers.", "javascript"),
    Case("/**\n * Adds.\n * @param |\n */\nfunction f(a) {}\n", "a first */\n", "a first", "typescript"),
    # brackets; a comma takes the place of one that the next item needs
    Case("foo(\n    a,\n    |\n    b,\n)\n", "c)\n", "c,"),
    Case("foo(\n    a,\n    |\n    b=2,\n)\n", "c=1)\n", "c=1,"),
    Case("x = [1 for a in b.|\n]\n", "items():", "items()"),
    Case("foo(\n  a,\n  |\n  b,\n);\n", "c);\n", "c,", "javascript"),
]

REALLY_OPEN = [
    # what nothing closes below is closed, although the tree pairs it with the next string
    Case('def f():\n    """Do the|\n    x = 1\n\ndef g():\n    """Other."""\n', ' thing."""\n', ' thing."""'),
    Case('def f():\n    """Do the|\n    x = 1\n\ndef g():\n    return 1\n', ' thing."""\n', ' thing."""'),
    Case('def f():\n    """Do the|\n', ' thing."""\n', ' thing."""'),
    Case("const q = `SELECT a|\nf();\nconst r = `b`;\n", ", b`;\n", ", b`;", "javascript"),
    Case("/* The |\nint f(void);\n", "one. */\n", "one. */", "c"),
    Case("/* The |\nint f(void);\n/* The second. */\nint g(void);\n", "one. */\n", "one. */", "c"),
    Case("foo(\n    a,\n    |\n\nx = 1\n", "c)\n", "c)"),
]

LOOPS = [
    # lines
    Case('def main():\n    |\n\n\nif __name__ == "__main__":\n    main()\n', "main()\n    " * 21, ""),
    Case("def main():\n    |\n", "x = 1\n    " + "main()\n    " * 20, "x = 1"),
    Case("def main():\n    |\n", "x = 1\n    " + "main()\n    y()\n    " * 9, "x = 1"),
    Case(
        "def f():\n    |\n",
        "check(it, 1)\n    a = 1\n    " * 2 + "b = 2\n    check(it, 1)\n",
        "check(it, 1)\n    a = 1",
    ),
    Case("a:\n  |\n", "b: one\n  " * 9, "", None),
    # sentences
    Case('def f():\n    """|\n    """\n', "Return the value. " * 9, ""),
    Case('def f():\n    """Do.\n\n    |\n    """\n', "So it is. And " + "it is good. " * 4, "So it is. And"),
    # phrases and arguments
    Case("values.reduce((total, value) => |, 0);\n", "total.reduce((total, value) => " * 8, "", "javascript"),
    Case("x = foo(|)\n", "a, " + "stream, " * 9, "a"),
    Case("x = |\n", "a + " + "total + " * 9, "a"),
    # ever deeper calls
    Case("x = |\n", "wrap(inner(" * 8, ""),
    # a stutter, marks and digits
    Case("# '/tmp/a|\n", "9nin" + "in" * 30, ""),
    Case("SIZE = '|\n", "1" + "0" * 62, ""),
    Case("x = a |\n", "&" * 70, "", "c"),
    Case("x = [|]\n", "7" + ", 0" * 60, "7"),
    # a list, or a function, that the file has above
    Case("def add(a, b):\n    return c\n\n\n|", "def add(a, b):\n", ""),
    Case("class A:\n    def add(a):\n        return c\n\n    |", "def add(a):\n", ""),
    Case("- milk\n- milk\n|", "- milk\n", "", None),
    Case("def add(a, b):\n    c = a + b\n    return c\n\n\n" * 2 + "|", "def add(a, b):\n", ""),
]

NO_LOOPS = [
    Case("class A:\n    def add(a):\n        return c\n\n\nclass B:\n    |", "def add(a):\n", "def add(a):"),
    Case("@overload\ndef add(a):\n    ...\n\n@overload\n|", "def add(a):\n", "def add(a):"),
    Case("x = [|]\n", "0, 0, 0, 0", "0, 0, 0, 0"),
    Case("x = f(|)\n", "None, None, None", "None, None, None"),
    Case("# |\n", "-" * 76, "-" * 76),
    Case("def f(a):\n    |\n", "if a:\n        return 1\n    return 2\n", "if a:\n        return 1\n    return 2"),
    Case("x = |\n", "a.b(1).b(2).b(3)\n", "a.b(1).b(2).b(3)"),
]

HALF = [
    Case("def f():\n    |\n", '"""', ""),
    Case("def f():\n    |\n", '"""\n', ""),
    Case("def f():\n    |\n", "x = 'abc\n    y = 2\n", ""),
    Case("def f():\n    |\n    return a\n", '"""Return a.\n\n    More.\n    """\n', ""),
    Case("def f():\n    |\n", '"""Do.\n\n    Args:\n' + "".join(f"        a{n}: b{n}\n" for n in range(30)), ""),
    # the file has its end already
    Case('def f():\n    |\n\n    More.\n    """\n', '"""Do.\n', '"""Do.'),
]

CUT = [
    Case("def f():\n    |\n", '"""Return the sum.\n\n    More.\n    And m', ""),
    Case("def f():\n    |\n", 'x = 1\n    y = """Return\n    More.\n    And m', "x = 1"),
    Case("int f() {\n    |\n", "x = 1;\n    /* one\n    two\n    thr", "x = 1;", "c"),
    Case("f() {\n    |\n", "x = 1;\n    y = `one\n    two\n    thr", "x = 1;", "typescript"),
]

FIRST_LINES = [
    # at column 0 the lines below may go on from the statement that is missing
    Case("class A:\n    def f(self):\n|\n            1,\n        )\n    x = 1\n", "        g(\n", "        g("),
    Case("if a:\n    b\ndef f():\n|\n        x = 1\n    return\n", "    if x:\n", "    if x:"),
    Case("if a:\n    b\ndef f():\n  |\n", "  x = 1\n    return x\n", "  x = 1\n    return x"),
    # the model repeats the white space in front of the caret, or has its own
    *(Case("def f():\n    |\n", f"{white}x = 1\n    return x\n", "x = 1\n    return x") for white in ("", "    ", " ")),
    *(
        Case("def f():\n    |\n", f"{white}x = 1\n    return x\n", "x = 1\n    return x")
        for white in ("\t", "  ", " " * 8)
    ),
    Case("def f():\n    |\n", "    x = 1\n        return x\n", "x = 1\n    return x"),
    Case("def f():\n    |\n", "    if x:\n        return x\n", "if x:\n        return x"),
    Case("def f():\n    |\n", "    if x:\n            y\n        z\n", "if x:\n        y\n    z"),
    Case("if a:\n    b\n    |\n", "    c\n", "c"),
    Case("if a:\n    b\n    |\n", " c\n", "c"),
    # the caret is less deep than a statement may be
    Case("def f(a):\n |\n    x = 1\n", "y = 2\n", "   y = 2"),
    Case("def f(a):\n    x = 1\n  |\n", "y = 2\n", "  y = 2"),
    # a new line first
    Case("def f():\n    |\n", "\n    x = 1\n    return x\n", "x = 1\n    return x"),
    Case("def f():\n    |\n", "\n\n        x = 1\n        return x\n", "x = 1\n    return x"),
    # at column 0, in a block and at the margin
    Case("if a:\n    b\ndef f():\n|", "  x = 1\n  return x\n", "    x = 1\n    return x"),
    Case("if a:\n    b\ndef f():\n|", "  if x:\n    y\n  return x\n", "    if x:\n        y\n    return x"),
    Case("if a:\n    b\ndef f():\n|", "\tx = 1\n\treturn x\n", "    x = 1\n    return x"),
    Case("if a:\n    b\ndef f():\n|", "        x = 1\n        return x\n", "    x = 1\n    return x"),
    Case("if a:\n    b\ndef f():\n|", "     x = 1\n     return x\n", "    x = 1\n    return x"),
    Case("if a:\n\tb\ndef f():\n|", "    x = 1\n    return x\n", "\tx = 1\n\treturn x"),
    Case("if a:\n    b\n|", " c\n", "c"),
    Case("if a:\n    b\n|", "     c\n", "    c"),
    Case("if a:\n    b\n|", "        c\n", "    c"),
    Case("x = 1\n|", " y = 2\n", "y = 2"),
    Case("x = 1\n|", "    y = 2\n", "y = 2"),
    Case("x = {\n    'a': 1,\n    }\n|\ny = 1\n", "    def f():\n", "def f():"),
    # braces
    Case("func f() {\n\t|\n}\n", "    return 1\n", "return 1", "go"),
    Case("func f() {\n\tg()\n\t|\n}\n", "\tx := 1\n", "x := 1", "go"),
    Case("func f() {\n\tg()\n|\n}\n", "    x := 1\n", "\tx := 1", "go"),
    Case(
        "package a\n\nfunc f() {|\n}\n",
        "\n    x := 1\n    if x {\n        g()\n    }\n}\n",
        "\n\tx := 1\n\tif x {\n\t\tg()\n\t}",
        "go",
    ),
    Case("func f() {\n\tg()\n|\n}\n", "\t\tx := 1\n", "\tx := 1", "go"),
    Case("f() {\n  g();\n|\n}\n", "   x();\n", "  x();", "javascript"),
    Case("f() {\n  a\n  |\n}\n", ".b();\n", ".b();", "javascript"),
    # without a grammar
    Case("a:\n  b: 1\n  |\n", "  c: 2\n", "c: 2", None),
    Case("a:\n  b: 1\n|\n", "   c: 2\n", "  c: 2", None),
    Case("a:\n  b: 1\nc:\n  |\n", "\n  d: 1\n  e: 2\n", "d: 1\n  e: 2", None),
    Case("a:\n  b: 1\nc:\n|\n", "    d: 1\n    e: 2\n", "  d: 1\n  e: 2", None),
    Case("a:\n  - b: 1\n|\n", "    c: 2\n", "    c: 2", None),
]

MISPLACED = [
    Case("def f():\n    |\n", "x = 1\n        y = 2\n    z\n", "x = 1"),
    Case("def f():\n    |\n", "if x:\n    y\n", "if x:"),
    Case("def f():\n    |\n", "if x:\n        y\n      z\n", "if x:\n        y"),
    Case("def f():\n    |\n", "x = g(\n      1,\n        2)\n    y\n", "x = g(\n      1,\n        2)\n    y"),
]

NEIGHBOURS = [
    # the line above
    Case('{\n  "a": 1,\n  |\n}\n', '"a": 1,\n', "", None),
    Case("import os\n|\n", "import os\n", ""),
    Case('x = {\n    "a": 1,\n    |\n}\n', '"a": 1,\n', ""),
    Case("class A {\n  int x;\n  |\n}\n", "int x;\n", "", "java"),
    Case("- one\n|\n- two\n", "- one\n", "", None),
    # the next line, and those below
    Case("x = 1\n|\ny = 'a'\n", 'y = "a"  # the a\n', ""),
    Case("if a:\n    |\nelse:\n    b.append(c)\n", "b.append(c)\n", ""),
    Case("if (a) {\n  |\n} else {\n  f(c);\n}\n", "f(c);\n", "", "javascript"),
    Case("if a:\n    |\nelse:\n    f(c)\n", "f(b)\n", "f(b)"),
    Case("const a = 1;\n|\nconst b = 'x'\n", 'const b = "x";\n', "", "javascript"),
    Case("import os\n|\nimport re\nimport sys\n", "import sys\n", ""),
    Case("if a:\n    b\nel|\n    c\nelif d:\n    e\n", "if d:\n", ""),
    Case("fn f() {}\n|\nfn g() {}\n\n/// Puts a value in.\nfn h() {}\n", "/// Puts a value in.\n", "", "rust"),
    Case("def f():\n    |\n    a = 1\n    b = 2\n    return a\n", "a = 1\n    b = 2\n    return a\n", ""),
    Case("def f():\n    ti|\n    b = 2\n    times = []\n", "mes = []\n", ""),
    Case("def f():|\n\n# then\nx = 'a'\n", '\n    b = 1\n    x = "a"\n', '\n    b = 1\n    x = "a"'),
    Case("def f():|\n\ndef g():\n    a\n    b\n", "\n    a\n    b\n", ""),
    Case("if x:|\nb = 2\n", "\n    a = 1\n    b = 2\n", "\n    a = 1"),
    # what comes twice in good code
    Case("import os\n|\nimport re\nimport sys\n", "import json\n", "import json"),
    Case("x = [\n    None,\n    |\n]\n", "None,\n", "None,"),
    Case("def f():\n    |\n    x = 2\n    g(x)\n", "g(x)\n", "g(x)"),
    Case("def f(a):\n    |\n\n\ndef g(a):\n    return a\n", "return a\n", "return a"),
]

FOREIGN = [
    Case("a:\n  b: 1\n|\nc: 2\n", "def f(", "", None),
    Case("a:\n  b: 1\n  |\nc: 2\n", '"""', "", None),
    Case("Some text.\n\n|\n", "import os\n", "", None),
    Case("func f() {\n\tif ha|\n\t}\n}\n", "t is not None:\n", "", "go"),
    Case("func f() {\n\t|\n}\n", "def g(x):\n\t\treturn x\n", "", "go"),
    Case("class A { constructor(private lo|) {} }\n", "ngest = True)\n", "", "typescript"),
    Case("function f() {\n  |\n}\n", "# a comment\n", "", "javascript"),
    Case("function f() {\n  |\n}\n", "return x if y else z\n", "", "javascript"),
    # other languages have some of it, and so may the file
    Case("Some python.\n\n|\n", "import os\n", "import os", None),
    Case("def a\n  1\nend\n\n|\n", "def b(x)\n", "def b(x)", None),
    Case("fn f() -> Option<u8> {\n    |\n}\n", "None\n", "None", "rust"),
]

TABLES = {
    "closed below": CLOSED_BELOW,
    "really open": REALLY_OPEN,
    "loop": LOOPS,
    "no loop": NO_LOOPS,
    "half": HALF,
    "first line": FIRST_LINES,
    "misplaced": MISPLACED,
    "neighbour": NEIGHBOURS,
    "foreign": FOREIGN,
}
CASES = [
    pytest.param(case, id=f"{kind} {number}") for kind, table in TABLES.items() for number, case in enumerate(table)
]


@pytest.mark.parametrize("case", CASES)
def test_what_is_shown(case: Case) -> None:
    check(case.source, case.generated, case.shown, case.language)


@pytest.mark.parametrize("case", CASES)
def test_windows_line_endings_change_nothing(case: Case) -> None:
    check(case.source.replace("\n", "\r\n"), case.generated.replace("\n", "\r\n"), case.shown, case.language)


@pytest.mark.parametrize("case", CUT)
def test_what_the_token_limit_cut_off(case: Case) -> None:
    context = context_of(case.source, BY_NAME[case.language or ""])
    assert str(finish(context, case.generated, is_complete=False)) == case.shown


def test_a_loop_ends_generation() -> None:
    """No token is generated behind the third line."""
    stop = make_stop(context_of("def main():\n    |\n", BY_NAME["python"]))
    assert stop("x = 1\n    " + "main()\n    " * 2) is None
    assert stop("x = 1\n    " + "main()\n    " * 3) == len("x = 1")


@given(
    unit=st.sampled_from(["main()\n", "    main()\n\n", "total + ", "a, b, foo(", "Return it. ", "x = 1\n    y = 2\n"]),
    head=st.sampled_from(["", "z = 1\n", "def f():\n    ", "é🎈 "]),
    step=st.integers(1, 7),
)
@settings(max_examples=200, deadline=None)
def test_a_loop_is_found_while_the_text_grows(unit: str, head: str, step: int) -> None:
    """Whatever the tokens are, it is found before the unit stands there five times."""
    text = head + unit * 6
    found = [loop_start("", text[:end]) for end in range(step, len(head) + 5 * len(unit), step)]
    starts = [start for start in found if start is not None]
    assert starts
    assert starts[0] <= len(head) + len(unit)


FILES = {
    "python": """\
import os


class A:
    '''A.

    More (of it).
    '''

    def f(self, a=[1]):
        "F."
        x = {"a": (1, 2),
             "b": 'c'}
        if a:
            return x
        return f(a, '''b
   c''')
""",
    "javascript": """\
/** A.
 * B.
 */
function f(a, b) {
  const q = `a
  b`;
  if (a) {
    return [b, 'c'];
  }
  return { q: f(1, (2)) };
}
""",
    "go": """\
package a

// A is a.
func f(a int) []int {
\tq := `a
 b`
\tif a > 0 {
\t\treturn []int{1, len(q)}
\t}
\treturn nil /* b
 c */
}
""",
    "java": """\
class A {
  /** A.
   */
  int f(int a) {
    String s = "b";
    if (a > 0) {
      return g(1, (2));
    }
    return 0;
  }
}
""",
    "rust": """\
fn f(a: &str) -> Vec<u8> {
    let s = "a
 b";
    if a == s {
        return vec![1, 2];
    }
    g(a, (1, 2))
}
""",
    "c": """\
int f(int a) {
  /* b
     c */
  char *s = "d";
  if (a) {
    return g(1, (2));
  }
  return s[0];
}
""",
}
"""Files that parse, with brackets and strings over several lines."""


@st.composite
def accepted(draw: st.DrawFn) -> tuple[Language, str, int, str]:
    """A file, a caret at the end of a line or in it, and what is shown there of a model's fragments of the file.

    A line may have lost its rest, as when someone types it anew, where the file parses nevertheless.
    """
    name = draw(st.sampled_from(sorted(FILES)))
    source = FILES[name].replace("\n", "\r\n") if draw(st.booleans()) else FILES[name]
    caret = draw(st.sampled_from([at for at in range(len(source) + 1) if source[at - 1 : at + 1] != "\r\n"]))
    end = source.find("\n", caret) - (source[source.find("\n", caret) - 1 : source.find("\n", caret)] == "\r")
    shorter = source[:caret] + source[max(caret, end) :]
    if draw(st.booleans()) and _is_whole(shorter, BY_NAME[name], re.compile("")):
        source = shorter
    starts = draw(st.lists(st.integers(0, len(source) - 1), min_size=1, max_size=4))
    generated = "".join(source[start : start + draw(st.integers(1, 30))] for start in starts)
    text = Text.from_str(source)
    tree = SyntaxTree.parse(text, BY_NAME[name])
    context = caret_context(text, tree, len(source[:caret].encode()), BY_NAME[name])
    return BY_NAME[name], source, caret, str(finish(context, generated, is_complete=draw(st.booleans())))


@given(accepted())
@settings(max_examples=1500, deadline=None)
def test_what_was_balanced_stays_so(found: tuple[Language, str, int, str]) -> None:
    """Brackets, strings and indentation: a file that can be parsed still can be, whatever is accepted.

    What the next line brings is allowed for: the brackets that are left open are closed, a header gets its block.
    """
    language, source, caret, shown = found
    before, after = source[:caret] + shown, source[caret:]
    last = before[before.rfind("\n") + 1 :]
    body = f"\n{last[: len(last) - len(last.lstrip())]}    pass"
    ends = [
        filler + closers + block
        for filler in ("", "x")
        for closers in ("", *(_closers(before, count) for count in (1, 2, 3, 4)))
        for block in ("", body, f":{body}", f"\\{body}")
    ]
    assert not shown.strip() or any(_is_whole(before + end + after, language) for end in ends)


_OF_BALANCE = re.compile(r"string|never closed|unmatched|does not match")


def _is_whole(source: str, language: Language, faults: re.Pattern[str] = _OF_BALANCE) -> bool:
    """Whether a file can be parsed. In Python only wrong indentation and syntax errors of these `faults` count."""
    if language.name != "python":
        tree = SyntaxTree.parse(Text.from_str(source), language)
        return tree is not None and num_errors(tree.root) == 0
    try:
        with warnings.catch_warnings(action="ignore"):
            ast.parse(source)
    except IndentationError:
        return False
    except SyntaxError as error:
        return not faults.search(str(error.msg))
    return True


def _closers(text: str, count: int) -> str:
    """What closes the last `count` brackets of a text that are open, counted without a lexer of ours."""
    stack = []
    for char in text:
        if char in "([{":
            stack.append(char)
        elif char in ")]}" and stack:
            stack.pop()
    return "".join({"(": ")", "[": "]", "{": "}"}[char] for char in reversed(stack[-count:]))
