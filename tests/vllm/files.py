"""Files of tokens that are edited at random, and the two engines that are asked about them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.checkpoint_files import text_ends
from model.embedded.checkpoint import load_decoder
from model.embedded.engine import EmbeddedEngine
from model.factory import DEFAULT_MODEL
from model.prompts.layout import Layout
from model.prompts.prompt import Prompt
from model.prompts.window import Window
from model.request import ReuseMode
from model.tokenizer import HubTokenizer
from model.tokens import TokenRun, new_serials
from model.vllm.asking.http import Connection
from model.vllm.asking.steps import RemoteDocument, Step
from model.vllm.wire import KEY
from tests.model.asking import prompted

TOKENIZER = HubTokenizer.from_folder(DEFAULT_MODEL)
LAYOUT = Layout(TOKENIZER, *text_ends(DEFAULT_MODEL, TOKENIZER.start_ids))


class File:
    """A source file as tokens with identities, a caret in it, and random edits."""

    def __init__(self, source: bytes, rng: random.Random, num_tokens: int | None = None) -> None:
        self._rng = rng
        self.ids = TOKENIZER.encode(source).ids[:num_tokens]
        self.serials = new_serials(len(self.ids))
        self.caret = len(self.ids) * 2 // 3
        self.lead = 20
        self._window = Window()

    def replace(self, start: int, end: int, ids: list[int]) -> None:
        self.ids = np.concatenate((self.ids[:start], np.array(ids, dtype=np.int32), self.ids[end:]))
        self.serials = np.concatenate((self.serials[:start], new_serials(len(ids)), self.serials[end:]))
        if start <= self.caret:
            self.caret = max(start, self.caret - (end - start)) + len(ids)

    def edit(self) -> None:
        """An insertion, a deletion or a replacement somewhere; now and then the caret moves as well."""
        rng = self._rng
        at = rng.randrange(len(self.ids))
        removed, added = rng.choice(((0, 1), (0, 12), (1, 0), (20, 0), (3, 3), (5, 12)))
        self.replace(at, min(at + removed, len(self.ids)), self.words(added))
        if rng.random() < 0.3:
            self.caret = rng.randrange(64, len(self.ids))
            self.lead = rng.randrange(60)

    def words(self, count: int) -> list[int]:
        """Tokens as the file has them."""
        return [int(self._rng.choice(self.ids)) for _ in range(count)]

    def prompt(self) -> Prompt:
        before = TokenRun(self.ids[: self.caret], self.serials[: self.caret])
        after = TokenRun(self.ids[self.caret :], self.serials[self.caret :])
        lead = min(self.lead, self.caret)
        return LAYOUT.prompt(before, after, lead, self._window.identities(before, lead))


class Embedded:
    """The embedded engine, asked for the distribution of the next token."""

    def __init__(self, dtype: torch.dtype, model: Path = DEFAULT_MODEL) -> None:
        decoder = load_decoder(model, dtype=dtype, max_context=4096, progress=lambda message, percent: None)
        self.engine = EmbeddedEngine(decoder, TOKENIZER, memory_bytes=2**32)

    def logprobs(self, document: str, prompt: Prompt, reuse: ReuseMode = "pie") -> torch.Tensor:
        hidden = self.engine.prefill(prompted(document, prompt, 1, reuse=reuse))
        return torch.log_softmax(self.engine.decoder.logits(hidden)[0], dim=-1)


@dataclass
class Remote:
    """A vLLM with the plugin, asked for the same; what it computed besides what it had to is counted."""

    connection: Connection
    model: str = "served"
    documents: dict[str, RemoteDocument] = field(default_factory=dict)
    num_losses: int = 0
    was_lost: bool = False

    def logprobs(self, document: str, prompt: Prompt) -> dict[int, float]:
        """The likeliest tokens with their log-probabilities."""
        known = self.documents.setdefault(document, RemoteDocument(near=0, max_requests=10**6))
        found: dict[str, Any] = {}
        self.was_lost = False
        for step in known.steps(prompt):
            found = self.ask(step)
            if found["kv_transfer_params"][KEY]["encoded"] > step.end - step.start and not self.was_lost:
                self.was_lost = True
                self.num_losses += 1
        return top_logprobs(found)

    def ask(self, step: Step, **more: Any) -> dict[str, Any]:
        body = {"prompt": step.prompt.ids[: step.end].tolist(), "cache_salt": step.cache_salt}
        return self.post(**body, kv_transfer_params=step.params.to_json(), **more)

    def post(self, **body: Any) -> dict[str, Any]:
        asked = {"model": self.model, "max_tokens": 1, "temperature": 0, "logprobs": 20}
        asked |= {"return_tokens_as_token_ids": True, "return_token_ids": True}
        found: dict[str, Any] = self.connection.post("/v1/completions", asked | body)
        return found


def top_logprobs(found: dict[str, Any]) -> dict[int, float]:
    """Those of the first token of an answer."""
    first = found["choices"][0]["logprobs"]["top_logprobs"][0]
    return {int(name.removeprefix("token_id:")): value for name, value in first.items()}
