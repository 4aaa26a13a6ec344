"""The measures of `benchmarks/manners.py`: each sees a bad suggestion, and none sees anything in a good one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.manners import troubles
from benchmarks.manners_carets import KINDS, SAMPLES, in_samples, in_standard_library
from benchmarks.manners_measures import Place, fault
from benchmarks.scanning import scan

REPOSITORY = Path(__file__).parents[1]

DOCSTRING = 'class Base:\n    """Base c⟦⟧\n\n    It has no methods.\n    """\n'
CALL = "x = f(\n    a,\n    ⟦⟧\n)\n"
FUNCTION = "def f():⟦⟧\n\ny = 22\n"
METHOD = "class A:\n    def f(self):\n        x = 1\n        ⟦⟧\n        return x\n"
GO = "package a\n\nfunc f(a []int) int {\n\tb := 1\n\t⟦⟧\n\treturn b\n}\n"
SQL = "package a\n\nconst query = `\nSELECT ⟦⟧\nFROM t`\n\nvar a = 1\n"
SCRIPT = "/**\n * The ⟦⟧\n */\nlet a = 1;\n"
LONG_TITLE = "let a = 1;\nlet b = `\n  ⟦⟧\n`;\n"
RUST = "fn f() -> usize {\n    let a = 1;\n    ⟦⟧\n    a\n}\n"
JAVA = 'class A {\n    String a = """\n        ⟦⟧\n        """;\n}\n'
YAML = "services:\n  web:\n    image: a\n    ⟦⟧\n    ports: [1]\n"

BAD = {
    "doubled closer": [
        ("a.py", DOCSTRING, 'lass."""', '"""'),
        ("a.py", CALL, "b)", ")"),
        ("a.py", "x = f(⟦⟧)\n", "a)", ")"),
        ("a.py", "x = [(1, ⟦⟧), 3]\n", "2), 4]", ")"),
        ("a.py", "x = f(1)⟦⟧\n", ")", ")"),
        ("a.ts", "f(`a ${⟦⟧}`)\n", "b)", ")"),
        ("a.go", SQL, "a`", "`"),
        ("a.go", GO, "}", "}"),
        ("a.ts", SCRIPT, "thing. */", "*/"),
        ("a.ts", LONG_TITLE, "text`", "`"),
        ("a.java", JAVA, 'SELECT 1"""', '"""'),
        ("a.md", "Do:\n\n```sh\nls⟦⟧\n```\n", "\n```", "```"),
    ],
    "loop": [
        ("a.py", METHOD, "y = 1\n        y = 1\n        y = 1", "line: y=1"),
        ("a.py", "foo(b)\nfoo(b)\n⟦⟧\n", "foo(b)", "line: foo(b)"),
        ("a.py", METHOD, "y = f(f(f(x)))", "words: ( f"),
        ("a.py", METHOD, "y = f(a, b, a, b, a, b)", "words: , a , b"),
        ("a.py", METHOD, "y = " + "10" * 20, "characters: 10"),
        ("a.py", METHOD, "# " + "-" * 100, "characters: -"),
        ("a.py", METHOD, "y = " + "[" * 20, "characters: ["),
        ("a.py", DOCSTRING, "lass. It has none. It has none. It has none.", "words: . It has none"),
        ("a.py", DOCSTRING, "lass.\n\n    A row.\n    A row.\n    A row.", "line: Arow."),
        ("a.ts", SCRIPT, "data and the data and the data and the", "words: data and the"),
    ],
    "half string": [
        ("a.py", METHOD, "y = 'abc", "'"),
        ("a.py", FUNCTION, '\n    """Half', '"""'),
        ("a.go", GO, "c := `", "`"),
        ("a.rs", RUST, "/* half", "/*"),
        ("a.yaml", YAML, "command: 'a", "'"),
    ],
    "unparsable": [
        ("a.py", METHOD, "y = = 1", "other"),
        ("a.py", METHOD, "y = [1)", "brackets"),
        ("a.py", METHOD, "  y = 1", "indentation"),
        ("a.py", DOCSTRING, 'lass.""" and', "strings"),
        ("a.py", METHOD, 'y = "a', "strings"),
        ("a.py", "x = 1⟦⟧\n", " 2", "other"),
        ("a.go", GO, "c := = 1", "other"),
        ("a.go", GO, "}", "brackets"),
        ("a.rs", RUST, 'let b = "a;', "strings"),
        ("a.yaml", YAML, "image: : b", "other"),
    ],
    "repeated neighbour": [
        ("a.py", METHOD, "return x", "below: returnx"),
        ("a.py", METHOD, "return  x  # it", "below: returnx"),
        ("a.py", "x = ⟦⟧\nfoo(x)\n", "foo(x)", "below: x=foo(x)"),
        ("a.py", "⟦⟧\nx = 1\ny = 2\nz = 3\n", "y = 2\nz = 3", "below: z=3"),
        ("a.py", METHOD, "x = 1", "above: x=1"),
        ("a.py", METHOD, "z = 2\n        return x", "below: returnx"),
        ("a.py", "d = {\n    'abc': 1,\n    ⟦⟧\n    'abd': 2,\n}\n", '"abd": 2,', "below: abd:2,"),
        ("a.ts", "let a = 1;\n⟦⟧\nlet b = 2;\n", "let b = 2", "below: letb=2"),
    ],
    "wrong depth": [
        ("a.py", METHOD, "  y = 1", "10, not [0, 4, 8]"),
        ("a.py", FUNCTION, "\ny = 1", "0, not [4]"),
        ("a.go", "package a\n\nfunc f() {\n⟦⟧\n}\n\nfunc g() {\n\ta()\n}\n", "b := 1", "0, not [1]"),
        ("a.yaml", YAML, " - a", "5, not [0, 2, 4, 6, 8]"),
    ],
    "other language": [
        ("a.go", GO, "def f(self):", "def f"),
        ("a.go", GO, "if b is None:", "None"),
        ("a.go", GO, '"""A docstring."""', '"""'),
        ("a.rs", RUST, "if a:", "if a:"),
        ("a.ts", "let a = 1;\n⟦⟧\n", "# The count.", "#"),
        ("a.java", "⟦⟧\nclass A {}\n", "import os", "import os"),
        ("a.yaml", YAML, "class Web:", "class Web:"),
        ("a.md", "```\n⟦⟧\n```\n\nAnd\n", "```\nimport os", "import os"),
    ],
}
"""Trouble → name of a file, its text, what is shown at ⟦⟧, and the cause."""

