"""Fits how much a model is helped by copying from the file (`model.embedded.copying`).

For each length of a match, the weight that makes the rest of the lines most probable at carets in files of the corpus,
by expectation-maximisation of a mixture of two. The model has seen those files, once or twice: it needs the copy there
a little less than elsewhere, so the weights err on the side of the model.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ast_tools.text import Text
from model.embedded.copying import FILE_NAME, CopyMixture, Weights
from model.embedded.history import MAX_MATCH
from model.engine_completer import EngineCompleter
from model.factory import EngineSettings, load_embedded
from model.request import Request
from model.snapshot import Snapshot
from model.tokenizer import Tokenizer
from model.training.carets import Caret, draw_carets
from model.training.corpus import CorpusFile
from model.training.evaluate import MAIN
from model.training.shards import TokenFiles

NUM_CARETS = 400
NUM_FILES = 200
SEED = 11
ROUNDS = 50
PRIOR = 2.0
"""Imagined tokens for each length, half of which the copy got right: long matches are few."""


@dataclass(frozen=True)
class Observation:
    """One token of a line: how many tokens agreed, whether the copy was right, the model's own probability of it."""

    length: int
    is_right: bool
    probability: float


def fit(model: Path, files: TokenFiles, say: Callable[[str], None], num_carets: int = NUM_CARETS) -> None:
    """Write `keyturn.json` into the model's folder."""
    (model / FILE_NAME).unlink(missing_ok=True)
    completer = load_embedded(EngineSettings(model=str(model), context_tokens=MAIN))
    seen: list[Observation] = []
    carets = draw_carets(sample(files, completer.tokenizer, NUM_FILES, SEED), num_carets, SEED)
    for i, caret in enumerate(carets):
        if i % 100 == 0:
            say(f"Fitting what is copied: {i} of {len(carets)} lines.")
        seen += observe(completer, caret)
    weights = [round(weight, 4) for weight in fit_weights(seen)]
    (model / FILE_NAME).write_text(json.dumps({"copying": weights}) + "\n", encoding="utf-8")


def sample(files: TokenFiles, tokenizer: Tokenizer, count: int, seed: int) -> list[CorpusFile]:
    """Some files of the corpus, as texts."""
    chosen = random.Random(seed).sample(range(len(files)), min(count, len(files)))
    texts = []
    for index in sorted(chosen):
        text = b"".join(tokenizer.token_bytes(token) for token in files.text(index).tolist()).decode()
        texts.append(CorpusFile("corpus", str(index), text))
    return texts


def observe(completer: EngineCompleter, caret: Caret) -> list[Observation]:
    """What the model and the copy say of the rest of a caret's line, given all before each of its tokens.

    Tokens that begin in front of the caret are no evidence: the choice among them is not free.
    """
    data = caret.data[: caret.offset] + caret.data[caret.line_end :]
    snapshot, truth = Snapshot("file", Text(data)), caret.truth.encode()
    num_tokens = len(completer.tokenizer.encode(truth))
    request = Request(snapshot, caret.offset, max_tokens=num_tokens, reuse="exact")
    logprobs = completer.score(request, truth)
    prompt = completer.prompt(request)
    written = completer.tokenizer.encode(prompt.begun + truth)
    copies = CopyMixture(prompt, (0.0,) * MAX_MATCH, len(written))
    completer.forget("file")
    found = []
    for token, start, logprob in zip(written.ids.tolist(), written.starts, logprobs, strict=True):
        length, copied = copies.find()
        if start >= len(prompt.begun):
            found.append(Observation(length, length > 0 and copied == token, math.exp(logprob)))
        copies.append(token)
    return found


def fit_weights(seen: Sequence[Observation]) -> Weights:
    """The most probable weight of the copy for 1 to `MAX_MATCH` agreeing tokens."""
    weights = []
    for length in range(1, MAX_MATCH + 1):
        group = [one for one in seen if one.length == length]
        weight = 0.5
        for _ in range(ROUNDS):
            shares = [weight / (weight + (1 - weight) * one.probability) if one.is_right else 0.0 for one in group]
            weight = (sum(shares) + PRIOR / 2) / (len(group) + PRIOR)
        weights.append(weight)
    return tuple(weights)
