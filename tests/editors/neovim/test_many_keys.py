"""Hundreds of keys in a real file, quickly: both sides keep the same text, and nothing stale is drawn at any moment."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.editors.neovim.conftest import OpenEditor
from tests.editors.neovim.install import REPOSITORY

NUM_KEYS = 500
BURST = 10
WATCH = Path(__file__).with_name("watch.lua")
# The delays let answers come while the next keys are typed. watch.lua knows these answers.
SCRIPT = {
    "rules": [
        {"after": "a", "text": "bcd_a"},
        {"after": "b", "text": "cda_b", "delay_ms": 20},
        {"after": "c", "text": "dab_c", "delay_ms": 80},
        {"after": "d", "text": "abc_d", "delay_ms": 5},
    ]
}
KEYS = {
    **dict.fromkeys("abcd", 12),
    **dict.fromkeys(["Enter", "Space", "Tab", "BSpace", "Left", "Right", "Up", "Down"], 3),
    **dict.fromkeys(["DC", "Home", "End", "M-Right", "C-M-Right", "C-]", "C-w", "_", "(", "🙂", "é"], 1),
}
COMMANDS = ["u", "dd", "p", "J", "x", ">>", "yyP"]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_five_hundred_keys(open_editor: OpenEditor, line_end: str) -> None:
    """After every burst of keys the server has the buffer's text, and no suggestion was ever drawn in a wrong place."""
    source = (REPOSITORY / "ast_tools" / "text.py").read_text(encoding="utf-8")
    text = f"a = '\u2028🙂'\n\tb = '\x0c\x85'\n{source}".replace("\n", line_end)
    editor = open_editor(text.encode(), script=SCRIPT, before_setup=f"dofile('{WATCH}')")
    chosen = random.Random(f"keys {line_end!r}")
    editor.insert_at_end_of(5)
    for num_burst in range(NUM_KEYS // BURST):
        editor.keys(*chosen.choices(list(KEYS), list(KEYS.values()), k=BURST))
        editor.assert_same_text(f"after burst {num_burst}")
        if chosen.random() < 0.3:
            editor.keys(chosen.choice(["Escape", "C-c"]))
            editor.wait_for_mode("n")
            editor.type(chosen.choice(COMMANDS) + "a")
            editor.wait_for_mode("i")
        if chosen.random() < 0.4:
            # Let a suggestion come up before the next keys.
            editor.leave_insert_mode()
            editor.type("oa")
            editor.wait_for_ghost("bcd_a")
    watch = editor.ask("keyturn_watch")
    assert watch["wrong"] == []
    assert watch["num_drawn"] > NUM_KEYS // BURST // 5, "too few suggestions were drawn for this to prove anything"
    editor.assert_same_text()
    assert "rror" not in editor.messages()
