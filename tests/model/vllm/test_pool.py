"""The pool in a worker: what comes back is what was saved, turned by exactly what it has moved."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.cache.rope import RotaryTable, inverse_frequencies
from model.vllm.plugin.pool import Layer, Load, Paged, Pool, Save

HEAD_DIM = 16
FREQUENCIES = inverse_frequencies(HEAD_DIM, {"rope_theta": 10_000.0})
TABLE = RotaryTable(FREQUENCIES, 4096)


def layers(
    num_layers: int = 2, *, blocks: int = 12, block_size: int = 4, dtype: torch.dtype = torch.float32
) -> list[Layer]:
    torch.manual_seed(1)
    shape = (blocks, 2, block_size, 1, HEAD_DIM, 1)
    return [Layer(*(Paged(torch.randn(shape).to(dtype)) for _ in range(2))) for _ in range(num_layers)]


def plain(paged: Paged) -> torch.Tensor:
    """[blocks, kv_heads, block_size, head_dim], the same memory."""
    return paged.view[:, :, :, 0, :, 0]


def packed(layer: Layer) -> Layer:
    """The same numbers in tiles: keys [tokens / 4, numbers / 2, 4, 2], values [numbers / 8, tokens / 2, 8, 2]."""
    keys, values = (plain(paged).clone() for paged in (layer.keys, layer.values))
    keys = keys.unflatten(3, (-1, 2)).unflatten(2, (-1, 4)).transpose(3, 4).contiguous()
    values = values.unflatten(3, (-1, 8)).unflatten(2, (-1, 2)).permute(0, 1, 4, 2, 5, 3).contiguous()
    return Layer(Paged(keys.transpose(3, 4)), Paged(values.permute(0, 1, 3, 5, 2, 4)))


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int32)


def token(paged: Paged, block_ids: list[int], position: int, block_size: int = 4) -> torch.Tensor:
    return plain(paged)[block_ids[position // block_size], :, position % block_size]


def test_tokens_that_did_not_move_come_back_bit_for_bit() -> None:
    paged = layers(dtype=torch.bfloat16)
    pool = Pool(paged, num_rows=20, block_size=4, frequencies=FREQUENCIES)
    pool.save(Save([3, 1, 7], 2, ints(5, 9, 0, 1, 2, 19)))
    pool.load(Load([8, 9, 10], 2, ints(5, 9, 0, 1, 2, 19), ints(0, 0, 0, 0, 0, 0)))
    for layer in paged:
        for position in range(2, 8):
            for half in (layer.keys, layer.values):
                assert torch.equal(token(half, [8, 9, 10], position), token(half, [3, 1, 7], position))


@pytest.mark.parametrize("shift", [1, -3, 700])
def test_keys_that_moved_are_as_if_the_model_had_written_them_there(shift: int) -> None:
    paged = layers(1, blocks=400)
    bare = torch.randn(2, 5, HEAD_DIM)
    old = 4 if shift > 0 else 9
    origins = torch.arange(old, old + 5)
    block_ids = list(range(1, 400))
    for i, position in enumerate(origins.tolist()):
        plain(paged[0].keys)[block_ids[position // 4], :, position % 4] = TABLE.rotate(bare, origins)[:, i]
    before = [token(paged[0].values, block_ids, int(p)).clone() for p in origins]
    pool = Pool(paged, num_rows=5, block_size=4, frequencies=FREQUENCIES)
    pool.save(Save(block_ids, old, ints(*range(5))))
    pool.load(Load(block_ids, old + shift, ints(*range(5)), ints(*[shift] * 5)))
    expected = TABLE.rotate(bare, origins + shift)
    for i in range(5):
        assert torch.allclose(token(paged[0].keys, block_ids, old + shift + i), expected[:, i], atol=2e-4)
        assert torch.equal(token(paged[0].values, block_ids, old + shift + i), before[i])


def test_each_token_is_turned_by_its_own_distance() -> None:
    paged = layers(1)
    pool = Pool(paged, num_rows=6, block_size=4, frequencies=FREQUENCIES)
    pool.save(Save([0, 1], 0, ints(0, 1, 2, 3)))
    pool.load(Load([4, 5], 0, ints(0, 1, 2, 3), ints(0, 2, 0, 2)))
    kept = paged[0].keys
    for position, shift in enumerate((0, 2, 0, 2)):
        by_table = RotaryTable(FREQUENCIES, 3).rotate(token(kept, [0, 1], position)[:, None], torch.tensor([shift]))
        assert torch.allclose(token(kept, [4, 5], position), by_table[:, 0], atol=1e-6)


def test_many_distances_are_turned_token_by_token() -> None:
    paged = layers(1, blocks=40, dtype=torch.bfloat16)
    pool = Pool(paged, num_rows=64, block_size=4, frequencies=FREQUENCIES)
    pool.save(Save(list(range(16)), 0, ints(*range(64))))
    shifts = ints(*[place % 40 for place in range(64)])
    pool.load(Load(list(range(16, 32)), 0, ints(*range(64)), shifts))
    together = plain(paged[0].keys)[16:32].clone()
    for place in range(64):
        pool.load(Load(list(range(16, 32)), place, ints(place), shifts[place : place + 1]))
    assert torch.equal(together, plain(paged[0].keys)[16:32])


def test_ten_thousand_moves_leave_the_bits_of_one() -> None:
    paged = layers(1, dtype=torch.bfloat16)
    pool = Pool(paged, num_rows=4, block_size=4, frequencies=FREQUENCIES)
    pool.save(Save([0], 0, ints(0, 1, 2, 3)))
    pool.load(Load([1], 0, ints(0, 1, 2, 3), ints(5, 5, 5, 5)))
    once = plain(paged[0].keys)[1].clone()
    for shift in range(1, 10_000):
        pool.load(Load([2], 0, ints(0, 1, 2, 3), ints(*[shift % 50] * 4)))
    pool.load(Load([2], 0, ints(0, 1, 2, 3), ints(5, 5, 5, 5)))
    assert torch.equal(plain(paged[0].keys)[2], once)


def test_the_scheduler_s_blocks_may_be_larger_than_the_cache_s() -> None:
    paged = layers(1, blocks=12, block_size=4)
    pool = Pool(paged, num_rows=12, block_size=12, frequencies=FREQUENCIES)
    pool.save(Save([2], 1, ints(*range(9))))
    pool.load(Load([0], 1, ints(*range(9)), ints(*[0] * 9)))
    assert torch.equal(plain(paged[0].keys)[0, :, 1:], plain(paged[0].keys)[6, :, 1:])
    assert torch.equal(plain(paged[0].values)[1:2], plain(paged[0].values)[7:8])
    assert torch.equal(plain(paged[0].values)[2, :, :2], plain(paged[0].values)[8, :, :2])


def test_numbers_that_the_model_does_not_rotate_are_not_turned() -> None:
    paged = layers(1)
    pool = Pool(paged, num_rows=4, block_size=4, frequencies=FREQUENCIES[:4])
    pool.save(Save([0], 0, ints(0, 1, 2, 3)))
    pool.load(Load([1], 0, ints(0, 1, 2, 3), ints(7, 7, 7, 7)))
    assert torch.equal(plain(paged[0].keys)[1, ..., 8:], plain(paged[0].keys)[0, ..., 8:])
    assert not torch.allclose(plain(paged[0].keys)[1, ..., :8], plain(paged[0].keys)[0, ..., :8])


def test_caches_that_are_packed_in_tiles_are_read_and_written_alike() -> None:
    for shift in (0, 9):
        paged = layers(1, blocks=6, block_size=8)
        tiled = [packed(layer) for layer in paged]
        for cache in (paged, tiled):
            pool = Pool(cache, num_rows=20, block_size=8, frequencies=FREQUENCIES)
            pool.save(Save([3, 1], 3, ints(*range(11))))
            pool.load(Load([0, 4, 5], 3 + shift, ints(*range(11)), ints(*[shift] * 11)))
        expected = packed(paged[0])
        assert torch.equal(tiled[0].keys.view, expected.keys.view)
        assert torch.equal(tiled[0].values.view, expected.values.view)
