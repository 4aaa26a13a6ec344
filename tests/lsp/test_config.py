"""Layers of settings, and the one sentence about each bad value."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from lsp.session.settings import (
    Settings,
    SettingsLayer,
    configure,
    editor_layer,
    environment_layer,
    find_project_root,
    standard_layers,
)


def test_every_setting_says_what_it_is_for() -> None:
    assert all(setting.metadata["doc"].endswith(".") for setting in fields(Settings))


def test_the_later_layer_wins() -> None:
    named = {"a": {"max_tokens": 1, "seed": 1}, "b": {"max_tokens": 2}, "c": {}}
    layers = [SettingsLayer(origin, values) for origin, values in named.items()]
    configuration = configure(layers)
    assert (configuration.settings.max_tokens, configuration.settings.seed) == (2, 1)
    assert configuration.origins == ("a", "b")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"max_tokens": "many"}, "`max_tokens` in x must be a whole number from 1 to 1024, not 'many'; it is ignored."),
        ({"max_tokens": True}, "`max_tokens` in x must be a whole number from 1 to 1024, not True; it is ignored."),
        ({"max_tokens": 0}, "`max_tokens` in x must be a whole number from 1 to 1024, not 0; it is ignored."),
        ({"temperature": float("nan")}, "`temperature` in x must be a number from 0 to 2, not nan; it is ignored."),
        (
            {"max_tokens": float("inf")},
            "`max_tokens` in x must be a whole number from 1 to 1024, not inf; it is ignored.",
        ),
        ({"reuse": ["pie"]}, '`reuse` in x must be one of "pie", "exact", "off", not [\'pie\']; it is ignored.'),
        ({"enabled": "yes"}, "`enabled` in x must be true or false, not 'yes'; it is ignored."),
        ({"disabled_globs": "*.py"}, "`disabled_globs` in x must be a list of strings, not '*.py'; it is ignored."),
        ({"model": 5}, "`model` in x must be a string, not 5; it is ignored."),
        ({"colour": "red"}, "Unknown setting `colour` in x is ignored."),
    ],
)
def test_a_bad_value_is_named_and_its_default_used(values: dict[str, Any], expected: str) -> None:
    configuration = configure([SettingsLayer("x", values)])
    assert configuration.problems == (expected,)
    assert configuration.settings == Settings()


@pytest.mark.parametrize(
    "name", ["engine", "model", "script", "url", "api_key", "command", "commands", "log_file", "secret_files"]
)
def test_a_project_may_not_choose_what_is_loaded_or_where_code_goes(tmp_path: Path, name: str) -> None:
    (tmp_path / "keyturn.toml").write_text(f'{name} = "evil"\nmax_tokens = 9\n')
    (tmp_path / "pyproject.toml").write_text(f'[tool.keyturn]\n{name} = "evil"\n')
    layers, problems = standard_layers(tmp_path, environment={})
    configuration = configure(layers, problems)
    assert configuration.settings == Settings(max_tokens=9)
    assert [problem.split(" in ")[0] for problem in configuration.problems] == [f"`{name}` is ignored"] * 2


def test_a_project_takes_places_away_and_adds_none(tmp_path: Path) -> None:
    """What the user excludes stays so in whatever was cloned; who uses the editor has the last word."""
    (tmp_path / "keyturn.toml").write_text('enabled = true\ndisabled_globs = ["*.sql"]\ndisabled_languages = []\n')
    users = SettingsLayer("x", {"enabled": False, "disabled_globs": ["*.env"], "disabled_languages": ["text"]})
    layers, _ = standard_layers(tmp_path, environment={})
    found = configure([users, *layers]).settings
    assert not found.enabled
    assert (found.disabled_globs, found.disabled_languages) == (("*.sql", "*.env"), ("text",))
    found = configure([users, *layers, editor_layer({"enabled": True, "disabledGlobs": []})]).settings
    assert found.enabled and found.disabled_globs == ()


def test_a_project_cannot_take_back_what_the_user_excludes(tmp_path: Path) -> None:
    """The user can take back what the project excludes."""
    (tmp_path / "keyturn.toml").write_text('disabled_globs = ["!a.sql", "!deep/", "*.js", "*.ts"]\n')
    users = SettingsLayer("x", {"disabled_globs": ["*.sql", "deep/", "!a.js"]})
    found = configure([users, *standard_layers(tmp_path, environment={})[0]]).settings
    names = ["a.sql", "deep/a.py", "a.ts", "a.js", "a.py"]
    assert [name for name in names if not found.why_quiet(str(tmp_path / name), None, [tmp_path])] == ["a.js", "a.py"]


def test_a_pattern_that_can_match_nothing_is_named_and_the_others_count() -> None:
    patterns = ["*.sql", "../x", "*.{pem,key"]
    configuration = configure([SettingsLayer("x", {"disabled_globs": patterns})])
    assert configuration.problems == (
        "`disabled_globs` in x: no file fits the pattern '../x'.",
        "`disabled_globs` in x: no file fits the pattern '*.{pem,key'.",
    )
    assert configuration.settings.why_quiet("/p/a.sql", None, ())


def test_the_environment_is_text() -> None:
    variables = {
        "KEYTURN_ENABLED": "no",
        "KEYTURN_MAX_TOKENS": "7",
        "KEYTURN_TEMPERATURE": "0.5",
        "KEYTURN_DISABLED_GLOBS": "*.env, secret/*, *.{pem,key}, {a,b}/",
        "KEYTURN_SECRET_FILES": "1",
        "KEYTURN_SEED": "",
        "KEYTURN_THREADS": "two",
        "HOME": "/",
    }
    configuration = configure([environment_layer(variables)])
    globs = ("*.env", "secret/*", "*.{pem,key}", "{a,b}/")
    expected = Settings(enabled=False, max_tokens=7, temperature=0.5, disabled_globs=globs, secret_files=True)
    assert configuration.settings == expected
    assert len(configuration.problems) == 1


@pytest.mark.parametrize(
    "raw",
    [
        {"keyturn": {"maxTokens": 5, "disabledGlobs": ["*.x"]}},
        {"maxTokens": 5, "disabledGlobs": ["*.x"], "seed": None, "trace": {"server": "verbose"}},
        {"max_tokens": 5.0, "disabled_globs": ["*.x"], "server.path": "/usr/bin/keyturn"},
    ],
)
def test_the_editors_settings_come_in_either_spelling(raw: object) -> None:
    configuration = configure([editor_layer(raw)])
    assert configuration.settings == Settings(max_tokens=5, disabled_globs=("*.x",))
    assert configuration.problems == ()


@pytest.mark.parametrize("raw", [None, 5, "text", [], {"keyturn": None}])
def test_an_editor_without_settings_changes_nothing(raw: object) -> None:
    assert configure([editor_layer(raw)]).settings == Settings()


@pytest.mark.parametrize("content", [b"max_tokens = ", b"\xff\xfe", b"x" * 2_000_000, b"a = " + b"[" * 100_000])
def test_a_broken_file_is_named_and_passed_over(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "keyturn.toml").write_bytes(content)
    layers, problems = standard_layers(tmp_path, environment={})
    assert configure(layers, problems).settings == Settings()
    assert len(problems) == 1
    assert str(tmp_path / "keyturn.toml") in problems[0]


def test_a_broken_pyproject_that_does_not_speak_of_keyturn_is_left_to_others(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project\n")
    assert standard_layers(tmp_path, environment={})[1] == []


def test_the_projects_root_is_the_nearest_folder_with_settings(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "a" / "pyproject.toml").write_text("[tool.other]\n")
    assert find_project_root(inner) is None
    (tmp_path / "pyproject.toml").write_text("[tool.keyturn]\nseed = 1\n")
    assert find_project_root(inner) == tmp_path


@pytest.mark.parametrize(
    ("settings", "path", "language", "reason"),
    [
        (Settings(), "/p/a.py", "python", None),
        (Settings(enabled=False), "/p/a.py", "python", "in the settings."),
        (Settings(disabled_languages=("python",)), "/p/a.py", "python", "in this language (`disabled_languages`)."),
        (Settings(disabled_globs=("*.sql",)), "/p/x/a.sql", "sql", "in this file (`disabled_globs`)."),
        (Settings(disabled_globs=("secret/*",)), "/r/secret/a.py", "python", "in this file (`disabled_globs`)."),
        (Settings(disabled_globs=("secret/*",)), "/q/secret/a.py", "python", None),
        (Settings(disabled_globs=("*",)), None, "python", None),
        (Settings(), "/p/.env", "plaintext", "`secret_files = true` in your own settings allows it."),
        (Settings(), None, "git-commit", "`secret_files = true` in your own settings allows it."),
        (Settings(secret_files=True), "/p/.env", "dotenv", None),
    ],
)
def test_why_nothing_is_suggested(settings: Settings, path: str | None, language: str, reason: str | None) -> None:
    found = settings.why_quiet(path, language, [Path("/p"), Path("/r")])
    assert found is None if reason is None else found is not None and found.endswith(reason)


def test_names_from_a_project_cannot_speak_to_the_terminal() -> None:
    (problem,) = configure([SettingsLayer("x", {"bad\nname\x1b[31m" + "a" * 999: 1})]).problems
    assert problem.isprintable()
    assert len(problem) < 120


def test_many_bad_settings_are_not_many_messages() -> None:
    problems = configure([SettingsLayer("x", {f"name{number}": 1 for number in range(1000)})]).problems
    assert len(problems) == 9
    assert problems[-1] == "x: 992 more settings are ignored."


def test_a_folder_whose_settings_are_broken_is_the_projects_root(tmp_path: Path) -> None:
    (tmp_path / "keyturn.toml").write_text("reuse = = 1")
    (tmp_path / "package").mkdir()
    assert find_project_root(tmp_path / "package") == tmp_path


def test_a_byte_order_mark_is_no_part_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "keyturn.toml").write_text("\ufeffmax_tokens = 3", encoding="utf-8")
    layers, problems = standard_layers(tmp_path, {})
    assert not problems
    assert configure(layers).settings.max_tokens == 3
