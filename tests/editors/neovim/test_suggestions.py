"""Suggestions in a real Neovim, with an engine that follows a script: exact texts on the screen and in the buffer."""

from __future__ import annotations

import pytest

from tests.editors.neovim.conftest import OpenEditor
from tests.editors.neovim.editor import Editor

SCRIPT = {
    "rules": [
        {"after": "never", "text": "too late", "delay_ms": 600_000},
        {"after": "pri", "text": "nt(value)"},
        {"after": "call = ", "text": "one.two(three)"},
        {"after": "ask = ", "text": "open(path, {mode})", "unsure": ["path", "mode"]},
        {"after": r"show\(", "text": "value)"},
        {"after": r"colour = 1[^\0]*paint = ", "text": "one"},
        {"after": r"colour = 2[^\0]*paint = ", "text": "two"},
        {"after": r"def f\(\):\r?\n[ \t]+", "text": "first = 1\n    second = 2\n    return first"},
    ],
}
FUNCTION = "def f():\n    "


def type_at_end(editor: Editor, line: int, text: str) -> None:
    editor.insert_at_end_of(line)
    editor.type(text)


def num_asked(editor: Editor) -> int:
    """How often the model was asked for a suggestion and had one."""
    num: int = editor.stats()["shown"]
    return num


def test_tab_accepts_what_is_shown(open_editor: OpenEditor) -> None:
    """Ghost text stands on the screen and not in the buffer; Tab puts it there, and the server counts it."""
    editor = open_editor("x = 1\n", script=SCRIPT)
    type_at_end(editor, 1, "\rpri")
    editor.wait_for_ghost("nt(value)")
    editor.wait_for_screen("print(value)")
    assert editor.lines() == ["x = 1", "pri"]
    editor.keys("Tab")
    editor.wait_for_lines("x = 1", "print(value)")
    editor.wait(lambda: editor.stats()["accepted"] == 1, "the acceptance to be counted")
    editor.wait_for_ghost("")
    editor.type("!")
    editor.wait_for_lines("x = 1", "print(value)!")


def test_a_whole_block_is_accepted(open_editor: OpenEditor) -> None:
    """A suggestion of several lines is drawn over several lines and accepted as such."""
    editor = open_editor(FUNCTION, script=SCRIPT)
    type_at_end(editor, 2, " \b")
    editor.wait_for_ghost("first = 1\n    second = 2\n    return first")
    editor.wait_for_screen("\n    second = 2\n    return first")
    editor.keys("Tab")
    editor.wait_for_lines("def f():", "    first = 1", "    second = 2", "    return first")


def test_one_word_is_accepted(open_editor: OpenEditor) -> None:
    """The word key takes one word, and the rest stays on the screen; only the last word counts as acceptance."""
    editor = open_editor("\n", script=SCRIPT)
    type_at_end(editor, 1, "call = ")
    editor.wait_for_ghost("one.two(three)")
    for line, rest in [("one", ".two(three)"), ("one.", "two(three)"), ("one.two", "(three)"), ("one.two(", "three)")]:
        editor.keys("M-Right")
        editor.wait_for_lines(f"call = {line}")
        editor.wait_for_ghost(rest)
    assert editor.stats()["accepted"] == 0
    editor.keys("M-Right", "M-Right")
    editor.wait_for_lines("call = one.two(three)")
    editor.wait(lambda: editor.stats()["accepted"] == 1, "the acceptance to be counted")
    assert num_asked(editor) == 1


def test_one_line_is_accepted(open_editor: OpenEditor) -> None:
    """The line key takes the rest of a line, then one line at a time, and the rest moves along."""
    editor = open_editor(FUNCTION, script=SCRIPT)
    type_at_end(editor, 2, " \b")
    editor.wait_for_ghost("first = 1\n    second = 2\n    return first")
    editor.keys("C-M-Right")
    editor.wait_for_lines("def f():", "    first = 1")
    editor.wait_for_ghost("\n    second = 2\n    return first")
    editor.keys("C-M-Right")
    editor.wait_for_lines("def f():", "    first = 1", "    second = 2")
    editor.wait_for_ghost("\n    return first")
    editor.keys("Tab")
    editor.wait_for_lines("def f():", "    first = 1", "    second = 2", "    return first")
    assert num_asked(editor) == 1


