"""Two thousand requests: memory and work of the server stay flat and its documents within their budget."""

from __future__ import annotations

import inspect
import random
import statistics

from model.vllm.asking.steps import RemoteDocument
from tests.vllm.files import File, Remote
from tests.vllm.server import Vllm
from tests.vllm.test_same_answers import MODULES

NUM_REQUESTS = 2000
BUDGET = 32 * 2**20
"""Of the server `tight`."""


def test_a_soak_leaves_memory_and_work_flat_and_documents_within_budget(tight: Vllm, remote: Remote) -> None:
    rng = random.Random(11)
    sources = [inspect.getsource(module).encode() for module in MODULES]
    open_files: list[tuple[File, RemoteDocument]] = []
    num_asked = 0
    evicted = tight.metric("keyturn:evictions_total")
    resident: list[int] = []
    encoded: list[float] = []
    while num_asked < NUM_REQUESTS:
        if len(open_files) < 8 or rng.random() < 0.02:  # a file is closed for another one now and then
            file = File(rng.choice(sources)[rng.randrange(4000) :], rng, rng.randrange(300, 900))
            open_files = [*open_files[-7:], (file, RemoteDocument())]
        file, document = rng.choice(open_files)
        file.edit() if rng.random() < 0.3 else file.replace(file.caret, file.caret, file.words(1))
        if len(file.ids) > 1500:
            file.replace(0, 700, [])
        for step in document.steps(file.prompt()):
            remote.ask(step)
            num_asked += 1
            if num_asked % 100 == 0:
                resident.append(tight.resident_bytes())
                assert tight.metric("keyturn:bytes") <= BUDGET
                encoded.append(tight.metric("keyturn:tokens_encoded_total"))
    early, late = statistics.median(resident[5:10]), statistics.median(resident[-5:])
    assert late - early < 16 * 2**20, f"{early / 2**20:.0f} → {late / 2**20:.0f} MiB"
    early, late = encoded[9] - encoded[4], encoded[-1] - encoded[-6]
    assert late < 2 * early, f"{early:.0f} → {late:.0f} tokens encoded of 500 requests: rows are lost"
    assert tight.metric("keyturn:evictions_total") > evicted + 10
