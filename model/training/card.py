"""The model card: what the checkpoint learned from, how, and what it was measured to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model.training.corpus import HELD_OUT, MAX_PACKAGE_BYTES, UNSTATED, load_manifest
from model.training.data import FIM_SHARE, MIDDLE_WEIGHT
from model.training.recipes import Recipe
from model.training.report import whole
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
`keyturn model train` of this repository, {recipe}.

## Use

    <|fim_prefix|>text before<|fim_suffix|>text after the caret<|fim_middle|>the lines just before the caret

The model writes on from there and ends with `<|endoftext|>`. "Text before" ends at the end of a line some lines above
the caret and the lines from there to the caret stand last: with nothing there the model does far worse. Tokenise the
three texts apart, and do not end the last one with a space within a line: words are tokens with the space before them
(keyturn takes the last token back and lets the model finish it). The text may begin in the middle of a file, best at a
line's start. The model is not trained to follow instructions.

## Shape

{shape}

## Data

{files:,} Python files, {megabytes:.1f} MB, {sources}, of each
at most {most:.0f} MB. Left out: tests, vendored code, generated files, tables, files over 200 KB, near
duplicates (MinHash), and files that share a fifth of their longer lines with a held-out package. The texts are not part
of this repository.

Held out for ever, with their copies and forks: {held_out}.

| package | version | licence | files | KB |
|---|---|---|---:|---:|
{packages}

## Training

{tokens:.1f} million tokens{earlier} in {steps:,} steps of {tokens_per_step:,}, {minutes:.0f} minutes of steps
({speed:,.0f} tokens/s) on the recipe's device ({device}). Sequences of {lengths} tokens. {fim:.0%} of the samples are
fill-in-the-middle, the rest plain text; the loss counts every token, those of a middle {weight:.0f} times. Matrices by
Muon, embedding and norms by AdamW, {dtype} with float32 weights. Last training loss (weighted, smoothed): {loss:.3f}.

## Result

{result}

## Limits

- It is small: of long suggestions most are wrong. Look before you accept.
- Python only. Other languages share punctuation with it, no more.
- It has seen names, addresses and licence texts in comments of public packages and may write some of them.
- It was not checked for security: it writes insecure code as readily as any other.
"""


def model_card(recipe: Recipe, work: Path, result: dict[str, Any] | None) -> str:
    """The checkpoint's README; `result` is what `evaluate` found for these very weights, None if it was not run."""
    state = read_state(work)
    progress, manifest = state["progress"], load_manifest(work)
    earlier = progress.get("earlier", 0)
    size = sum(tensor.numel() for tensor in state["parameters"].values())
    shape = f"{size / 1e6:.1f} million parameters: " + ", ".join(
        f"{name.replace('_', ' ')} {value:g}" for name, value in state["shape"].items()
    )
    return TEMPLATE.format(
        recipe=f"at last with `--recipe {recipe.name} --from`" if earlier else f"with `--recipe {recipe.name}`",
        shape=shape + ", tied embeddings.",
        files=sum(entry.files for entry in manifest),
        megabytes=sum(entry.bytes for entry in manifest) / 1e6,
        held_out=", ".join(HELD_OUT),
        sources="of the standard library and of permissively licensed packages"
        if all(entry.licence != UNSTATED for entry in manifest)
        else "of the packages and folders below, of the folders no licence is known",
        packages="\n".join(
            f"| {entry.package} | {entry.version} | {entry.licence} | {entry.files} | {entry.bytes // 1000} |"
            for entry in manifest
        ),
        tokens=progress["tokens"] / 1e6,
        earlier=f", after {earlier / 1e6:.1f} million in earlier runs," if earlier else "",
        steps=progress["step"],
        tokens_per_step=recipe.tokens_per_step,
        minutes=progress["seconds"] / 60,
        speed=progress["tokens"] / max(progress["seconds"], 1e-9),
        device=recipe.device,
        dtype=state.get("dtype", recipe.dtype),
        lengths=", then ".join(f"{length:,}" for _, length in recipe.lengths),
        most=MAX_PACKAGE_BYTES / 1e6,
        fim=FIM_SHARE,
        weight=MIDDLE_WEIGHT,
        loss=progress["loss"],
        result="Not evaluated." if result is None else whole(result),
    )
