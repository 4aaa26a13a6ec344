"""Reads a Hugging Face checkpoint folder: the configuration, and weights from safetensors only."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from model.cache.rope import RotaryTable, inverse_frequencies
from model.embedded.config import read_config
from model.embedded.decoder import Decoder, DecoderConfig, DecoderLayer, TensorSource, decoder_layer_from, normed
from model.embedded.linear import Linear
from model.errors import ModelError

Progress = Callable[[str, int], None]


def load_decoder(
    folder: Path,
    *,
    dtype: torch.dtype,
    cache_dtype: torch.dtype | None = None,
    max_context: int | None,
    progress: Progress,
    rounded: bool = False,
) -> Decoder:
    """Load the weights; positions are cut to `max_context` and to the window of models with sliding attention.

    The cache is of the weights' type unless `cache_dtype` names another.
    """
    config = read_config(folder, dtype, max_context, cache_dtype)
    try:
        frequencies = inverse_frequencies(config.head_dim, config.rope)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"The rotary positions in {folder / 'config.json'} make no sense ({error}).") from error
    with ExitStack() as stack:
        stored = _open_weights(folder, stack)

        def tensor(name: str) -> Tensor | None:
            found = stored(name)
            return None if found is None else found.to(dtype)

        try:
            layers = []
            for index in range(config.num_layers):
                layers.append(decoder_layer_from(tensor, index, rounded=rounded))
                progress("Loading the model", 100 * (index + 1) // (config.num_layers + 1))
            embedding, norm = _needed(stored, "model.embed_tokens.weight"), _needed(tensor, "model.norm.weight")
            head = embedding if config.tie_word_embeddings else _needed(stored, "lm_head.weight")
            # Its rows are converted as they are looked up. A copy, or it would hold the whole file's pages.
            embedding = embedding.clone() if embedding.itemsize <= dtype.itemsize else embedding.to(dtype)
        except KeyError as error:
            raise ModelError(f"The weights in {folder} lack {error.args[0]}; download the model again.") from error
        if not _shapes_fit(config, embedding, layers):
            raise ModelError(f"The weights in {folder} do not fit their config.json; download the model again.")
    rotary = RotaryTable(frequencies, config.max_positions)
    return Decoder(config, rotary, embedding, layers, Linear(normed(head.to(dtype), norm), rounded=rounded))


def _shapes_fit(sizes: DecoderConfig, embedding: Tensor, layers: list[DecoderLayer]) -> bool:
    """Whether the weights have the shapes that the configuration promises."""
    width, attention = sizes.hidden_size, sizes.num_heads * sizes.head_dim
    projected = attention + 2 * sizes.num_kv_heads * sizes.head_dim
    return embedding.shape[1] == width and all(
        layer.qkv.shape == (projected, width)
        and layer.output.shape == (width, attention)
        and layer.gate_up.shape == (2 * layer.down.shape[1], width)
        and layer.down.shape[0] == width
        for layer in layers
    )


def native_dtype() -> Literal["float32", "bfloat16"]:
    """bfloat16 where the processor multiplies it natively, else float32."""
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if native else "float32"


def best_dtype(name: str) -> torch.dtype:
    """The type of a name; "auto" is the processor's own."""
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[native_dtype() if name == "auto" else name]


def _open_weights(folder: Path, stack: ExitStack) -> TensorSource:
    """A function from tensor name to tensor, as it is stored, over the folder's one or many safetensors files."""
    from safetensors import SafetensorError, safe_open

    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    try:
        if single.is_file():
            names = [single.name]
        elif index.is_file():
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            if any(name != Path(name).name for name in names):
                raise ModelError(f"{index} names files outside its folder.")
        else:
            raise ModelError(f"{folder} has no safetensors weights; other weight formats are not loaded.")
        files = [stack.enter_context(safe_open(str(folder / name), framework="pt")) for name in names]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError) as error:
        raise ModelError(f"The weights in {folder} cannot be read ({_first_line(error)}).") from error
    where = {name: file for file in files for name in file.keys()}  # noqa: SIM118 - not a mapping

    def tensor(name: str) -> Tensor | None:
        file = where.get(name)
        return None if file is None else file.get_tensor(name)

    return tensor


def _needed(tensor: TensorSource, name: str) -> Tensor:
    found = tensor(name)
    if found is None:
        raise KeyError(name)
    return found


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
