"""In which requests a prompt is asked for: few, right, and never with blocks of another state of the document."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from model.prompts.prompt import Prompt
from model.prompts.window import Window
from model.tokens import NO_SERIAL, TokenRun, new_serials
from model.vllm.asking.steps import MAX_REQUESTS, RemoteDocument, Step
from model.vllm.plugin.row_table import NO_ROW, RowTable

PREFIX, SUFFIX, MIDDLE = 900_001, 900_002, 900_003


class File:
    """A text of tokens, its caret, and the prompt for it."""

    def __init__(self, size: int) -> None:
        self.serials = new_serials(size).tolist()
        self.caret = size // 2
        self.lead = 0
        self._window = Window()

    def insert(self, at: int, count: int) -> None:
        self.serials[at:at] = new_serials(count).tolist()
        self.caret += count if at <= self.caret else 0

    def delete(self, at: int, count: int) -> None:
        del self.serials[at : at + count]
        self.caret -= min(count, max(0, self.caret - at))
        self.caret = min(self.caret, len(self.serials))

    def type(self, count: int) -> None:
        self.insert(self.caret, count)
        self.lead += count

    def prompt(self) -> Prompt:
        anchor = max(0, self.caret - self.lead)
        head, lead, after = self.serials[:anchor], self.serials[anchor : self.caret], self.serials[self.caret :]
        before = np.array(self.serials[: self.caret], dtype=np.int64)
        own = self._window.identities(TokenRun(before.astype(np.int32), before), len(lead))
        serials = [NO_SERIAL, *head, own[0], *after, *own[1:]]
        ids = [PREFIX, *head, SUFFIX, *after, MIDDLE, *lead]
        return Prompt(np.array(ids, dtype=np.int32), np.array(serials, dtype=np.int64), 1 + len(head), lead=len(lead))


def spans(steps: list[Step]) -> list[tuple[int, int]]:
    return [(step.start, step.end) for step in steps]


def epoch(step: Step) -> int:
    return int(step.cache_salt.rpartition("#")[2])


def test_a_new_document_takes_one_request() -> None:
    file, remote = File(500), RemoteDocument()
    assert spans(list(remote.steps(file.prompt()))) == [(0, 503)]


def test_typing_takes_one_request_for_the_new_tokens_in_the_same_epoch() -> None:
    file, remote = File(500), RemoteDocument()
    (first,) = remote.steps(file.prompt())
    for typed in range(1, 20):
        file.type(1)
        (step,) = remote.steps(file.prompt())
        assert (step.start, step.end) == (502 + typed, 503 + typed)
        assert step.cache_salt == first.cache_salt


def test_an_edit_far_from_the_caret_takes_two_and_a_new_epoch() -> None:
    file, remote = File(2000), RemoteDocument()
    (first,) = remote.steps(file.prompt())
    file.insert(100, 12)
    edit, last = remote.steps(file.prompt())
    assert (edit.start, edit.end) == (101, 113)
    assert edit.params.is_partial and not last.params.is_partial
    assert (last.start, last.end) == (2014, 2015)
    assert epoch(edit) == epoch(last) > epoch(first)


def test_a_deletion_takes_one_request() -> None:
    file, remote = File(2000), RemoteDocument()
    list(remote.steps(file.prompt()))
    file.delete(100, 300)
    steps = remote.steps(file.prompt())
    counts, (step,) = steps.counts, steps
    assert (step.start, step.end) == (1702, 1703)
    assert (counts.prompt, counts.kept, counts.turned, counts.encoded) == (1703, 101, 1601, 1)


def test_an_edit_far_from_the_caret_computes_itself_and_the_last_token() -> None:
    file, remote = File(2000), RemoteDocument()
    file.lead = 100
    list(remote.steps(file.prompt()))
    file.insert(100, 12)
    edit, last = remote.steps(file.prompt())
    assert (edit.start, edit.end) == (101, 113)
    assert (last.start, last.end) == (2014, 2015)


def test_a_caret_that_jumps_takes_two_requests() -> None:
    file, remote = File(2000), RemoteDocument()
    list(remote.steps(file.prompt()))
    file.caret = 300
    marker, last = remote.steps(file.prompt())
    assert (marker.start, marker.end) == (301, 302)
    assert last.end - last.start == 1


def test_spans_near_each_other_are_computed_as_one() -> None:
    file, remote = File(2000), RemoteDocument()
    list(remote.steps(file.prompt()))
    file.insert(100, 2)
    file.insert(140, 2)
    assert spans(list(remote.steps(file.prompt()))) == [(101, 143), (2006, 2007)]


def test_a_rename_in_many_places_takes_few_requests() -> None:
    file, remote = File(4000), RemoteDocument()
    list(remote.steps(file.prompt()))
    for at in range(100, 4000, 200):
        file.delete(at, 1)
        file.insert(at, 1)
    assert len(list(remote.steps(file.prompt()))) <= MAX_REQUESTS


def test_a_request_that_failed_is_asked_for_again() -> None:
    file, remote = File(2000), RemoteDocument()
    list(remote.steps(file.prompt()))
    file.insert(100, 12)
    next(remote.steps(file.prompt()))
    assert len(list(remote.steps(file.prompt()))) == 2


def test_the_lead_is_refreshed_after_what_is_near_the_anchor() -> None:
    file, remote = File(2000), RemoteDocument()
    file.lead = 100
    list(remote.steps(file.prompt()))
    file.insert(890, 1)
    list(remote.steps(file.prompt()))
    refreshed = []
    while (step := remote.refresh_step()) is not None:
        refreshed.append((step.start, step.end))
        remote.refreshed(step)
    *near, lead = refreshed
    assert near and max(end for _, end in near) <= remote.held.anchor + 256 < lead[0]
    assert lead[1] == remote.held.length - 1  # the last token has seen the edit


def test_refreshing_ends_when_nothing_near_the_anchor_is_stale() -> None:
    file, remote = File(3000), RemoteDocument()
    list(remote.steps(file.prompt()))
    file.insert(100, 12)
    list(remote.steps(file.prompt()))
    stale = remote.held.num_stale
    epochs = []
    while (step := remote.refresh_step()) is not None:
        assert step.params.fresh_from == step.start < step.end and step.params.is_partial
        epochs.append(epoch(step))
        remote.refreshed(step)
    assert 400 < stale - remote.held.num_stale < 1000
    anchor = remote.held.anchor
    assert not remote.held.stale[anchor - 200 : anchor + 200].any()
    assert epochs == sorted(set(epochs))


def test_stale_tokens_that_were_deleted_and_come_back_are_not_taken_from_old_blocks() -> None:
    """The server's own prefix cache would find them by their ids, in blocks of the same salt."""
    file, remote = File(1000), RemoteDocument()
    file.caret = len(file.serials)
    list(remote.steps(file.prompt()))
    file.insert(100, 12)
    *_, stale = remote.steps(file.prompt())
    deleted = file.serials[-300:]
    file.delete(len(file.serials) - 300, 300)
    list(remote.steps(file.prompt()))
    file.serials += deleted
    file.caret = len(file.serials)
    *_, back = remote.steps(file.prompt())
    assert back.prompt.ids.tolist() == stale.prompt.ids.tolist()
    assert epoch(back) > epoch(stale)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from((60, 500, 3000)), st.booleans())
