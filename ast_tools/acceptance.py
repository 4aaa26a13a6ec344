"""What accepting a suggestion does to the syntax of its file, found out by parsing the file with the suggestion in it.

A suggestion must not add an error. What closes a string, a comment or a bracket that the file closes further down adds
one, and so does a string that nothing closes, or Python in a Go file. Half-typed code has errors already, which the
suggestion may mend: a docstring that is really open is closed by it. So errors are counted before and after.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import tree_sitter

from ast_tools.brackets import CLOSER_OF, Lexer, closing_points, unopened
from ast_tools.caret import CaretContext
from ast_tools.text import Edit, encode
from ast_tools.traced import TracedText
from ast_tools.tree import SyntaxTree

_LATER = (";", "#endif")
"""What the grammar misses and may come on a line further down."""

_ENDS = (":", ",", ";")
"""What ends a line, and is wrong where the statement does not end with it."""

MAX_CUTS = 8
"""Closing marks in front of which a suggestion is tried to be cut."""

MAX_IN_FRONT = 1 << 14
_AT_MARGIN = re.compile(rb"[^\s)\]}]")
_FILLERS = ("", "x")
"""What may be missing in front of closing brackets: nothing, or an expression."""


def without_new_errors(context: CaretContext, text: TracedText, below: str = "") -> TracedText:
    """What of a suggestion adds no syntax error to the file.

    That is all of it, or all but a mark that it must not end with, or it up to something that it must not close, or its
    first lines, or nothing.

    `below` is put in behind it. Without a tree the suggestion stays as it is.
    """
    tree = context.tree
    if tree is None or not str(text).strip():
        return text
    fewest, best = _errors_with(context, tree, str(text), below), text
    if not fewest:
        return text
    for part in [*([text[:-1]] if str(text).endswith(_ENDS) else []), *_cut_before_closers(context, text)]:
        num = _errors_with(context, tree, str(part), below)
        if num == 0:
            return part
        if num < fewest:
            fewest, best = num, part
    most = _errors_with(context, tree, "", "")
    if fewest <= most:
        return _without_strays(context, best)
    return next(
        (part for part in _first_lines(text) if _errors_with(context, tree, str(part), below) <= most), text[:0]
    )


def num_errors(root: tree_sitter.Node) -> int:
    """Errors of a parse: places that the grammar could not read, and what it misses."""
    num = 0
    nodes = [root]
    while nodes:
        node = nodes.pop()
        if node.is_error or (node.is_missing and node.type not in _LATER):
            num += 1
        elif node.has_error:
            nodes += node.children
    return num


def _without_strays(context: CaretContext, text: TracedText) -> TracedText:
    """The text up to the first bracket in it that closes nothing, neither of its own nor of the code in front of it."""
    strays = unopened(str(text), context.language, context.ending)
    if not strays or context.ending:
        return text
    lexer = Lexer(context.language)
    lexer.read(_code_in_front(context))
    strays = unopened(str(text), context.language, stack="".join(lexer.stack))
    return text[: strays[0][0]].rstrip() if strays else text


def _code_in_front(context: CaretContext) -> str:
    """The text in front of the caret from a line at the margin on, at most `MAX_IN_FRONT` bytes of it."""
    text, line = context.text, context.text.line_at(context.caret)
    while line > 0 and context.caret - text.line_start(line) < MAX_IN_FRONT:
        if _AT_MARGIN.match(text.data, text.line_start(line)) and text.line_start(line) < context.caret:
            break
        line -= 1
    return text.slice(text.line_start(line), context.caret)


def _cut_before_closers(context: CaretContext, text: TracedText) -> list[TracedText]:
    """The text up to each mark in it that closes what was opened in front of it, the longest first.

    Where the file goes on with the next item, a comma takes the bracket's place.
    """
    points = closing_points(str(text), context.language, context.ending)
    cut = [text[:point].rstrip() for point in reversed(points[:MAX_CUTS])]
    ends = [""] if context.after.strip() else ["", ","]
    return [part for short in cut for end in ends if str(part := short + end).strip()]


def _first_lines(text: TracedText) -> Iterator[TracedText]:
    """The text without its last line, without its last two, and so on."""
    while "\n" in str(text):
        text = text[: str(text).rindex("\n")].rstrip()
        yield text


def _errors_with(context: CaretContext, tree: SyntaxTree, shown: str, below: str) -> int:
    """Errors of the file with a text at the caret.

    What may be written next is no error: the brackets that are open are closed, a line that ends with a backslash goes
    on, a decorator gets its function. A string or comment that the text leaves open is one, which only mends another if
    the file closes it.
    """
    has_block = context.kind == "block" and not context.has_closer
    lexer = Lexer(context.language, context.block_brackets if has_block else context.open_brackets, context.ending)
    lexer.read(shown)
    num = _num_errors_after(tree, context.caret, shown + below)
    if num and not context.after.strip() and not lexer.ending:
        closers = "".join(CLOSER_OF[bracket] for bracket in reversed(lexer.stack))
        ends = [filler + closers for filler in _FILLERS] if closers or not shown else []
        if context.language is not None and context.language.blocks_by_indentation and "\n" not in shown:
            ends += ["\n" + context.indentation + "x"] if shown.endswith("\\") else []
            ends += [f"\n{context.indentation}class x: x"] if shown.lstrip().startswith("@") else []
        num = min([num, *(_num_errors_after(tree, context.caret, shown + end + below) for end in ends)])
    return num + _is_left_open(context, shown)


def _is_left_open(context: CaretContext, shown: str) -> bool:
    """Whether the text begins a string or comment that goes on behind it."""
    lexer = Lexer(context.language, ending=context.ending)
    lexer.read(shown)
    return not context.ending and lexer.ending not in ("", "\n")


def _num_errors_after(tree: SyntaxTree, caret: int, new: str) -> int:
    edit = Edit(caret, caret, encode(new))
    root = tree.supposed(edit) if new else tree.root
    return 0 if root is None else num_errors(root)
