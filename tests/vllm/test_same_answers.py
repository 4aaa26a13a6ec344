"""The plugin changes the time, not the answers: against stock vLLM, and against the embedded engine's own PIE."""

from __future__ import annotations

import argparse
import inspect
import json
import random
import statistics
import threading
import typing
import uuid
from pathlib import Path
from typing import Any

import pytest
import torch

from model.vllm.asking.address import Address
from model.vllm.asking.http import Connection
from model.vllm.asking.steps import RemoteDocument
from tests.vllm.files import Embedded, File, Remote
from tests.vllm.server import Vllm, serving

MODULES = (argparse, inspect, typing, json.decoder, random)
NUM_EDITS = 220
NUM_ROUGH = 30
ROUGH_TOLERANCE = 0.1
LIKELY = -6.0
"""Natural-log probability from which a token is compared in bfloat16."""
TOLERANCE = 2e-3
"""In float32; the likeliest twenty tokens' log-probabilities agree to 3e-5 in most cases."""


def files(rng: random.Random, num_tokens: int = 1500) -> dict[str, File]:
    return {module.__name__: File(inspect.getsource(module).encode(), rng, num_tokens=num_tokens) for module in MODULES}


def test_edits_in_the_middle_agree_with_the_embedded_engine(tight: Vllm, remote: Remote) -> None:
    """Several documents in turn, at random places, with eviction: a lost document is computed anew in both."""
    rng = random.Random(5)
    embedded = Embedded(torch.float32)
    documents = files(rng)
    num_turned = 0
    for number in range(NUM_EDITS):
        name = rng.choice(list(documents)[: 2 + number // 50])
        file = documents[name]
        file.edit()
        prompt = file.prompt()
        theirs = remote.logprobs(name, prompt)
        if remote.was_lost:
            embedded.engine.forget(name)
        ours = embedded.logprobs(name, prompt)
        num_turned += embedded.engine.cache_of(name).num_stale
        apart = max(abs(float(ours[token]) - value) for token, value in theirs.items())
        assert apart < TOLERANCE, f"edit {number} of {name}: {apart}"
    assert num_turned > 100_000, "the edits left hardly anything to turn"
    assert remote.num_losses > len(documents), "no document was evicted"
    assert tight.metric("keyturn:evictions_total") > 0
    assert tight.metric("keyturn:tokens_turned_total") > 10_000


def test_in_bfloat16_edits_agree_as_far_as_it_rounds(tmp_path: Path) -> None:
    """In whatever order this processor's kernels pack keys of 16 bits."""
    rng = random.Random(10)
    embedded = Embedded(torch.float32)
    file = File(inspect.getsource(argparse).encode(), rng, num_tokens=1500)
    apart = []
    with serving(tmp_path / "log", "--dtype", "bfloat16", "--max-model-len", "4096", "--memory-mb", "64") as server:
        connection = Connection(Address(server.url), answer_seconds=60.0)
        remote = Remote(connection)
        for _ in range(NUM_ROUGH):
            file.edit()
            prompt = file.prompt()
            theirs, ours = remote.logprobs("rough", prompt), embedded.logprobs("rough", prompt)
            apart.append(max(abs(float(ours[token]) - value) for token, value in theirs.items() if value > LIKELY))
        connection.close()
        assert server.metric("keyturn:tokens_turned_total") > 10_000
    assert statistics.median(apart) < ROUGH_TOLERANCE and max(apart) < 5 * ROUGH_TOLERANCE, sorted(apart)


def test_text_that_only_grows_is_completed_as_stock_vllm_completes_it(remote: Remote) -> None:
    rng = random.Random(6)
    for file in files(rng, 700).values():
        document = RemoteDocument()
        file.caret = len(file.ids)
        for _ in range(8):
            file.replace(file.caret, file.caret, file.words(rng.randint(1, 40)))
            file.lead = rng.randrange(60)
            file.caret = len(file.ids)
            *_, last = list(document.steps(file.prompt()))
            kept = remote.ask(last, max_tokens=24)
            stock = remote.post(prompt=last.prompt.ids.tolist(), max_tokens=24, cache_salt=uuid.uuid4().hex)
            assert tokens(kept) == tokens(stock)


def test_many_at_once_are_preempted_and_still_right(tight: Vllm, remote: Remote) -> None:
    """Eight at once, each about to need its eighth block where six times seven are all but taken."""
    rng = random.Random(7)
    asked: list[tuple[RemoteDocument, File, list[int]]] = []
    for module in MODULES:
        for start in range(3):
            file = File(inspect.getsource(module).encode()[start * 4000 :], rng, 870)
            quiet = remote.post(prompt=file.prompt().ids.tolist(), max_tokens=120, cache_salt=uuid.uuid4().hex)
            asked.append((RemoteDocument(), file, tokens(quiet)))
    before = tight.metric("vllm:num_preemptions_total")
    right: list[bool] = []

    def ask(document: RemoteDocument, file: File, expected: list[int]) -> None:
        for step in document.steps(file.prompt()):
            found = remote.ask(step, max_tokens=120)
        right.append(tokens(found) == expected)

    for number in range(0, len(asked), 8):
        threads = [threading.Thread(target=ask, args=item) for item in asked[number : number + 8]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert right == [True] * len(asked)
    assert tight.metric("vllm:num_preemptions_total") > before


def test_several_requests_for_one_document_at_once_end_in_right_answers(tight: Vllm, remote: Remote) -> None:
    """Six continuations of one text, each under a salt of its own, so that its front comes out of the pool."""
    rng = random.Random(8)
    file = File(inspect.getsource(argparse).encode(), rng, 1200)
    file.caret = len(file.ids)
    document = RemoteDocument()
    [step] = document.steps(file.prompt())
    remote.ask(step)
    prompts = [[*step.prompt.ids.tolist(), *file.words(rng.randint(1, 90))] for _ in range(6)]
    expected = [tokens(remote.post(prompt=prompt, max_tokens=8, cache_salt=uuid.uuid4().hex)) for prompt in prompts]
    found: list[list[int]] = [[] for _ in prompts]
    kept: list[int] = []

    def ask(number: int) -> None:
        body = {"prompt": prompts[number], "cache_salt": f"{document.name}#{100 + number}", "max_tokens": 8}
        answer = remote.post(**body, kv_transfer_params={"keyturn": {"document": document.name}})
        found[number] = tokens(answer)
        kept.append(answer["kv_transfer_params"]["keyturn"]["kept"])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected
    assert max(kept) > 1000, "nothing came out of the pool"


@pytest.mark.parametrize(
    "params",
    [
        {"keyturn": {"document": "d", "serials": "nonsense"}},
        {"keyturn": {"document": "d", "serials": [[1, 7]]}},
        {"keyturn": 5},
        {"keyturn": {"document": "d", "fresh_from": 10**9}},
        {"other": {}},
        {},
    ],
)
def test_nonsense_is_served_as_stock_vllm_would(params: dict[str, Any], remote: Remote) -> None:
    prompt = File(inspect.getsource(random).encode(), random.Random(9), 300).prompt().ids.tolist()
    stock = remote.post(prompt=prompt, max_tokens=8, cache_salt=uuid.uuid4().hex)
    for cache_salt in (None, "d#0", "else"):
        found = remote.post(prompt=prompt, max_tokens=8, kv_transfer_params=params, cache_salt=cache_salt)
        assert tokens(found) == tokens(stock)


def tokens(found: dict[str, Any]) -> list[int]:
    ids: list[int] = found["choices"][0]["token_ids"]
    return ids
