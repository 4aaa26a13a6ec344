"""Finds out what a server is: which model, how long its context, which tokenizer, whether it has the plugin."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.checkpoint_files import text_ends
from model.completer import Completer
from model.engine import ModelError
from model.prompt import Layout
from model.tokenizer import HubTokenizer, Tokenizer
from model.vllm.client import VllmEngine
from model.vllm.http import Connection, ServerRefused
from model.vllm.text import BYTES_PER_TOKEN, TextTokenizer, format_of

logger = logging.getLogger(__name__)

_FILES = ("tokenizer.json", "tokenizer_config.json", "config.json", "generation_config.json")
_MAX_FILE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Server:
    """What a server said of itself. `version` is vLLM's, None for another server."""

    model: str
    root: str | None
    max_context: int | None
    version: str | None


def connect(
    connection: Connection,
    *,
    model: str | None,
    tokenizer: str | None,
    context_tokens: int,
    notice: Callable[[str], None] = lambda message: None,
) -> Completer:
    """A completer that asks the server. Raises `ServerAway`, `ServerRefused` or `ModelError` with a sentence.

    `notice` is told what works less well than it could.
    """
    server = describe(connection, model)
    folder = _tokenizer_folder(connection, server, tokenizer) if server.version or tokenizer else None
    found: Tokenizer
    if folder is None:
        markers = format_of(server.model)
        found, layout = TextTokenizer(markers), Layout(TextTokenizer(markers))
        scale = BYTES_PER_TOKEN
    else:
        found = HubTokenizer.from_folder(folder)
        layout = Layout(found, *text_ends(folder, found.start_ids))
        scale = 1
    engine = VllmEngine(
        connection,
        found,
        model=server.model,
        max_context=(server.max_context or context_tokens) * scale,
        is_vllm=server.version is not None,
    )
    logger.info("%s: %s, %s", connection.address.base, server, "with plugin" if engine.has_plugin else "without plugin")
    if server.version is not None and not engine.has_plugin:
        why = "has no keyturn plugin" if engine.speaks_tokens else "does not show its tokenizer"
        notice(
            f"The server at {connection.address.base} {why}, so text behind an edit is encoded again; "
            "start it with `keyturn vllm serve`."
        )
    name = server.model.rstrip("/").rsplit("/", 1)[-1]
    return Completer(engine, found, layout, model_name=name, context_tokens=context_tokens * scale)


def describe(connection: Connection, model: str | None) -> Server:
    """Ask the server what it is; `model` is the one wanted, None for its first."""
    base = connection.address.base
    about = connection.get("/version")
    version = about.get("version") if isinstance(about, dict) else None
    models = connection.get("/v1/models")
    listed = models.get("data") if isinstance(models, dict) else None
    entries = [entry for entry in listed or [] if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
    if not entries:
        raise ServerRefused(f"The server at {base} lists no models; `url` must be an OpenAI-compatible server's.")
    names = [entry["id"] for entry in entries]
    if model is not None and model not in names:
        shown = ", ".join(names[:5])
        raise ServerRefused(f"The server at {base} has no model '{model}'; set `model` to one of: {shown}.")
    entry = entries[names.index(model)] if model is not None else entries[0]
    root, length = entry.get("root"), entry.get("max_model_len")
    return Server(
        entry["id"],
        root if isinstance(root, str) else None,
        length if type(length) is int and length > 1 else None,
        version if isinstance(version, str) else None,
    )


def _tokenizer_folder(connection: Connection, server: Server, wanted: str | None) -> Path | None:
    """The folder of the served model's tokenizer: the one that is set, the server's own, one on this machine."""
    if wanted is not None:
        folder = Path(wanted).expanduser()
        if not (folder / "tokenizer.json").is_file():
            raise ModelError(f"`tokenizer` must be a folder with a tokenizer.json; {folder} has none.")
        return folder
    about = connection.get("/v1/keyturn")
    if isinstance(about, dict) and isinstance(about.get("tokenizer"), str):
        return _fetched(connection, about["tokenizer"])
    for name in filter(None, (server.root, server.model)):
        if (Path(name) / "tokenizer.json").is_file():
            return Path(name)
        if (found := _in_hub_cache(name)) is not None:
            return found
    return None


def _fetched(connection: Connection, digest: str) -> Path | None:
    """The server's tokenizer, fetched once for each content and kept among the user's cached files."""
    import platformdirs

    name = hashlib.sha256(digest.encode()).hexdigest()[:32]
    folder = Path(platformdirs.user_cache_dir("keyturn", appauthor=False)) / "tokenizers" / name
    if (folder / "tokenizer.json").is_file():
        return folder
    files = connection.get("/v1/keyturn/tokenizer")
    if not isinstance(files, dict) or not isinstance(files.get("tokenizer.json"), str):
        return None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            made = Path(temporary) / "files"
            made.mkdir()
            for file in _FILES:
                if isinstance(files.get(file), str) and len(files[file]) < _MAX_FILE_BYTES:
                    (made / file).write_text(files[file], encoding="utf-8")
            if not folder.exists():
                os.replace(made, folder)
    except OSError as error:
        raise ModelError(f"The server's tokenizer cannot be kept in {folder.parent}: {error}.") from error
    return folder


def _in_hub_cache(name: str) -> Path | None:
    """A model's folder in the hub's cache on this machine; nothing is fetched."""
    if not 1 <= len(name.split("/")) <= 2:
        return None
    from huggingface_hub import try_to_load_from_cache

    try:
        found: Any = try_to_load_from_cache(name, "tokenizer.json")
    except ValueError:
        return None
    return Path(found).parent if isinstance(found, str) else None
