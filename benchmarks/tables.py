"""Writes the recorded results into the pages: each table stands between two marks and is made from one JSON file.

python benchmarks/tables.py

<!-- table: NAME -->
…
<!-- end -->
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.figures import EDITS, PLACES
from model.machine import in_words
from model.training.report import whole

RESULTS = Path(__file__).with_name("results")
DOCS = Path(__file__).parents[1] / "docs"
PAGES = ("benchmarks-appendix.md", "decisions.md", "model.md")

_MARKED = re.compile(r"(<!-- table: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(page: str) -> str:
    """The page with each table that has been recorded made anew."""

    def table(match: re.Match[str]) -> str:
        *names, made = TABLES[match[2]]
        sources = [RESULTS / f"{name}.json" for name in names]
        if not all(source.is_file() for source in sources):
            return match[0]
        found = [json.loads(source.read_text(encoding="utf-8")) for source in sources]
        return match[1] + made(*found) + "\n" + match[3]

    return _MARKED.sub(table, page)


def measured_on(found: dict[str, Any], at: str = "") -> str:
    """What a result was measured on, in a sentence; at the recorded commit unless said otherwise."""
    return f"Measured on {in_words(found['machine'], at)}."


def measured_at(found: dict[str, Any], rows: Iterable[dict[str, Any]]) -> str:
    """The same of rows of several commits."""
    peers: dict[str, list[str]] = {}
    for row in rows:
        peers.setdefault(row.get("commit", found["machine"]["commit"]), []).append(row["peer"].split(",")[0].split()[0])
    return measured_on(found, "; ".join(f"{commit} ({', '.join(_unique(names))})" for commit, names in peers.items()))


def edits_by_size(found: dict[str, Any]) -> str:
    """A line put in at 2 %, and typing at the end, to the first token: one row a peer, one column a size."""
    return _by_size(found, "ms to the first token", "first_token_ms")


def lines_by_size(found: dict[str, Any]) -> str:
    """The same to the end of a suggested line."""
    return _by_size(found, f"ms to {found['line_tokens']} tokens", "line_ms")


def edits_themselves(found: dict[str, Any]) -> str:
    """keyturn's tokens and keys laid out anew, before anything is encoded: one row an edit, one column a size."""
    return _by_edit(found, "ms for the edit itself", "edit_ms")


def edits_of_every_kind(found: dict[str, Any]) -> str:
    """keyturn's first tokens and suggestions, one row an edit, one column a size."""
    return _by_edit(found, f"ms to the first token / to {found['line_tokens']}", "first_token_ms", "line_ms")


def edits_by_kind(found: dict[str, Any]) -> str:
    """keyturn's and the best prefix caches' first tokens at 4,000 tokens: one row an edit."""
    size = 4000 if any(row["tokens"] == 4000 for row in found["rows"]) else found["rows"][0]["tokens"]
    rows = [row for row in found["rows"] if row["tokens"] == size]
    peers = [peer for peer in _unique(row["peer"] for row in rows) if len([r for r in rows if r["peer"] == peer]) > 1]
    lines = []
    for edit, place in _unique((row["edit"], row["place"]) for row in rows):
        cells = [_edit_name(edit, place)]
        for peer in peers:
            one = [row for row in rows if (row["peer"], row["edit"], row["place"]) == (peer, edit, place)]
            cells.append(_number(one[0]["first_token_ms"]["median"]) if one else "")
        lines.append(cells)
    return _table(["edit", *peers], lines) + f"\n\n{measured_at(found, rows)}"


def speed(found: dict[str, Any]) -> str:
    rows = found["rows"]
    sizes = _unique(row["tokens"] for row in rows)
    lines = []
    for engine in _unique(row["engine"] for row in rows):
        own = {row["tokens"]: row for row in rows if row["engine"] == engine}
        lines.append([engine, *(f"{own[size]['step_ms']:.2f} / {own[size]['prefill_ms']:,.0f}" for size in sizes)])
    return _table(["step / prefill, ms", *(f"{size:,}" for size in sizes)], lines) + f"\n\n{measured_on(found)}"


