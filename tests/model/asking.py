"""Questions to an engine about a prompt that nobody made from a document."""

from __future__ import annotations

from typing import Any

from ast_tools.text import Text
from model.engine import Generation, StopRule, never_stop
from model.prompts.prompt import Prompt
from model.request import Request
from model.snapshot import Snapshot


def prompted(
    document: str, prompt: Prompt, max_tokens: int = 64, *, stop: StopRule = never_stop, **fields: Any
) -> Generation:
    """Continue a prompt, with the cache of this document; `fields` are further ones of the request."""
    return Generation(Request(Snapshot(document, Text(b"")), 0, max_tokens, **fields), prompt, stop)
