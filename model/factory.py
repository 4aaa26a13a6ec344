"""Makes the completer that the settings ask for. Heavy imports happen inside, once an engine is really wanted."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from model.engine import ModelError

if TYPE_CHECKING:
    from model.completer import Completer

Progress = Callable[[str, int], None]
"""Told a message and a percentage while a model loads."""

DEFAULT_MODEL = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class EngineSettings:
    """What decides which engine runs and how much it may use.

    `model` is a checkpoint folder, None for the default model. `context_tokens` bounds prompt and completion together,
    `memory_mb` the KV caches of all documents. `threads` None means the processor's cores, at most 8.
    """

    engine: Literal["embedded", "scripted"] = "embedded"
    model: str | None = None
    context_tokens: int = 2048
    memory_mb: int = 256
    threads: int | None = None
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    script: str | None = None


def load_completer(settings: EngineSettings, progress: Progress = lambda message, percent: None) -> Completer:
    """Load the engine; seconds for the embedded one. Raises `ModelError` with a sentence for the user."""
    if settings.engine == "scripted":
        return _scripted(settings)
    return _embedded(settings, progress)


def model_folder(model: str | None) -> Path:
    """The checkpoint folder that the setting `model` means."""
    return Path(model).expanduser() if model else DEFAULT_MODEL


def _scripted(settings: EngineSettings) -> Completer:
    from model.completer import Completer
    from model.prompt import Layout
    from model.scripted import ScriptedEngine
    from model.tokenizer import ByteTokenizer

    if settings.script is None:
        raise ModelError("The scripted engine needs a script; set `script` to a JSON file.")
    tokenizer = ByteTokenizer()
    engine = ScriptedEngine.from_file(Path(settings.script))
    return Completer(
        engine, tokenizer, Layout(tokenizer), model_name=Path(settings.script).name, context_tokens=engine.max_context
    )


def _embedded(settings: EngineSettings, progress: Progress) -> Completer:
    progress("Starting torch", 0)
    import model.embedded  # noqa: F401, I001 - before torch
    import torch

    from model.completer import Completer
    from model.embedded.checkpoint import best_dtype, load_decoder
    from model.embedded.copying import read_weights
    from model.embedded.engine import EmbeddedEngine
    from model.prompt import Layout
    from model.tokenizer import HubTokenizer

    folder = model_folder(settings.model)
    torch.set_num_threads(settings.threads or _num_threads())
    decoder = load_decoder(
        folder, dtype=best_dtype(settings.dtype), max_context=settings.context_tokens, progress=progress
    )
    tokenizer = HubTokenizer.from_folder(folder)
    if tokenizer.vocab_size > decoder.vocab_size:
        raise ModelError(
            f"The tokenizer in {folder} has {tokenizer.vocab_size} tokens and the model {decoder.vocab_size}; "
            "they do not belong together."
        )
    memory = settings.memory_mb * 1024 * 1024
    engine = EmbeddedEngine(decoder, tokenizer, memory_bytes=memory, copying=read_weights(folder))
    bos_id, eos_ids = _text_ends(folder, tokenizer.start_ids)
    layout = Layout(tokenizer, bos_id, eos_ids)
    return Completer(engine, tokenizer, layout, model_name=_model_name(folder), context_tokens=settings.context_tokens)


def _num_threads() -> int:
    """The cores that this process may use, at most 8: small models gain nothing from more."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 8)


def _model_name(folder: Path) -> str:
    """The last part of the name in the checkpoint's own configuration, else the folder's name."""
    config = _read_json(folder / "config.json")
    return Path(str(config.get("_name_or_path") or folder.resolve())).name


def _text_ends(folder: Path, start_ids: list[int]) -> tuple[int | None, tuple[int, ...]]:
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
