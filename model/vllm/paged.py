"""vLLM's paged cache as plain views of keys and values, whatever order the attention kernels keep them in."""

from __future__ import annotations

import torch
from torch import Tensor

from model.vllm.pool import Layer
from model.vllm.support import Support, UnfitError


def layers_of(kv_caches: dict[str, Tensor], support: Support) -> list[Layer]:
    """The layers in vLLM's order. A cache is [blocks, kv_heads, block_size, 2 * head_dim], keys first.

    Raises `UnfitError` for another one.
    """
    for name, cache in kv_caches.items():
        expected = (support.num_kv_heads, 2 * support.head_dim)
        if (cache.shape[1], cache.shape[3]) != expected or cache.dtype != support.dtype:
            raise UnfitError(f"The cache of {name} is {list(cache.shape)}, which is not known to keyturn.")
    on_cpu = next(iter(kv_caches.values())).device.type == "cpu"
    views = [_cpu_layer(cache) if on_cpu else _layer(cache) for cache in kv_caches.values()]
    if on_cpu:
        _check_cpu_layout(support, next(iter(kv_caches.values())).shape[2])
    return views


def _layer(cache: Tensor) -> Layer:
    head_dim = cache.shape[3] // 2
    return Layer(cache[..., :head_dim], cache[..., head_dim:])


def _cpu_layer(cache: Tensor) -> Layer:
    """On processors a block of a head is the keys, [head_dim, block_size], then the values, [block_size, head_dim]."""
    blocks, heads, size, width = cache.shape
    head_dim = width // 2
    block_stride, head_stride = cache.stride()[:2]
    start = cache.storage_offset()
    shape = (blocks, heads, size, head_dim)
    keys = torch.as_strided(cache, shape, (block_stride, head_stride, 1, size), start)
    values = torch.as_strided(cache, shape, (block_stride, head_stride, head_dim, 1), start + size * head_dim)
    return Layer(keys, values)


def _check_cpu_layout(support: Support, size: int) -> None:
    """Have vLLM's own kernel write a block and read it through the views; raise `UnfitError` if they disagree."""
    from vllm import _custom_ops as ops
    from vllm.v1.attention.backends.cpu_attn import _get_attn_isa

    head_dim = support.head_dim
    cache = torch.zeros(1, 1, size, 2 * head_dim, dtype=support.dtype)
    written = [torch.randn(size, 1, head_dim).to(support.dtype) for _ in range(2)]
    halves = cache.view(1, 1, 2 * size, head_dim).chunk(2, dim=2)
    isa = _get_attn_isa(support.dtype, size, head_dim)
    scales = {"k_scale": 1.0, "v_scale": 1.0, "kv_cache_dtype": "auto"}
    ops.cpu_attn_reshape_and_cache(*written, *halves, torch.arange(size), isa, **scales)
    layer = _cpu_layer(cache)
    for view, tokens in zip((layer.keys, layer.values), written, strict=True):
        if not torch.equal(view[0].transpose(0, 1), tokens):
            raise UnfitError("This vLLM orders its cache in a way that is not known to keyturn.")
