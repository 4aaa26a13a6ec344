"""What surrounds a caret, where a suggestion there must stop, and what of it is worth showing: the front door.

    caret_context   looks at the lines around the caret, and asks the tree whether they are code     (caret.py)
    make_stop       the rule that ends generation: with the line, or with the block                  (stop.py)
    finish          the text to show, each character of which tells where in the generated text it came from

`finish` leaves out, each in its own file:

    repetition      what goes round in circles
    foreign         Python in a file of another language
    overlap         brackets, quotes and words that stand behind the caret
    indentation     white space that is not the file's, lines that have no place
    neighbours      lines that are there already
    acceptance      what would break the file's syntax

All of it works on half-typed code and on languages without a grammar; nothing here raises.
"""

from __future__ import annotations

import re

from ast_tools.acceptance import without_new_errors
from ast_tools.caret import CaretContext, caret_context
from ast_tools.foreign import is_foreign
from ast_tools.indentation import at_depth, first_misplaced, restyle, white_of, width_of
from ast_tools.languages import Language
from ast_tools.neighbours import without_neighbours
from ast_tools.overlap import without_overlap
from ast_tools.repetition import loop_start
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
    text = _without_loop(context, _with_line_feeds(TracedText.of(generated)[:cut]))
    if is_foreign(context, str(text)):
        return text[:0]
    if is_one_line(context, generated):
        return without_new_errors(context, _finish_line(context, text))
    return _finish_block(context, text, is_complete=is_complete or cut is not None)


def _with_line_feeds(text: TracedText) -> TracedText:
    r"""Of "\r\n" the line feed stays with its origin; a "\r" alone is changed."""
    return text.sub(_RETURN_BEFORE_LINE_FEED, lambda _: "").sub(_RETURN, lambda _: "\n")


def _without_loop(context: CaretContext, text: TracedText) -> TracedText:
    lead = context.lead.replace("\r\n", "\n")
    text = text[: loop_start(lead, str(text))]
    return text[: loop_start(lead, f"{text}\n")]


def _finish_line(context: CaretContext, text: TracedText) -> TracedText:
    whole = _on_the_carets_line(context, text)
    whole = whole[: len(str(whole).partition("\n")[0])]
    bare = whole.rstrip()
    line = without_overlap(context, bare)
    if line == bare:
        line = whole
    if not (str(line).strip() and _is_apart(context.after[:1])):
        line = line.rstrip()
    line = without_neighbours(context, _at_depth(context, line))
    return line if _leaves_next_line_its_place(context, str(line)) else line[:0]


def _leaves_next_line_its_place(context: CaretContext, line: str) -> bool:
    """Whether the next line still belongs to the caret's: `return` behind `def f():` takes the block below from it."""
    language = context.language
    if language is None or not language.blocks_by_indentation or not context.next_line or context.ending:
        return True
    was, is_now = context.before.rstrip() + context.after, context.before + line + context.after
    if width_of(context.next_line) <= width_of(is_now) or first_misplaced([was, context.next_line], language):
        return True
    return first_misplaced([is_now, context.next_line], language) is None


def _is_apart(behind: str) -> bool:
    """Whether white space in front of the character means something: it begins a word, a string or a bracket."""
    return behind.isalnum() or (behind != "" and behind in "_\"'`([{")


def _on_the_carets_line(context: CaretContext, text: TracedText) -> TracedText:
    """Text that the model began on a line further down, moved up to the caret's blank line if it belongs there."""
    if not context.is_on_blank_line or not str(text).lstrip(" \t").startswith("\n"):
        return text
    bare = str(text).lstrip()
    start = len(str(text)) - len(bare)
    white = white_of(str(text)[str(text).rindex("\n", 0, start) + 1 :])
    width, own = width_of(white), width_of(context.before)
    if context.kind == "line" and width != own and width not in context.depths:
        return text[:0]
    return text[start - len(white.removeprefix(context.before)) if width > own else start :]


def _at_depth(context: CaretContext, text: TracedText) -> TracedText:
    """A suggestion on a blank line, its first line as deep as a statement may be there."""
    if not context.is_on_blank_line or context.ending:
        return text
    if context.after.strip():  # the line has its depth
        return text[len(white_of(str(text))) :]
    return at_depth(text, context.before, context.depths, context.style)


def _finish_block(context: CaretContext, text: TracedText, *, is_complete: bool) -> TracedText:
    if not is_complete and str(text).strip().count("\n") > 0:
        text = text[: str(text).rindex("\n")]
    text = _in_the_files_style(context, _on_the_carets_line(context, text))
    if context.by_indentation and context.language is not None:
        text = _well_placed(context, context.language, text)
    text = text.rstrip()
    if "\n" not in str(text):
        line = without_neighbours(context, without_overlap(context, text).rstrip())
        return without_new_errors(context, line)
    has_own_lines = context.is_on_blank_line or str(text).lstrip(" \t").startswith("\n")
    # What stands behind the caret goes below a block with lines of its own.
    below = f"\n{context.indentation}" if has_own_lines and context.after.strip() else ""
    text = without_new_errors(context, without_neighbours(context, text), below)
    return text + below if text else text


def _in_the_files_style(context: CaretContext, text: TracedText) -> TracedText:
    if context.before:
        after_opener = not context.is_on_blank_line
        return _at_depth(context, restyle(text, context.style, context.base_width, after_opener=after_opener))
    below = restyle(TracedText.put_in("\n") + text, context.style, context.base_width, after_opener=True)
    return _at_depth(context, below[1:])


def _well_placed(context: CaretContext, language: Language, text: TracedText) -> TracedText:
    """The block up to a line that is deeper or less deep than the lines above allow."""
    first, *others = str(text).split("\n")
    if not context.is_on_blank_line:  # behind the opener
        first = " " * context.base_width + (first.strip() or ":")
    number = first_misplaced([context.before + first if context.is_on_blank_line else first, *others], language)
    return text if number is None else text[: len("\n".join(str(text).split("\n")[:number]))]
