"""The embedded engine: one model in this process, one KV cache a document, edited when the document is edited."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch

from model.cache.refresh import next_slice
from model.cache.reuse import ReusePlan, plan_reuse
from model.embedded.copying import CopyMixture, Weights
from model.embedded.cores import kept_apart
from model.embedded.decoder import Decoder
from model.embedded.drafting.drafter import NewDrafter
from model.embedded.drafting.longest_match import LongestMatch
from model.embedded.drafting.no_draft import NOTHING
from model.embedded.drafting.verification import Verification, verify
from model.embedded.healing import ForcedPrefix, Vocabulary
from model.embedded.kv_cache import KVCache
from model.embedded.sampling import Sampler
from model.engine import Completion, Finish, Generation, Timings, TokenCounts, room_for
from model.errors import Cancelled, EngineError, KeyturnError, RequestError
from model.prompts.prompt import Prompt
from model.request import CancelCheck, never_cancelled
from model.tokenizer import IntArray, Tokenizer
from model.transcript import Transcript

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

    def __init__(
        self,
        decoder: Decoder,
        tokenizer: Tokenizer,
        *,
        memory_bytes: int,
        copying: Weights = (),
        new_drafter: NewDrafter = LongestMatch,
    ) -> None:
        self.decoder = decoder
        self.max_context = decoder.config.max_positions
        self._tokenizer = tokenizer
        self._memory_bytes = memory_bytes
        self._copying = copying
        self.new_drafter = new_drafter
        """Makes each completion's drafter."""
        self._vocabulary = Vocabulary(tokenizer, decoder.vocab_size)
        self._caches: OrderedDict[str, KVCache] = OrderedDict()  # least recently used first

    @property
    def details(self) -> dict[str, str]:
        return {"weights": str(self.decoder.config.dtype).removeprefix("torch.")}

    def complete(self, generation: Generation, cancelled: CancelCheck = never_cancelled) -> Completion:
        limit = room_for(generation, self.max_context)
        if not len(generation.prompt):  # a left-to-right model without a begin token, at the start of a file
            return Completion("")
        with self._dropped_if_broken(generation.request.document):
            return self._complete(generation, limit, cancelled)

    def _complete(self, generation: Generation, limit: int, cancelled: CancelCheck) -> Completion:
        watch = _Watch()
        cache = self._open(generation.request.document)
        counts = self._splice(cache, generation)
        turned = watch.lap()
        hidden = self._encode_holes(cache, generation, cancelled)
        encoded = watch.lap()
        logits = self.decoder.logits(hidden)[0]
        transcript = Transcript()
        try:
            finish, first_token = self._decode(cache, generation, logits, limit, transcript, watch, cancelled)
        finally:
            cache.truncate(len(generation.prompt))
        counts = replace(counts, generated=len(transcript))
        timings = Timings(turn=turned, encode=encoded, first_token=first_token, decode=watch.lap(), total=watch.total())
        return Completion(transcript.text, transcript.tokens(), counts, timings, finish)

    def score(self, generation: Generation, ids: IntArray) -> list[float]:
        """Natural-log probabilities of given tokens behind the prompt; the cache is left as `complete` leaves it."""
        if len(ids) > room_for(generation, self.max_context):
            raise RequestError(f"The prompt and the {len(ids)} tokens to score do not fit the model's context.")
        if not len(generation.prompt):
            raise RequestError("Without a prompt there is nothing to score the first token by.")
        with self._dropped_if_broken(generation.request.document):
            return self._score(generation, ids)

    def _score(self, generation: Generation, ids: IntArray) -> list[float]:
        hidden = self.prefill(generation)
        cache, end = self._caches[generation.request.document], len(generation.prompt)
        try:
            if len(ids) > 1:
                slots = np.arange(end, end + len(ids) - 1, dtype=np.int32)
                hidden = torch.cat((hidden, self.decoder.forward(ids[:-1], slots, cache)))
            logits = self.decoder.logits(hidden)
            return self._score_rows(cache, generation.prompt, ids, logits)
        finally:
            cache.truncate(end)

    def _score_rows(self, cache: KVCache, prompt: Prompt, ids: IntArray, logits: torch.Tensor) -> list[float]:
        copies = CopyMixture(prompt, self._copying, len(ids))
        prefix = ForcedPrefix(self._vocabulary, prompt.begun, prompt.barred)
        found = []
        for slot, (token, row) in enumerate(zip(ids.tolist(), logits, strict=True), start=len(prompt)):
            logprobs, _ = self._look_ahead(cache, prefix, prefix.constrain(copies.mix(row)), slot)
            found.append(float(logprobs[token]))
            copies.append(token)
            prefix.take(self._tokenizer.token_bytes(token))
        return found

    def encode_ahead(self, generation: Generation, cancelled: CancelCheck = never_cancelled) -> None:
        room_for(generation, self.max_context)
        if len(generation.prompt):
            self.prefill(generation, cancelled)

    def prefill(self, generation: Generation, cancelled: CancelCheck = never_cancelled) -> torch.Tensor:
        """Bring the document's cache up to the prompt; the hidden state of its last token, [1, hidden_size].

        Only what the cache lacks is encoded, and always the last token; `decoder.logits` scores what may follow it.
        Raises what `complete` raises, and `RequestError` for an empty prompt.
        """
        if not len(generation.prompt):
            raise RequestError("The prompt is empty, so there is no last token to encode.")
        with self._dropped_if_broken(generation.request.document):
            cache = self._open(generation.request.document)
            self._splice(cache, generation)
            return self._encode_holes(cache, generation, cancelled)

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
            self.decoder.forward(cache.ids[slots], slots, cache, wanted=0)
            cache.refreshed(slots)
        return next_slice(cache) is not None

    def forget(self, document: str) -> None:
        self._caches.pop(document, None)

    @property
    def documents(self) -> tuple[str, ...]:
        """The documents that have a cache, least recently used first."""
        return tuple(self._caches)

    def cache_of(self, document: str) -> KVCache:
        """The document's cache; `KeyError` for a document that has none."""
        return self._caches[document]

    def adopt(self, document: str, cache: KVCache) -> None:
        """Use this cache as the document's, in place of its own: for comparisons of caches."""
        self._caches[document] = cache

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

    def _splice(self, cache: KVCache, generation: Generation) -> TokenCounts:
        """Lay the cache out for the prompt and count where its tokens come from."""
        prompt = generation.prompt
        held = cache.length
        plan = plan_reuse(cache.ids[:held], cache.serials[:held], cache.exact_length, prompt, generation.request.reuse)
        cache.reserve(len(prompt) + room_for(generation, self.max_context))
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

    def _encode_holes(self, cache: KVCache, generation: Generation, cancelled: CancelCheck) -> torch.Tensor:
        """Encode what the cache lacks, in slices; the hidden state of the last token, [1, hidden_size]."""
        holes = cache.holes()
        hidden = torch.empty(0)
        for start in range(0, len(holes), PREFILL_SLICE):
            if cancelled():
                raise Cancelled("The request was withdrawn.")
            slots = holes[start : start + PREFILL_SLICE]
            with kept_apart() if len(holes) <= SHORT_PASS else nullcontext():
                hidden = self.decoder.forward(generation.prompt.ids[slots], slots, cache, wanted=1)
            cache.fill(slots, generation.prompt)
        return hidden

    def _decode(
        self,
        cache: KVCache,
        generation: Generation,
        logits: torch.Tensor,
        limit: int,
        transcript: Transcript,
        watch: _Watch,
        cancelled: CancelCheck,
    ) -> tuple[Finish, float]:
        """Generate until the stop rule, an end token or the limit: why it ended, and when the first token was there.

        Leaves generated and drafted slots in the cache.

        logits  [vocabulary] scores of the first token
        """
        prompt = generation.prompt
        sampler = Sampler(generation.request.sampling)
        copies = CopyMixture(prompt, self._copying, limit)
        drafter = self.new_drafter(prompt, limit)
        prefix = ForcedPrefix(self._vocabulary, prompt.begun, prompt.barred)
        verified = Verification(logits[None], slot=len(prompt) - 1)
        first_token = 0.0
        while len(transcript) < limit:
            if cancelled():
                raise Cancelled("The request was withdrawn.")
            slot = len(prompt) + len(transcript)
            logprobs = prefix.constrain(copies.mix(verified.logits))
            ahead: _Ahead | None = None
            if prefix.unsure(logprobs) is not None:
                cache.keep(verified.slots)
                verified = Verification(verified.logits[None], slot - 1)
                logprobs, ahead = self._look_ahead(cache, prefix, logprobs, slot)
            token, logprob = sampler.choose(logprobs)
            first_token = first_token or watch.total()
            if token in prompt.end_ids:
                return "end", first_token
            copies.append(token)
            drafter.append(token)
            transcript.add(token, prefix.take(self._tokenizer.token_bytes(token)), logprob)
            if transcript.stop_by(generation.stop):
                return "stop", first_token
            if len(transcript) == 1:
                cache.settle_for(min(limit, LINE_TOKENS))
            room = limit - len(transcript)
            if ahead is not None and ahead.token == token:
                verified = ahead.verified
            elif room and not verified.follow(token):  # else its scores are there
                cache.keep(verified.slots)
                verified = verify(self.decoder, cache, token, slot, drafter.draft(room - 1))
        return "length", first_token

    def _look_ahead(
        self, cache: KVCache, prefix: ForcedPrefix, logprobs: torch.Tensor, slot: int
    ) -> tuple[torch.Tensor, _Ahead | None]:
        """Weigh each token that may become the choice by what may follow it, at `slot`; the last one stays there."""
        tried: set[int] = set()
        ahead = None
        while (token := prefix.unsure(logprobs)) is not None and token not in tried:
            ahead = _Ahead(token, verify(self.decoder, cache, token, slot, NOTHING))
            logprobs = prefix.weigh(logprobs, token, ahead.verified.logits)
            tried.add(token)
        return logprobs, ahead


@dataclass(frozen=True)
class _Ahead:
    """A token that was run before it was chosen."""

    token: int
    verified: Verification


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
