"""Fill-in-the-middle prompts.

    [bos] <prefix> tokens before the anchor <suffix> tokens after the caret <middle> the lead

The lead is what stands between the anchor and the caret. The anchor is the end of a line a few lines above the caret.
To the model the middle began there, and it has already written the lead:

- A completion goes on from text that stands right before it. A small model hardly finds the end of the prefix from
  behind the suffix, and a large one gains, too: the caret never cuts the words that it has just read.
- Typing appends to the prompt. The anchor stays on one token until the caret is `MAX_LEAD` tokens behind it, so while
  someone types nothing moves and nothing gets stale.

The other tokens keep the file's order wherever the caret stands, so an edit or a moved caret moves them by one step
and the cache keeps them. The markers and the lead, which the file does not have, get identities of their own, so that
they are kept behind the same anchor and encoded again behind another one. A file longer than the budget is cut to a
window around the caret. The window's start stays on one token, too, until the caret has gone far from it: a start that
slid with every keystroke would change every position at every keystroke.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from model.errors import ModelError
from model.tokenizer import IntArray, Tokenizer
from model.tokens import NO_SERIAL, SerialArray, TokenizedText, TokenRun, common_prefix, new_serials

SUFFIX_SHARE = 0.25
"""Part of the budget that the text after the caret gets when the file is longer than the budget."""

SUFFIX_STEP = 64
"""What more of the text after the caret is shown changes by so many tokens at once, not with every keystroke."""

LEAD = 48
"""Tokens from a new anchor to the caret, about: the lines that a line depends on most."""

MAX_LEAD = 128
"""Tokens from the anchor to the caret at which a new anchor is chosen."""

EDGE = 64
"""Tokens that must be to spare before a text that was cut is whole again, or a key and its taking back would cut and
restore it each time."""

SLACK = 0.25
"""Part of the prefix's budget by which the caret may move on before the window's start moves."""


@dataclass(frozen=True)
class Prompt:
    """What the model reads.

    ids       [n] token ids
    serials   [n] identity of the tokens, NO_SERIAL for cut tokens and the first markers
    anchor    index of the suffix marker (n for a left-to-right prompt)
    lead      tokens of the lead, the last ones
    end_ids   tokens that end a completion
    begun     what stands between the last token and the caret: a completion begins with it, and it is not returned.
              Only for engines that heal.
    """

    ids: IntArray
    serials: SerialArray
    anchor: int
    end_ids: frozenset[int] = frozenset()
    lead: int = 0
    begun: bytes = b""

    def __len__(self) -> int:
        return len(self.ids)

    def reopened(self, tokenizer: Tokenizer) -> Prompt:
        """With the last token taken back, so that the completion may finish it.

        A marker, the end of a line and what is no text by itself, a part of a character, stay.
        """
        piece = tokenizer.token_bytes(int(self.ids[-1])) if len(self) > 1 else b""
        if not piece or b"\n" in piece or b"\r" in piece or not _is_text(piece):
            return self
        last = len(self) - 1
        return replace(
            self,
            ids=self.ids[:last],
            serials=self.serials[:last],
            anchor=min(self.anchor, last),
            lead=max(0, self.lead - 1),
            begun=piece,
        )


def _is_text(piece: bytes) -> bool:
    try:
        piece.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


@dataclass(frozen=True)
class Format:
    """One model family's markers, by token name; `name` is what `keyturn doctor` prints.

    `models` is a pattern for the names of such models, for servers that do not show their vocabulary; `ends` is what
    ends an answer there, as text.
    """

    name: str
    prefix: str
    suffix: str
    middle: str
    ends: tuple[str, ...]
    bos: str | None = None
    models: str = r"(?!)"


FORMATS = (
    Format(
        "qwen2.5-coder",
        "<|fim_prefix|>",
        "<|fim_suffix|>",
        "<|fim_middle|>",
        ("<|endoftext|>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>")
        + ("<|repo_name|>", "<|file_sep|>", "<|im_start|>", "<|im_end|>"),
        models=r"qwen.*coder",
    ),
    Format(
        "starcoder2",
        "<fim_prefix>",
        "<fim_suffix>",
        "<fim_middle>",
        ("<|endoftext|>", "<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<fim_pad>", "<repo_name>", "<file_sep>"),
        models=r"starcoder|santacoder",
    ),
    Format(
        "deepseek-coder",
        "<｜fim▁begin｜>",
        "<｜fim▁hole｜>",
        "<｜fim▁end｜>",
        ("<｜end▁of▁sentence｜>", "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>", "<|EOT|>"),
        bos="<｜begin▁of▁sentence｜>",
        models=r"deepseek.*coder",
    ),
    Format(
        "code-llama",
        "▁<PRE>",
        "▁<SUF>",
        "▁<MID>",
        ("</s>", "▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>"),
        bos="<s>",
        models=r"code-?llama",
    ),
)
"""Told apart by the markers that a vocabulary has. Sources: the model cards of Qwen2.5-Coder, StarCoder2 and
DeepSeek-Coder; Rozière et al., "Code Llama", section 2.3, for the prefix-suffix-middle order."""


class Layout:
    """Builds prompts for one tokenizer: a family's fill-in-the-middle markers, or plain left-to-right without any."""

    def __init__(self, tokenizer: Tokenizer, bos_id: int | None = None, eos_ids: tuple[int, ...] = ()) -> None:
        found = next((f for f in FORMATS if tokenizer.special_id(f.middle) is not None), None)
        self.name = found.name if found else "left-to-right"
        self._ends = tokenizer.layout_ids | frozenset(eos_ids)
        if found is None:
            self._prefix = [] if bos_id is None else [bos_id]
            self._suffix: list[int] = []
            self._middle: list[int] = []
            return
        bos = tokenizer.special_id(found.bos) if found.bos else None
        self._prefix = [token for token in (bos,) if token is not None] + [_required(tokenizer, found.prefix)]
        self._suffix = [_required(tokenizer, found.suffix)]
        self._middle = [_required(tokenizer, found.middle)]

    @property
    def fills_the_middle(self) -> bool:
        return bool(self._suffix)

    @property
    def num_markers(self) -> int:
        return len(self._prefix) + len(self._suffix) + len(self._middle)

    def prompt(self, before: TokenRun, after: TokenRun, lead: int = 0, identities: SerialArray | None = None) -> Prompt:
        """Lay out the tokens before and after the caret, the last `lead` of those before it behind the middle marker.

        `identities` is what `Window.identities` gives, [2 + lead]; without it, nothing but the file's tokens has any.
        Without fill-in-the-middle the tokens after the caret are left out and there is no lead.
        """
        if not self.fills_the_middle:
            after, lead = after[:0], 0
        anchor = len(before) - lead
        own = np.full(2 + lead, NO_SERIAL, dtype=np.int64) if identities is None else identities
        if not self.fills_the_middle:
            own = own[:0]
        # The lead has not its serials of the file: a token that was encoded there would not have seen the suffix.
        parts = [
            (_ids(self._prefix), np.full(len(self._prefix), NO_SERIAL, dtype=np.int64)),
            (before.ids[:anchor], before.serials[:anchor]),
            (_ids(self._suffix), own[:1]),
            (after.ids, after.serials),
            (np.concatenate((_ids(self._middle), before.ids[anchor:])), own[1:]),
        ]
        return Prompt(
            np.concatenate([ids for ids, _ in parts]),
            np.concatenate([serials for _, serials in parts]),
            len(self._prefix) + anchor,
            self._ends,
            lead,
        )


