"""The plugin as a user gets it: as a package, by Neovim's own package manager, with its help."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.editors.neovim.conftest import OpenEditor
from tests.editors.neovim.editor import PLUGIN, Editor

SCRIPT = {"rules": [{"after": "call = ", "text": "one.two(three)"}]}
README = (PLUGIN / "README.md").read_text(encoding="utf-8")


def assert_it_works(editor: Editor) -> None:
    editor.insert_at_end_of(1)
    editor.type("\rcall = ")
    editor.wait_for_ghost("one.two(three)")
    editor.keys("Tab")
    editor.wait_for_lines("x = 1", "call = one.two(three)")


def test_as_a_package(open_editor: OpenEditor, tmp_path: Path) -> None:
    """`:packadd keyturn` is enough, and all its help can be found."""
    package = tmp_path / "data" / "nvim" / "site" / "pack" / "keyturn" / "opt" / "keyturn"
    shutil.copytree(PLUGIN, package, ignore=shutil.ignore_patterns("tags"))
    assert "vim.cmd.packadd('keyturn')" in README
    editor = open_editor("x = 1\n", script=SCRIPT, load="vim.cmd.packadd('keyturn')")
    assert_it_works(editor)
    editor.command("helptags ALL")
    editor.wait((package / "doc" / "tags").exists, "the tags")
    editor.command("help keyturn")
    editor.wait_for_screen("as ghost text behind the cursor")
    document = (package / "doc" / "keyturn.txt").read_text(encoding="utf-8")
    links = set(re.findall(r"\|([^|\s]+)\|", document))
    assert len(links) > 10
    for link in sorted(links):
        assert editor.ask(f'(pcall(vim.cmd.help, "{link}"))'), f"there is no help on {link}"


@pytest.mark.parametrize("neovim", ["0.12"], indirect=True)
def test_with_the_built_in_package_manager(open_editor: OpenEditor, tmp_path: Path) -> None:
    """`vim.pack`, which 0.12 brings, installs it from a repository as the README says."""
    repository = tmp_path / "repository"
    shutil.copytree(PLUGIN, repository / "editors" / "neovim")
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "All of it"]):
        identity = ["-c", "user.name=A tester", "-c", "user.email=tester@example.invalid"]
        subprocess.run(["git", *identity, *command], cwd=repository, check=True, timeout=60)
    lines = re.search(r"^vim\.pack\.add.*\n.*runtimepath.*\n", README, re.MULTILINE)
    assert lines is not None
    load = (
        lines[0].replace("URL of this repository", f"file://{repository}").replace("} })", "} }, { confirm = false })")
    )
    assert_it_works(open_editor("x = 1\n", script=SCRIPT, load=load))
