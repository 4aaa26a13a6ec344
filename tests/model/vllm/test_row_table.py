"""The plugin's book-keeping: every row holds one token, and what is found is what was computed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from model.vllm.plugin.row_table import NO_ROW, Ints, RowTable, Serials
from model.vllm.wire import NO_SERIAL


def prompt(tokens: list[tuple[int, int]]) -> tuple[Ints, Serials]:
    ids, serials = zip(*tokens, strict=True) if tokens else ((), ())
    return np.array(ids, dtype=np.int32), np.array(serials, dtype=np.int64)


@dataclass
class Server:
    """Does what vLLM and its workers would: `held` is the pool, (token id, position) of each row."""

    documents: RowTable
    held: dict[int, tuple[int, int]] = field(default_factory=dict)
    num_requests: int = 0

    def ask(self, key: str, tokens: list[tuple[int, int]], *, is_partial: bool = False, chunk: int = 1000) -> int:
        """Serve one prompt in chunks; how many of its tokens were loaded. Asserts that they were the right ones."""
        self.num_requests += 1
        owner = f"request {self.num_requests}"
        ids, serials = prompt(tokens)
        limit = len(ids) - 1
        rows, origins = self.documents.find(key, ids, serials, limit)
        missing = np.flatnonzero(rows == NO_ROW)
        loaded = int(missing[0]) if len(missing) else limit
        for place in range(loaded):
            assert self.held[int(rows[place])] == (ids[place], origins[place])
        self.documents.lay_out(key, owner, ids, serials, is_partial=is_partial)
        for start in range(loaded, len(ids), chunk):
            end = min(start + chunk, len(ids))
            for place, row in enumerate(self.documents.record(key, owner, start, end), start):
                self.held[int(row)] = (int(ids[place]), place)
            self.documents.check_integrity()
        return loaded


def tokens_of(serials: range | list[int], vocab_size: int = 9973) -> list[tuple[int, int]]:
    return [(serial % vocab_size, serial) for serial in serials]


def server(num_rows: int = 1000, max_tokens: int = 1000) -> Server:
    return Server(RowTable(num_rows, max_tokens))


def test_what_was_computed_is_found_again_but_for_the_last_token() -> None:
    s = server()
    assert s.ask("a", tokens_of(range(50))) == 0
    assert s.ask("a", tokens_of(range(50))) == 49


def test_an_edit_takes_two_requests_and_computes_the_new_tokens_only() -> None:
    s = server()
    before, after, new = list(range(20)), list(range(25, 60)), [100, 101]
    s.ask("a", tokens_of(list(range(60))))
    assert s.ask("a", tokens_of(before + new), is_partial=True) == 20
    assert s.ask("a", tokens_of(before + new + after)) == 56
    rows, origins = s.documents.find("a", *prompt(tokens_of(before + new + after)), 57)
    assert np.flatnonzero(origins != np.arange(57)).tolist() == list(range(22, 56))
    assert NO_ROW not in rows


def test_without_the_first_request_all_behind_the_edit_is_computed() -> None:
    s = server()
    s.ask("a", tokens_of(range(60)))
    assert s.ask("a", tokens_of([*range(20), 100, *range(25, 60)])) == 20


def test_a_token_that_moves_again_and_again_keeps_the_origin_that_it_was_computed_at() -> None:
    s = server()
    s.ask("a", tokens_of(range(40)))
    for edit in range(100):
        text = [*range(10), *range(1000, 1000 + edit), *range(10, 40)]
        s.ask("a", tokens_of(text[: 10 + edit]), is_partial=True)
        s.ask("a", tokens_of(text))
    _, origins = s.documents.find("a", *prompt(tokens_of(text)), len(text) - 1)
    assert origins[10 + 99 : -1].tolist() == list(range(10, 38))


def test_tokens_without_an_identity_are_found_in_the_common_front_only() -> None:
    s = server()
    marked = [(3, NO_SERIAL), *tokens_of(range(10)), (4, NO_SERIAL), (5, NO_SERIAL)]
    s.ask("a", marked)
    assert s.ask("a", [*marked, (6, NO_SERIAL)]) == 13
    moved = [(3, NO_SERIAL), *tokens_of([50]), *tokens_of(range(10)), (4, NO_SERIAL)]
    s.ask("a", moved[:2], is_partial=True)
    assert s.ask("a", [*moved, (5, NO_SERIAL)]) == 12


def test_what_is_kept_behind_a_partial_prompt_is_found_by_its_identity_only() -> None:
    """The edit removes a token; the one that takes its place has the same id and is another token."""
    s = server()
    before, gone, after = [(1, 1), (2, 2)], [(7, 3)], [(7, 4), (8, 5), (9, 6)]
    s.ask("a", before + gone + after)
    new = [*before, (5, 10)]
    s.ask("a", new, is_partial=True)
    _, origins = s.documents.find("a", *prompt([*new, *after]), 6)
    assert origins[3:].tolist() == [3, 4, 5]


def test_documents_are_apart() -> None:
    s = server()
    s.ask("a", tokens_of(range(30)))
    assert s.ask("b", tokens_of(range(30))) == 0


def test_the_least_recently_used_document_goes_first() -> None:
    s = server(num_rows=100)
    s.ask("a", tokens_of(range(40)))
    s.ask("b", tokens_of(range(40)))
    s.ask("a", tokens_of(range(40)))
    s.ask("c", tokens_of(range(40)))
    assert s.documents.num_evictions == 1
    assert s.ask("a", tokens_of(range(40))) == 39
    assert s.ask("b", tokens_of(range(40))) == 0


def test_of_a_document_that_is_larger_than_the_pool_the_front_is_held() -> None:
    s = server(num_rows=100)
    s.ask("b", tokens_of(range(10)))
    s.ask("a", tokens_of(range(250)))
    assert s.ask("a", tokens_of(range(250))) == 100
    limited = server(num_rows=100, max_tokens=30)
    limited.ask("a", tokens_of(range(250)))
    assert limited.ask("a", tokens_of(range(250))) == 30


def test_a_request_that_lost_the_document_to_a_newer_one_saves_nothing_more() -> None:
    documents = RowTable(100, 100)
    ids, serials = prompt(tokens_of(range(40)))
    documents.lay_out("a", "older", ids, serials, is_partial=False)
    assert len(documents.record("a", "older", 0, 20)) == 20
    documents.lay_out("a", "newer", ids, serials, is_partial=False)
    assert len(documents.record("a", "older", 20, 40)) == 0
    assert len(documents.record("a", "newer", 20, 40)) == 20
    documents.check_integrity()


def test_what_is_computed_again_takes_the_place_of_what_was_held() -> None:
    documents = RowTable(100, 100)
    ids, serials = prompt(tokens_of(range(40)))
    documents.lay_out("a", "first", ids, serials, is_partial=False)
    rows = documents.record("a", "first", 0, 40)
    moved = prompt(tokens_of([99, *range(40)]))
    documents.lay_out("a", "second", *moved, is_partial=False)
    again = documents.record("a", "second", 0, 41)
    assert again[1:].tolist() == rows.tolist()
    assert documents.find("a", *moved, 41)[1].tolist() == list(range(41))
    documents.check_integrity()


def test_clearing_frees_every_row() -> None:
    s = server(num_rows=100)
    s.ask("a", tokens_of(range(40)))
    s.documents.clear()
    assert s.documents.num_held == 0 and len(s.documents) == 0
    s.documents.check_integrity()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(20, 200), st.integers(10, 200))
def test_whatever_is_asked_in_whatever_order_what_is_loaded_is_what_was_computed(
    seed: int, num_rows: int, max_tokens: int
) -> None:
    rng = random.Random(seed)
    s = server(num_rows, max_tokens)
    texts: dict[str, list[int]] = {name: list(range(rng.randint(0, 60))) for name in "abc"}
    fresh = 1000
    for _ in range(40):
        name = rng.choice("abc")
        text = texts[name]
        start = rng.randint(0, len(text))
        count = rng.randint(0, 8)
        text[start : start + rng.randint(0, 8)] = range(fresh, fresh + count)
        fresh += count
        tail = [(rng.randrange(3), NO_SERIAL) for _ in range(rng.randint(1, 3))]
        chunk = rng.choice((1, 7, 1000))
        if rng.random() < 0.6:
            s.ask(name, [(6, NO_SERIAL), *tokens_of(text[: start + count], 5)], is_partial=True, chunk=chunk)
        if rng.random() < 0.8:
            s.ask(name, [(6, NO_SERIAL), *tokens_of(text, 5), *tail], chunk=chunk)
        if rng.random() < 0.02:
            s.documents.clear()
    assert s.documents.num_held <= num_rows
