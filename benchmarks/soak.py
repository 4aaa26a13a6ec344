"""Memory of the server while one file is worked on for hours, and once files are closed.

    python benchmarks/soak.py [--completions 2000] [--files 10]

Drives the real server with the default model. Someone works in a file of 110 lines: goes to a line, types another one
in its place, and is asked for a suggestion after each word, as an editor does. The memory that the process holds is
read after each answer. Then files of 2,000 lines are opened, completed in and closed again, three times over.

    growth      the most that it held from the 50th completion on, when everything has been used once, above what it
                held then
    files       what it held with the files open, and after they were closed

Results go to benchmarks/results/soak.json; `benchmarks/plots.py soak` draws them.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from lsprotocol import types

sys.path.insert(0, str(Path(__file__).parents[1]))
from ast_tools.text import Edit, Text
from benchmarks.figures import record
from lsp.client import EditorClient, position
from model.machine import machine

NUM_LINES = 110
NUM_LINES_OF_OTHERS = 2000
SETTLED = 50
"""Completions until everything has been used once."""
EVERY = 10
"""Completions between two readings that are recorded."""
ROUNDS = 3
"""How often files are opened and closed."""
SEED = 25
URI = "file:///soak.py"
RESULT = Path(__file__).with_name("results") / "soak.json"


def lines_of_code() -> list[str]:
    """Real lines that are not empty, in a fixed order."""
    names = ("argparse", "inspect", "tarfile", "typing", "zipfile", "ast", "dataclasses", "doctest")
    folder = Path(sysconfig.get_path("stdlib"))
    texts = [(folder / f"{name}.py").read_text(encoding="utf-8") for name in names]
    return [line for text in texts for line in text.splitlines() if line.strip()]


def typed(text: Text, lines: list[str], rng: random.Random) -> Iterator[tuple[list[Edit], int]]:
    """Edits and the caret behind them, without end: a line is emptied, and another one typed word by word."""
    while True:
        starts = [0, *(at + 1 for at, byte in enumerate(text.data[:-1]) if byte == ord("\n"))]
        start = rng.choice(starts)
        end = text.data.index(b"\n", start)
        new = rng.choice(lines)
        indentation = new[: len(new) - len(new.lstrip())]
        edits, caret = [Edit(start, end, indentation.encode())], start + len(indentation.encode())
        for number, word in enumerate(new.split()):
            written = (" " if number else "") + word
            edits.append(Edit(caret, caret, written.encode()))
            caret += len(written.encode())
            for edit in edits:
                text = text.apply(edit)
            yield edits, caret
            edits = []


def resident(process: psutil.Process) -> float:
    """Megabytes."""
    return float(process.memory_info().rss / 1e6)


async def work(client: EditorClient, completions: int) -> list[float]:
    """Megabytes after each completion in one file, which stays open."""
    process, rng, lines = psutil.Process(client.process_id), random.Random(SEED), lines_of_code()
    text = Text(("\n".join(lines[:NUM_LINES]) + "\n").encode())
    client.open_document(URI, text.data.decode())
    held: list[float] = []
    for version, (edits, caret) in enumerate(typed(text, lines, rng), 1):
        client.change_document(URI, version, text, edits)
        for edit in edits:
            text = text.apply(edit)
        await client.suggestions(URI, position(text, caret))
        held.append(resident(process))
        if len(held) == completions:
            return held
    raise AssertionError("typing never ends")


async def open_and_close(client: EditorClient, files: int) -> dict[str, float]:
    """Megabytes with so many more files open that were completed in, and once they are closed."""
    process, lines = psutil.Process(client.process_id), lines_of_code()
    text = "\n".join(lines[:NUM_LINES_OF_OTHERS]) + "\n"
    uris = [f"file:///soak_{number}.py" for number in range(files)]
    for number, uri in enumerate(uris):
        client.open_document(uri, text)
        await client.suggestions(uri, types.Position(400 + 100 * (number % 16), 4))
    opened = resident(process)
    for uri in uris:
        client.text_document_did_close(types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(uri)))
    await client.suggestions(URI, types.Position(0, 0))
    await asyncio.sleep(1)
    return {"open_mb": round(opened, 1), "closed_mb": round(resident(process), 1)}


async def measure(completions: int, files: int) -> dict[str, Any]:
    client = EditorClient()
    await client.start_server()
    await client.open_session({})
    ready = resident(psutil.Process(client.process_id))
    held = await work(client, completions)
    others = [await open_and_close(client, files) for _ in range(ROUNDS)] if files else []
    await client.end_session()
    settled, *later = held[min(SETTLED, len(held)) - 1 :]
    return {
        "completions": completions,
        "settled_after": SETTLED,
        "ready_mb": round(ready, 1),
        "settled_mb": round(settled, 1),
        "last_mb": round(held[-1], 1),
        "growth_mb": round(max(later, default=settled) - settled, 1),
        "files": others,
        "held_mb": [[at + 1, round(held[at], 1)] for at in range(0, len(held), EVERY)],
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--completions", type=int, default=2000)
    parser.add_argument("--files", type=int, default=10, help="others that are opened and closed")
    parser.add_argument("--output", type=Path, default=RESULT)
    args = parser.parse_args()
    record(args.output, asyncio.run(measure(args.completions, args.files)))


if __name__ == "__main__":
    main()
