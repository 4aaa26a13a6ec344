"""The model floor's front door, and the engine that follows a script."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, processors

from ast_tools.text import Edit, Text
from model.engine_completer import MAX_DOCUMENTS, VIEW_BYTES, EngineCompleter
from model.errors import Cancelled, EngineError, ModelError
from model.factory import EngineSettings, load_assistant
from model.request import Request
from model.snapshot import Snapshot
from tests.model.strategies import edits_of, texts
from tests.model.tiny import raw_tokenizer, save_checkpoint, tokenizer

Load = Callable[..., EngineCompleter]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def made(*rules: dict[str, Any], **default: Any) -> EngineCompleter:
        path = tmp_path / "script.json"
        path.write_text(json.dumps({"rules": list(rules), "default": default or {"text": ""}}))
        return load_assistant(EngineSettings(engine="scripted", script=str(path))).completer

    return made


def test_the_first_matching_rule_answers(load: Load) -> None:
    completer = load({"after": r"foo\(", "text": "bar)"}, {"after": r"\(", "text": "x)"}, text="?")
    for text, answer in [("foo(", "bar)"), ("g(", "x)"), ("h", "?")]:
        assert completer.complete(Request(Snapshot("a", Text.from_str(text)), len(text))).text == answer


def test_a_rule_sees_the_text_before_the_caret_only(load: Load) -> None:
    completer = load({"after": "ö", "text": "yes"}, text="no")
    source = Snapshot("a", Text.from_str("ö🎈"))
    assert completer.complete(Request(source, 2)).text == "yes"
    assert completer.complete(Request(source, 6)).text == "no"


def test_the_stop_rule_cuts_and_the_limit_ends(load: Load) -> None:
    completer = load(text="one two three four")
    source = Snapshot("a", Text.from_str("x"))
    cut = completer.complete(Request(source, 1), lambda text: 3 if "two" in text else None)
    assert (cut.text, cut.finish) == ("one", "stop")
    short = completer.complete(Request(source, 1, max_tokens=2))
    assert (short.text, short.finish, short.counts.generated) == ("one ", "length", 2)


def test_a_delay_can_be_cancelled(load: Load) -> None:
    completer = load(text="late", delay_ms=60_000)
    asked = iter([False, False, True])
    with pytest.raises(Cancelled):
        completer.complete(Request(Snapshot("a", Text.from_str("x")), 1), cancelled=lambda: next(asked))


def test_a_script_can_fail(load: Load) -> None:
    with pytest.raises(EngineError, match="out of order"):
        load(fail="The machine is out of order.").complete(Request(Snapshot("a", Text.from_str("x")), 1))


@pytest.mark.parametrize("content", ["not json", "[]", '{"rules": [{"after": "("}]}', '{"rules": [{}]}'])
def test_a_broken_script_says_so(tmp_path: Path, content: str) -> None:
    path = tmp_path / "script.json"
    path.write_text(content)
    for script in (str(path), str(tmp_path / "none.json"), None):
        with pytest.raises(ModelError, match="script"):
            load_assistant(EngineSettings(engine="scripted", script=script))


@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_the_model_reads_the_text_whatever_the_edits_say(data: st.DataObject) -> None:
    """Right, missing, too few and wrong edit logs all end in the tokens of the text."""
    from model.prompts.layout import Layout
    from model.scripted import ScriptedEngine

    tokens = tokenizer("ours")
    completer = EngineCompleter(ScriptedEngine(), tokens, Layout(tokens), model_name="", context_tokens=4096)
    text, revision = Text.from_str(data.draw(texts)), 0
    log: tuple[Edit, ...] = ()
    for _ in range(4):
        for _ in range(data.draw(st.integers(0, 3))):
            edit = data.draw(edits_of(text.data))
            text, revision, log = text.apply(edit), revision + 1, (*log, edit)
        kept = data.draw(st.integers(0, 4))
        told = data.draw(st.sampled_from([log, log[len(log) - kept :], (Edit(0, 0, b"?"),)]))
        caret = data.draw(edits_of(text.data)).start
        prompt = completer.prompt(Request(Snapshot("a", text, revision, told), caret, 8))
        known = completer._known["a"].tokens
        known.check_integrity()
        assert known.data == text.data
        head, rest = np.split(prompt.ids, [prompt.anchor])
        after, lead = np.split(rest, [int(np.flatnonzero(rest == tokens.special_id("<|fim_middle|>"))[0])])
        body = np.concatenate((head, lead, after))
        assert b"".join(tokens.token_bytes(int(i)) for i in body) == text.data


def test_a_caret_outside_the_text_is_at_its_end(load: Load) -> None:
    completer = load({"after": "end", "text": "yes"})
    assert completer.complete(Request(Snapshot("a", Text.from_str("end")), 99)).text == "yes"
    assert completer.complete(Request(Snapshot("a", Text.from_str("end")), -5)).text == ""


def test_a_caret_inside_a_character_is_before_it(load: Load) -> None:
    completer = load({"after": "before", "text": "yes"})
    assert completer.complete(Request(Snapshot("a", Text.from_str("before🎈")), 8)).text == "yes"


def test_a_huge_text_is_seen_around_the_caret(load: Load) -> None:
    """Megabytes cost no more than the view, and the answer is about the caret's own place."""
    completer = load({"after": "here", "text": "yes"})
    body = b"x" * 4_000_000
    text = Text(body + b"here" + body)
    completion = completer.complete(Request(Snapshot("a", text), len(body) + 4))
    assert completion.text == "yes"
    assert completion.counts.prompt <= VIEW_BYTES
    edited = text.apply(Edit(len(body), len(body), b"!"))
    assert completer.complete(Request(Snapshot("a", edited, 1), len(body) + 5)).text == "yes"


