"""The parts of the plugin that need no screen, run by Neovim without one."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.editors.neovim.editor import PLUGIN
from tests.editors.neovim.install import Neovim


def run(neovim: Neovim, folder: Path, code: str) -> Any:
    """What a piece of Lua returns in a Neovim that knows the plugin."""
    script = folder / "script.lua"
    script.write_text(
        f"vim.opt.runtimepath:prepend({json.dumps(str(PLUGIN))})\n"
        f"io.stdout:write(vim.json.encode((function()\n{code}\nend)()))\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [str(neovim.program), "--clean", "--headless", "-l", str(script)],
        env=os.environ | neovim.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def call(neovim: Neovim, folder: Path, function: str, *arguments: str) -> Any:
    given = ", ".join(f"vim.json.decode([==[{json.dumps(argument)}]==])" for argument in arguments)
    return run(neovim, folder, f"return require('keyturn.suggestion').{function}({given}) or vim.NIL")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("os.getcwd()", ["os", ".", "getcwd", "()"]),
        ("  a_1 = 'é🙂'", ["  a_1", " =", " '", "é🙂", "'"]),
        ("x\n    return y\n", ["x", "\n    return", " y", "\n"]),
        ("\t\t", ["\t\t"]),
    ],
)
def test_words(neovim: Neovim, tmp_path: Path, text: str, words: list[str]) -> None:
    """A text is taken word by word without cutting a character, and nothing of it is lost."""
    for word in words:
        assert call(neovim, tmp_path, "word", text) == word
        text = text[len(word) :]
    assert text == ""


@pytest.mark.parametrize(
    ("text", "line"),
    [("a = 1", "a = 1"), ("a = 1\n  b", "a = 1"), ("\n  b\n  c", "\n  b"), ("\n\n  b\nc", "\n\n  b"), ("\n", "\n")],
)
def test_lines(neovim: Neovim, tmp_path: Path, text: str, line: str) -> None:
    """The line key takes the rest of the line, else the next line that has text."""
    assert call(neovim, tmp_path, "line", text) == line


@pytest.mark.parametrize(
    ("text", "typed", "rest"),
    [("print(x)", "", "print(x)"), ("print(x)", "pri", "nt(x)"), ("print(x)", "print(x)", None), ("ab", "b", None)],
)
def test_rest(neovim: Neovim, tmp_path: Path, text: str, typed: str, rest: str | None) -> None:
    """What is left of a suggestion; nothing when it was typed to its end or another way."""
    assert call(neovim, tmp_path, "rest", text, typed) == rest


@pytest.mark.parametrize(
    ("snippet", "text"),
    [
        ("open(${1:path}, ${2:mode})$0", "open(path, mode)"),
        (r"f(\{${1:a\}\$\\}\}$0", r"f({a}$\}"),
        ("é${1:🙂}\n$0", "é🙂\n"),
        ("$0", ""),
    ],
)
def test_the_text_of_a_snippet(neovim: Neovim, tmp_path: Path, snippet: str, text: str) -> None:
    assert call(neovim, tmp_path, "plain", snippet) == text


def test_an_old_neovim_is_told(neovim: Neovim, tmp_path: Path) -> None:
    """Before 0.10 there is one message and no error."""
    code = """
        local said = {}
        vim.fn.has = function() return 0 end
        vim.notify = function(message) table.insert(said, message) end
        require('keyturn').setup{ keys = {} }
        assert(vim.fn.exists(':Keyturn') == 0)
        return said
        """
    assert run(neovim, tmp_path, code) == ["keyturn: Neovim 0.10 or newer is needed."]


def test_setup_twice_is_told(neovim: Neovim, tmp_path: Path) -> None:
    """A later setup() changes nothing and says so, whatever it is given."""
    code = """
        local said = {}
        vim.notify = function(message) table.insert(said, message) end
        require('keyturn').setup{ cmd = { 'true' }, keys = { accept = '<C-l>' } }
        require('keyturn').setup('nonsense')
        vim.wait(5000, function() return #said > 0 end)
        return { said, require('keyturn').options().keys.accept }
        """
    said, accept = run(neovim, tmp_path, code)
    assert said == ["keyturn: setup() was called before; the later call is ignored."]
    assert accept == "<C-l>"


@pytest.mark.parametrize(
    ("given", "cmd"),
    [
        ("'true'", ["true", "serve"]),
        ("{ 'true' }", ["true", "serve"]),
        ("{ 'true', '--flag' }", ["true", "--flag", "serve"]),
        ("{ 'true', 'serve', '--tcp', 'x' }", ["true", "serve", "--tcp", "x"]),
        ("'~/none'", None),
    ],
)
def test_cmd_is_taken_as_people_write_it(neovim: Neovim, tmp_path: Path, given: str, cmd: list[str] | None) -> None:
    code = f"""
        local options, problem = require('keyturn.config').merge{{ cmd = {given} }}
        assert(not problem, problem)
        local found, why
        require('keyturn.server').find(options.cmd, function(cmd, what) found, why = cmd, what end)
        return {{ found or vim.NIL, why or '' }}
        """
    found, problem = run(neovim, tmp_path, code)
    assert found == cmd
    assert cmd or (problem.startswith("`cmd` cannot be run: /") and problem.endswith("none."))


@pytest.mark.parametrize("place", ["path", "home", "module", "nowhere"])
def test_where_the_server_is_found(neovim: Neovim, tmp_path: Path, place: str) -> None:
    """`keyturn` on PATH comes before ~/.keyturn, that before a Python that has it; else there is advice."""
    folders = {"path": tmp_path / "bin", "home": tmp_path / ".keyturn" / "bin", "module": tmp_path / "python"}
    names = list(folders)
    # Everything that comes later in the order is there too.
    for name in names[names.index(place) :] if place in names else []:
        program = folders[name] / ("python3" if name == "module" else "keyturn")
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\necho keyturn 1.0\n")
        program.chmod(0o755)
    code = f"""
        vim.env.HOME = {json.dumps(str(tmp_path))}
        vim.env.PATH = {json.dumps(f"{folders['path']}:{folders['module']}")}
        local found
        require('keyturn.server').find(nil, function(cmd, problem) found = {{ cmd or vim.NIL, problem or vim.NIL }} end)
        vim.wait(10000, function() return found ~= nil end)
        return found
        """
    cmd, problem = run(neovim, tmp_path, code)
    if place == "nowhere":
        assert cmd is None
        assert "the server is not installed. Install it with `python3 -m venv" in problem
    elif place == "module":
        assert cmd == ["python3", "-P", "-m", "lsp.cli", "serve"]
    else:
        assert cmd == [str(folders[place] / "keyturn"), "serve"]
