"""Fill-in-the-middle prompts.

    [bos] <prefix> tokens before the anchor <suffix> tokens after the caret <middle> the lead

The lead is the text between the anchor and the caret. The anchor is the end of a line a few lines above the caret. To
the model the middle begins there, and it looks as if it had already written the lead:

- A completion continues the text right before it. A small model hardly finds the end of the prefix from behind the
  suffix. A large one gains, too: the caret never cuts the words that it has just read.
- Typing appends to the prompt. The anchor stays on one token until the caret is `MAX_LEAD` tokens away, so typing
  moves nothing and makes nothing stale.

The other tokens keep the file's order wherever the caret is. So an edit or a moved caret moves them by one step, and
the cache keeps them. The markers and the lead, which the file does not have, get serials of their own: they are kept
as long as the anchor stays, and encoded again behind another one. A file longer than the budget is cut to a window
around the caret. The window's start stays on one token, too, until the caret is far from it: if it moved with every
keystroke, every position would change with every keystroke.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from model.prompts.caret_line import CaretLine
from model.tokenizer import IntArray, Tokenizer
from model.tokens import SerialArray


@dataclass(frozen=True)
class Prompt:
    """What the model reads.

    ids       [n] token ids
    serials   [n] identity of the tokens, NO_SERIAL for cut tokens and the first markers
    anchor    index of the suffix marker (n for a left-to-right prompt)
    lead      tokens of the lead, the last ones
    end_ids   tokens that end a completion
    begun     the text between the last token and the caret: a completion begins with it, and it is not returned
    barred    bytes of which none may be the completion's first one behind the caret

    The last two are only for engines that heal.
    """

    ids: IntArray
    serials: SerialArray
    anchor: int
    end_ids: frozenset[int] = frozenset()
    lead: int = 0
    begun: bytes = b""
    barred: bytes = b""

    def __len__(self) -> int:
        return len(self.ids)

    def reopened(self, tokenizer: Tokenizer, line: CaretLine) -> Prompt:
        """With the last token taken back, so that the completion may finish it.

        A marker stays, and what is no text by itself, a part of a character. Where the caret's line has no text in
        front of the caret, a token is taken back only if the tokenizer would join it with what follows: some join a
        line's end with the next line's indentation, others the last blank of an indentation with the word behind it.
        """
        prompt = replace(self, barred=line.barred)
        piece = tokenizer.token_bytes(int(self.ids[-1])) if len(self) > 1 else b""
        if not piece or not _is_text(piece) or _is_whole(tokenizer, piece, line):
            return prompt
        last = len(self) - 1
        return replace(
            prompt,
            ids=self.ids[:last],
            serials=self.serials[:last],
            anchor=min(self.anchor, last),
            lead=max(0, self.lead - 1),
            begun=piece,
        )


def _is_whole(tokenizer: Tokenizer, piece: bytes, line: CaretLine) -> bool:
    """Whether a token of these bytes, the last one in front of the caret, is what it is whatever follows."""
    if line.has_begun:
        return b"\n" in piece or b"\r" in piece
    if not line.before and line.after.strip():
        return True  # what follows the line's end is in the file
    return len(piece) in tokenizer.encode(piece + line.example).starts


def _is_text(piece: bytes) -> bool:
    try:
        piece.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
