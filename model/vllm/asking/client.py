"""The engine that asks a vLLM server: token ids over its OpenAI-compatible completions API.

With the plugin the server keeps each document's cache through edits, and a prompt takes the requests that
`model.vllm.asking.steps` says. Without it the server's own prefix caching is left, and a prompt takes one.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Any

from model.engine import Completion, Finish, Generation, Timings, TokenCounts, room_for
from model.errors import Cancelled, RequestError
from model.request import CancelCheck, never_cancelled
from model.tokenizer import IntArray, Tokenizer
from model.tokens import common_prefix
from model.transcript import Transcript
from model.vllm.asking.failures import error_in
from model.vllm.asking.http import Connection
from model.vllm.asking.steps import RemoteDocument, Step
from model.vllm.asking.text import TextTokenizer
from model.vllm.wire import KEY, salt

logger = logging.getLogger(__name__)

MAX_DOCUMENTS = 64
"""Documents whose state on the server is remembered."""

AHEAD = 64
"""Tokens at a prompt's end that are worth a request before anybody asks for the answer."""

PLAIN_SAMPLING = {
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "top_k": 0,
    "min_p": 0.0,
}
"""vLLM takes what a request leaves out from the model's generation_config.json, and code repeats what stands there."""

DOCUMENT_HEADER = "X-Session-Id"
"""Names the document to a router that has to send its requests to one replica: what routers hash by custom."""


@dataclass
class _Answer:
    """What has been heard of one streamed answer."""

    generation: Generation
    tokenizer: Tokenizer
    started: float
    transcript: Transcript = field(default_factory=Transcript)
    finish: Finish = "length"
    first_token: float = 0.0
    num_cached: int | None = None
    error: str | None = None
    names_tokens: bool = False

    def heard(self, event: dict[str, Any]) -> bool:
        """Take in one event; True once no more is wanted. A field that has no value, or another kind, is not there."""
        self.error = error_in(event)
        if self.error is not None:
            return True
        cached = _table(_table(event.get("usage")).get("prompt_tokens_details")).get("cached_tokens")
        self.num_cached = cached if type(cached) is int else self.num_cached
        return any(self._take_choice(choice) for choice in map(_table, _list(event.get("choices"))))

    def _take_choice(self, choice: dict[str, Any]) -> bool:
        if not choice or choice.get("index") not in (None, 0):  # one is asked for; some servers send more
            return False
        self.first_token = self.first_token or (time.perf_counter() - self.started) * 1000
        logprobs, ids = _table(choice.get("logprobs")), self._ids(choice)
        self.names_tokens |= bool(ids)
        if self._take_ids(ids, logprobs) if self.names_tokens else self._take_text(_text(choice), logprobs):
            return True
        if choice.get("finish_reason") == "stop":
            self.finish = "end"
        return False

    def _ids(self, choice: dict[str, Any]) -> list[int]:
        """The tokens, as far as the server names them and they are this tokenizer's."""
        ids, size = _list(choice.get("token_ids")), self.tokenizer.vocab_size
        are_known = all(type(token) is int and 0 <= token < size for token in ids)
        return ids if are_known and not isinstance(self.tokenizer, TextTokenizer) else []

    def _take_ids(self, ids: list[int], logprobs: dict[str, Any]) -> bool:
        for token, logprob in zip(ids, _known(logprobs, len(ids)), strict=True):
            if token in self.generation.prompt.end_ids:
                self.finish = "end"
                return True
            if self._take(token, self.tokenizer.token_bytes(token), logprob):
                return True
        return False

    def _take_text(self, text: str, logprobs: dict[str, Any]) -> bool:
        """The same of a server that does not name its tokens, and may write out the marker at which it should end."""
        pieces = _list(logprobs.get("tokens"))
        if "".join(map(str, pieces)) != text:  # none, or tokens that are no whole characters
            pieces = [text] if text else []
            logprobs = {}
        for piece, logprob in zip(map(str, pieces), _known(logprobs, len(pieces)), strict=True):
            is_enough = self._take(None, piece.encode("utf-8", errors="replace"), logprob)
            if isinstance(self.tokenizer, TextTokenizer):
                length = len(self.tokenizer.without_markers(self.transcript.text))
                if length < len(self.transcript.text):
                    self.transcript.cut(length)
                    self.finish, is_enough = "end", True
            if is_enough:
                return True
        return False

    def _take(self, token: int | None, piece: bytes, logprob: float | None) -> bool:
        self.transcript.add(token, piece, logprob)
        is_enough = self.transcript.stop_by(self.generation.stop)
        if is_enough:
            self.finish = "stop"
        return is_enough


