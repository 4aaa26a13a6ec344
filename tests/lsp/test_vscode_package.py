"""The VS Code extension's package names the server's settings, all of them, as they are."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import fields
from pathlib import Path
from types import ModuleType

from lsp import __version__
from lsp.session.settings import Settings

EXTENSION = Path(__file__).parents[2] / "editors" / "vscode"


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("vscode_settings", EXTENSION / "settings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_settings_are_those_of_the_server() -> None:
    """Run `python editors/vscode/settings.py` where this fails."""
    assert (EXTENSION / "package.json").read_text(encoding="utf-8") == generator().updated()


def test_a_workspace_cannot_say_what_is_run_or_loaded() -> None:
    properties = json.loads((EXTENSION / "package.json").read_text())["contributes"]["configuration"]["properties"]
    machine = {name for name, schema in properties.items() if schema["scope"] == "machine"}
    refused = {setting.name for setting in fields(Settings) if not setting.metadata["in_projects"]}
    refused -= {"api_key"}  # in secret storage
    assert machine == {"keyturn.command", *(f"keyturn.{generator().camel_case(name)}" for name in refused)}


def test_a_workspace_that_is_not_trusted_cannot_undo_what_the_user_excludes() -> None:
    capabilities = json.loads((EXTENSION / "package.json").read_text())["capabilities"]
    restricted = capabilities["untrustedWorkspaces"]["restrictedConfigurations"]
    excluding = {"enabled", *(setting.name for setting in fields(Settings) if setting.name.startswith("disabled_"))}
    assert set(restricted) == {f"keyturn.{generator().camel_case(name)}" for name in excluding}


def test_the_extension_has_the_server_s_version_and_licence() -> None:
    package = json.loads((EXTENSION / "package.json").read_text())
    assert package["version"] == __version__
    assert (EXTENSION / "LICENSE").read_bytes() == (EXTENSION.parents[1] / "LICENSE").read_bytes()
