"""Settings: what they are, where they come from, and what is said about a bad one.

Later layers win: the defaults, the user's `config.toml`, the project's `[tool.keyturn]` or `keyturn.toml`, `KEYTURN_…`
variables, the editor's `keyturn.*` settings, the command line. A value that does not fit is reported and the layer
below counts. A project's own file may not say where code is sent, or what is loaded, run or read: a cloned repository
must not be able to read its reader's code, nor their secrets.
"""

from __future__ import annotations

import os
import re
import tomllib
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from lsp.session.globs import compiled, unfit
from lsp.session.secret_files import may_hold_secrets, refusal
from model.factory import EngineSettings
from model.request import Request, ReuseMode, Sampling, Stop
from model.snapshot import Snapshot

ENVIRONMENT_PREFIX = "KEYTURN_"

CLIENT_ONLY = frozenset({"trace", "server", "path", "command", "commands"})
"""Names under `keyturn.` that editors keep for themselves; the server passes over them in silence."""

REFUSED_IN_PROJECTS = frozenset({"command", "commands"})
"""Not settings of the server; named here so that a project that tries them hears why they do nothing."""

_BETWEEN_ITEMS = re.compile(r",(?![^{}]*\})")
"""Commas outside of braces."""

_STOPS: dict[str, Stop] = {"auto": "auto", "never": "line", "always": "block"}
_MAX_FILE_BYTES = 1024 * 1024
_MAX_PROBLEMS = 8


