"""What the client tells the plugin, and what the plugin makes of nonsense."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.vllm.wire import KEY, Params, parse, salt


@given(st.lists(st.integers(-1, 12) | st.integers(-1, 2**61), max_size=60), st.booleans(), st.none() | st.just(0))
def test_what_is_said_is_heard(serials: list[int], is_partial: bool, fresh_from: int | None) -> None:
    said = Params("document", np.array(serials, dtype=np.int64), is_partial, fresh_from)
    heard = parse(json.loads(json.dumps(said.to_json())), len(serials), salt("document", 3))
    assert heard is not None
    assert heard.serials.tolist() == serials
    assert (heard.document, heard.is_partial, heard.fresh_from) == ("document", is_partial, fresh_from)


def test_a_file_without_edits_is_one_run() -> None:
    assert Params("d", np.arange(5, 900)).to_json()[KEY]["serials"] == [[5, 895]]


def test_other_requests_are_none_of_its_business() -> None:
    assert parse(None, 5, None) is None
    assert parse({"do_remote_prefill": True}, 5, None) is None


def test_without_serials_tokens_have_no_identity() -> None:
    params = parse({KEY: {"document": "d"}}, 3, "d#0")
    assert params is not None and params.serials.tolist() == [-1, -1, -1]


@pytest.mark.parametrize("cache_salt", [None, "", "d", "other#0", "dd#0"])
def test_a_document_whose_blocks_could_be_shared_is_refused(cache_salt: str | None) -> None:
    with pytest.raises(ValueError, match="cache_salt"):
        parse({KEY: {"document": "d"}}, 3, cache_salt)


@pytest.mark.parametrize(
    "nonsense",
    [
        7,
        {},
        {"document": ""},
        {"document": 5},
        {"document": "d", "serials": 5},
        {"document": "d", "serials": [5]},
        {"document": "d", "serials": [[1, 2, 3]]},
        {"document": "d", "serials": [[1, 2]]},
        {"document": "d", "serials": [[1, 4]]},
        {"document": "d", "serials": [[1, 0], [1, 3]]},
        {"document": "d", "serials": [[-2, 3]]},
        {"document": "d", "serials": [[2**63, 3]]},
        {"document": "d", "serials": [[1.0, 3]]},
        {"document": "d", "serials": [[True, 3]]},
        {"document": "d", "fresh_from": -1},
        {"document": "d", "fresh_from": 4},
        {"document": "d", "fresh_from": "1"},
    ],
)
def test_nonsense_is_refused_in_a_sentence(nonsense: Any) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        parse({KEY: nonsense}, 3, "d#0")
