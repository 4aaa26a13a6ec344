"""A stand-in that loads at once and says that it is one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from model.engine_completer import EngineCompleter
from model.factory import EngineSettings, load_assistant
from model.vllm.asking.address import Address
from model.vllm.asking.discover import Site
from model.vllm.asking.fallback import FallbackCompleter


class Local(EngineCompleter):
    """Answers "local"."""

    def __init__(self, path: Path) -> None:
        path.write_text(json.dumps({"default": {"text": "local"}}))
        made = load_assistant(EngineSettings(engine="scripted", script=str(path))).completer
        assert isinstance(made, EngineCompleter)
        self.__dict__.update(made.__dict__)


def site(address: Address, **more: Any) -> Site:
    settings = {"model": None, "tokenizer": None, "context_tokens": 2048} | more
    return Site(address, **settings)


def with_stand_in(site: Site, folder: Path, notices: list[str]) -> FallbackCompleter:
    """What asks the server, and `Local` while that is away; the script is written into `folder`."""
    return FallbackCompleter(site, lambda: Local(folder / "script.json"), notices.append)
