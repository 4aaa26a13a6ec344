"""Turns a training checkpoint into a Hugging Face folder that transformers and keyturn's engine load."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from model.errors import ModelError
from model.machine import weights
from model.training.corpus import load_manifest, write_manifest
from model.training.fit_copying import fit
from model.training.network import Shape
from model.training.shards import has_shards, read_shards
from model.training.tokenizer import END, MIDDLE, PAD, PREFIX, SUFFIX, load_tokenizer, save_tokenizer, special_id
from model.training.train import TRAINED, WEIGHTS, read_state


def check_output(output: Path, work: Path) -> None:
    """Raise `ModelError` unless a model may be written there: a new or empty folder, or an older model's."""
    if work.resolve().is_relative_to(output.resolve()):
        raise ModelError(f"The work folder {work} lies in {output}; write the model elsewhere.")
    if output.exists() and not (output / TRAINED).is_file() and not (output.is_dir() and not any(output.iterdir())):
        raise ModelError(f"{output} is there and is no trained model; name a new folder.")


def export(
    work: Path,
    output: Path,
    card: str,
    say: Callable[[str], None] = lambda message: None,
    *,
    measured: str | None = None,
) -> None:
    """Write the folder; it appears complete or not at all, and replaces an older model.

    Where the work folder has its shards, what the model copies from a file is fitted. `measured` is the digest of the
    weights that the card's figures are of: `ModelError` if these are others, or if something else stands at `output`.
    """
    state = read_state(work)
    check_output(output, work)
    output = output.resolve()
    shape = Shape(**state["shape"])
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        write_checkpoint(state["parameters"], shape, work, temporary)
        if measured not in (None, weights(temporary)):
            raise ModelError("The result is of other weights than these; evaluate them first.")
        if has_shards(work):
            fit(temporary, read_shards(work), say)
        progress = state["progress"]
        trained = {
            "tokens": progress["tokens"] + progress.get("earlier", 0),
            "loss": round(progress["loss"], 4),
            "texts": state["origin"]["texts"],
        }
        _write_json(temporary / TRAINED, trained)
        (temporary / "README.md").write_text(card, encoding="utf-8")
        write_manifest(load_manifest(work), temporary)
        temporary.chmod(0o755)
        _replace(temporary, output)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def write_checkpoint(parameters: dict[str, torch.Tensor], shape: Shape, tokenizer_folder: Path, folder: Path) -> None:
    """The files of the checkpoint but its card; weights in bfloat16."""
    tokenizer = load_tokenizer(tokenizer_folder)
    end_id, pad_id = special_id(tokenizer, END), special_id(tokenizer, PAD)
    save_tokenizer(tokenizer, folder, shape.max_positions)
    ends = [end_id, *(special_id(tokenizer, name) for name in (PREFIX, SUFFIX, MIDDLE, PAD))]
    _write_json(folder / "config.json", shape.config(end_id=end_id, pad_id=pad_id))
    _write_json(folder / "generation_config.json", {"do_sample": False, "eos_token_id": ends, "pad_token_id": pad_id})
    weights = {name: tensor.detach().to(torch.bfloat16).contiguous() for name, tensor in parameters.items()}
    save_file(weights, str(folder / WEIGHTS), metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)


def _replace(new: Path, old: Path) -> None:
    """Rename `new` to `old`; folders cannot be replaced in one step, so the old one steps aside first."""
    aside = old.with_name(f".{old.name}-old")
    shutil.rmtree(aside, ignore_errors=True)
    if old.exists():
        old.rename(aside)
    new.rename(old)
    shutil.rmtree(aside, ignore_errors=True)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
