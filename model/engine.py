"""The contract between the language server and whatever runs the model.

An engine turns one `CompletionRequest` into one `Completion`. Two kinds exist: `model.embedded` (torch, in this
process) and `model.scripted` (no model, for tests and trials); a vLLM client joins them behind the same contract.

Threads: an engine is used from one thread at a time. Every call may take seconds, so a caller that must stay
responsive owns that thread. `cancelled` is asked between decode steps and between prefill slices; when it answers
True the engine raises `Cancelled` and stays usable.

State: engines keep one cache a document, but are stateless to their callers. A request carries its whole prompt;
what the cache already holds of it is the engine's own business and changes the time, never the meaning.

The errors, all with a message that says what happened and what to do:

    KeyturnError
    ├── ModelError          the model cannot be used: no such folder, not a checkpoint, an unsupported architecture
    ├── EngineError         the engine failed while working
    ├── RequestError        the request cannot be served as it stands
    └── Cancelled           the caller asked to stop
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from model.prompt import Prompt
    from model.tokenizer import IntArray

ReuseMode = Literal["pie", "exact", "off"]
REUSE_MODES: tuple[ReuseMode, ...] = ("pie", "exact", "off")

CancelCheck = Callable[[], bool]
"""Answers True once nobody wants the result any more. Cheap, safe from any thread."""

StopRule = Callable[[str], "int | None"]
"""Looks at all text generated so far; answers the length to cut it to and stop, or None to go on."""


class KeyturnError(Exception):
    """Root of the errors that users read; the message is one sentence that says what to do."""


class ModelError(KeyturnError):
    """The model cannot be used: no such folder, not a checkpoint, or an architecture keyturn does not know."""


class EngineError(KeyturnError):
    """The engine failed while working on a request."""


class RequestError(KeyturnError):
    """The request cannot be served as it stands, for example a prompt longer than the model's window."""


class Cancelled(KeyturnError):
    """The caller withdrew the request; there is no result and nothing to report."""


def never_cancelled() -> bool:
    """The `CancelCheck` of a request that nobody withdraws."""
    return False


def never_stop(text: str) -> int | None:
    """The `StopRule` of a request that ends only at its token limit or the model's own end token."""
    return None


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: greedy at temperature 0, else top-p sampling, repeatable with a seed."""

    temperature: float = 0.0
    top_p: float = 0.95
    seed: int | None = None


@dataclass(frozen=True)
class CompletionRequest:
    """One prompt to be continued.

    `document` names the cache to use: requests about the same file share it. `stop` runs after every token, on the text
    generated so far, in the engine's thread or while that waits.
    """

    document: str
    prompt: Prompt
    max_tokens: int = 64
    sampling: Sampling = Sampling()
    reuse: ReuseMode = "pie"
    stop: StopRule = never_stop


@dataclass
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


@dataclass
class Timings:
    """Milliseconds of wall clock. `first_token` runs from the start of the request to the first generated token."""

    tokenize: float = 0.0
    turn: float = 0.0
    encode: float = 0.0
    first_token: float = 0.0
    decode: float = 0.0
    total: float = 0.0

    def rounded(self) -> dict[str, float]:
        return {name: round(value, 3) for name, value in asdict(self).items()}


@dataclass
class Completion:
    """What the model wrote after the prompt.

    `logprob` is the sum of the natural-log probabilities of the generated tokens, `token_logprobs` holds each of them.
    Tokens that the stop rule cut off again count as generated.
    """

    text: str
    logprob: float = 0.0
    token_logprobs: Sequence[float] = ()
    tokens: TokenCounts = field(default_factory=TokenCounts)
    timings_ms: Timings = field(default_factory=Timings)
    finish: Literal["stop", "end", "length"] = "end"


def room_for(request: CompletionRequest, max_context: int) -> int:
    """Tokens that may be generated behind the prompt; raises `RequestError` where not even one fits."""
    room = max_context - len(request.prompt)
    if room < 1:
        raise RequestError(
            f"The prompt has {len(request.prompt)} tokens and the model holds {max_context}; lower `context_tokens`."
        )
    return min(request.max_tokens, room)


class Engine(Protocol):
    """Runs one model. See the module's docstring for threads, state and cancellation."""

    @property
    def name(self) -> str:
        """The engine's kind, as `keyturn doctor` and `--json` print it: "embedded", "scripted", …"""
        ...

    @property
    def max_context(self) -> int:
        """Tokens that prompt and completion may hold together."""
        ...

    @property
    def heals(self) -> bool:
        """Whether it takes prompts whose last token was taken back (`Prompt.begun`)."""
        ...

    def complete(self, request: CompletionRequest, cancelled: CancelCheck = never_cancelled) -> Completion:
        """Continue the prompt. Raises `Cancelled`, `RequestError` or `EngineError`; the cache survives all three."""
        ...

    def encode_ahead(self, request: CompletionRequest, cancelled: CancelCheck = never_cancelled) -> None:
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

    def score(self, request: CompletionRequest, ids: IntArray) -> list[float]:
        """Natural-log probabilities of the given tokens behind the prompt. Raises `RequestError` if they do not fit."""
        ...
