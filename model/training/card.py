"""The model card: what the checkpoint learned from, how, and what it was measured to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from model.training.corpus import HELD_OUT, load_manifest
from model.training.data import FIM_SHARE, MIDDLE_WEIGHT
from model.training.recipes import Recipe
from model.training.train import read_state

TEMPLATE = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags: [code, fill-in-the-middle]
---

# keyturn's default model

A small Llama that fills in Python code at the caret, on a processor, without a network. It was trained from scratch by
`keyturn model train --recipe {recipe}` of this repository.

## Use

    <|fim_prefix|>text before the caret<|fim_suffix|>text after it<|fim_middle|>

The model writes what stands between and ends with `<|endoftext|>`. Tokenise the two texts apart. A prefix may begin in
the middle of a file, best at a line's start. It is not trained to follow instructions.

## Shape

{shape}

## Data

{files:,} Python files, {megabytes:.1f} MB, of the standard library and of permissively licensed packages, of each
package at most 3 MB. Left out: tests, vendored code, generated files, tables, files over 200 KB, duplicates and near
duplicates (files half of whose longer lines stand in files kept before). The texts are not part of this repository.

Held out for ever, with their copies and forks: {held_out}.

| package | version | licence | files | KB |
|---|---|---|---:|---:|
{packages}

## Training

{tokens:.2f} million tokens in {steps} steps of {tokens_per_step} tokens, {minutes:.0f} minutes on a processor
({speed:.0f} tokens/s), sequences of {length} tokens and of {final_length} in the last {final_share:.0%} of the run.
{fim:.0%} of the sequences are made of fill-in-the-middle, the rest plain text; the loss counts every token, those of a
middle {weight:.0f} times. Matrices by Muon, embedding and norms by AdamW, bfloat16 with float32 weights. Last training
loss (weighted, smoothed): {loss:.3f}.

## Result

{result}

## Limits

- It is small and saw few tokens: most suggestions longer than a few tokens are wrong. Look before you accept.
- Python only. Other languages share punctuation with it, no more.
- It has seen names, addresses and licence texts in comments of public packages and may write some of them.
- It was not trained on stale caches, and not checked for security: it writes insecure code as readily as any other.
"""


def model_card(recipe: Recipe, work: Path, result: dict[str, Any] | None) -> str:
    """The checkpoint's README; `result` is what `evaluate` found for these very weights, None if it was not run."""
    state = read_state(work)
    progress, manifest = state["progress"], load_manifest(work)
    size = sum(tensor.numel() for tensor in state["parameters"].values())
    shape = f"{size / 1e6:.1f} million parameters: " + ", ".join(
        f"{name.replace('_', ' ')} {value:g}" for name, value in state["shape"].items()
    )
    return TEMPLATE.format(
        recipe=recipe.name,
        shape=shape + ", tied embeddings.",
        files=sum(entry.files for entry in manifest),
        megabytes=sum(entry.bytes for entry in manifest) / 1e6,
        held_out=", ".join(HELD_OUT),
        packages="\n".join(
            f"| {entry.package} | {entry.version} | {entry.licence} | {entry.files} | {entry.bytes // 1000} |"
            for entry in manifest
        ),
        tokens=progress["tokens"] / 1e6,
        steps=progress["step"],
        tokens_per_step=recipe.tokens_per_step,
        minutes=progress["seconds"] / 60,
        speed=progress["tokens"] / max(progress["seconds"], 1e-9),
        length=recipe.length,
        final_length=recipe.final_length,
        final_share=recipe.final_share,
        fim=FIM_SHARE,
        weight=MIDDLE_WEIGHT,
        loss=progress["loss"],
        result=_describe(result),
    )


def _describe(result: dict[str, Any] | None) -> str:
    if result is None:
        return "Not evaluated."
    return (
        f"On {result['carets']} carets in lines of {', '.join(result['packages'])} (seed {result['seed']}, "
        f"{result['context_tokens']} tokens of context, `keyturn model evaluate`):\n\n"
        f"- the rest of the line exactly right: {result['exact_match']:.1%}\n"
        f"- bits per byte of the rest of the line: {result['bits_per_byte']:.3f}\n\n"
        f"{result['carets']} carets are few: the first figure may be anything {_interval(**result)} (95 %, Wilson).\n\n"
        "    " + json.dumps(result)
    )


def _interval(exact_match: float, carets: int, **_: Any) -> str:
    """Wilson's interval, which holds for shares near 0, too."""
    z = 1.96
    middle = (exact_match + z * z / (2 * carets)) / (1 + z * z / carets)
    half = z / (1 + z * z / carets) * (exact_match * (1 - exact_match) / carets + (z / (2 * carets)) ** 2) ** 0.5
    return f"from {max(0.0, middle - half):.1%} to {middle + half:.1%}"
