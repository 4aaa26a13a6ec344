"""Syntax trees: an incremental parse equals one from scratch, for every language."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ast_tools.languages import LANGUAGES, Language, language_for
from ast_tools.text import Edit, Text
from ast_tools.tree import MAX_PARSE_BYTES, MAX_REPARSE_BYTES, SyntaxTree
from tests.ast_tools.strategies import edits_of

SOURCES = {
    "python": "def f(x):\n    if x:\n        return [1, 'a']\n    return {2: x}\n\n\nclass A:\n    y = f(3)\n",
    "javascript": "function f(x) {\n  const y = `a${x}`;\n  return { y, z: [1, 2] };\n}\nconst e = <b>hi</b>;\n",
    "typescript": "interface A { x: number }\nfunction f<T>(x: T): T[] {\n  return [x];\n}\n",
    "tsx": "export const B = ({ x }: { x: number }) => {\n  return <b>{x}</b>;\n};\n",
    "java": "class A {\n  int f(int x) {\n    return x > 0 ? f(x - 1) : 1;\n  }\n}\n",
    "go": "package main\n\nfunc f(x int) []int {\n\tif x > 0 {\n\t\treturn []int{x}\n\t}\n\treturn nil\n}\n",
    "rust": "fn f<'a>(x: &'a str) -> Vec<u8> {\n    match x { \"a\" => vec![1], _ => vec![] }\n}\n",
    "c": "#include <a.h>\nint f(int x) {\n  struct s y = { .a = 1 };\n  return x ? y.a : 0;\n}\n",
    "cpp": "template <class T> struct A {\n  auto f(T x) { return std::vector<T>{x}; }\n};\n",
}


def by_name(name: str) -> Language:
    return next(language for language in LANGUAGES if language.name == name)


def shape(tree: SyntaxTree) -> list[tuple[str, int, int, bool]]:
    """Every node's type and span, in order, and whether the parser made it up."""
    found = []
    stack = [tree.root]
    while stack:
        node = stack.pop()
        found.append((node.type, node.start_byte, node.end_byte, node.is_missing))
        stack += node.children
    return found


@pytest.mark.parametrize("name", SOURCES)
def test_every_language_parses_its_own_code(name: str) -> None:
    tree = SyntaxTree.parse(Text.from_str(SOURCES[name]), by_name(name))
    assert tree is not None
    assert not tree.root.has_error


@pytest.mark.parametrize("name", SOURCES)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_incremental_equals_from_scratch(name: str, data: st.DataObject) -> None:
    """After random edits and their undoing every node is the same, in broken code too."""
    language = by_name(name)
    tree = SyntaxTree.parse(Text.from_str(SOURCES[name]), language)
    assert tree is not None
    first = shape(tree)
    edits, undo = [], []
    text = tree.text
    for _ in range(data.draw(st.integers(1, 4))):
        edit = data.draw(edits_of(text.data))
        undo.insert(0, Edit(edit.start, edit.start + len(edit.new), text.data[edit.start : edit.end]))
        edits.append(edit)
        text = text.apply(edit)
    edited = tree.apply(edits, text)
    scratch = SyntaxTree.parse(text, language)
    assert edited is not None
    assert scratch is not None
    assert edited.root.end_byte == scratch.root.end_byte
    assert shape(edited) == shape(scratch)
    restored = edited.apply(undo, tree.text)
    assert restored is not None
    assert shape(restored) == first
    assert shape(tree) == first


def test_broken_code_is_parsed_as_from_scratch() -> None:
    """Two edits after which tree-sitter, left to itself, recovers from the errors in another way."""
    text = Text.from_str(SOURCES["javascript"])
    tree = SyntaxTree.parse(text, by_name("javascript"))
    for edit in (Edit(35, 35, b"//"), Edit(9, 9, b'"')):
        text = text.apply(edit)
        assert tree is not None
        tree = tree.apply([edit], text)
    scratch = SyntaxTree.parse(text, by_name("javascript"))
    assert tree is not None
    assert scratch is not None
    assert shape(tree) == shape(scratch)


