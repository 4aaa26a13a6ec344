"""A linear layer gives the same product in each of its forms, as far as the form's numbers can tell."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from model.embedded import linear as linear_module
from model.embedded.linear import FEW_TOKENS, HAS_FBGEMM, INT8_STEP, Linear


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


def test_onednn_sees_few_numbers_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps a kernel for each of them, for good."""
    product, seen = linear_module._PACKED_PRODUCT, []
    if product is None:
        pytest.skip("this torch has no oneDNN")

    def counted(x: torch.Tensor, *others: object) -> torch.Tensor:
        seen.append(len(x))
        found: torch.Tensor = product(x, *others)
        return found

    monkeypatch.setattr(linear_module, "_PACKED_PRODUCT", counted)
    weight = random(8, 24)
    linear = Linear(weight)
    for tokens in range(1, 600):
        x = random(tokens, 24, seed=tokens)
        before = sum(seen)
        torch.testing.assert_close(linear(x), F.linear(x, weight))
        assert tokens <= sum(seen) - before < tokens + 8
    assert len(set(seen)) <= 20


@pytest.fixture
def without_fbgemm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.embedded.linear._HALF_PRODUCT", None)


@pytest.mark.skipif(not HAS_FBGEMM, reason="this processor's torch has no FBGEMM")
@pytest.mark.parametrize("tokens", [1, 2, 9, 300])
@pytest.mark.parametrize("with_bias", [False, True])
def test_beside_float32_weights_are_rounded_to_16_bits(tokens: int, with_bias: bool) -> None:
    """Eleven bits of a number are kept, so weights of a bfloat16 checkpoint, which have eight, are as they were."""
    stored, x = random(96, 40).bfloat16().float(), random(tokens, 40, seed=1)
    bias = random(96, seed=2) if with_bias else None
    linear = Linear(stored, bias, rounded=True)
    assert torch.equal(linear.weight, stored)
    torch.testing.assert_close(linear(x), F.linear(x, stored, bias))
    weight = random(96, 40)
    linear = Linear(weight, bias, rounded=True)
    assert not torch.equal(linear.weight, weight)
    assert ((linear.weight - weight).abs() <= weight.abs() / 2**11).all()
    torch.testing.assert_close(linear(x), F.linear(x, weight.half().float(), bias))


def test_weights_that_16_bits_do_not_hold_keep_theirs() -> None:
    weight, x = random(8, 8), random(FEW_TOKENS + 1, 8, seed=1)
    weight[3, 3] = 1e6
    torch.testing.assert_close(Linear(weight, rounded=True)(x), F.linear(x, weight))


@pytest.mark.usefixtures("without_fbgemm")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_integers_are_for_few_tokens_and_near_the_weights(dtype: torch.dtype) -> None:
    """Each product is within what rounding to 1/254 of the row's largest weight can do."""
    weight, bias = random(128, 96).to(dtype), random(128, seed=2).to(dtype)
    many = random(FEW_TOKENS + 1, 96, seed=1).to(dtype)
    exact, integers = Linear(weight, bias), Linear(weight, bias, rounded=True)
    assert torch.equal(integers(many), exact(many))
    for x in (many[:1], many[:FEW_TOKENS]):
        difference = (integers(x) - exact(x)).abs()
        assert 0 < difference.float().norm() < 0.01 * exact(x).float().norm()
        bound = x.abs().sum(1, keepdim=True) * weight.abs().amax(dim=1) / 254 + 0.05
        assert (difference < bound).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", ["exact", "16 bits", "8 bits"])
def test_any_number_of_inputs(dtype: torch.dtype, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No kernel reads past the end of a row: each length gives the product, in each form that the layer chooses."""
    if form == "8 bits":
        monkeypatch.setattr("model.embedded.linear._HALF_PRODUCT", None)
    for inputs in range(1, 131):
        weight = random(9, inputs).to(dtype)
        linear = Linear(weight, rounded=form != "exact")
        for tokens in (1, FEW_TOKENS, FEW_TOKENS + 1):
            x = random(tokens, inputs, seed=tokens).to(dtype)
            difference = (linear(x).float() - F.linear(x.float(), weight.float())).abs()
            assert (difference <= 0.05 + 0.02 * x.abs().float().sum(1, keepdim=True)).all(), (inputs, tokens)


@pytest.mark.usefixtures("without_fbgemm")
@pytest.mark.parametrize("inputs", [8, 16, 48])
def test_integers_are_for_whole_steps_of_the_kernel(inputs: int) -> None:
    weight, x = random(4, inputs), random(1, inputs, seed=1)
    is_rounded = not torch.equal(Linear(weight, rounded=True)(x), Linear(weight)(x))
    assert is_rounded is (inputs % INT8_STEP == 0)


@pytest.mark.usefixtures("without_fbgemm")
def test_a_row_of_zeros_stays_zero() -> None:
    weight = random(4, 16)
    weight[2] = 0
    assert Linear(weight, rounded=True)(random(1, 16))[0, 2] == 0
