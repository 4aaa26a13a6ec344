"""Generated tokens as text, one after the other, with each token's bytes in that text."""

from __future__ import annotations

import codecs

from model.engine import StopRule, Token


class Transcript:
    """The text of the tokens so far.

    A token's bytes may be a part of a character, which is text once it is whole; bytes that are no text are left out.

        tokens     "x"   F0 9F   8E 88   "y"           🎈 in two tokens
        text       x     🎈              y
        bytes      0..1  1..3    3..5    5..6
    """

    def __init__(self) -> None:
        self.text = ""
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="ignore")
        self._num_bytes = 0
        self._known: list[tuple[int | None, float | None, int]] = []  # id, log-probability, end

    def __len__(self) -> int:
        """Tokens so far."""
        return len(self._known)

    def add(self, token_id: int | None, piece: bytes, logprob: float | None) -> None:
        """One more token, whose bytes of text are `piece`."""
        decoded = self._utf8.decode(piece)
        self.text += decoded
        self._num_bytes += len(decoded.encode("utf-8"))
        begun, _ = self._utf8.getstate()  # of a character that is not whole yet
        self._known.append((token_id, logprob, self._num_bytes + len(begun)))

    def stop_by(self, rule: StopRule) -> bool:
        """Ask the stop rule; True, and the text is cut, once it says so."""
        cut = rule(self.text)
        if cut is not None:
            self.cut(cut)
        return cut is not None

    def cut(self, length: int) -> None:
        """Keep so many characters of the text. The tokens stay, without the bytes that are gone."""
        self.text = self.text[:length]
        self._num_bytes = len(self.text.encode("utf-8"))

    def tokens(self) -> tuple[Token, ...]:
        """The tokens; their bytes tile the text."""
        ends, last = [], self._num_bytes
        for _, _, end in reversed(self._known):  # a character that never became whole has no bytes
            last = min(last, end)
            ends.append(last)
        ends.reverse()
        if ends:
            ends[-1] = self._num_bytes
        starts = [0, *ends][: len(ends)]
        return tuple(
            Token(token_id, start, end, logprob)
            for (token_id, logprob, _), start, end in zip(self._known, starts, ends, strict=True)
        )
