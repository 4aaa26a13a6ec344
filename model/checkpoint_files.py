"""What the small files of a Hugging Face checkpoint folder say besides the model's shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def name_of(folder: Path) -> str:
    """The last part of the name in the checkpoint's own configuration, else the folder's name."""
    config = _read_json(folder / "config.json")
    return Path(str(config.get("_name_or_path") or folder.resolve())).name


def text_ends(folder: Path, start_ids: list[int]) -> tuple[int | None, tuple[int, ...]]:
    """(begin token, end tokens) as the checkpoint's own files name them; the begin token only where it is added.

    Some families say so in tokenizer_config.json, others in tokenizer.json alone, which adds `start_ids`.
    """
    config = _read_json(folder / "config.json") | _read_json(folder / "generation_config.json")
    eos = config.get("eos_token_id")
    eos_ids = tuple(eos) if isinstance(eos, list) else () if eos is None else (int(eos),)
    bos_id = config.get("bos_token_id")
    adds_bos = _read_json(folder / "tokenizer_config.json").get("add_bos_token", bos_id in start_ids)
    return (bos_id if adds_bos else None), eos_ids


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
