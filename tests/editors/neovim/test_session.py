"""A session around the suggestions: the server's life, what the user is told, the commands, the keys of others."""

from __future__ import annotations

import re
import time

import pytest

from tests.editors.neovim.conftest import OpenEditor
from tests.editors.neovim.editor import SERVER, Editor
from tests.editors.neovim.install import Neovim

SCRIPT = {"rules": [{"after": "call = ", "text": "one.two(three)"}]}


def see_a_suggestion(editor: Editor) -> None:
    """Type where the script has an answer, and wait for it."""
    editor.leave_insert_mode()
    editor.type("ocall = ")
    editor.wait_for_ghost("one.two(three)")


def test_a_killed_server_comes_back(open_editor: OpenEditor) -> None:
    """After a crash the server is started again, knows the text as it is now, and suggests."""
    editor = open_editor("x = 1\n", script=SCRIPT)
    editor.insert_at_end_of(1)
    editor.type("23")
    editor.wait_for_lines("x = 123")
    editor.kill_server()
    editor.wait(lambda: "keyturn: restarting" in editor.statuses(), "the statusline to tell")
    editor.wait_until_ready()
    editor.assert_same_text()
    see_a_suggestion(editor)


def test_a_server_that_always_ends_is_given_up(open_editor: OpenEditor) -> None:
    """After five fresh starts one message says what to do; then there is quiet."""
    editor = open_editor("x = 1\n", is_ready=False, options="cmd = { 'false' }")
    editor.wait(lambda: editor.statusline() == "keyturn: stopped", "the end of all tries")
    editor.wait(lambda: "the server ended 6 times (exit status 1)" in editor.messages(), "the message")
    assert editor.messages().count("keyturn: the server ended") == 1
    assert editor.ask("probe.children()") == []


def test_files_without_a_project_have_one_server(open_editor: OpenEditor) -> None:
    """And a buffer without a name none: to the server all of them would be one document."""
    editor = open_editor("x = 1\n", script=SCRIPT)
    for name in ("second.py", "third.py"):
        editor.command(f"edit {editor.folder / name}")
        editor.wait_until_ready()
    editor.command("enew")
    editor.command("set filetype=python")
    time.sleep(0.5)
    assert editor.ask("#vim.lsp.get_clients({ bufnr = 0 })") == 0
    assert len(editor.ask("probe.children()")) == 1


def test_a_server_that_was_told_to_end_stays_away(open_editor: OpenEditor) -> None:
    editor = open_editor("x = 1\n", script=SCRIPT)
    editor.command("lua vim.lsp.stop_client(vim.lsp.get_clients({ name = 'keyturn' }))")
    editor.wait(lambda: editor.ask("probe.children()") == [], "the server's end")
    time.sleep(1)
    assert editor.ask("probe.children()") == []
    assert "keyturn: restarting" not in editor.statuses()
    editor.command("Keyturn restart")
    editor.wait_until_ready()


RECORD = (
    "lua local requests = require('keyturn.requests'); local notify = requests.notify; told = {}; "
    "requests.notify = function(client, method, params) table.insert(told, { method, params.position }); "
    "notify(client, method, params) end"
)


def test_the_server_hears_where_the_caret_goes(open_editor: OpenEditor) -> None:
    """Once after a pause, of a move and not of typing: it reads there before anything is asked."""
    editor = open_editor("x = 1\n" * 30, script=SCRIPT)
    editor.command(RECORD)
    editor.type(":20\rjjj")
    editor.wait(lambda: editor.ask("told"), "the place to be told")
    assert editor.ask("told") == [["keyturn/caret", {"line": 22, "character": 0}]]
    see_a_suggestion(editor)
    assert len(editor.ask("told")) == 1


def test_a_missing_server_is_told_once(open_editor: OpenEditor) -> None:
    """A command that does not exist gives one sentence, and the editor works."""
    editor = open_editor("x = 1\n", is_ready=False, options="cmd = { '/nowhere/keyturn' }")
    editor.wait(lambda: "`cmd` cannot be run: /nowhere/keyturn." in editor.messages(), "the message")
    assert "cannot be run" in editor.ask('(require("keyturn.status").long(nil, true))')
    editor.insert_at_end_of(1)
    editor.type("2\t")
    editor.wait_for_lines("x = 12  ")
    assert editor.messages().count("keyturn:") == 1


def test_a_wrong_setting_shows_one_message(open_editor: OpenEditor) -> None:
    """The server's complaint about a setting is shown once, and the default is used."""
    editor = open_editor("x = 1\n", script=SCRIPT, options="settings = { reuse = 'sometimes' }")
    see_a_suggestion(editor)
    assert editor.messages().count("`reuse`") == 1
    assert "keyturn: `reuse` in the editor's settings must be one of" in editor.messages()


