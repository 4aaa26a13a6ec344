"""The syntax tree of one document, kept by incremental parsing (tree-sitter)."""

from __future__ import annotations

from collections.abc import Sequence

import tree_sitter

from ast_tools.languages import Language
from ast_tools.text import Edit, Text

MAX_PARSE_BYTES = 1 << 20
"""Larger texts get no tree: parsing them takes seconds, and indentation serves them well enough."""


class SyntaxTree:
    """An immutable snapshot of one parse.

    Safe to read in one thread while another makes the next: `apply` edits a copy. Where the text has no syntax errors,
    an incremental parse equals one from scratch; around errors tree-sitter may recover differently.
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
            edited = data[: edit.start] + edit.new + data[edit.end :]
            new_end = edit.start + len(edit.new)
            tree.edit(
                edit.start, edit.end, new_end, _point(data, edit.start), _point(data, edit.end), _point(edited, new_end)
            )
            data = edited
        if data != new_text.data:  # a log that does not lead there must not leave a wrong tree behind
            return self.parse(new_text, self.language)
        return SyntaxTree(self.language, new_text, tree_sitter.Parser(self.language.grammar()).parse(data, tree))

    def is_in_string_or_comment(self, offset: int) -> bool:
        """Whether what is typed at the offset becomes part of a string or a comment."""
        node = self.root.descendant_for_byte_range(max(0, offset - 1), offset)
        while node is not None:
            kind = node.type
            if ("interpolation" in kind or "substitution" in kind) and node.start_byte < offset < node.end_byte:
                return False
            if "comment" in kind:
                return offset > node.start_byte and (offset < node.end_byte or not kind.startswith("block"))
            is_string = "string" in kind or kind in ("char_literal", "character_literal")
            if is_string and node.start_byte < offset < node.end_byte:
                return True
            node = node.parent
        return False


def _point(data: bytes, offset: int) -> tree_sitter.Point:
    """tree-sitter's row and column: rows end at a line feed only, columns are bytes."""
    return tree_sitter.Point(data.count(b"\n", 0, offset), offset - (data.rfind(b"\n", 0, offset) + 1))
