"""`keyturn/docstring`, asked of a real server process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lsp.client import Client, Json, ServerError, serving, span

URI = "file:///project/main.py"
CODE = "def add(a, b):\n    return a + b\n"
SCRIPT = {
    "rules": [
        {"after": '"""', "text": 'Return the sum of a and b."""\n    more', "delay_ms": 300},
        {"after": "slow", "text": "ghost", "delay_ms": 300},
    ],
    "default": {"text": "ghost"},
}


def start(client: Client, line: int, column: int, uri: str = URI) -> int:
    position = {"line": line, "character": column}
    return client.start("keyturn/docstring", {"textDocument": {"uri": uri}, "position": position})


def edit(indentation: str = "    ") -> Json:
    return {"range": span(1, 4, 1, 4), "newText": f'"""Return the sum of a and b."""\n{indentation}'}


def test_a_missing_docstring_is_written(tmp_path: Path) -> None:
    with serving(tmp_path, SCRIPT) as client:
        client.initialize()
        client.open(URI, CODE)
        assert client.reply(start(client, 0, 5)) == edit()
        client.open(URI, CODE.replace("    ", '    """There."""\n    '))
        assert client.reply(start(client, 0, 5)) is None
        assert client.reply(start(client, 0, 5, "file:///never/opened.py")) is None


def test_a_docstring_and_ghost_text_for_one_document_are_both_answered(tmp_path: Path) -> None:
    """Whichever is asked for first, and while the other is being made."""
    with serving(tmp_path, SCRIPT) as client:
        client.initialize()
        client.open(URI, CODE + "slow")
        docstring = start(client, 0, 5)
        ghost = client.start_completion(URI, 2, 4)
        assert [item["insertText"] for item in client.reply(ghost)] == ["ghost"]
        assert not client.replies.get(docstring), "ghost text comes first"
        assert client.reply(docstring) == edit()

        client.change(URI, CODE + "slow slow")
        ghost = client.start_completion(URI, 2, 9)
        docstring = start(client, 0, 5)
        assert client.reply(docstring) == edit()
        assert [item["insertText"] for item in client.reply(ghost)] == ["ghost"]
        assert all(len(replies) == 1 for replies in client.replies.values())


def test_a_newer_question_withdraws_the_one_before(tmp_path: Path) -> None:
    with serving(tmp_path, SCRIPT) as client:
        client.initialize()
        client.open(URI, CODE)
        first, second = start(client, 0, 5), start(client, 1, 4)
        with pytest.raises(ServerError) as error:
            client.reply(first)
        assert error.value.code == -32800
        assert client.reply(second) == edit()


def test_text_that_changed_meanwhile_gets_no_edit(tmp_path: Path) -> None:
    with serving(tmp_path, SCRIPT) as client:
        client.initialize()
        client.open(URI, CODE)
        asked = start(client, 0, 5)
        client.change(URI, (0, 0, 0, 0, "\n"))
        assert client.reply(asked) is None


def test_an_answer_without_a_word_is_none(tmp_path: Path) -> None:
    with serving(tmp_path, {"default": {"text": ' """\n'}}) as client:
        client.initialize()
        client.open(URI, CODE)
        assert client.reply(start(client, 0, 5)) is None


def test_a_sentence_that_was_cut_by_the_limit_is_none(tmp_path: Path) -> None:
    with serving(tmp_path, SCRIPT, KEYTURN_MAX_TOKENS="3") as client:
        client.initialize()
        client.open(URI, CODE)
        assert client.reply(start(client, 0, 5)) is None
