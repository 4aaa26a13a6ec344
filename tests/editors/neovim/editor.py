"""A Neovim in a terminal of its own (tmux): keys go in as a person types them, the screen comes out as one sees it."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.editors.neovim.install import REPOSITORY, Neovim

PLUGIN = REPOSITORY / "editors" / "neovim"
PROBE = Path(__file__).with_name("probe.lua")
SERVER = [sys.executable, "-m", "lsp.cli", "serve"]
PATIENCE = 30.0
"""Seconds that anything may take on a busy machine. Nothing waits for it to pass."""

_numbers = itertools.count(1)


@dataclass
class Editor:
    """One running editor with one file open."""

    neovim: Neovim
    folder: Path
    file: Path
    environment: Mapping[str, str]
    _name: str = field(default_factory=lambda: f"keyturn-{os.getpid()}-{next(_numbers)}")

    # What a person does and sees

    def keys(self, *names: str) -> None:
        """Press keys, named as tmux names them: Tab, Escape, M-Right."""
        self._tmux("send-keys", "-t", self._name, *names)

    def type(self, text: str) -> None:
        """Type characters in one go."""
        # tmux takes a last semicolon for the end of its command.
        self._tmux("send-keys", "-t", self._name, "-l", text.removesuffix(";") + r"\;" * text.endswith(";"))

    def command(self, line: str) -> None:
        """Run a command line from normal mode."""
        self.leave_insert_mode()
        self.type(f":{line}")
        self.keys("Enter")

    def leave_insert_mode(self) -> None:
        self.keys("Escape")
        self.wait_for_mode("n")

    def insert_at_end_of(self, line: int) -> None:
        """Start typing behind the last character of a line, counted from 1."""
        self.leave_insert_mode()
        self.type(f":{line}")
        self.keys("Enter")
        self.type("A")
        self.wait_for_mode("i")

    def screen(self) -> str:
        return self._tmux("capture-pane", "-p", "-t", self._name)

    # What only a test can ask

    def ask(self, call: str) -> Any:
        """The value of a Lua expression in the editor; `probe` is probe.lua."""
        expression = f"luaeval('vim.json.encode((function(probe) return {call} end)(dofile(_A)))', '{PROBE}')"
        done = subprocess.run(
            [str(self.neovim.program), "--clean", "--headless", "--server", str(self._socket)]
            + ["--remote-expr", expression.replace("\n", " ")],
            env=os.environ | dict(self.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0 and done.stdout, f"the editor cannot tell {call}: {done.stderr}"
        return json.loads(done.stdout)

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        """Look again and again until the condition holds; its value."""
        end = time.monotonic() + PATIENCE
        while not (value := condition()):
            assert time.monotonic() < end, f"waited in vain for {what}; the screen:\n{self.screen()}\n{self.log()}"
            time.sleep(0.02)
        return value

    def wait_for_screen(self, text: str) -> None:
        self.wait(lambda: text in self.screen(), f"{text!r} on the screen")

    def wait_until_gone(self, text: str) -> None:
        self.wait(lambda: text not in self.screen(), f"no {text!r} on the screen")

    def wait_for_mode(self, mode: str) -> None:
        self.wait(lambda: self.ask("probe.mode()") == mode, f"mode {mode}")

    def wait_for_lines(self, *lines: str) -> None:
        """Wait until the buffer has exactly these lines."""
        self.wait(lambda: self.lines() == list(lines), f"the lines {lines}, not {self.lines()}")

    def wait_until_ready(self) -> None:
        """Wait until the model is loaded and the server knows the file."""
        self.wait(lambda: self.stats().get("state") == "ready" and self.stats()["version"] is not None, "the server")

    def lines(self) -> list[str]:
        lines: list[str] = self.ask("probe.lines()")
        return lines

    def ghost(self) -> str:
        """The suggestion that is drawn now, as its extmark has it; empty when there is none."""
        text: str = self.ask("probe.ghost()")
        return text

    def wait_for_ghost(self, text: str) -> None:
        """Wait until exactly this is suggested and its first line can be seen."""
        self.wait(lambda: self.ghost() == text, f"the suggestion {text!r}")
        if text.strip():
            self.wait_for_screen(text.strip().splitlines()[0])

    def statusline(self) -> str:
        text: str = self.ask("probe.statusline()")
        return text

    def statuses(self) -> list[str]:
        """All texts that the statusline has had, in order."""
        texts: list[str] = self.ask("keyturn_statuses")
        return texts

    def messages(self) -> str:
        text: str = self.ask("probe.messages()")
        return text

    def stats(self) -> dict[str, Any]:
        """The server's `keyturn/stats` of the current buffer; empty while there is no server."""
        stats: dict[str, Any] = self.ask("probe.stats()")
        return stats

    def assert_same_text(self, when: str = "") -> None:
        """The server's copy of the text is the buffer's, byte for byte."""
        server, buffer = self.ask("probe.digests()")
        assert server == buffer, f"the server has another text {when}"

    def kill_server(self) -> None:
        """Kill the server's process, as a crash would."""
        pids = self.ask("probe.children()")
        assert len(pids) == 1, f"expected one server, found {pids}"
        os.kill(pids[0], signal.SIGKILL)

    def log(self) -> str:
        """The end of what the language client wrote down, for a failing test."""
        logs = sorted(self.folder.glob("state/nvim*/lsp.log"))
        return "\n".join(log.read_text(errors="replace")[-3000:] for log in logs)

    # Life

    @property
    def _socket(self) -> Path:
        # The path of a socket has to be short.
        return Path(tempfile.gettempdir()) / f"{self._name}.sock"

    @property
    def _terminal(self) -> Path:
        return self._socket.with_suffix(".tmux")

    def start(self, *arguments: str) -> None:
        configuration = self.folder / "tmux.conf"
        configuration.write_text("set -s escape-time 0\nset -g default-terminal screen-256color\nset -g status off\n")
        self._tmux(
            *["-f", str(configuration), "new-session", "-d", "-s", self._name, "-x", "140", "-y", "30"],
            *["--", str(self.neovim.program), "--listen", str(self._socket), *arguments, str(self.file)],
        )
        self.wait(self._listens, "the editor")
        self.wait_for_mode("n")

    def _listens(self) -> bool:
        """Whether the editor answers; its socket's file is there a moment before that."""
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self._socket)) == 0

    def stop(self) -> None:
        """End the editor and its terminal, whatever state they are in."""
        subprocess.run(["tmux", "-S", str(self._terminal), "kill-server"], capture_output=True, timeout=PATIENCE)
        self._socket.unlink(missing_ok=True)
        self._terminal.unlink(missing_ok=True)

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self._terminal), *arguments],
            env=os.environ | dict(self.environment),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, f"tmux {arguments} failed: {done.stderr}"
        return done.stdout


