"""The KV cache of an edited file: equal to an oracle, exact where it says so, and never drifting."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ast_tools.text import Edit, Text
from model.cache.reuse import plan_reuse
from model.cache.rope import SLACK, inverse_frequencies
from model.embedded import kv_cache
from model.embedded.config import read_config
from model.embedded.decoder import Decoder
from model.embedded.engine import EmbeddedEngine
from model.embedded.kv_cache import MAX_ZONES, KVCache
from model.engine_completer import EngineCompleter
from model.errors import Cancelled, EngineError, RequestError
from model.prompts.layout import Layout
from model.prompts.prompt import Prompt
from model.prompts.window import MAX_LEAD
from model.request import Request
from model.snapshot import Snapshot
from model.tokens import new_serials
from tests.model.asking import prompted
from tests.model.editor import Editor, by_slot, new_editor
from tests.model.oracle import OracleCache
from tests.model.strategies import edits_of, texts
from tests.model.tiny import CORPUS, load_tiny, save_checkpoint, tokenizer

TOLERANCE = 1e-4


@pytest.fixture(scope="module", params=["llama", "qwen3"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param)
    save_checkpoint(path, request.param)
    return path


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llama")
    save_checkpoint(path)
    return path


def fresh_logits(editor: Editor) -> torch.Tensor:
    """What a new engine computes for the editor's prompt."""
    prompt = editor.prompt()
    engine = EmbeddedEngine(editor.engine.decoder, tokenizer("ours"), memory_bytes=64 << 20)
    return engine.decoder.logits(engine.prefill(prompted("fresh", prompt, 4, reuse="off")))[0]


def frequencies_of(folder: Path, decoder: Decoder) -> torch.Tensor:
    return inverse_frequencies(decoder.config.head_dim, read_config(folder).rope)


def assert_equals_oracle(cache: KVCache, oracle: OracleCache) -> None:
    assert cache.length == len(oracle.records)
    assert [int(i) for i in cache.ids[: cache.length]] == [r.token for r in oracle.records]
    keys = torch.stack([r.keys for r in oracle.records], dim=2)
    values = torch.stack([r.values for r in oracle.records], dim=2)
    assert (by_slot(cache, cache.keys) - keys).abs().max() < TOLERANCE
    assert (by_slot(cache, cache.values) - values).abs().max() < TOLERANCE


@pytest.mark.usefixtures("parts")
@given(data=st.data())
@settings(max_examples=12, deadline=None, phases=(Phase.explicit, Phase.generate))
def test_any_edits_equal_the_oracle(folder: Path, data: st.DataObject) -> None:
    """Inserting, deleting, replacing, several places at once, moving the caret: keys, values and logits are the
    oracle's, which rotates every key by itself."""
    editor = new_editor(folder, data.draw(texts))
    oracle = OracleCache(editor.engine.decoder, frequencies_of(folder, editor.engine.decoder))
    for _ in range(data.draw(st.integers(1, 4))):
        for _ in range(data.draw(st.integers(0, 3))):
            editor.apply(data.draw(edits_of(editor.text.data)))
        editor.caret = data.draw(edits_of(editor.text.data)).start
        logits = editor.encode("pie")
        expected = oracle.update(editor.prompt(), reuse=True)
        assert_equals_oracle(editor.cache, oracle)
        assert (logits - expected).abs().max() < TOLERANCE


@pytest.mark.usefixtures("parts")
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_exact_reuse_equals_a_fresh_prefill(llama: Path, data: st.DataObject) -> None:
    """With `exact`, logits after any edits are those of a new engine, also when `pie` requests came between."""
    editor = new_editor(llama, data.draw(texts))
    for _ in range(data.draw(st.integers(1, 4))):
        for _ in range(data.draw(st.integers(0, 3))):
            editor.apply(data.draw(edits_of(editor.text.data)))
        editor.caret = data.draw(edits_of(editor.text.data)).start
        if data.draw(st.booleans()):
            editor.encode("pie")
        logits = editor.encode("exact")
        assert (logits - fresh_logits(editor)).abs().max() < TOLERANCE
        assert editor.cache.exact_length == editor.cache.length
        assert editor.cache.num_stale == 0


