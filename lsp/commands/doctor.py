"""`keyturn doctor`: what is installed, which engine and model, does it answer, how fast."""

from __future__ import annotations

import json
import platform
import sys
import time
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Any

from lsp import __version__
from lsp.commands.exits import DONE, ENGINE_FAILED
from lsp.commands.headless import configuration_for, current_folder, load, write_line
from lsp.session.settings import Configuration, Settings, user_config_file
from model.factory import model_folder
from model.request import Request
from model.snapshot import Snapshot

_PACKAGES = ("torch", "tokenizers", "tree-sitter", "pygls", "lsprotocol")
_PROBE = "def add(first, second):\n    return "


@dataclass
class Report:
    """What was found. `error` is set when the engine does not answer."""

    versions: dict[str, str]
    settings: dict[str, Any]
    model: dict[str, Any]
    speed: dict[str, float] = field(default_factory=dict)
    answer: str | None = None
    error: str | None = None


def run(*, as_json: bool) -> int:
    report = examine(configuration_for(current_folder()))
    write_line(json.dumps(vars(report), ensure_ascii=False, indent=2) if as_json else _readable(report))
    return DONE if report.error is None else ENGINE_FAILED


def examine(configuration: Configuration) -> Report:
    """Look at everything, and have the engine answer once."""
    settings = configuration.settings
    report = Report(
        versions={"keyturn": __version__, "python": platform.python_version()} | _versions(),
        settings={
            "user_file": str(user_config_file()),
            "read": list(configuration.origins),
            "problems": list(configuration.problems),
        },
        model=_describe_model(settings),
    )
    try:
        _try_engine(settings, report)
    except Exception as error:
        report.error = str(error) or type(error).__name__
    return report


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _describe_model(settings: Settings) -> dict[str, Any]:
    if settings.engine == "scripted":
        return {"engine": "scripted", "folder": settings.script, "kind": "script"}
    if settings.engine == "vllm":
        from model.vllm.asking.address import Address

        return {"engine": "vllm", "url": settings.url and str(Address(settings.url))}
    folder = model_folder(settings.model)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = str(config.get("model_type", "unknown"))
    except (OSError, ValueError, AttributeError):
        kind = "no readable config.json"
    return {"engine": settings.engine, "folder": str(folder), "kind": kind}


def _try_engine(settings: Settings, report: Report) -> None:
    from ast_tools.text import Text

    started = time.perf_counter()
    completer = load(replace(settings, fallback=False)).completer  # nothing shall stand in for a server here
    loaded = time.perf_counter()
    snapshot = Snapshot("doctor:probe.py", Text.from_str(_PROBE), path="probe.py")
    request = Request(snapshot, len(snapshot.text), max_tokens=16)
    # The first call pays for what a process does once; the second one is what an editor sees.
    completer.complete(request)
    completion = completer.complete(replace(request, reuse="off"))
    found = completer.describe()
    report.model |= {"name": found.model, "context_tokens": found.context_tokens, "layout": found.layout}
    report.model |= found.details
    report.answer = completion.text.split("\n")[0]
    timings, counts = completion.timings_ms, completion.counts
    report.speed = {
        "load_seconds": round(loaded - started, 2),
        "first_token_ms": round(timings.first_token, 1),
        "prefill_ms_per_token": round(timings.encode / max(counts.encoded, 1), 3),
        "decode_ms_per_token": round(timings.decode / max(counts.generated, 1), 3),
        "total_ms": round(timings.total, 1),
    }
    if settings.engine == "vllm":  # from here it cannot be told what the server spends on what
        del report.speed["prefill_ms_per_token"]


def _readable(report: Report) -> str:
    rows: list[tuple[str, object]] = [*report.versions.items()]
    rows.append(("system", f"{platform.system()} {platform.machine()}, {sys.executable}"))
    rows += report.model.items()
    rows.append(("settings from", ", ".join(report.settings["read"]) or "defaults only"))
    rows.append(("your settings file", report.settings["user_file"]))
    rows += [("problem", problem) for problem in report.settings["problems"]]
    rows += report.speed.items()
    if report.error is None:
        rows.append(("answer", f"{_PROBE.splitlines()[-1].strip()} → {report.answer!r}"))
    else:
        rows.append(("error", f"The engine does not answer: {report.error}"))
    return "\n".join(f"{name.replace('_', ' '):<24}{value}" for name, value in rows)
