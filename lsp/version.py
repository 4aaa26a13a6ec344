"""The version of the installed distribution."""

from __future__ import annotations


def version() -> str:
    from importlib import metadata

    try:
        return metadata.version("keyturn")
    except metadata.PackageNotFoundError:
        return "0+unknown"
