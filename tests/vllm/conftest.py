from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from model.vllm.asking.address import Address
from model.vllm.asking.http import Connection
from tests.vllm.files import Remote
from tests.vllm.server import Vllm, serving


@pytest.fixture(scope="session")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    """A server in float32 whose caches are small: prompts come in chunks, requests are preempted, documents evicted."""
    log = tmp_path_factory.mktemp("vllm") / "log"
    options = ["--dtype", "float32", "--max-model-len", "4096", "--max-num-batched-tokens", "256"]
    options += ["--num-gpu-blocks-override", "48", "--memory-mb", "32"]
    # oneDNN keeps a kernel for each shape, a thousand of them: 150 MB that a soak would take for a leak.
    few_kernels = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "8"}
    with serving(log, *options, **few_kernels) as server:
        yield server


@pytest.fixture
def remote(tight: Vllm) -> Iterator[Remote]:
    connection = Connection(Address(tight.url), answer_seconds=60.0)
    yield Remote(connection)
    connection.close()


@pytest.fixture
def source() -> bytes:
    """A real file of some thousand tokens."""
    return Path(pytest.__file__).with_name("__init__.py").read_bytes() + Path(serving.__code__.co_filename).read_bytes()
