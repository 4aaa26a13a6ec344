"""An engine that follows a script instead of a model: for tests of the server and for trying an editor out.

The script is JSON:

    {"rules": [{"after": "<regular expression>", "text": "…", "delay_ms": 0, "fail": "<message>"}],
     "default": {"text": "…"}}

The first rule whose expression matches at the end of the text before the caret answers; without a match the default
does, and without a default the answer is empty. `delay_ms` passes in small steps that can be cancelled.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.engine import (
    CancelCheck,
    Cancelled,
    Completion,
    CompletionRequest,
    EngineError,
    ModelError,
    Timings,
    TokenCounts,
    never_cancelled,
)

_PIECES = re.compile(r"\n[ \t]*|[^\W\d]+|\d|[ \t]+|.", re.DOTALL)


@dataclass(frozen=True)
class Rule:
    """One answer. `after` is None for the default."""

    after: re.Pattern[str] | None
    text: str = ""
    delay_ms: float = 0.0
    fail: str | None = None


@dataclass
class ScriptedEngine:
    """Answers by rules; holds no cache. Its prompts are those of `ByteTokenizer` without markers: plain UTF-8."""

    rules: tuple[Rule, ...] = ()
    name: str = "scripted"
    heals: bool = False
    max_context: int = 1 << 20
    _seen: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def from_file(cls, path: Path) -> ScriptedEngine:
        """Read a script; raises `ModelError` with the reason when it is not one."""
        try:
            script = json.loads(path.read_text(encoding="utf-8"))
            rules = [_rule(entry) for entry in script.get("rules", [])]
            if "default" in script:
                rules.append(_rule({**script["default"], "after": None}))
        except (OSError, ValueError, TypeError, AttributeError, KeyError, re.error) as error:
            raise ModelError(f"{path} is not a script for the scripted engine: {error}.") from error
        return cls(tuple(rules))

    def complete(self, request: CompletionRequest, cancelled: CancelCheck = never_cancelled) -> Completion:
        started = time.perf_counter()
        prompt = request.prompt.ids.astype("uint8").tobytes()
        kept = _common_prefix(self._seen.get(request.document, b""), prompt)
        self._seen[request.document] = prompt
        before = prompt[: request.prompt.anchor].decode("utf-8", errors="replace")
        rule = next((r for r in self.rules if r.after is None or r.after.search(before)), Rule(None))
        _wait(rule.delay_ms / 1000, cancelled)
        if rule.fail is not None:
            raise EngineError(rule.fail)
        text, generated, finish = _write(rule.text, request, cancelled)
        elapsed = (time.perf_counter() - started) * 1000
        counts = TokenCounts(prompt=len(prompt), kept=kept, encoded=len(prompt) - kept, generated=generated)
        return Completion(
            text,
            tokens=counts,
            timings_ms=Timings(first_token=elapsed, total=elapsed),
            finish=finish,
        )

    def encode_ahead(self, request: CompletionRequest, cancelled: CancelCheck = never_cancelled) -> None:
        self._seen[request.document] = request.prompt.ids.astype("uint8").tobytes()

    def refresh(self, document: str, cancelled: CancelCheck = never_cancelled) -> bool:
        return False

    def forget(self, document: str) -> None:
        self._seen.pop(document, None)

    def cache_bytes(self, document: str | None = None) -> int:
        if document is not None:
            return len(self._seen.get(document, b""))
        return sum(len(seen) for seen in self._seen.values())


def _rule(entry: dict[str, Any]) -> Rule:
    after = entry["after"]
    return Rule(
        None if after is None else re.compile(f"(?:{after})\\Z"),
        str(entry.get("text", "")),
        float(entry.get("delay_ms", 0)),
        entry.get("fail"),
    )


def _write(text: str, request: CompletionRequest, cancelled: CancelCheck) -> tuple[str, int, Any]:
    """Give the text out piece by piece, as a model would, until the stop rule or the limit ends it."""
    written = ""
    generated = 0
    for piece in _PIECES.findall(text):
        if cancelled():
            raise Cancelled("The request was withdrawn.")
        if generated == request.max_tokens:
            return written, generated, "length"
        written += piece
        generated += 1
        cut = request.stop(written)
        if cut is not None:
            return written[:cut], generated, "stop"
    return written, generated, "end"


def _wait(seconds: float, cancelled: CancelCheck) -> None:
    end = time.monotonic() + seconds
    while True:
        if cancelled():
            raise Cancelled("The request was withdrawn.")
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, 0.005))


def _common_prefix(a: bytes, b: bytes) -> int:
    limit = min(len(a), len(b))
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[:middle] == b[:middle] else (low, middle - 1)
    return low
