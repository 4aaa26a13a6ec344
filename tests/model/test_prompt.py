"""Prompts are laid out as each family was trained, and long files are cut to a window that stays put."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tokenizers import Tokenizer

from ast_tools.text import Edit
from model.prompts.layout import Layout
from model.prompts.window import EDGE, LEAD, MAX_LEAD, SUFFIX_STEP, Window
from model.tokenizer import ByteTokenizer, HubTokenizer
from model.tokens import NO_SERIAL, TokenizedText
from tests.model.tiny import raw_tokenizer, tokenizer

FORMATS = {
    "ours": ("qwen2.5-coder", ["<|fim_prefix|>"], ["<|fim_suffix|>"], ["<|fim_middle|>"]),
    "qwen": ("qwen2.5-coder", ["<|fim_prefix|>"], ["<|fim_suffix|>"], ["<|fim_middle|>"]),
    "starcoder2": ("starcoder2", ["<fim_prefix>"], ["<fim_suffix>"], ["<fim_middle>"]),
    "deepseek": (
        "deepseek-coder",
        ["<｜begin▁of▁sentence｜>", "<｜fim▁begin｜>"],
        ["<｜fim▁hole｜>"],
        ["<｜fim▁end｜>"],
    ),
    "sentencepiece": ("code-llama", ["<s>", "▁<PRE>"], ["▁<SUF>"], ["▁<MID>"]),
    "gpt2": ("left-to-right", [], [], []),
}


def special(tokens: HubTokenizer, names: list[str]) -> list[int]:
    found = [tokens.special_id(name) for name in names]
    assert None not in found
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("family", FORMATS)
def test_layout(family: str) -> None:
    """Markers stand where the family expects them; a family without any gets the text before the caret only."""
    tokens = tokenizer(family)
    name, prefix, suffix, middle = FORMATS[family]
    layout = Layout(tokens)
    assert layout.name == name
    text = b"x = 1\ny = (x)\n"
    before, after = TokenizedText.of(tokens, text).split(8)
    for lead in (0, 2):
        prompt = layout.prompt(before, after, lead)
        behind = lead if suffix else 0
        head = list(tokens.encode(text[:8]).ids)
        assert list(prompt.ids) == [
            *special(tokens, prefix),
            *head[: len(head) - behind],
            *special(tokens, suffix),
            *(tokens.encode(text[8:]).ids if suffix else []),
            *special(tokens, middle),
            *head[len(head) - behind :],
        ]
        assert prompt.anchor == len(prefix) + len(before) - behind
        assert len(prompt.serials) == len(prompt.ids)
        nobodys = [0, prompt.anchor, *range(len(prompt) - 1 - behind, len(prompt))] if suffix else []
        assert all(prompt.serials[i] == NO_SERIAL for i in nobodys)


@pytest.mark.parametrize("family", [name for name in FORMATS if name != "gpt2"])
def test_markers_end_a_completion(family: str) -> None:
    """A model that writes a marker or its end token has finished; none of them reaches the text."""
    tokens = tokenizer(family)
    _, _, suffix, middle = FORMATS[family]
    before, after = TokenizedText.of(tokens, b"x").split(1)
    prompt = Layout(tokens).prompt(before, after)
    assert set(special(tokens, suffix + middle)) <= prompt.end_ids
    assert all(tokens.token_bytes(end) == b"" for end in prompt.end_ids)


@pytest.mark.parametrize("family", FORMATS)
def test_a_token_that_lays_prompts_out_ends_a_completion_whoever_has_it(family: str) -> None:
    """CodeGemma ends an answer with `<|file_separator|>`, which no other family has."""
    raw = Tokenizer.from_str(raw_tokenizer(family))
    raw.add_special_tokens(["<|file_separator|>"])
    tokens = HubTokenizer(raw)
    before, after = TokenizedText.of(tokens, b"x").split(1)
    assert tokens.special_id("<|file_separator|>") in Layout(tokens).prompt(before, after).end_ids


def window_of(text: bytes, caret: int, budget: int, window: Window | None = None) -> tuple[TokenizedText, int, int]:
    tokens = TokenizedText.of(ByteTokenizer(), text)
    before, after = tokens.split(caret)
    cut_before, cut_after = (window or Window()).cut(tokens, before, after, budget)
    assert len(cut_before) + len(cut_after) <= budget
    return tokens, len(cut_before), len(cut_after)


def test_a_short_file_is_not_cut() -> None:
    assert window_of(b"x" * 100, 40, 100)[1:] == (40, 60)


def test_a_long_file_keeps_what_is_around_the_caret() -> None:
    text = b"\n".join(b"line %d" % i for i in range(400))
    _, before, after = window_of(text, len(text) // 2, 400)
    assert 200 <= before <= 300
    assert after == 100


def test_unused_room_on_one_side_goes_to_the_other() -> None:
    text = b"y\n" * 1000
    assert window_of(text, 0, 400)[1:] == (0, 400 - 400 % SUFFIX_STEP)
    assert window_of(text, 100, 400)[1:] == (100, 300 - 300 % SUFFIX_STEP)
    assert window_of(text, 2000, 400)[2] == 0


def test_a_window_starts_at_a_line() -> None:
    text = b"\n".join(b"line %d" % i for i in range(400))
    _, before, _ = window_of(text, 2000, 400)
    assert text[2000 - before : 2000].startswith((b"\n", b"line"))


def test_a_small_window_does_not_give_its_room_away_for_a_line_start() -> None:
    """The next line may be further off than the window is long."""
    for budget in (16, 40, 80, 200):
        _, before, _ = window_of(b"x" * 2990 + b"\n" + b"y" * 50 + b"\n" + b"z" * 300, 2995, budget)
        assert before >= budget // 2


def test_the_window_stays_while_one_types_and_while_one_edits_above_it() -> None:
    """A window that slid at each keystroke would turn every key each time."""
    tokens = TokenizedText.of(ByteTokenizer(), b"a line of code\n" * 400)
    window, caret = Window(), 3000
    starts = []
    for step in range(60):
        before, after = tokens.split(caret)
        cut, _ = window.cut(tokens, before, after, 800)
        starts.append(int(cut.serials[0]))
        if step % 3 == 0:
            tokens, caret = tokens.apply([Edit(5, 5, b"!")]), caret + 1
        else:
            tokens, caret = tokens.apply([Edit(caret, caret, b"k")]), caret + 1
    assert len(set(starts)) == 1


@pytest.mark.parametrize(("size", "caret"), [(1980, 1900), (6000, 1485)])
def test_a_key_and_its_taking_back_cut_the_window_once(size: int, caret: int) -> None:
    """Where a text just fits, or the part before the caret does."""
    tokens = TokenizedText.of(ByteTokenizer(), (b"a line of code\n" * 400)[:size])
    window, sizes = Window(), []
    for step in range(8):
        before, after = tokens.split(caret)
        sizes.append(len(window.cut(tokens, before, after, 1980)[0]))
        edit = Edit(caret - 1, caret, b"") if step % 2 else Edit(caret, caret, b"k")
        tokens, caret = tokens.apply([edit]), caret + (-1 if step % 2 else 1)
    assert sizes[0] == caret
    assert all(abs(one - sizes[1]) <= 1 for one in sizes[1:])
    before, after = tokens.split(300)
    assert len(window.cut(tokens, before, after[EDGE:], 1980)[0]) == 300  # with room to spare it is whole again


def test_the_window_moves_when_the_caret_has_gone_far() -> None:
    tokens = TokenizedText.of(ByteTokenizer(), b"a line of code\n" * 400)
    window = Window()
    firsts = []
    for caret in (3000, 5000, 1000):
        before, after = tokens.split(caret)
        cut, _ = window.cut(tokens, before, after, 800)
        firsts.append(int(cut.serials[0]))
        assert 450 <= len(cut) <= 600
    assert len(set(firsts)) == 3


@pytest.mark.parametrize("family", ["ours", "qwen", "deepseek", "sentencepiece"])
def test_the_lead_starts_at_a_line(family: str) -> None:
    """Whichever token of a family holds the newline."""
    tokens = tokenizer(family)
    text = b"".join(b"if a%d:\n    b = %d\n" % (i, i) for i in range(60))
    for caret in (len(text), len(text) - 3, len(text) // 2):
        before, _ = TokenizedText.of(tokens, text).split(caret)
        lead = Window().lead(tokens, before)
        assert LEAD // 2 < lead <= LEAD
        written = b"".join(tokens.token_bytes(int(i)) for i in before.ids)
        inside = b"".join(tokens.token_bytes(int(i)) for i in before.ids[len(before) - lead :])
        assert written.endswith(inside)
        assert inside.startswith(b"\n") or written.removesuffix(inside).endswith(b"\n")


def test_the_anchor_stays_while_one_types_and_then_moves_on() -> None:
    """No lead is longer than its limit, and it starts anew far less often than once a keystroke."""
    tokens = TokenizedText.of(ByteTokenizer(), b"a line of code\n" * 40)
    window, caret = Window(), 300
    anchors = []
    for step in range(400):
        before, _ = tokens.split(caret)
        lead = window.lead(tokens.tokenizer, before)
        assert 0 < lead <= MAX_LEAD
        anchors.append(int(before.serials[len(before) - lead]))
        tokens, caret = tokens.apply([Edit(caret, caret, b"\n" if step % 9 == 0 else b"k")]), caret + 1
    assert len(set(anchors)) <= 400 / (MAX_LEAD - LEAD) + 1


def test_the_anchor_follows_the_caret_upwards() -> None:
    tokens = TokenizedText.of(ByteTokenizer(), b"a line of code\n" * 40)
    window = Window()
    for caret in (500, 470, 440, 300, 16, 3, 0):
        before, _ = tokens.split(caret)
        assert min(caret, 1) <= window.lead(tokens.tokenizer, before) <= min(MAX_LEAD, caret)


def test_markers_and_lead_keep_their_identities_behind_the_same_token() -> None:
    """Whatever is edited elsewhere."""
    text, window = TokenizedText.of(ByteTokenizer(), b"x" * 400), Window()
    first = window.identities(text.split(200)[0], 100)
    assert len(set(first)) == 102 and NO_SERIAL not in first
    text = text.apply([Edit(10, 20, b"yy"), Edit(300, 300, b"z")])
    assert np.array_equal(window.identities(text.split(192)[0], 100), first)
    text = text.apply([Edit(192, 192, b"abc")])
    typed = window.identities(text.split(195)[0], 103)
    assert np.array_equal(typed[:102], first) and not set(typed[102:]) & {NO_SERIAL, *first}
    text = text.apply([Edit(150, 151, b"q")])
    within = window.identities(text.split(195)[0], 103)
    assert np.array_equal(within[: 2 + 58], first[: 2 + 58])
    assert not set(within[2 + 58 :]) & set(typed)


def test_behind_another_token_markers_and_lead_have_other_identities() -> None:
    text, window = TokenizedText.of(ByteTokenizer(), b"x" * 400), Window()
    seen: set[int] = set()
    for change, caret in ((Edit(0, 0, b"y"), 200), (Edit(0, 0, b"y"), 190), (Edit(89, 90, b"y"), 190)):
        text = text.apply([change])
        found = window.identities(text.split(caret)[0], 100)
        assert not seen & set(found.tolist())
        seen |= set(found.tolist())


def test_a_line_longer_than_the_lead_is_cut() -> None:
    before, _ = TokenizedText.of(ByteTokenizer(), b"x = 1\n" + b"y" * 1000).split(900)
    assert Window().lead(ByteTokenizer(), before) == LEAD


def test_markers_in_the_file_are_text() -> None:
    """A file that talks about the markers cannot break the prompt."""
    tokens = tokenizer("qwen")
    before, after = TokenizedText.of(tokens, b"print('<|fim_middle|>')").split(6)
    prompt = Layout(tokens).prompt(before, after)
    marker = tokens.special_id("<|fim_middle|>")
    assert np.count_nonzero(prompt.ids == marker) == 1


def test_markers_that_their_family_does_not_call_special_are_markers() -> None:
    """Qwen2.5-Coder's own files say "special": false of its markers."""
    spec = json.loads(raw_tokenizer("qwen"))
    for token in spec["added_tokens"]:
        token["special"] = False
    tokens = HubTokenizer(Tokenizer.from_str(json.dumps(spec)))
    assert Layout(tokens).name == "qwen2.5-coder"
    assert tokens.special_id("<|fim_middle|>") not in tokens.encode(b"a <|fim_middle|> b").ids


def test_added_tokens_that_are_text_are_kept() -> None:
    """Some vocabularies have runs of spaces as added tokens."""
    raw = Tokenizer.from_str(raw_tokenizer("gpt2"))
    raw.add_tokens(["        "])
    tokens = HubTokenizer(raw)
    encoded = tokens.encode(b"a        b")
    assert b"".join(tokens.token_bytes(int(i)) for i in encoded.ids) == b"a        b"
    assert len(encoded) == 3
