"""vLLM's paged cache as views of keys and values, whatever order the attention kernels keep them in."""

from __future__ import annotations

import torch
from torch import Tensor

from model.vllm.plugin.pool import Layer, Paged
from model.vllm.plugin.support import Support, UnfitError, cpu_instructions

_TILE = 16
"""Rows of a tile of AMX, each of which holds pairs."""


def layers_of(kv_caches: dict[str, Tensor], support: Support) -> list[Layer]:
    """The layers in vLLM's order. A cache is [blocks, kv_heads, block_size, 2 * head_dim], keys first.

    Raises `UnfitError` for another one.
    """
    for name, cache in kv_caches.items():
        expected = (support.num_kv_heads, 2 * support.head_dim)
        if (cache.shape[1], cache.shape[3]) != expected or cache.dtype != support.dtype:
            raise UnfitError(f"The cache of {name} is {list(cache.shape)}, which is not known to keyturn.")
    on_cpu = next(iter(kv_caches.values())).device.type == "cpu"
    if not on_cpu:
        return [_layer(cache) for cache in kv_caches.values()]
    size = next(iter(kv_caches.values())).shape[2]
    isa = cpu_instructions(support.dtype, size, support.head_dim)
    _check_cpu_layout(support, size, isa)
    return [_cpu_layer(cache, isa) for cache in kv_caches.values()]


def _layer(cache: Tensor) -> Layer:
    head_dim = cache.shape[3] // 2
    return Layer(*(Paged(half[:, :, :, None, :, None]) for half in (cache[..., :head_dim], cache[..., head_dim:])))


def _cpu_layer(cache: Tensor, isa: str) -> Layer:
    """On processors a block of a head is the keys, then the values.

    For AMX, keys are [block_size / 16, head_dim / 2, 16, 2] and values [head_dim / 16, block_size / 2, 16, 2], else
    [head_dim, block_size] and [block_size, head_dim].
    """
    blocks, heads, size, width = cache.shape
    head_dim = width // 2

    def paged(start: int, tokens: int, numbers: int, *strides: int) -> Paged:
        shape = (blocks, heads, size // tokens, tokens, head_dim // numbers, numbers)
        return Paged(torch.as_strided(cache, shape, (*cache.stride()[:2], *strides), cache.storage_offset() + start))

    if isa == "amx":
        pairs = 2 * _TILE
        keys = paged(0, _TILE, 2, _TILE * head_dim, 2, pairs, 1)
        return Layer(keys, paged(size * head_dim, 2, _TILE, pairs, 1, _TILE * size, 2))
    return Layer(paged(0, 1, 1, 1, 1, size, 1), paged(size * head_dim, 1, 1, head_dim, 1, 1, 1))


def _check_cpu_layout(support: Support, size: int, isa: str) -> None:
    """Have vLLM's own kernel write a block and read it through the views; raise `UnfitError` if they disagree."""
    from vllm import _custom_ops as ops

    head_dim = support.head_dim
    cache = torch.zeros(1, 1, size, 2 * head_dim, dtype=support.dtype)
    written = [torch.randn(size, 1, head_dim).to(support.dtype) for _ in range(2)]
    halves = cache.view(1, 1, 2 * size, head_dim).chunk(2, dim=2)
    scales = {"k_scale": 1.0, "v_scale": 1.0, "kv_cache_dtype": "auto"}
    ops.cpu_attn_reshape_and_cache(*written, *halves, torch.arange(size), isa, **scales)
    layer, places = _cpu_layer(cache, isa), torch.arange(size)
    for paged, tokens in zip((layer.keys, layer.values), written, strict=True):
        if not torch.equal(paged.read(torch.zeros_like(places), places), tokens):
            raise UnfitError("This vLLM orders its cache in a way that is not known to keyturn.")
