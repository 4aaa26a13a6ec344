"""What `keyturn vllm serve` makes of its arguments."""

from __future__ import annotations

import json
import sys

import pytest

from model.vllm.plugin import launch
from model.vllm.plugin.launch import LaunchError, command, environment


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vLLM of the tested release, as far as one can see from outside."""
    monkeypatch.setattr(launch, "find_spec", lambda name: object())
    monkeypatch.setattr(launch, "vllm_version", lambda: "0.32.1")


def config_of(line: list[str]) -> dict[str, object]:
    found: dict[str, object] = json.loads(line[line.index("--kv-transfer-config") + 1])
    return found


def test_the_plugin_is_put_in_place_and_the_rest_is_passed_on() -> None:
    line = command(["some/model", "--port", "9000", "--tensor-parallel-size=2"])
    assert line[0] == sys.executable
    assert line[line.index("some/model") :][:4] == ["some/model", "--port", "9000", "--tensor-parallel-size=2"]
    assert config_of(line) == {"kv_connector": "KeyturnConnector", "kv_role": "kv_both"}


@pytest.mark.parametrize("sizes", ["--memory-mb 100 --document-mb=25", "--memory-mb=100 --document-mb 25"])
def test_our_own_options_go_to_the_plugin(sizes: str) -> None:
    line = command(["m", *sizes.split(), "--port", "1"])
    assert config_of(line)["kv_connector_extra_config"] == {"memory_mb": 100, "document_mb": 25}
    assert not any("-mb" in argument for argument in line)


@pytest.mark.parametrize("value", ["", "many", "0", "-5", "nan"])
def test_a_size_that_is_none(value: str) -> None:
    with pytest.raises(LaunchError, match="--memory-mb takes a number of megabytes"):
        command(["m", "--memory-mb", value])


def test_an_untested_release_is_refused_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "vllm_version", lambda: "0.33.0")
    with pytest.raises(
        LaunchError, match=r"vLLM 0.33.0 is installed and the plugin is tested with 0.32; .*--any-version"
    ):
        command(["m"])
    assert "--any-version" not in command(["m", "--any-version"])


def test_a_vllm_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "find_spec", lambda name: None)
    with pytest.raises(LaunchError, match="vLLM is not installed"):
        command(["m"])


def test_a_second_connector_is_refused() -> None:
    with pytest.raises(LaunchError, match="sets --kv-transfer-config itself"):
        command(["m", "--kv-transfer-config={}"])


def test_our_routes_are_named_beside_all_other_plugins() -> None:
    assert environment({})["VLLM_PLUGINS"].split(",").count("keyturn") == 1
    assert environment({"VLLM_PLUGINS": "other"})["VLLM_PLUGINS"] == "other,keyturn"
    expected = {"VLLM_PLUGINS": "keyturn", "HOME": "/x", "PYTHONSAFEPATH": "1"}
    assert environment({"VLLM_PLUGINS": "", "HOME": "/x"}) == expected
