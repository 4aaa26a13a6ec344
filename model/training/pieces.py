"""A checkpoint folder in small files, to bring it back from a machine that gives back only such."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from model.engine import ModelError

PIECE = 15_000_000
"""Bytes of a piece at most."""

LIST = "pieces.json"


def split(folder: Path, pieces: Path) -> None:
    """Write every file of the folder as `NAME.000`, `NAME.001`, … and a list with their digests."""
    pieces.mkdir(parents=True, exist_ok=True)
    digests = {}
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        data = path.read_bytes()
        digests[path.name] = hashlib.sha256(data).hexdigest()
        for i in range(0, max(len(data), 1), PIECE):
            (pieces / f"{path.name}.{i // PIECE:03}").write_bytes(data[i : i + PIECE])
    (pieces / LIST).write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")


def join(pieces: Path, folder: Path) -> None:
    """Put the pieces together; raises `ModelError` when one is missing or damaged, and then writes nothing."""
    if not (pieces / LIST).is_file():
        raise ModelError(f"{pieces} has no {LIST}; name the folder that `keyturn model export --pieces` wrote.")
    files = {}
    for name, digest in json.loads((pieces / LIST).read_text(encoding="utf-8")).items():
        data = b"".join(path.read_bytes() for path in sorted(pieces.glob(f"{name}.[0-9][0-9][0-9]")))
        if hashlib.sha256(data).hexdigest() != digest:
            raise ModelError(f"The pieces of {name} in {pieces} are not what was written; bring them again.")
        files[name] = data
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