def test_unknown_options_are_told_in_one_sentence(open_editor: OpenEditor) -> None:
    """What setup() does not know it names, all together, and goes on without."""
    editor = open_editor("x = 1\n", script=SCRIPT, options="colour = 'red', keys = { acept = '<C-l>', dismiss = 7 }")
    message = "keyturn: unknown or wrong options are ignored: `colour`, `keys.acept`, `keys.dismiss`;"
    assert editor.messages().count("unknown or wrong options") == 1
    assert message in editor.messages()
    see_a_suggestion(editor)
    editor.keys("C-]")
    editor.wait_for_ghost("")


def test_the_statusline_tells_the_state(open_editor: OpenEditor) -> None:
    """Loading, ready, the last latency, paused, and back."""
    editor = open_editor("x = 1\n")
    editor.wait(lambda: "keyturn: ready" in editor.statuses(), "the model to be loaded")
    assert any(re.fullmatch(r"keyturn: loading( \d+%)?", text) for text in editor.statuses())
    editor.insert_at_end_of(1)
    editor.type("\rfor i in ")
    editor.wait(lambda: re.fullmatch(r"keyturn: \d+ ms", editor.statusline()), "a latency")
    editor.command("Keyturn disable")
    editor.wait_for_screen("[keyturn: paused]")
    editor.command("Keyturn enable")
    editor.wait(lambda: re.fullmatch(r"keyturn: \d+ ms", editor.statusline()), "the latency again")


def test_the_statusline_tells_where_nothing_is_suggested(open_editor: OpenEditor) -> None:
    """In a file with secrets, why on demand; and no longer in the next file."""
    editor = open_editor("x = 1\n", script=SCRIPT)
    editor.command("edit .env")
    editor.wait_for_screen("[keyturn: off here]")
    status = editor.ask('(require("keyturn.status").long(require("keyturn.server").client_of(0).id, true))')
    assert ".env may hold secrets" in status
    editor.command("edit #")
    editor.wait(lambda: "off" not in editor.statusline(), "the file without secrets")


def test_the_statusline_tells_an_error(open_editor: OpenEditor) -> None:
    """A model that cannot be loaded: an error in the statusline, one message, and the reason on demand."""
    editor = open_editor("x = 1\n", is_ready=False, options="settings = { model = '/nowhere' }")
    editor.wait_for_screen("[keyturn: error]")
    editor.wait(lambda: "/nowhere" in editor.messages(), "the message")
    editor.command("messages clear")
    editor.command("Keyturn status")
    editor.wait(lambda: re.search(r"keyturn: error, .*/nowhere", editor.messages()), "the reason")


def test_paused_nothing_is_suggested(open_editor: OpenEditor) -> None:
    """`:Keyturn disable` ends suggestions in the running server, `:Keyturn toggle` brings them back."""
    editor = open_editor("x = 1\n", script=SCRIPT)
    see_a_suggestion(editor)
    editor.command("Keyturn disable")
    num_requests = editor.stats()["requests"]
    editor.type("ocall = ")
    editor.wait(lambda: editor.stats()["requests"] > num_requests, "the next question")
    # An answer that came after this one would be the same: none.
    assert editor.stats()["shown"] == 1
    assert editor.ghost() == ""
    editor.command("Keyturn toggle")
    see_a_suggestion(editor)


def test_commands(open_editor: OpenEditor) -> None:
    """`:Keyturn` completes its names, tells its state and figures, refuses what it does not know."""
    editor = open_editor("x = 1\n", script=SCRIPT)
    names = editor.ask('vim.fn.getcompletion("Keyturn ", "cmdline")')
    assert names == ["disable", "enable", "log", "restart", "stats", "status", "toggle"]
    see_a_suggestion(editor)
    for command, answer in [
        ("Keyturn", r"keyturn: ready, .*last suggestion after \d+ ms"),
        ("Keyturn stats", r"keyturn: \d+ requests, 1 shown, 0 accepted; the last: \d+ tokens kept, .* ms; cache"),
        ("Keyturn nonsense", r"keyturn: there is no `:Keyturn nonsense`; there are disable, enable"),
    ]:
        editor.command("messages clear")
        editor.command(command)
        editor.wait(lambda answer=answer: re.search(answer, editor.messages()), f"what {command} says")
    editor.command("Keyturn log")
    editor.wait(lambda: editor.ask('vim.fn.expand("%:t")') == "lsp.log", "the log")


