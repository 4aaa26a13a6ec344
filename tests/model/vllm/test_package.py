"""The plugin is packed by itself, for a vLLM that has nothing else of keyturn."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from lsp import __version__

FOLDER = Path(__file__).parents[3] / "model" / "vllm"
PROJECT = tomllib.loads((FOLDER / "pyproject.toml").read_text())
FILES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
HOSTED = ("connector", "endpoint", "metrics", "support", "paged")
"""Modules that import vLLM itself."""


def test_it_asks_for_no_other_package() -> None:
    assert PROJECT["project"]["dependencies"] == []


def test_it_is_the_same_version_as_keyturn() -> None:
    whole = tomllib.loads((FOLDER.parents[1] / "pyproject.toml").read_text())["project"]
    assert PROJECT["project"]["version"] == __version__
    assert PROJECT["project"]["entry-points"] == whole["entry-points"]


def test_its_files_need_no_other_file_of_keyturn(tmp_path: Path) -> None:
    for source, target in FILES.items():
        (tmp_path / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(FOLDER / source, tmp_path / target)
    modules = [target.removesuffix(".py").replace("/", ".") for target in FILES.values() if "__init__" not in target]
    alone = [name for name in modules if name.rpartition(".")[2] not in HOSTED]
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {', '.join(alone)}; import model; print(model)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) in done.stdout
    for name in modules:
        text = (tmp_path / (name.replace(".", "/") + ".py")).read_text()
        imported = set(re.findall(r"^ *from (model\.[\w.]+) import", text, flags=re.M))
        assert imported <= set(modules), name


def test_importing_it_changes_nothing_in_its_host() -> None:
    code = "import os; before = dict(os.environ); import model.vllm.plugin.register; assert os.environ == before"
    subprocess.run([sys.executable, "-c", code], check=True)
