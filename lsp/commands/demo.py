"""`keyturn demo`: an editing session over a real file, as an editor would drive it, and what each step cost.

It starts the language server as a process of its own, opens the file in memory, edits it near the top, types further
down, shows the ghost text, and does the same again with the cache thrown away at every step. The file is not changed.
"""

from __future__ import annotations

import asyncio
import re
import sys
import sysconfig
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text as Styled

from ast_tools.languages import language_for
from ast_tools.text import Edit, PositionEncoding, Text, encode
from lsp.client import EditorClient, ServerFailed, position
from lsp.commands.exits import DONE, ENGINE_FAILED, UsageError
from lsp.commands.headless import configuration_for, refuse_secrets
from lsp.server import STATS_METHOD

DEFAULT_FILE = "shlex.py"
CONTEXT_TOKENS = 4096
PICTURE_COLUMNS = 84
TABLE_TITLE = "Where the prompt came from, and milliseconds to the first new token"
OPTIONS = {
    "context_tokens": CONTEXT_TOKENS,
    "idle_refresh": False,
    "debounce_ms": 0,
    "enabled": True,
    "disabled_languages": [],
    "disabled_globs": [],
}
CARET_BYTES = 9_000
"""The caret stands at most this far into the file, so that its top is within the model's window."""


@dataclass(frozen=True)
class Step:
    """One thing that the person at the editor does, and the suggestion asked for after it."""

    name: str
    edits: tuple[Edit, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What came of one step: the ghost text and where it stood, where the prompt's tokens came from, what it took."""

    text: Text
    caret: int
    ghost: str
    tokens: dict[str, int]
    timings_ms: dict[str, float]


def run(file: str | None, picture: str | None = None) -> int:
    """Run the session and print it, to an SVG picture too if one is wanted; the exit status."""
    path = Path(file) if file else Path(sysconfig.get_path("stdlib")) / DEFAULT_FILE
    refuse_secrets(path, configuration_for(path.parent).settings)
    text = _read(path)
    if picture is not None and Path(picture).is_dir():
        raise UsageError(f"{picture} is a folder; name a file in it.")
    if picture is not None and not Path(picture).absolute().parent.is_dir():
        raise UsageError(f"{picture} cannot be written: there is no such folder.")
    console = Console(highlight=False, record=picture is not None, width=PICTURE_COLUMNS if picture else None)
    name = file or f"{DEFAULT_FILE} of Python's own library"
    console.print(f"[bold]{escape(name)}[/bold]: {text.num_lines} lines, edited in memory only\n", soft_wrap=True)
    try:
        outcomes = asyncio.run(_sessions(path, text, console))
    except (TimeoutError, ServerFailed) as error:
        sys.stderr.write(f"keyturn: {str(error) or 'The server did not answer in time.'}\n")
        return ENGINE_FAILED
    steps = _session(text, _comment_mark(path))[1]
    for step, outcome in zip(steps, outcomes["pie"], strict=True):
        _show(console, path, step, outcome)
    console.print(_table(steps, outcomes))
    if picture is not None:
        console.save_svg(picture, title="keyturn demo")
    return DONE


def _read(path: Path) -> Text:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror or error}.") from error
    try:
        return Text.from_str(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text.") from error


def _session(text: Text, comment_mark: str) -> tuple[int, list[Step]]:
    """Where the caret stands at first, and the steps. A step's edits are applied one after the other.

    The caret stands behind a line's indentation, as if the rest had not been written yet: that rest is deleted before
    the session begins, and the demo's suggestions are for what stood there. Its first word is what is typed.
    """
    caret = _caret(text)
    # In a short file the fourth line may stand behind the caret.
    top = text.line_start(min(3, text.line_at(caret)))
    note = f"{comment_mark} a line that was not here before\n".encode()
    shifted = caret + len(note)
    rest = text.slice(caret, text.line_end(text.line_at(caret)))
    word = re.sub(r"^(\w{0,20}\W?).*", r"\1", rest) or "return "
    return caret, [
        Step("open the file"),
        Step("insert a line near the top", (Edit(top, top, note),)),
        Step(f"type “{word}” at the caret", (Edit(shifted, shifted, encode(word)),)),
        Step("delete that line again", (Edit(top, top + len(note), b""),)),
    ]


def _comment_mark(path: Path) -> str:
    language = language_for(path.name)
    return language.line_comment if language else "#"


def _caret(text: Text) -> int:
    """Behind the indentation of a line of code that is some way down the file."""
    last = text.line_at(min(CARET_BYTES, len(text)))
    for line in range(last, 0, -1):
        content = text.line(line)
        if content.strip() and content.startswith((" ", "\t")) and len(content.strip()) > 12:
            return text.line_start(line) + len(encode(content)) - len(encode(content.lstrip()))
    return text.line_end(last)


async def _sessions(path: Path, text: Text, console: Console) -> dict[str, list[Outcome]]:
    """The session under PIE and under full recomputation, in a server process each, so that neither warms the other."""
    outcomes = {}
    for reuse, told in (("pie", "the cache edited"), ("off", "everything encoded again")):
        with console.status(f"A session with {told} …"):
            outcomes[reuse] = await _with_server(reuse, lambda client: _play(client, path, text))
    return outcomes


async def _with_server(reuse: str, play: Callable[[EditorClient], Awaitable[list[Outcome]]]) -> list[Outcome]:
    client = EditorClient()
    await client.start_server()
    try:
        await client.open_session(OPTIONS | {"reuse": reuse})
        return await play(client)
    finally:
        await client.end_session()


async def _play(client: EditorClient, path: Path, text: Text) -> list[Outcome]:
    """Do the steps, asking for a suggestion after each."""
    caret, steps = _session(text, _comment_mark(path))
    uri = path.resolve().as_uri()
    rest = Edit(caret, text.line_end(text.line_at(caret)), b"")
    text = text.apply(rest)
    language = language_for(path.name)
    language_id = language.lsp_ids[0] if language else "plaintext"
    client.open_document(uri, text.decode(), language_id)
    outcomes = []
    for number, step in enumerate(steps, start=1):
        client.change_document(uri, number, text, step.edits)
        for edit in step.edits:
            text = text.apply(edit)
            if edit.start <= caret:
                caret += len(edit.new) - (edit.end - edit.start)
        outcomes.append(await _ask(client, uri, text, caret))
    return outcomes


async def _ask(client: EditorClient, uri: str, text: Text, caret: int) -> Outcome:
    at = position(text, caret)
    items = await client.wait_for(client.suggestions(uri, at))
    ghost = ""
    if items:
        start = items[0].range.start if items[0].range else at
        replaced = text.slice(text.offset_at(start.line, start.character, PositionEncoding.UTF8), caret)
        ghost = str(items[0].insert_text).removeprefix(replaced)
    stats = await client.wait_for(client.protocol.send_request_async(STATS_METHOD, {"uri": uri}))
    if stats.counts is None:
        raise ServerFailed("The model gave no answer; `keyturn doctor` may tell why.")
    # pygls makes named tuples of results that it does not know.
    return Outcome(text, caret, ghost, stats.counts._asdict(), stats.timings_ms._asdict())


def _show(console: Console, path: Path, step: Step, outcome: Outcome) -> None:
    """The lines around the caret with the ghost text dimmed, as an editor shows it."""
    line = outcome.text.line_at(outcome.caret)
    console.print(f"[bold cyan]›[/bold cyan] {step.name}")
    lexer = Syntax.guess_lexer(str(path))
    for number in range(max(0, line - 3), min(outcome.text.num_lines, line + 2)):
        content = outcome.text.line(number)
        shown = _highlighted(lexer, content)
        if number == line:
            at = len(outcome.text.slice(outcome.text.line_start(line), outcome.caret))
            shown = _highlighted(lexer, content[:at])
            shown.append(outcome.ghost or "(no suggestion)", style="dim italic")
            shown.append(content[at:])
        console.print(Styled(f"{number + 1:5} ", style="dim") + shown)
    console.print()


def _highlighted(lexer: str, line: str) -> Styled:
    """One line in colours, tabs as spaces and spaces at both ends kept, which highlighting drops."""
    line = line.expandtabs(4)
    code = line.strip(" ")
    shown = Syntax("", lexer, background_color="default").highlight(code) if code else Styled()
    shown.rstrip()
    indentation = len(line) - len(line.lstrip(" "))
    return Styled(" " * indentation) + shown + Styled(" " * (len(line) - indentation - len(code)) if code else "")


def _table(steps: list[Step], outcomes: dict[str, list[Outcome]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=TABLE_TITLE, title_justify="left", title_style="bold")
    table.add_column("step", no_wrap=True)
    for name in ("prompt", "kept", "turned", "encoded"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("PIE", justify="right", no_wrap=True)
    table.add_column("full", justify="right", no_wrap=True)
    for step, pie, off in zip(steps, outcomes["pie"], outcomes["off"], strict=True):
        counts = [str(pie.tokens[name]) for name in ("prompt", "kept", "turned", "encoded")]
        times = [f"{outcome.timings_ms['first_token']:.0f}" for outcome in (pie, off)]
        table.add_row(step.name, *counts, *times)
    return table