def typing(found: dict[str, Any]) -> str:
    rows = {
        "all": found["latency_ms"] | {"processor_seconds": found["processor_seconds"]},
        **({"all, with cancelled requests": found["latency_at_least_ms"]} if "latency_at_least_ms" in found else {}),
        **found["latency_ms_by_kind"],
        **{f"{name} (alone)": times for name, times in found.get("peers, 8 tokens each, ms", {}).items()},
    }
    lines = [
        [
            name,
            str(times["count"]),
            *(_number(times[share]) for share in ("p50", "p95", "p99")),
            _number(times["processor_seconds"]) if "processor_seconds" in times else "",
        ]
        for name, times in rows.items()
    ]
    told = measured_on(found)
    if "answered_by_the_model" in found:
        tokens = found["tokens"]
        kept, turned, encoded = (
            f"{100 * tokens[name] / tokens['prompt']:.1f} %" for name in ("kept", "turned", "encoded")
        )
        told = (
            f"{found['withdrawn']} requests were cancelled. The model answered {found['answered_by_the_model']} of the "
            f"others. Of the {tokens['prompt']:,} tokens in its prompts {kept} were kept, {turned} were turned and "
            f"{encoded} were encoded. {told}"
        )
    head = ["keystroke", "answers", "p50, ms", "p95, ms", "p99, ms", "CPU, s"]
    return _table(head, lines) + f"\n\n{told}"


def quality(found: dict[str, Any]) -> str:
    lines = []
    for language in ("Python", "Java", "JavaScript"):
        for task, table in found.get(language, {}).items():
            for way, row in table.items():
                lines.append(
                    [
                        f"{language}: {task}" if way == "full" else "",
                        way,
                        str(row["carets"]),
                        f"{row['exact_match']:.2f}",
                        "" if way == "full" else f"{row['lost']} / {row['gained']}",
                        f"{row['edit_similarity']:.2f}",
                        f"{row['divergence']:.4f}",
                        f"{row['same_line_as_full']:.1f}",
                    ]
                )
    figures = ("exact match %", "lost / gained", "edit similarity", "divergence, nats", "same line as full %")
    return _table(["task", "cache", "lines", *figures], lines) + f"\n\n{measured_on(found)}"


def footprint(found: dict[str, Any]) -> str:
    names = {
        "initialize_ms": "process start to the answer to `initialize`, ms",
        "first_suggestion_ms": "process start to the first suggestion, ms",
    }
    lines = [
        [title, *(_number(found[name][part]) for part in ("median", "min", "max"))] for name, title in names.items()
    ]
    memory = [[f"{row['context_tokens']:,}", *(_number(row[name]) for name in MEMORY)] for row in found["memory"]]
    return "\n\n".join(
        (
            _table(["", "median", "minimum", "maximum"], lines),
            _table(["context, tokens", *MEMORY.values()], memory),
            measured_on(found),
        )
    )


def soak(found: dict[str, Any]) -> str:
    settled = found["settled_after"]
    held = {
        "when ready": found["ready_mb"],
        f"after {settled} completions": found["settled_mb"],
        f"after {found['completions']:,} completions": found["last_mb"],
        f"most after {settled} completions": found["settled_mb"] + found["growth_mb"],
    }
    for number, files in enumerate(found["files"], 1):
        held[f"files open, time {number}"] = files["open_mb"]
        held[f"files closed, time {number}"] = files["closed_mb"]
    return _table(["", "MB"], [[name, _number(mb)] for name, mb in held.items()]) + f"\n\n{measured_on(found)}"


MEMORY = {
    "ready_mb": "resident when ready, MB",
    "ten_files_mb": "resident with ten files of 2,000 lines, MB",
    "caches_mb": "of that in caches, MB",
}


def editors(vscode: dict[str, Any], neovim: dict[str, Any]) -> str:
    """From the last keystroke to ghost text: one row an editor and place."""
    names = {"VS Code": vscode} | {name.capitalize(): found for name, found in neovim.items() if name.startswith("neo")}
    lines = []
    for name, found in names.items():
        for place in PLACES:
            times = found[place]["milliseconds"]
            timed = found[place]["timed"]
            lines.append(
                [f"{name}, {place}", *(_number(times[key]) for key in ("min", "median", "p90", "max")), str(timed)]
            )
    head = ["ms to ghost text", "minimum", "median", "90th percentile", "maximum", "timed"]
    commits = [found["machine"]["commit"] for found in (vscode, neovim)]
    return _table(head, lines) + f"\n\n{measured_on(vscode, f'{commits[0]} (VS Code); {commits[1]} (Neovim)')}"


def line_latency(found: dict[str, Any]) -> str:
    lines = [
        [name, *(_number(times[key]) for key in ("min", "median", "p90"))]
        for name, times in found["milliseconds"].items()
    ]
    table = _table(["ms for the rest of a line", "least", "median", "ninth decile"], lines)
    prompt = f"{found['carets']} carets, {found['prompt_tokens_median']:,.0f} tokens of prompt in the median."
    return f"{table}\n\n{prompt} {measured_on(found)}"


