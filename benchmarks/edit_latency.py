"""What an edit costs: from the edit to the first token and to a suggestion, against what else could answer.

    python benchmarks/edit_latency.py [--sizes 500,1000,…] [--model FOLDER] [--peers keyturn,vllm,…] [--edits …]

A real file of so many tokens, the caret at its end. The file is edited at 2 %, at 50 % or just above the caret: a
character or a line put in, a line taken out, a line rewritten, names changed in twenty places; or the caret jumps
elsewhere; or something is typed at the caret (append). Each peer has answered the prompt from before the edit and is
asked for the one behind it, several edits in a row. Tokenising is in the figures of keyturn's engines and not in the
others'. Of keyturn's embedded engine `edit` is told, too: tokens and keys laid out anew, before anything is encoded.
Nobody drafts: each token is a decoding step.

Without `--model` the weights are random, 38 million of them with a window of 32,768 tokens: as good as any for timing.
Peers that compute everything anew are measured once a size, prefix caches with one kind of edit, since it does not
matter to them what was edited; files of more than 8,000 tokens with a line put in at 2 %. Results go to
benchmarks/results/edit_latency.json.
"""

from __future__ import annotations

import argparse
import re
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from ast_tools.text import Edit, Text
from benchmarks.figures import spread
from benchmarks.peers import Keyturn, Peer, the_peers
from benchmarks.random_model import save_random
from model.embedded.drafting.no_draft import NoDraft
from model.embedded.engine import EmbeddedEngine
from model.engine_completer import EngineCompleter
from model.factory import EngineSettings, load_embedded
from model.machine import machine
from model.prompts.prompt import Prompt
from model.request import Request
from model.snapshot import Snapshot
from model.unfinished import begun, finish, keep, recorded

SIZES = (500, 1000, 2000, 4000, 8000, 16_000, 32_000)
PLACES = {"2 %": 0.02, "50 %": 0.5, "above the caret": 1.0}
LINE_TOKENS = 16
"""Tokens of a suggested line. Random weights never end one."""
RENAMED = 20
REPEATS = 7
SECONDS = 8
"""After so long in one row there are no more repeats; two there are always."""
ALL_KINDS_UNTIL = 8000
"""Tokens of a file."""
RESULT = Path(__file__).with_name("results") / "edit_latency.json"


@dataclass
class Document:
    """A file being edited, and the prompts it gives."""

    completer: EngineCompleter
    text: Text
    caret: int
    edits: tuple[Edit, ...] = ()
    num_jumps: int = 0

    @property
    def data(self) -> bytes:
        return self.text.data

    def apply(self, edit: Edit) -> None:
        self.text = self.text.apply(edit)
        if edit.start <= self.caret:
            self.caret += len(edit.new) - (edit.end - edit.start)
        self.edits = (*self.edits, edit)

    def prompt(self) -> tuple[Prompt, float]:
        """The prompt, and the milliseconds that it took to bring the tokens to the text."""
        snapshot = Snapshot("file", self.text, len(self.edits), self.edits)
        started = time.perf_counter()
        prompt = self.completer.prompt(Request(snapshot, self.caret, LINE_TOKENS))
        return prompt, (time.perf_counter() - started) * 1000

    def line_at(self, share: float, further: int = 0) -> tuple[int, int]:
        """Start and end of a line at a share of the text in front of the caret, at 1 the second above the caret; or of
        one `further` down, at 1 up.
        """
        at = int(len(self.data) * share) if share < 1 else self._lines_above(2 + further)
        start = self.data.rfind(b"\n", 0, max(0, at)) + 1
        for _ in range(further if share < 1 else 0):
            start = self.data.index(b"\n", start) + 1
        return start, self.data.index(b"\n", start)

    def _lines_above(self, count: int) -> int:
        at = self.caret
        for _ in range(count):
            at = self.data.rfind(b"\n", 0, at)
        return at


def character(document: Document, share: float) -> None:
    end = document.line_at(share)[1]
    document.apply(Edit(end, end, b"x"))


def line_in(document: Document, share: float) -> None:
    start, _ = document.line_at(share)
    document.apply(Edit(start, start, b"    value = compute(first, second)\n"))


def line_out(document: Document, share: float) -> None:
    start, end = document.line_at(share)
    document.apply(Edit(start, end + 1, b""))


def line_anew(document: Document, share: float) -> None:
    """Another line each time, so that it is longer or shorter than what stood there."""
    number = len(document.edits)
    start, end = document.line_at(share, number)
    document.apply(Edit(start, end, b"    total = first%s" % (b" + second" * (number % 4))))