def test_typing_along_keeps_the_suggestion(open_editor: OpenEditor) -> None:
    """Characters typed along a suggestion shorten it, at once, and the model is not asked again."""
    editor = open_editor("\n", script=SCRIPT)
    type_at_end(editor, 1, "call = ")
    editor.wait_for_ghost("one.two(three)")
    for position, character in enumerate("one.two", start=1):
        editor.type(character)
        editor.wait_for_lines("call = " + "one.two"[:position])
        assert editor.ghost() == "one.two(three)"[position:]
    # Typed to its end, then further: that asks anew, and the count shows what was asked before.
    editor.type("(three)")
    editor.wait_for_lines("call = one.two(three)")
    editor.wait_for_ghost("")
    assert num_asked(editor) == 1
    editor.type("\ragain = call = ")
    editor.wait_for_ghost("one.two(three)")
    assert num_asked(editor) == 2


def test_keys_typed_ahead_keep_their_order(open_editor: OpenEditor) -> None:
    """A part typed along, Tab and more text, all in one burst, give the same as typed slowly."""
    editor = open_editor("\n", script=SCRIPT)
    type_at_end(editor, 1, "call = ")
    editor.wait_for_ghost("one.two(three)")
    editor.type("one\t + 1")
    editor.wait_for_lines("call = one.two(three) + 1")


def test_another_way_hides_it(open_editor: OpenEditor) -> None:
    """A suggestion that what is typed contradicts is gone at once, and Tab does not insert it."""
    editor = open_editor("\n", script=SCRIPT)
    type_at_end(editor, 1, "call = ")
    editor.wait_for_ghost("one.two(three)")
    editor.type("never")
    editor.wait_for_lines("call = never")
    assert editor.ghost() == ""
    editor.wait(lambda: editor.stats()["requests"] >= 2, "the question about the new text")
    assert editor.ghost() == ""
    editor.keys("Tab")
    editor.wait_for_lines("call = never    ")


def test_an_edit_above_gives_a_fresh_suggestion(open_editor: OpenEditor) -> None:
    """After an edit above the caret the suggestion is made from the new text."""
    editor = open_editor("colour = 1\n\npaint = \n", script=SCRIPT)
    type_at_end(editor, 3, " \b")
    editor.wait_for_ghost("one")
    editor.insert_at_end_of(1)
    assert editor.ghost() == ""
    editor.type("\b2")
    editor.wait_for_lines("colour = 2", "", "paint = ")
    editor.insert_at_end_of(3)
    editor.wait_for_ghost("two")
    editor.keys("Tab")
    editor.wait_for_lines("colour = 2", "", "paint = two")


def test_nothing_repeats_what_stands_behind_the_caret(open_editor: OpenEditor) -> None:
    """A bracket behind the caret is not suggested once more."""
    editor = open_editor("show)\n", script=SCRIPT)
    editor.type("fwa")
    editor.wait_for_mode("i")
    editor.type("(")
    editor.wait_for_lines("show()")
    editor.wait_for_ghost("value")
    editor.keys("Tab")
    editor.wait_for_lines("show(value)")


def test_dismissed_it_stays_away(open_editor: OpenEditor) -> None:
    """The dismiss key hides a suggestion without a trace in the text; the next change brings one back."""
    editor = open_editor("\n", script=SCRIPT)
    type_at_end(editor, 1, "call = ")
    editor.wait_for_ghost("one.two(three)")
    editor.keys("C-]")
    editor.wait_for_ghost("")
    assert editor.lines() == ["call = "]
    editor.type("o")
    editor.wait_for_ghost("ne.two(three)")


