"""Suggestions of the model that comes with keyturn, in a real Neovim: what they say is the model's business."""

from __future__ import annotations

from tests.editors.neovim.conftest import OpenEditor
from tests.editors.neovim.editor import Editor

SOURCE = """import os


def read_lines(path):
    with open(path) as file:
        return file.read().splitlines()


"""


def wait_for_some_ghost(editor: Editor) -> str:
    """Wait until something is suggested; the text."""
    text: str = editor.wait(editor.ghost, "a suggestion")
    editor.wait_for_screen(text.strip().splitlines()[0])
    return text


def test_tab_accepts_what_is_shown(open_editor: OpenEditor) -> None:
    """Ghost text comes up, Tab takes exactly that, and `:wq` writes it."""
    editor = open_editor(SOURCE)
    editor.insert_at_end_of(8)
    editor.type("def write_lines(path, lines):\r")
    editor.wait_for_lines(*SOURCE.splitlines()[:7], "def write_lines(path, lines):", "    ")
    ghost = wait_for_some_ghost(editor)
    assert ghost.strip() not in "\n".join(editor.lines())
    before = "\n".join(editor.lines())
    editor.keys("Tab")
    editor.wait(lambda: "\n".join(editor.lines()) == before + ghost, "exactly the suggestion in the text")
    editor.wait(lambda: editor.stats()["accepted"] == 1, "the acceptance to be counted")
    editor.assert_same_text()
    editor.command("wq")
    editor.wait(lambda: editor.file.read_text() == before + ghost + "\n", "the file to be written")


def test_typing_along_does_not_ask_the_model(open_editor: OpenEditor) -> None:
    """Typing the beginning of a suggestion keeps the rest of it, and the model has been asked once."""
    editor = open_editor(SOURCE)
    editor.insert_at_end_of(8)
    editor.type("def write_lines(path, lines):\r")
    ghost = wait_for_some_ghost(editor)
    editor.type(ghost[:4])
    editor.wait_for_ghost(ghost[4:])
    editor.keys("M-Right")
    editor.wait(lambda: ghost.endswith(editor.ghost()) and len(editor.ghost()) < len(ghost) - 4, "a shorter rest")
    assert editor.stats()["shown"] == 1


def test_an_edit_above_gives_a_fresh_suggestion(open_editor: OpenEditor) -> None:
    """After an edit above, the model is asked about the new text."""
    editor = open_editor(SOURCE + "lines = \n")
    editor.insert_at_end_of(9)
    editor.type("\bread")
    wait_for_some_ghost(editor)
    num_shown = editor.stats()["shown"]
    editor.insert_at_end_of(1)
    editor.type(", sys")
    editor.insert_at_end_of(9)
    wait_for_some_ghost(editor)
    assert editor.stats()["shown"] > num_shown
    editor.assert_same_text()


def test_nothing_repeats_what_stands_behind_the_caret(open_editor: OpenEditor) -> None:
    """Inside of brackets that are closed already, what is accepted leaves the brackets balanced."""
    editor = open_editor(SOURCE + "lines = read_lines)\n")

    def written() -> str:
        return "\n".join(editor.lines()[8:])

    editor.type(":9\rf)i")
    editor.wait_for_mode("i")
    editor.type("(")
    ghost = wait_for_some_ghost(editor)
    editor.keys("Tab")
    editor.wait(lambda: written() == f"lines = read_lines({ghost})", "the suggestion in the brackets")
    assert written().count("(") == written().count(")")


def test_next_and_previous(open_editor: OpenEditor) -> None:
    """The next key asks for several suggestions and shows another one, the previous key goes back."""
    editor = open_editor(SOURCE)
    editor.insert_at_end_of(8)
    editor.type("def write_lines(path, lines):\r")
    first = wait_for_some_ghost(editor)
    editor.keys("M-]")
    second = editor.wait(lambda: editor.ghost() not in ("", first) and editor.ghost(), "another suggestion")
    seen = [second]
    while seen[-1] != first and len(seen) < 4:
        editor.keys("M-]")
        seen.append(editor.wait(lambda: editor.ghost() != seen[-1] and editor.ghost(), "the next one"))
    assert seen[-1] == first
    editor.keys("M-[")
    editor.wait_for_ghost(seen[-2])
    before = "\n".join(editor.lines())
    editor.keys("Tab")
    editor.wait(lambda: "\n".join(editor.lines()) == before + seen[-2], "the one that is shown in the text")
