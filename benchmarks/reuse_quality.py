"""What keeping the cache through an edit does to the answers: three tasks of He et al., arXiv 2407.03157, and more.

    python benchmarks/reuse_quality.py --work FOLDER [--java FOLDER] [--javascript FOLDER] [--cases N]

Each case is a line of code of a file that the model has never seen, to be written with the rest of the file around it,
after an edit above it: lines were put in (insertion), taken out (deletion), changed in four places (edits), or a name
that the line uses was changed everywhere above (rename). The text after the edit is the real file, the text before it
is made up, so the real line is the right answer whatever the cache has seen. The cache is filled before the edit and
then used:

    full        everything is computed again
    pie         keys are turned, nothing but the edit is computed
    unturned    keys are left where they stood (the paper's Conflict Fast Encoding)
    refreshed   pie, once 25 %, 50 % or all of what is stale was computed again in idle time

Then the same after sessions of 1, 10 and 100 edits without a refresh, each followed by a request. Java and JavaScript
have the three tasks only. Exact match and edit similarity of the line, greedy; how many lines are right in one way only
(gained) and with full computation only (lost); and the divergence of the next token's distribution from that of full
computation, in nats.

Cases are shared among one process a core, each with a thread and 0.5 GB. Results go to
benchmarks/results/reuse_quality.json. The held-out packages are fetched into the work folder, each is drawn as often as
any other; Java and JavaScript are any folders of sources (docs/benchmarks.md says which ones were taken), what lies in
each counts as a package.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import multiprocessing
import os
import random
import re
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from tests.model.asking import prompted

sys.path.insert(0, str(Path(__file__).parents[1]))
from ast_tools.languages import language_for
from ast_tools.text import Edit, Text
from ast_tools.tree import SyntaxTree
from model.cache.reuse import ReusePlan
from model.checkpoint_files import name_of
from model.embedded.engine import EmbeddedEngine
from model.embedded.kv_cache import KVCache
from model.engine import Generation
from model.engine_completer import EngineCompleter
from model.factory import DEFAULT_MODEL, EngineSettings, load_embedded
from model.machine import machine, weights
from model.prompts.prompt import Prompt
from model.request import Request, ReuseMode
from model.snapshot import Snapshot
from model.training.carets import Caret
from model.training.corpus import CorpusFile, held_out_files
from model.training.evaluate import MAX_TOKENS, Score, end_of_line
from model.unfinished import begun, finish, keep

SEED = 6
CONTEXT = 2048
REACH = 100
"""Lines above the caret in which edits are made."""
SESSIONS = (1, 10, 100)
SHARES = {"pie, 25 % refreshed": 0.25, "pie, 50 % refreshed": 0.5, "pie, refreshed": 1.0}
COMMENTS = ("#", "//", "/*", "*", '"""', "'''")
RESULT = Path(__file__).with_name("results") / "reuse_quality.json"


@dataclass(frozen=True)
class Change:
    """Bytes of the real file, and what stood there before."""

    start: int
    end: int
    before: bytes


@dataclass(frozen=True)
class Case:
    """A line to be written, and what happened above it; `every_step`: with a request after each change."""

    line: Caret
    past: list[Change]
    every_step: bool = False


Answer = tuple[str, float]
"""A line, and the divergence of its first token's distribution from that of full computation."""


