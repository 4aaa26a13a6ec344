"""What the file has already said is found, and mixed in as a distribution."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.embedded.copying import FILE_NAME, CopyMixture, read_weights
from model.embedded.drafting.longest_match import AGREEING, DRAFT_TOKENS, LongestMatch
from model.embedded.history import MAX_MATCH
from model.errors import ModelError
from model.prompts.prompt import Prompt
from model.training.fit_copying import PRIOR, Observation, fit_weights

PREFIX, SUFFIX, MIDDLE, VOCABULARY = 20, 21, 22, 23
WEIGHTS = (0.1, 0.2, 0.4, 0.8)

ids = st.lists(st.integers(0, 3), max_size=25)


def prompt(head: list[int], after: list[int], lead: list[int]) -> Prompt:
    tokens = np.array([PREFIX, *head, SUFFIX, *after, MIDDLE, *lead], dtype=np.int32)
    return Prompt(tokens, np.full(len(tokens), -1, dtype=np.int64), 1 + len(head), frozenset(), len(lead))


def plain_search(before: list[int], after: list[int], most: int) -> tuple[int, int]:
    """The longest earlier occurrence of the end of `before`, in it or else in `after`, the latest one of several."""
    for length in range(min(most, len(before)), 0, -1):
        end = before[len(before) - length :]
        for text in (before, after):
            for at in range(len(text) - length - 1, -1, -1):
                if text[at : at + length] == end:
                    return length, text[at + length]
    return 0, 0


@given(head=ids, after=ids, lead=ids, generated=ids)
def test_the_longest_match_is_found(head: list[int], after: list[int], lead: list[int], generated: list[int]) -> None:
    """In what was generated, in the lead, in the prefix, then in the suffix; never across their borders."""
    copies = CopyMixture(prompt(head, after, lead), WEIGHTS, len(generated))
    before = [PREFIX, *head, *lead]
    for token in generated:
        assert copies.find() == plain_search(before, after, len(WEIGHTS))
        copies.append(token)
        before.append(token)
    assert copies.find() == plain_search(before, after, len(WEIGHTS))


@given(head=ids, after=ids, lead=ids, generated=ids, room=st.integers(0, 8))
def test_a_draft_is_what_followed_the_longest_match(
    head: list[int], after: list[int], lead: list[int], generated: list[int], room: int
) -> None:
    drafter, before = LongestMatch(prompt(head, after, lead), len(generated)), [PREFIX, *head, *lead, *generated]
    for token in generated:
        drafter.append(token)
    length, following = plain_search(before, after, MAX_MATCH)
    tree = drafter.draft(room)
    assert tree.is_chain
    draft, room = tree.ids.tolist(), min(room, DRAFT_TOKENS)
    if length < AGREEING or not room:
        assert not draft
        return
    assert draft[0] == following
    assert len(draft) <= room
    run = before[-length:] + draft
    texts = [text[at : at + len(run)] for text in (before, after) for at in range(len(text))]
    assert run in texts
    assert len(draft) == room or run in (before[-len(run) :], after[len(after) - len(run) :])


def test_the_mixture_is_a_distribution_that_moves_to_the_copy() -> None:
    logits = torch.linspace(-2, 2, VOCABULARY)
    model = torch.softmax(logits, -1)
    copies = CopyMixture(prompt([1, 2, 3], [], [1, 2]), WEIGHTS, 4)
    assert copies.find() == (2, 3)
    mixed = copies.mix(logits).exp()
    assert float(mixed.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(mixed[3]) == pytest.approx(0.2 + 0.8 * float(model[3]), abs=1e-5)
    assert float(mixed[7]) == pytest.approx(0.8 * float(model[7]), abs=1e-5)


def test_without_weights_or_matches_the_model_speaks_alone() -> None:
    logits = torch.linspace(-2, 2, VOCABULARY)
    for copies in (CopyMixture(prompt([1, 2], [], [1]), (), 1), CopyMixture(prompt([1], [2], [3]), WEIGHTS, 1)):
        torch.testing.assert_close(copies.mix(logits), torch.log_softmax(logits, -1))


def test_a_left_to_right_prompt_copies_too() -> None:
    tokens = np.array([1, 2, 3, 1, 2], dtype=np.int32)
    copies = CopyMixture(Prompt(tokens, np.full(5, -1, dtype=np.int64), 5), WEIGHTS, 1)
    assert copies.find() == (2, 3)


def test_weights_stand_in_the_model_s_folder(tmp_path: Path) -> None:
    assert read_weights(tmp_path) == ()
    (tmp_path / FILE_NAME).write_text(json.dumps({"copying": WEIGHTS}))
    assert read_weights(tmp_path) == WEIGHTS
    for broken in ("{}", "[", '{"copying": [1.5]}', '{"copying": ["x"]}'):
        (tmp_path / FILE_NAME).write_text(broken)
        with pytest.raises(ModelError, match=r"keyturn\.json"):
            read_weights(tmp_path)


def test_weights_are_fitted_to_what_helps() -> None:
    """High where the copy is right and the model unsure, low where it is wrong, middling where nothing was seen."""
    helps = [Observation(3, True, 0.1)] * 90 + [Observation(3, False, 0.5)] * 10
    misleads = [Observation(2, False, 0.5)] * 99 + [Observation(2, True, 0.5)]
    known = [Observation(4, True, 1.0)] * 50 + [Observation(4, False, 0.5)] * 50
    weights = fit_weights([*helps, *misleads, *known])
    assert len(weights) == MAX_MATCH
    assert 0.8 < weights[2] < 0.95
    assert weights[1] < 0.05
    assert weights[3] < 0.1  # the model knew all that the copy got right
    assert weights[9] == pytest.approx(0.5)
    assert all(0 < weight < 1 for weight in weights)


def test_the_fit_is_the_most_probable_one() -> None:
    """No other weight makes what was seen, and what is imagined, more probable."""
    seen = [Observation(1, i % 3 == 0, 0.05 + 0.9 * (i % 7) / 7) for i in range(200)]
    best = fit_weights(seen)[0]

    def logarithm(weight: float) -> float:
        own = sum(np.log((1 - weight) * one.probability + weight * one.is_right) for one in seen)
        return float(own + PRIOR / 2 * (np.log(weight) + np.log(1 - weight)))

    assert all(logarithm(best) >= logarithm(best + step) for step in (-0.02, -0.005, 0.005, 0.02))