@pytest.mark.parametrize("name", SOURCES)
@given(data=st.data())
@settings(max_examples=3, deadline=None)
def test_incremental_equals_from_scratch_in_a_large_text(name: str, data: st.DataObject) -> None:
    """Beyond the size up to which broken code is parsed anew, edits that leave the code whole lead to the same tree."""
    language = by_name(name)
    source = SOURCES[name].encode()
    text = Text(source * (MAX_REPARSE_BYTES // len(source) + 1))
    tree = SyntaxTree.parse(text, language)
    for _ in range(3):
        at = text.line_start(data.draw(st.integers(0, text.num_lines - 1)))
        new = data.draw(st.sampled_from([f"{language.line_comment} é\n", "\n", "\r\n", "  \n"])).encode()
        text = text.apply(Edit(at, at, new))
        assert tree is not None
        tree = tree.apply([Edit(at, at, new)], text)
    scratch = SyntaxTree.parse(text, language)
    assert tree is not None
    assert scratch is not None
    assert not scratch.root.has_error
    assert shape(tree) == shape(scratch)


def test_a_tree_is_read_while_the_next_one_is_made() -> None:
    """One thread makes tree after tree, others read the one before: what they read never changes."""
    text = Text.from_str(SOURCES["python"] * 20)
    tree = SyntaxTree.parse(text, by_name("python"))
    assert tree is not None
    with ThreadPoolExecutor(3) as readers:
        readings = []
        for number in range(20):
            readings.append((text, [readers.submit(shape, tree) for _ in range(2)]))
            edit = Edit(number * 7, number * 7, b"\nx = [1]\n")
            text = text.apply(edit)
            tree = tree.apply([edit], text)
            assert tree is not None
        for then, (first, second) in readings:
            scratch = SyntaxTree.parse(then, by_name("python"))
            assert scratch is not None
            assert first.result() == second.result() == shape(scratch)


def test_edits_that_do_not_lead_to_the_text_cost_time_only() -> None:
    tree = SyntaxTree.parse(Text.from_str("x = 1\n"), by_name("python"))
    assert tree is not None
    other = Text.from_str("def f(): pass\n")
    wrong = tree.apply([Edit(0, 1, b"y")], other)
    assert wrong is not None
    assert wrong.root.children[0].type == "function_definition"


def test_a_huge_text_has_no_tree() -> None:
    assert SyntaxTree.parse(Text(b"x" * (MAX_PARSE_BYTES + 1)), by_name("python")) is None


@pytest.mark.parametrize(
    ("path", "lsp_id", "name"),
    [
        ("a/b.py", None, "python"),
        ("b.PYI", None, "python"),
        ("x.tsx", None, "tsx"),
        ("x", "typescriptreact", "tsx"),
        ("x.unknown", "go", "go"),
        ("x.h", None, "c"),
        ("x.hpp", None, "cpp"),
        ("SConstruct", None, "python"),
        ("x.zig", "zig", None),
        (None, None, None),
    ],
)
def test_languages_are_told_by_id_and_by_name(path: str | None, lsp_id: str | None, name: str | None) -> None:
    found = language_for(path, lsp_id)
    assert (found.name if found else None) == name


@pytest.mark.parametrize(
    ("name", "source", "inside"),
    [
        ("python", "x = 'a|b'", True),
        ("python", "x = 'ab'|", False),
        ("python", "x = |'ab'", False),
        ("python", "x = 'a' | 'b'", False),
        ("python", "# no|te", True),
        ("python", "# note|", True),
        ("python", "# note\n|", False),
        ("python", "x = 1 |# note", False),
        ("python", "x = f'{y|}'", False),
        ("python", "x = f'a|{y}'", True),
        ("python", '"""doc|\n"""', True),
        ("python", "|", False),
        ("javascript", "x = `a${b|}`", False),
        ("javascript", "x = `a|${b}`", True),
        ("javascript", "/* a| */", True),
        ("javascript", "/* a */|", False),
        ("javascript", "// a|", True),
        ("typescript", "let x: str|ing;", False),
        ("tsx", "const a = <b>hi|</b>;", False),
        ("java", "class A { char c = 'x|'; }", True),
        ("go", "package a\n\nvar x = `b|`", True),
        ("go", "package a\n\nvar x = 'b|'", True),
        ("rust", "/// doc|\nfn f() {}", True),
        ("rust", "/// doc|", True),
        ("rust", "// note|", True),
        ("rust", "/// doc\n|fn f() {}", False),
        ("rust", "/* a */|", False),
        ("rust", "/** a| */", True),
        ("rust", 'const X: &str = r#"a|"#;', True),
        ("c", 'char *x = "a|";', True),
        ("cpp", 'auto x = "a" | "b";', False),
    ],
)
def test_strings_and_comments_are_not_code(name: str, source: str, inside: bool) -> None:
    caret = source.index("|")
    tree = SyntaxTree.parse(Text.from_str(source.replace("|", "")), by_name(name))
    assert tree is not None
    assert tree.is_in_string_or_comment(caret) is inside
