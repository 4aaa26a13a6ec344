"""What a recorded result was measured on."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """Processor and the best it can do with matrices, cores, memory, versions and commit."""
    return {
        "processor": _told("model name") or platform.processor() or "unknown",
        "instructions": _instructions(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
        "commit": _commit(),
    }


def is_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two records are of one machine, whatever the commit; an older one may tell less."""
    return all(one[name] == other[name] for name in one.keys() & other.keys() - {"commit"})


def in_words(machine: dict[str, Any], commit: str = "") -> str:
    """What `machine` has found, for the end of a sentence; at another commit or several where that is said."""
    processor = f"{machine['processor']} ({told})" if (told := machine.get("instructions")) else machine["processor"]
    return f"{processor}, {machine['cores']} cores, torch {machine['torch']}, at commit {commit or machine['commit']}"


def weights(model: Path) -> str:
    """Which weights a checkpoint folder holds: the beginning of their digest."""
    digest = hashlib.sha256()
    for path in sorted(model.glob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _instructions() -> str:
    """The widest of the extensions that torch makes use of."""
    flags = _told("flags").split()
    known = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512 with bfloat16", "avx512f": "AVX-512", "avx2": "AVX2"}
    return next((name for flag, name in known.items() if flag in flags), "")


def _told(what: str) -> str:
    """What Linux tells of the first core."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(what)), "")


def _commit() -> str:
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return "unknown"  # installed, and perhaps within somebody else's repository
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=root, check=False
        )
    except OSError:
        return "unknown"
    return found.stdout.strip() or "unknown"
