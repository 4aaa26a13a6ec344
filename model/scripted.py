"""An engine that follows a script instead of a model: for tests of the server and for trying an editor out.

The script is JSON:

    {"rules": [{"after": "<regular expression>", "text": "…", "delay_ms": 0, "fail": "<message>", "unsure": ["…"]}],
     "default": {"text": "…"}}

The first rule whose expression matches at the end of the text before the caret answers; without a match the default
does, and without a default the answer is empty. `delay_ms` passes in small steps that can be cancelled. `unsure` are
words of the text: their tokens get a low probability, all others a high one. Without it, probabilities are not known.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.engine import Completion, Finish, Generation, Timings, TokenCounts
from model.errors import Cancelled, EngineError, ModelError
from model.request import CancelCheck, never_cancelled
from model.transcript import Transcript

SURE, UNSURE = math.log(0.9), math.log(0.1)
"""Log-probabilities of a script's tokens, where it says what it is unsure of."""

_PIECES = re.compile(r"\n[ \t]*|[^\W\d]+|\d|[ \t]+|.", re.DOTALL)


@dataclass(frozen=True)
class Rule:
    """One answer. `after` is None for the default."""

    after: re.Pattern[str] | None
    text: str = ""
    delay_ms: float = 0.0
    fail: str | None = None
    unsure: tuple[str, ...] | None = None


@dataclass
class ScriptedEngine:
    """Answers by rules; holds no cache. Its prompts are those of `ByteTokenizer` without markers: plain UTF-8."""

    rules: tuple[Rule, ...] = ()
    name: str = "scripted"
    heals: bool = False
    max_context: int = 1 << 20
    details: Mapping[str, str] = field(default_factory=dict)
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

    def complete(self, generation: Generation, cancelled: CancelCheck = never_cancelled) -> Completion:
        started = time.perf_counter()
        prompt = generation.prompt.ids.astype("uint8").tobytes()
        document = generation.request.document
        kept = _common_prefix(self._seen.get(document, b""), prompt)
        self._seen[document] = prompt
        before = prompt[: generation.prompt.anchor].decode("utf-8", errors="replace")
        rule = next((r for r in self.rules if r.after is None or r.after.search(before)), Rule(None))
        _wait(rule.delay_ms / 1000, cancelled)
        if rule.fail is not None:
            raise EngineError(rule.fail)
        transcript = Transcript()
        finish = _write(rule, transcript, generation, cancelled)
        elapsed = (time.perf_counter() - started) * 1000
        counts = TokenCounts(prompt=len(prompt), kept=kept, encoded=len(prompt) - kept, generated=len(transcript))
        timings = Timings(first_token=elapsed, total=elapsed)
        return Completion(transcript.text, transcript.tokens(), counts, timings, finish)

    def encode_ahead(self, generation: Generation, cancelled: CancelCheck = never_cancelled) -> None:
        self._seen[generation.request.document] = generation.prompt.ids.astype("uint8").tobytes()

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
        None if entry.get("unsure") is None else tuple(map(str, entry["unsure"])),
    )


def _write(rule: Rule, transcript: Transcript, generation: Generation, cancelled: CancelCheck) -> Finish:
    """Give the text out piece by piece, as a model would, until the stop rule or the limit ends it."""
    for piece in _PIECES.findall(rule.text):
        if cancelled():
            raise Cancelled("The request was withdrawn.")
        if len(transcript) == generation.request.max_tokens:
            return "length"
        known = None if rule.unsure is None else UNSURE if piece in rule.unsure else SURE
        transcript.add(None, piece.encode("utf-8", errors="replace"), known)
        if transcript.stop_by(generation.stop):
            return "stop"
    return "end"


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