def _known(logprobs: dict[str, Any], count: int) -> list[float | None]:
    """The log-probabilities of so many tokens, None where the server does not say."""
    found = _list(logprobs.get("token_logprobs"))
    return [float(value) if isinstance(value, int | float) else None for value in [*found, *[None] * count][:count]]


def _text(choice: dict[str, Any]) -> str:
    """The text of a choice, also of one of the chat API, which some servers answer with."""
    found = (choice.get("text"), _table(choice.get("delta")).get("content"))
    return next((text for text in found if text and isinstance(text, str)), "")


def _table(found: Any) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}


def _list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []


class VllmEngine:
    """Asks one model of one server. See `model.engine` for the contract.

    Other OpenAI-compatible servers are asked in the same way, in the words that all of them know.
    """

    name = "vllm"
    heals = False

    def __init__(
        self,
        connection: Connection,
        tokenizer: Tokenizer,
        *,
        model: str,
        max_context: int,
        version: str | None,
        cancelled: CancelCheck = never_cancelled,
    ) -> None:
        """Asks the server once, to see whether it has the plugin. `version` is vLLM's, None for another server."""
        self.max_context = max_context
        self._connection = connection
        self._tokenizer = tokenizer
        self._model = model
        self.version = version
        self._documents: OrderedDict[str, RemoteDocument] = OrderedDict()
        self._latest_ids: dict[str, IntArray] = {}
        self.speaks_tokens = not isinstance(tokenizer, TextTokenizer)
        self.has_plugin = version is not None and self.speaks_tokens and self._finds_plugin(cancelled)

    @property
    def details(self) -> dict[str, str]:
        return {
            "server": f"vLLM {self.version}" if self.version else "another, without vLLM's version",
            "plugin": "answers" if self.has_plugin else "does not answer",
            "prompts": "token ids" if self.speaks_tokens else "text: the server does not show its tokenizer",
            "log_probabilities": "asked for" if self.version else "not asked for",
        }

    def complete(self, generation: Generation, cancelled: CancelCheck = never_cancelled) -> Completion:
        started = time.perf_counter()
        limit = room_for(generation, self.max_context)
        request, prompt = generation.request, generation.prompt
        if not len(prompt):
            return Completion("")
        answer = _Answer(generation, self._tokenizer, started)
        document = self._open(request.document)
        if self.has_plugin and request.reuse == "pie":
            steps = document.steps(prompt)
            counts = steps.counts
            for step in steps:
                if step.is_last:
                    self._stream(answer, limit, self._of_step(step), document, cancelled)
                else:
                    self._compute(step, cancelled)
        else:
            body = self._prompt_of(prompt.ids)
            if self.version is not None and request.reuse == "off":
                body["cache_salt"] = uuid.uuid4().hex
            self._stream(answer, limit, body, document, cancelled)
            counts = self._count_prefix(generation, answer)
        total = (time.perf_counter() - started) * 1000
        transcript = answer.transcript
        return Completion(
            transcript.text,
            transcript.tokens(),
            replace(counts, generated=len(transcript)),
            Timings(first_token=answer.first_token, decode=total - answer.first_token, total=total),
            answer.finish,
        )

    def encode_ahead(self, generation: Generation, cancelled: CancelCheck = never_cancelled) -> None:
        """Have the edited spans computed; the prompt's end, too, where it is long."""
        room_for(generation, self.max_context)
        request, prompt = generation.request, generation.prompt
        if not self.has_plugin or request.reuse != "pie" or not len(prompt):
            return
        for step in self._open(request.document).steps(prompt):
            if step.is_last and step.end - step.start <= AHEAD:
                return
            self._compute(step, cancelled)

    def refresh(self, document: str, cancelled: CancelCheck = never_cancelled) -> bool:
        known = self._documents.get(document)
        if known is None:
            return False
        if cancelled():
            raise Cancelled("Idle work gave way.")
        step = known.refresh_step()
        if step is None:
            return False
        self._compute(step, cancelled)
        known.refreshed(step)
        return True

    def forget(self, document: str) -> None:
        """The server forgets by itself, the least recently used document first."""
        self._documents.pop(document, None)
        self._latest_ids.pop(document, None)

    def cache_bytes(self, document: str | None = None) -> int:
        """None of it is here."""
        return 0

    def _finds_plugin(self, cancelled: CancelCheck) -> bool:
        """Whether a short request about a document is answered by the plugin."""
        document = RemoteDocument()
        token = next(iter(self._tokenizer.encode(b"#").ids.tolist()), 0)
        body = self._body(1) | {"prompt": [token, token], "cache_salt": salt(document.name, 0)}
        body["kv_transfer_params"] = {KEY: {"document": document.name}}
        try:
            answer = self._connection.post("/v1/completions", body, cancelled)
        except RequestError as error:
            logger.info("The server does not take a request about a document: %s", error)
            return False
        return bool(_table(_table(answer).get("kv_transfer_params")).get(KEY))

    def _open(self, document: str) -> RemoteDocument:
        known = self._documents.setdefault(document, RemoteDocument())
        self._documents.move_to_end(document)
        while len(self._documents) > MAX_DOCUMENTS:
            self.forget(next(iter(self._documents)))
        return known

    def _body(self, max_tokens: int) -> dict[str, Any]:
        own = {} if self.version is None else PLAIN_SAMPLING
        return {"model": self._model, "max_tokens": max_tokens, "temperature": 0.0} | own

    def _prompt_of(self, ids: IntArray) -> dict[str, Any]:
        if isinstance(self._tokenizer, TextTokenizer):
            return {"prompt": self._tokenizer.text(ids)}
        return {"prompt": ids.tolist()}

    def _of_step(self, step: Step) -> dict[str, Any]:
        prompt = self._prompt_of(step.prompt.ids[: step.end])
        return prompt | {"cache_salt": step.cache_salt, "kv_transfer_params": step.params.to_json()}

    def _compute(self, step: Step, cancelled: CancelCheck) -> None:
        """A request whose answer nobody reads: the server computes the prompt and keeps it."""
        body = self._body(1) | self._of_step(step)
        headers = {DOCUMENT_HEADER: step.params.document}
        self._connection.post("/v1/completions", body, cancelled, headers)

    def _stream(
        self,
        answer: _Answer,
        limit: int,
        prompt: dict[str, Any],
        document: RemoteDocument,
        cancelled: CancelCheck,
    ) -> None:
        generation = answer.generation
        sampling = generation.request.sampling
        body = self._body(limit) | prompt | {"stream": True}
        if self.version is not None:
            body["logprobs"] = 0
        if self.version is not None and self.speaks_tokens:
            body |= {"return_token_ids": True, "skip_special_tokens": False}
            body |= {"stop_token_ids": sorted(generation.prompt.end_ids), "stream_options": {"include_usage": True}}
        elif self.version is not None and isinstance(self._tokenizer, TextTokenizer) and self._tokenizer.knows_markers:
            body["skip_special_tokens"] = False  # an answer ends at its first marker, which vLLM would leave out
        if sampling.temperature > 0:
            body |= {"temperature": sampling.temperature, "top_p": sampling.top_p}
            if sampling.seed is not None:
                body["seed"] = sampling.seed
        headers = {DOCUMENT_HEADER: document.name}
        self._connection.stream("/v1/completions", body, answer.heard, cancelled, headers)
        if answer.error:
            raise self._connection.route.could_not(answer.error)

    def _count_prefix(self, generation: Generation, answer: _Answer) -> TokenCounts:
        """What the server's own prefix caching kept: as it says, else as the common front with the request before."""
        ids, request = generation.prompt.ids, generation.request
        before = self._latest_ids.get(request.document, ids[:0])
        shorter = min(len(before), len(ids) - 1)
        kept = answer.num_cached
        if kept is None:
            kept = common_prefix(before[:shorter], ids[:shorter]) if request.reuse != "off" else 0
        self._latest_ids[request.document] = ids
        return TokenCounts(prompt=len(ids), kept=kept, encoded=len(ids) - kept)