class Window:
    """Cuts one file's tokens to a budget around the caret and sets the anchor; both stay where they are if they can."""

    def __init__(self) -> None:
        self._first_serial = NO_SERIAL
        self._anchor_serial = NO_SERIAL
        self._place = NO_SERIAL
        self._lead = np.zeros(0, dtype=np.int32)
        self._own = new_serials(2)

    def cut(self, tokens: TokenizedText, before: TokenRun, after: TokenRun, budget: int) -> tuple[TokenRun, TokenRun]:
        """At most `budget` tokens: a quarter of them after the caret, more where the other side needs less."""
        size = len(before) + len(after)
        if size <= budget and (self._first_serial == NO_SERIAL or size <= budget - EDGE):
            self._first_serial = NO_SERIAL
            return before, after
        spare = (budget - len(before)) // SUFFIX_STEP * SUFFIX_STEP
        suffix_budget = min(len(after), max(int(budget * SUFFIX_SHARE), spare))
        prefix_budget = budget - suffix_budget
        start = self._start(tokens, before, prefix_budget)
        return before[start:], after[:suffix_budget]

    def lead(self, tokenizer: Tokenizer, before: TokenRun) -> int:
        """How many of the tokens before the caret stand behind the anchor, 0 to `MAX_LEAD`.

        A new anchor is the first line's end among the last `LEAD` tokens, else that of the caret's own line; in a line
        longer than `MAX_LEAD` it is inside the line.
        """
        near = before[max(0, len(before) - MAX_LEAD) :]
        if self._anchor_serial != NO_SERIAL and self._anchor_serial in near.serials:
            return len(near) - int(np.flatnonzero(near.serials == self._anchor_serial)[0])
        at = max(0, len(near) - LEAD)
        if at:
            pieces = [tokenizer.token_bytes(int(token)) for token in near.ids]
            ends = [
                i
                for i in range(1, len(pieces))
                if pieces[i].startswith((b"\n", b"\r")) or pieces[i - 1].endswith(b"\n")
            ]
            at = next((i for i in ends if i >= at), ends[-1] if ends else at)
        self._anchor_serial = int(near.serials[at]) if at < len(near) else NO_SERIAL
        return len(near) - at

    def identities(self, before: TokenRun, lead: int) -> SerialArray:
        """[2 + lead] serials of a prompt's suffix marker, its middle marker and its lead.

        They stay while the token before the anchor does, the lead's as far as it is what it was.
        """
        anchor = len(before) - lead
        place = int(before.serials[anchor - 1]) if anchor else NO_SERIAL
        ids = before.ids[anchor:]
        if place != self._place or (anchor and place == NO_SERIAL):
            self._place, self._lead, self._own = place, ids[:0], new_serials(2)
        same = common_prefix(self._lead, ids)
        self._own = np.concatenate((self._own[: 2 + same], new_serials(lead - same)))
        self._lead = ids
        return self._own

    def _start(self, tokens: TokenizedText, before: TokenRun, budget: int) -> int:
        least = int(budget * (1 - SLACK))
        if self._first_serial != NO_SERIAL and len(before) > budget - EDGE:
            at = np.flatnonzero(before.serials == self._first_serial)
            if len(at) and least <= len(before) - int(at[0]) <= budget:
                return int(at[0])
        if len(before) <= budget:
            self._first_serial = NO_SERIAL
            return 0
        slack = (budget - least) // 2
        start = _next_line_start(tokens, len(before) - least - slack, min(64, slack))
        self._first_serial = int(before.serials[start]) if start < len(before) else NO_SERIAL
        return start


def _next_line_start(tokens: TokenizedText, index: int, reach: int) -> int:
    """The first token from `index` on, among the next `reach`, that starts a line or opens one with its newline."""
    for i in range(index, min(index + reach, len(tokens))):
        start = int(tokens.starts[i])
        if tokens.data[start : start + 1] in (b"\n", b"\r") or tokens.data[start - 1 : start] == b"\n":
            return i
    return index


def _required(tokenizer: Tokenizer, marker: str) -> int:
    found = tokenizer.special_id(marker)
    if found is None:
        raise ModelError(f"The tokenizer lacks {marker}, which its other markers need; download the model again.")
    return found


def _ids(markers: list[int]) -> IntArray:
    return np.array(markers, dtype=np.int32)