@pytest.mark.usefixtures("parts")
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_full_refresh_equals_a_fresh_prefill(llama: Path, data: st.DataObject) -> None:
    """When the editor was idle long enough, nothing of the edits is left in the cache but their text."""
    editor = new_editor(llama, data.draw(texts))
    editor.encode("pie")
    for _ in range(data.draw(st.integers(1, 3))):
        editor.apply(data.draw(edits_of(editor.text.data)))
    editor.caret = data.draw(edits_of(editor.text.data)).start
    editor.encode("pie")
    slices = 0
    while editor.engine.refresh("file"):
        editor.check_integrity()
        slices += 1
        assert slices < 100
    cache = editor.cache
    assert cache.exact_length == cache.length
    assert cache.num_stale == 0
    reference = new_editor(llama, "", decoder=editor.engine.decoder)
    reference.text, reference.caret = editor.text, editor.caret
    reference.encode("off")
    fresh = by_slot(reference.cache, reference.cache.keys)
    assert (by_slot(cache, cache.keys) - fresh).abs().max() < TOLERANCE
    assert (editor.encode("pie") - fresh_logits(editor)).abs().max() < TOLERANCE


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("cache_dtype", [torch.float32, torch.bfloat16])
def test_ten_thousand_edits_turn_keys_as_one_does(llama: Path, dtype: torch.dtype, cache_dtype: torch.dtype) -> None:
    """Keys that were moved to and fro ten thousand times equal, to the bit, keys that were moved once."""
    editor = new_editor(llama, "\n".join(CORPUS), decoder=load_tiny(llama, dtype, cache_dtype))
    editor.caret = len(editor.text.data) // 2
    base = editor.prompt()
    caches = []
    for name in ("worn", "once"):
        editor.engine.prefill(prompted(name, base, 4))
        cache = editor.engine.cache_of(name)
        cache.turned  # noqa: B018 - made before the edits, so that each of them turns it
        caches.append(cache)
    worn, once = caches
    place = 5
    chooser = random.Random(7)
    for step in range(10_000):
        put_in(worn, base, place, chooser.randrange(60))
        if step % 1_000 == 0:
            worn.check_integrity()
    put_in(worn, base, place, 13)
    put_in(once, base, place, 13)
    held = np.flatnonzero(once.serials >= 0)
    assert len(held) > 100
    assert np.array_equal(worn.ids, once.ids)
    assert np.array_equal(worn.serials, once.serials)
    for cache in caches:
        cache.settle()
        cache.check_integrity()
    for mine, theirs in ((worn.turned, once.turned), (worn.keys, once.keys), (worn.values, once.values)):
        assert torch.equal(mine[:, :, worn.rows[held]], theirs[:, :, once.rows[held]])


def row_of_serial(cache: KVCache) -> dict[int, int]:
    known = cache.serials >= 0
    return dict(zip(cache.serials[known].tolist(), cache.rows[known].tolist(), strict=True))


