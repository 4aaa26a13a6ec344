"""Start-up and memory of the server: process start to `initialize`, to the first suggestion, and resident memory.

    python benchmarks/footprint.py [--runs 5] [--contexts 512,1024,2048,4096]

Drives the real server with the default model over standard input and output. It is started once before anything is
measured, so that Python's byte code lies on the disk, as it does for whoever starts it a second time. Memory is
measured once for each context: when the server is ready, and with ten files of 2,000 lines that have been completed in;
and what the caches of these files hold. Results go to benchmarks/results/footprint.json.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

import psutil
from lsprotocol import types

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.figures import record, spread
from lsp.client import EditorClient
from lsp.server import STATS_METHOD
from model.machine import machine

NUM_FILES = 10
NUM_LINES = 2000
CONTEXTS = (512, 1024, 2048, 4096)
RESULT = Path(__file__).with_name("results") / "footprint.json"


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
    await client.start_server()
    await client.initialize_async(types.InitializeParams(capabilities=types.ClientCapabilities()))
    initialized = time.perf_counter()
    client.initialized(types.InitializedParams())
    client.open_document("file:///a.py", "import os\n\n\ndef main():\n    ")
    if not await client.suggestions("file:///a.py", types.Position(4, 4)):
        raise SystemExit("The server suggested nothing.")
    suggested = time.perf_counter()
    await client.end_session()
    return {"initialize_ms": (initialized - started) * 1000, "first_suggestion_ms": (suggested - started) * 1000}


async def memory(context_tokens: int) -> dict[str, float]:
    """Megabytes, resident and of all caches, with a context of so many tokens."""
    client = EditorClient()
    await client.start_server()
    await client.open_session({"context_tokens": context_tokens})
    process = psutil.Process(client.process_id)
    ready = process.memory_info().rss
    text, caches = source(), 0
    uris = [f"file:///file_{number}.py" for number in range(NUM_FILES)]
    for number, uri in enumerate(uris):
        client.open_document(uri, text)
        await client.suggestions(uri, types.Position(400 + 100 * number, 4))
    full = process.memory_info().rss
    for uri in uris:
        caches += (await client.protocol.send_request_async(STATS_METHOD, {"uri": uri})).cache_bytes
    await client.end_session()
    if not caches:
        raise SystemExit("No file has a cache: the server could not complete in them.")
    return {
        "context_tokens": context_tokens,
        "ready_mb": round(ready / 1e6, 1),
        "ten_files_mb": round(full / 1e6, 1),
        "caches_mb": round(caches / 1e6, 1),
    }


async def measure(runs: int, contexts: list[int]) -> dict[str, Any]:
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    await start_up()
    starts = [await start_up() for _ in range(runs)]
    return {
        "runs": runs,
        **{name: spread([start[name] for start in starts]) for name in starts[0]},
        "memory": [await memory(context) for context in contexts],
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--contexts", default=",".join(map(str, CONTEXTS)))
    parser.add_argument("--output", type=Path, default=RESULT)
    args = parser.parse_args()
    found = asyncio.run(measure(args.runs, [int(context) for context in args.contexts.split(",")]))
    record(args.output, found)


if __name__ == "__main__":
    main()
