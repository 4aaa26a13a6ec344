"""What else could answer an edit, on the same weights: each told the prompt's token ids, each with its own cache.

A peer is warm when it has answered the prompt before the edit. `llama_cpp` and `gguf` are installed by
`pip install '.[peers]'`, vLLM by `python -m tests.vllm.install`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from benchmarks.apart import Apart
from benchmarks.gguf_file import gguf_of
from model.embedded.checkpoint import native_dtype
from model.embedded.engine import EmbeddedEngine
from model.engine import Engine
from model.prompts.prompt import Prompt
from model.request import ReuseMode
from model.tokenizer import IntArray
from model.tokens import common_prefix
from tests.model.asking import prompted

CACHE_REUSE = 64
"""Tokens that llama.cpp's `--cache-reuse` takes at least; of 16, 64 and 256 the value its documentation suggests."""


MAX_SLOW_TOKENS = 16_000
"""Peers that compute everything anew are not asked for more: a minute for each answer."""


class Peer(Protocol):
    """One way to answer; `answer` brings it to a prompt and generates.

    The name of one that computes everything anew ends with "no cache", that of one that keeps what stands before an
    edit with "prefix cache".
    """

    name: str

    def answer(self, prompt: Prompt, num_tokens: int) -> tuple[float, float]:
        """(milliseconds to the first token, to `num_tokens` tokens), greedy."""


class Keyturn:
    """One of keyturn's engines, which is also told the tokens' identities."""

    def __init__(self, engine: Engine, reuse: ReuseMode, name: str) -> None:
        self.name = name
        self.turning_ms = 0.0
        """Of the latest answer: to lay the cache out for the prompt."""
        self._engine, self._reuse = engine, reuse

    @property
    def is_embedded(self) -> bool:
        return isinstance(self._engine, EmbeddedEngine)

    def answer(self, prompt: Prompt, num_tokens: int) -> tuple[float, float]:
        endless = replace(prompt, end_ids=frozenset())  # the others write so many tokens, whatever they are
        found = self._engine.complete(prompted(self.name, endless, num_tokens, reuse=self._reuse))
        self.turning_ms = found.timings_ms.turn
        return found.timings_ms.first_token, found.timings_ms.total


class Foreign(Apart):
    """An engine that is not keyturn's; it is told the tokens only."""

    def __init__(self, name: str, make: Callable[[], Any]) -> None:
        super().__init__(make)
        self.name = name

    def answer(self, prompt: Prompt, num_tokens: int) -> tuple[float, float]:
        found: tuple[float, float] = self.ask("answer", prompt.ids, num_tokens)
        return found


class Transformers:
    """`transformers` in eager torch, in the type that this processor is best at: everything anew, or with its cache cut
    to what the prompts have in common.
    """

    def __init__(self, folder: Path, *, keeps_prefix: bool) -> None:
        from transformers import AutoModelForCausalLM, DynamicCache

        self._model: Any = AutoModelForCausalLM.from_pretrained(str(folder), dtype=native_dtype()).eval()
        self._new_cache: Callable[[], Any] = DynamicCache
        self._keeps_prefix = keeps_prefix
        self._held = np.zeros(0, dtype=np.int64)
        self._cache: Any = None

    @torch.inference_mode()
    def answer(self, tokens: IntArray, num_tokens: int) -> tuple[float, float]:
        started = time.perf_counter()
        ids = tokens.astype(np.int64)
        kept = min(common_prefix(self._held, ids), len(ids) - 1) if self._keeps_prefix else 0
        if not kept:
            self._cache = self._new_cache()
        elif surplus := self._cache.get_seq_length() - kept:
            self._cache.crop(-surplus)
        new, first = torch.from_numpy(ids[kept:])[None], 0.0
        for step in range(num_tokens):
            scores = self._model(new, past_key_values=self._cache, use_cache=True, logits_to_keep=1).logits
            new = scores[:, -1].argmax(-1, keepdim=True)
            if step == 0:
                first = (time.perf_counter() - started) * 1000
        self._held = ids
        return first, (time.perf_counter() - started) * 1000


def open_llama(file: Path, *, context: int, threads: int) -> Any:
    """llama.cpp's model. Weights are not repacked for AMX: this build crashes when 8-bit weights are."""
    from unittest.mock import patch

    import llama_cpp
    from llama_cpp import llama_cpp as library

    parameters = library.llama_model_default_params()
    parameters.use_extra_bufts = False
    with patch.object(library, "llama_model_default_params", lambda: parameters):
        return llama_cpp.Llama(
            str(file), n_ctx=context, n_batch=512, n_threads=threads, n_threads_batch=threads, verbose=False
        )


