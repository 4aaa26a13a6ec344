"""What a suggestion and the text behind the caret have in common: brackets, quotes and words shown but once."""

from __future__ import annotations

from ast_tools.brackets import CLOSERS, OPENER_OF, Lexer, end_of_string, is_balanced, unopened
from ast_tools.caret import CaretContext
from ast_tools.traced import TracedText

_SEPARATORS = frozenset(",;:/> \t")


def end_on_the_line(context: CaretContext, line: str) -> int | None:
    """Where the line has come to what the file has already behind the caret, that bracket or quote included.

    before       generated   after
    foo(bar(     x)) + 1     )        ends behind the second bracket: the file has one, the line needs two
    """
    if context.ending == "\n":  # a comment is prose: only a bracket that closes nothing in it counts
        closed = (index + 1 for index, bracket in unopened(line, None) if context.after.lstrip().startswith(bracket))
        return next(closed, None)
    if context.ending and context.ending in context.after:
        return end_of_string(line, context.language, context.ending)
    num_reserved = _num_reserved(context)
    lexer = Lexer(context.language, context.open_brackets, context.ending)
    for index, bracket in lexer.feed(line):
        if bracket not in CLOSERS or len(lexer.stack) > len(context.open_brackets):
            continue
        if len(lexer.stack) > num_reserved and OPENER_OF[bracket] == lexer.stack[-1]:
            continue  # open in front of the caret, and the file does not close it
        if bracket in context.closers + context.outer_closers:
            return index + 1
    return None


def _num_reserved(context: CaretContext) -> int:
    """How many of the open brackets, from the outermost, the file closes behind the caret.

    Behind a comma the statement goes on, and closes the outer ones further down.
    """
    if context.after.rstrip().endswith(","):
        return len(context.open_brackets)
    num = 0
    for closer in reversed(context.closers):
        if num < len(context.open_brackets) and OPENER_OF[closer] == context.open_brackets[num]:
            num += 1
    return num


def without_overlap(context: CaretContext, line: TracedText) -> TracedText:
    """The generated line without what follows the caret on its line."""
    return line[: len(_before_overlap(context, str(line)))]


def _before_overlap(context: CaretContext, line: str) -> str:
    """The part of the line, from its begin, that the file does not have behind the caret."""
    end = end_on_the_line(context, line)
    mark = context.ending if context.ending.strip() and context.ending in context.after else ""
    if end is None:
        rest = line
    else:
        mark = mark or line[end - 1]
        rest = line[: end - len(mark)]
    if mark:
        # What stands between caret and mark in the file may stand there in the suggestion too.
        between = context.after.partition(mark)[0]
        if not context.ending:  # a bracket in front of it may have one of its own
            closing = (index for index, bracket in unopened(context.after, context.language) if bracket == mark)
            between = context.after[: next(closing, len(between))]
        is_twice = is_balanced(between, None) or not is_balanced(rest, None)
        return rest.removesuffix(between) if between.strip() and is_twice else rest
    return _before_tail(context, line)


def _before_tail(context: CaretContext, line: str) -> str:
    """The part in front of an end that equals all that follows, or the commas and the like that follow first.

    The end left out must open the brackets that it closes: `f()` before `)` stays, unless nothing else opens that one.
    """
    after = context.after.rstrip()
    language = context.language
    for size in range(min(len(line), len(after)), 0, -1):
        tail = after[:size]
        if not line.endswith(tail) or not tail.strip():
            continue
        rest = line[: len(line) - size]
        if size == len(after) and (
            not unopened(tail, language)
            or (context.has_loose_ends and is_balanced(context.before + rest + tail, language))
        ):
            return rest
        if all(char in _SEPARATORS for char in tail) and (">" not in tail or rest.count("<") <= rest.count(">")):
            return rest
    return line
