"""The settings in a window with several folders: a file follows those of the folder that it is in."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from lsp.session.settings import Settings, SettingsLayer, configure, standard_layers
from model.factory import EngineSettings

_OF_THE_PROCESS = (*(setting.name for setting in fields(EngineSettings)), "log_level")
"""Settings of which there is one for a window."""


@dataclass(frozen=True)
class WindowSettings:
    """Settings by folder. Those of the first folder count for the engine too, and for files outside of every folder.

    `problems` has one sentence for each value that was passed over.
    """

    first: Settings = Settings()
    folders: Mapping[Path, Settings] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def are_suggestions_wanted(self) -> bool:
        """In any folder."""
        return self.first.enabled or any(settings.enabled for settings in self.folders.values())

    def at(self, path: str | None) -> Settings:
        """Those that a file follows: of the innermost folder around it."""
        file = Path(os.path.normpath(path or ""))
        around = [folder for folder in self.folders if file.is_relative_to(folder)]
        return self.folders[max(around, key=lambda folder: len(folder.parts))] if around else self.first

    def why_quiet(self, path: str | None, language_id: str | None) -> str | None:
        """Why nothing is suggested in a file, in a sentence; None where it is."""
        return self.at(path).why_quiet(path, language_id, self.folders)


Files = Mapping[Path | None, tuple[list[SettingsLayer], list[str]]]
"""What the settings' files of each folder say, and what is wrong with them. Without a folder the key is None."""


def read_files(folders: Iterable[Path]) -> Files:
    """The files of a window's folders, the first of them first."""
    return {folder: standard_layers(folder) for folder in folders} or {None: standard_layers(None)}


def merge(files: Files, editor: Iterable[SettingsLayer]) -> WindowSettings:
    """The editor's layers over those of each folder's files."""
    found = {folder: configure([*layers, *editor], problems) for folder, (layers, problems) in files.items()}
    problems = [problem for configuration in found.values() for problem in configuration.problems]
    first = next(iter(found.values())).settings
    for folder, configuration in found.items():
        problems += _without_effect(files[folder][0], configuration.settings, first)
    folders = {folder: configuration.settings for folder, configuration in found.items() if folder is not None}
    return WindowSettings(first, folders, tuple(dict.fromkeys(problems)))


def _without_effect(layers: Iterable[SettingsLayer], wanted: Settings, first: Settings) -> Iterator[str]:
    """A sentence for each setting of a project that would count if the project was the first folder."""
    for layer in layers:
        for name in _OF_THE_PROCESS if layer.is_project else ():
            if name in layer.values and getattr(wanted, name) != getattr(first, name):
                yield f"`{name}` in {layer.origin} has no effect: it counts in the first folder of a window only."
