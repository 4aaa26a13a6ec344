"""The plugin goes into a vLLM that is there already, and brings nothing along."""

from __future__ import annotations

import subprocess

from tests.vllm.install import PLUGIN, python


def test_installing_the_plugin_installs_nothing_else() -> None:
    line = [str(python()), "-m", "pip", "--disable-pip-version-check", "install", "--dry-run", "--force-reinstall"]
    done = subprocess.run([*line, str(PLUGIN)], check=True, capture_output=True, text=True)
    [would] = [text for text in done.stdout.splitlines() if text.startswith("Would install")]
    assert would.split()[2:] == ["keyturn-vllm-0.1.0"]


def test_its_environment_has_no_language_server() -> None:
    line = [str(python()), "-m", "pip", "--disable-pip-version-check", "list", "--format=freeze"]
    listed = subprocess.run(line, capture_output=True, text=True, check=True).stdout.split()
    names = [text.split("==")[0].lower() for text in listed]
    assert "keyturn-vllm" in names
    assert not {"pygls", "lsprotocol", "keyturn"} & set(names)
    assert names.count("torch") == 1
