"""How much typing a model saves in packages it has never seen, asked as an editor asks it.

Every figure comes from the embedded engine through `model.assistant`: tokens, window, prompt and cache are an editor's,
greedy. Rows without "as shown" are of the model itself: what it writes up to the line's end. "as shown" is the
first line of what an editor would show: generation ends by the stop rule of the place, and what the file has already is
taken away. Two more of these rows are of the lines whose caret is behind their indentation: asked for there, and at
column 0 of a line that is still blank, where the indentation must be right, too.

    exact match         the whole rest of the line is right, white space at its end aside
    edit similarity     0 to 100, difflib's ratio of what was written to what stands there
    characters saved    someone types the rest of the line and accepts a suggestion when it is right to the line's end:
                        the share of characters that they need not type, the accepting key counted as one
    bits per byte       of what stands there
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ast_tools.languages import language_for
from ast_tools.text import Text
from model.assistant.assistant import Assistant
from model.engine_completer import EngineCompleter
from model.errors import ModelError
from model.factory import EngineSettings, load_embedded
from model.machine import machine, weights
from model.request import Request, ReuseMode
from model.snapshot import Snapshot
from model.training.baselines import NGrams, copy_line
from model.training.carets import KINDS, SEED, Caret, draw_carets, edit_before
from model.training.corpus import CorpusFile
from model.training.shards import TokenFiles
from model.training.tokenizer import load_tokenizer
from model.training.train import TRAINED
from model.unfinished import begun, finish, keep, recorded

BUDGETS = (512, 2048, 4096)
"""Tokens of prompt and completion together."""

MAIN = 2048
MAX_TOKENS = 48
MAX_WRONG = 12
"""Wrong suggestions shown while one line is typed, at most; the rest of the line counts as typed."""

Report = Callable[[str, int, int], None]
"""Told what is measured, how many carets are done, of how many."""


@dataclass
class Score:
    """Sums over carets; `summary` makes the figures. `by_kind` holds scores of its parts, where they are kept."""

    carets: int = 0
    exact: int = 0
    similarity: float = 0.0
    chars: int = 0
    saved: int = 0
    saves: bool = False
    nats: float = 0.0
    num_bytes: int = 0
    stale: int = 0
    by_kind: dict[str, Score] = field(default_factory=dict)

    def add(self, caret: Caret, written: str) -> None:
        truth = caret.truth
        self.carets += 1
        self.exact += written.rstrip() == truth
        self.add_similarity(written, truth)

    def add_similarity(self, written: str, truth: str) -> None:
        self.similarity += 100 * difflib.SequenceMatcher(None, written.rstrip(), truth, autojunk=False).ratio()

    def add_probability(self, caret: Caret, logprobs: Sequence[float]) -> None:
        self.nats -= sum(logprobs)
        self.num_bytes += len(caret.truth.encode())

    def add_saved(self, caret: Caret, ask: Callable[[str], str]) -> None:
        """Type the rest of the line; `ask` answers what is suggested once so much of it has been typed."""
        self.saves = True
        self.chars += len(caret.truth)
        self.saved += chars_saved(caret.truth, ask)

    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "carets": self.carets,
            "exact_match": round(100 * self.exact / self.carets, 2),
            "edit_similarity": round(self.similarity / self.carets, 2),
        }
        if self.saves:
            found["characters_saved"] = round(100 * self.saved / self.chars, 2)
        if self.num_bytes:
            found["bits_per_byte"] = round(self.nats / math.log(2) / self.num_bytes, 4)
        if self.stale:
            found["stale_tokens"] = round(self.stale / self.carets, 1)
        return found


def chars_saved(truth: str, ask: Callable[[str], str]) -> int:
    """Characters of a line that need not be typed.

    A wrong suggestion stays for as long as what is typed agrees with it, as in the editor; then the next is asked for.
    """
    typed = num_wrong = 0
    while num_wrong < MAX_WRONG and len(truth) - typed > 1:  # the accepting key is a character, too
        suggestion = ask(truth[:typed]).rstrip()
        if suggestion == truth[typed:]:
            return len(truth) - typed - 1
        num_wrong += bool(suggestion)
        agreeing = next(
            (i for i, (a, b) in enumerate(zip(suggestion, truth[typed:], strict=False)) if a != b),
            min(len(suggestion), len(truth) - typed),
        )
        typed += agreeing + 1
    return 0


class Evaluation:
    """One model on one set of carets."""

    def __init__(self, model: Path, carets: Sequence[Caret], report: Report) -> None:
        loaded = load_embedded(EngineSettings(model=str(model), context_tokens=max(BUDGETS)))
        self._completers = {
            budget: EngineCompleter(
                loaded.engine, loaded.tokenizer, loaded.layout, model_name=loaded.model_name, context_tokens=budget
            )
            for budget in BUDGETS
        }
        self._assistant = Assistant(self._completers[MAIN])
        self.model_name = loaded.model_name
        self._carets, self._report = carets, report

    def with_context(self, budget: int) -> Score:
        """The whole file around each caret, as much of it as the budget holds; typed and by kind with `MAIN`."""
        score, completer = Score(), self._completers[budget]
        for caret in self._each(f"{budget} tokens of context"):
            request = _request(caret, reuse="exact")
            written = _line(completer, request)
            logprobs = completer.score(replace(request, max_tokens=1), caret.truth.encode())
            kept = [score]
            if budget == MAIN:
                kept.append(score.by_kind.setdefault(caret.kind, Score()))
            for each in kept:
                each.add(caret, written)
                each.add_probability(caret, logprobs)
            if budget == MAIN:
                score.add_saved(caret, partial(self._typed, completer, caret, written))
            completer.forget("file")
        return score

    def as_shown(self) -> Score:
        """What an editor shows, with `MAIN` tokens of context."""
        score = Score()
        for caret in self._each("as shown"):
            written = self._shown(caret, "")
            score.add(caret, written)
            score.add_saved(caret, partial(self._shown_after, caret, written))
            self._assistant.forget("file")
        return score

    @property
    def indented(self) -> list[Caret]:
        """The carets behind the indentation of their lines."""
        return [caret for caret in self._carets if caret.is_behind_indentation]

    def behind_indentation(self) -> Score:
        """What an editor shows at the carets that are there."""
        return self._lines_shown(self.indented, "behind the indentation, as shown")

    def at_column_0(self) -> Score:
        """What an editor shows for the same lines on a line without indentation: right with the right one only."""
        return self._lines_shown([caret.at_column_0() for caret in self.indented], "at column 0, as shown")

    def _lines_shown(self, carets: Sequence[Caret], what: str) -> Score:
        score = Score()
        for caret in self._each(what, carets):
            score.add(caret, self._shown(caret, ""))
            self._assistant.forget("file")
        return score

    def without_suffix(self) -> Score:
        """Nothing behind the caret, as at a file's end."""
        score, completer = Score(), self._completers[MAIN]
        for caret in self._each("no text after the caret"):
            snapshot = Snapshot("file", Text(caret.data[: caret.offset]))
            score.add(caret, _line(completer, Request(snapshot, caret.offset, MAX_TOKENS, reuse="exact")))
            completer.forget("file")
        return score

    def after_edit(self, reuse: ReuseMode) -> Score:
        """The cache was filled before an edit above the caret; its kind and place are drawn by a fixed seed."""
        score, completer, rng = Score(), self._completers[MAIN], random.Random(SEED)
        for caret in self._each(f"after an edit, {reuse}"):
            past = edit_before(caret, rng)
            rest = caret.line_end - caret.offset
            before = past.data[: past.caret] + past.data[past.caret + rest :]
            completer.encode_ahead(Request(Snapshot("file", Text(before), 0), past.caret, MAX_TOKENS, reuse=reuse))
            data = past.edit.apply_to(before)
            request = Request(Snapshot("file", Text(data), 1, (past.edit,)), caret.offset, MAX_TOKENS, reuse=reuse)
            completion = completer.complete(request, end_of_line)
            score.add(caret, completion.text)
            score.add_probability(caret, completer.score(request, caret.truth.encode()))
            score.stale += completion.counts.stale
            completer.forget("file")
        return score

    def _shown(self, caret: Caret, typed: str) -> str:
        """The first line of what an editor shows once `typed` has been typed at the caret."""
        answer = self._assistant.suggest(_request(caret, typed, reuse="exact"))
        return answer.items[0].text.partition("\n")[0] if answer.items else ""

    def _shown_after(self, caret: Caret, first: str, typed: str) -> str:
        return self._shown(caret, typed) if typed else first

    def _typed(self, completer: EngineCompleter, caret: Caret, first: str, typed: str) -> str:
        """What is suggested once `typed` has been typed at the caret; `first` is what was suggested before that."""
        return _line(completer, _request(caret, typed, reuse="exact")) if typed else first

    def _each(self, what: str, carets: Sequence[Caret] | None = None) -> Iterator[Caret]:
        carets = self._carets if carets is None else carets
        for i, caret in enumerate(carets):
            self._report(what, i, len(carets))
            yield caret


