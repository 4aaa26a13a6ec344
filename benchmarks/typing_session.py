"""A session of 300 keystrokes, replayed through the language server in real time: what does a person wait for?

    python benchmarks/typing_session.py [--model FOLDER] [--peers transformers,vllm,llama.cpp]

A file of about 4,000 tokens from the standard library. Someone types in a function, mends a line further up, jumps to
another function, pastes one, takes that back, gives a name another one in twenty places, and types on. After each
keystroke the client asks for a suggestion, as editors do, and withdraws the question before it if that is still open.
Pauses between keystrokes are drawn once, of 60 to 240 ms, longer where people stop to think, so the cache also
refreshes itself in idle time.

    latency     from the keystroke to the suggestion, of the questions that were not withdrawn; and of all, those
                withdrawn as if they had been answered when they were
    tokens      kept, turned, encoded, of the prompts that the model answered (what is typed along needs no model)
    processor   seconds of the server, of all cores

With `--peers` the same prompts go to other engines, and to keyturn's, one after the other, without pauses, each asked
for eight tokens; their processor seconds are of all that runs here while they answer, the time that is theirs and that
of asking them. vLLM is installed by `python -m tests.vllm.install`. Results go to
benchmarks/results/typing_session.json.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))
from ast_tools.text import Edit, Text
from benchmarks.edit_latency import source
from benchmarks.figures import percentiles, record
from benchmarks.peers import the_peers
from lsp.client import EditorClient, position
from lsp.server import STATS_METHOD
from model.embedded.engine import EmbeddedEngine
from model.factory import DEFAULT_MODEL, EngineSettings, load_embedded
from model.machine import machine
from model.request import Request
from model.snapshot import Snapshot

TOKENS = 4000
KEYSTROKES = 300
SEED = 8
URI = "file:///session.py"
TOKEN_COUNTS = ("prompt", "kept", "turned", "encoded", "generated")
RESULT = Path(__file__).with_name("results") / "typing_session.json"

TYPED = (
    "\n    for name, value in sorted(options.items()):\n        if value is not None:\n            "
    "result.append((name, str(value)))\n    return dict(result)\n"
)
MENDED = "count = len(self._actions) + 1"
ELSEWHERE = "\n        if not isinstance(text, str):\n            raise TypeError(text)"
PASTED = '''
def chunks(items, size):
    """Yield successive parts of a list."""
    for start in range(0, len(items), size):
        yield items[start:start + size]

'''
LAST = (
    "\n        self.lines = [line.rstrip() for line in text.splitlines() if line]\n        return self.join(self.lines)"
)


@dataclass
class Keystroke:
    """What changes, in order; where the caret is then; what it is called."""

    kind: str
    edits: list[Edit]
    caret: int


class Session:
    """Keystrokes on a text, made up as they come."""

    def __init__(self, text: Text) -> None:
        self.text, self.caret = text, 0

    def keystrokes(self) -> Iterator[Keystroke]:
        yield self._jump("jump", self._line_end(0.6))
        yield from self._type(TYPED)
        yield self._jump("jump", self._line_end(0.4))
        for _ in range(8):
            yield self._edit("erase", [Edit(self.caret - 1, self.caret, b"")])
        yield from self._type(MENDED)
        yield self._jump("jump", self._line_end(0.85))
        yield from self._type(ELSEWHERE)
        place = self._line_end(0.3) + 1
        yield self._edit("paste", [Edit(place, place, PASTED.encode())], place)
        yield self._edit("undo", [Edit(place, place + len(PASTED), b"")], place)
        yield self._edit("rename", self._rename(b"self", b"this", 20))
        yield self._jump("jump", self._line_end(0.7))
        yield from self._type(LAST)
        while True:
            yield self._edit("type", [Edit(self.caret, self.caret, b"\n")])
            yield from self._type("        value = self.")

    def _type(self, text: str) -> Iterator[Keystroke]:
        for character in text.encode():
            yield self._edit("type", [Edit(self.caret, self.caret, bytes((character,)))])

    def _jump(self, kind: str, caret: int) -> Keystroke:
        self.caret = caret
        return Keystroke(kind, [], caret)

    def _edit(self, kind: str, edits: list[Edit], caret: int | None = None) -> Keystroke:
        at = self.caret if caret is None else caret
        for edit in edits:
            self.text = self.text.apply(edit)
            if edit.end <= at:
                at += len(edit.new) - (edit.end - edit.start)
        self.caret = at
        return Keystroke(kind, edits, at)

    def _line_end(self, share: float) -> int:
        return self.text.data.index(b"\n", int(len(self.text.data) * share))

    def _rename(self, old: bytes, new: bytes, count: int) -> list[Edit]:
        """Edits from the text's end to its start, so that none moves another."""
        edits, at = [], len(self.text.data)
        while len(edits) < count and (at := self.text.data.rfind(old, 0, at)) >= 0:
            edits.append(Edit(at, at + len(old), new))
        return edits


