"""Syntax trees: an incremental parse equals one from scratch, for every language."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ast_tools.languages import LANGUAGES, Language, language_for
from ast_tools.text import Edit, Text
from ast_tools.tree import MAX_PARSE_BYTES, SyntaxTree
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


def shape(tree: SyntaxTree) -> list[tuple[str, int, int]]:
    """Every node's type and span, in order."""
    found = []
    stack = [tree.root]
    while stack:
        node = stack.pop()
        found.append((node.type, node.start_byte, node.end_byte))
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
    """After random edits and their undoing, and wherever the text is free of errors, every node is the same."""
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
    if not scratch.root.has_error:
        assert shape(edited) == shape(scratch)
    restored = edited.apply(undo, tree.text)
    assert restored is not None
    assert shape(restored) == first
    assert shape(tree) == first


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
    ("source", "inside"),
    [
        ("x = 'a|b'", True),
        ("x = 'ab'|", False),
        ("x = |'ab'", False),
        ("# no|te", True),
        ("# note|", True),
        ("x = 1 |# note", False),
        ("x = f'{y|}'", False),
        ("x = f'a|{y}'", True),
        ('"""doc|\n"""', True),
        ("|", False),
    ],
)
def test_strings_and_comments_are_not_code(source: str, inside: bool) -> None:
    caret = source.index("|")
    tree = SyntaxTree.parse(Text.from_str(source.replace("|", "")), by_name("python"))
    assert tree is not None
    assert tree.is_in_string_or_comment(caret) is inside
