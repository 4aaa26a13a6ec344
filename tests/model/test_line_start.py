"""A caret without text in front of it on its line: what is taken back, and what the default model writes there.

`|` is the caret.
"""

from __future__ import annotations

import numpy as np
import pytest

from ast_tools.languages import language_for
from ast_tools.text import Edit, Text
from model.assistant.assistant import Assistant
from model.engine_completer import EngineCompleter
from model.factory import EngineSettings, load_embedded
from model.prompts.caret_line import CaretLine
from model.prompts.prompt import Prompt
from model.request import Request
from model.snapshot import Snapshot
from model.tokenizer import Tokenizer
from model.tokens import TokenizedText
from tests.model.tiny import TOKENIZERS, tokenizer

METHODS = """\
class Point:
    def norm(self):
        if self.x:
            return 1

    def add(self, first):
"""


def at_caret(source: str) -> tuple[bytes, int]:
    return source.replace("|", "", 1).encode(), len(source.partition("|")[0].encode())


# Whether text is in front of the caret, what may not follow it right away, and whether its indentation is whole.
LINES = [
    ("x = |\n", True, b"", False),
    ("x|", True, b"", False),
    ("|", False, b"\r\n", False),
    ("x\n|", False, b"\r\n", False),
    ("x\r\n|\r\n", False, b"\r\n", False),
    ("if x:\n    y\n|\n", False, b"\r\n", False),
    ("if x:\n    y\n    |\n", False, b" \t\r\n", True),
    ("if x:\n    |", False, b" \t\r\n", True),  # as deep as no other line, and none is deeper
    ("if x:\n  |  \n    y\n", False, b"\r\n", False),  # someone types the four blanks
    ("if x:\r\n  |\r\n    y\r\n", False, b"\r\n", False),
    ("if x:\n\t|\n\t\ty\n", False, b"\r\n", False),
    ("if x:\n  y\n  |\n    z\n", False, b" \t\r\n", True),
    ("if x:\n  |y\n    z\n", False, b" \t", True),  # in front of text: the line has its depth
    ("x\n|y\n", False, b" \t", True),
]


@pytest.mark.parametrize(("source", "has_begun", "barred", "is_indented"), LINES)
def test_the_carets_line(source: str, has_begun: bool, barred: bytes, is_indented: bool) -> None:
    line = CaretLine.at(*at_caret(source))
    assert (line.has_begun, line.barred, line.is_indented) == (has_begun, barred, is_indented)


def reopened(tokens: Tokenizer, source: str) -> Prompt:
    """The prompt of the text in front of a caret, behind a marker."""
    data, caret = at_caret(source)
    text, line = TokenizedText.of(tokens, data), CaretLine.at(data, caret)
    before, _ = text.split(caret)
    ids = np.array([0, *before.ids], dtype=np.int32)
    prompt = Prompt(ids, np.arange(len(ids)), anchor=1, lead=len(ids) - 1)
    found = prompt.reopened(tokens, text.num_joined(caret, line.examples))
    assert data[:caret] == b"".join(tokens.token_bytes(int(token)) for token in found.ids[1:]) + found.begun
    assert len(found.serials) == len(found.ids) == 1 + found.lead
    return found


WRITTEN = [
    (METHODS + "|", "        return first"),
    ("if x:\n  |\n    y\n", "  return first"),
    (METHODS + "        |", "return first"),
    (METHODS + "        |", "(first)"),
    (METHODS + "\n|", "        return first"),
    (METHODS + "\n|", "def add():"),
    (METHODS + "\n\n|", "def add():"),
    (METHODS + "\n\n\n|", "    def add():"),
    (METHODS + "    \n|", "        return first"),
    (METHODS.replace("    ", "\t") + "|", "\t\treturn first"),
    (METHODS.replace("    ", "\t") + "\t\t|", "return first"),
    ("if x:\n\t|\n\t\ty\n", "\treturn first"),
    ("|", "import os"),
    ("\n|", "import os"),
    ("x = f(1,\n      |", "2)"),
]


@pytest.mark.parametrize("family", TOKENIZERS)
@pytest.mark.parametrize(("source", "text"), WRITTEN)
def test_the_tokens_that_stay_are_those_of_the_whole_text(family: str, source: str, text: str) -> None:
    """With either line end."""
    tokens = tokenizer(family)
    for case in (source, source.replace("\n", "\r\n")):
        kept = reopened(tokens, case).ids[1:]
        whole = tokens.encode((case.partition("|")[0] + text).encode()).ids
        assert kept.tolist() == whole[: len(kept)].tolist()


