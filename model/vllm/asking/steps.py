"""How one prompt is asked for: in which requests, and under which `cache_salt`. The client's side of the plugin.

vLLM computes the end of a prompt and loads what stands before it, so every edited span but the last takes a request of
its own, for the prompt up to that span's end:

    prompt      P ===== edit ======== S ========== M lead
    requests    P ===== edit|                                computes the edit, its answer is thrown away
                P ===== edit ======== S ========== M lead|   computes the end, and answers

Spans that stand near each other are computed as one, with what is between them: a request costs more than it.

The *epoch* is a part of the salt. Blocks of one salt must be what any prompt of that salt would compute for them, so a
new epoch begins whenever tokens behind a change are used again, or given up. Typing at the caret only appends and stays
in one.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from model.cache.held_tokens import HOLE, HeldTokens
from model.cache.refresh import near_slice
from model.cache.reuse import ReusePlan, plan_reuse
from model.engine import TokenCounts
from model.prompts.prompt import Prompt
from model.vllm.wire import Params, salt

NEAR = 64
"""Tokens between two edited spans that are computed again rather than take another request."""

MAX_REQUESTS = 4
"""Requests that one prompt takes at most."""

REFRESH_SLICE = 256
"""Tokens that one request computes again while the editor is idle."""


@dataclass(frozen=True)
class Step:
    """One request: the first `end` tokens of the prompt. `start` is the first that the server has to compute."""

    prompt: Prompt
    start: int
    end: int
    params: Params
    cache_salt: str

    @property
    def is_last(self) -> bool:
        return self.end == len(self.prompt)


class Steps(Iterator[Step]):
    """The requests of one prompt, and `counts`, what they are expected to compute and to keep."""

    def __init__(self, counts: TokenCounts, steps: Iterator[Step]) -> None:
        self.counts = counts
        self._steps = steps

    def __next__(self) -> Step:
        return next(self._steps)


class RemoteDocument:
    """What the server holds of one document, as far as this client knows.

    It may hold less, or nothing. That costs time: what it does not find it computes.
    """

    def __init__(self, *, near: int = NEAR, max_requests: int = MAX_REQUESTS) -> None:
        self.name = uuid.uuid4().hex
        self._near = near
        self._max_requests = max_requests
        self.held = HeldTokens()
        self._epoch = 0
        self._prompt: Prompt | None = None

    def steps(self, prompt: Prompt) -> Steps:
        """The requests for a prompt, in order. A step counts as done once the next one is asked for, or their end."""
        held = self.held
        length = held.length
        plan = plan_reuse(held.ids[:length], held.serials[:length], held.exact_length, prompt, "pie")
        if len(plan.runs) > 1 or held.stale[plan.prefix : length].any():
            self._epoch += 1
        held.splice(plan, prompt)
        self._prompt = prompt
        spans = self._spans()
        return Steps(_count(plan, prompt, spans, held), self._each(prompt, spans))

    def _each(self, prompt: Prompt, spans: list[tuple[int, int]]) -> Iterator[Step]:
        for start, end in spans:
            yield self._step(start, end)
            self.held.fill(np.arange(start, end, dtype=np.int32), prompt)

    def refresh_step(self) -> Step | None:
        """A request that computes stale tokens near the anchor, or of the lead, again, None where there are none; then
        `refreshed`.

        What is further off stays stale: to compute a whole document again after each edit is what a server that many
        people share is to be spared.
        """
        slots = near_slice(self.held, REFRESH_SLICE)
        if slots is None or self._prompt is None:
            return None
        self._epoch += 1
        return self._step(int(slots[0]), int(slots[-1]) + 1)

    def refreshed(self, step: Step) -> None:
        self.held.refreshed(np.arange(step.start, step.end, dtype=np.int32))

    def _spans(self) -> list[tuple[int, int]]:
        """(start, end) of what has to be computed, rising; the last one ends with the prompt."""
        holes = self.held.ids[: self.held.length] == HOLE
        edges = np.flatnonzero(np.diff(np.concatenate(([False], holes, [False])).astype(np.int8)))
        spans = [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]
        while len(spans) > 1:
            gaps = [after[0] - before[1] for before, after in pairwise(spans)]
            nearest = int(np.argmin(gaps))
            if gaps[nearest] > self._near and len(spans) <= self._max_requests:
                break
            spans[nearest : nearest + 2] = [(spans[nearest][0], spans[nearest + 1][1])]
        return spans

    def _step(self, start: int, end: int) -> Step:
        assert self._prompt is not None
        is_partial = end < len(self._prompt)
        # The server may hold more than is known here; what is taken for computed shall have been.
        params = Params(self.name, self._prompt.serials[:end], is_partial, fresh_from=start)
        return Step(self._prompt, start, end, params, salt(self.name, self._epoch))


def _count(plan: ReusePlan, prompt: Prompt, spans: list[tuple[int, int]], held: HeldTokens) -> TokenCounts:
    moved = np.zeros(len(prompt), dtype=np.bool_)
    for run in plan.runs:
        moved[run.new : run.new + run.length] = run.old != run.new
    computed = np.zeros(len(prompt), dtype=np.bool_)
    for start, end in spans:
        computed[start:end] = True
    encoded = int(np.count_nonzero(computed))
    turned = int(np.count_nonzero(moved & ~computed))
    return TokenCounts(
        prompt=len(prompt),
        kept=len(prompt) - encoded - turned,
        turned=turned,
        encoded=encoded,
        stale=int(np.count_nonzero(held.stale[: len(prompt)] & ~computed)),
    )
