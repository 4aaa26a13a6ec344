"""The syntax tree of one document, kept by incremental parsing (tree-sitter)."""

from __future__ import annotations

from collections.abc import Sequence

import tree_sitter

from ast_tools.languages import Language
from ast_tools.text import Edit, Text

MAX_PARSE_BYTES = 1 << 20
"""Larger texts get no tree: parsing them takes seconds, and indentation serves them well enough."""

MAX_REPARSE_BYTES = 1 << 15
"""Up to here a text with syntax errors is parsed from scratch, which takes about 5 ms."""


_STRING_PREFIX = "rRuUbBfFtTL"


class SyntaxTree:
    """An immutable snapshot of one parse.

    Safe to read in one thread while another makes the next: `apply` edits a copy.

    An incremental parse equals one from scratch, save around syntax errors: there tree-sitter may recover in another
    way when it reuses nodes (seen for one edit in 400 to broken JavaScript). A small text with errors is therefore
    parsed from scratch; in one larger than `MAX_REPARSE_BYTES` the nodes around an error may differ.
    """

    def __init__(self, language: Language, text: Text, tree: tree_sitter.Tree) -> None:
        self.language = language
        self.text = text
        self._tree = tree

    @classmethod
    def parse(cls, text: Text, language: Language) -> SyntaxTree | None:
        """Parse from scratch; None when the text is larger than `MAX_PARSE_BYTES`."""
        if len(text) > MAX_PARSE_BYTES:
            return None
        return cls(language, text, tree_sitter.Parser(language.grammar()).parse(text.data))

    @property
    def root(self) -> tree_sitter.Node:
        return self._tree.root_node

    def apply(self, edits: Sequence[Edit], new_text: Text) -> SyntaxTree | None:
        """The tree of `new_text`, which the edits made of this one's text, each on the result of the one before."""
        if len(new_text) > MAX_PARSE_BYTES:
            return None
        tree = self._tree.copy()
        data = self.text.data
        for edit in edits:
            data = _follow(tree, data, edit)
        if data != new_text.data:  # a log that does not lead there must not leave a wrong tree behind
            return self.parse(new_text, self.language)
        parsed = tree_sitter.Parser(self.language.grammar()).parse(data, tree)
        if len(data) <= MAX_REPARSE_BYTES and parsed.root_node.has_error:
            return self.parse(new_text, self.language)
        return SyntaxTree(self.language, new_text, parsed)

    def supposed(self, edit: Edit) -> tree_sitter.Node | None:
        """The root as it would be after an edit, parsed incrementally whatever errors there are."""
        if len(self.text) + len(edit.new) > MAX_PARSE_BYTES:
            return None
        tree = self._tree.copy()
        data = _follow(tree, self.text.data, edit)
        return tree_sitter.Parser(self.language.grammar()).parse(data, tree).root_node

    def is_in_string_or_comment(self, offset: int) -> bool:
        """Whether what is typed at the offset becomes part of a string or a comment."""
        node = self.root.descendant_for_byte_range(max(0, offset - 1), offset)
        while node is not None:
            kind = node.type
            is_inside = node.start_byte < offset < node.end_byte
            if is_inside and ("interpolation" in kind or "substitution" in kind):
                return False
            if "comment" in kind and node.start_byte < offset <= node.end_byte:
                if is_inside or self._is_line_comment(node.start_byte, offset):
                    return True
            elif is_inside and node.is_named and _is_string(kind):
                return True
            node = node.parent
        return False

    def ending_at(self, offset: int) -> str:
        """What ends the string or comment that an offset is inside of, "" in code: the begin of a line, as a rule."""
        node = self.root.descendant_for_byte_range(max(0, offset - 1), offset)
        while node is not None:
            if node.start_byte < offset < node.end_byte:
                if "interpolation" in node.type or "substitution" in node.type:
                    return ""
                is_text = "comment" in node.type or (node.is_named and _is_string(node.type))
                if is_text and (ending := self._ending_of(node)):
                    return ending
            node = node.parent
        return ""

    def _ending_of(self, node: tree_sitter.Node) -> str:
        language = self.language
        begin = self.text.slice(node.start_byte, min(node.end_byte, node.start_byte + 8)).lstrip(_STRING_PREFIX)
        if language.block_comment and begin.startswith(language.block_comment[0]):
            return language.block_comment[1]
        marks = (*language.long_quotes, *language.quotes)
        return next((mark for mark in marks if begin.startswith(mark)), "")

    def _is_line_comment(self, start: int, offset: int) -> bool:
        """Whether the comment goes on at the offset, its end: a block comment does not, nor does one a line above."""
        comment = self.text.data[start:offset]
        return comment.startswith(self.language.line_comment.encode()) and not comment.endswith((b"\n", b"\r"))


def _is_string(kind: str) -> bool:
    """Whether the node type is a string's or a character's. Between two adjacent strings there is code."""
    return ("string" in kind and kind != "concatenated_string") or kind in (
        "char_literal",
        "character_literal",
        "rune_literal",
    )


def _follow(tree: tree_sitter.Tree, data: bytes, edit: Edit) -> bytes:
    """Tell the tree of some data about an edit of it; the data after the edit."""
    edited = edit.apply_to(data)
    new_end = edit.start + len(edit.new)
    tree.edit(edit.start, edit.end, new_end, _point(data, edit.start), _point(data, edit.end), _point(edited, new_end))
    return edited


def _point(data: bytes, offset: int) -> tree_sitter.Point:
    """tree-sitter's row and column: rows end at a line feed only, columns are bytes."""
    return tree_sitter.Point(data.count(b"\n", 0, offset), offset - (data.rfind(b"\n", 0, offset) + 1))