@dataclass
class Tally:
    """Figures of one way to answer."""

    score: Score = field(default_factory=Score)
    divergences: list[float] = field(default_factory=list)
    agreements: int = 0
    gained: int = 0
    lost: int = 0

    def add(self, answer: Answer, full: Answer, truth: str) -> None:
        written, divergence = answer
        right, full_right = (line.split() == truth.split() for line in (written, full[0]))
        self.score.carets += 1
        self.score.exact += right
        self.score.add_similarity(written, truth)
        self.divergences.append(divergence)
        self.agreements += written == full[0]
        self.gained += right and not full_right
        self.lost += full_right and not right

    def summary(self) -> dict[str, Any]:
        return {
            **self.score.summary(),
            "gained": self.gained,
            "lost": self.lost,
            "divergence": round(statistics.fmean(self.divergences), 5),
            "same_line_as_full": round(100 * self.agreements / self.score.carets, 2),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--java", type=Path)
    parser.add_argument("--javascript", type=Path)
    parser.add_argument("--cases", type=int, default=600, help="of each task in Python; a third as many of the rest")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--output", type=Path, default=RESULT)
    args = parser.parse_args()
    files = {"Python": held_out_files(args.work / "held_out")}
    for name, folder, suffix in (("Java", args.java, "java"), ("JavaScript", args.javascript, "js")):
        if folder:
            files[name] = sources(folder, suffix)
    empty: dict[str, Any] = {
        "model": name_of(args.model),
        "weights": weights(args.model),
        "context_tokens": CONTEXT,
        "cases": args.cases,
        "sources": {name: digest(texts) for name, texts in files.items()},
        "machine": machine(),
        **{name: {} for name in files},
    }
    found = begun(args.output, empty)
    with multiprocessing.get_context("spawn").Pool(args.processes, load, (args.model,)) as pool:
        for name, texts in files.items():
            for task, cases in all_tasks(texts, args.cases) if name == "Python" else tasks(texts, args.cases // 3):
                if task not in found[name]:
                    drawn = list(cases)
                    found[name][task] = table(drawn, pool.imap(loaded_answers, drawn), f"{name}, {task}")
                    keep(args.output, found)
    finish(args.output, found)


def load(model: Path) -> None:
    """The model of one of several processes that share the processor."""
    loaded.append(load_embedded(EngineSettings(model=str(model), context_tokens=CONTEXT, threads=1)))


loaded: list[EngineCompleter] = []
"""This process's one."""


def loaded_answers(case: Case) -> dict[str, Answer]:
    return Answers(loaded[0], case).all()


def sources(folder: Path, suffix: str) -> list[CorpusFile]:
    """A folder's files of one kind, of a size that people write."""
    found = []
    for path in sorted(folder.rglob(f"*.{suffix}")):
        text = path.read_bytes().decode("utf-8", errors="replace")
        if 2_000 < len(text) < 200_000 and max(map(len, text.splitlines())) < 400:
            inside = path.relative_to(folder)
            found.append(CorpusFile(inside.parts[0], str(inside), text))
    return found


def digest(files: Sequence[CorpusFile]) -> str:
    """What tells one set of sources from another: how many files, and the beginning of a hash."""
    whole = hashlib.sha256()
    for file in files:
        whole.update(f"{file.package}/{file.path}\n{file.text}".encode())
    return f"{len(files)} files, {whole.hexdigest()[:12]}"


def tasks(files: Sequence[CorpusFile], count: int) -> Iterator[tuple[str, Iterator[Case]]]:
    """The paper's three tasks and their cases."""
    for task, draw in TASKS.items():
        yield task, draw_cases(files, count, draw)


def all_tasks(files: Sequence[CorpusFile], count: int) -> Iterator[tuple[str, Iterator[Case]]]:
    """These, and a third as many renames and sessions."""
    yield from tasks(files, count)
    yield "rename", draw_cases(files, max(1, count // 3), rename)
    for length in SESSIONS:
        task = f"session of {length} edits" if length > 1 else "session of 1 edit"
        yield task, draw_cases(files, max(1, count // 3), partial(several, places=length), every_step=True)


Draw = Callable[[Caret, random.Random], "list[Change] | None"]


def draw_cases(files: Sequence[CorpusFile], count: int, draw: Draw, *, every_step: bool = False) -> Iterator[Case]:
    """`count` lines with a past, the same ones for the same files and task."""
    rng, found = random.Random(SEED), 0
    packages: dict[str, list[CorpusFile]] = defaultdict(list)
    for file in files:
        packages[file.package].append(file)
    names = sorted(packages)
    for _ in range(1000 * count):
        choice = packages[rng.choice(names)]
        line = a_line(rng.choices(choice, [len(file.text) for file in choice])[0], rng)
        past = draw(line, rng) if line else None
        if line and past:
            found += 1
            yield Case(line, past, every_step)
        if found == count:
            return
    raise SystemExit(f"Only {found} cases were found; take more files or ask for fewer.")


def a_line(file: CorpusFile, rng: random.Random) -> Caret | None:
    """A line of code with something above it."""
    data = file.text.encode()
    at = rng.randrange(len(data))
    start, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
    line = data[start : end if end >= 0 else len(data)]
    code = line.strip().decode(errors="ignore")
    if end < 0 or not 5 <= len(code) <= 120 or code.startswith(COMMENTS) or data.count(b"\n", 0, start) < 20:
        return None
    caret = Caret(file, data, start + len(line) - len(line.lstrip()), end, "line")
    return None if tree_of(file).is_in_string_or_comment(caret.offset) else caret


@lru_cache(maxsize=100)
def tree_of(file: CorpusFile) -> SyntaxTree:
    language = language_for(file.path)
    assert language is not None
    return SyntaxTree.parse(Text.from_str(file.text), language)


def table(cases: Iterable[Case], answers: Iterable[dict[str, Answer]], title: str = "") -> dict[str, Any]:
    """Figures of each way to answer."""
    tallies: dict[str, Tally] = defaultdict(Tally)
    for number, (case, found) in enumerate(zip(cases, answers, strict=True)):
        for way, answer in found.items():
            tallies[way].add(answer, found["full"], case.line.truth)
        if title and number % 50 == 0:
            sys.stderr.write(f"{title}: {number}\n")
    return {way: tally.summary() for way, tally in tallies.items()}


class UnturnedCache(KVCache):
    """Keys stay rotated to where they were encoded, and are taken for turned wherever they come to stand."""

    def splice(self, plan: ReusePlan, prompt: Prompt) -> None:
        super().splice(plan, prompt)
        self.lags[:] = 0

    def _turn(self, start: int, end: int, lag: int = 0) -> None:
        pass


class Answers:
    """One case, answered in every way from the same past."""

    def __init__(self, completer: EngineCompleter, case: Case) -> None:
        import torch

        assert isinstance(completer.engine, EmbeddedEngine)
        self._completer, self._engine = completer, completer.engine
        line = case.line
        rest = line.line_end - line.offset
        before, edits = before_edits(line.data, case.past)
        caret = line.offset + len(before) - len(line.data)
        texts = [Text(before[:caret] + before[caret + rest :])]
        for edit in edits:
            texts.append(texts[-1].apply(edit))
        self._stages = []
        for revision, text in enumerate(texts):
            # An edit above the caret moves it: all of them are.
            at = caret + len(text.data) - len(texts[0].data)
            snapshot = Snapshot("file", text, revision, tuple(edits[:revision]))
            if case.every_step or revision in (0, len(edits)):
                self._stages.append(completer.prompt(Request(snapshot, at, MAX_TOKENS)))
        self._full = torch.log_softmax(self._scores("full", "off"), dim=-1)

    def all(self) -> dict[str, Answer]:
        """Way to answer → answer. Nothing of the case stays with the engine."""
        full = self._line("full", "exact"), 0.0
        kept = self._after_past(KVCache)
        # Of a single edit both kinds of cache have seen nothing yet.
        moved = unturned(kept) if len(self._stages) == 2 else self._after_past(UnturnedCache)
        found = {"full": full, "pie": self._answer("pie", kept), "unturned": self._answer("unturned", moved)}
        stale = kept.num_stale
        for way, share in SHARES.items():
            self._engine.adopt("pie", kept)
            while kept.num_stale > stale * (1 - share):
                self._engine.refresh("pie")
            found[way] = self._answer("pie", kept)
        self._completer.forget("file")
        self._engine.forget("full")
        return found

    def _answer(self, document: str, cache: KVCache) -> Answer:
        """From what the cache holds, which the engine has only meanwhile: of others it releases the turned keys."""
        import torch

        self._engine.adopt(document, cache)
        scores = torch.log_softmax(self._scores(document, "pie"), dim=-1)
        divergence = float((self._full.exp() * (self._full - scores)).sum())
        line = self._line(document, "pie")
        self._engine.forget(document)
        return line, max(0.0, divergence)

    def _after_past(self, kind: type[KVCache]) -> KVCache:
        """The cache as the requests before the last edit have left it."""
        cache = kind(self._engine.decoder.config.cache_shape, self._engine.decoder.rotary)
        self._engine.adopt("past", cache)
        for prompt in self._stages[:-1]:
            self._engine.prefill(prompted("past", prompt, MAX_TOKENS))
        self._engine.forget("past")
        return cache

    def _request(self, document: str, reuse: ReuseMode) -> Generation:
        return prompted(document, self._stages[-1], MAX_TOKENS, reuse=reuse, stop=end_of_line)

    def _scores(self, document: str, reuse: ReuseMode) -> Any:
        hidden = self._engine.prefill(self._request(document, reuse))
        return self._engine.decoder.logits(hidden)[0]

    def _line(self, document: str, reuse: ReuseMode) -> str:
        return self._engine.complete(self._request(document, reuse)).text.rstrip()


def unturned(cache: KVCache) -> UnturnedCache:
    """A copy whose keys stay where they stand now."""
    found = copy.deepcopy(cache, {id(cache._rotary): cache._rotary})
    found.__class__ = UnturnedCache
    assert isinstance(found, UnturnedCache)
    return found


def before_edits(data: bytes, past: Sequence[Change]) -> tuple[bytes, list[Edit]]:
    """The text as it was, and the edits that made it today's, from its end to its start."""
    text, edits = data, []
    for change in sorted(past, key=lambda change: -change.start):
        text = text[: change.start] + change.before + text[change.end :]
    moved = 0
    for change in sorted(past, key=lambda change: change.start):
        start = change.start + moved
        edits.append(Edit(start, start + len(change.before), data[change.start : change.end]))
        moved += len(change.before) - (change.end - change.start)
    return text, edits[::-1]


def insertion(line: Caret, rng: random.Random) -> list[Change] | None:
    start, end = some_lines(line, rng, rng.randint(1, 8))
    return [Change(start, end, b"")]


def deletion(line: Caret, rng: random.Random) -> list[Change] | None:
    start, _ = some_lines(line, rng, 1)
    return [Change(start, start, foreign(line, rng, rng.randint(1, 8)))]


def several(line: Caret, rng: random.Random, places: int = 4) -> list[Change] | None:
    """At so many lines above the caret one was put in, one taken out, or the line written anew."""
    above = line.data.count(b"\n", 0, line.offset)
    if above < 2 * places:
        return None
    lines = line.data.splitlines(keepends=True)
    found = []
    for index in rng.sample(range(max(0, above - max(REACH, 2 * places)), above), places):
        start = sum(map(len, lines[:index]))
        old = rng.choice((b"", lines[index] + foreign(line, rng, 1), foreign(line, rng, 1)))
        found.append(Change(start, start + len(lines[index]), old))
    return found


def rename(line: Caret, rng: random.Random) -> list[Change] | None:
    """A name that the line uses had another name wherever it stands above."""
    names = [name for name in re.findall(rb"[A-Za-z_]\w{3,}", line.truth.encode()) if name not in _KEYWORDS]
    rng.shuffle(names)
    for name in names:
        places = [match.start() for match in re.finditer(rb"\b%s\b" % re.escape(name), line.data[: line.offset])]
        if 2 <= len(places) <= 30:
            other = rng.choice((b"item", b"entry", b"config", b"source", b"amount")) + b"_" + name[::-1][:4]
            return [Change(place, place + len(name), other) for place in places]
    return None


_KEYWORDS = frozenset(
    b"self return import from class else elif None True False async await with yield raise pass while continue break "
    b"except finally lambda assert this const function null true false public private static void final extends new "
    b"throw typeof instanceof boolean undefined".split()
)


def some_lines(line: Caret, rng: random.Random, count: int) -> tuple[int, int]:
    """Start and end of `count` lines above the caret's, or of fewer."""
    lines = line.data[: line.data.rfind(b"\n", 0, line.offset) + 1].splitlines(keepends=True)
    first = rng.randint(max(0, len(lines) - REACH), len(lines) - 1)
    start = sum(map(len, lines[:first]))
    return start, start + sum(map(len, lines[first : first + count]))


def foreign(line: Caret, rng: random.Random, count: int) -> bytes:
    """Lines from elsewhere in the file, without the one that is to be written."""
    lines = line.other_lines
    first = rng.randrange(max(1, len(lines) - count))
    return b"".join(lines[first : first + count])


TASKS: dict[str, Draw] = {"insertion": insertion, "deletion": deletion, "edits": several}


if __name__ == "__main__":
    main()
