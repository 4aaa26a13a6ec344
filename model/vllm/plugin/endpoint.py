"""What the server tells about itself: two routes of vLLM's own HTTP server, behind its API key.

    GET /v1/keyturn            {"version": …, "tokenizer": "sha256 of the files below"}
    GET /v1/keyturn/tokenizer  {"tokenizer.json": "…", …}, the files that a client needs to make token ids

vLLM loads such routes only where `VLLM_PLUGINS` names them, which `keyturn vllm serve` sees to. Without them a client
finds the tokenizer elsewhere or sends text.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from model.vllm.routes import TOKENIZER_FILES, VERSION, digest, hub_file


class KeyturnEndpoint:
    """An endpoint plugin of vLLM (`vllm.plugins.endpoint_plugins`)."""

    name = "keyturn"
    required_tasks = None

    def __init__(self) -> None:
        self._model: tuple[str, str | None] = ("", None)
        self._files: dict[str, str] | None = None

    def attach_router(self, app: FastAPI) -> None:
        app.add_api_route("/v1/keyturn", self._about, methods=["GET"])
        app.add_api_route("/v1/keyturn/tokenizer", self._tokenizer, methods=["GET"])

    async def init_state(self, engine_client: Any, state: Any, args: Namespace) -> None:
        if engine_client is not None:
            config = engine_client.vllm_config.model_config
            self._model = (config.tokenizer, config.tokenizer_revision)

    # FastAPI runs what is not `async` in a thread of its own.

    def _about(self) -> dict[str, Any]:
        files = self._tokenizer()
        return {"version": VERSION, "tokenizer": digest(files) if "tokenizer.json" in files else None}

    def _tokenizer(self) -> dict[str, str]:
        if self._files is None:
            name, revision = self._model
            found = {file: _path(name, revision, file) for file in TOKENIZER_FILES}
            self._files = {file: path.read_text(encoding="utf-8") for file, path in found.items() if path}
        return self._files


def _path(name: str, revision: str | None, file: str) -> Path | None:
    """A file of a checkpoint folder or of the hub's cache on this machine; nothing is fetched."""
    if Path(name).is_dir():
        return Path(name, file) if Path(name, file).is_file() else None
    return hub_file(name, file, revision)
