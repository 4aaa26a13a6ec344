"""The figures of `model.training.evaluate` as tables: for the model card and docs/model.md."""

from __future__ import annotations

from typing import Any

from model.machine import in_words

_COLUMNS = {
    "exact_match": "exact match %",
    "edit_similarity": "edit similarity",
    "characters_saved": "characters saved %",
    "bits_per_byte": "bits per byte",
}


def results_table(result: dict[str, Any]) -> str:
    """One row a condition and baseline."""
    return _table("", result["results"])


def kinds_table(result: dict[str, Any]) -> str:
    """One row a kind of caret, with 2,048 tokens of context."""
    return _table("caret", result["by_kind"], with_count=True)


def described(result: dict[str, Any]) -> str:
    """What the figures are of, in a sentence or two; some rows may be of another commit."""
    here = result["machine"]["commit"]
    others: dict[str, list[str]] = {}
    for name, row in result["results"].items():
        if (commit := row.get("commit", here)) != here:
            others.setdefault(commit, []).append(name)
    told = "".join(f"; at {commit}: {', '.join(names)}" for commit, names in others.items())
    return (
        f"{result['carets']:,} carets (seed {result['seed']}) in lines of code of {', '.join(result['packages'])}, "
        f"with `keyturn model evaluate`, on {in_words(result['machine'])}{told}."
    )


def whole(result: dict[str, Any]) -> str:
    """What the figures are of, and the tables that it has."""
    tables = [results_table(result), *([kinds_table(result)] if result["by_kind"] else [])]
    return "\n\n".join((described(result), *tables))


def _table(first: str, rows: dict[str, dict[str, Any]], *, with_count: bool = False) -> str:
    columns = {key: title for key, title in _COLUMNS.items() if any(key in row for row in rows.values())}
    if with_count:
        columns = {"carets": "carets", **columns}
    lines = [f"| {first} | {' | '.join(columns.values())} |", "|---|" + "---:|" * len(columns)]
    for name, row in rows.items():
        cells = [_cell(row.get(key)) for key in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.2f}"