def test_restart(open_editor: OpenEditor) -> None:
    """`:Keyturn restart` ends the server, starts another one and complains about nothing."""
    editor = open_editor("x = 1\n", script=SCRIPT)
    (before,) = editor.ask("probe.children()")
    editor.command("Keyturn restart")
    editor.wait(lambda: editor.ask("probe.children()") not in ([], [before]), "another process")
    editor.wait_until_ready()
    see_a_suggestion(editor)
    assert "restarting" not in " ".join(editor.statuses())
    assert len(editor.ask("probe.children()")) == 1


@pytest.mark.parametrize(
    ("mapping", "result"),
    [
        ("", "\t"),
        ("vim.keymap.set('i', '<Tab>', 'mine')", "mine"),
        ("vim.keymap.set('i', '<Tab>', function() vim.api.nvim_put({ 'lua' }, 'c', false, true) end)", "lua"),
        ("vim.keymap.set('i', '<Tab>', function() return 'a<lt>b' end, { expr = true })", "a<b"),
        ("vim.cmd('imap <Tab> <Tab>!')", "\t!"),
        ("vim.cmd('imap <expr> <Tab> \"<C-v>065\"')", "A"),
    ],
    ids=["plain", "keys", "function", "expression", "recursive", "vimscript"],
)
def test_tab_does_what_it_did_before(open_editor: OpenEditor, mapping: str, result: str) -> None:
    """Without a suggestion, Tab is the user's own mapping, else a tab; with one it accepts."""
    editor = open_editor("x\n", name="notes.txt", script=SCRIPT, before_setup=mapping)
    editor.insert_at_end_of(1)
    editor.type("\tz")
    editor.wait_for_lines(f"x{result}z")
    editor.type("\rcall = ")
    editor.wait_for_ghost("one.two(three)")
    editor.keys("Tab")
    editor.wait_for_lines(f"x{result}z", "call = one.two(three)")


def test_other_keys_and_file_types(open_editor: OpenEditor) -> None:
    """A key may be another one or none; a file type that is not wanted gets no server."""
    options = "filetypes = { 'python' }, keys = { accept = '<C-l>', dismiss = false }"
    editor = open_editor("x\n", script=SCRIPT, options=options)
    see_a_suggestion(editor)
    editor.keys("C-l")
    editor.wait_for_lines("x", "call = one.two(three)")
    editor.leave_insert_mode()
    editor.command(f"edit! {editor.file.with_name('notes.txt')}")
    editor.wait(lambda: editor.ask("vim.bo.filetype") == "text", "the other file")
    assert editor.stats() == {}
    assert editor.statusline() == ""


def test_the_menu_keeps_its_keys(open_editor: OpenEditor) -> None:
    """With an entry of the completion menu selected, Tab is the menu's."""
    editor = open_editor(
        "call = cane\n",
        script=SCRIPT,
        before_setup="vim.keymap.set('i', '<Tab>', function() return vim.fn.pumvisible() == 1 and '<C-y>!' or '?' end, "
        "{ expr = true })",
    )
    editor.insert_at_end_of(1)
    editor.type("\rca")
    # Two words begin so: one alone would need no menu.
    editor.keys("C-n")
    editor.wait_for_lines("call = cane", "call")
    editor.keys("Tab")
    editor.wait_for_lines("call = cane", "call!")


def test_health_is_clean(open_editor: OpenEditor, neovim: Neovim) -> None:
    """`:checkhealth keyturn` finds the server, its version, its state and the keys, and nothing to complain about."""
    editor = open_editor("x = 1\n", script=SCRIPT)
    editor.command("checkhealth keyturn")
    editor.wait(lambda: editor.ask("vim.bo.filetype") == "checkhealth", "the report")
    editor.wait(lambda: "dismiss" in "\n".join(editor.lines()), "its end")
    report = "\n".join(editor.lines())
    assert "ERROR" not in report and "WARNING" not in report, report
    assert f"Neovim {neovim.version}." in report
    assert f"server: `{' '.join(SERVER)}`" in report
    assert re.search(r"its version: keyturn \d", report)
    assert "attached to 1 buffer(s)" in report
    assert "status: ready" in report
    assert "accept: <Tab>" in report


def test_health_names_a_missing_server(open_editor: OpenEditor) -> None:
    """`:checkhealth keyturn` says that the server is missing and how to install it."""
    editor = open_editor("x = 1\n", is_ready=False, options="cmd = { '/nowhere/keyturn' }")
    editor.command("checkhealth keyturn")
    editor.wait(lambda: "dismiss" in "\n".join(editor.lines()), "the report")
    report = "\n".join(editor.lines())
    assert re.search(r"ERROR.*`cmd` cannot be run: /nowhere/keyturn", report)
    assert "python3 -m venv" in report
