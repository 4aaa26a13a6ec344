"""From a caret to suggestions, with the scripted engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast_tools.languages import language_for
from ast_tools.text import Edit, Text
from model.assistant.assistant import Assistant
from model.assistant.suggestion import Suggestion, doubts_below
from model.completer import Description
from model.engine import Completion, StopRule, Token, never_stop
from model.errors import RequestError
from model.factory import EngineSettings, load_assistant
from model.request import CancelCheck, Request, never_cancelled
from model.scripted import SURE, UNSURE
from model.snapshot import Snapshot
from model.transcript import Transcript
from tests.model.strategies import texts

Load = Callable[..., Assistant]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def made(**default: Any) -> Assistant:
        path = tmp_path / "script.json"
        path.write_text(json.dumps({"default": default}))
        return load_assistant(EngineSettings(engine="scripted", script=str(path)))

    return made


def asked(marked: str, path: str = "a.py", **more: Any) -> Request:
    """`|` marks the caret."""
    before, after = marked.split("|")
    snapshot = Snapshot("file", Text.from_str(before + after), path=path, language=language_for(path))
    return Request(snapshot, len(before.encode()), **more)


def check_tiling(suggestion: Suggestion) -> None:
    bounds = [0, *(token.end for token in suggestion.tokens)]
    assert [token.start for token in suggestion.tokens] == bounds[:-1]
    assert bounds == sorted(bounds)
    assert bounds[-1] == len(suggestion.edit.new)


def test_a_suggestion_is_an_edit_at_the_caret(load: Load) -> None:
    request = asked("größe = f(|)\n")
    (suggestion,) = load(text="x)").suggest(request).items
    assert suggestion.edit == Edit(request.caret, request.caret, b"x")
    assert suggestion.doubts == ()
    check_tiling(suggestion)


def test_what_is_taken_away_takes_its_tokens_bytes_along(load: Load) -> None:
    """The bracket is the file's; the token that wrote it is still there, with its probability and without bytes."""
    (suggestion,) = load(text="x)", unsure=["x"]).suggest(asked("f(|)\n")).items
    assert suggestion.tokens == (Token(None, 0, 1, UNSURE), Token(None, 1, 1, SURE))
    assert suggestion.doubts == ((0, 1),)


def test_new_indentation_belongs_to_the_line_feed_before_it(load: Load) -> None:
    (suggestion,) = load(text="\n    x = y\n", unsure=["y"]).suggest(asked("if a:\n\tb\nif c:|\n")).items
    assert suggestion.text == "\n\tx = y"
    new = suggestion.edit.new
    pieces = [new[token.start : token.end] for token in suggestion.tokens]
    assert pieces[:3] == [b"\n\t", b"x", b" "]
    assert [new[start:end] for start, end in suggestion.doubts] == [b"y"]
    check_tiling(suggestion)


def test_unknown_probabilities_are_no_certainty(load: Load) -> None:
    (suggestion,) = load(text="x").suggest(asked("f(|)\n")).items
    assert [token.logprob for token in suggestion.tokens] == [None]
    assert doubts_below(0.0)(suggestion) == ()


def test_neighbouring_doubts_are_one() -> None:
    spans = [(0, 1, -3.0), (1, 2, -3.0), (2, 2, -3.0), (2, 3, 0.0), (3, 4, -3.0)]
    tokens = tuple(Token(1, *span) for span in spans)
    assert doubts_below(-1.0)(Suggestion(Edit(0, 0, b"abcd"), tokens)) == ((0, 2), (3, 4))


def test_items_are_distinct(load: Load) -> None:
    assert len(load(text="x").suggest(asked("f(|", num_items=3)).items) == 1


def test_without_a_stop_the_text_is_the_models_own(load: Load) -> None:
    (suggestion,) = load(text=" x)\n").suggest(asked("f(|)\n", stop="none")).items
    assert suggestion.text == " x)\n"


@pytest.mark.parametrize(("marked", "offset"), [("|\nf()", -7), ("f()\n|", 99)])
def test_a_caret_outside_the_text_is_at_its_nearest_end(load: Load, marked: str, offset: int) -> None:
    request = asked(marked)
    (suggestion,) = load(text="g()").suggest(replace(request, caret=offset)).items
    assert suggestion.edit.start == request.caret


@pytest.mark.parametrize("more", [{"adapter": "summary"}, {"context": ("other",)}])
def test_what_no_model_has_yet_is_refused(load: Load, more: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        load(text="x").suggest(asked("f(|", **more))


class Fragments:
    """A completer that writes given tokens, whatever it is asked."""

    def __init__(self, pieces: list[str]) -> None:
        self.pieces = pieces

    def describe(self) -> Description:
        return Description("fragments", "scripted", 100)

    def complete(
        self, request: Request, stop: StopRule = never_stop, cancelled: CancelCheck = never_cancelled
    ) -> Completion:
        transcript = Transcript()
        for number, piece in enumerate(self.pieces):
            transcript.add(number, piece.encode(), None)
            if transcript.stop_by(stop):
                break
        return Completion(transcript.text, transcript.tokens(), finish="stop")

    def encode_ahead(self, request: Request, cancelled: CancelCheck = never_cancelled) -> None: ...

    def refresh(self, document: str, cancelled: CancelCheck = never_cancelled) -> bool:
        return False

    def forget(self, document: str) -> None: ...

    def cache_bytes(self, document: str | None = None) -> int:
        return 0


WORDS = ("x", "é", "🎈")
PIECES = [*WORDS, "\n", "\r\n", "    ", "\t", ")", "f(a", '"', "}"]


@given(texts, texts, st.lists(st.sampled_from(PIECES), max_size=12))
def test_tokens_tile_whatever_is_shown(before: str, after: str, pieces: list[str]) -> None:
    """And a word is with the token that wrote it, or is not shown."""
    for path in ("a.py", "a.go", "a.txt"):
        snapshot = Snapshot("file", Text.from_str(before + after), path=path, language=language_for(path))
        for suggestion in Assistant(Fragments(pieces)).suggest(Request(snapshot, len(before.encode()))).items:
            check_tiling(suggestion)
            for token in suggestion.tokens:
                piece = pieces[token.id or 0]
                shown = suggestion.edit.new[token.start : token.end].strip(b" \t\n,")
                assert piece not in WORDS or shown in (b"", piece.encode())