BEGUN = {
    "ours": {"x\n|": b"\n", "x\n\n|": b"\n", "if x:\n    |": b"", "if x:\n  |\n    y": b"\n  "},
    "gpt2": {"x\n|": b"\n", "x\n\n|": b"\n\n", "if x:\n    |": b"\n    ", "x\n|y": b"", "if x:\n\t|": b""},
    "starcoder2": {"x\n|": b"\n", "x\n\n|": b"\n\n", "if x:\n    |": b"\n    "},
    "qwen": {"x\n|": b"", "if x:\n|": b"", "x\n\n|": b"", "if x:\n\t|": b""},
    "deepseek": {"x\n|": b"", "x\n\n|": b"", "if x:\r\n|": b""},
    "sentencepiece": {"x\n|": b"", "x\n\n|": b"", "if x:\r\n|": b""},
}
"""What each family's tokenizer joins with text that follows, and nothing more."""


@pytest.mark.parametrize(
    ("family", "source", "begun"), [(family, *case) for family, cases in BEGUN.items() for case in cases.items()]
)
def test_as_little_is_taken_back_as_is_joined(family: str, source: str, begun: bytes) -> None:
    assert reopened(tokenizer(family), source).begun == begun


@pytest.fixture(scope="module")
def completer() -> EngineCompleter:
    return load_embedded(EngineSettings())


@pytest.fixture(scope="module")
def assistant(completer: EngineCompleter) -> Assistant:
    return Assistant(completer)


def shown(assistant: Assistant, source: str, **fields: object) -> str:
    data, caret = at_caret(source)
    snapshot = Snapshot(source, Text(data), path="a.py", language=language_for("a.py"))
    answer = assistant.suggest(Request(snapshot, caret, 24, **fields))  # type: ignore[arg-type]
    assistant.forget(source)
    return answer.items[0].text if answer.items else ""


DOCUMENTED = 'def add(a, b):\n    """Return the sum."""\n'
PARSER = 'import argparse\n\nparser = argparse.ArgumentParser()\nparser.add_argument("--name")\n'
OPENED = "def read(path):\n    file = open(path)\n"
SAME = [
    # white space in front of the caret, all of the line's indentation, and the file, with ⏎ for the line
    ("", "    ", DOCUMENTED + "⏎\n"),
    ("  ", "    ", DOCUMENTED + "⏎\n"),
    ("", "    ", OPENED + "⏎\n    return data\n"),
    (" ", "    ", OPENED + "⏎\n    return data\n"),
    ("", "        ", METHODS + "⏎\n"),
    ("      ", "        ", METHODS + "⏎\n"),
    ("", "    ", "class Point:\n    x: int = 0\n⏎\n    z: int = 0\n"),
    ("  ", "    ", "class Point:\n    x: int = 0\n⏎\n    z: int = 0\n"),
    ("", "\t", OPENED.replace("    ", "\t") + "⏎\n\treturn data\n"),
]


@pytest.mark.parametrize(("typed", "indentation", "source"), SAME)
@pytest.mark.parametrize("stop", ["auto", "line"])
def test_a_line_is_the_same_at_column_0_and_behind_its_indentation(
    assistant: Assistant, stop: str, typed: str, indentation: str, source: str
) -> None:
    wanted = shown(assistant, source.replace("⏎", f"{indentation}|"), stop=stop)
    assert wanted
    assert typed + shown(assistant, source.replace("⏎", f"{typed}|"), stop=stop) == indentation + wanted


@pytest.mark.parametrize(
    "source",
    ["|", "\n|", "\n\n\n|\n", PARSER + "|\n", PARSER + "\n|", DOCUMENTED + "\n|\n", "# a\n|", "x = 1\r\n|\r\n"],
)
def test_no_text_begins_with_an_empty_line(completer: EngineCompleter, source: str) -> None:
    """Nor with the line's end in front of the caret, which the model has written again."""
    data, caret = at_caret(source)
    completion = completer.complete(Request(Snapshot(source, Text(data)), caret, 8))
    assert completion.text.strip()
    assert completion.text[0] not in "\r\n"
    assert completion.tokens[-1].end == len(completion.text.encode())
    completer.forget(source)


def test_column_0_can_be_meant(assistant: Assistant) -> None:
    """The line's end alone is a token, too."""
    assert shown(assistant, PARSER + "|\n").startswith("parser.add_argument(")


def test_typing_a_line_from_column_0_keeps_the_cache(completer: EngineCompleter) -> None:
    """What is read ahead at column 0 serves the line at every depth, and so on for the next line."""
    data, caret = at_caret(METHODS * 20 + "|\n\n" + METHODS)
    snapshot = Snapshot("typed", Text(data))
    completer.encode_ahead(Request(snapshot, caret, 8))
    for revision, typed in enumerate(("", " ", "   ", "    ", "x", "\n", "\n", "        ", "\n"), start=1):
        edit = Edit(caret, caret, typed.encode())
        snapshot = Snapshot("typed", snapshot.text.apply(edit), revision, (edit,))
        caret += len(typed)
        counts = completer.complete(Request(snapshot, caret, 8)).counts
        assert counts.encoded <= 3
        assert counts.turned == 0
        assert counts.prompt > 500
    completer.forget("typed")
