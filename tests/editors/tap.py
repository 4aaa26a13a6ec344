"""A real server with a wire tap: what the editor and the server say to each other is written down as it passes.

    python tap.py LOG SERVER…            the editor starts this instead of the server

Every message goes into LOG, one JSON object a line: `from` ("client" or "server"), `at` (seconds), `message`. A line in
LOG.ask, one JSON-RPC method with params, is asked of the server; the answer goes into LOG like any other, and not to
the editor.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

OWN_ID = "tap-"


def main() -> None:
    log_path, *command = sys.argv[1:]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin is not None
    assert server.stdout is not None
    log = Log(Path(log_path))
    log.write("tap", {"pid": server.pid})
    lock = threading.Lock()
    threading.Thread(target=pass_on, args=(sys.stdin.buffer, server.stdin, log, "client", lock), daemon=True).start()
    threading.Thread(target=ask, args=(Path(log_path + ".ask"), server.stdin, log, lock), daemon=True).start()
    pass_on(server.stdout, sys.stdout.buffer, log, "server", threading.Lock())
    sys.exit(server.wait())


class Log:
    """Appends to the log, from several threads."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()

    def write(self, origin: str, message: Any) -> None:
        with self._lock:
            self._file.write(json.dumps({"from": origin, "at": time.time(), "message": message}) + "\n")
            self._file.flush()


def pass_on(source: BinaryIO, sink: BinaryIO, log: Log, origin: str, lock: threading.Lock) -> None:
    """Copy messages until the source ends, then close the sink."""
    while (body := read_message(source)) is not None:
        message = json.loads(body)
        log.write(origin, message)
        if not str(message.get("id", "")).startswith(OWN_ID):
            with lock:
                write_message(sink, body)
    sink.close()


def ask(path: Path, sink: BinaryIO, log: Log, lock: threading.Lock) -> None:
    """Ask the server what stands in the file, line by line as it grows."""
    path.touch()
    asked = path.read_text(encoding="utf-8").count("\n")  # by a tap before this one
    while True:
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
        for line in lines[asked:]:
            request = {"jsonrpc": "2.0", "id": f"{OWN_ID}{asked}", **json.loads(line)}
            log.write("tap", request)
            with lock:
                write_message(sink, json.dumps(request).encode())
            asked += 1
        time.sleep(0.02)


def read_message(source: BinaryIO) -> bytes | None:
    length = 0
    while (line := source.readline()).strip():
        name, value = line.split(b":", 1)
        if name.lower() == b"content-length":
            length = int(value)
    return source.read(length) if line else None


def write_message(sink: BinaryIO, body: bytes) -> None:
    sink.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
    sink.flush()


if __name__ == "__main__":
    main()
