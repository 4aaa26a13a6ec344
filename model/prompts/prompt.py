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

    def reopened(self, tokenizer: Tokenizer, count: int) -> Prompt:
        """With the last `count` tokens taken back, so that the completion may finish them.

        Markers stay, and what is no text by itself, a part of a character.
        """
        first = len(self)
        while first > max(1, len(self) - count) and tokenizer.token_bytes(int(self.ids[first - 1])):
            first -= 1
        begun = b"".join(tokenizer.token_bytes(int(token)) for token in self.ids[first:])
        if not _is_text(begun):
            return self
        return replace(
            self,
            ids=self.ids[:first],
            serials=self.serials[:first],
            anchor=min(self.anchor, first),
            lead=max(0, self.lead - (len(self) - first)),
            begun=begun,
        )


def _is_text(piece: bytes) -> bool:
    try:
        piece.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
