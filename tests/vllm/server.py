"""A real vLLM on loopback, with the plugin or without, for as long as a test needs it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from model.factory import DEFAULT_MODEL
from tests.vllm.install import folder, python

SECONDS_TO_START = 240
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "PYTHONWARNINGS": "ignore",
}


@dataclass
class Vllm:
    """One running server."""

    url: str
    log: Path
    process: subprocess.Popen[bytes]

    def metric(self, name: str) -> float:
        """A counter or gauge of the server's own metrics, over all labels."""
        text = httpx.get(f"{self.url}/metrics").text
        found = re.findall(rf"^{re.escape(name)}\{{[^}}]*\}} (\S+)$", text, re.MULTILINE)
        assert found, name
        return sum(float(value) for value in found)

    def resident_bytes(self) -> int:
        """Memory of all its processes."""
        own = psutil.Process(self.process.pid)
        return sum(process.memory_info().rss for process in (own, *own.children(recursive=True)))

    def kill(self) -> None:
        """End it as a crash would."""
        for process in (*psutil.Process(self.process.pid).children(recursive=True), self.process):
            process.kill()
        self.process.wait()


@contextmanager
def serving(
    log: Path,
    *options: str,
    model: Path = DEFAULT_MODEL,
    name: str = "served",
    plugin: bool = True,
    port: int = 0,
    **variables: str,
) -> Iterator[Vllm]:
    """A server that is ready to answer, `variables` in its environment.

    Raises with the end of its log when it does not come up.
    """
    port = port or free_port()
    common = ["--served-model-name", name, "--host", "127.0.0.1", "--port", str(port), "--enforce-eager", *options]
    if plugin:
        line = [str(folder() / "bin" / "keyturn-vllm"), "serve", str(model), *common]
    else:
        line = [str(python()), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), *common]
    with log.open("wb") as output:
        process = subprocess.Popen(
            line,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | ENVIRONMENT | variables,
            start_new_session=True,
        )
    server = Vllm(f"http://127.0.0.1:{port}", log, process)
    try:
        _wait(server)
        yield server
    finally:
        _stop(process)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _wait(server: Vllm) -> None:
    until = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < until and server.process.poll() is None:
        try:
            if httpx.get(f"{server.url}/health", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    end = server.log.read_text(errors="replace").splitlines()[-30:]
    raise RuntimeError("vLLM did not start:\n" + "\n".join(end))


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