def rename(document: Document, share: float) -> None:
    """At twenty places all over the file one new name in place of those there, the first place at the share."""
    first = int(len(document.data) * min(share, 0.9))
    names = [match.span() for match in re.finditer(rb"\b(?!name\d)[A-Za-z_]\w+", document.data[: document.caret])]
    names = max([span for span in names if span[0] >= first], names[-RENAMED:], key=len)
    new = b"name%d" % (len(document.edits) // RENAMED)
    for i in reversed(range(RENAMED)):
        document.apply(Edit(*names[i * len(names) // RENAMED], new))


def jump(document: Document, share: float) -> None:
    """The caret goes somewhere else in the file's second half, nowhere twice."""
    document.num_jumps += 1
    at = int(len(document.data) * (0.5 + 0.5 * (0.38 * document.num_jumps % 1)))
    document.caret = document.data.index(b"\n", at)


def append(document: Document, share: float) -> None:
    document.apply(Edit(document.caret, document.caret, b"x"))


EDITS: dict[str, Callable[[Document, float], None]] = {
    "append": append,
    "character in": character,
    "line in": line_in,
    "line out": line_out,
    "line anew": line_anew,
    f"rename in {RENAMED} places": rename,
    "caret jump": jump,
}
ANYWHERE = ("append", "caret jump")
PEERS = ("keyturn", "transformers", "vllm", "llama.cpp")
"""How their names begin, in small letters."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--model", type=Path)
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--edits", default=",".join(EDITS), help="kinds of edit, by default all: %(default)s")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--keep-others", action="store_true", help="add the recorded rows not measured now")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = args.model or save_random("38M", Path(folder))
        sizes, kinds = [int(size) for size in args.sizes.split(",")], args.edits.split(",")
        if unknown := set(kinds) - EDITS.keys():
            raise SystemExit(f"There is no kind of edit {', '.join(unknown)}; there are {', '.join(EDITS)}.")
        empty = {
            "model": model.name,
            "line_tokens": LINE_TOKENS,
            "rows": [],
            "machine": machine(),
            "asked": {
                "model": str(args.model),
                "peers": args.peers,
                "repeats": args.repeats,
                "sizes": sizes,
                "edits": kinds,
            },
        }
        others = rows_of_others(args.output, empty) if args.keep_others else []
        found = begun(args.output, empty)
        for size in sizes:
            known = [row for row in found["rows"] if row["tokens"] == size]
            for row in measure(model, size, args.peers, args.repeats, Path(folder), known, kinds):
                found["rows"].append(row)
                keep(args.output, found)
    del found["asked"]  # the rows tell
    found["rows"] = sorted(others + found["rows"], key=place_in_order)
    finish(args.output, found)


def place_in_order(row: dict[str, Any]) -> tuple[int, int, int]:
    """By size, then by peer and edit as they are listed here, whatever was measured when."""
    peer = next(i for i, name in enumerate(PEERS) if row["peer"].lower().startswith(name))
    return int(row["tokens"]), peer, list(EDITS).index(row["edit"])


def rows_of_others(output: Path, found: dict[str, Any]) -> list[dict[str, Any]]:
    """A recorded result's rows of peers, sizes and edits that are not measured now, with the commit they are of."""
    old = recorded(output, found, ("model", "line_tokens"))
    commit = old["machine"]["commit"]
    asked = found["asked"]
    peers = tuple(asked["peers"].split(","))
    return [
        {"commit": commit, **row}
        for row in old["rows"]
        if row["tokens"] not in asked["sizes"]
        or row["edit"] not in asked["edits"]
        or not row["peer"].lower().startswith(peers)
    ]


def measure(
    model: Path,
    size: int,
    peers: str,
    repeats: int,
    folder: Path,
    known: Sequence[dict[str, Any]] = (),
    kinds: Sequence[str] = tuple(EDITS),
) -> Iterator[dict[str, Any]]:
    """All rows of files of one size and these kinds of edit, milliseconds, but those known."""
    completer = load_embedded(EngineSettings(model=str(model), context_tokens=size + 1024, memory_mb=4096))
    assert isinstance(completer.engine, EmbeddedEngine)
    completer.engine.new_drafter = NoDraft  # the others draft nothing, and random weights write what nobody would
    for peer in the_peers(model, completer.engine, size, peers, folder):
        for edit, place in cases(peer.name, size):
            row = {"tokens": size, "peer": peer.name, "edit": edit, "place": place}
            if edit not in kinds or any(row.items() <= other.items() for other in known):
                continue
            row |= trial(completer, peer, size, edit, PLACES.get(place, 0), repeats)
            sys.stderr.write(f"{row}\n")
            yield row


def cases(peer: str, size: int) -> Iterator[tuple[str, str]]:
    """(edit, place) to measure."""
    if size > ALL_KINDS_UNTIL and not peer.endswith("no cache"):
        yield "append", ""
    if size > ALL_KINDS_UNTIL or peer.endswith("no cache"):
        yield "line in", "2 %"
        return
    for edit in ("append", "line in", "caret jump") if peer.endswith("prefix cache") else EDITS:
        for place in ("",) if edit in ANYWHERE else PLACES:
            yield edit, place


def trial(completer: EngineCompleter, peer: Peer, size: int, edit: str, share: float, repeats: int) -> dict[str, Any]:
    """One peer, one kind of edit, several in a row."""
    completer.forget("file")
    text = Text(source(completer, size))
    document = Document(completer, text, len(text.data))
    peer.answer(document.prompt()[0], 1)
    firsts, lines, laid_out, started = [], [], [], time.monotonic()
    while len(firsts) < min(2, repeats) or (len(firsts) < repeats and time.monotonic() - started < SECONDS):
        EDITS[edit](document, share)
        prompt, tokenising = document.prompt()
        first, line = peer.answer(prompt, LINE_TOKENS)
        own = 0.0
        if isinstance(peer, Keyturn):
            own = tokenising
            if peer.is_embedded:
                laid_out.append(own + peer.turning_ms)
        firsts.append(own + first)
        lines.append(own + line)
    return {
        "repeats": len(firsts),
        "first_token_ms": spread(firsts),
        "line_ms": spread(lines),
        **({"edit_ms": spread(laid_out)} if laid_out else {}),
        "prompt_tokens": len(prompt),
    }


def source(completer: EngineCompleter, size: int) -> bytes:
    """Modules of the standard library, cut at a line's end to about `size` tokens."""
    data = b""
    for name in ("argparse.py", "typing.py", "tarfile.py", "turtle.py", "inspect.py", "doctest.py"):
        data += (Path(sysconfig.get_path("stdlib")) / name).read_bytes()
        tokens = completer.tokenizer.encode(data)
        if len(tokens.ids) > size:
            break
    kept = b"".join(completer.tokenizer.token_bytes(int(token)) for token in tokens.ids[:size])
    return kept[: kept.rindex(b"\n") + 1] + b"    result = "


if __name__ == "__main__":
    main()
