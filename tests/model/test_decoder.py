"""The embedded forward pass agrees with transformers, family by family."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.embedded.checkpoint import load_decoder
from model.embedded.decoder import Decoder
from model.embedded.kv_cache import KVCache
from model.errors import ModelError
from tests.model.tiny import SIZES, families, load_tiny, save_checkpoint

TOLERANCE = 1e-4


@pytest.fixture(scope="module", params=sorted(families()))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Decoder]:
    folder = tmp_path_factory.mktemp(request.param)
    reference = save_checkpoint(folder, request.param)
    return reference, load_tiny(folder)


def random_ids(count: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(SIZES["vocab_size"], (count,), generator=torch.Generator().manual_seed(seed))


def new_cache(decoder: Decoder, capacity: int) -> KVCache:
    cache = KVCache(decoder.config.cache_shape, decoder.rotary)
    cache.reserve(capacity)
    return cache


def run(decoder: Decoder, cache: KVCache, ids: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
    return decoder.logits(decoder.forward(ids.numpy(), slots.numpy(), cache))


def reference_logits(reference: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = reference(ids[None]).logits[0]
    return logits


def test_plain_prompt(pair: tuple[Any, Decoder]) -> None:
    """A whole prompt in one pass gives transformers' logits."""
    reference, decoder = pair
    ids = random_ids(200)
    ours = run(decoder, new_cache(decoder, 200), ids, torch.arange(200))
    assert (ours - reference_logits(reference, ids)).abs().max() < TOLERANCE


@pytest.mark.parametrize("size", [1, 7, 64])
def test_chunked_prefill(pair: tuple[Any, Decoder], size: int) -> None:
    """Slices of any size, down to one token, give the same logits as the whole."""
    reference, decoder = pair
    ids = random_ids(130, seed=size)
    cache = new_cache(decoder, 130)
    parts = [run(decoder, cache, ids[i : i + size], torch.arange(130)[i : i + size]) for i in range(0, 130, size)]
    assert (torch.cat(parts) - reference_logits(reference, ids)).abs().max() < TOLERANCE


@pytest.mark.usefixtures("parts")
def test_scattered_slots(pair: tuple[Any, Decoder]) -> None:
    """Several spans in one pass see each other and what stands between them, as in one long prompt."""
    reference, decoder = pair
    ids = random_ids(90)
    cache = new_cache(decoder, 90)
    run(decoder, cache, ids, torch.arange(90))
    spans = torch.cat((torch.arange(10, 14), torch.arange(40, 41), torch.arange(70, 90)))
    cache.keys[:, :, spans] = 1e3  # what is there must be overwritten before it is read
    cache.values[:, :, spans] = 1e3
    ours = run(decoder, cache, ids[spans], spans)
    assert (ours - reference_logits(reference, ids)[spans]).abs().max() < TOLERANCE


@pytest.mark.usefixtures("parts")
def test_batch_of_masks(pair: tuple[Any, Decoder]) -> None:
    """A draft tree under its own mask: each branch gets the logits it would get as a text of its own."""
    reference, decoder = pair
    prompt, draft = random_ids(50), random_ids(6, seed=9)
    parents = [-1, 0, 0, 1, 2, 2]  # a tree of six nodes below the prompt
    cache = new_cache(decoder, 56)
    run(decoder, cache, prompt, torch.arange(50))
    mask = torch.zeros(6, 56, dtype=torch.bool)
    mask[:, :50] = True
    paths = []
    for node in range(6):
        path = [node]
        while parents[path[0]] >= 0:
            path.insert(0, parents[path[0]])
        mask[node, [50 + step for step in path]] = True
        paths.append(path)
    positions = torch.tensor([49 + len(path) for path in paths])
    ours = decoder.logits(
        decoder.forward(draft.numpy(), np.arange(50, 56), cache, positions=positions.numpy(), mask=mask)
    )
    for node, path in enumerate(paths):
        expected = reference_logits(reference, torch.cat((prompt, draft[path])))[-1]
        assert (ours[node] - expected).abs().max() < TOLERANCE


@pytest.mark.usefixtures("parts")
def test_random_masks_match_transformers_own_mask(pair: tuple[Any, Decoder]) -> None:
    """Any mask gives what transformers gives for the same four-dimensional mask, in batches of three."""
    reference, decoder = pair
    generator = torch.Generator().manual_seed(4)
    for _ in range(3):
        ids = torch.randint(SIZES["vocab_size"], (40,), generator=generator)
        mask = (torch.rand(40, 40, generator=generator) < 0.6) & torch.ones(40, 40, dtype=torch.bool).tril()
        mask |= torch.eye(40, dtype=torch.bool)
        slots = torch.arange(40)
        ours = decoder.logits(decoder.forward(ids.numpy(), slots.numpy(), new_cache(decoder, 40), mask=mask))
        bias = torch.zeros(1, 1, 40, 40).masked_fill(~mask, torch.finfo(torch.float32).min)
        with torch.inference_mode():
            expected = reference(ids[None], attention_mask=bias, position_ids=slots[None]).logits[0]
        assert (ours - expected).abs().max() < TOLERANCE


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_weights_stored_in_bfloat16_run_in_float32(tmp_path: Path, family: str) -> None:
    """The embeddings stay as they are stored, the arithmetic is float32."""
    saved = save_checkpoint(tmp_path, family).bfloat16()
    saved.save_pretrained(tmp_path)
    reference = type(saved).from_pretrained(tmp_path, dtype=torch.float32)
    decoder, ids = load_tiny(tmp_path), random_ids(30)
    ours = run(decoder, new_cache(decoder, 30), ids, torch.arange(30))
    assert (ours - reference_logits(reference, ids)).abs().max() < TOLERANCE
    assert decoder._embedding.dtype == torch.bfloat16


