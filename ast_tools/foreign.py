"""Python in a file of another language: small models write it wherever they do not know what to say.

A word or a line that only Python has is foreign in another language, unless the file has it too.
"""

from __future__ import annotations

import re

from ast_tools.brackets import code_of
from ast_tools.caret import CaretContext

_STRING = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'")
_WORDS = re.compile(r"\b(?:True|False|None|elif|def|__[a-z]+__|isinstance)\b|\bself(?=\.)|\"\"\"")
_LINES = re.compile(
    r"\s*(?P<word>def(?= \w+\()|class(?= \w+.*:$)|import(?= [\w.]+$)|from(?= [\w.]+ import )|elif\b|self(?=\.)|except\b"
    r"|(?:if|for|while|with)(?= .*:$)|(?:try|else)(?=:$)|print(?=\()|raise(?= \w+\()|\"\"\"|''')"
)
_WORDS_TOO_OF = {"rust": {"None", "self"}, "java": {'"""'}}


def is_foreign(context: CaretContext, shown: str) -> bool:
    """Whether a suggestion is Python where the file is none."""
    language = context.language
    if language is None:
        lines = (context.before + shown).split("\n")[0 if context.is_on_blank_line else 1 :]
        found = {match["word"] for line in lines if (match := _LINES.match(line.rstrip()))}
        return any(not _has(context, word) for word in found) and not _has(context, "python")
    if language.name == "python":
        return False
    code = "\n".join(code_of(_STRING.sub("''", line), language) for line in shown.split("\n"))
    words = set(_WORDS.findall(code)) - _WORDS_TOO_OF.get(language.name, set())
    return not context.ending and any(not _has(context, word) for word in words)


def _has(context: CaretContext, word: str) -> bool:
    """Whether the file has the word, apart from what the caret's line begins with."""
    pattern = re.escape(word).encode() + (rb"\b" if word.isidentifier() else b"")
    data = context.text.data
    line_start = context.caret - len(context.before.encode())
    return any(re.search(pattern, part) for part in (data[:line_start], data[context.caret :]))
