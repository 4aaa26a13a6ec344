"""A completion finishes the token that the caret cuts, and says nothing twice."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ast_tools.text import Text
from model.embedded.healing import ForcedPrefix, Vocabulary
from model.engine_completer import EngineCompleter
from model.factory import EngineSettings, load_embedded
from model.request import Request
from model.snapshot import Snapshot
from model.training.evaluate import end_of_line
from tests.model.tiny import tokenizer

TOKENIZER = tokenizer("ours")
VOCABULARY = Vocabulary(TOKENIZER, TOKENIZER.vocab_size)
PIECES = [TOKENIZER.token_bytes(i) for i in range(TOKENIZER.vocab_size)]
BEGINNINGS = st.one_of(st.sampled_from([piece for piece in PIECES if piece]), st.binary(min_size=1, max_size=6))


@given(BEGINNINGS)
def test_the_tokens_that_agree_are_found(begun: bytes) -> None:
    found = VOCABULARY.agreeing(begun).tolist()
    wanted = [i for i, piece in enumerate(PIECES) if piece and (piece.startswith(begun) or begun.startswith(piece))]
    assert sorted(found) == wanted


def test_tokens_that_the_model_has_not_are_none() -> None:
    found = Vocabulary(TOKENIZER, 100)
    assert all(len(found.agreeing(piece)) for piece in PIECES[:100] if piece)
    assert all(bool((found.agreeing(piece) < 100).all()) for piece in PIECES if piece)


@given(
    BEGINNINGS | st.just(b""),
    st.sampled_from([b"", b"\r\n", b" \t\r\n"]),
    st.lists(st.integers(0, 10_000), min_size=12, max_size=12),
)
def test_whatever_is_chosen_the_text_begins_so(begun: bytes, barred: bytes, choices: list[int]) -> None:
    prefix, text, rest = ForcedPrefix(VOCABULARY, begun, barred), b"", b""
    for choice in choices:
        logprobs = prefix.constrain(torch.full((len(PIECES),), -math.log(len(PIECES))))
        assert logprobs.exp().sum() == pytest.approx(1, abs=1e-4)
        possible = torch.isfinite(logprobs).nonzero()[:, 0].tolist()
        piece = PIECES[possible[choice % len(possible)]]
        text += piece
        rest += prefix.take(piece)
    assert text == begun + rest
    assert not rest or rest[0] not in barred


def test_a_token_that_ends_the_prefix_is_as_probable_as_what_may_follow() -> None:
    """Most likely a blank line follows the line's end, which may not be: then the indented line is the likelier one."""
    end, indented, word = (TOKENIZER.encode(text).ids.tolist()[-1] for text in (b"x\n", b"x\n    ", b"return"))
    assert PIECES[end] == b"\n" and PIECES[indented].startswith(b"\n ")
    logprobs = torch.full((len(PIECES),), float("-inf"))
    logprobs[[end, indented, word]] = torch.tensor([0.3, 0.2, 0.5]).log()
    prefix = ForcedPrefix(VOCABULARY, b"\n", b"\r\n")
    constrained = prefix.constrain(logprobs)
    assert constrained[[end, indented, word]].exp().tolist() == pytest.approx([0.6, 0.4, 0.0])
    assert prefix.unsure(constrained) == end
    behind = torch.full((len(PIECES),), float("-inf"))
    behind[[end, word]] = torch.tensor([0.9, 0.1]).log()
    weighed = prefix.weigh(constrained, end, behind)
    assert weighed[[end, indented]].exp().tolist() == pytest.approx([0.06 / 0.46, 0.4 / 0.46], abs=1e-4)
    assert prefix.unsure(weighed) is None
    assert ForcedPrefix(VOCABULARY, b"\n").unsure(constrained) is None


@pytest.fixture(scope="module")
def completer() -> EngineCompleter:
    return load_embedded(EngineSettings())


ABOVE = """\
import argparse

parser = argparse.ArgumentParser()
parser.add_argument("--name")
"""


def completed(completer: EngineCompleter, line: str) -> str:
    data = (ABOVE + line).encode()
    return line + completer.complete(Request(Snapshot(line, Text(data)), len(data), max_tokens=12), end_of_line).text


@pytest.mark.parametrize("cut", range(1, 4))
def test_a_space_at_the_caret_changes_nothing(completer: EngineCompleter, cut: int) -> None:
    """Behind `args = ` the model writes what it writes behind `args`, and so on between them."""
    line = completed(completer, "args")
    assert line.startswith("args = ")
    assert completed(completer, line[: 4 + cut]) == line


@pytest.mark.parametrize(
    "begun", ["parser.", "parser.p", "parser.par", "parser.parse", "parser.parse_", "parser.parse_ar"]
)
def test_a_word_that_has_begun_is_finished(completer: EngineCompleter, begun: str) -> None:
    assert completed(completer, f"args = {begun}").startswith("args = parser.parse_args(")


@pytest.mark.parametrize("line", ["args = ", "", "\n", "def main():\n", "def main():\n    "])
def test_probabilities_are_of_what_follows_the_caret(completer: EngineCompleter, line: str) -> None:
    """What was written has the probability that it was written with, given what stood there.

    Up to 8-bit weights, which a token that is encoded alone is multiplied by.
    """
    data = f"{ABOVE}{line}".encode()
    snapshot = Snapshot("scored", Text(data))
    written = completer.complete(Request(snapshot, len(data), max_tokens=2))
    assert written.text
    assert sum(completer.score(Request(snapshot, len(data)), written.text.encode())) == pytest.approx(
        written.logprob, abs=0.05
    )


def test_a_part_of_a_character_stays(completer: EngineCompleter) -> None:
    """The caret never cuts a character, so there is nothing to finish; half a character cannot be scored."""
    data = 'smile = "🙂'.encode()
    assert len(completer.tokenizer.encode("🙂".encode())) > 1
    assert completer.prompt(Request(Snapshot("smile", Text(data)), len(data), 8)).begun == b""
    assert all(score < 0 for score in completer.score(Request(Snapshot("smile", Text(data)), len(data)), b'"'))
