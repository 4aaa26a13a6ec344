"""How fast tokens are read and written, on the same weights as llama.cpp: no reuse, nothing but arithmetic and memory.

    python benchmarks/speed.py [--model FOLDER] [--contexts 512,2000,4000,8000] [--peers llama.cpp]

    prefill   milliseconds to read so many tokens from nothing: the median of three, after one that is not counted
    step      milliseconds of one decoding step behind them, scores included, sampling not: the median, and the lower
              quartile, in which less is of what else the machine did

keyturn is measured as it runs by default, with rounded weights (`model.embedded.linear`), and without them, in the type
that the processor is best at; llama.cpp in bfloat16 and, where it runs, in Q8_0, with as many threads. Without
`--model` the weights are random, 38 million of them. Results go to benchmarks/results/speed.json.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.apart import Apart
from benchmarks.figures import record
from benchmarks.gguf_file import gguf_of
from benchmarks.peers import open_llama
from benchmarks.random_model import save_random
from model.embedded.checkpoint import native_dtype
from model.embedded.engine import EmbeddedEngine
from model.factory import EngineSettings, load_embedded
from model.machine import machine
from model.prompts.prompt import Prompt
from tests.model.asking import prompted

CONTEXTS = (512, 2000, 4000, 8000)
STEPS = 40
RESULT = Path(__file__).with_name("results") / "speed.json"

READS = 3

Times = tuple[list[float], list[float]]
"""Of each read, of each step."""
Measure = Callable[[np.ndarray[Any, Any]], Times]


def keyturn(model: Path, dtype: Literal["auto", "float32", "bfloat16"], context: int) -> Measure:
    engine = load_embedded(EngineSettings(model=str(model), dtype=dtype, context_tokens=context + 2 * STEPS)).engine
    assert isinstance(engine, EmbeddedEngine)

    def measure(ids: np.ndarray[Any, Any]) -> Times:
        prompt = Prompt(ids.astype(np.int32), np.full(len(ids), -1, dtype=np.int64), len(ids))
        request = prompted("file", prompt, STEPS, reuse="off")
        reads = [engine.complete(request).timings_ms.first_token for _ in range(1 + READS)]
        cache, decoder, times = engine.cache_of("file"), engine.decoder, []
        for step in range(STEPS):
            started = time.perf_counter()
            decoder.logits(decoder.forward(ids[:1], np.array([len(ids) + step]), cache))
            times.append((time.perf_counter() - started) * 1000)
        return reads[1:], times

    return measure


class LlamaCpp:
    """llama.cpp, whose `measure` does what `keyturn`'s does."""

    def __init__(self, file: Path, context: int, threads: int) -> None:
        self._model = open_llama(file, context=context + STEPS, threads=threads)

    def measure(self, ids: np.ndarray[Any, Any]) -> Times:
        model = self._model
        reads, times = [], []
        for _ in range(1 + READS):
            model.reset()
            started = time.perf_counter()
            model.eval(ids.tolist())
            reads.append((time.perf_counter() - started) * 1000)
        for _ in range(STEPS):
            started = time.perf_counter()
            model.eval([int(ids[0])])
            times.append((time.perf_counter() - started) * 1000)
        return reads[1:], times


def engines(model: Path, context: int, peers: str, folder: Path) -> Iterator[tuple[str, Measure]]:
    import torch

    yield "keyturn", keyturn(model, "auto", context)
    yield f"keyturn, {native_dtype()} alone", keyturn(model, native_dtype(), context)
    if "llama.cpp" in peers:
        for kind in ("BF16", "Q8_0"):
            make = partial(LlamaCpp, gguf_of(model, folder, kind), context, torch.get_num_threads())
            with Apart(make) as other:
                yield f"llama.cpp {kind}", partial(other.ask, "measure")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--contexts", default=",".join(map(str, CONTEXTS)))
    parser.add_argument("--peers", default="llama.cpp")
    parser.add_argument("--output", type=Path, default=RESULT)
    args = parser.parse_args()
    contexts = [int(context) for context in args.contexts.split(",")]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        model = args.model or save_random("38M", Path(folder))
        for name, measure in engines(model, max(contexts), args.peers, Path(folder)):
            for context in contexts:
                reads, steps = measure(np.random.default_rng(1).integers(10, 8000, context))
                row = {
                    "engine": name,
                    "tokens": context,
                    "prefill_ms": round(statistics.median(reads), 1),
                    "step_ms": round(statistics.median(steps), 2),
                    "step_lower_quartile_ms": round(statistics.quantiles(steps)[0], 2),
                }
                rows.append(row)
                sys.stderr.write(f"{row}\n")
    found = {"model": model.name, "rows": rows, "machine": machine()}
    record(args.output, found)


if __name__ == "__main__":
    main()
