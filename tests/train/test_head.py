from __future__ import annotations

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.train.head import Head, TokenScores, score_hidden, score_logits

POSITIONS, HIDDEN, VOCABULARY = 7, 5, 11


def tensors(seed: int, bias: bool, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, Head, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(POSITIONS, HIDDEN, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    weight = torch.randn(VOCABULARY, HIDDEN, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    added = torch.randn(VOCABULARY, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    targets = torch.randint(2, VOCABULARY, (POSITIONS,), generator=generator)
    return hidden, Head(weight, added if bias else None), targets


def combined(scores: TokenScores) -> torch.Tensor:
    """Some function of all that is known, with weights that differ by position."""
    at = torch.arange(1, POSITIONS + 1, dtype=torch.float64)
    total = (scores.logprobs * at).sum()
    if scores.entropy is not None:
        total = total + (scores.entropy * at.sin()).sum()
    if scores.divergence is not None:
        total = total + (scores.divergence * at.cos()).sum()
    return total


@given(
    st.integers(0, 10_000),
    st.integers(1, VOCABULARY + 1),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1.0, 0.7]),
)
def test_blocks_are_the_whole(
    seed: int, width: int, bias: bool, entropy: bool, referred: bool, forbid: bool, temperature: float
) -> None:
    hidden, head, targets = tensors(seed, bias)
    other_hidden, other_head, _ = tensors(seed + 1, bias)
    asked: dict[str, Any] = {
        "temperature": temperature,
        "entropy": entropy,
        "variance": True,
        "forbidden": torch.tensor([0, 1]) if forbid else None,
    }
    leaves = [tensor for tensor in (hidden, *head) if tensor is not None]
    logits, other_logits = hidden @ head.weight.T, other_hidden @ other_head.weight.T
    if head.bias is not None and other_head.bias is not None:
        logits, other_logits = logits + head.bias, other_logits + other_head.bias
    whole = score_logits(logits, targets, reference=other_logits if referred else None, **asked)
    parts = score_hidden(
        hidden, head, targets, width=width, reference=(other_hidden, other_head) if referred else None, **asked
    )
    assert torch.equal(whole.likeliest, parts.likeliest)
    for name in ("logprobs", "entropy", "divergence", "variance"):
        one, other = getattr(whole, name), getattr(parts, name)
        assert (one is None) == (other is None)
        assert one is None or torch.allclose(one, other, atol=1e-12)
    expected = torch.autograd.grad(combined(whole), leaves)
    found = torch.autograd.grad(combined(parts), leaves)
    for one, other in zip(expected, found, strict=True):
        assert torch.allclose(one, other, atol=1e-11)


def test_entropy_and_divergence_are_those_of_torch() -> None:
    logits, other = torch.randn(2, POSITIONS, VOCABULARY, generator=torch.Generator().manual_seed(0)).unbind()
    targets = torch.zeros(POSITIONS, dtype=torch.long)
    kept = torch.arange(2, VOCABULARY)
    found = score_logits(logits, kept[targets], entropy=True, reference=other, forbidden=torch.tensor([0, 1]))
    one, two = (torch.distributions.Categorical(logits=each[:, 2:]) for each in (logits, other))
    assert torch.allclose(found.logprobs, one.log_prob(targets), atol=1e-6)
    assert torch.allclose(found.entropy, one.entropy(), atol=1e-6)
    assert torch.allclose(found.divergence, torch.distributions.kl_divergence(one, two), atol=1e-6)


def test_the_variance_is_that_of_what_is_drawn() -> None:
    """Also by blocks in float32, of which the first holds nothing that can be said."""
    hidden, head, targets = tensors(3, False, torch.float32)
    forbidden, targets = torch.arange(4), targets.clamp(min=4)
    whole = score_logits(hidden @ head.weight.T, targets, variance=True, forbidden=forbidden)
    parts = score_hidden(hidden, head, targets, variance=True, forbidden=forbidden, width=3)
    p = (hidden @ head.weight.T)[:, 4:].double().log_softmax(dim=-1)
    expected = (p.exp() * p**2).sum(dim=-1) - (p.exp() * p).sum(dim=-1) ** 2
    for found in (whole.variance, parts.variance):
        assert found is not None
        assert torch.allclose(found.double(), expected, rtol=1e-4)
        assert not found.requires_grad


def test_in_bfloat16_it_is_as_exact_as_bfloat16_is() -> None:
    hidden, head, targets = tensors(3, True, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        parts = score_hidden(hidden, head, targets, width=3)
        whole = score_logits(torch.nn.functional.linear(hidden, head.weight, head.bias), targets)
    assert parts.logprobs.dtype == torch.float32
    assert torch.allclose(parts.logprobs, whole.logprobs, atol=1e-2)
    leaves = [hidden, head.weight, head.bias]
    for one, other in zip(
        torch.autograd.grad(parts.logprobs.sum(), leaves),
        torch.autograd.grad(whole.logprobs.sum(), leaves),
        strict=True,
    ):
        assert torch.allclose(one, other, atol=5e-2)


def test_a_frozen_head_gets_no_gradient_and_hidden_states_do() -> None:
    hidden, head, targets = tensors(1, False)
    score_hidden(hidden, Head(head.weight.detach()), targets, width=2).logprobs.sum().backward()
    assert head.weight.grad is None
    assert hidden.grad is not None
    assert float(hidden.grad.abs().min()) > 0