def _setting(
    default: Any,
    doc: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    in_projects: bool = True,
    is_secret: bool = False,
) -> Any:
    metadata = {
        "doc": doc,
        "at_least": at_least,
        "at_most": at_most,
        "in_projects": in_projects,
        "is_secret": is_secret,
    }
    return field(default=default, repr=not is_secret, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """Every setting, its default and its meaning. `metadata["doc"]` of each field is the user's documentation."""

    enabled: bool = _setting(True, "Whether suggestions are made at all.")
    engine: Literal["embedded", "vllm", "scripted"] = _setting(
        "embedded",
        "What runs the model: torch in this process, a server, or a script for trials and tests.",
        in_projects=False,
    )
    model: str | None = _setting(
        None,
        "Folder of a Hugging Face checkpoint (safetensors); with a server, the name of one of its models. Unset: the "
        "model that comes with keyturn, or the server's first.",
        in_projects=False,
    )
    url: str | None = _setting(
        None, "Address of the server: vLLM, or another one with OpenAI's completions API.", in_projects=False
    )
    api_key: str | None = _setting(None, "Key that the server asks for.", in_projects=False, is_secret=True)
    ca_file: str | None = _setting(
        None, "File of the certificate authorities to trust instead of the usual ones.", in_projects=False
    )
    tokenizer: str | None = _setting(
        None,
        "Folder with the tokenizer.json of the server's model. Unset: asked of the server, or found on this machine.",
        in_projects=False,
    )
    fallback: bool = _setting(True, "Whether the model that comes with keyturn stands in while the server is away.")
    server_timeout_seconds: float = _setting(
        10.0,
        "Seconds within which the server must begin its answer, or else the embedded model answers. Raise it for a "
        "server that is slow, such as one without a GPU.",
        at_least=1,
        at_most=600,
    )
    script: str | None = _setting(None, "JSON file that the scripted engine answers from.", in_projects=False)
    reuse: ReuseMode = _setting(
        "pie",
        "What of a file's cache survives an edit: `pie` everything, `exact` what stands before it, `off` nothing.",
    )
    multiline: Literal["auto", "never", "always"] = _setting(
        "auto", "Whether a suggestion may have several lines; `auto`: where a block begins."
    )
    max_tokens: int = _setting(64, "Longest suggestion, in tokens.", at_least=1, at_most=1024)
    temperature: float = _setting(0.0, "0 takes the likeliest token; higher is more varied.", at_least=0, at_most=2)
    seed: int | None = _setting(None, "Makes sampling repeatable.", at_least=0, at_most=2**63 - 1)
    context_tokens: int = _setting(
        2048, "Tokens of the file that the model sees around the caret.", at_least=64, at_most=131072
    )
    memory_mb: int = _setting(
        256,
        "Megabytes for the caches of all open files. The whole process takes some 350 MB and the model's weights more.",
        at_least=16,
        at_most=65536,
    )
    threads: int | None = _setting(
        None, "Processor threads for the model. Unset: one a core, at most 8.", at_least=1, at_most=256
    )
    dtype: Literal["auto", "float32", "bfloat16"] = _setting(
        "auto",
        "Number format of weights and cache. With auto: the cache bfloat16, "
        "weights as the processor multiplies them best, in 8 or 16 bits where that is faster.",
    )
    idle_refresh: bool = _setting(True, "Whether stale parts of a cache are encoded again while nobody types.")
    debounce_ms: int = _setting(
        0, "Wait so long before the model is asked, so that fast typing asks it less often.", at_least=0, at_most=2000
    )
    disabled_languages: tuple[str, ...] = _setting((), "Languages (as the editor names them) without suggestions.")
    disabled_globs: tuple[str, ...] = _setting(
        (), "Files without suggestions, as patterns like those of `.gitignore`, also with `{a,b}` and `~/`."
    )
    secret_files: bool = _setting(
        False,
        "Whether files that may hold secrets are read, too: `.env`, keys, credentials, commit messages and the like.",
        in_projects=False,
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting("warning", "How much is logged.")
    log_file: str | None = _setting(None, "File to log to instead of standard error.", in_projects=False)

    def for_engine(self) -> EngineSettings:
        return EngineSettings(
            engine=self.engine,
            model=self.model,
            context_tokens=self.context_tokens,
            memory_mb=self.memory_mb,
            threads=self.threads,
            dtype=self.dtype,
            script=self.script,
            url=self.url,
            api_key=self.api_key,
            ca_file=self.ca_file,
            tokenizer=self.tokenizer,
            fallback=self.fallback,
            server_timeout_seconds=self.server_timeout_seconds,
        )

    def request(self, snapshot: Snapshot, caret: int, *, num_items: int = 1) -> Request:
        """What is asked of the model for a caret under these settings."""
        return Request(
            snapshot,
            caret,
            max_tokens=self.max_tokens,
            stop=_STOPS[self.multiline],
            num_items=num_items,
            sampling=Sampling(temperature=self.temperature, seed=self.seed),
            reuse=self.reuse,
        )

    def why_quiet(self, path: str | None, language_id: str | None, folders: Iterable[Path]) -> str | None:
        """Why nothing is suggested in a file, in a sentence; None where it is. `folders` are those of the project."""
        if not self.enabled:
            return "Suggestions are switched off in the settings."
        if language_id in self.disabled_languages:
            return "Suggestions are switched off in this language (`disabled_languages`)."
        if path is not None and self.disabled_globs and compiled(self.disabled_globs).fit(path, folders):
            return "Suggestions are switched off in this file (`disabled_globs`)."
        if not self.secret_files and may_hold_secrets(path, language_id):
            return refusal(path)
        return None


@dataclass(frozen=True)
class SettingsLayer:
    """Settings as one source names them, not checked yet. `origin` is how messages call the source."""

    origin: str
    values: Mapping[str, Any]
    is_project: bool = False
    is_text: bool = False


@dataclass(frozen=True)
class Configuration:
    """The outcome of all layers: settings, and one sentence for each value that was passed over."""

    settings: Settings = Settings()
    problems: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()


def configure(layers: Iterable[SettingsLayer], problems: Iterable[str] = ()) -> Configuration:
    """Merge layers, later ones over earlier ones."""
    settings = Settings()
    found = list(problems)
    origins = []
    for layer in layers:
        settings, bad = _apply(settings, layer)
        found += bad[:_MAX_PROBLEMS]
        if len(bad) > _MAX_PROBLEMS:
            found.append(f"{layer.origin}: {len(bad) - _MAX_PROBLEMS} more settings are ignored.")
        if layer.values:
            origins.append(layer.origin)
    return Configuration(settings, tuple(dict.fromkeys(found)), tuple(origins))


def standard_layers(
    root: Path | None, environment: Mapping[str, str] | None = None
) -> tuple[list[SettingsLayer], list[str]]:
    """The layers outside of the editor, lowest first, and what was wrong with their files."""
    layers: list[SettingsLayer] = []
    problems: list[str] = []
    user = _file_layer(user_config_file(), problems)
    layers += [user] if user else []
    if root is not None:
        layers += _project_layers(root, problems)
    layers.append(environment_layer(os.environ if environment is None else environment))
    return layers, problems


def user_config_file() -> Path:
    import platformdirs

    return Path(platformdirs.user_config_dir("keyturn", appauthor=False)) / "config.toml"


def find_project_root(start: Path) -> Path | None:
    """The nearest folder upwards whose files hold settings for keyturn, good or bad, else None."""
    for folder in (start, *start.parents):
        problems: list[str] = []
        if _project_layers(folder, problems) or problems:
            return folder
    return None


def environment_layer(environment: Mapping[str, str]) -> SettingsLayer:
    values = {
        name.removeprefix(ENVIRONMENT_PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(ENVIRONMENT_PREFIX)
    }
    return SettingsLayer("the environment", values, is_text=True)


def editor_layer(raw: object) -> SettingsLayer:
    """The editor's settings: `{"keyturn": {…}}` or the inside of it, snake_case or camelCase, null for unset.

    Without a section of ours a table is another server's section: some clients send every server all they have.
    """
    section = raw.get("keyturn") if isinstance(raw, Mapping) else None
    is_ours = isinstance(section, Mapping)
    section = section if is_ours else raw
    values: dict[str, Any] = {}
    for name, value in section.items() if isinstance(section, Mapping) else ():
        snake = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", str(name)).lower()
        is_others = isinstance(value, Mapping) and not is_ours
        if value is not None and not is_others and snake.split(".")[0] not in CLIENT_ONLY:
            values[snake] = value
    return SettingsLayer("the editor's settings", values)


def is_of_others(raw: object) -> bool:
    """Whether settings that an editor sent are other servers' sections, and nothing of ours."""
    return (
        isinstance(raw, Mapping)
        and bool(raw)
        and "keyturn" not in raw
        and all(isinstance(value, Mapping) and name not in CLIENT_ONLY for name, value in raw.items())
    )


def _project_layers(root: Path, problems: list[str]) -> list[SettingsLayer]:
    pyproject = _file_layer(root / "pyproject.toml", problems, table=("tool", "keyturn"), is_project=True)
    own = _file_layer(root / "keyturn.toml", problems, is_project=True)
    return [layer for layer in (pyproject, own) if layer is not None]


def _file_layer(
    path: Path, problems: list[str], table: tuple[str, ...] = (), *, is_project: bool = False
) -> SettingsLayer | None:
    """One TOML file's settings; None when it is absent or has none. What is wrong with it is added to `problems`."""
    try:
        if not path.is_file():
            return None
        if path.stat().st_size > _MAX_FILE_BYTES:
            problems.append(f"{path} is too large to be a settings file; it is not read.")
            return None
        values: Any = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        # A broken pyproject.toml is another tool's business to report, unless it speaks of keyturn.
        if not table or b"[tool.keyturn]" in _bytes_of(path):
            problems.append(f"{path} cannot be read and is passed over: {str(error) or type(error).__name__}.")
        return None
    for name in table:
        values = values.get(name) if isinstance(values, Mapping) else None
        if values is None:
            return None
    if not isinstance(values, Mapping):
        problems.append(f"{path}: [{'.'.join(table)}] must be a table.")
        return None
    return SettingsLayer(str(path), values, is_project=is_project)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _apply(settings: Settings, layer: SettingsLayer) -> tuple[Settings, list[str]]:
    """The settings with a layer's good values, and a sentence for each bad one."""
    known = {f.name: f for f in fields(Settings)}
    problems = []
    for name, value in layer.values.items():
        setting = known.get(name)
        if layer.is_project and (name in REFUSED_IN_PROJECTS or (setting and not setting.metadata["in_projects"])):
            problems.append(
                f"`{name}` is ignored in {layer.origin}: a project may not choose what is loaded, run or read, or "
                "where code is sent; set it in your own settings."
            )
            continue
        if setting is None:
            problems.append(f"Unknown setting `{_plain(name)}` in {layer.origin} is ignored.")
            continue
        try:
            checked = _check(_hint(name), value, setting.metadata, from_text=layer.is_text)
        except ValueError as error:
            shown = "what it is" if setting.metadata["is_secret"] else _shown(value)
            problems.append(f"`{name}` in {layer.origin} must be {error}, not {shown}; it is ignored.")
            continue
        if name == "disabled_globs":
            problems += [
                f"`{name}` in {layer.origin}: no file fits the pattern {_shown(bad)}." for bad in unfit(checked)
            ]
        if layer.is_project and name in _NARROWED:
            checked = _narrowed(getattr(settings, name), checked)
        settings = replace(settings, **{name: checked})
    return settings, problems


def _narrowed(users: Any, projects: Any) -> Any:
    """What a project makes of a setting that says where suggestions are wanted: fewer places, never more.

    The user's patterns come last: then those that take others back can take back the project's, not the other way.
    """
    return users and projects if isinstance(users, bool) else (*projects, *users)


_NARROWED = ("enabled", "disabled_languages", "disabled_globs")


def misfit(name: str, value: object) -> str | None:
    """What the setting must be, if the value is something else."""
    limits = next(f.metadata for f in fields(Settings) if f.name == name)
    try:
        _check(_hint(name), value, limits, from_text=False)
    except ValueError as error:
        return str(error)
    return None


@cache
def _hints() -> dict[str, Any]:
    return get_type_hints(Settings)


def _hint(name: str) -> Any:
    return _hints()[name]


def _check(hint: Any, value: Any, limits: Mapping[str, Any], *, from_text: bool) -> Any:
    """The value as the setting's type, or a `ValueError` that says what it must be."""
    if get_origin(hint) in (Union, types.UnionType):
        if from_text and value == "":
            return None
        (hint,) = (arg for arg in get_args(hint) if arg is not type(None))
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ValueError("one of " + ", ".join(f'"{choice}"' for choice in get_args(hint)))
        return value
    if get_origin(hint) is tuple:
        items = [item.strip() for item in _BETWEEN_ITEMS.split(value) if item.strip()] if from_text else value
        if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
            raise ValueError("a list of strings")
        return tuple(items)
    if hint is bool:
        return _check_bool(value, from_text=from_text)
    if hint is str:
        if not isinstance(value, str) or not value:
            raise ValueError("a string")
        return value
    return _check_number(hint, value, limits, from_text=from_text)


def _check_bool(value: Any, *, from_text: bool) -> bool:
    if from_text and value.lower() in ("1", "true", "yes", "on", "0", "false", "no", "off"):
        return value.lower() in ("1", "true", "yes", "on")
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _check_number(hint: Any, value: Any, limits: Mapping[str, Any], *, from_text: bool) -> Any:
    low, high = limits["at_least"], limits["at_most"]
    wanted = f"{'a whole number' if hint is int else 'a number'} from {low} to {high}"
    if from_text:
        try:
            value = hint(value)
        except ValueError:
            raise ValueError(wanted) from None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high or (hint is int and value != int(value)):
        raise ValueError(wanted)
    return hint(value)


def _plain(name: str) -> str:
    """A name from somebody's file, fit for a terminal: no control characters, not too long."""
    return _shown(name)[1:-1]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