GOOD = [
    ("a.py", DOCSTRING, "lass."),
    ("a.py", CALL, "b,"),
    ("a.py", CALL, "*(b, c),"),
    ("a.py", "x = f(⟦⟧)\n", "a), g(b"),
    ("a.py", "x = f(⟦⟧)\n", "a, (b)"),
    ("a.py", METHOD, "y = 1\n        z = 1"),
    ("a.py", METHOD, "if x:"),
    ("a.py", METHOD, "try:"),
    ("a.py", METHOD, "match x:"),
    ("a.py", METHOD, "y = f(a, {"),
    ("a.py", METHOD, "y = [0, 0, 0, 0]"),
    ("a.py", METHOD, 'y = "a"  # it is a\'s'),
    ("a.py", FUNCTION, "\n    return 1"),
    ("a.py", FUNCTION, '\n    """Whole."""\n    if y:'),
    ("a.py", FUNCTION, " return 1"),
    ("a.py", METHOD, 'y = "a \\" b"'),
    ("a.py", "class B:\n    ⟦⟧\n", "def f(self,"),
    ("a.py", 'x = """a\n⟦⟧', "b"),
    ("a.py", "try:\n    x = 1\n    ⟦⟧", "y = 2"),
    ("a.py", "def f():\n    try:\n        x = g(⟦⟧", "1)"),
    ("a.py", "x = 1\n\n\n⟦⟧", "@cache(1"),
    ("a.py", "⟦⟧\nx = 1\n", "# ----------------------------"),
    ("a.go", GO, "for i := range a {"),
    ("a.go", GO, "c := map[string]int{"),
    ("a.go", GO, "b += len(a)"),
    ("a.go", GO, 'c := g("None")  // if True:'),
    ("a.go", GO.replace("⟦⟧", "switch b {\n\t⟦⟧\n\t}"), "case 1:"),
    ("a.go", SQL, "a, b"),
    ("a.ts", SCRIPT, "thing that `is` there."),
    ("a.ts", LONG_TITLE, "${f(`inner ${a}`)} more"),
    ("a.ts", "let a = [1]\n  ⟦⟧\n  .sort();\n", ".map((b) => b + 1)"),
    ("a.rs", RUST, "let b: Option<&'static str> = None;"),
    ("a.rs", RUST, 'println!(r#"a "quoted" b"#);'),
    ("a.rs", RUST, "self.b.push('\"');"),
    ("a.java", JAVA, "SELECT a"),
    ("a.c", "int f(void)\n{\n    ⟦⟧\n}\n", "int a = f(1,"),
    ("a.c", "int f(void)\n{\n    ⟦⟧\n}\n", "if (a) {"),
    ("a.c", "⟦⟧\nint a;\n", "#include <stdio.h>"),
    ("a.yaml", YAML, "environment:"),
    ("a.yaml", YAML, "command: don't"),
    ("a.yaml", "a:\n  - b: 1\n    ⟦⟧\n", "c: 2"),
    ("a.md", "Do:\n\n⟦⟧\n\nAnd so on.\n", "```sh"),
    ("a.md", "Some of them:\n\n- a\n⟦⟧\n", "- don't do `this`"),
]


