"""A file follows the settings of the folder that it is in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lsp.session.settings import editor_layer
from lsp.session.window_settings import WindowSettings, merge, read_files
from tests.lsp.client import Client, serving


def write(folder: Path, **settings: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in settings.items()]
    (folder / "keyturn.toml").write_text("".join(lines))
    return folder


def window(*folders: Path, editor: dict[str, Any] | None = None) -> WindowSettings:
    return merge(read_files(folders), [editor_layer(editor)])


@pytest.fixture(autouse=True)
def _nobodys_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_a_file_follows_the_innermost_folder_around_it(tmp_path: Path) -> None:
    first, second = write(tmp_path / "first", seed=1), write(tmp_path / "second", seed=2)
    inner = write(tmp_path / "second" / "inner", seed=3)
    for order in ((first, second, inner), (first, inner, second)):
        settings = window(*order)
        places = [first / "a", second / "a", inner / "x" / "a", second / "inner2" / "a", inner / ".." / "a"]
        assert [settings.at(str(place)).seed for place in places] == [1, 2, 3, 2, 2]


@pytest.mark.parametrize("path", ["/elsewhere/a.py", "Untitled-1", "", None])
def test_what_is_in_no_folder_follows_the_first_one(tmp_path: Path, path: str | None) -> None:
    assert window(write(tmp_path / "first", seed=1), write(tmp_path / "second", seed=2)).at(path).seed == 1
    assert window().at(path).seed is None


def test_the_editor_s_settings_are_over_those_of_each_folder(tmp_path: Path) -> None:
    folders = [write(tmp_path / name, seed=1, max_tokens=7) for name in ("first", "second")]
    settings = window(*folders, editor={"seed": 5})
    assert [(settings.at(str(folder / "a")).seed, settings.at(str(folder / "a")).max_tokens) for folder in folders] == [
        (5, 7)
    ] * 2


def test_patterns_of_a_folder_are_about_its_own_files(tmp_path: Path) -> None:
    first = write(tmp_path / "first", disabled_globs=["/a.py"])
    second = write(tmp_path / "second", disabled_globs=["/b.py"])
    settings = window(first, second)
    files = [folder / name for folder in (first, second) for name in ("a.py", "b.py")]
    assert [settings.why_quiet(str(file), "python") is None for file in files] == [False, True, True, False]


def test_problems_of_all_folders_are_told_once(tmp_path: Path) -> None:
    """Those of the user's own file, too, which is read for each."""
    write(tmp_path / "config" / "keyturn")
    (tmp_path / "config" / "keyturn" / "config.toml").write_text("colour = 1")
    settings = window(write(tmp_path / "first", shape=1), write(tmp_path / "second", size=1))
    assert [problem.split(" in ")[0] for problem in settings.problems] == [
        f"Unknown setting `{name}`" for name in ("colour", "shape", "size")
    ]


def test_what_a_further_folder_sets_for_the_engine_has_no_effect_and_that_is_told(tmp_path: Path) -> None:
    """What the user sets, and the first folder overrides, is nobody's mistake."""
    (write(tmp_path / "config" / "keyturn", memory_mb=128) / "keyturn.toml").rename(
        tmp_path / "config" / "keyturn" / "config.toml"
    )
    first = write(tmp_path / "first", threads=2, memory_mb=64)
    second = write(tmp_path / "second", threads=2, context_tokens=128, log_level="info", seed=1)
    found = window(first, second).problems
    assert [problem.split(" in ")[0] for problem in found] == ["`context_tokens`", "`log_level`"]
    assert all(str(second) in problem for problem in found)
    assert [problem.split(" in ")[0] for problem in window(second, first).problems] == ["`memory_mb`"]
    assert window(first, second, editor={"contextTokens": 512, "logLevel": "info"}).problems == ()


# In the running server


def folders_of(*folders: Path) -> list[dict[str, str]]:
    return [{"uri": folder.as_uri(), "name": folder.name} for folder in folders]


def initialize(client: Client, *folders: Path) -> None:
    root, workspace = folders[0].as_uri(), folders_of(*folders)
    params = {"processId": None, "rootUri": root, "capabilities": {}, "workspaceFolders": workspace}
    client.request("initialize", params)
    client.notify("initialized", {})


def change_folders(client: Client, *, added: list[Path] = [], removed: list[Path] = []) -> None:  # noqa: B006 - read only
    event = {"added": folders_of(*added), "removed": folders_of(*removed)}
    client.notify("workspace/didChangeWorkspaceFolders", {"event": event})


def suggested(client: Client, *folders: Path) -> list[bool]:
    return [bool(client.complete((folder / "main.py").as_uri(), 0, 1)) for folder in folders]


def test_folders_come_and_go_with_their_settings(tmp_path: Path) -> None:
    first, second = write(tmp_path / "first", max_tokens=1), write(tmp_path / "second", enabled=False)
    inner = write(second / "inner", enabled=True)
    everywhere = (first, second, inner)
    with serving(tmp_path) as client:
        initialize(client, first)
        for folder in everywhere:
            client.open((folder / "main.py").as_uri(), "x")
        assert suggested(client, *everywhere) == [True, True, True]
        change_folders(client, added=[second])
        assert suggested(client, *everywhere) == [True, False, False]
        change_folders(client, added=[inner])
        assert suggested(client, *everywhere) == [True, False, True]
        change_folders(client, removed=[second])
        assert suggested(client, *everywhere) == [True, True, True]
        change_folders(client, added=[second], removed=[first, inner])
        assert suggested(client, *everywhere) == [False, False, False]


def test_settings_of_a_request_are_those_of_its_folder(tmp_path: Path) -> None:
    folders = [write(tmp_path / f"{number}", max_tokens=number) for number in (1, 2)]
    script = {"default": {"text": "one_two_three_four()"}}
    with serving(tmp_path, script) as client:
        initialize(client, *folders)
        generated = []
        for folder in folders:
            uri = (folder / "main.py").as_uri()
            client.open(uri, "x")
            client.complete(uri, 0, 1)
            generated.append(client.stats(uri)["counts"]["generated"])
    assert generated == [1, 2]


def test_the_engine_is_loaded_if_any_folder_wants_suggestions(tmp_path: Path) -> None:
    first, second = write(tmp_path / "first", enabled=False), write(tmp_path / "second")
    with serving(tmp_path) as client:
        initialize(client, first, second)
        for folder in (first, second):
            client.open((folder / "main.py").as_uri(), "x")
        assert suggested(client, first, second) == [False, True]
