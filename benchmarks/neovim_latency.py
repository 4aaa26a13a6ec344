"""From the last keystroke to ghost text in Neovim, with the default model.

    python benchmarks/neovim_latency.py [--trials N]        needs `make test-editors` to have installed Neovim

The same file, lines and typing as in benchmarks/vscode_latency.py, in a terminal of 140 by 30 characters. Timed in
the editor: from the last typed key (`vim.on_key`) to the extmark that draws a suggestion which is not what was there
when the key went down, nor the rest of it, looked for every 2 ms. Neovim 0.12 itself waits 200 ms after a keystroke
before it asks; on 0.10 the plugin asks. Results go to benchmarks/results/neovim_latency.json.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.figures import PLACES, record, trials_by_place
from benchmarks.vscode_latency import BEGINNINGS, GIVE_UP_MS, KEY_MS, SOURCE
from model.machine import machine
from tests.editors.neovim.editor import PROBE, Editor, editing
from tests.editors.neovim.install import SUITES, install, install_tools

RESULT = Path(__file__).with_name("results") / "neovim_latency.json"

WATCH = f"""
local probe = dofile('{PROBE}')
keyturn_latency = {{ key = 0, before = '', shown = 0 }}
vim.on_key(function(_, typed)
  if typed and typed ~= '' then
    keyturn_latency = {{ key = vim.uv.hrtime(), before = probe.ghost(), shown = 0 }}
  end
end)
vim.uv.new_timer():start(0, 2, vim.schedule_wrap(function()
  local now = keyturn_latency.shown == 0 and probe.ghost() or ''
  if now ~= '' and not vim.endswith(keyturn_latency.before, now) then
    keyturn_latency.shown = vim.uv.hrtime()
  end
end))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--output", type=Path, default=RESULT)
    args = parser.parse_args()
    install_tools()
    found: dict[str, Any] = {"file": SOURCE.name, "lines": SOURCE.read_text(encoding="utf-8").count("\n")}
    for version in sorted(SUITES, reverse=True):
        with (
            tempfile.TemporaryDirectory() as folder,
            editing(install(version), Path(folder), SOURCE.read_bytes(), before_setup=WATCH) as editor,
        ):
            editor.wait_until_ready()
            rng = random.Random(6)
            measured = [trial(editor, rng) for _ in range(args.trials)]
        found[f"neovim {version}"] = trials_by_place(measured)
    found["machine"] = machine()
    record(args.output, found)


def trial(editor: Editor, rng: random.Random) -> list[float | None]:
    """A jump, two lines typed there, and all of it taken back."""
    editor.leave_insert_mode()
    editor.type(f":{rng.randint(100, 2300)}")
    editor.keys("Enter")
    editor.type("A")
    editor.wait_for_mode("i")
    measured = [one_line(editor, rng.choice(BEGINNINGS)) for _ in PLACES]
    editor.leave_insert_mode()
    editor.type("u")
    return measured


def one_line(editor: Editor, beginning: str) -> float | None:
    """Milliseconds; None where nothing was suggested, -1 where a suggestion was typed along."""
    editor.keys("Enter")
    for character in beginning:
        editor.type(character)
        time.sleep(KEY_MS / 1000)
    time.sleep(GIVE_UP_MS / 1000)
    state = editor.ask("keyturn_latency")
    if not state["shown"]:
        return -1 if state["before"] else None
    return float(state["shown"] - state["key"]) / 1e6


if __name__ == "__main__":
    main()
