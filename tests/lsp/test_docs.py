"""The pages say what the code does."""

from __future__ import annotations

import json
import re
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from benchmarks import tables, vllm_edits
from lsp.cli import _parser
from lsp.session.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def row(setting: Field[Any]) -> str:
    """A setting's line in docs/settings.md."""
    default = setting.default
    shown = "" if default in (None, ()) else f"`{json.dumps(default)}`"
    hint = get_type_hints(Settings)[setting.name]
    choices = [f"`{choice}`" for choice in get_args(hint) if isinstance(choice, str)]
    doc = setting.metadata["doc"] + (f" One of {', '.join(choices)}." if choices else "")
    place = "" if setting.metadata["in_projects"] else "no"
    return f"| `{setting.name}` | {shown} | {doc} | {place} |"


@pytest.mark.parametrize("setting", fields(Settings), ids=lambda setting: setting.name)
def test_every_setting_has_its_line(setting: Field[Any]) -> None:
    assert row(setting) in (ROOT / "docs" / "settings.md").read_text().splitlines()


def test_no_line_is_about_a_setting_that_is_gone() -> None:
    named = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE)
    assert named == [setting.name for setting in fields(Settings)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_figures_for_vllm_are_the_recorded_ones() -> None:
    table = vllm_edits.table(json.loads(vllm_edits.RESULT.read_text()))
    assert table in (ROOT / "docs" / "vllm.md").read_text()


@pytest.mark.parametrize("page", tables.PAGES)
def test_the_tables_are_the_recorded_ones(page: str) -> None:
    """`python benchmarks/tables.py` writes them."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert tables.filled(text) == text


def test_the_sizes_for_vllm_are_worked_out_right() -> None:
    page = (ROOT / "docs" / "vllm.md").read_text()
    rows = re.findall(r"^\| [\w. -]+ \| (\d+), (\d+), (\d+) \| ([\d,]+) \| (\d+) \|$", page, re.MULTILINE)
    assert len(rows) == 6
    for layers, heads, size, shown, documents in rows:
        num_bytes = 2 * int(layers) * int(heads) * int(size) * 2
        assert shown == f"{num_bytes:,}"
        assert int(documents) == 16 * 10**9 // (num_bytes * 8192)


def test_every_command_of_the_page_exists() -> None:
    page = (ROOT / "docs" / "command-line.md").read_text()
    named = set(re.findall(r"^    keyturn (\w+)", page, re.MULTILINE))
    help_text = _parser([]).format_help()
    assert named
    assert all(re.search(rf"^\s+{name}\b", help_text, re.MULTILINE) for name in named)