def test_the_server_computes_what_the_client_expects_and_nothing_more(seed: int, size: int, merge: bool) -> None:
    rng = random.Random(seed)
    file = File(size)
    remote = RemoteDocument() if merge else RemoteDocument(near=0, max_requests=10**6)
    documents = RowTable(20_000, 20_000)
    for number in range(12):
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = rng.randrange(len(file.serials) + 1)
            action = rng.random()
            if action < 0.3:
                file.insert(at, rng.randint(1, 9))
            elif action < 0.5:
                file.delete(at, rng.randint(1, 9))
            elif action < 0.7:
                file.type(rng.randint(1, 3))
            else:
                file.caret = at
                file.lead = rng.randint(0, 20)
        steps = remote.steps(file.prompt())
        if rng.random() < 0.2:
            continue
        for step in steps:
            ids, serials = step.prompt.ids[: step.end], step.params.serials
            assert step.params.fresh_from == step.start
            rows, _ = documents.find("d", ids, serials, step.end - 1)
            missing = np.flatnonzero(rows == NO_ROW)
            start = int(missing[0]) if len(missing) else step.end - 1
            start = min(start, step.start)
            assert start == step.start, "the server lacks what the client takes for held"
            documents.lay_out("d", f"{number} {step.end}", ids, serials, is_partial=step.params.is_partial)
            documents.record("d", f"{number} {step.end}", start, step.end)
            documents.check_integrity()
            if rng.random() < 0.05:
                break
        remote.held.check_integrity()