def evaluate(
    model: Path,
    held_out: Sequence[CorpusFile],
    num_carets: int,
    output: Path,
    *,
    corpus: TokenFiles | None = None,
    only: str = "",
    report: Report = lambda what, done, total: None,
) -> dict[str, Any]:
    """All figures, or those with `only` in their name; the n-gram baseline only with a `corpus`, tokenised by the
    model's own tokenizer.

    They are written to the file `output`, too; a call that was stopped in it is gone on with by the next on the same
    weights, carets, machine and commit. Figures that stand there and are not measured now stay, with their commit.
    Raises `ModelError` when these are of other weights, carets or another machine.
    """
    carets = draw_carets(held_out, num_carets)
    evaluation = Evaluation(model, carets, report)
    found: dict[str, Any] = {
        "model": evaluation.model_name,
        "weights": weights(model),
        "trained": _trained(model),
        "carets": len(carets),
        "seed": SEED,
        "places": _digest(carets),
        "packages": sorted({caret.file.package for caret in carets}),
        "results": {},
        "by_kind": {},
        "machine": machine(),
    }
    modes: tuple[ReuseMode, ...] = ("exact", "pie")
    of_lines = {
        "behind the indentation, as shown": evaluation.behind_indentation,
        "at column 0, as shown": evaluation.at_column_0,
    }
    conditions: dict[str, Callable[[], Score]] = {
        **{f"context {budget}": partial(evaluation.with_context, budget) for budget in BUDGETS},
        "as shown": evaluation.as_shown,
        **(of_lines if evaluation.indented else {}),
        "no suffix": evaluation.without_suffix,
        **{f"after an edit, {reuse}": partial(evaluation.after_edit, reuse) for reuse in modes},
        "copy of the most similar line": partial(_baseline, carets, copy_line),
    }
    if corpus is not None:
        conditions["6-gram model of the corpus"] = partial(_ngrams, model, carets, corpus, report)
    chosen = [name for name in conditions if only in name]
    if not chosen:
        raise ModelError(f"Nothing that is measured has '{only}' in its name: {', '.join(conditions)}.")
    earlier = _others(output, found, chosen) if only else {}
    found = begun(output, found)
    for name in chosen:
        if name in found["results"]:
            continue
        score = conditions[name]()
        found["results"][name] = score.summary()
        found["by_kind"] |= {kind: score.by_kind[kind].summary() for kind in KINDS if kind in score.by_kind}
        keep(output, found)
    results = earlier.get("results", {}) | found["results"]
    found["results"] = {name: results[name] for name in [*conditions, *results] if name in results}
    found["by_kind"] = earlier.get("by_kind", {}) | found["by_kind"]
    finish(output, found)
    return found