@contextmanager
def editing(
    neovim: Neovim,
    folder: Path,
    content: bytes | str = "",
    *,
    name: str = "main.py",
    script: dict[str, Any] | None = None,
    options: str = "",
    before_setup: str = "",
    load: str = f"vim.opt.runtimepath:prepend({json.dumps(str(PLUGIN))})",
) -> Iterator[Editor]:
    """An editor with the plugin set up and a file open.

    With `script` the server follows it, else it has the default model. `options` are further fields of setup()'s
    table, in Lua; `before_setup` is Lua that a user's configuration has above it; `load` makes the plugin known.
    """
    project = folder / "project"
    project.mkdir(parents=True)
    file = project / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("KEYTURN_", "NVIM", "TMUX"))
    }
    environment |= neovim.environment | {"PYTHONPATH": str(REPOSITORY), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
    for kind in ("CONFIG", "DATA", "STATE", "CACHE"):
        environment[f"XDG_{kind}_HOME"] = str(folder / kind.lower())
    if script is not None:
        (folder / "script.json").write_text(json.dumps(script))
        environment |= {"KEYTURN_ENGINE": "scripted", "KEYTURN_SCRIPT": str(folder / "script.json")}
    init = folder / "config" / "nvim" / "init.lua"
    init.parent.mkdir(parents=True)
    cmd = json.dumps(SERVER)[1:-1]
    # Every text that the statusline ever had is kept, however short it was there.
    recorder = """
        keyturn_statuses = {}
        function keyturn_status()
          local text = require('keyturn').statusline()
          if keyturn_statuses[#keyturn_statuses] ~= text then table.insert(keyturn_statuses, text) end
          return text
        end
        """
    init.write_text(
        f"{load}\n"
        "vim.opt.swapfile = false\nvim.opt.shortmess:append('I')\n"
        "vim.opt.statusline = '%t [%{v:lua.keyturn_status()}]'\n"
        f"{recorder}\n{before_setup}\nrequire('keyturn').setup{{ cmd = {{ {cmd} }}, {options} }}\n"
    )
    editor = Editor(neovim, folder, file, environment)
    try:
        editor.start()
        yield editor
    finally:
        editor.stop()
