"""Makes the assistant that the settings ask for. Heavy imports happen inside, once an engine is really wanted."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from model.boot import import_lasting
from model.checkpoint_files import name_of, text_ends
from model.errors import ModelError

if TYPE_CHECKING:
    from model.assistant.assistant import Assistant
    from model.completer import Completer
    from model.engine_completer import EngineCompleter

Progress = Callable[[str, int], None]
"""Called with a message and a percentage while a model loads."""

Notice = Callable[[str], None]
"""Called with a sentence for the user, at any time while the completer is used, in the thread that uses it."""

DEFAULT_MODEL = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class EngineSettings:
    """What decides which engine runs and how much it may use.

    `model` is a checkpoint folder, None for the default model; with a server the name of one of its models, None for
    its first. `context_tokens` bounds prompt and completion together, `memory_mb` the KV caches of all documents.
    A server may be silent for `server_timeout_seconds` while it answers. `threads` None means the processor's cores, at
    most 8.
    """

    engine: Literal["embedded", "vllm", "scripted"] = "embedded"
    model: str | None = None
    context_tokens: int = 2048
    memory_mb: int = 256
    threads: int | None = None
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    script: str | None = None
    url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    tokenizer: str | None = None
    fallback: bool = True
    server_timeout_seconds: float = 10.0


def load_assistant(
    settings: EngineSettings,
    progress: Progress = lambda message, percent: None,
    notice: Notice = lambda message: None,
) -> Assistant:
    """Load the engine; seconds for the embedded one. Raises `ModelError` with a sentence for the user."""
    from model.assistant.assistant import Assistant

    if settings.engine == "scripted":
        return _scripted(settings)
    if settings.engine == "vllm":
        return Assistant(_server(settings, progress, notice))
    return Assistant(load_embedded(settings, progress))


def model_folder(model: str | None) -> Path:
    """The checkpoint folder that the setting `model` means."""
    return Path(model).expanduser() if model else DEFAULT_MODEL


def _scripted(settings: EngineSettings) -> Assistant:
    from model.assistant.assistant import Assistant
    from model.assistant.suggestion import doubts_below
    from model.engine_completer import EngineCompleter
    from model.prompts.layout import Layout
    from model.scripted import SURE, UNSURE, ScriptedEngine
    from model.tokenizer import ByteTokenizer

    if settings.script is None:
        raise ModelError("The scripted engine needs a script; set `script` to a JSON file.")
    tokenizer = ByteTokenizer()
    engine = ScriptedEngine.from_file(Path(settings.script).expanduser())
    name = Path(settings.script).name
    completer = EngineCompleter(
        engine, tokenizer, Layout(tokenizer), model_name=name, context_tokens=engine.max_context
    )
    return Assistant(completer, doubts_below((SURE + UNSURE) / 2))


def _server(settings: EngineSettings, progress: Progress, notice: Notice) -> Completer:
    from model.vllm.asking.address import Address
    from model.vllm.asking.discover import Site
    from model.vllm.asking.fallback import FallbackCompleter

    if settings.url is None:
        raise ModelError("The engine `vllm` needs a server; set `url`, such as http://localhost:8000.")
    progress("Asking the server", 0)
    site = Site(
        Address(settings.url, settings.api_key, settings.ca_file),
        model=settings.model,
        tokenizer=settings.tokenizer,
        context_tokens=settings.context_tokens,
        answer_seconds=settings.server_timeout_seconds,
        notice=notice,
    )

    def stand_in() -> Completer:
        return load_embedded(replace(settings, engine="embedded", model=None), progress)

    return FallbackCompleter(site, stand_in if settings.fallback else None, notice)


def load_embedded(settings: EngineSettings, progress: Progress = lambda message, percent: None) -> EngineCompleter:
    """Load the embedded engine, whatever `engine` says. Raises `ModelError` with a sentence for the user."""
    progress("Starting torch", 0)
    import_lasting("torch")

    import torch

    from model.embedded.checkpoint import best_dtype, load_decoder
    from model.embedded.copying import read_weights
    from model.embedded.cores import find_workers
    from model.embedded.engine import EmbeddedEngine
    from model.engine_completer import EngineCompleter
    from model.prompts.layout import Layout
    from model.tokenizer import HubTokenizer

    folder = model_folder(settings.model)
    torch.set_num_threads(settings.threads or _num_threads())
    find_workers()
    auto = settings.dtype == "auto"
    decoder = load_decoder(
        folder,
        dtype=best_dtype(settings.dtype),
        # Half of float32's memory, and attention reads it as fast where the processor does not multiply bfloat16.
        cache_dtype=torch.bfloat16 if auto else None,
        rounded=auto,
        max_context=settings.context_tokens,
        progress=progress,
    )
    tokenizer = HubTokenizer.from_folder(folder)
    if tokenizer.vocab_size > decoder.vocab_size:
        raise ModelError(
            f"The tokenizer in {folder} has {tokenizer.vocab_size} tokens and the model {decoder.vocab_size}; "
            "they do not belong together."
        )
    memory = settings.memory_mb * 1024 * 1024
    engine = EmbeddedEngine(decoder, tokenizer, memory_bytes=memory, copying=read_weights(folder))
    bos_id, eos_ids = text_ends(folder, tokenizer.start_ids)
    layout = Layout(tokenizer, bos_id, eos_ids)
    return EngineCompleter(
        engine, tokenizer, layout, model_name=name_of(folder), context_tokens=settings.context_tokens
    )


def _num_threads() -> int:
    """The cores that this process may use, at most 8: small models gain nothing from more."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 8)
