"""A draft changes the time and nothing else, and of a draft tree the chosen path stays in the cache."""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ast_tools.text import Edit
from model.cache.held_tokens import HeldTokens
from model.cache.reuse import plan_reuse
from model.embedded import attention, kv_cache
from model.embedded.decoder import Decoder
from model.embedded.drafting.drafter import Drafter, DraftTree, NewDrafter
from model.embedded.drafting.longest_match import LongestMatch
from model.embedded.drafting.no_draft import NoDraft
from model.embedded.drafting.verification import verify
from model.embedded.engine import EmbeddedEngine
from model.embedded.kv_cache import KVCache
from model.engine import Completion, Generation
from model.prompts.prompt import Prompt
from model.request import Request, Sampling
from model.tokenizer import IntArray
from model.tokens import new_serials
from tests.model.asking import prompted
from tests.model.editor import new_editor
from tests.model.tiny import CORPUS, SIZES, load_tiny, save_checkpoint, tokenizer

TOLERANCE = 1e-4
VOCABULARY = SIZES["vocab_size"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llama")
    save_checkpoint(path)
    return path


@pytest.fixture(scope="module")
def decoder(folder: Path) -> Decoder:
    return load_tiny(folder)


@pytest.fixture(scope="module")
def zones() -> Iterator[None]:
    """What an edit has moved keeps its lag: neither a small zone nor a long line is worth a turn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kv_cache, "SMALL_ZONE", 0)
        patch.setattr(kv_cache, "ROWS_A_ZONE", 0)
        patch.setattr(attention, "ROWS_A_TOKEN", 0)
        yield


def tree(ids: list[int], parents: list[int]) -> DraftTree:
    return DraftTree(np.array(ids, dtype=np.int32), np.array(parents, dtype=np.int64))


class Watching:
    """A `Drafter` that looks at the cache whenever it is asked, and remembers what was written.

    `held` is what the cache had of all slots when it was asked last, in their order.
    """

    def __init__(self, engine: EmbeddedEngine) -> None:
        self._engine = engine
        self._start = self._limit = 0
        self.written: list[int] = []
        self.held = torch.empty(0)
        self.saw: Counter[str] = Counter()

    def begin(self, prompt: Prompt, max_tokens: int) -> Drafter:
        self._start, self._limit = len(prompt), max_tokens
        return self

    def append(self, token: int) -> None:
        self.written.append(token)

    def draft(self, room: int) -> DraftTree:
        assert len(self.written) + room < self._limit, "a draft as long as that could not be written to its end"
        cache, rotate = self._engine.cache_of("file"), self._engine.decoder.rotary.rotate
        cache.check_integrity()
        written = np.arange(self._start, self._start + len(self.written) - 1)
        rows = cache.rows[written]
        self.held = cache.held[:, :, cache.rows[: self._start + len(written)]].clone()
        keys = torch.stack(
            [rotate(layer[:, rows], torch.from_numpy(written - cache.lags[rows])) for layer in cache.keys]
        )
        assert torch.equal(cache.turned[:, :, rows], keys), "a key is not rotated to where its token stands"
        self.saw["rows out of order"] += bool((np.diff(rows) != 1).any())
        self.saw["zones"] += len(cache.zones(cache.reach(cache.length))) > 1
        return self._guess(room)

    def _guess(self, room: int) -> DraftTree:
        return DraftTree.chain(np.zeros(0, dtype=np.int32))


class Told(Watching):
    """Drafts trees around what will be written, which it is told: right paths, wrong ones, and wrong ones only."""

    def __init__(self, engine: EmbeddedEngine, coming: list[int], seed: int) -> None:
        super().__init__(engine)
        self._coming, self._rng = coming, random.Random(seed)

    def _guess(self, room: int) -> DraftTree:
        rng = self._rng
        right = self._coming[len(self.written) :]
        ids: list[int] = []
        parents: list[int] = []
        end = -1  # of the path that is right
        share = rng.choice((0.0, 0.4, 0.8, 1.0))
        for index in range(rng.randint(0, min(room, 12))):
            parent = end
            if right and rng.random() < share:
                token, end = right.pop(0), index
            else:
                parent = rng.randrange(-1, index)
                siblings = {ids[i] for i in range(index) if parents[i] == parent} | set(right[:1])
                near = [token for token in self._coming if token not in siblings]
                token = rng.choice(near or [i for i in range(VOCABULARY) if i not in siblings])
            ids.append(token)
            parents.append(parent)
        drafted = tree(ids, parents)
        self.saw["trees"] += not drafted.is_chain
        return drafted


def completed(
    engine: EmbeddedEngine, complete: Callable[[], Completion], new_drafter: NewDrafter
) -> tuple[Completion, int]:
    """A completion with this drafter, and the forward passes that it takes behind its prompt."""
    forward, passes, length = engine.decoder.forward, 0, 10**9

    def begin(prompt: Prompt, max_tokens: int) -> Drafter:
        nonlocal length
        length = len(prompt)
        return new_drafter(prompt, max_tokens)

    def counting(ids: IntArray, slots: IntArray, cache: KVCache, **more: Any) -> torch.Tensor:
        nonlocal passes
        passes += int(slots[0]) >= length
        return forward(ids, slots, cache, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "new_drafter", begin)
        patch.setattr(engine.decoder, "forward", counting)
        return complete(), passes


def logprobs(completion: Completion) -> list[float | None]:
    return [token.logprob for token in completion.tokens]


def repeating_requests(temperature: float) -> Iterator[Generation]:
    """To go on from texts of few phrases, so that some of them are written again."""
    rng = np.random.default_rng(3)
    for seed in range(25):
        yield repeating_request(rng, Sampling(temperature=temperature, top_p=1.0, seed=seed))


def repeating_request(rng: np.random.Generator, sampling: Sampling) -> Generation:
    words = rng.integers(5, 250, (4, 6))
    tokens = words[rng.integers(0, 4, 10)].flatten().astype(np.int32)
    asked = Prompt(tokens, np.full(len(tokens), -1, dtype=np.int64), len(tokens))
    return prompted("file", asked, int(rng.integers(1, 24)), sampling=sampling, reuse="exact")


@pytest.mark.parametrize("temperature", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("weights", [(), (0.3, 0.6, 0.8, 0.9)], ids=["model alone", "mixed"])
def test_the_longest_match_spares_passes_and_changes_nothing_else(
    decoder: Decoder, weights: tuple[float, ...], temperature: float
) -> None:
    """Same tokens, same probabilities, be the draft right or wrong; the next request finds a sound cache."""
    engine = EmbeddedEngine(decoder, tokenizer("ours"), memory_bytes=1 << 24, copying=weights)
    spared, all_steps = 0, 0
    for request in repeating_requests(temperature):
        complete = partial(engine.complete, request)
        drafted, passes = completed(engine, complete, LongestMatch)
        engine.check_integrity()
        plain, steps = completed(engine, complete, NoDraft)
        assert steps == len(plain.tokens) - 1 == request.request.max_tokens - 1
        assert drafted.text == plain.text
        assert logprobs(drafted) == pytest.approx(logprobs(plain), abs=TOLERANCE)
        spared, all_steps = spared + steps - passes, all_steps + steps
    assert spared < all_steps
    assert spared > all_steps / 3 or not weights


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("weights", [(), (0.3, 0.6, 0.8, 0.9)], ids=["model alone", "mixed"])
def test_a_tree_spares_passes_and_changes_nothing_else(
    decoder: Decoder, weights: tuple[float, ...], temperature: float
) -> None:
    """Several children of a node, right and wrong: same tokens, probabilities, keys and values, in fewer passes."""
    engine = EmbeddedEngine(decoder, tokenizer("ours"), memory_bytes=1 << 24, copying=weights)
    saw: Counter[str] = Counter()
    for seed, request in enumerate(islice(repeating_requests(temperature), 12)):
        complete = partial(engine.complete, request)
        saw += compare(engine, engine, complete, complete, seed).saw
    assert saw["passes"] < 0.75 * saw["steps"]
    assert saw["trees"] > 8
    assert saw["rows out of order"] > 8


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_trees_within_what_is_forced_change_nothing_either(decoder: Decoder, temperature: float) -> None:
    """Tokens are run before they are chosen there, where the tree's nodes would be."""
    engine = EmbeddedEngine(decoder, tokenizer("ours"), memory_bytes=1 << 24)
    saw: Counter[str] = Counter()
    for seed, request in enumerate(islice(repeating_requests(temperature), 24)):
        prompt = replace(request.prompt, begun=b"return first + second", barred=b" ")
        complete = partial(engine.complete, replace(request, prompt=prompt))
        saw += compare(engine, engine, complete, complete, seed).saw
    assert saw["trees"] > 8


@pytest.mark.usefixtures("parts", "zones")
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_trees_between_edits_change_nothing_either(folder: Path, temperature: float) -> None:
    """Completed at every edit, some of it accepted, some of it encoded again in idle time: after each, the cache that
    saw trees holds what one holds that did not."""
    plain, drafted = (new_editor(folder, "\n".join(CORPUS)) for _ in range(2))
    chooser, saw = random.Random(5), Counter[str]()
    caret = len(plain.text.data) * 2 // 3
    while plain.text.data[caret] & 0xC0 == 0x80:
        caret += 1
    plain.caret = drafted.caret = caret
    for seed in range(25):
        sampling = Sampling(temperature=temperature, top_p=1.0, seed=seed)
        ways = [
            partial(each.completer.complete, Request(each.snapshot(), each.caret, max_tokens=14, sampling=sampling))
            for each in (plain, drafted)
        ]
        told = compare(plain.engine, drafted.engine, *ways, seed)
        saw += told.saw
        drafted.check_integrity()
        at = chooser.randrange(60)
        change = Edit(at, at + chooser.randrange(3), b"ab " * chooser.randrange(3))
        typed = tokenizer("ours").token_bytes(told.written[0]) if chooser.random() < 0.5 else b"x"
        typed = typed if typed.isascii() else b"y"
        for editor in (plain, drafted):
            editor.apply(Edit(editor.caret, editor.caret, typed))
            editor.caret += len(typed)
            if change.new or change.end > change.start:
                editor.apply(change)
                editor.caret += len(change.new) - (change.end - change.start)
            if seed % 4 == 3:
                editor.engine.refresh("file")
    assert saw["passes"] < 0.75 * saw["steps"]
    assert saw["trees"] > 8
    assert saw["rows out of order"] > 8
    assert saw["zones"] > 15


def compare(
    plain: EmbeddedEngine,
    drafted: EmbeddedEngine,
    complete_plain: Callable[[], Completion],
    complete_drafted: Callable[[], Completion],
    seed: int,
) -> Told:
    """Assert that a completion with trees is the one without, and leaves the same cache."""
    first = Watching(plain)
    expected, steps = completed(plain, complete_plain, first.begin)
    before = bookkeeping(plain.cache_of("file"))
    told = Told(drafted, first.written, seed)
    found, passes = completed(drafted, complete_drafted, told.begin)
    assert found.text == expected.text
    assert logprobs(found) == pytest.approx(logprobs(expected), abs=TOLERANCE)
    assert told.written == first.written
    assert passes <= steps
    drafted.check_integrity()
    for mine, theirs in zip(bookkeeping(drafted.cache_of("file")), before, strict=True):
        assert np.array_equal(mine, theirs)
    if told.held.numel():
        slots = told.held.shape[2]
        torch.testing.assert_close(told.held, first.held[:, :, :slots], atol=TOLERANCE, rtol=0)
    told.saw.update({"passes": passes, "steps": steps})
    free = drafted.cache_of("file").rows[drafted.cache_of("file").length :]
    assert (np.diff(free) > 0).all(), "what is typed next would leave gaps among the rows"
    return told


def bookkeeping(cache: KVCache) -> list[NDArray[Any] | int]:
    """What the cache says of its tokens."""
    known = [tokens[: cache.length].copy() for tokens in (cache.ids, cache.stale)]
    return [*known, cache.length, cache.exact_length]


parents_of_trees = st.lists(st.integers(0, 99), min_size=1, max_size=9).map(
    lambda drawn: [number % (index + 1) - 1 for index, number in enumerate(drawn)]
)
"""Each node's parent is any node before it, or -1."""


@pytest.mark.usefixtures("parts", "zones")
@given(data=st.data(), num_put_in=st.sampled_from([0, 0, 3]))
@settings(max_examples=60, deadline=None)
def test_a_kept_path_is_as_if_it_had_been_encoded_alone(decoder: Decoder, data: st.DataObject, num_put_in: int) -> None:
    """Of two trees, the second behind a path of the first, maybe after an edit: the scores along the path, what is held
    of it, what is known of it, and the scores of what comes behind it. Its keys are turned to its slots, to the bit."""
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    prompt = random_prompt(rng, 40)
    cache = KVCache(decoder.config.cache_shape, decoder.rotary)
    encode(decoder, cache, prompt)
    if num_put_in:
        prompt = extended(prompt, rng.integers(VOCABULARY, size=num_put_in), at=10)
        encode(decoder, cache, prompt)
        assert cache.lags.any()
    alone = copy.deepcopy(cache)
    for _ in range(2):
        parents = data.draw(parents_of_trees)
        path = path_to(data.draw(st.integers(-1, len(parents) - 1)), parents)
        token, *ids = rng.permutation(VOCABULARY)[: 1 + len(parents)].tolist()
        first = len(prompt)
        whole = extended(prompt, [token, *ids])
        lay_out(cache, whole)
        verified = verify(decoder, cache, token, first, tree(ids, parents))
        cache.fill(cache.holes(), whole)
        scores = [verified.logits]
        for node in path:
            assert verified.follow(ids[node])
            scores.append(verified.logits)
        assert verified.slots.tolist() == [first, *(first + 1 + node for node in path)]
        computed = cache.keys[:, :, cache.rows[verified.slots]].clone()
        rows = cache.rows.copy()
        cache.keep(verified.slots)
        cache.check_integrity()
        assert np.array_equal(rows[:first], cache.rows[:first])

        prompt = extended(prompt, [token, *(ids[node] for node in path)], serials=cache.serials[first : cache.length])
        lay_out(alone, prompt)
        chain = verify(decoder, alone, token, first, DraftTree.chain(prompt.ids[first + 1 :]))
        alone.fill(alone.holes(), prompt)
        expected = [chain.logits]
        for node in path:
            assert chain.follow(ids[node])
            expected.append(chain.logits)
        torch.testing.assert_close(torch.stack(scores), torch.stack(expected), atol=TOLERANCE, rtol=0)
        assert_same(cache, alone)
        for settled in (copy.deepcopy(cache), cache) if data.draw(st.booleans()) else (copy.deepcopy(cache),):
            settled.settle()
            settled.check_integrity()
            slots = torch.arange(first, first + len(computed[0, 0]))
            turned = torch.stack([decoder.rotary.rotate(layer, slots) for layer in computed])
            assert torch.equal(settled.turned[:, :, settled.rows[slots.numpy()]], turned)
    one = np.array([7], dtype=np.int32)
    slot = np.array([len(prompt)], dtype=np.int32)
    following, expected_following = (decoder.logits(decoder.forward(one, slot, each)) for each in (cache, alone))
    torch.testing.assert_close(following, expected_following, atol=TOLERANCE, rtol=0)


def assert_same(cache: KVCache, other: KVCache) -> None:
    """Both hold the same for each slot, in whichever rows and with whichever lags."""
    assert (cache.length, cache.exact_length) == (other.length, other.exact_length)
    for known in ("ids", "serials", "stale"):
        assert np.array_equal(getattr(cache, known), getattr(other, known)), known
    held, other_held = (each.held[:, :, each.rows[: each.length]] for each in (cache, other))
    torch.testing.assert_close(held, other_held, atol=TOLERANCE, rtol=0)


def random_prompt(rng: np.random.Generator, length: int) -> Prompt:
    return Prompt(rng.integers(VOCABULARY, size=length).astype(np.int32), new_serials(length), length)


def extended(prompt: Prompt, ids: Any, at: int | None = None, serials: NDArray[np.int64] | None = None) -> Prompt:
    """With tokens put in, by default at the end."""
    at = len(prompt) if at is None else at
    serials = new_serials(len(ids)) if serials is None else serials
    all_ids = np.insert(prompt.ids, at, ids).astype(np.int32)
    return Prompt(all_ids, np.insert(prompt.serials, at, serials), len(all_ids))


def lay_out(cache: KVCache, prompt: Prompt) -> None:
    """Splice the cache to the prompt, and use what it has of all but the tokens that are new."""
    held = slice(0, cache.length)
    cache.splice(plan_reuse(cache.ids[held], cache.serials[held], cache.exact_length, prompt, "pie"), prompt)


def encode(decoder: Decoder, cache: KVCache, prompt: Prompt) -> None:
    lay_out(cache, prompt)
    holes = cache.holes()
    decoder.forward(prompt.ids[holes], holes, cache)
    cache.fill(holes, prompt)


def path_to(node: int, parents: list[int]) -> list[int]:
    """The nodes from a root down to this one; none for -1."""
    return [] if node < 0 else [*path_to(parents[node], parents), node]


@given(data=st.data(), num_exact=st.integers(0, 12), stale=st.sets(st.integers(0, 11)))
def test_what_is_known_of_a_kept_token_goes_with_it(data: st.DataObject, num_exact: int, stale: set[int]) -> None:
    """Its id and serial, whether it is stale; and the path is exact as far as all of it was."""
    held, length = HeldTokens(), 12
    held.reserve(length)
    held.length, held.exact_length = length, num_exact
    held.ids[:length], held.serials[:length] = np.arange(100, 100 + length), np.arange(200, 200 + length)
    held.stale[[slot for slot in stale if slot >= num_exact]] = True
    slots = sorted(data.draw(st.sets(st.integers(0, length - 1), min_size=1)))
    kept = [*range(slots[0]), *slots]
    expected = [held.ids[kept].tolist(), held.serials[kept].tolist(), held.stale[kept].tolist()]
    held.keep(np.array(slots, dtype=np.int32))
    held.check_integrity()
    assert [known[: held.length].tolist() for known in (held.ids, held.serials, held.stale)] == expected
    assert held.exact_length == sum(slot < num_exact for slot in kept)


def test_a_chain_runs_without_a_mask_and_without_positions(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """They cost time, and a chain needs neither."""
    seen: list[dict[str, Any]] = []
    forward = decoder.forward

    def spy(*args: Any, **more: Any) -> torch.Tensor:
        seen.append(more)
        return forward(*args, **more)

    monkeypatch.setattr(decoder, "forward", spy)
    cache = KVCache(decoder.config.cache_shape, decoder.rotary)
    cache.reserve(8)
    for draft in (DraftTree.chain(np.array([], dtype=np.int32)), tree([1, 2, 3], [-1, 0, 1]), tree([1, 2], [-1, -1])):
        verify(decoder, cache, 5, 0, draft)
    assert [bool(more) for more in seen] == [False, False, True]


def test_keeping_a_chain_leaves_the_rows_alone(decoder: Decoder) -> None:
    cache = KVCache(decoder.config.cache_shape, decoder.rotary)
    encode(decoder, cache, random_prompt(np.random.default_rng(1), 30))
    rows = cache.rows.copy()
    cache.keep(np.arange(20, 25))
    assert (cache.length, cache.exact_length) == (25, 25)
    assert np.array_equal(cache.rows, rows)
    cache.check_integrity()


@pytest.mark.parametrize("parents", [[0], [-1, 2, 0], [-2]])
def test_a_parent_behind_its_child_is_refused(decoder: Decoder, parents: list[int]) -> None:
    cache = KVCache(decoder.config.cache_shape, decoder.rotary)
    cache.reserve(8)
    with pytest.raises(ValueError, match="parent"):
        verify(decoder, cache, 5, 0, tree(list(range(len(parents))), parents))
