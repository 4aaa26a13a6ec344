"""What surrounds a caret, where a suggestion there must stop, and what of it is worth showing: the front door.

    caret_context   looks at the lines around the caret, and asks the tree whether they are code     (caret.py)
    make_stop       the rule that ends generation: with the line, or with the block                  (stop.py)
    finish          the text to show: no bracket, word or line that the file already has, its own indentation

All of it works on half-typed code and on languages without a grammar; nothing here raises.
"""

from __future__ import annotations

from ast_tools.caret import CaretContext, caret_context
from ast_tools.indentation import restyle, white_of, width_of
from ast_tools.overlap import without_overlap, without_repeated_lines
from ast_tools.stop import is_one_line, make_stop

__all__ = ["CaretContext", "caret_context", "finish", "make_stop"]


def finish(context: CaretContext, generated: str, *, is_complete: bool = True) -> str:
    r"""The text to show for what was generated, "" when nothing useful is left. Lines end with "\n".

    `is_complete` is False when the model was cut off by its token limit: a block then loses its last, half line.
    """
    cut = make_stop(context)(generated)
    text = (generated if cut is None else generated[:cut]).replace("\r\n", "\n").replace("\r", "\n")
    if is_one_line(context, generated):
        return _finish_line(context, text)
    return _finish_block(context, text, is_complete=is_complete or cut is not None)


def _finish_line(context: CaretContext, text: str) -> str:
    whole = _on_the_carets_line(context, text).partition("\n")[0]
    bare = whole.rstrip()
    line = without_overlap(context, bare)
    if line == bare:
        line = whole
    if not (line.strip() and _is_apart(context.after[:1])):
        line = line.rstrip()
    return without_repeated_lines(context, line)


def _is_apart(behind: str) -> bool:
    """Whether white space in front of the character means something: it begins a word, a string or a bracket."""
    return behind.isalnum() or (behind != "" and behind in "_\"'`([{")


def _on_the_carets_line(context: CaretContext, text: str) -> str:
    """Text that the model began on a line further down, moved up to the caret's blank line if it is as deep."""
    if not context.is_on_blank_line or not text.lstrip(" \t").startswith("\n"):
        return text
    line = text.strip("\n").rpartition("\n")[2]
    white = white_of(line)
    return line[len(white) :] if width_of(white) == width_of(context.before) else ""


def _finish_block(context: CaretContext, text: str, *, is_complete: bool) -> str:
    if not is_complete and text.strip().count("\n") > 0:
        text = text.rpartition("\n")[0]
    after_opener = not context.is_on_blank_line
    text = restyle(text, context.style, context.base_width, after_opener=after_opener)
    if "\n" not in text.rstrip():
        return without_repeated_lines(context, without_overlap(context, text.rstrip()).rstrip())
    text = without_repeated_lines(context, text).rstrip()
    if text and context.after.strip():  # what stands behind the caret goes below the block
        text += "\n" + context.indentation
    return text