@dataclass
class Found:
    """What the replay has seen."""

    milliseconds: list[float] = field(default_factory=list)
    by_kind: dict[str, list[float]] = field(default_factory=dict)
    withdrawn: list[float] = field(default_factory=list)
    suggested: int = 0
    completions: list[Any] = field(default_factory=list)
    """Of the model, each once: the statistics tell the latest."""


async def replay(model: Path, text: Text, count: int) -> dict[str, Any]:
    """The session through the server, in real time."""
    client, found, rng = EditorClient(), Found(), random.Random(SEED)
    await client.start_server()
    await client.open_session({"model": str(model)})
    session = Session(text)
    client.open_document(URI, text.decode())
    await client.suggestions(URI, position(text, len(text.data) // 2))
    process = psutil.Process(client.process_id)
    before = busy_seconds(process)
    asked: asyncio.Task[list[Any]] | None = None
    noting: list[asyncio.Task[None]] = []
    for number, keystroke in enumerate(session.keystrokes()):
        if number == count:
            break
        started = time.perf_counter()
        if asked and not asked.done():
            asked.cancel()
        client.change_document(URI, number + 1, text, keystroke.edits)
        text = session.text
        asked = asyncio.create_task(client.suggestions(URI, position(text, keystroke.caret)))
        noting.append(asyncio.create_task(note(client, asked, keystroke, started, found)))
        pause = rng.uniform(0.06, 0.24) + (rng.uniform(0.3, 1.0) if keystroke.kind != "type" else 0.0)
        await asyncio.sleep(max(0.0, started + pause - time.perf_counter()))
    await asyncio.gather(*noting)
    seconds = busy_seconds(process) - before
    await client.end_session()
    return {
        "keystrokes": count,
        "answered": len(found.milliseconds),
        "withdrawn": len(found.withdrawn),
        "answered_by_the_model": len(found.completions),
        "suggested": found.suggested,
        "latency_ms": percentiles(found.milliseconds),
        "latency_at_least_ms": percentiles([*found.milliseconds, *found.withdrawn]),
        "latency_ms_by_kind": {kind: percentiles(times) for kind, times in found.by_kind.items()},
        "tokens": {name: sum(getattr(one.counts, name) for one in found.completions) for name in TOKEN_COUNTS},
        "processor_seconds": round(seconds, 1),
    }


async def note(
    client: EditorClient, asked: asyncio.Task[list[Any]], keystroke: Keystroke, started: float, found: Found
) -> None:
    """Wait for what is asked after one keystroke, and note what came."""
    await asyncio.wait({asked})
    elapsed = (time.perf_counter() - started) * 1000
    if asked.cancelled():
        found.withdrawn.append(elapsed)
        return
    items = asked.result()
    found.milliseconds.append(elapsed)
    found.by_kind.setdefault(keystroke.kind, []).append(elapsed)
    found.suggested += bool(items)
    stats = await client.protocol.send_request_async(STATS_METHOD, {"uri": URI})
    if stats.counts and (not found.completions or found.completions[-1].timings_ms != stats.timings_ms):
        found.completions.append(stats)


def ask_peers(model: Path, text: Text, count: int, wanted: str, folder: Path) -> dict[str, Any]:
    """The same prompts, one after the other; keyturn itself among them, to compare like with like."""
    completer = load_embedded(EngineSettings(model=str(model)))
    session, edits, prompts = Session(text), [], []
    for number, keystroke in enumerate(session.keystrokes()):
        if number == count:
            break
        edits += keystroke.edits
        snapshot = Snapshot("file", session.text, len(edits), tuple(edits))
        prompts.append(completer.prompt(Request(snapshot, keystroke.caret, 24)))
    found = {}
    assert isinstance(completer.engine, EmbeddedEngine)
    for peer in the_peers(model, completer.engine, completer.max_context, f"keyturn,{wanted}", folder):
        if peer.name.endswith("no cache"):
            continue
        peer.answer(prompts[0], 8)  # reads the window
        before = busy_seconds(psutil.Process())
        times = [peer.answer(prompt, 8)[1] for prompt in prompts[1:]]
        seconds = busy_seconds(psutil.Process()) - before
        found[peer.name] = {**percentiles(times), "processor_seconds": round(seconds, 1)}
        sys.stderr.write(f"{peer.name}: {found[peer.name]}\n")
    return found


def busy_seconds(process: psutil.Process) -> float:
    """Of all cores, of a process and of those that it has started and that run still."""
    return sum(sum(one.cpu_times()[:2]) for one in (process, *process.children(recursive=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--keystrokes", type=int, default=KEYSTROKES)
    parser.add_argument("--peers", default="", help="such as transformers,vllm,llama.cpp")
    parser.add_argument("--output", type=Path, default=RESULT)
    args = parser.parse_args()
    text = Text(source(load_embedded(EngineSettings(model=str(args.model))), TOKENS))
    found = asyncio.run(replay(args.model, text, args.keystrokes))
    if args.peers:
        with tempfile.TemporaryDirectory() as folder:
            found["peers, 8 tokens each, ms"] = ask_peers(args.model, text, args.keystrokes, args.peers, Path(folder))
    found["machine"] = machine()
    record(args.output, found)


if __name__ == "__main__":
    main()
