"""The server under pytest-lsp's client, with the capabilities that real editors announce."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pytest_lsp import ClientServerConfig, LanguageClient, client_capabilities

from tests.lsp.client import PATIENCE, environment
from tests.lsp.conftest import SCRIPT

URI = "file:///project/main.py"
ENCODINGS = {"neovim": "utf-8", "visual_studio_code": "utf-16"}


@pytest_asyncio.fixture(params=list(ENCODINGS))
async def editor(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LanguageClient]:
    config = ClientServerConfig(
        server_command=[sys.executable, "-m", "lsp.cli", "serve"], server_env=environment(tmp_path, SCRIPT)
    )
    client = await config.start()
    assert isinstance(client, LanguageClient)

    @client.feature(types.CLIENT_REGISTER_CAPABILITY)
    def register(params: types.RegistrationParams) -> None:
        """pytest-lsp announces that it takes registrations, and takes none."""

    capabilities = client_capabilities(request.param)
    result = await client.initialize_session(types.InitializeParams(capabilities=capabilities))
    assert result.capabilities.inline_completion_provider is not None
    assert result.capabilities.position_encoding == ENCODINGS[request.param]
    yield client
    await client.shutdown_session()
    await client.stop()


def opened(client: LanguageClient, text: str) -> None:
    document = types.TextDocumentItem(uri=URI, language_id="python", version=1, text=text)
    client.text_document_did_open(types.DidOpenTextDocumentParams(text_document=document))


def params(line: int, character: int) -> types.InlineCompletionParams:
    return types.InlineCompletionParams(
        text_document=types.TextDocumentIdentifier(uri=URI),
        position=types.Position(line=line, character=character),
        context=types.InlineCompletionContext(trigger_kind=types.InlineCompletionTriggerKind.Automatic),
    )


@pytest.mark.asyncio
async def test_an_editor_gets_a_suggestion(editor: LanguageClient) -> None:
    opened(editor, "x = 1\npri")
    items = await editor.text_document_inline_completion_async(params(line=1, character=3))
    assert isinstance(items, list)
    assert [item.insert_text for item in items] == ["nt(value)"]


@pytest.mark.asyncio
async def test_an_editor_may_cancel(editor: LanguageClient) -> None:
    opened(editor, "never(\npri")
    # pytest-lsp's coroutines send nothing before they are awaited; this sends now.
    sent = editor.protocol.send_request(types.TEXT_DOCUMENT_INLINE_COMPLETION, params(0, 6), msg_id=4711)
    editor.cancel_request(types.CancelParams(id=4711))
    with pytest.raises(JsonRpcException) as caught:
        await asyncio.wait_for(asyncio.wrap_future(sent), PATIENCE)
    assert caught.value.code == -32800
