"""How well suggestions fit into the file: closers that are there twice, loops, code that does not parse, and so on.

    python benchmarks/manners.py [MODEL] [--python N] [--samples N] [--show [KIND…]]

Asks at seeded carets in Python's standard library, and in `benchmarks/samples` in other languages, with the server's
default settings, and counts what is wrong with what a user would see. What really stood there is no trouble. `--show`
prints each suggestion that has such a trouble within its surroundings. The carets are in `manners_carets.py`, the kinds
of trouble in `manners_measures.py`.

The same measures of the text that really stood there are recorded beside them: so often they are wrong.

Results go to benchmarks/results/manners.json.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from ast_tools.languages import language_for
from ast_tools.text import Text
from benchmarks.figures import record
from benchmarks.manners_carets import in_samples, in_standard_library
from benchmarks.manners_measures import MEASURES, Place
from lsp.session.settings import Settings
from model.assistant.assistant import Assistant
from model.factory import DEFAULT_MODEL, EngineSettings, load_assistant
from model.machine import machine, weights
from model.snapshot import Snapshot

RESULT = Path(__file__).with_name("results") / "manners.json"
LINES_AROUND = 5


@dataclass(frozen=True)
class Answer:
    """What was shown at a place, "" for nothing, and its troubles: kind → cause."""

    place: Place
    shown: str
    troubles: dict[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--python", type=int, default=200, help="carets in the standard library")
    parser.add_argument("--samples", type=int, default=100, help="carets in files of other languages")
    parser.add_argument("--show", nargs="*", choices=MEASURES, metavar="KIND", help="print troubles, of these kinds")
    parser.add_argument("--output", type=Path, default=RESULT)
    args = parser.parse_args()
    assistant = load_assistant(EngineSettings(model=str(args.model)))
    found: dict[str, Any] = {"weights": weights(args.model)}
    for name, places in {"Python": in_standard_library(args.python), "others": in_samples(args.samples)}.items():
        answers = [ask(assistant, place, f"{name}: {i + 1} of {len(places)}") for i, place in enumerate(places)]
        if args.show is not None:
            show(answers, args.show or list(MEASURES))
        found[name] = summary(answers)
    record(args.output, found | {"machine": machine()})


def ask(assistant: Assistant, place: Place, progress: str = "") -> Answer:
    """What a user sees at the place, and what is wrong with it."""
    sys.stderr.write(f"\r{progress}\033[K")
    snapshot = Snapshot(
        "file", Text.from_str(place.before + place.after), path=place.name, language=language_for(place.name)
    )
    items = assistant.suggest(Settings().request(snapshot, len(place.before.encode()))).items
    assistant.forget("file")
    shown = items[0].text if items else ""
    is_right = place.taken.startswith(shown.rstrip())
    return Answer(place, shown, {} if is_right else troubles(place, shown))


def troubles(place: Place, shown: str) -> dict[str, str]:
    """Kind → cause of all that is wrong with what is shown."""
    if not shown.strip():
        return {}
    causes = {kind: measure(place, shown) for kind, measure in MEASURES.items()}
    return {kind: cause for kind, cause in causes.items() if cause}


def summary(answers: Sequence[Answer]) -> dict[str, Any]:
    """How often something is shown, and of that how often it is in trouble, in percent."""
    shown = [answer for answer in answers if answer.shown]
    counts = Counter(kind for answer in shown for kind in answer.troubles)
    truths = Counter(kind for answer in answers for kind in troubles(answer.place, _true_text(answer.place)))
    causes = Counter(answer.troubles["unparsable"] for answer in shown if "unparsable" in answer.troubles)
    return {
        "carets": len(answers),
        "shown": len(shown),
        "troubles": {
            kind: {
                "count": counts[kind],
                "percent_of_shown": round(100 * counts[kind] / max(1, len(shown)), 1),
                "in_the_true_text": truths[kind],
            }
            for kind in MEASURES
        },
        "unparsable_by_cause": dict(causes.most_common()),
        "shown_by_kind": _shares(answers, lambda answer: answer.place.kind),
        "shown_by_language": _shares(answers, lambda answer: answer.place.name.rpartition(".")[2]),
    }


def _true_text(place: Place) -> str:
    """What really stood there; of all to the file's end only the line's rest."""
    return (place.taken if place.after else place.taken.partition("\n")[0]).rstrip()


def _shares(answers: Sequence[Answer], key: Any) -> dict[str, str]:
    return {
        name: f"{sum(key(a) == name and a.shown != '' for a in answers)} of {count}"
        for name, count in sorted(Counter(map(key, answers)).items())
    }


def show(answers: Sequence[Answer], kinds: Sequence[str]) -> None:
    """Print each suggestion that has a trouble of these kinds, between ⟦ and ⟧ in its surroundings."""
    for kind in kinds:
        for answer in (answer for answer in answers if kind in answer.troubles):
            place = answer.place
            above = "\n".join(place.before.split("\n")[-LINES_AROUND - 1 :])
            below = "\n".join(place.after.split("\n")[: LINES_AROUND + 1])
            line = place.before.count("\n") + 1
            sys.stdout.write(f"━━ {kind}: {answer.troubles[kind]} ━━ {place.kind}, {place.name}:{line}\n")
            sys.stdout.write(f"{above}⟦{answer.shown}⟧{below}\n\n")


if __name__ == "__main__":
    main()
