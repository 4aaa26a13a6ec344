"""What surrounds a caret, where a suggestion there must stop, and what of it is worth showing: the front door.

    caret_context   looks at the lines around the caret, and asks the tree whether they are code     (caret.py)
    make_stop       the rule that ends generation: with the line, or with the block                  (stop.py)
    finish          the text to show: no bracket, word or line that the file already has, its own indentation;
                    each character tells where in the generated text it came from                    (traced.py)

All of it works on half-typed code and on languages without a grammar; nothing here raises.
"""

from __future__ import annotations

import re

from ast_tools.caret import CaretContext, caret_context
from ast_tools.indentation import restyle, white_of, width_of
from ast_tools.overlap import without_overlap, without_repeated_lines
from ast_tools.stop import is_one_line, make_stop
from ast_tools.traced import TracedText

__all__ = ["CaretContext", "caret_context", "finish", "make_stop"]

_RETURN_BEFORE_LINE_FEED = re.compile(r"\r(?=\n)")
_RETURN = re.compile(r"\r")


def finish(context: CaretContext, generated: str, *, is_complete: bool = True) -> TracedText:
    r"""The text to show for what was generated, empty when nothing useful is left. Lines end with "\n".

    The origin of a character is its index in `generated`. Indentation that was changed, a line ending that was "\r" and
    the new line below a block have none.

    `is_complete` is False when the model was cut off by its token limit: a block then loses its last, half line.
    """
    cut = make_stop(context)(generated)
    text = _with_line_feeds(TracedText.of(generated)[:cut])
    if is_one_line(context, generated):
        return _finish_line(context, text)
    return _finish_block(context, text, is_complete=is_complete or cut is not None)


def _with_line_feeds(text: TracedText) -> TracedText:
    r"""Of "\r\n" the line feed stays with its origin; a "\r" alone is changed."""
    return text.sub(_RETURN_BEFORE_LINE_FEED, lambda _: "").sub(_RETURN, lambda _: "\n")


def _finish_line(context: CaretContext, text: TracedText) -> TracedText:
    whole = _on_the_carets_line(context, text)
    whole = whole[: len(str(whole).partition("\n")[0])]
    bare = whole.rstrip()
    line = without_overlap(context, bare)
    if line == bare:
        line = whole
    if not (str(line).strip() and _is_apart(context.after[:1])):
        line = line.rstrip()
    return without_repeated_lines(context, line)


def _is_apart(behind: str) -> bool:
    """Whether white space in front of the character means something: it begins a word, a string or a bracket."""
    return behind.isalnum() or (behind != "" and behind in "_\"'`([{")


def _on_the_carets_line(context: CaretContext, text: TracedText) -> TracedText:
    """Text that the model began on a line further down, moved up to the caret's blank line if it is as deep."""
    if not context.is_on_blank_line or not str(text).lstrip(" \t").startswith("\n"):
        return text
    above, newline, line = str(text).rstrip("\n").rpartition("\n")
    white = white_of(line)
    start, end = len(above + newline + white), len(above + newline + line)
    return text[start:end] if width_of(white) == width_of(context.before) else text[:0]


def _finish_block(context: CaretContext, text: TracedText, *, is_complete: bool) -> TracedText:
    if not is_complete and str(text).strip().count("\n") > 0:
        text = text[: str(text).rindex("\n")]
    after_opener = not context.is_on_blank_line
    text = restyle(text, context.style, context.base_width, after_opener=after_opener)
    if "\n" not in str(text).rstrip():
        return without_repeated_lines(context, without_overlap(context, text.rstrip()).rstrip())
    text = without_repeated_lines(context, text).rstrip()
    if text and context.after.strip():  # what stands behind the caret goes below the block
        text += f"\n{context.indentation}"
    return text