def _digest(carets: Sequence[Caret]) -> str:
    """What tells carets and the edits before them from others: the beginning of a hash."""
    whole, rng = hashlib.sha256(), random.Random(SEED)
    for caret in carets:
        past = edit_before(caret, rng)
        whole.update(f"{caret.file.path}:{caret.offset}:{past.edit.start}:{len(past.data)}\n".encode() + past.edit.new)
    return whole.hexdigest()[:16]


def _trained(model: Path) -> dict[str, Any]:
    """What the weights have seen, as far as their folder tells."""
    path = model / TRAINED
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def _others(output: Path, found: dict[str, Any], chosen: Sequence[str]) -> dict[str, Any]:
    """The recorded results that are not to be measured now, each with its commit."""
    if not output.is_file():
        return {}
    old = recorded(output, found, ("weights", "carets", "seed", "places"))
    commit = old["machine"]["commit"]
    kept = {name: {"commit": commit, **row} for name, row in old["results"].items() if name not in chosen}
    return {"results": kept, "by_kind": old["by_kind"]}


def _ngrams(model: Path, carets: Sequence[Caret], corpus: TokenFiles, report: Report) -> Score:
    report("counting n-grams", 0, 1)
    return _baseline(carets, NGrams.count(corpus, load_tokenizer(model)).complete_line)


def _baseline(carets: Sequence[Caret], complete: Callable[[bytes], str]) -> Score:
    score = Score()
    for caret in carets:
        before = caret.data[: caret.offset]
        score.add(caret, complete(before))
        score.add_saved(caret, partial(_after, complete, before))
    return score


def _after(complete: Callable[[bytes], str], before: bytes, typed: str) -> str:
    return complete(before + typed.encode())


def _request(caret: Caret, typed: str = "", *, reuse: ReuseMode) -> Request:
    """What an editor asks when the rest of the caret's line is not written yet, but for what was typed of it."""
    begun = caret.data[: caret.offset] + typed.encode()
    path = caret.file.path
    text = Text(begun + caret.data[caret.line_end :])
    return Request(Snapshot("file", text, path=path, language=language_for(path)), len(begun), MAX_TOKENS, reuse=reuse)


def _line(completer: EngineCompleter, request: Request) -> str:
    """What the model writes up to the line's end."""
    return completer.complete(request, end_of_line).text


def end_of_line(text: str) -> int | None:
    """The stop rule of one line."""
    found = [at for at in (text.find("\n"), text.find("\r")) if at >= 0]
    return min(found) if found else None
