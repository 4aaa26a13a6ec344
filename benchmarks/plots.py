"""Draws recorded results into docs/.

    python benchmarks/plots.py [NAME…]

Names are those of the pictures (edit-latency, edit-kinds, reuse-quality, speed, soak, typing-session, vllm-edits), by
default all.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.figures import EDITS

RESULTS = Path(__file__).with_name("results")
DOCS = Path(__file__).parents[1] / "docs"
OWN, OTHER, WRONG = "#2a6f97", "#b0b0b0", "#c8553d"
"""keyturn; what it is compared with; what is known to fail."""


def edit_latency(found: dict[str, Any]) -> Figure:
    """First token after a line is inserted at 2 %, by size; both axes logarithmic."""
    figure, axes = plt.subplots(figsize=(9, 4.5), constrained_layout=True)
    axes.set_prop_cycle(color=plt.colormaps["tab20"](range(20)))
    rows = [row for row in found["rows"] if (row["edit"], row["place"]) == ("line in", "2 %")]
    _draw_by_size(axes, [(row["peer"], row["tokens"], row["first_token_ms"]["median"]) for row in rows])
    axes.set_xlabel("tokens of the file")
    axes.set_ylabel("milliseconds to the first token")
    axes.set_title("A line is inserted at the top of the file")
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


def edit_kinds(found: dict[str, Any]) -> Figure:
    """keyturn's first token by size, one panel a place, one line a kind of edit, typing in each."""
    rows = [row for row in found["rows"] if row["peer"] == "keyturn" and "edit_ms" in row]
    places = [place for place in dict.fromkeys(row["place"] for row in rows) if place]
    kinds = list(dict.fromkeys(row["edit"] for row in rows))
    figure, panels = plt.subplots(1, len(places), figsize=(9, 3.6), sharey=True, constrained_layout=True, squeeze=False)
    for panel, place in zip(panels[0], places, strict=True):
        for kind in kinds:
            own = [row for row in rows if row["edit"] == kind and row["place"] in ("", place)]
            points = [(row["tokens"], row["first_token_ms"]["median"]) for row in own]
            style = "--" if own[0]["place"] == "" else "-"
            panel.loglog(*zip(*points, strict=True), style, marker="o", markersize=3, label=EDITS.get(kind, kind))
        panel.set_title(place)
        panel.set_xlabel("tokens of the file")
        _name_sizes(panel, {row["tokens"] for row in rows})
    panels[0][0].set_ylabel("milliseconds to the first token")
    panels[0][-1].legend(fontsize="small", loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


def reuse_quality(found: dict[str, Any]) -> Figure:
    """Lines that are right, and the next token's divergence, by task: full computation, PIE, keys not turned."""
    languages = [name for name in ("Python", "Java", "JavaScript") if name in found]
    tasks = [(language, task) for language in languages for task in found[language]]
    figure, (right, far) = plt.subplots(1, 2, figsize=(9, 5), sharey=True, constrained_layout=True)
    for number, (way, colour) in enumerate((("full", OTHER), ("pie", OWN), ("unturned", WRONG))):
        own = [found[language][task][way] for language, task in tasks]
        heights = [place + (number - 1) * 0.27 for place in range(len(tasks))]
        right.barh(heights, [row["exact_match"] for row in own], height=0.25, color=colour, label=way)
        if way != "full":
            far.barh(heights, [row["divergence"] for row in own], height=0.25, color=colour)
    right.set_yticks(range(len(tasks)), [f"{language}: {task}" for language, task in tasks])
    right.invert_yaxis()
    right.set_xlabel("lines predicted exactly, %")
    far.set_xscale("log")
    far.set_xlabel("divergence from full computation, nats")
    figure.legend(loc="outside upper center", ncols=3, fontsize="small")
    return figure


def speed(found: dict[str, Any]) -> Figure:
    """A decoding step and a prefill, by context."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), constrained_layout=True)
    for panel, value, what in zip(panels, ("step_ms", "prefill_ms"), ("one step", "prefill"), strict=True):
        _draw_by_size(panel, [(row["engine"], row["tokens"], row[value]) for row in found["rows"]])
        panel.set_xlabel("tokens of context")
        panel.set_ylabel(f"{what}, ms")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize="small")
    return figure


def soak(found: dict[str, Any]) -> Figure:
    """Memory by completions in one file, then with other files open and closed."""
    figure, axes = plt.subplots(figsize=(9, 3.6), constrained_layout=True)
    at, held = zip(*found["held_mb"], strict=True)
    axes.plot(at, held, color=OWN, label="one file is worked on")
    spot = found["completions"]
    for number, files in enumerate(found["files"]):
        spot += found["completions"] // 20
        axes.bar(spot, files["open_mb"], found["completions"] / 25, color=OTHER, label="_" * number + "files open")
        axes.bar(spot, files["closed_mb"], found["completions"] / 25, color=OWN, label="_" * number + "and closed")
    axes.axhspan(found["settled_mb"], found["settled_mb"] + 20, color=OWN, alpha=0.15, label="20 MB, the target")
    axes.set_ylim(0)
    axes.set_xlabel("completions")
    axes.set_ylabel("megabytes of the process")
    axes.legend(fontsize="small", loc="lower left")
    return figure


def typing_session(found: dict[str, Any]) -> Figure:
    """Half, 95 and 99 of a hundred answers: through the server, and of each engine alone."""
    rows = {"keyturn's server": found["latency_ms"], **found.get("peers, 8 tokens each, ms", {})}
    names = [name if number == 0 else f"{name} (alone)" for number, name in enumerate(rows)]
    figure, axes = plt.subplots(figsize=(9, 0.6 + 0.45 * len(rows)), constrained_layout=True)
    for number, (share, colour) in enumerate((("p50", OWN), ("p95", "#89b6d1"), ("p99", OTHER))):
        heights = [place + (number - 1) * 0.27 for place in range(len(rows))]
        bars = axes.barh(heights, [row[share] for row in rows.values()], height=0.25, color=colour, label=share)
        axes.bar_label(bars, fmt="%.0f", fontsize=7, padding=2)
    axes.set_yticks(range(len(rows)), names)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_xlabel("milliseconds to the answer")
    figure.legend(loc="outside upper center", ncols=3, fontsize="small")
    return figure


def vllm_edits(found: dict[str, Any]) -> Figure:
    """First-token times by document length, one pair of bars for each edit."""
    edits = list(dict.fromkeys(row["edit"] for row in found["edits"]))
    figure, panels = plt.subplots(1, len(edits), figsize=(9, 3), sharey=True, constrained_layout=True)
    for panel, edit in zip(panels, edits, strict=True):
        rows = [row for row in found["edits"] if row["edit"] == edit]
        for offset, (way, colour) in enumerate((("stock", OTHER), ("plugin", OWN))):
            medians = [row[f"{way}_ms"]["median"] for row in rows]
            places = [number + (offset - 0.5) * 0.38 for number in range(len(rows))]
            bars = panel.bar(places, medians, width=0.36, color=colour, label=way)
            panel.bar_label(bars, fmt="%.0f", fontsize=8)
        panel.set_xticks(range(len(rows)), [f"{row['tokens']:,}" for row in rows])
        panel.margins(y=0.12)
        panel.set_title(edit)
        panel.set_xlabel("tokens of the document")
    panels[0].set_ylabel("edit to first token, ms")
    panels[0].legend()
    return figure


PLOTS: dict[str, tuple[str, Callable[[dict[str, Any]], Figure]]] = {
    "edit-latency": ("edit_latency", edit_latency),
    "edit-kinds": ("edit_latency", edit_kinds),
    "reuse-quality": ("reuse_quality", reuse_quality),
    "speed": ("speed", speed),
    "soak": ("soak", soak),
    "typing-session": ("typing_session", typing_session),
    "vllm-edits": ("vllm_edits", vllm_edits),
}
"""Name of a picture → the result's file and what draws it."""


def _draw_by_size(axes: Axes, measured: Sequence[tuple[str, int, float]]) -> None:
    """One line a name, keyturn's thick, of (name, tokens, milliseconds)."""
    for name in dict.fromkeys(name for name, *_ in measured):
        points = [point for one, *point in measured if one == name]
        axes.loglog(*zip(*points, strict=True), marker="o", label=name, linewidth=3 if name == "keyturn" else 1)
    _name_sizes(axes, {size for _, size, _ in measured})


def _name_sizes(axes: Axes, sizes: set[int]) -> None:
    """Grid and ticks of both logarithmic axes: the sizes that were measured, and 1, 2, 5, 10 … milliseconds."""
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.minorticks_off()
    ordered = sorted(sizes)
    axes.set_xticks(ordered, [f"{size:,}" if size < 1000 else f"{size // 1000}k" for size in ordered])
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PLOTS))
    parser.add_argument("--folder", type=Path, default=DOCS, help="where to draw")
    args = parser.parse_args()
    if unknown := set(args.names) - PLOTS.keys():
        raise SystemExit(f"There is no picture {', '.join(sorted(unknown))}; there are {', '.join(PLOTS)}.")
    mpl.use("Agg")
    for name in args.names or PLOTS:
        result, draw = PLOTS[name]
        found = json.loads((RESULTS / f"{result}.json").read_text(encoding="utf-8"))
        figure = draw(found)
        figure.savefig(args.folder / f"{name}.png", dpi=120, metadata={"Software": None})
        plt.close(figure)


if __name__ == "__main__":
    main()
