"""A document that is edited, and the embedded engine that follows it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ast_tools.text import Edit, Text
from model.embedded.decoder import Decoder
from model.embedded.engine import EmbeddedEngine
from model.embedded.kv_cache import KVCache
from model.engine_completer import EngineCompleter
from model.prompts.layout import Layout
from model.prompts.prompt import Prompt
from model.request import Request, ReuseMode
from model.snapshot import Snapshot
from tests.model.asking import prompted
from tests.model.tiny import load_tiny, tokenizer


@dataclass
class Editor:
    """A document being edited, and the model that follows it."""

    completer: EngineCompleter
    text: Text
    caret: int = 0
    revision: int = 0
    edits: tuple[Edit, ...] = ()

    @property
    def engine(self) -> EmbeddedEngine:
        assert isinstance(self.completer.engine, EmbeddedEngine)
        return self.completer.engine

    @property
    def cache(self) -> KVCache:
        return self.engine.cache_of("file")

    def apply(self, edit: Edit) -> None:
        self.text = self.text.apply(edit)
        self.revision += 1
        self.edits = (*self.edits, edit)[-8:]
        self.caret = min(self.caret, len(self.text.data))
        while 0 < self.caret < len(self.text.data) and self.text.data[self.caret] & 0xC0 == 0x80:
            self.caret -= 1

    def snapshot(self) -> Snapshot:
        return Snapshot("file", self.text, self.revision, self.edits)

    def prompt(self) -> Prompt:
        return self.completer.prompt(Request(self.snapshot(), self.caret, 4))

    def encode(self, reuse: ReuseMode = "pie") -> torch.Tensor:
        """Bring the cache to the prompt; the logits after its last token."""
        hidden = self.engine.prefill(prompted("file", self.prompt(), 4, reuse=reuse))
        self.check_integrity()
        return self.engine.decoder.logits(hidden)[0]

    def check_integrity(self) -> None:
        self.engine.check_integrity()
        known = self.completer._known["file"]
        known.tokens.check_integrity()
        assert known.tokens.data == self.text.data


def new_editor(folder: Path, text: str, *, decoder: Decoder | None = None, context: int = 512) -> Editor:
    tokens = tokenizer("ours")
    engine = EmbeddedEngine(decoder or load_tiny(folder), tokens, memory_bytes=64 << 20)
    completer = EngineCompleter(engine, tokens, Layout(tokens), model_name="tiny", context_tokens=context)
    return Editor(completer, Text.from_str(text))


def by_slot(cache: KVCache, tensor: torch.Tensor) -> torch.Tensor:
    """What the cache holds for its slots, in their order."""
    return tensor[:, :, cache.rows[: cache.length]]
