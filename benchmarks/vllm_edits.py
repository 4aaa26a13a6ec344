"""What an edit costs in vLLM, with the plugin and with stock prefix caching, on one server.

    python benchmarks/vllm_edits.py [--vllm FOLDER] [--trials N]

Starts a vLLM for processors (`python -m tests.vllm.install` puts one into `.vllm`) with the plugin and a model of
random weights: 38 million parameters, a context of 8,192 tokens, the type that the processor is best at. Through
keyturn's own engine it is asked about documents of random tokens:

    edits   one document, edited at 10 % of its length and completed at the end of its file: a line of twelve tokens is
            inserted, deleted or replaced. From the edit to the first token, both requests of a mid-file edit included.
    many    eight documents, each edited and completed by a client of its own, all at once.

`plugin` is `reuse = "pie"`, `stock` is `reuse = "exact"`, for which the server is sent nothing of ours: its own prefix
caching keeps what stands before the edit. Results go to benchmarks/results/vllm_edits.json.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.figures import record, spread
from benchmarks.random_model import save_random
from model.factory import DEFAULT_MODEL
from model.machine import machine
from model.prompts.prompt import Prompt
from model.request import ReuseMode
from model.tokenizer import HubTokenizer
from model.tokens import NO_SERIAL, new_serials
from model.vllm.asking.address import Address
from model.vllm.asking.client import VllmEngine
from model.vllm.asking.http import Connection
from tests.model.asking import prompted

RESULT = Path(__file__).with_name("results") / "vllm_edits.json"
LENGTHS = (1000, 3000, 6000)
EDITS = {"insertion": (0, 12), "deletion": (12, 0), "replacement": (12, 12)}
WAYS: dict[str, ReuseMode] = {"plugin": "pie", "stock": "exact"}
PLACE = 0.1
NUM_DOCUMENTS = 8
NEW_TOKENS = 8
VOCAB_SIZE = 16384
READ_SECONDS = 900.0
"""A processor reads a prompt of 32,000 tokens for minutes before it says a word."""


class Document:
    """Random tokens with identities; the caret is at the end, eight tokens behind the middle marker."""

    def __init__(self, num_tokens: int, rng: random.Random) -> None:
        self._rng = rng
        self.ids = self._random(num_tokens)
        self.serials = new_serials(num_tokens)

    def edit(self, removed: int, added: int) -> None:
        at = int(len(self.ids) * PLACE)
        self.ids = np.concatenate((self.ids[:at], self._random(added), self.ids[at + removed :]))
        self.serials = np.concatenate((self.serials[:at], new_serials(added), self.serials[at + removed :]))

    def prompt(self) -> Prompt:
        serials = self.serials.copy()
        serials[-8:] = NO_SERIAL
        return Prompt(self.ids, serials, anchor=len(self.ids), lead=8)

    def _random(self, count: int) -> np.ndarray[Any, np.dtype[np.int32]]:
        return np.array([self._rng.randrange(300, VOCAB_SIZE) for _ in range(count)], dtype=np.int32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vllm", type=Path, help="the virtual environment of vLLM and the plugin, .vllm by default")
    parser.add_argument("--trials", type=int, default=15)
    parser.add_argument("--output", type=Path, default=RESULT)
    args = parser.parse_args()
    if args.vllm is not None:
        os.environ["VLLM_ENVIRONMENT"] = str(args.vllm)
    from model.embedded.checkpoint import native_dtype
    from tests.vllm.server import serving

    dtype = native_dtype()
    with tempfile.TemporaryDirectory() as temporary:
        model = save_random("38M", Path(temporary))
        options = ["--dtype", dtype, "--max-model-len", "8192", "--memory-mb", "1024"]
        with serving(Path(temporary) / "log", *options, model=model) as server:
            engines = {name: engine_of(server.url) for name in WAYS}
            found = {
                "model": f"random Llama: 10 layers, width 512, 8/4 heads of 64, vocabulary 16,384, {dtype}",
                "trials": args.trials,
                "edits": [measure_edits(engines, length, edit, args.trials) for length in LENGTHS for edit in EDITS],
                "many": measure_many(server.url, 3000, args.trials),
                "machine": machine(),
            }
    record(args.output, found)


def engine_of(url: str, max_context: int = 8192) -> VllmEngine:
    tokenizer = HubTokenizer.from_folder(DEFAULT_MODEL)
    connection = Connection(Address(url), answer_seconds=READ_SECONDS)
    engine = VllmEngine(connection, tokenizer, model="served", max_context=max_context, version="0.32")
    assert engine.has_plugin
    return engine


def ask(engine: VllmEngine, name: str, document: Document, way: str) -> float:
    """Milliseconds to the first token."""
    request = prompted(name, document.prompt(), NEW_TOKENS, reuse=WAYS[way])
    return engine.complete(request).timings_ms.first_token


def measure_edits(engines: dict[str, VllmEngine], length: int, edit: str, trials: int) -> dict[str, Any]:
    """Times of both ways, in turn, each on a document of its own that goes through the same edits."""
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    documents = {way: Document(length, random.Random(length)) for way in WAYS}
    for way, engine in engines.items():
        ask(engine, f"{length} {edit}", documents[way], way)
    for _ in range(trials):
        for way, engine in engines.items():
            documents[way].edit(*EDITS[edit])
            times[way].append(ask(engine, f"{length} {edit}", documents[way], way))
            if edit == "deletion":  # the length stays what it is said to be
                documents[way].edit(0, 12)
                ask(engine, f"{length} {edit}", documents[way], way)
    medians = {way: statistics.median(values) for way, values in times.items()}
    return {
        "tokens": length,
        "edit": edit,
        **{f"{way}_ms": spread(values) for way, values in times.items()},
        "times_less": round(medians["stock"] / medians["plugin"], 1),
    }


def measure_many(url: str, length: int, trials: int) -> dict[str, Any]:
    """Eight clients at once, each editing and completing a document of its own."""
    found: dict[str, Any] = {"documents": NUM_DOCUMENTS, "tokens": length}
    for way in WAYS:
        engines = [engine_of(url) for _ in range(NUM_DOCUMENTS)]
        documents = [Document(length, random.Random(number)) for number in range(NUM_DOCUMENTS)]
        for engine, document in zip(engines, documents, strict=True):
            ask(engine, "many", document, way)
        times: list[float] = []

        def client(engine: VllmEngine, document: Document, way: str = way, times: list[float] = times) -> None:
            for _ in range(trials):
                document.edit(*EDITS["replacement"])
                times.append(ask(engine, "many", document, way))

        threads = [threading.Thread(target=client, args=pair) for pair in zip(engines, documents, strict=True)]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - started
        ordered = sorted(times)
        found[way] = {
            "first_token_ms": spread(times) | {"p95": round(ordered[int(len(ordered) * 0.95)], 1)},
            "completions_per_second": round(len(times) / seconds, 2),
        }
    return found


def table(found: dict[str, Any]) -> str:
    """The medians, as docs/vllm.md shows them."""
    lines = ["| Tokens | Edit | Stock, ms | Plugin, ms | Times less |", "|---:|---|---:|---:|---:|"]
    for row in found["edits"]:
        stock, plugin = row["stock_ms"]["median"], row["plugin_ms"]["median"]
        lines.append(f"| {row['tokens']:,} | {row['edit']} | {stock:,.0f} | {plugin:,.0f} | {row['times_less']} |")
    many = found["many"]
    lines += [
        "",
        f"| {many['documents']} documents of {many['tokens']:,} tokens at once | Stock | Plugin |",
        "|---|---:|---:|",
    ]
    for title, pick in (
        ("first token, median ms", lambda way: f"{way['first_token_ms']['median']:,.0f}"),
        ("first token, 95th percentile ms", lambda way: f"{way['first_token_ms']['p95']:,.0f}"),
        ("completions a second", lambda way: f"{way['completions_per_second']}"),
    ):
        lines.append(f"| {title} | {pick(many['stock'])} | {pick(many['plugin'])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
