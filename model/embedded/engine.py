"""The embedded engine: one model in this process, one KV cache a document, edited when the document is edited."""

from __future__ import annotations

import codecs
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch

from model.embedded.copying import DRAFT_TOKENS, Copies, Weights
from model.embedded.cores import kept_apart
from model.embedded.decoder import Decoder
from model.embedded.healing import Beginning, Vocabulary
from model.embedded.kv_cache import KVCache
from model.embedded.sampling import Sampler
from model.engine import (
    CancelCheck,
    Cancelled,
    Completion,
    CompletionRequest,
    EngineError,
    KeyturnError,
    RequestError,
    Timings,
    TokenCounts,
    never_cancelled,
    room_for,
)
from model.refresh import next_slice
from model.reuse import ReusePlan, plan_reuse
from model.tokenizer import IntArray, Tokenizer

logger = logging.getLogger(__name__)

LINE_TOKENS = 12
"""Tokens of a suggested line, about."""

SHORT_PASS = 16
"""Tokens that are encoded so fast that it matters on which cores threads wake up."""

PREFILL_SLICE = 256
"""Tokens that one forward pass encodes; between two the request can be cancelled."""


class EmbeddedEngine:
    """Runs a `Decoder`. See `model.engine` for the contract."""

    name = "embedded"
    heals = True

    def __init__(self, decoder: Decoder, tokenizer: Tokenizer, *, memory_bytes: int, copying: Weights = ()) -> None:
        self.decoder = decoder
        self.max_context = decoder.config.max_positions
        self._tokenizer = tokenizer
        self._memory_bytes = memory_bytes
        self._copying = copying
        self.draft_tokens = DRAFT_TOKENS
        """Tokens that a forward pass may draft; 0 for one step a token."""
        self._vocabulary = Vocabulary(tokenizer, decoder.vocab_size)
        self._caches: OrderedDict[str, KVCache] = OrderedDict()  # least recently used first

    def complete(self, request: CompletionRequest, cancelled: CancelCheck = never_cancelled) -> Completion:
        limit = room_for(request, self.max_context)
        if not len(request.prompt):  # a left-to-right model without a begin token, at the start of a file
            return Completion("")
        with self._dropped_if_broken(request.document):
            return self._complete(request, limit, cancelled)

    def _complete(self, request: CompletionRequest, limit: int, cancelled: CancelCheck) -> Completion:
        watch = _Watch()
        cache = self._open(request.document)
        counts = self._splice(cache, request)
        turned = watch.lap()
        hidden = self._encode_holes(cache, request, cancelled)
        encoded = watch.lap()
        logits = self.decoder.logits(hidden)[0]
        try:
            completion = self._decode(cache, request, logits, limit, watch, cancelled)
        finally:
            cache.truncate(len(request.prompt))
        counts.generated = completion.tokens.generated
        completion.tokens = counts
        completion.timings_ms.turn, completion.timings_ms.encode = turned, encoded
        completion.timings_ms.total = watch.total()
        return completion

    def score(self, request: CompletionRequest, ids: IntArray) -> list[float]:
        """Natural-log probabilities of given tokens behind the prompt; the cache is left as `complete` leaves it."""
        if len(ids) > room_for(request, self.max_context):
            raise RequestError(f"The prompt and the {len(ids)} tokens to score do not fit the model's context.")
        if not len(request.prompt):
            raise RequestError("Without a prompt there is nothing to score the first token by.")
        with self._dropped_if_broken(request.document):
            return self._score(request, ids)

    def _score(self, request: CompletionRequest, ids: IntArray) -> list[float]:
        cache = self._open(request.document)
        self._splice(cache, request)
        hidden = self._encode_holes(cache, request, never_cancelled)
        end = len(request.prompt)
        try:
            if len(ids) > 1:
                slots = np.arange(end, end + len(ids) - 1, dtype=np.int32)
                hidden = torch.cat((hidden, self._run(cache, ids[:-1], slots)))
            logits = self.decoder.logits(hidden)
        finally:
            cache.truncate(end)
        copies = Copies(request.prompt, self._copying, len(ids))
        beginning = Beginning(self._vocabulary, request.prompt.begun)
        found = []
        for token, row in zip(ids.tolist(), logits, strict=True):
            found.append(float(beginning.among(copies.mixed(row))[token]))
            copies.append(token)
            beginning.rest_of(self._tokenizer.token_bytes(token))
        return found

    def encode_ahead(self, request: CompletionRequest, cancelled: CancelCheck = never_cancelled) -> None:
        room_for(request, self.max_context)
        if not len(request.prompt):
            return
        with self._dropped_if_broken(request.document):
            cache = self._open(request.document)
            self._splice(cache, request)
            self._encode_holes(cache, request, cancelled)

    def refresh(self, document: str, cancelled: CancelCheck = never_cancelled) -> bool:
        cache = self._caches.get(document)
        slots = None if cache is None else next_slice(cache)
        if cache is None or slots is None:
            return False
        if cancelled():
            raise Cancelled("Idle work gave way.")
        with self._dropped_if_broken(document):
            self._release_others(cache)
            self._keep_budget(cache)
            self._run(cache, cache.ids[slots], slots, wanted=0)
            cache.refreshed(slots)
        return next_slice(cache) is not None

    def forget(self, document: str) -> None:
        self._caches.pop(document, None)

    def cache_bytes(self, document: str | None = None) -> int:
        if document is None:
            return sum(cache.num_bytes for cache in self._caches.values())
        cache = self._caches.get(document)
        return 0 if cache is None else cache.num_bytes

    def check_integrity(self) -> None:
        """Raise AssertionError unless every cache is sound and the memory budget is kept."""
        for cache in self._caches.values():
            cache.check_integrity()
        assert len(self._caches) <= 1 or self.cache_bytes() <= self._memory_bytes

    def _open(self, document: str) -> KVCache:
        """The document's cache, now the most recently used; the others give back what can be computed again."""
        cache = self._caches.pop(document, None)
        if cache is None:
            cache = KVCache(self.decoder.config.cache_shape, self.decoder.rotary)
        self._caches[document] = cache
        self._release_others(cache)
        return cache

    def _release_others(self, used: KVCache) -> None:
        for cache in self._caches.values():
            if cache is not used:
                cache.release_turned()

    @contextmanager
    def _dropped_if_broken(self, document: str) -> Iterator[None]:
        """Forget the document's cache when work on it ends in the middle: it may be half of this and half of that.

        `Cancelled` and `RequestError` come at places where it is sound.
        """
        try:
            yield
        except KeyturnError:
            raise
        except Exception as error:
            self.forget(document)
            if isinstance(error, (RuntimeError, MemoryError)):
                logger.exception("The model failed.")
                raise EngineError(
                    "The model failed, as the log tells. Should memory be short, lower `context_tokens` or `memory_mb`."
                ) from error
            raise

    def _splice(self, cache: KVCache, request: CompletionRequest) -> TokenCounts:
        """Lay the cache out for the prompt and count where its tokens come from."""
        prompt = request.prompt
        held = cache.length
        plan = plan_reuse(cache.ids[:held], cache.serials[:held], cache.exact_length, prompt, request.reuse)
        cache.reserve(len(prompt) + room_for(request, self.max_context))
        cache.splice(plan, prompt)
        self._keep_budget(cache)
        return _count(plan, cache)

    def _keep_budget(self, used: KVCache) -> None:
        """Evict the least recently used documents until the budget holds; the one in use always stays.

        Called once the one in use is as large as its work will make it, its turned keys included.
        """
        used.turned  # noqa: B018 - made again if it was released
        for document, cache in [*self._caches.items()]:
            if self.cache_bytes() <= self._memory_bytes:
                return
            if cache is not used:
                del self._caches[document]

    def _encode_holes(self, cache: KVCache, request: CompletionRequest, cancelled: CancelCheck) -> torch.Tensor:
        """Encode what the cache lacks, in slices; the hidden state of the last token, [1, hidden_size]."""
        holes = cache.holes()
        hidden = torch.empty(0)
        for start in range(0, len(holes), PREFILL_SLICE):
            if cancelled():
                raise Cancelled("The request was withdrawn.")
            slots = holes[start : start + PREFILL_SLICE]
            with kept_apart() if len(holes) <= SHORT_PASS else nullcontext():
                hidden = self._run(cache, request.prompt.ids[slots], slots, wanted=1)
            cache.fill(slots, request.prompt)
        return hidden

    def _run(self, cache: KVCache, ids: IntArray, slots: IntArray, *, wanted: int | None = None) -> torch.Tensor:
        return self.decoder.forward(ids, slots, cache, wanted=wanted)

    def _decode(
        self,
        cache: KVCache,
        request: CompletionRequest,
        logits: torch.Tensor,
        limit: int,
        watch: _Watch,
        cancelled: CancelCheck,
    ) -> Completion:
        """Generate until the stop rule, an end token or the limit. Leaves generated and drafted slots in the cache."""
        sampler = Sampler(request.sampling)
        copies = Copies(request.prompt, self._copying, limit)
        beginning = Beginning(self._vocabulary, request.prompt.begun)
        utf8 = codecs.getincrementaldecoder("utf-8")(errors="ignore")
        text = ""
        logprobs: list[float] = []
        timings = Timings()
        scores, draft = deque([logits]), deque[int]()
        while len(logprobs) < limit:
            if cancelled():
                raise Cancelled("The request was withdrawn.")
            token, logprob = sampler.choose(beginning.among(copies.mixed(scores.popleft())))
            if not logprobs:
                timings.first_token = watch.total()
            if token in request.prompt.end_ids:
                return _completion(text, logprobs, timings, watch, "end")
            logprobs.append(logprob)
            copies.append(token)
            text += utf8.decode(beginning.rest_of(self._tokenizer.token_bytes(token)))
            cut = request.stop(text)
            if cut is not None:
                return _completion(text[:cut], logprobs, timings, watch, "stop")
            if len(logprobs) == 1:
                cache.settle_for(min(limit, LINE_TOKENS))
            room = limit - len(logprobs)
            if room and not (draft and draft.popleft() == token):  # else its scores are there
                draft = deque(copies.draft(min(self.draft_tokens, room - 1)).tolist())
                ids = np.array([token, *draft], dtype=np.int32)
                first = len(request.prompt) + len(logprobs) - 1
                hidden = self._run(cache, ids, np.arange(first, first + len(ids), dtype=np.int32))
                scores = deque(self.decoder.logits(hidden))
        return _completion(text, logprobs, timings, watch, "length")


def _completion(text: str, logprobs: list[float], timings: Timings, watch: _Watch, finish: str) -> Completion:
    timings.decode = watch.lap()
    counts = TokenCounts(generated=len(logprobs))
    return Completion(text, sum(logprobs), logprobs, counts, timings, finish)  # type: ignore[arg-type]


def _count(plan: ReusePlan, cache: KVCache) -> TokenCounts:
    kept = sum(run.length for run in plan.runs if run.old == run.new)
    turned = sum(run.length for run in plan.runs if run.old != run.new)
    return TokenCounts(
        prompt=cache.length,
        kept=kept,
        turned=turned,
        encoded=cache.length - kept - turned,
        stale=cache.num_stale,
    )


class _Watch:
    """Milliseconds since the start and since the last lap."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        elapsed, self._last = (now - self._last) * 1000, now
        return elapsed

    def total(self) -> float:
        return (time.perf_counter() - self._start) * 1000
