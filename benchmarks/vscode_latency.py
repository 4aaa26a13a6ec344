"""From the last keystroke to ghost text on screen in VS Code, with the default model.

    python benchmarks/vscode_latency.py [--trials N]        needs `make test-editors` to have installed VS Code

A real file of some 2,600 lines (argparse.py) in code-server, in a headless Chromium of 1100 by 640 pixels. At lines
drawn by a fixed seed a line is opened and a beginning typed, 80 ms a key: right after the jump, so much of the model's
window is new; and two seconds later another one below it, as someone types on. Timed in the browser: from the `keydown`
of the last key to the first animation frame that shows ghost text which is not what was there when the key went down,
nor the rest of it.
Beginnings for which nothing is suggested are counted, and those for which what was there is only typed along; they are
not timed. Results go to benchmarks/results/vscode_latency.json.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from playwright.sync_api import sync_playwright

from benchmarks.figures import PLACES, record, trials_by_place
from model.machine import machine
from tests.editors.vscode.conftest import CHROMIUM_FLAGS, SERVER
from tests.editors.vscode.install import install
from tests.editors.vscode.workbench import GHOST, Workbench, workbench
from tests.editors.wire import wait_for

SOURCE = Path(argparse.__file__)
BEGINNINGS = ("self.", "return self.", "if not ", "for item in ", "value = len(", "raise ValueError(")
KEY_MS = 80
GIVE_UP_MS = 2_000
RESULT = Path(__file__).with_name("results") / "vscode_latency.json"

WATCH = """
selector => {
  const state = window.keyturnWatch = { key: 0, before: '', shown: 0 };
  const ghost = () => [...document.querySelectorAll(selector)].map(part => part.textContent).join('');
  document.addEventListener('keydown', () => {
    state.key = performance.now(); state.before = ghost(); state.shown = 0;
  }, true);
  const look = () => {
    const now = ghost();
    if (state.key && !state.shown && now && !state.before.endsWith(now)) state.shown = performance.now();
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--output", type=Path, default=RESULT)
    args = parser.parse_args()
    installation = install()
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=str(installation.chromium), args=list(CHROMIUM_FLAGS))
        files = {"main.py": SOURCE.read_bytes()}
        picture = Path(folder) / "last.png"
        with workbench(installation, browser, Path(folder) / "window", files, {}, SERVER, picture) as window:
            window.open("main.py", caret=(100, 1))
            window.wait_until_ready()
            window.page.evaluate(WATCH, GHOST)
            rng = random.Random(6)
            measured = [trial(window, rng) for _ in range(args.trials)]
        browser.close()
    result = {
        "file": SOURCE.name,
        "lines": SOURCE.read_text(encoding="utf-8").count("\n"),
        **trials_by_place(measured),
        "machine": machine(),
    }
    record(args.output, result)


def trial(window: Workbench, rng: random.Random) -> list[float | None]:
    """A jump, two lines typed there, and all of it taken back."""
    window.go_to(rng.randint(100, 2300), 1)
    window.press("End")
    measured = [one_line(window, rng.choice(BEGINNINGS)) for _ in PLACES]
    for _ in range(8):
        window.press("Control+Z")
    wait_for(lambda: not window.ghost_text(), "the suggestion to go")
    return measured


def one_line(window: Workbench, beginning: str) -> float | None:
    """Milliseconds; None where nothing was suggested, -1 where a suggestion was typed along."""
    window.press("Escape", "Enter")
    window.type(beginning, delay=KEY_MS)
    window.page.wait_for_timeout(GIVE_UP_MS)
    state = window.page.evaluate("window.keyturnWatch")
    if not state["shown"]:
        return -1 if state["before"] else None
    return float(state["shown"] - state["key"])


if __name__ == "__main__":
    main()
