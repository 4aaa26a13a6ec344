"""The command line as a user runs it."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lsp.cli import main
from model.engine_completer import MAX_DOCUMENTS
from tests.lsp.client import PATIENCE, environment

SCRIPT = {
    "rules": [
        {"after": "pri", "text": "nt(value)\nprint(other)"},
        {"after": "broken", "fail": "The engine broke; start it again."},
        {"after": "🎈", "text": "pop()"},
        {"after": "silent", "text": ""},
        {"after": "size = ", "text": "größe(a)\nmore", "unsure": ["a"]},
    ],
    "default": {"text": "hello"},
}
ANSWER = {"id", "text", "logprob", "tokens", "counts", "timings_ms"}
TOKENS = {"prompt", "kept", "turned", "encoded", "generated", "stale"}
TIMINGS = {"tokenize", "turn", "encode", "first_token", "decode", "total"}


def keyturn(folder: Path, *arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lsp.cli", *arguments],
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        env=environment(folder, SCRIPT, **variables),
        cwd=folder,
        timeout=PATIENCE,
        check=False,
    )


def batch(folder: Path, *requests: Any, options: tuple[str, ...] = (), status: int = 0) -> list[dict[str, Any]]:
    lines = "".join((request if isinstance(request, str) else json.dumps(request)) + "\n" for request in requests)
    (folder / "requests.jsonl").write_text(lines, encoding="utf-8")
    result = keyturn(folder, "complete", "--batch", "requests.jsonl", *options)
    assert (result.returncode, result.stderr) == (status, "")
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_complete_prints_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\npri\n", encoding="utf-8")
    result = keyturn(tmp_path, "complete", "a.py:2:4")
    assert (result.returncode, result.stdout, result.stderr) == (0, "nt(value)\n", "")


def test_nothing_to_suggest_is_not_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("silent", encoding="utf-8")
    result = keyturn(tmp_path, "complete", "a.py:1:7")
    assert (result.returncode, result.stdout) == (0, "")
    assert "nothing to suggest" in result.stderr


def test_complete_prints_json(tmp_path: Path) -> None:
    """Columns are characters on the command line and UTF-16 in the range."""
    (tmp_path / "a.py").write_text("s = '🎈'\nx🎈\n", encoding="utf-8")
    result = keyturn(tmp_path, "complete", "a.py:2:3", "--json")
    answer = json.loads(result.stdout)
    assert set(answer) == ANSWER | {"range", "model", "engine"}
    assert (set(answer["counts"]), set(answer["timings_ms"])) == (TOKENS, TIMINGS)
    assert (answer["text"], answer["engine"], answer["model"]) == ("pop()", "scripted", "script.json")
    assert answer["range"] == {"start": {"line": 1, "character": 3}, "end": {"line": 1, "character": 3}}


def test_what_a_model_does_not_say_is_null(tmp_path: Path) -> None:
    """Unknown is not certain: 0.0 would say that the model has no doubt."""
    (tmp_path / "a.py").write_text("pri", encoding="utf-8")
    answer = json.loads(keyturn(tmp_path, "complete", "a.py:1:4", "--json").stdout)
    assert answer["logprob"] is None
    assert [token["logprob"] for token in answer["tokens"]] == [None] * len(answer["tokens"]) != []


def test_tokens_tile_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("size = ", encoding="utf-8")
    answer = json.loads(keyturn(tmp_path, "complete", "a.py:1:8", "--json").stdout)
    data, tokens = answer["text"].encode(), answer["tokens"]
    bounds = [0, *(token["end"] for token in tokens)]
    assert [token["start"] for token in tokens] == bounds[:-1] and bounds[-1] == len(data)
    probabilities = {data[token["start"] : token["end"]].decode(): token["logprob"] for token in tokens}
    assert probabilities["a"] == pytest.approx(math.log(0.1), abs=1e-5)
    assert probabilities["größe"] == pytest.approx(math.log(0.9), abs=1e-5)
    assert answer["logprob"] == pytest.approx(sum(token["logprob"] for token in tokens), abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["complete"], "Give either"),
        (["complete", "a.py"], "FILE:LINE:COLUMN"),
        (["complete", "a.py:0:1"], "there is no line 0; the first is 1"),
        (["complete", "a.py:1:0"], "there is no column 0; the first is 1"),
        (["complete", "a.py:9:1"], "has 2 lines"),
        (["complete", "a.py:1:5"], "ends at column 4"),
        (["complete", "none.py:1:1"], "none.py cannot be read"),
        (["complete", ".:1:1"], "cannot be read"),
        (["complete", "binary:1:1"], "binary"),
        (["complete", "latin1.py:1:1"], "UTF-8"),
        (["complete", "a.py:1:1", "--max-tokens", "0"], "--max-tokens must be a whole number from 1 to 1024, not 0."),
        (["complete", "a.py:1:1", "--max-tokens", "many"], "invalid int"),
        (["complete", "a.py:1:1", "--reuse", "some"], "invalid choice"),
        (["complete", ".env:1:1"], ".env may hold secrets, so it is not read. `secret_files = true`"),
        (["complete", "link.txt:1:1"], "link.txt may hold secrets"),
        (["demo", ".env"], ".env may hold secrets"),
        (["complete", "--batch", "none.jsonl"], "none.jsonl cannot be read"),
        (["demo", "a.py", "--svg", "."], ". is a folder; name a file in it."),
        (["serve", "--tcp", "here"], "HOST:PORT"),
        (["vllm"], "required: serve"),
        (["vllm", "serve"], "Give the model first"),
        (["vllm", "serve", "--port", "1"], "Give the model first"),
        (["vllm", "serve", "model"], "vLLM is not installed in this Python"),
        (["sing"], "invalid choice"),
        ([], "required"),
    ],
    ids=" ".join,
)
def test_wrong_use_is_one_line_and_status_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "a.py").write_text("pri\n", encoding="utf-8")
    (tmp_path / "binary").write_bytes(b"\x7fELF\x00\x01")
    (tmp_path / "latin1.py").write_bytes(b"caf\xe9")
    (tmp_path / ".env").write_text("TOKEN=\n", encoding="utf-8")
    (tmp_path / "link.txt").symlink_to(".env")
    result = keyturn(tmp_path, *arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("keyturn: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


def test_a_file_with_secrets_is_completed_with_the_user_s_leave_only(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TOKEN=", encoding="utf-8")
    (tmp_path / "keyturn.toml").write_text("secret_files = true", encoding="utf-8")
    result = keyturn(tmp_path, "complete", ".env:1:7", "--json")
    assert (result.returncode, result.stdout) == (2, "")
    assert ["`secret_files` is ignored" in line for line in result.stderr.splitlines()] == [True, False]
    (tmp_path / "keyturn.toml").unlink()
    assert keyturn(tmp_path, "complete", ".env:1:7", KEYTURN_SECRET_FILES="1").stdout == "hello\n"


def test_a_failing_engine_is_status_3(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("broken", encoding="utf-8")
    result = keyturn(tmp_path, "complete", "a.py:1:7")
    assert (result.returncode, result.stdout) == (3, "")
    assert result.stderr == "keyturn: The engine broke; start it again.\n"


@pytest.mark.parametrize("level", ["debug", "warning"])
def test_a_bug_is_one_line_and_shows_where_when_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], level: str
) -> None:
    def fail(*arguments: object) -> int:
        raise ZeroDivisionError("nothing to divide by")

    monkeypatch.setattr("lsp.commands.demo.run", fail)
    monkeypatch.setenv("KEYTURN_LOG_LEVEL", level)
    assert main(["demo"]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "keyturn: nothing to divide by (this is a bug; KEYTURN_LOG_LEVEL=debug shows where)"
    assert lines[:1] == (["Traceback (most recent call last):"] if level == "debug" else lines[-1:])


def test_a_model_that_is_none_is_status_2(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x", encoding="utf-8")
    result = keyturn(tmp_path, "complete", "a.py:1:1", "--model", str(tmp_path), KEYTURN_ENGINE="embedded")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1


def test_version_and_help(tmp_path: Path) -> None:
    assert keyturn(tmp_path, "--version").stdout.startswith("keyturn ")
    help_text = keyturn(tmp_path, "--help").stdout
    assert all(command in help_text for command in ("serve", "complete", "demo", "doctor", "model"))


def test_a_bad_setting_is_said_and_its_default_used(tmp_path: Path) -> None:
    (tmp_path / "keyturn.toml").write_text("max_tokens = -1\n")
    (tmp_path / "a.py").write_text("pri", encoding="utf-8")
    result = keyturn(tmp_path, "complete", "a.py:1:4")
    assert (result.returncode, result.stdout) == (0, "nt(value)\n")
    assert "`max_tokens`" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_broken_project_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "keyturn.toml").write_text("max_tokens = = 1\n")
    (tmp_path / "a.py").write_text("pri", encoding="utf-8")
    result = keyturn(tmp_path, "complete", "a.py:1:4")
    assert (result.returncode, result.stdout) == (0, "nt(value)\n")
    assert result.stderr.startswith(f"keyturn: {tmp_path / 'keyturn.toml'} cannot be read")


def test_batch_answers_each_line_in_order(tmp_path: Path) -> None:
    first, second = batch(
        tmp_path,
        {"id": "a", "prefix": "pri", "suffix": "\n", "language": "python", "stop": "line"},
        {"id": 2, "prefix": "x", "suffix": ""},
    )
    assert set(first) == set(second) == ANSWER
    assert (set(first["counts"]), set(first["timings_ms"])) == (TOKENS, TIMINGS)
    assert [(answer["id"], answer["text"]) for answer in (first, second)] == [("a", "nt(value)"), (2, "hello")]


def test_batch_without_a_stop_gives_the_models_own_text(tmp_path: Path) -> None:
    (answer,) = batch(tmp_path, {"id": 1, "prefix": "pri", "suffix": "", "stop": "none"})
    assert answer["text"] == "nt(value)\nprint(other)"


def test_batch_lines_limit_their_tokens(tmp_path: Path) -> None:
    (answer,) = batch(tmp_path, {"id": 1, "prefix": "pri", "suffix": "", "stop": "none", "max_tokens": 1})
    assert answer["counts"]["generated"] == 1


def test_batch_lines_of_one_document_share_its_cache(tmp_path: Path) -> None:
    requests = [{"id": n, "prefix": "a = 1\n" * 50 + "pri", "suffix": "", "document": "d"} for n in (1, 2)]
    first, second = batch(tmp_path, *requests)
    assert first["counts"]["kept"] == 0
    assert second["counts"]["kept"] == second["counts"]["prompt"]
    alone = [{**request, "document": None} for request in requests]
    assert [answer["counts"]["kept"] for answer in batch(tmp_path, *alone)] == [0, 0]


def test_batch_goes_on_after_bad_lines(tmp_path: Path) -> None:
    bad: list[Any] = [
        "{",
        "[]",
        "[" * 100_000,
        {"id": 1},
        {"id": 2, "prefix": 5},
        {"id": 3, "prefix": "", "stop": "never"},
        {"id": 4, "prefix": "", "max_tokens": 0},
        {"id": 5, "prefix": "", "max_tokens": "x"},
        {"id": 6, "prefix": "broken"},
    ]
    *errors, last = batch(tmp_path, *bad, "", {"id": 7, "prefix": "pri\ud83d"}, status=3)
    assert [set(answer) for answer in errors] == [{"id", "error"}] * len(bad)
    assert [answer["id"] for answer in errors] == [None, None, None, 1, 2, 3, 4, 5, 6]
    assert (last["id"], last["text"]) == (7, "hello")


def test_batch_answers_why_a_file_with_secrets_is_not_read(tmp_path: Path) -> None:
    requests = [
        {"id": 1, "prefix": "x", "document": ".env"},
        {"id": 2, "prefix": "x", "document": "file:///home/me/%2Essh/config"},
        {"id": 3, "prefix": "x", "document": "folder#1/.netrc"},
        {"id": 4, "prefix": "x", "language": "dotenv"},
        {"id": 5, "prefix": "x", "document": "secrets.py"},
        {"id": 6, "prefix": "x"},
    ]
    answers = batch(tmp_path, *requests)
    assert [answer["id"] for answer in answers if "`secret_files = true`" in answer.get("error", "")] == [1, 2, 3, 4]
    assert answers[0]["error"].startswith(".env may hold secrets")
    assert [answer["text"] for answer in answers[4:]] == ["hello"] * 2
    (tmp_path / "config" / "keyturn").mkdir(parents=True)
    (tmp_path / "config" / "keyturn" / "config.toml").write_text("secret_files = true")
    assert [answer.get("text") for answer in batch(tmp_path, *requests)] == ["hello"] * 6


def test_batch_reads_what_other_programs_write(tmp_path: Path) -> None:
    """A byte order mark in front, null for what is not set, and no numbers that JSON has not."""
    lines = [b'\xef\xbb\xbf{"id": 1, "prefix": "x", "stop": null}', b'{"id": NaN, "prefix": "x"}']
    (tmp_path / "requests.jsonl").write_bytes(b"\n".join(lines))
    result = keyturn(tmp_path, "complete", "--batch", "requests.jsonl")
    first, second = map(json.loads, result.stdout.splitlines())
    assert (result.returncode, first["id"]) == (0, 1) and "text" in first
    assert second["id"] is None and "NaN" in second["error"]


def test_batch_tells_that_the_engine_failed(tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_text('{"id": 1, "prefix": "broken"}\n{"id": 2, "prefix": "x"}\n')
    result = keyturn(tmp_path, "complete", "--batch", "requests.jsonl")
    assert result.returncode == 3
    assert [set(json.loads(line)) >= {"error"} for line in result.stdout.splitlines()] == [True, False]


def test_batch_keeps_the_latest_documents_only(tmp_path: Path) -> None:
    many = [{"id": number, "prefix": "x", "document": str(number)} for number in range(MAX_DOCUMENTS + 1)]
    answers = batch(tmp_path, *many, many[-1], many[0])
    assert [answer["counts"]["kept"] for answer in answers[-2:]] == [answers[-1]["counts"]["prompt"], 0]


def test_batch_says_no_when_no_line_could_be_answered(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("import os\n\nx = 1\n")
    result = keyturn(tmp_path, "complete", "--batch", "main.py")
    assert result.returncode == 1
    assert [json.loads(line)["error"][:18] for line in result.stdout.splitlines()] == [
        "Line 1 is not JSON",
        "Line 3 is not JSON",
    ]


def test_batch_reads_standard_input_and_answers_at_once(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lsp.cli", "complete", "--batch", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(tmp_path, SCRIPT),
        cwd=tmp_path,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(3):
            process.stdin.write(json.dumps({"id": number, "prefix": "x"}).encode() + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["id"] == number
        process.stdin.close()
        assert process.wait(PATIENCE) == 0


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"id": number, "prefix": "x" * 1000}) + "\n" for number in range(500))
    process = subprocess.Popen(
        [sys.executable, "-m", "lsp.cli", "complete", "--batch", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(tmp_path, SCRIPT),
        cwd=tmp_path,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(json.dumps({"id": 0, "prefix": "x"}).encode() + b"\n")
    process.stdin.flush()
    process.stdout.readline()
    process.stdout.close()
    try:
        process.stdin.write(lines.encode())
        process.stdin.close()
    except BrokenPipeError:
        pass
    assert process.wait(PATIENCE) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


def test_doctor_tells_what_it_found(tmp_path: Path) -> None:
    result = keyturn(tmp_path, "doctor", "--json")
    report = json.loads(result.stdout)
    assert (result.returncode, report["error"]) == (0, None)
    assert report["model"]["name"] == "script.json"
    assert report["versions"]["pygls"].startswith("2.")
    assert report["answer"] == "hello"
    assert set(report["speed"]) == {
        "load_seconds",
        "first_token_ms",
        "prefill_ms_per_token",
        "decode_ms_per_token",
        "total_ms",
    }
    assert "hello" in keyturn(tmp_path, "doctor").stdout


def test_doctor_without_a_working_engine_is_status_3(tmp_path: Path) -> None:
    result = keyturn(tmp_path, "doctor", KEYTURN_SCRIPT=str(tmp_path / "none.json"))
    assert result.returncode == 3
    assert "does not answer" in result.stdout


def test_a_current_folder_that_is_gone_is_wrong_use(tmp_path: Path) -> None:
    code = "import os, sys; os.rmdir(os.getcwd()); from lsp.cli import main; sys.exit(main(['doctor']))"
    gone = tmp_path / "gone"
    gone.mkdir()
    command = [sys.executable, "-c", code]
    result = subprocess.run(
        command, env=environment(tmp_path, SCRIPT), cwd=gone, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (
        2,
        "keyturn: The current folder is gone; change to one that exists.\n",
    )


@pytest.mark.parametrize("arguments", [("serve",), ("complete", "--batch", "-")], ids=" ".join)
def test_an_interrupt_ends_quietly(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lsp.cli", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(tmp_path, SCRIPT),
        cwd=tmp_path,
        # Whoever runs the tests in the background has them ignore interrupts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    body = b'{"jsonrpc":"2.0","id":1,"method":"shutdown"}'
    start = b"Content-Length: %d\r\n\r\n%b" % (len(body), body) if arguments == ("serve",) else b'{"prefix": "x"}\n'
    process.stdin.write(start)
    process.stdin.flush()
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (130, b"")
