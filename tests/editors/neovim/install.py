"""Puts two versions of Neovim into a folder, from Debian's packages, without touching the system.

    python -m tests.editors.neovim.install

The packages of a newer Debian need a newer libc; they bring it along, and `patchelf` points the editor at it. Whatever
goes wrong raises `InstallError` with what the failing command said: a test that cannot have its editor must not pass.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
SUITES = {"0.10": "trixie", "0.12": "forky"}
"""Which suite of Debian has which version. A suite that moves on to a later version makes the install fail."""

_SECONDS = 600


class InstallError(Exception):
    """Something that the tests need cannot be had; the message says what was tried and what came of it."""


@dataclass(frozen=True)
class Neovim:
    """One unpacked editor."""

    version: str
    root: Path

    @property
    def program(self) -> Path:
        return self.root / "usr" / "bin" / "nvim"

    @property
    def runtime(self) -> Path:
        return self.root / "usr" / "share" / "nvim" / "runtime"

    @property
    def environment(self) -> dict[str, str]:
        return {"VIMRUNTIME": str(self.runtime)}


def cache_folder() -> Path:
    """Where editors are kept between runs; in the repository unless EDITORS_CACHE says otherwise."""
    folder = Path(os.environ.get("EDITORS_CACHE") or REPOSITORY / ".editors").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    return folder


def install_tools() -> None:
    """See to it that tmux and patchelf are there."""
    missing = [tool for tool in ("tmux", "patchelf") if shutil.which(tool) is None]
    if missing:
        _run(["apt-get", "update"])
        _run(["apt-get", "install", "--yes", "--no-install-recommends", *missing])


def install(version: str) -> Neovim:
    """An editor of this version (two numbers), unpacked at the first call and found again at later ones."""
    folder = cache_folder() / f"neovim-{version}"
    editor = Neovim(version, folder / "root")
    # The folder's own name is in the patched program: a repository that was moved needs another one.
    mark = folder / "installed"
    if mark.is_file() and mark.read_text() == str(folder):
        return editor
    shutil.rmtree(folder, ignore_errors=True)
    for package in _download(SUITES[version], folder):
        _run(["dpkg", "-x", str(package), str(editor.root)])
    _use_own_libraries(editor)
    _check_version(editor)
    mark.write_text(str(folder))
    return editor


def _download(suite: str, folder: Path) -> list[Path]:
    """The packages of Neovim and of everything below it. apt's state is private and says that nothing is installed."""
    state, cache, archives = folder / "state", folder / "cache", folder / "cache" / "archives"
    for needed in (state / "lists" / "partial", archives / "partial"):
        needed.mkdir(parents=True)
    (state / "status").touch()
    address, signed_by = _mirror_of_this_system()
    sources = folder / "sources.list"
    sources.write_text(f"deb [signed-by={signed_by}] {address} {suite} main\n")
    options = {
        "Dir::State": state,
        "Dir::State::status": state / "status",
        "Dir::Cache": cache,
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get", "--quiet", *(f"-o{name}={value}" for name, value in options.items())]
    _run([*apt, "update", "--error-on=any"])
    _run([*apt, "install", "--yes", "--download-only", "--no-install-recommends", "neovim"])
    packages = sorted(archives.glob("*.deb"))
    if not packages:
        raise InstallError(f"apt-get downloaded no package of neovim from the suite {suite}.")
    return packages


def _mirror_of_this_system() -> tuple[str, str]:
    """The address that this system gets Debian from, and the keyring for it."""
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', Path("/etc/os-release").read_text(), re.MULTILINE))
    codename = release.get("VERSION_CODENAME", "")
    apt = Path("/etc/apt")
    for file in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]:
        text = file.read_text() if file.is_file() else ""
        for stanza in re.split(r"\n\s*\n", text):
            fields = dict(re.findall(r"^(\S+):[ \t]*(.*)$", stanza, re.MULTILINE))
            if codename in fields.get("Suites", "").split() and "deb" in fields.get("Types", "").split():
                return fields["URIs"].split()[0], keyring
        for line in re.findall(r"^deb[ \t]+(?:\[[^]]*\][ \t]+)?(\S+)[ \t]+(\S+)", text, re.MULTILINE):
            if line[1] == codename:
                return line[0], keyring
    raise InstallError(
        f"No mirror of Debian's {codename or 'suites'} is named in {apt}; the tests need a Debian system."
    )


def _use_own_libraries(editor: Neovim) -> None:
    """Point the program at the loader and the libraries beside it. Started through the loader, its screen breaks."""
    loader = _only(editor.root, "usr/lib*/ld-linux-*.so.*")
    libraries = _only(editor.root, "usr/lib/*-linux-gnu")
    _run(
        ["patchelf", "--set-interpreter", str(loader), "--force-rpath", "--set-rpath", str(libraries)]
        + [str(editor.program)]
    )


def _only(root: Path, pattern: str) -> Path:
    found = sorted(root.glob(pattern))
    if len(found) != 1:
        raise InstallError(f"Expected one {pattern} in {root}, found {len(found)}.")
    return found[0]


def _check_version(editor: Neovim) -> None:
    first_line = _run([str(editor.program), "--version"], **editor.environment).splitlines()[0]
    if not first_line.startswith(f"NVIM v{editor.version}."):
        suite = SUITES[editor.version]
        raise InstallError(f"The suite {suite} has {first_line} and no {editor.version}; name another one in SUITES.")


def _run(command: Sequence[str], **variables: str) -> str:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"} | variables
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallError(f"`{' '.join(command)}` cannot run: {error}") from error
    if done.returncode != 0:
        raise InstallError(f"`{' '.join(command)}` failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> int:
    install_tools()
    for version in SUITES:
        sys.stdout.write(f"{install(version).program}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