def found(name: str, text: str, shown: str) -> dict[str, str]:
    before, after = text.split("⟦⟧")
    return troubles(Place(name, before, after), shown)


@pytest.mark.parametrize(
    ("kind", "name", "text", "shown", "cause"), [(kind, *case) for kind, cases in BAD.items() for case in cases]
)
def test_a_bad_suggestion(kind: str, name: str, text: str, shown: str, cause: str) -> None:
    assert found(name, text, shown).get(kind) == cause


@pytest.mark.parametrize(("name", "text", "shown"), GOOD)
def test_a_good_suggestion(name: str, text: str, shown: str) -> None:
    assert found(name, text, shown) == {}


def test_only_what_lacked_the_rest_of_a_line_is_uncompleted() -> None:
    place = Place("a.py", "x = ", "\ny = 2\n", taken="f(1)")
    assert troubles(place, "f(") == troubles(place, "g()") == {}
    assert troubles(place, "f( =") == {"uncompleted": "other"}


def test_carets() -> None:
    """They are the same each time, of every kind, in samples without faults whose pairs are all found."""
    for draw, name in ((in_standard_library, "py"), (in_samples, "")):
        places = draw(2 * len(KINDS))
        assert places == draw(2 * len(KINDS)) and len(places) == 2 * len(KINDS)
        assert {place.kind for place in places} == set(KINDS)
        assert all(place.name.endswith(name) for place in places)
    for path in SAMPLES.iterdir():
        text = path.read_text(encoding="utf-8")
        assert fault(Place(path.name, text, ""), "") == "", path
        scanned = scan(text, path.name)
        assert not scanned.surplus and all(span.closed_at or span.end for span in scanned.spans), path


def test_the_benchmark(tmp_path: Path) -> None:
    output = tmp_path / "result.json"
    command = [sys.executable, "benchmarks/manners.py", "--python", "2", "--samples", "2", "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert '"carets": 2' in output.read_text()