@pytest.mark.parametrize(
    "before",
    ["\tname = '🙂🙂' ; ", "数 = '数字' ; ", "e\u0301 = '👩‍👩‍👧' ;\t"],
    ids=["tab and emoji", "cjk", "combined"],
)
def test_characters_of_many_bytes_before_the_caret(open_editor: OpenEditor, before: str) -> None:
    """Emoji, tabs and other scripts before the caret move nothing."""
    editor = open_editor(f"if True:\n{before}x\n", script=SCRIPT)
    type_at_end(editor, 2, "\bpri")
    editor.wait_for_lines("if True:", f"{before}pri")
    editor.wait_for_ghost("nt(value)")
    editor.keys("Tab")
    editor.wait_for_lines("if True:", f"{before}print(value)")
    editor.assert_same_text()


def test_a_file_with_crlf(open_editor: OpenEditor) -> None:
    r"""In a file with \r\n a suggestion of several lines gets the file's own line ends."""
    editor = open_editor(FUNCTION.replace("\n", "\r\n").encode(), script=SCRIPT)
    type_at_end(editor, 2, " \b")
    editor.wait_for_ghost("first = 1\n    second = 2\n    return first")
    editor.keys("Tab")
    editor.wait_for_lines("def f():", "    first = 1", "    second = 2", "    return first")
    editor.assert_same_text()
    editor.command("write")
    written = b"def f():\r\n    first = 1\r\n    second = 2\r\n    return first\r\n"
    editor.wait(lambda: editor.file.read_bytes() == written, "the file to be written")


def test_a_file_with_other_line_separators(open_editor: OpenEditor) -> None:
    """U+2028, a form feed and U+0085 end no line: what comes behind them is edited where it stands."""
    nasty = "a = '\u2028' \x0c\nb = '\x85'\n\n"
    editor = open_editor(nasty, script=SCRIPT)
    type_at_end(editor, 3, "pri")
    editor.wait_for_ghost("nt(value)")
    editor.keys("Tab")
    editor.wait_for_lines("a = '\u2028' \x0c", "b = '\x85'", "print(value)")
    editor.insert_at_end_of(1)
    editor.type("pri")
    editor.wait_for_ghost("nt(value)")
    editor.assert_same_text()


def test_nothing_in_normal_mode(open_editor: OpenEditor) -> None:
    """Leaving insert mode takes the suggestion off the screen."""
    editor = open_editor("\n", script=SCRIPT)
    type_at_end(editor, 1, "call = ")
    editor.wait_for_ghost("one.two(three)")
    editor.leave_insert_mode()
    editor.wait_for_ghost("")
    editor.wait_until_gone("one.two")


def ask_for_a_snippet(editor: Editor) -> None:
    """Show a suggestion, then ask for others: the answer to that is a snippet with the same text."""
    type_at_end(editor, 1, "ask = ")
    editor.wait_for_ghost("open(path, {mode})")
    asked = num_asked(editor)
    editor.keys("M-]")
    editor.wait(lambda: num_asked(editor) > asked, "the explicit request")
    editor.wait_for_ghost("open(path, {mode})")


def test_parts_in_doubt_are_placeholders(open_editor: OpenEditor) -> None:
    """Who asks for suggestions gets them as a snippet: after acceptance what is typed replaces the parts in doubt."""
    editor = open_editor("\n", script=SCRIPT)
    ask_for_a_snippet(editor)
    editor.keys("Tab")
    editor.wait_for_lines("ask = open(path, {mode})")
    editor.type("here")
    editor.wait_for_lines("ask = open(here, {mode})")


def test_a_word_of_a_snippet_is_plain_text(open_editor: OpenEditor) -> None:
    """Accepted in parts it has no placeholders."""
    editor = open_editor("\n", script=SCRIPT)
    ask_for_a_snippet(editor)
    editor.keys("M-Right")
    editor.wait_for_lines("ask = open")
    editor.wait_for_ghost("(path, {mode})")
    editor.keys("Tab")
    editor.wait_for_lines("ask = open(path, {mode})")
