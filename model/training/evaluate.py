"""How well a model writes the rest of a line in packages it has never seen.

Text is scored with its true continuation given: a line counts as matched when the most probable token is the true one
all the way to the line's end, and the model then ends the line. Greedy decoding would write the same tokens, so this
is single-line exact match at the cost of one forward pass a caret.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.engine import ModelError
from model.training.corpus import HELD_OUT, CorpusFile, held_out_files
from model.training.data import Sampler, caret_in
from model.training.tokenizer import load_tokenizer

NUM_CARETS = 200
CONTEXT = 1024
SEED = 20

NextTokenLogits = Callable[[list[int], int], Tensor]
"""Prompt ids and a count n to the logits at the last n positions, [n, vocabulary]."""


@dataclass(frozen=True)
class Caret:
    """A place in a held-out file; the line goes on until `line_end`."""

    file: CorpusFile
    offset: int
    line_end: int


def draw_carets(files: Sequence[CorpusFile], count: int, seed: int = SEED) -> list[Caret]:
    """Carets in lines of code, every package alike: at the indentation, behind a mark, or anywhere in the line."""
    rng = random.Random(seed)
    by_package = {name: [file for file in files if file.package == name] for name in HELD_OUT}
    packages = [group for group in by_package.values() if group]
    if not packages:
        raise ModelError(f"None of the held-out packages is installed; install one of: {', '.join(HELD_OUT)}.")
    carets: list[Caret] = []
    while len(carets) < count:
        group = rng.choice(packages)
        file = rng.choices(group, weights=[len(file.text) for file in group])[0]
        start = file.text.rfind("\n", 0, rng.randrange(len(file.text))) + 1
        end = file.text.find("\n", start)
        end = len(file.text) if end < 0 else end
        line = file.text[start:end]
        offset = caret_in(file.text, start + len(line) - len(line.lstrip()), end, rng)
        if line.strip() and not line.lstrip().startswith("#") and file.text[offset:end].strip():
            carets.append(Caret(file, offset, end))
    return carets


def score(carets: Sequence[Caret], sampler: Sampler, logits: NextTokenLogits, line_ends: Tensor) -> dict[str, Any]:
    """Exact match and bits per byte; `line_ends` says of each token whether it ends a line."""
    matched, nats, num_bytes = 0, 0.0, 0
    for caret in carets:
        text = caret.file.text
        middle = sampler.middle(text[caret.offset : caret.line_end])
        prompt = sampler.prompt(text, caret.offset, caret.line_end, CONTEXT - len(middle))
        found = logits([*prompt, *middle[:-1]], len(middle))
        best = found.argmax(-1)
        truth = torch.tensor(middle[:-1])
        matched += bool((best[:-1] == truth).all()) and bool(line_ends[best[-1]])
        nats -= float(found[:-1].log_softmax(-1).gather(1, truth[:, None]).sum())
        num_bytes += len(text[caret.offset : caret.line_end].encode())
    return {
        "exact_match": round(matched / len(carets), 4),
        "bits_per_byte": round(nats / math.log(2) / num_bytes, 4),
        "carets": len(carets),
        "context_tokens": CONTEXT,
    }


def line_end_tokens(tokenizer: Any) -> Tensor:
    """[vocabulary] True for the end marker and for tokens that begin with a line ending."""
    pieces = [tokenizer.id_to_token(i) or "" for i in range(tokenizer.get_vocab_size())]
    return torch.tensor([piece.startswith(("Ċ", "č", "<|endoftext|>")) for piece in pieces])


def evaluate(model_folder: Path, num_carets: int = NUM_CARETS) -> dict[str, Any]:
    """Measure a checkpoint folder with transformers' own forward pass, in float32."""
    from transformers import AutoModelForCausalLM

    if not (model_folder / "config.json").is_file() or not (model_folder / "tokenizer.json").is_file():
        raise ModelError(f"{model_folder} is not a checkpoint folder; name one with config.json and tokenizer.json.")
    tokenizer = load_tokenizer(model_folder)
    model = AutoModelForCausalLM.from_pretrained(str(model_folder), local_files_only=True, dtype=torch.float32)

    def logits(ids: list[int], count: int) -> Tensor:
        with torch.no_grad():
            out: Tensor = model(torch.tensor([ids]), logits_to_keep=count, use_cache=False).logits
        return out[0]

    carets = draw_carets(held_out_files(), num_carets)
    result = score(carets, Sampler([], tokenizer), logits, line_end_tokens(tokenizer))
    packages = sorted({caret.file.package for caret in carets})
    return {"seed": SEED, "packages": packages, **result}
