"""Start-up and memory of the server: process start to `initialize`, to the first suggestion, and resident memory.

    python benchmarks/footprint.py [--runs 5] [--output benchmarks/results/footprint.json]

Drives the real server with the default model over standard input and output. Prints JSON; with `--output` also
records it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

import psutil
from lsprotocol import types

sys.path.insert(0, str(Path(__file__).parents[1]))
from lsp.client import EditorClient
from model.machine import machine

NUM_FILES = 10
NUM_LINES = 2000


def source() -> str:
    """2,000 lines of real code."""
    lines: list[str] = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        lines += path.read_text(encoding="utf-8", errors="replace").splitlines()
        if len(lines) >= NUM_LINES:
            return "\n".join(lines[:NUM_LINES]) + "\n"
    raise SystemExit("The standard library is too small for this benchmark.")


async def start_up() -> dict[str, float]:
    """Milliseconds from process start to the answers."""
    client = EditorClient()
    started = time.perf_counter()
    await client.start_io(sys.executable, "-m", "lsp.cli", "serve")
    await client.initialize_async(types.InitializeParams(capabilities=types.ClientCapabilities()))
    initialized = time.perf_counter()
    client.initialized(types.InitializedParams())
    open_document(client, "file:///a.py", "import os\n\n\ndef main():\n    ")
    await ask(client, "file:///a.py", 4)
    suggested = time.perf_counter()
    await client.end_session()
    return {"initialize_ms": (initialized - started) * 1000, "first_suggestion_ms": (suggested - started) * 1000}


async def memory() -> dict[str, float]:
    """Megabytes resident, before and after ten files of 2,000 lines were opened and completed in."""
    client = EditorClient()
    await client.start_io(sys.executable, "-m", "lsp.cli", "serve")
    await client.open_session({})
    process = psutil.Process(client.process_id)
    ready = process.memory_info().rss
    text = source()
    for number in range(NUM_FILES):
        uri = f"file:///file_{number}.py"
        open_document(client, uri, text)
        await ask(client, uri, 400 + 100 * number)
    full = process.memory_info().rss
    await client.end_session()
    return {"ready_mb": ready / 1e6, "ten_files_mb": full / 1e6}


def open_document(client: EditorClient, uri: str, text: str) -> None:
    item = types.TextDocumentItem(uri, "python", 0, text)
    client.text_document_did_open(types.DidOpenTextDocumentParams(item))


async def ask(client: EditorClient, uri: str, line: int) -> None:
    await client.text_document_inline_completion_async(
        types.InlineCompletionParams(
            text_document=types.TextDocumentIdentifier(uri),
            position=types.Position(line, 4),
            context=types.InlineCompletionContext(types.InlineCompletionTriggerKind.Automatic),
        )
    )


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


async def measure(runs: int) -> dict[str, Any]:
    starts = [await start_up() for _ in range(runs)]
    memories = [await memory() for _ in range(min(runs, 3))]
    return {
        "machine": machine(),
        "runs": runs,
        **{name: spread([start[name] for start in starts]) for name in starts[0]},
        **{name: spread([found[name] for found in memories]) for name in memories[0]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    result = json.dumps(asyncio.run(measure(options.runs)), indent=2) + "\n"
    sys.stdout.write(result)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(result)


if __name__ == "__main__":
    main()
