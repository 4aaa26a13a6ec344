"""Functions and classes of a syntax tree: where one lacks its docstring."""

from __future__ import annotations

from dataclasses import dataclass

import tree_sitter

from ast_tools.indentation import white_of
from ast_tools.tree import SyntaxTree

_DEFINITIONS = ("function_definition", "class_definition")


@dataclass(frozen=True)
class DocstringPlace:
    """Where a docstring is missing: at the byte `offset`, in front of the body. `indentation` is the body's."""

    offset: int
    indentation: str


def missing_docstring(tree: SyntaxTree, caret: int) -> DocstringPlace | None:
    """The place for a docstring of the innermost function or class that the line of a byte offset is in.

    None where there is none around it, where it has one, where its body is on the same line, or where that cannot be
    parsed. Python only: other languages document in front of a function.
    """
    if tree.language.name != "python":
        return None
    text = tree.text
    line = text.line_at(caret)
    begin = text.line_start(line) + len(white_of(text.line(line)))
    node = tree.root.descendant_for_byte_range(begin, begin)
    while node is not None and node.type not in _DEFINITIONS:
        node = node.parent
    body = None if node is None else node.child_by_field_name("body")
    if body is None or not body.named_children or body.has_error:
        return None
    start = text.line_start(text.line_at(body.start_byte))
    indentation = text.slice(start, body.start_byte)
    if white_of(indentation) != indentation or _is_string(body.named_children[0]):
        return None
    return DocstringPlace(body.start_byte, indentation)


def _is_string(statement: tree_sitter.Node) -> bool:
    if statement.type != "expression_statement" or statement.named_child_count != 1:
        return False
    return statement.named_children[0].type in ("string", "concatenated_string")
