"""What keyturn's own routes of a vLLM server answer, for both sides: see `model.vllm.plugin.endpoint`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

VERSION = 1
"""Of these answers and of `kv_transfer_params`; a client that does not know it does without."""

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "config.json", "generation_config.json")


def digest(files: Mapping[str, str]) -> str:
    """One name for the contents of all files."""
    joined = "\0".join(f"{name}\0{files[name]}" for name in sorted(files))
    return hashlib.sha256(joined.encode()).hexdigest()


def hub_file(name: str, file: str, revision: str | None = None) -> Path | None:
    """A file of a model in the hub's cache on this machine; nothing is fetched."""
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(name, file, revision=revision)
    except ValueError:  # no name of a model
        return None
    return Path(found) if isinstance(found, str) else None
