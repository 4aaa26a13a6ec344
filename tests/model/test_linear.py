"""A linear layer gives the same product in each of its forms, as far as the form's numbers can tell."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from model.embedded.linear import FEW_TOKENS, Linear


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tokens", [1, 2, 9, 300])
@pytest.mark.parametrize("with_bias", [False, True])
def test_any_number_of_tokens(dtype: torch.dtype, tokens: int, with_bias: bool) -> None:
    weight, x = random(96, 40).to(dtype), random(tokens, 40, seed=1).to(dtype)
    bias = random(96, seed=2).to(dtype) if with_bias else None
    expected = F.linear(x, weight, bias)
    linear = Linear(weight, bias)
    torch.testing.assert_close(linear(x), expected)
    assert torch.equal(linear.weight, weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_integers_are_for_few_tokens_and_near_the_weights(dtype: torch.dtype) -> None:
    """Each product is within what rounding to 1/254 of the row's largest weight can do."""
    weight, bias = random(128, 96).to(dtype), random(128, seed=2).to(dtype)
    many = random(FEW_TOKENS + 1, 96, seed=1).to(dtype)
    exact, integers = Linear(weight, bias), Linear(weight, bias, int8=True)
    assert torch.equal(integers(many), exact(many))
    for x in (many[:1], many[:FEW_TOKENS]):
        difference = (integers(x) - exact(x)).abs()
        assert 0 < difference.float().norm() < 0.01 * exact(x).float().norm()
        bound = x.abs().sum(1, keepdim=True) * weight.abs().amax(dim=1) / 254 + 0.05
        assert (difference < bound).all()


def test_a_row_of_zeros_stays_zero() -> None:
    weight = random(4, 8)
    weight[2] = 0
    assert Linear(weight, int8=True)(random(1, 8))[0, 2] == 0