Run = tuple[int, int, int]
"""Cached tokens from a place until another, and the place that they are shifted to."""


def taken_up(held: IntArray, wanted: IntArray, least: int) -> tuple[int, list[Run]]:
    """What llama.cpp's server takes from its cache for a prompt: how many tokens in front, once runs were shifted.

    Behind the common prefix the cached tokens are gone through, never the prompt's: where at least `least` of them are
    what the prompt has next, they are taken, else the next one is looked at. With 0 there is the prefix alone.
    """
    place = kept = common_prefix(held, wanted)
    runs: list[Run] = []
    while least and place < len(held) and kept < len(wanted):
        length = common_prefix(held[place:], wanted[kept:]) if held[place] == wanted[kept] else 0
        if length < least:
            place += 1
            continue
        runs.append((place, place + length, kept))
        place, kept = place + length, kept + length
    return kept, runs


class LlamaCpp:
    """llama.cpp through its Python binding. With `cache_reuse` it follows its server's rule: behind the common prefix,
    runs of at least so many cached tokens that the prompt has next are shifted to where they stand now.
    """

    def __init__(self, file: Path, *, context: int, threads: int, cache_reuse: int = 0) -> None:
        import llama_cpp

        self._lib: Any = llama_cpp
        self._model = open_llama(file, context=context, threads=threads)
        self._memory: Any = llama_cpp.llama_get_memory(self._model.ctx)
        self._cache_reuse = cache_reuse
        self._held: list[int] = []

    def answer(self, tokens: IntArray, num_tokens: int) -> tuple[float, float]:
        started, ids = time.perf_counter(), tokens.tolist()
        kept = min(self._kept(ids), len(ids) - 1)
        self._model.n_tokens = kept  # `eval` forgets what is cached behind that
        self._model.eval(ids[kept:])
        token, first = self._best(), (time.perf_counter() - started) * 1000
        for _ in range(num_tokens - 1):
            self._model.eval([token])
            token = self._best()
        self._held = ids
        return first, (time.perf_counter() - started) * 1000

    def _kept(self, ids: list[int]) -> int:
        """Tokens in front that need not be computed, once what can be shifted has been."""
        kept, runs = taken_up(np.array(self._held), np.array(ids), self._cache_reuse)
        for start, end, target in runs:
            self._lib.llama_memory_seq_rm(self._memory, 0, target, start)
            self._lib.llama_memory_seq_add(self._memory, 0, start, end, target - start)
        return kept

    def _best(self) -> int:
        scores = self._lib.llama_get_logits_ith(self._model.ctx, -1)
        return int(np.ctypeslib.as_array(scores, shape=(self._model.n_vocab(),)).argmax())


def vllm_peers(model: Path, context: int, folder: Path) -> Iterator[Peer]:
    """A vLLM for processors: its own prefix caching, for which it is sent nothing of ours, and the plugin."""
    from benchmarks.vllm_edits import engine_of
    from tests.vllm.server import serving

    options = ("--dtype", native_dtype(), "--max-model-len", str(context), "--memory-mb", "1024")
    with serving(folder / "vllm.log", *options, model=model) as server:
        yield Keyturn(engine_of(server.url, context), "exact", "vLLM, prefix cache")
        yield Keyturn(engine_of(server.url, context), "pie", "vLLM with keyturn's plugin")


def the_peers(model: Path, engine: EmbeddedEngine, size: int, wanted: str, folder: Path) -> Iterator[Peer]:
    """One after the other, so that only one holds memory and threads."""
    if "keyturn" in wanted:
        yield Keyturn(engine, "pie", "keyturn")
        yield Keyturn(engine, "exact", "keyturn, prefix cache")
        if size <= MAX_SLOW_TOKENS:
            yield Keyturn(engine, "off", "keyturn, no cache")
    if "transformers" in wanted:
        ways = {"prefix cache": True} | ({"no cache": False} if size <= MAX_SLOW_TOKENS else {})
        for way, keeps_prefix in ways.items():
            with Foreign(f"transformers, {way}", partial(Transformers, model, keeps_prefix=keeps_prefix)) as peer:
                yield peer
    if "vllm" in wanted:
        yield from vllm_peers(model, size + 1024, folder)
    if "llama.cpp" in wanted:
        for kind in ("BF16", "Q8_0"):
            make = partial(LlamaCpp, gguf_of(model, folder, kind), context=size + 1024, threads=torch.get_num_threads())
            for way, reuse in {"prefix cache": 0, f"cache-reuse {CACHE_REUSE}": CACHE_REUSE}.items():
                with Foreign(f"llama.cpp {kind}, {way}", partial(make, cache_reuse=reuse)) as peer:
                    yield peer
