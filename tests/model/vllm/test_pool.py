"""The pool in a worker: what comes back is what was saved, turned by exactly what it has moved."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.rope import RotaryTable, inverse_frequencies
from model.vllm.pool import Layer, Load, Pool, Save

HEAD_DIM = 16
FREQUENCIES = inverse_frequencies(HEAD_DIM, {"rope_theta": 10_000.0})
TABLE = RotaryTable(FREQUENCIES, 4096)


def layers(
    num_layers: int = 2, *, blocks: int = 12, block_size: int = 4, dtype: torch.dtype = torch.float32
) -> list[Layer]:
    torch.manual_seed(1)
    shape = (blocks, 2, block_size, HEAD_DIM)
    return [Layer(torch.randn(shape).to(dtype), torch.randn(shape).to(dtype)) for _ in range(num_layers)]


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int32)


def token(view: torch.Tensor, block_ids: list[int], position: int, block_size: int = 4) -> torch.Tensor:
    return view[block_ids[position // block_size], :, position % block_size]


def test_tokens_that_did_not_move_come_back_bit_for_bit() -> None:
    paged = layers(dtype=torch.bfloat16)
    pool = Pool(paged, num_rows=20, block_size=4, frequencies=FREQUENCIES)
    pool.save(Save([3, 1, 7], 2, ints(5, 9, 0, 1, 2, 19)))
    pool.load(Load([8, 9, 10], 2, ints(5, 9, 0, 1, 2, 19), ints(0, 0, 0, 0, 0, 0)))
    for layer in paged:
        for position in range(2, 8):
            for view in (layer.keys, layer.values):
                assert torch.equal(token(view, [8, 9, 10], position), token(view, [3, 1, 7], position))


@pytest.mark.parametrize("shift", [1, -3, 700])
def test_keys_that_moved_are_as_if_the_model_had_written_them_there(shift: int) -> None:
    paged = layers(1, blocks=400)
    bare = torch.randn(2, 5, HEAD_DIM)
    old = 4 if shift > 0 else 9
    origins = torch.arange(old, old + 5)
    block_ids = list(range(1, 400))
    for i, position in enumerate(origins.tolist()):
        paged[0].keys[block_ids[position // 4], :, position % 4] = TABLE.rotate(bare, origins)[:, i]
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
    together = paged[0].keys[16:32].clone()
    for place in range(64):
        pool.load(Load(list(range(16, 32)), place, ints(place), shifts[place : place + 1]))
    assert torch.equal(together, paged[0].keys[16:32])


def test_ten_thousand_moves_leave_the_bits_of_one() -> None:
    paged = layers(1, dtype=torch.bfloat16)
    pool = Pool(paged, num_rows=4, block_size=4, frequencies=FREQUENCIES)
    pool.save(Save([0], 0, ints(0, 1, 2, 3)))
    pool.load(Load([1], 0, ints(0, 1, 2, 3), ints(5, 5, 5, 5)))
    once = paged[0].keys[1].clone()
    for shift in range(1, 10_000):
        pool.load(Load([2], 0, ints(0, 1, 2, 3), ints(*[shift % 50] * 4)))
    pool.load(Load([2], 0, ints(0, 1, 2, 3), ints(5, 5, 5, 5)))
    assert torch.equal(paged[0].keys[2], once)


def test_the_scheduler_s_blocks_may_be_larger_than_the_cache_s() -> None:
    paged = layers(1, blocks=12, block_size=4)
    pool = Pool(paged, num_rows=12, block_size=12, frequencies=FREQUENCIES)
    pool.save(Save([2], 1, ints(*range(9))))
    pool.load(Load([0], 1, ints(*range(9)), ints(*[0] * 9)))
    assert torch.equal(paged[0].keys[0, :, 1:], paged[0].keys[6, :, 1:])
    assert torch.equal(paged[0].values[1:2], paged[0].values[7:8])
    assert torch.equal(paged[0].values[2, :, :2], paged[0].values[8, :, :2])


def test_numbers_that_the_model_does_not_rotate_are_not_turned() -> None:
    paged = layers(1)
    pool = Pool(paged, num_rows=4, block_size=4, frequencies=FREQUENCIES[:4])
    pool.save(Save([0], 0, ints(0, 1, 2, 3)))
    pool.load(Load([1], 0, ints(0, 1, 2, 3), ints(7, 7, 7, 7)))
    assert torch.equal(paged[0].keys[1, ..., 8:], paged[0].keys[0, ..., 8:])
    assert not torch.allclose(paged[0].keys[1, ..., :8], paged[0].keys[0, ..., :8])
