"""Reads what a tapped server and its editor said to each other (`tests/editors/tap.py`)."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TAP = Path(__file__).with_name("tap.py")
PATIENCE = 60.0
"""Seconds that anything may take on a busy machine."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Wire:
    """One log."""

    path: Path

    def command(self, *server: str) -> list[str]:
        """What the editor starts."""
        return [sys.executable, str(TAP), str(self.path), *server]

    def entries(self) -> list[Json]:
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").split("\n")[:-1]
        return [json.loads(line) for line in lines]

    def messages(self, origin: str, method: str | None = None) -> list[Json]:
        """What one side has said: all of it, or one method's requests and notifications."""
        said = [entry["message"] for entry in self.entries() if entry["from"] == origin]
        return said if method is None else [message for message in said if message.get("method") == method]

    def suggestions(self) -> list[str]:
        """Every text that the server offered, in order."""
        asked = {m["id"] for m in self.messages("client", "textDocument/inlineCompletion")}
        found = []
        for message in self.messages("server"):
            result = message.get("result")
            if message.get("id") in asked and result:
                items = result["items"] if isinstance(result, dict) else result
                found += [item["insertText"] for item in items]
        return found

    def num_answers(self) -> int:
        """Requests for suggestions that were answered, cancelled ones aside."""
        asked = {m["id"] for m in self.messages("client", "textDocument/inlineCompletion")}
        return sum(m.get("id") in asked and "result" in m for m in self.messages("server"))

    def server_pid(self) -> int:
        """The process of the newest server."""
        return int([entry["message"]["pid"] for entry in self.entries() if "pid" in entry["message"]][-1])

    def kill_server(self) -> None:
        os.kill(self.server_pid(), signal.SIGKILL)

    def ask(self, method: str, params: Json) -> Json:
        """The server's answer to a request of our own."""
        before = len(self.messages("tap", method))
        with Path(f"{self.path}.ask").open("a", encoding="utf-8") as asked:
            asked.write(json.dumps({"method": method, "params": params}) + "\n")
        request = wait_for(lambda: self.messages("tap", method)[before:], "the tap to ask")[0]
        answers = wait_for(
            lambda: [m for m in self.messages("server") if m.get("id") == request["id"]], f"an answer to {method}"
        )
        result: Json = answers[-1]["result"]
        return result


def wait_for(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """The first true value of the condition; fails with `what` it waited for."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {patience:.0f} s for {what}"
        time.sleep(0.05)
    return found
