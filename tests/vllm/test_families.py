"""Every family that the plugin claims to know is turned rightly; what it cannot turn is served as stock vLLM would."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest

from tests.vllm.install import REPOSITORY, python
from tests.vllm.server import ENVIRONMENT

TURNED = ("llama", "llama linear", "llama 3", "llama yarn", "mistral", "qwen2", "qwen3", "gemma", "granite", "phi3")
REFUSED = ("llama dynamic", "mistral sliding", "olmo2", "gemma2")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    line = [str(python()), "-m", "tests.vllm.families", str(tmp_path_factory.mktemp("families"))]
    environment = os.environ | ENVIRONMENT | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(line, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(text) for text in done.stdout.splitlines() if text.startswith('{"model"')]
    return {entry.pop("model"): entry for entry in lines}


@pytest.mark.parametrize("name", TURNED)
def test_a_model_of_one_layer_answers_after_an_edit_as_if_all_were_computed(
    name: str, found: dict[str, dict[str, Any]]
) -> None:
    assert found[name]["counts"] == {"kept": 57, "turned": 554, "encoded": 1}
    assert found[name]["apart"] < 1e-3
    assert found[name]["same_order"]


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_turned_is_served_without(name: str, found: dict[str, dict[str, Any]]) -> None:
    assert found[name]["counts"] is None
    assert found[name]["apart"] < 1e-3