@pytest.mark.parametrize("size", [1, 7, 64])
def test_float32_beside_a_bfloat16_cache(pair: tuple[Any, Decoder], size: int, tmp_path: Path) -> None:
    """Only keys, values and queries are rounded, and the cache has half of the bytes."""
    reference, exact = pair
    reference.save_pretrained(tmp_path)
    decoder = load_tiny(tmp_path, cache_dtype=torch.bfloat16)
    ids = random_ids(130, seed=size)
    cache = new_cache(decoder, 130)
    parts = [run(decoder, cache, ids[i : i + size], torch.arange(130)[i : i + size]) for i in range(0, 130, size)]
    expected = reference_logits(reference, ids)
    assert (torch.cat(parts) - expected).norm() < 0.02 * expected.norm()
    assert cache.num_bytes * 2 == new_cache(exact, 130).num_bytes


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("wanted", [0, 1, 7, 40, 99])
@pytest.mark.parametrize("masked", [False, True])
def test_only_the_wanted_states_are_computed(pair: tuple[Any, Decoder], wanted: int, masked: bool) -> None:
    """They are those of the whole pass, and the cache is the same to the bit."""
    _, decoder = pair
    generator = torch.Generator().manual_seed(6)
    ids = torch.randint(SIZES["vocab_size"], (40,), generator=generator).numpy()
    mask = None
    if masked:
        mask = (torch.rand(40, 40, generator=generator) < 0.6).tril() | torch.eye(40, dtype=torch.bool)
    whole, part = new_cache(decoder, 40), new_cache(decoder, 40)
    states = decoder.forward(ids, np.arange(40), whole, mask=mask)
    some = decoder.forward(ids, np.arange(40), part, mask=mask, wanted=wanted)
    torch.testing.assert_close(some, states[max(0, len(states) - wanted) :], atol=TOLERANCE, rtol=0)
    assert torch.equal(part.held, whole.held)
    assert torch.equal(part.values, whole.values)


def test_the_window_of_sliding_attention_bounds_the_context(tmp_path: Path) -> None:
    """Inside the window all attention is full, so a model that slides is used up to its window."""
    save_checkpoint(tmp_path, "mistral")
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"sliding_window": null', '"sliding_window": 64'))
    assert load_tiny(tmp_path).config.max_positions == 64


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('"rope_type": "default"', '"rope_type": "dynamic", "factor": 2.0'), "'dynamic'"),
        (('"rope_type": "default"', '"rope_type": "yarn", "factor": 2.0'), "'yarn'"),
        (('"rope_type": "default"', '"rope_type": "linear", "factor": "x"'), "make no sense"),
        (('"num_hidden_layers": 3', '"num_hidden_layers": 0'), "num_hidden_layers is 0"),
        (('"num_hidden_layers": 3', '"num_hidden_layers": -1'), "num_hidden_layers is -1"),
        (('"model_type": "llama"', '"model_type": "gpt2"'), "'gpt2'"),
        (('"model_type": "llama"', '"model_type": 7'), "'7'"),
        (('"hidden_size": 64', '"hidden_size": 32'), "do not fit"),
        (('"num_hidden_layers": 3', '"num_hidden_layers": 4'), "lack model.layers.3"),
        (("{", "{{{"), "config.json"),
        (("{", '{"quantization_config": {"quant_method": "fp8"},'), "quantized"),
    ],
)
def test_a_model_that_cannot_run_says_why(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    save_checkpoint(tmp_path)
    config = tmp_path / "config.json"
    assert change[0] in config.read_text()
    config.write_text(config.read_text().replace(*change, 1))
    with pytest.raises(ModelError) as caught:
        load_tiny(tmp_path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_model_says_so(tmp_path: Path) -> None:
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ModelError):
            load_decoder(folder, dtype=torch.float32, max_context=None, progress=lambda m, p: None)


def test_broken_weights_say_so(tmp_path: Path) -> None:
    save_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelError, match="weights"):
        load_tiny(tmp_path)


def test_weights_outside_the_folder_are_not_read(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").rename(tmp_path / "weights.safetensors")
    index = tmp_path / "model" / "model.safetensors.index.json"
    for name in ("../weights.safetensors", str(tmp_path / "weights.safetensors")):
        index.write_text(json.dumps({"weight_map": {"x": name}}))
        with pytest.raises(ModelError, match="outside"):
            load_tiny(tmp_path / "model")


@pytest.mark.parametrize("index", ["[]", '{"weight_map": []}', '{"weight_map": {"x": "gone.safetensors"}}', "{"])
def test_a_broken_index_of_weights_says_so(tmp_path: Path, index: str) -> None:
    save_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ModelError, match="weights"):
        load_tiny(tmp_path)
