"""How long one line takes with the default model: warm, after an edit above, and from nothing.

    python benchmarks/line_latency.py [MODEL] [--carets N] [--context TOKENS] --work FOLDER

Carets in files of the held-out packages (`keyturn model train --prepare` or `keyturn model evaluate` fetches them into
the work folder) that fill the context. Each is asked for the rest of its line, greedy, through `model.assistant`, as
the server asks:

    typing    the cache held the file as it was one keystroke before
    edited    then a line was put in thirty lines above the caret
    cold      nothing was cached

Times are milliseconds of `Assistant.suggest`: the server's own work around it is not in them. Results go to
benchmarks/results/line_latency.json.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from ast_tools.languages import language_for
from ast_tools.text import Edit, Text
from benchmarks.figures import record, spread
from model.assistant.assistant import Assistant
from model.factory import DEFAULT_MODEL, EngineSettings, load_embedded
from model.machine import machine
from model.request import Request
from model.snapshot import Snapshot
from model.training.carets import Caret, draw_carets
from model.training.corpus import held_out_files
from model.training.evaluate import MAX_TOKENS

LINES_ABOVE = 30
NEW_LINE = b"    # a line put in\n"
RESULT = Path(__file__).with_name("results") / "line_latency.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--carets", type=int, default=200)
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=RESULT)
    args = parser.parse_args()
    assistant = Assistant(load_embedded(EngineSettings(model=str(args.model), context_tokens=args.context)))
    files = held_out_files(args.work / "held_out")
    times: dict[str, list[float]] = {"typing": [], "edited": [], "cold": []}
    tokens: list[int] = []
    for caret in draw_carets(files, args.carets * 4):
        if len(tokens) < args.carets:
            measure(assistant, caret, args.context, times, tokens)
            sys.stderr.write(f"\r{len(tokens)} of {args.carets} carets")
    sys.stderr.write("\n")
    found = {
        "carets": len(tokens),
        "context_tokens": args.context,
        "prompt_tokens_median": statistics.median(tokens),
        "milliseconds": {name: spread(values) for name, values in times.items()},
        "machine": machine(),
    }
    record(args.output, found)


def measure(assistant: Assistant, caret: Caret, context: int, times: dict[str, list[float]], tokens: list[int]) -> None:
    """Time one caret in all three ways, if its file fills the context."""
    data, at = caret.data[: caret.offset] + caret.data[caret.line_end :], caret.offset
    begun = Edit(at - 1, at - 1, data[at - 1 : at])
    before = Snapshot(
        "file", Text(data[: at - 1] + data[at:]), path=caret.file.path, language=language_for(caret.file.path)
    )
    assistant.encode_ahead(Request(before, at - 1, MAX_TOKENS))
    typed = replace(before, text=before.text.apply(begun), revision=1, edits=(begun,))
    milliseconds, num_prompt = ask(assistant, typed, at)
    if num_prompt < context * 0.9:
        assistant.forget("file")
        return
    tokens.append(num_prompt)
    times["typing"].append(milliseconds)
    place = at
    for _ in range(LINES_ABOVE):
        place = data.rfind(b"\n", 0, max(0, place - 1)) + 1
    line = Edit(place, place, NEW_LINE)
    edited = replace(typed, text=typed.text.apply(line), revision=2, edits=(begun, line))
    times["edited"].append(ask(assistant, edited, at + len(NEW_LINE))[0])
    assistant.forget("file")
    times["cold"].append(ask(assistant, typed, at)[0])
    assistant.forget("file")


def ask(assistant: Assistant, snapshot: Snapshot, caret: int) -> tuple[float, int]:
    """Milliseconds for the rest of the line, and the prompt's tokens."""
    started = time.perf_counter()
    answer = assistant.suggest(Request(snapshot, caret, MAX_TOKENS, stop="line"))
    return (time.perf_counter() - started) * 1000, answer.completion.counts.prompt


if __name__ == "__main__":
    main()