def test_an_edit_moves_no_key(editor: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was edited, a token that stays keeps its row, and only a few turns of queries are owed."""
    monkeypatch.setattr(kv_cache, "SMALL_ZONE", 0)
    editor.encode()
    chooser = random.Random(3)
    for _ in range(30):
        cache = editor.cache
        rows = row_of_serial(cache)
        turned, held = cache.turned.clone(), cache.held.clone()
        start = chooser.randrange(40)
        editor.apply(Edit(start, start + chooser.randrange(3), b"ab " * chooser.randrange(3)))
        prompt = editor.prompt()
        lay_out(cache, prompt)
        kept = row_of_serial(cache)
        assert len(kept.keys() & rows.keys()) > 100
        assert all(rows[serial] == row for serial, row in kept.items() if serial in rows)
        assert torch.equal(cache.held, held)
        assert len(cache.zones(cache.reach(cache.length))) <= MAX_ZONES
        if cache.lags.any():
            assert torch.equal(cache.turned, turned)
        editor.engine.prefill(prompted("file", prompt, 4))
        editor.check_integrity()


def test_typing_at_one_place_leaves_few_zones(editor: Editor) -> None:
    """A hundred characters put in far above the caret: as many zones as one leaves."""
    editor.encode()
    counts = []
    for typed in range(100):
        editor.apply(Edit(5 + typed, 5 + typed, b"x" if typed % 4 else b" "))
        editor.caret += 1
        editor.encode()
        counts.append(len(editor.cache.zones(editor.cache.reach(editor.cache.length))))
    assert max(counts) <= 5


@pytest.mark.parametrize(("put", "lags"), [(7, [7]), (SLACK + 1, [0, SLACK + 1])])
def test_a_small_zone_is_turned_to_its_neighbours_lag(llama: Path, put: int, lags: list[int]) -> None:
    """Twenty tokens in front of an edit go with the many behind it, unless that is far outside of the text."""
    editor = new_editor(llama, "\n".join(CORPUS * 3), context=2048)
    editor.caret = len(editor.text.data)
    editor.encode()
    cache, base = editor.cache, editor.prompt()
    put_in(cache, base, 20, put)
    assert [zone.lag for zone in cache.zones(cache.reach(cache.length))] == lags
    cache.check_integrity()


def test_rows_that_a_deletion_left_are_not_read_for_ever(llama: Path) -> None:
    editor = new_editor(llama, "\n".join(CORPUS * 9))
    editor.caret = len(editor.text.data)
    editor.encode()
    full = editor.cache.length
    editor.apply(Edit(50, len(editor.text.data) - 50, b""))
    editor.caret = len(editor.text.data)
    assert (editor.encode("exact") - fresh_logits(editor)).abs().max() < TOLERANCE
    cache = editor.cache
    assert cache.length < full // 4
    assert cache.reach(cache.length) < full // 2


def put_in(cache: KVCache, prompt: Prompt, place: int, count: int) -> None:
    """Splice the cache to the prompt with `count` foreign tokens put in at an index, in place of those there before."""
    ids = np.concatenate((prompt.ids[:place], np.full(count, 5, dtype=np.int32), prompt.ids[place:]))
    foreign = np.full(count, -1, dtype=np.int64)
    serials = np.concatenate((prompt.serials[:place], foreign, prompt.serials[place:]))
    edited = Prompt(ids, serials, prompt.anchor + count, prompt.end_ids)
    lay_out(cache, edited)


def lay_out(cache: KVCache, prompt: Prompt) -> None:
    """Splice the cache to the prompt; what it lacks is encoded later."""
    held = slice(0, cache.length)
    cache.splice(plan_reuse(cache.ids[held], cache.serials[held], cache.exact_length, prompt, "pie"), prompt)


@pytest.fixture
def editor(llama: Path) -> Iterator[Editor]:
    editor = new_editor(llama, "\n".join(CORPUS))
    editor.caret = len(editor.text.data) - 40
    yield editor
    editor.check_integrity()


def test_typing_encodes_what_was_typed(editor: Editor) -> None:
    """A keystroke costs the typed token; everything else is kept where it is, and nothing gets stale."""
    first = editor.completer.complete(Request(editor.snapshot(), editor.caret, max_tokens=1)).counts
    assert first.encoded == first.prompt
    for typed in b"\nif x":
        editor.apply(Edit(editor.caret, editor.caret, bytes((typed,))))
        editor.caret += 1
        second = editor.completer.complete(Request(editor.snapshot(), editor.caret, max_tokens=1)).counts
        assert second.encoded <= 3
        assert second.turned == second.stale == 0
        assert second.kept + second.encoded == second.prompt


def test_an_edit_far_above_encodes_itself_and_the_end_only(editor: Editor) -> None:
    editor.completer.complete(Request(editor.snapshot(), editor.caret, max_tokens=1))
    editor.apply(Edit(4, 7, b"subtract_all"))
    editor.caret += 9
    counts = editor.completer.complete(Request(editor.snapshot(), editor.caret, max_tokens=1)).counts
    assert counts.encoded <= 14
    assert counts.stale > counts.prompt // 2


def test_a_new_anchor_turns_the_suffix(editor: Editor) -> None:
    """The suffix moves behind the lines that have left the lead, without having seen them."""
    editor.caret = len(editor.text.data) // 2
    editor.completer.complete(Request(editor.snapshot(), editor.caret, max_tokens=1))
    typed = b"    total = total + 1\n" * (MAX_LEAD // 4)
    editor.apply(Edit(editor.caret, editor.caret, typed))
    editor.caret += len(typed)
    counts = editor.completer.complete(Request(editor.snapshot(), editor.caret, max_tokens=1)).counts
    assert counts.turned == counts.stale > 50
    assert (editor.encode("exact") - fresh_logits(editor)).abs().max() < TOLERANCE


def test_exact_encodes_everything_behind_the_edit(editor: Editor) -> None:
    editor.completer.complete(Request(editor.snapshot(), editor.caret, max_tokens=1, reuse="exact"))
    editor.apply(Edit(4, 7, b"subtract_all"))
    counts = editor.completer.complete(Request(editor.snapshot(), editor.caret, max_tokens=1, reuse="exact")).counts
    assert counts.turned == 0
    assert counts.stale == 0
    assert counts.encoded > counts.prompt // 2


def test_off_encodes_everything(editor: Editor) -> None:
    for _ in range(2):
        counts = editor.completer.complete(Request(editor.snapshot(), editor.caret, max_tokens=1, reuse="off")).counts
        assert counts.encoded == counts.prompt


def test_a_prefill_gives_the_state_behind_the_prompt(editor: Editor) -> None:
    """One row, however much was encoded, and what `complete` chooses its first token by."""
    engine, generation = editor.engine, prompted("file", replace(editor.prompt(), begun=b""), 1)
    for _ in range(2):
        hidden = engine.prefill(generation)
        assert hidden.shape == (1, engine.decoder.config.hidden_size)
        highest = torch.log_softmax(engine.decoder.logits(hidden)[0], -1).max()
        assert engine.complete(generation).logprob == pytest.approx(float(highest), abs=TOLERANCE)


def test_a_repeated_prompt_runs_its_last_token_only(editor: Editor) -> None:
    editor.completer.encode_ahead(Request(editor.snapshot(), editor.caret, max_tokens=1))
    counts = editor.completer.complete(Request(editor.snapshot(), editor.caret, max_tokens=1)).counts
    assert counts.encoded == 1


def test_cancelling_between_slices_keeps_what_was_encoded(editor: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prefill that was stopped half-way goes on from there, and its answer is that of a fresh one."""
    monkeypatch.setattr("model.embedded.engine.PREFILL_SLICE", 16)
    asked = iter([False, False, False, True])
    with pytest.raises(Cancelled):
        editor.completer.complete(Request(editor.snapshot(), editor.caret), cancelled=lambda: next(asked))
    editor.check_integrity()
    counts = editor.completer.complete(Request(editor.snapshot(), editor.caret, max_tokens=1)).counts
    assert counts.kept == 3 * 16
    assert (editor.encode("pie") - fresh_logits(editor)).abs().max() < TOLERANCE


def test_cancelling_while_decoding_leaves_the_cache_sound(editor: Editor) -> None:
    generated = iter([False] * 4 + [True] * 9)
    with pytest.raises(Cancelled):
        editor.completer.complete(
            Request(editor.snapshot(), editor.caret, max_tokens=50), cancelled=lambda: next(generated)
        )
    editor.check_integrity()
    assert editor.cache.length == len(editor.prompt()) or editor.cache.holes().size == 0


def test_greedy_answers_repeat_and_seeds_repeat(editor: Editor) -> None:
    from model.request import Sampling

    def text(sampling: Sampling) -> str:
        return editor.completer.complete(
            Request(editor.snapshot(), editor.caret, max_tokens=12, sampling=sampling)
        ).text

    assert text(Sampling()) == text(Sampling())
    warm = Sampling(temperature=1.5, top_p=1.0, seed=3)
    assert text(warm) == text(warm)
    assert len({text(Sampling(temperature=1.5, top_p=1.0, seed=seed)) for seed in range(5)}) > 1


def test_the_memory_budget_evicts_the_least_recently_used(llama: Path) -> None:
    """The document in use always stays; the one untouched the longest goes first."""
    tokens = tokenizer("ours")
    decoder = load_tiny(llama)
    one = 256 * 3 * decoder.config.cache_shape.bytes_per_token
    engine = EmbeddedEngine(decoder, tokens, memory_bytes=int(2.5 * one))
    completer = EngineCompleter(engine, tokens, Layout(tokens), model_name="tiny", context_tokens=512)
    for name in ("a", "b", "a", "c", "d"):
        completer.complete(Request(Snapshot(name, Text.from_str("x = 1\n" * 20)), 30, max_tokens=1))
        engine.check_integrity()
    assert engine.documents[-2:] == ("c", "d")
    assert "b" not in engine.documents
    assert completer.cache_bytes("b") == 0
    completer.forget("d")
    assert completer.cache_bytes("d") == 0


def test_going_back_to_a_file_and_editing_it_turns_its_keys(editor: Editor) -> None:
    """Keys that were released while another file was in use and made again are turned like any others."""
    other = Snapshot("other", Text.from_str("x = 1\n"))
    for _ in range(2):
        editor.completer.complete(Request(other, 3, max_tokens=1))
        editor.completer.complete(Request(editor.snapshot(), editor.caret, max_tokens=1))
    editor.apply(Edit(4, 7, b"subtract_all"))
    assert editor.completer.complete(Request(editor.snapshot(), editor.caret, max_tokens=1)).counts.turned > 0


def test_only_the_file_in_use_holds_turned_keys(editor: Editor) -> None:
    """A file opened, refreshed or gone back to takes the third of the memory that can be made again from the others."""
    editor.encode()
    engine = editor.engine

    def in_use() -> list[str]:
        return [name for name in engine.documents if engine.cache_of(name)._turned is not None]

    texts = {name: Text.from_str(f"{name} = 1\n" * 90) for name in "abc"}
    for name in "abcab":
        editor.completer.complete(Request(Snapshot(name, texts[name]), 30, max_tokens=1))
        assert in_use() == [name]
    for name in "bc":
        text = texts[name].apply(Edit(0, 0, b"!"))
        editor.completer.complete(Request(Snapshot(name, text), 30, max_tokens=1))
    assert engine.refresh("b")
    assert in_use() == ["b"]
    assert engine.documents == (
        "file",
        "a",
        "b",
        "c",
    )  # idle work is no use of a file: the least recently used goes first


@pytest.mark.parametrize("units", [6, 7, 9, 12])
def test_the_memory_budget_holds_in_every_order_of_requests(llama: Path, units: int) -> None:
    """A request takes its memory before it counts it: turned keys made again, slots for all that it may write."""
    tokens = tokenizer("ours")
    decoder = load_tiny(llama)
    memory_bytes = units * 256 * decoder.config.cache_shape.bytes_per_token
    engine = EmbeddedEngine(decoder, tokens, memory_bytes=memory_bytes)
    completer = EngineCompleter(engine, tokens, Layout(tokens), model_name="tiny", context_tokens=512)
    chooser = random.Random(units)
    for _ in range(40):
        text = Text.from_str("x = 1\n" * chooser.randrange(60))
        completer.complete(Request(Snapshot(chooser.choice("abc"), text), 0, max_tokens=chooser.choice((1, 60))))
        engine.check_integrity()
        engine.refresh(chooser.choice("abc"))
        engine.check_integrity()


def shift_by_one(cache: KVCache, serials: np.ndarray[Any, np.dtype[np.int64]], at: int) -> Any:
    """The serials of the text with a token put in and the last one dropped; the cache follows."""
    serials = np.concatenate((serials[:at], new_serials(1), serials[at:-1]))
    prompt = Prompt((serials % 251).astype(np.int32), serials, len(serials))
    lay_out(cache, prompt)
    cache.fill(cache.holes(), prompt)
    return serials


def test_lags_stay_within_the_table_of_turns(llama: Path) -> None:
    """However often a token is put in at the start: behind the table's end keys would be turned to somewhere else."""
    decoder = load_tiny(llama)
    cache, serials, most = KVCache(decoder.config.cache_shape, decoder.rotary), new_serials(400), 0
    limit = decoder.config.max_positions + SLACK
    for step in range(2 * limit):
        serials = shift_by_one(cache, serials, 0)
        most = max(most, int(np.abs(cache.lags).max()))
        if step % 100 == 0:
            cache.check_integrity()
    assert limit / 2 < most <= limit
    with pytest.raises(IndexError):
        decoder.rotary.at(torch.tensor([-limit - 1]))


def test_a_cache_in_zones_is_settled_for_a_line(llama: Path) -> None:
    """To write many tokens the keys are turned once; for few they stay where they are."""
    decoder = load_tiny(llama)
    cache = KVCache(decoder.config.cache_shape, decoder.rotary)
    serials = shift_by_one(cache, new_serials(400), 0)
    shift_by_one(cache, serials, 150)  # 250 rows lag from here on
    for steps, zones in ((1, 2), (2, 1)):
        cache.settle_for(steps)
        assert len(cache.zones(400)) == zones


def test_a_failure_in_the_middle_drops_the_cache(editor: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a turned cache would answer wrongly for ever; the next request fills a new one."""
    expected = editor.completer.complete(Request(editor.snapshot(), 20, max_tokens=3)).logprob
    editor.engine.complete(prompted("other", editor.prompt(), 1))  # the file's turned keys are released

    def fail(*_: Any) -> None:
        raise RuntimeError("can't allocate memory")

    with monkeypatch.context() as patched:
        patched.setattr("model.embedded.kv_cache.rotated", fail)
        with pytest.raises(EngineError, match="memory_mb"):
            editor.completer.complete(Request(editor.snapshot(), 20, max_tokens=3))
    assert "file" not in editor.engine.documents
    assert editor.completer.complete(Request(editor.snapshot(), 20, max_tokens=3)).logprob == pytest.approx(
        expected, abs=1e-4
    )
    editor.engine.check_integrity()


def test_a_temperature_near_zero_is_greedy(editor: Editor) -> None:
    from model.request import Sampling

    greedy = editor.completer.complete(Request(editor.snapshot(), editor.caret, max_tokens=8)).text
    for temperature in (1e-9, 1e-38, 1e-300):
        sampling = Sampling(temperature=temperature, top_p=1.0, seed=1)
        sampled = editor.completer.complete(
            Request(editor.snapshot(), editor.caret, max_tokens=8, sampling=sampling)
        ).text
        assert sampled == greedy


def test_an_answer_longer_than_the_context_leaves_half_of_it_to_the_prompt(editor: Editor) -> None:
    counts = editor.completer.complete(Request(editor.snapshot(), editor.caret, max_tokens=100_000)).counts
    assert counts.prompt > 200
    assert counts.prompt + counts.generated <= 512


def test_a_prompt_longer_than_the_model_holds_is_refused(editor: Editor) -> None:
    """Also ahead of a request; the document's cache stays as it was."""
    editor.encode()
    prompt = editor.prompt()
    long = Prompt(np.tile(prompt.ids, 3), np.full(3 * len(prompt), -1, dtype=np.int64), 0)
    for call in (editor.engine.complete, editor.engine.encode_ahead):
        with pytest.raises(RequestError, match="context_tokens"):
            call(prompted("file", long))
    assert editor.cache.exact_length == len(prompt)


def test_a_model_without_a_begin_token_has_nothing_to_say_in_front_of_a_file(llama: Path) -> None:
    """Its prompt is empty; that is no error, whatever the cache holds."""
    tokens = tokenizer("gpt2")
    engine = EmbeddedEngine(load_tiny(llama), tokens, memory_bytes=64 << 20)
    completer = EngineCompleter(engine, tokens, Layout(tokens), model_name="tiny", context_tokens=512)
    source = Snapshot("file", Text.from_str("x = 1\n"))
    assert completer.complete(Request(source, 0)).text == ""
    completer.complete(Request(source, 6, max_tokens=1))
    assert completer.complete(Request(source, 0)).text == ""
    completer.encode_ahead(Request(source, 0))
    engine.check_integrity()
    with pytest.raises(RequestError, match="empty"):
        engine.prefill(prompted("file", completer.prompt(Request(source, 0, 4))))


def test_a_file_longer_than_the_window_keeps_its_cache_while_one_types(llama: Path) -> None:
    """Typing in the middle of a long file turns and keeps; nothing is read again."""
    editor = new_editor(llama, "\n".join(CORPUS * 8), context=256)
    editor.caret = len(editor.text.data) // 2
    editor.completer.complete(Request(editor.snapshot(), editor.caret, max_tokens=4))
    for _ in range(10):
        editor.apply(Edit(editor.caret, editor.caret, b"x"))
        editor.caret += 1
        counts = editor.completer.complete(Request(editor.snapshot(), editor.caret, max_tokens=4)).counts
        assert counts.prompt <= 256
        assert counts.encoded <= 16
    editor.check_integrity()


def test_refresh_starts_near_the_caret_and_gives_way(editor: Editor) -> None:
    """The first slice lies around the caret; a cancelled refresh does nothing."""
    editor.encode("pie")
    editor.apply(Edit(4, 7, b"subtract_all"))
    editor.caret += 9
    editor.encode("pie")
    cache = editor.cache
    before = cache.stale.copy()
    with pytest.raises(Cancelled):
        editor.engine.refresh("file", lambda: True)
    assert np.array_equal(before, cache.stale)
    assert editor.engine.refresh("file") is True
    renewed = np.flatnonzero(before & ~cache.stale)
    assert np.abs(renewed - cache.anchor).max() <= 64


def test_unknown_documents_are_no_error(editor: Editor) -> None:
    editor.encode()
    assert editor.engine.refresh("nobody") is False
    assert editor.engine.cache_bytes("nobody") == 0
    editor.engine.forget("nobody")
