"""A model spread over two tensor parallel ranks: each keeps its own heads, and the answers are the same."""

from __future__ import annotations

import inspect
import os
import random
from pathlib import Path

import torch

from model.vllm.asking.address import Address
from model.vllm.asking.http import Connection
from tests.vllm.files import Embedded, File, Remote
from tests.vllm.server import serving
from tests.vllm.test_same_answers import MODULES, TOLERANCE


def test_edits_agree_with_the_embedded_engine(tmp_path: Path) -> None:
    rng = random.Random(13)
    embedded = Embedded(torch.float32)
    options = ["--dtype", "float32", "--max-model-len", "2048", "--max-num-batched-tokens", "256"]
    options += ["--tensor-parallel-size", "2"]
    cores = sorted(os.sched_getaffinity(0))
    binding = f"{cores[0]}|{cores[-1]}"  # a processor has no second NUMA node for the second rank
    with serving(tmp_path / "log", *options, "--memory-mb", "64", VLLM_CPU_OMP_THREADS_BIND=binding) as server:
        remote = Remote(Connection(Address(server.url), answer_seconds=60.0))
        files = {module.__name__: File(inspect.getsource(module).encode(), rng, 700) for module in MODULES[:2]}
        for number in range(24):
            name = rng.choice(list(files))
            files[name].edit()
            prompt = files[name].prompt()
            theirs, ours = remote.logprobs(name, prompt), embedded.logprobs(name, prompt)
            apart = max(abs(float(ours[token]) - value) for token, value in theirs.items())
            assert apart < TOLERANCE, f"edit {number} of {name}: {apart}"
        assert not remote.num_losses
        assert server.metric("keyturn:tokens_turned_total") > 2000