def manners(found: dict[str, Any]) -> str:
    """Troubles of suggestions: how many, and how many of a hundred that were shown."""
    asked = [found[files] for files in ("Python", "others")]
    lines = [
        [kind, *(cell for one in asked for cell in _trouble(one["troubles"][kind]))] for kind in asked[0]["troubles"]
    ]
    head = ["trouble", "Python", "% of those shown", "in the true text"]
    table = _table([*head, "other languages", *head[2:]], lines)
    shown = " and ".join(f"{one['shown']} of {one['carets']}" for one in asked)
    return f"{table}\n\nSomething was shown at {shown} carets. {measured_on(found)}"


def _trouble(found: dict[str, Any]) -> tuple[str, str, str]:
    return str(found["count"]), f"{found['percent_of_shown']:.1f}", str(found["in_the_true_text"])


def training_for_edits(edits: dict[str, Any], plain: dict[str, Any]) -> str:
    """What it bought: two short runs that differ in nothing else, after an edit."""
    lines = []
    for name, found in (("for edits", edits), ("not for edits", plain)):
        for way in ("exact", "pie"):
            row = found["results"][f"after an edit, {way}"]
            figures = (f"{row['exact_match']:.2f}", f"{row['edit_similarity']:.2f}", f"{row['bits_per_byte']:.4f}")
            lines.append([name, way, str(row["carets"]), *figures])
    head = ["trained", "cache after an edit", "carets", "exact match %", "edit similarity", "bits per byte"]
    return _table(head, lines) + f"\n\n{measured_on(edits)}"


TABLES: dict[str, tuple[Any, ...]] = {
    "edits by size": ("edit_latency", edits_by_size),
    "lines by size": ("edit_latency", lines_by_size),
    "edits by kind": ("edit_latency", edits_by_kind),
    "edits of every kind": ("edit_latency", edits_of_every_kind),
    "edits themselves": ("edit_latency", edits_themselves),
    "speed": ("speed", speed),
    "typing session": ("typing_session", typing),
    "quality of reuse": ("reuse_quality", quality),
    "footprint": ("footprint", footprint),
    "soak": ("soak", soak),
    "editors": ("vscode_latency", "neovim_latency", editors),
    "line latency": ("line_latency", line_latency),
    "manners": ("manners", manners),
    "model": ("model", whole),
    "as shown": ("as_shown", whole),
    "training for edits": ("ablation_edits", "ablation_plain", training_for_edits),
}
"""Name of a table → the results' files and what makes the table of them."""


def _by_size(found: dict[str, Any], title: str, figure: str) -> str:
    rows = [row for row in found["rows"] if (row["edit"], row["place"]) == ("line in", "2 %")]
    rows += [row | {"peer": f"{row['peer']}, typing at the end"} for row in found["rows"] if row["edit"] == "append"]
    sizes = _unique(row["tokens"] for row in rows)
    lines = []
    for peer in _unique(row["peer"] for row in rows):
        own = {row["tokens"]: row[figure]["median"] for row in rows if row["peer"] == peer}
        lines.append([peer, *(_number(own[size]) if size in own else "" for size in sizes)])
    return _table([title, *(f"{size:,}" for size in sizes)], lines) + f"\n\n{measured_at(found, rows)}"


def _by_edit(found: dict[str, Any], title: str, *figures: str) -> str:
    """Medians of the embedded engine with PIE, of which alone the edit itself is known."""
    rows = [row for row in found["rows"] if "edit_ms" in row and row["peer"] == "keyturn"]
    sizes = _unique(row["tokens"] for row in rows)
    lines = []
    for edit, place in _unique((row["edit"], row["place"]) for row in rows):
        own = {row["tokens"]: row for row in rows if (row["edit"], row["place"]) == (edit, place)}
        cells = [" / ".join(_number(own[n][name]["median"]) for name in figures) if n in own else "" for n in sizes]
        lines.append([_edit_name(edit, place), *cells])
    return _table([title, *(f"{size:,}" for size in sizes)], lines) + f"\n\n{measured_at(found, rows)}"


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [head, ["---", *["---:"] * (len(head) - 1)], *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _edit_name(edit: str, place: str) -> str:
    name = EDITS.get(edit, edit)
    return f"{name}, {place}" if place else name


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _unique(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def main() -> None:
    for name in PAGES:
        path = DOCS / name
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
