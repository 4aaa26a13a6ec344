"""A small language client that can misbehave: it speaks to a real server process and counts every reply."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
PATIENCE = 30.0
"""Seconds that anything may take on a busy machine. Nothing waits for it to pass."""

Json = dict[str, Any]


class ServerError(Exception):
    """An error reply."""

    def __init__(self, error: Json) -> None:
        super().__init__(error["message"])
        self.code: int = error["code"]


class Client:
    """Blocking calls over the pipes of one server process; a thread collects what comes back."""

    def __init__(self, process: subprocess.Popen[bytes], settings: object = None) -> None:
        self.process = process
        self.settings = settings
        self.replies: dict[Any, list[Json]] = defaultdict(list)
        self.notifications: list[Json] = []
        self.requests: list[Json] = []
        self.is_closed = False
        self._arrived = threading.Condition()
        self._next_id = 0
        self._versions: dict[str, int] = {}
        threading.Thread(target=self._read, daemon=True).start()

    # Wire

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def send(self, message: object) -> None:
        body = json.dumps(message).encode()
        self.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    def wait(self, condition: Callable[[], Any]) -> Any:
        """Block until `condition` is true of what has arrived; its value."""
        with self._arrived:
            assert self._arrived.wait_for(condition, PATIENCE), "the server did not answer"
            return condition()

    def _read(self) -> None:
        assert self.process.stdout is not None
        stream = self.process.stdout
        while header := stream.readline():
            length = int(header.split(b":")[1])
            assert stream.readline() == b"\r\n", "a header that LSP does not have"
            message = json.loads(stream.read(length))
            with self._arrived:
                self._sort(message)
                self._arrived.notify_all()
        with self._arrived:
            self.is_closed = True
            self._arrived.notify_all()

    def _sort(self, message: Json) -> None:
        if "method" not in message:
            self.replies[message["id"]].append(message)
        elif "id" in message:
            self.requests.append(message)
            result = [self.settings] if message["method"] == "workspace/configuration" else None
            self.send({"jsonrpc": "2.0", "id": message["id"], "result": result})
        else:
            self.notifications.append(message)

    # Messages

    def start(self, method: str, params: object = None) -> int:
        """Send a request and do not wait; its id."""
        self._next_id += 1
        message: Json = {"jsonrpc": "2.0", "id": self._next_id, "method": method}
        self.send(message if params is None else message | {"params": params})
        return self._next_id

    def reply(self, msg_id: int | str | None) -> Any:
        """The result of a request; `ServerError` for an error reply."""
        message = self.wait(lambda: self.replies[msg_id])[0]
        if "error" in message:
            raise ServerError(message["error"])
        return message["result"]

    def request(self, method: str, params: object = None) -> Any:
        return self.reply(self.start(method, params))

    def notify(self, method: str, params: object = None) -> None:
        message: Json = {"jsonrpc": "2.0", "method": method}
        self.send(message if params is None else message | {"params": params})

    def notified(self, method: str, **wanted: object) -> Json:
        """The params of the first notification of a method with these params."""

        def find() -> Json | None:
            for message in self.notifications:
                params = message.get("params") or {}
                if message["method"] == method and all(params.get(key) == value for key, value in wanted.items()):
                    return params
            return None

        return self.wait(find)

    def messages(self) -> list[str]:
        """Texts of all `window/showMessage` so far."""
        return [m["params"]["message"] for m in self.notifications if m["method"] == "window/showMessage"]

    # Session

    def initialize(
        self,
        *,
        encodings: Sequence[str] | None = None,
        root: Path | None = None,
        options: object = None,
        **more: object,
    ) -> Json:
        """Open the session. What is not named here goes into the client's capabilities."""
        capabilities: Json = {"general": {"positionEncodings": encodings}} if encodings else {}
        params = {
            "processId": os.getpid(),
            "rootUri": root and root.as_uri(),
            "capabilities": capabilities | more,
            "initializationOptions": options,
        }
        result: Json = self.request("initialize", params)
        self.notify("initialized", {})
        return result

    def open(self, uri: str, text: str, language: str = "python") -> None:
        self._versions[uri] = 1
        document = {"uri": uri, "languageId": language, "version": 1, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": document})

    def change(self, uri: str, *changes: tuple[int, int, int, int, str] | str) -> None:
        """Change a document: (line, column, end line, end column, new text), or a whole text."""
        self._versions[uri] = self._versions.get(uri, 1) + 1
        content = []
        for change in changes:
            if isinstance(change, str):
                content.append({"text": change})
            else:
                content.append({"range": span(*change[:4]), "text": change[4]})
        identifier = {"uri": uri, "version": self._versions[uri]}
        self.notify("textDocument/didChange", {"textDocument": identifier, "contentChanges": content})

    def close(self, uri: str) -> None:
        self.notify("textDocument/didClose", {"textDocument": {"uri": uri}})

    def close_all(self) -> None:
        for uri in self._versions:
            self.close(uri)
        self._versions.clear()

    def start_completion(self, uri: str, line: int, column: int, *, kind: int = 2, selected: Json | None = None) -> int:
        context: Json = {"triggerKind": kind}
        if selected is not None:
            context["selectedCompletionInfo"] = selected
        position = {"line": line, "character": column}
        params = {"textDocument": {"uri": uri}, "position": position, "context": context}
        return self.start("textDocument/inlineCompletion", params)

    def complete(self, uri: str, line: int, column: int, **more: Any) -> list[Json] | None:
        items: list[Json] | None = self.reply(self.start_completion(uri, line, column, **more))
        return items

    def texts(self, uri: str, line: int, column: int, **more: Any) -> list[str]:
        return [item["insertText"] for item in self.complete(uri, line, column, **more) or []]

    def stats(self, uri: str, *, digest: bool = False) -> Json:
        found: Json = self.request("keyturn/stats", {"uri": uri, "digest": digest})
        return found

    def cancel(self, msg_id: int) -> None:
        self.notify("$/cancelRequest", {"id": msg_id})

    def shut_down(self) -> int:
        """The orderly end; the server's exit status."""
        self.request("shutdown")
        self.notify("exit")
        return self.exit_status()

    def exit_status(self) -> int:
        return self.process.wait(PATIENCE)


def span(line: int, column: int, end_line: int, end_column: int) -> Json:
    return {"start": {"line": line, "character": column}, "end": {"line": end_line, "character": end_column}}


def environment(folder: Path, script: Json | None = None, **variables: str) -> dict[str, str]:
    """Variables for a process that reads no settings of whoever runs the tests, and follows a script."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KEYTURN_")}
    clean |= {"XDG_CONFIG_HOME": str(folder / "config"), "PYTHONPATH": str(REPOSITORY)}
    if script is not None:
        path = folder / "script.json"
        path.write_text(json.dumps(script), encoding="utf-8")
        clean |= {"KEYTURN_ENGINE": "scripted", "KEYTURN_SCRIPT": str(path)}
    return clean | variables


@contextmanager
def serving(
    folder: Path,
    script: Json | None = None,
    *,
    settings: object = None,
    command: Sequence[str] = ("-m", "lsp.cli", "serve"),
    **variables: str,
) -> Iterator[Client]:
    """A running server, not initialized yet. It is ended afterwards, by force if need be."""
    script = {"default": {"text": "hello"}} if script is None else script
    process = subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(folder / "stderr.log").open("ab"),
        env=environment(folder, script, **variables),
        cwd=folder,
    )
    client = Client(process, settings)
    try:
        yield client
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        with suppress(OSError):
            process.stdin.close()
