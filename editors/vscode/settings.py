"""Writes the extension's settings into package.json, from the server's own.

python editors/vscode/settings.py
"""

from __future__ import annotations

import json
import sys
import types
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

sys.path.insert(0, str(Path(__file__).parents[2]))
from lsp.session.settings import Settings

PACKAGE = Path(__file__).with_name("package.json")

CLIENT = {
    "keyturn.command": {
        "type": "array",
        "items": {"type": "string"},
        "default": [],
        "scope": "machine",
        "markdownDescription": "The command that starts the server, as a list of words, without `serve`: "
        '`["/home/you/.keyturn/bin/keyturn"]`. Empty: `keyturn` on the PATH, else in `~/.keyturn`, else the Python '
        "interpreter that you have chosen.",
    },
    "keyturn.trace.server": {
        "type": "string",
        "enum": ["messages", "verbose"],
        "default": "messages",
        "scope": "window",
        "markdownDescription": "What of the talk with the server is logged, once the output *keyturn* has the log "
        "level *Trace* (command *Developer: Set Log Level*).",
    },
}
"""Settings that the server does not see."""

_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}


def properties() -> dict[str, Any]:
    """`contributes.configuration.properties`: what is loaded or run is set by the machine, never by a workspace."""
    hints = get_type_hints(Settings)
    found = dict(CLIENT)
    for setting in fields(Settings):
        if setting.metadata["is_secret"]:  # the extension keeps it in secret storage
            continue
        default = list(setting.default) if isinstance(setting.default, tuple) else setting.default
        found[f"keyturn.{camel_case(setting.name)}"] = {
            **_schema(hints[setting.name]),
            **_limits(setting.metadata),
            "default": default,
            "scope": "window" if setting.metadata["in_projects"] else "machine",
            "markdownDescription": setting.metadata["doc"],
        }
    return found


def camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _schema(kind: Any) -> dict[str, Any]:
    if get_origin(kind) is Literal:
        return {"type": "string", "enum": list(get_args(kind))}
    if get_origin(kind) is tuple:
        return {"type": "array", "items": {"type": "string"}}
    if get_origin(kind) in (Union, types.UnionType):
        [some] = [part for part in get_args(kind) if part is not type(None)]
        return {"type": [_TYPES[some], "null"]}
    return {"type": _TYPES[kind]}


def _limits(metadata: Any) -> dict[str, Any]:
    names = {"at_least": "minimum", "at_most": "maximum"}
    return {names[key]: metadata[key] for key in names if metadata[key] is not None}


def updated() -> str:
    """package.json as it should be."""
    package = json.loads(PACKAGE.read_text(encoding="utf-8"))
    package["contributes"]["configuration"]["properties"] = properties()
    return json.dumps(package, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PACKAGE.write_text(updated(), encoding="utf-8")
