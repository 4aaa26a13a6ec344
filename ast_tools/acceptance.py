"""What accepting a suggestion does to the syntax of its file, found out by parsing the file with the suggestion in it.

A suggestion must not add an error. What closes a string, a comment or a bracket that the file closes further down adds
one, and so does a string that nothing closes, or Python in a Go file. Half-typed code has errors already, which the
suggestion may mend: a docstring that is really open is closed by it. So errors are counted before and after.
"""

from __future__ import annotations

from collections.abc import Iterator

import tree_sitter

from ast_tools.brackets import CLOSER_OF, CLOSERS, Lexer, closing_points
from ast_tools.caret import CaretContext
from ast_tools.text import Edit, encode
from ast_tools.traced import TracedText
from ast_tools.tree import SyntaxTree

_MARKS = frozenset([*CLOSERS, *CLOSER_OF, '"', "'", "`", '"""', "'''", "*/"])


def without_new_errors(context: CaretContext, text: TracedText, below: str = "") -> TracedText:
    """What of a suggestion adds no syntax error to the file: all of it, or it up to something that it must not close, or
    its first lines, or nothing.

    `below` is put in behind it. Without a tree the suggestion stays as it is.
    """
    tree = context.tree
    if tree is None or not str(text).strip():
        return text
    most = num_errors(tree)
    parts = [text, *_cut_before_closers(context, text)]
    nums = [_errors_with(context, tree, part, below, most) for part in parts]
    fewest = min(nums)
    if fewest <= most:
        return parts[nums.index(fewest)]
    fitting = (part for part in _first_lines(text) if _errors_with(context, tree, part, below, most) <= most)
    return next(fitting, text[:0])


def num_errors(tree: SyntaxTree) -> int:
    """Errors of a parse: places that the grammar could not read, and brackets and quotes that are missing."""
    num = 0
    nodes = [tree.root]
    while nodes:
        node = nodes.pop()
        if node.is_error or (node.is_missing and node.type in _MARKS):
            num += 1
        elif node.has_error:
            nodes += node.children
    return num


def _cut_before_closers(context: CaretContext, text: TracedText) -> list[TracedText]:
    """The text up to each mark in it that closes what was opened in front of it, the longest first.

    Where the file goes on with the next item, a comma takes the bracket's place.
    """
    points = closing_points(str(text), context.language, context.ending)
    cut = [text[:point].rstrip() for point in reversed(points)]
    return [part for short in cut for part in (short, short + ",") if str(part).strip()]


def _first_lines(text: TracedText) -> Iterator[TracedText]:
    """The text without its last line, without its last two, and so on."""
    while "\n" in str(text):
        text = text[: str(text).rindex("\n")].rstrip()
        yield text


def _errors_with(context: CaretContext, tree: SyntaxTree, part: TracedText, below: str, most: int) -> int:
    """Errors of the file with a part of the suggestion in it.

    What the part's last line begins is no error yet: brackets that it opens, a statement that goes on below, a
    decorator. A string or comment that it leaves open is one, which only mends another if the file closes it.
    """
    shown = str(part)
    lexer = Lexer(context.language, ending=context.ending)
    lexer.read(shown)
    is_left_open = not context.ending and lexer.ending not in ("", "\n")
    num = _num_errors_after(tree, context.caret, shown + below) + is_left_open
    if num <= most:
        return num
    if lexer.stack and not context.after.strip():
        closers = "".join(CLOSER_OF[bracket] for bracket in reversed(lexer.stack))
        num = min(num, _num_errors_after(tree, context.caret, shown + closers + below))
    last = shown[shown.rfind("\n") + 1 :]
    goes_on = lexer.stack or last.endswith("\\") or last.lstrip().startswith("@")
    has_closed = closing_points(shown, context.language, context.ending)
    return most if num > most and goes_on and not has_closed and not is_left_open else num


def _num_errors_after(tree: SyntaxTree, caret: int, new: str) -> int:
    edit = Edit(caret, caret, encode(new))
    edited = tree.apply([edit], tree.text.apply(edit))
    return 0 if edited is None else num_errors(edited)
