"""The contract between the pipeline and whatever runs a model.

An engine turns one `Generation` into one `Completion`. Three kinds exist: `model.embedded` (torch, in this process),
`model.vllm` (a server) and `model.scripted` (no model, for tests and trials).

Threads: an engine is used from one thread at a time. Every call may take seconds, so a caller that must stay
responsive owns that thread. `cancelled` is asked between decode steps and between prefill slices; when it answers
True the engine raises `Cancelled` and stays usable.

State: engines keep one cache a document, but are stateless to their callers. A generation carries its whole prompt;
what the cache already holds of it changes the time, never the meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from model.errors import RequestError
from model.request import CancelCheck, Request, never_cancelled

if TYPE_CHECKING:
    from model.prompts.prompt import Prompt
    from model.tokenizer import IntArray

StopRule = Callable[[str], "int | None"]
"""Looks at all text generated so far; answers the length to cut it to and stop, or None to go on."""

Finish = Literal["stop", "end", "length"]
"""Why a completion ended: by its stop rule, by the model, or by its token limit."""


def never_stop(text: str) -> int | None:
    """The `StopRule` of a generation that ends only at its token limit or the model's own end token."""
    return None


@dataclass(frozen=True)
class Generation:
    """One prompt to be continued: what was asked, the prompt made of it, and the rule that ends it.

    Generations about the same document share its cache. `stop` runs after every token, on the text generated so far, in
    the engine's thread or while that waits.
    """

    request: Request
    prompt: Prompt
    stop: StopRule = never_stop


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token: its id, its bytes `start`..`end` in the text in UTF-8, its natural-log probability.

    A token has no bytes where it only finishes the one that the caret cuts, or where the text was cut in front of it.
    `id` and `logprob` are None where they are not known. 0.0 means certain.
    """

    id: int | None
    start: int
    end: int
    logprob: float | None


@dataclass(frozen=True)
class TokenCounts:
    """Where a prompt's tokens came from.

    `prompt` = `kept` + `turned` + `encoded`: kept at their position, kept and re-rotated to a new one, run through the
    model now. `stale` of the kept and turned ones were encoded before something in front of them changed.
    """

    prompt: int = 0
    kept: int = 0
    turned: int = 0
    encoded: int = 0
    generated: int = 0
    stale: int = 0


@dataclass(frozen=True)
class Timings:
    """Milliseconds of wall clock. `first_token` runs from the start of the request to the first generated token."""

    tokenize: float = 0.0
    turn: float = 0.0
    encode: float = 0.0
    first_token: float = 0.0
    decode: float = 0.0
    total: float = 0.0

    def after_tokenizing(self, milliseconds: float) -> Timings:
        """With the time in front of them that the text took to become tokens."""
        return replace(
            self,
            tokenize=milliseconds,
            first_token=self.first_token + milliseconds,
            total=self.total + milliseconds,
        )

    def rounded(self) -> dict[str, float]:
        return {name: round(value, 3) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Completion:
    """What the model wrote after the prompt.

    `tokens` are all that were generated; their bytes tile the text in UTF-8.
    """

    text: str
    tokens: tuple[Token, ...] = ()
    counts: TokenCounts = TokenCounts()
    timings_ms: Timings = Timings()
    finish: Finish = "end"

    @property
    def logprob(self) -> float | None:
        """The natural-log probability of all tokens together; None where one is not known, or none was generated."""
        known = [token.logprob for token in self.tokens if token.logprob is not None]
        return sum(known) if known and len(known) == len(self.tokens) else None


def room_for(generation: Generation, max_context: int) -> int:
    """Tokens that may be generated behind the prompt; raises `RequestError` where not even one fits."""
    num_tokens = len(generation.prompt)
    room = max_context - num_tokens
    if room < 1:
        raise RequestError(
            f"The prompt has {num_tokens} tokens and the model holds {max_context}; lower `context_tokens`."
        )
    return min(generation.request.max_tokens, room)


class Engine(Protocol):
    """Runs one model. See the module's docstring for threads, state and cancellation."""

    @property
    def name(self) -> str:
        """The engine's kind: "embedded", "scripted", …"""
        ...

    @property
    def details(self) -> Mapping[str, str]:
        """What else a person may want to know of it, as `keyturn doctor` prints it: name → value."""
        ...

    @property
    def max_context(self) -> int:
        """Tokens that prompt and completion may hold together."""
        ...

    @property
    def heals(self) -> bool:
        """Whether it takes prompts whose last token was taken back (`Prompt.begun`)."""
        ...

    def complete(self, generation: Generation, cancelled: CancelCheck = never_cancelled) -> Completion:
        """Continue the prompt. Raises `Cancelled`, `RequestError` or `EngineError`; the cache survives all three."""
        ...

    def encode_ahead(self, generation: Generation, cancelled: CancelCheck = never_cancelled) -> None:
        """Bring the document's cache up to the prompt without generating, so that the next request finds it warm."""
        ...

    def refresh(self, document: str, cancelled: CancelCheck = never_cancelled) -> bool:
        """Re-encode one slice of the document's stale tokens; True while more are left. A no-op for unknown ones.

        Raises `Cancelled` when it was interrupted, and what `complete` raises.
        """
        ...

    def forget(self, document: str) -> None:
        """Drop the document's cache. A no-op for unknown ones."""
        ...

    def cache_bytes(self, document: str | None = None) -> int:
        """Bytes held for one document, or for all of them."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """An engine that tells how probable a given continuation is."""

    def score(self, generation: Generation, ids: IntArray) -> list[float]:
        """Natural-log probabilities of the given tokens behind the prompt. Raises `RequestError` if they do not fit."""
        ...
