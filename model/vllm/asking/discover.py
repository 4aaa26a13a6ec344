"""Finds out what a server is: which model, how long its context, which tokenizer, whether it has the plugin."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from model.checkpoint_files import text_ends
from model.engine_completer import EngineCompleter
from model.errors import ModelError
from model.prompts.layout import Layout
from model.request import CancelCheck, never_cancelled
from model.tokenizer import HubTokenizer, Tokenizer
from model.vllm.asking.address import Address
from model.vllm.asking.client import VllmEngine
from model.vllm.asking.failures import ServerRefused
from model.vllm.asking.http import ANSWER_SECONDS, Connection
from model.vllm.asking.text import BYTES_PER_TOKEN, TextTokenizer, format_of
from model.vllm.routes import TOKENIZER_FILES, VERSION, hub_file
from model.vllm.routes import digest as digest_of

logger = logging.getLogger(__name__)

_SECONDS_TO_ANSWER = 1.0
"""A server that does not answer this fast whether it is there is taken to be away."""

_SECONDS_TO_FETCH = 30.0


@dataclass(frozen=True)
class Server:
    """What a server said of itself.

    `version` is vLLM's, None for another server; `tokenizer` the digest of the files that it offers, if it offers any;
    `has_routes` whether keyturn's own routes answer.
    """

    model: str
    root: str | None
    max_context: int | None
    version: str | None
    has_routes: bool = False
    tokenizer: str | None = None


class Site:
    """What the settings say of a server, and what it said of itself when it was connected to.

    `answer_seconds` is the longest silence of a server that is at work. `notice` is told what works less well than it
    could.
    """

    def __init__(
        self,
        address: Address,
        *,
        model: str | None,
        tokenizer: str | None,
        context_tokens: int,
        answer_seconds: float = ANSWER_SECONDS,
        notice: Callable[[str], None] = lambda message: None,
    ) -> None:
        self._address = address
        self._model = model
        self._tokenizer = tokenizer
        self._context_tokens = context_tokens
        self._answer_seconds = answer_seconds
        self._notice = notice
        self._server: Server | None = None

    @cached_property
    def _connection(self) -> Connection:
        """Made when it is first used, and tried again after it could not be made. Raises `ModelError`."""
        return Connection(self._address, answer_seconds=self._answer_seconds)

    def check(self, cancelled: CancelCheck = never_cancelled) -> None:
        """Raises `ServerAway` or `ServerRefused`, soon, if nothing answers there."""
        self._connection.check(_SECONDS_TO_ANSWER, cancelled)

    def is_another(self, cancelled: CancelCheck = never_cancelled) -> bool:
        """Whether the server says something else of itself now. Raises `ServerAway` or `ServerRefused`."""
        return describe(self._connection, self._model, cancelled) != self._server

    def connect(self, cancelled: CancelCheck = never_cancelled) -> EngineCompleter:
        """A completer that asks the server. Raises `ServerAway`, `ServerRefused` or `ModelError` with a sentence."""
        self.check(cancelled)
        connection = self._connection
        server = self._server = describe(connection, self._model, cancelled)
        folder = self._tokenizer_folder(server, cancelled)
        found: Tokenizer
        if folder is None:
            found = TextTokenizer(format_of(server.model))
            layout = Layout(found)
            scale = BYTES_PER_TOKEN
        else:
            found = HubTokenizer.from_folder(folder)
            layout = Layout(found, *text_ends(folder, found.start_ids))
            scale = 1
        engine = VllmEngine(
            connection,
            found,
            model=server.model,
            max_context=(server.max_context or self._context_tokens) * scale,
            version=server.version,
            cancelled=cancelled,
        )
        logger.info("%s: %s, %s", connection.address, server, "with plugin" if engine.has_plugin else "without plugin")
        if server.version is not None and not engine.has_plugin:
            self._notice(f"The server at {connection.address} {_lack(server, engine)}")
        name = server.model.rstrip("/").rsplit("/", 1)[-1]
        return EngineCompleter(engine, found, layout, model_name=name, context_tokens=self._context_tokens * scale)

    def _tokenizer_folder(self, server: Server, cancelled: CancelCheck) -> Path | None:
        """The folder of the served model's tokenizer: the one that is set, the server's own, one on this machine."""
        if self._tokenizer is not None:
            folder = Path(self._tokenizer).expanduser()
            if not (folder / "tokenizer.json").is_file():
                raise ModelError(f"`tokenizer` must be a folder with a tokenizer.json; {folder} has none.")
            return folder
        if server.version is None:
            return None
        if server.tokenizer is not None:
            return _fetched(self._connection, server.tokenizer, cancelled)
        for name in filter(None, (server.root, server.model)):
            # A relative path would be looked for in whatever project is open.
            if Path(name).is_absolute() and (Path(name) / "tokenizer.json").is_file():
                return Path(name)
            if (found := hub_file(name, "tokenizer.json")) is not None:
                return found.parent
        return None


def _lack(server: Server, engine: VllmEngine) -> str:
    """Why a vLLM computes text behind an edit again, and what can be done."""
    if server.has_routes and engine.speaks_tokens:
        why, what = "serves a model whose cache keyturn cannot edit", "its log says why"
    else:
        why = "has no keyturn plugin" if engine.speaks_tokens else "does not show its tokenizer"
        what = "start it with `keyturn vllm serve`"
    return f"{why}, so text behind an edit is computed again; {what}."


def describe(connection: Connection, model: str | None, cancelled: CancelCheck = never_cancelled) -> Server:
    """Ask the server what it is; `model` is the one wanted, None for its first."""
    base = connection.address
    version = _version(connection, cancelled)
    models = connection.get("/v1/models", cancelled)
    listed = models.get("data") if isinstance(models, dict) else None
    entries = [entry for entry in listed or [] if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
    if not entries and model is not None:
        return Server(model, None, None, version)
    if not entries:
        raise ServerRefused(f"The server at {base} lists no models; check `url`, and set `model` if it is right.")
    names = [entry["id"] for entry in entries]
    if model is not None and model not in names:
        shown = ", ".join(names[:5])
        raise ServerRefused(f"The server at {base} has no model '{model}'; set `model` to one of: {shown}.")
    entry = entries[names.index(model)] if model is not None else entries[0]
    root, length = entry.get("root"), entry.get("max_model_len")
    routes = connection.get("/v1/keyturn", cancelled) if version is not None else None
    known = routes if isinstance(routes, dict) and routes.get("version") == VERSION else {}
    tokenizer = known.get("tokenizer")
    return Server(
        entry["id"],
        root if isinstance(root, str) else None,
        length if type(length) is int and length > 1 else None,
        version,
        bool(known),
        tokenizer if isinstance(tokenizer, str) else None,
    )


def _version(connection: Connection, cancelled: CancelCheck) -> str | None:
    """vLLM's version, None for another server, which may refuse a path that it does not know."""
    try:
        about = connection.get("/version", cancelled)
    except ServerRefused:
        return None
    version = about.get("version") if isinstance(about, dict) else None
    return version if isinstance(version, str) else None


def _fetched(connection: Connection, digest: str, cancelled: CancelCheck) -> Path | None:
    """The server's tokenizer, fetched once for each content and kept among the user's cached files."""
    import platformdirs

    name = hashlib.sha256(digest.encode()).hexdigest()[:32]
    folder = Path(platformdirs.user_cache_dir("keyturn", appauthor=False)) / "tokenizers" / name
    if (folder / "tokenizer.json").is_file():
        return folder
    files = connection.get("/v1/keyturn/tokenizer", cancelled, seconds=_SECONDS_TO_FETCH)
    if not isinstance(files, dict) or not all(isinstance(files[name], str) for name in files):
        return None
    if "tokenizer.json" not in files or digest_of(files) != digest:
        logger.warning("The server's tokenizer is not what it says it is; it is not used.")
        return None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            made = Path(temporary) / "files"
            made.mkdir()
            for file in TOKENIZER_FILES:
                if file in files:
                    (made / file).write_text(files[file], encoding="utf-8")
            if not folder.exists():
                os.replace(made, folder)
    except OSError as error:
        raise ModelError(f"The server's tokenizer cannot be kept in {folder.parent}: {error}.") from error
    return folder