def test_the_view_of_a_huge_text_stays_while_it_is_edited() -> None:
    """Typing at the caret, above the view or behind it costs as few new tokens as in a small text."""
    from model.prompts.layout import Layout
    from model.scripted import ScriptedEngine

    tokens = tokenizer("ours")
    completer = EngineCompleter(ScriptedEngine(), tokens, Layout(tokens), model_name="", context_tokens=4096)
    text = Text(b"value = value_of(1234)\n" * 90_000)
    caret = len(text.data) // 2
    completer.prompt(Request(Snapshot("a", text), caret, 8))
    for place in (caret, 10, caret, len(text.data) - 9, caret - 300, caret + 300):
        before = completer._known["a"].tokens
        text = text.apply(Edit(place, place, b"z\n"))
        caret += 2 if place <= caret else 0
        completer.prompt(Request(Snapshot("a", text, 0), caret, 8))
        known = completer._known["a"]
        assert len(np.setdiff1d(known.tokens.serials, before.serials)) <= 8
        assert text.data[known.view_start :].startswith(known.tokens.data)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_view_shows_the_text_around_the_caret(data: st.DataObject) -> None:
    """Whatever is edited and wherever the caret goes, the view is a part of the text and holds the caret."""
    from model.prompts.layout import Layout
    from model.scripted import ScriptedEngine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.engine_completer.VIEW_BYTES", 64)
        patch.setattr("model.engine_completer.VIEW_STEP", 8)
        tokens = tokenizer("ours")
        completer = EngineCompleter(ScriptedEngine(), tokens, Layout(tokens), model_name="", context_tokens=4096)
        text = Text.from_str("ab 🎈é\n" * data.draw(st.integers(0, 30)) + data.draw(texts))
        for _ in range(6):
            for _ in range(data.draw(st.integers(0, 2))):
                text = text.apply(data.draw(edits_of(text.data)))
            caret = data.draw(edits_of(text.data)).start
            completer.prompt(Request(Snapshot("a", text), caret, 8))
            known = completer._known["a"]
            known.tokens.check_integrity()
            start, end = known.view_start, known.view_start + len(known.tokens.data)
            assert text.data[start:end] == known.tokens.data
            assert start <= caret <= end
            assert end - start <= 64 + 8
            assert caret - start >= min(8, start) - 3
            assert end - caret >= min(8, len(text.data) - end) - 3


def test_few_documents_are_remembered(load: Load) -> None:
    completer = load(text="x")
    for number in range(MAX_DOCUMENTS + 5):
        completer.complete(Request(Snapshot(str(number), Text.from_str("x")), 1))
    assert len(completer._known) == MAX_DOCUMENTS
    completer.forget(str(MAX_DOCUMENTS))
    assert str(MAX_DOCUMENTS) not in completer._known


def test_a_checkpoint_folder_loads_and_reports_its_progress(tmp_path: Path) -> None:
    """A folder with a checkpoint and a tokenizer is all that an engine needs."""
    save_checkpoint(tmp_path)
    (tmp_path / "tokenizer.json").write_text(raw_tokenizer("ours"))
    told: list[tuple[str, int]] = []
    settings_ = EngineSettings(model=str(tmp_path), dtype="float32", context_tokens=256)
    completer = load_assistant(settings_, lambda message, percent: told.append((message, percent))).completer
    assert completer.describe().engine == "embedded"
    assert completer.max_context == 256
    assert [percent for _, percent in told] == sorted(percent for _, percent in told)
    completion = completer.complete(Request(Snapshot("a", Text.from_str("def f(x):\n")), 10, max_tokens=5))
    assert completion.counts.generated <= 5
    assert completion.timings_ms.total >= completion.timings_ms.first_token > 0
    assert completion.logprob == pytest.approx(sum(token.logprob for token in completion.tokens))


@pytest.mark.parametrize(("said", "begins"), [(None, True), (False, False), (True, True)])
def test_the_begin_token_is_added_where_the_checkpoint_adds_it(tmp_path: Path, said: bool | None, begins: bool) -> None:
    """Llama 3 says so in its tokenizer.json alone; a word in tokenizer_config.json decides."""
    save_checkpoint(tmp_path)
    raw = Tokenizer.from_str(raw_tokenizer("gpt2"))
    raw.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", raw.token_to_id("<|endoftext|>"))]
    )
    (tmp_path / "tokenizer.json").write_text(raw.to_str())
    config = json.loads((tmp_path / "config.json").read_text())
    for name in ("config.json", "generation_config.json"):
        (tmp_path / name).write_text(json.dumps(config | {"bos_token_id": raw.token_to_id("<|endoftext|>")}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({} if said is None else {"add_bos_token": said}))
    completer = load_assistant(EngineSettings(model=str(tmp_path), dtype="float32")).completer
    prompt = completer.prompt(Request(Snapshot("a", Text.from_str("x = 1")), 5, 8))
    assert (prompt.ids[0] == raw.token_to_id("<|endoftext|>")) is np.bool_(begins)


def test_a_folder_without_a_tokenizer_says_so(tmp_path: Path) -> None:
    save_checkpoint(tmp_path)
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        load_assistant(EngineSettings(model=str(tmp_path)))


def test_a_broken_tokenizer_says_so(tmp_path: Path) -> None:
    save_checkpoint(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="tokenizer"):
        load_assistant(EngineSettings(model=str(tmp_path)))


def test_a_tokenizer_of_another_model_says_so(tmp_path: Path) -> None:
    save_checkpoint(tmp_path)
    raw = Tokenizer.from_str(raw_tokenizer("ours"))
    raw.add_special_tokens([f"<|more {number}|>" for number in range(20)])
    raw.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ModelError, match="belong together"):
        load_assistant(EngineSettings(model=str(tmp_path)))
