from __future__ import annotations

import io
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from arenaloop.config import OptimSettings
from arenaloop.train.optim import Muon, build_optimizer, learning_rate_factor, warmup_length


def test_schedules_worked_by_hand() -> None:
    cosine = [learning_rate_factor(step, 6, 2, "cosine") for step in range(6)]
    assert cosine == pytest.approx([0.5, 1.0, 1.0, 0.8535534, 0.5, 0.1464466])
    assert [learning_rate_factor(s, 6, 2, "linear") for s in range(6)] == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    assert [learning_rate_factor(s, 4, 0, "constant") for s in range(4)] == [1.0] * 4


@given(st.integers(1, 300), st.floats(0, 0.99), st.sampled_from(["cosine", "linear", "constant"]))
def test_the_rate_rises_then_falls_and_every_step_moves(total: int, ratio: float, schedule: str) -> None:
    warmup = warmup_length(total, OptimSettings(warmup_ratio=ratio))
    factors = [learning_rate_factor(step, total, warmup, schedule) for step in range(total)]
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[:warmup] == sorted(factors[:warmup])
    assert factors[warmup:] == sorted(factors[warmup:], reverse=True)


def test_warmup_steps_override_the_ratio() -> None:
    assert warmup_length(100, OptimSettings(warmup_ratio=0.03)) == 3
    assert warmup_length(100, OptimSettings(warmup_ratio=0.5, warmup_steps=7)) == 7
    assert warmup_length(4, OptimSettings(warmup_steps=7)) == 4


@pytest.mark.parametrize("kind", ["llama", "qwen2"])  # qwen2 has biases and an output head of its own
def test_muon_takes_the_hidden_matrices_and_nothing_else(kind: str, make_model: Callable[..., torch.nn.Module]) -> None:
    model = make_model(kind)
    optimizer = build_optimizer([model], OptimSettings(optimizer="muon", weight_decay=0.1))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    adamw, muon = ([names[id(p)] for group in part.param_groups for p in group["params"]] for part in optimizer.parts)
    assert isinstance(optimizer.parts[1], Muon)
    assert muon
    assert all(".layers." in name and name.endswith("proj.weight") for name in muon)
    assert sorted(adamw + muon) == sorted(names.values())
    assert not any(name.endswith("proj.weight") for name in adamw)
    decayed = {
        names[id(p)]: group["weight_decay"] for group in optimizer.parts[0].param_groups for p in group["params"]
    }
    assert decayed["model.embed_tokens.weight"] == 0.1
    assert {decay for name, decay in decayed.items() if "norm" in name or "bias" in name} == {0.0}


@pytest.mark.parametrize("shape", [(96, 96), (48, 160), (160, 48), (1, 8)])
def test_muon_moves_as_torch_does(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.ones(shape)) for _ in range(2))
    torchs = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.3, adjust_lr_fn="match_rms_adamw")
    optimizers = [Muon([ours], lr=0.1, weight_decay=0.3), torchs]
    for _ in range(5):
        gradient = torch.randn(shape) @ torch.diag(torch.logspace(0, -2, shape[1]))
        before = theirs.detach().clone()
        for p, optimizer in zip((ours, theirs), optimizers, strict=True):
            p.data.copy_(before)
            p.grad = gradient.clone()
            optimizer.step()
        moved, expected = ours.detach() - before * 0.97, theirs.detach() - before * 0.97
        assert (moved - expected).norm() < 0.03 * expected.norm()


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_state_round_trip_continues_exactly(name: str, make_model: Callable[..., torch.nn.Module]) -> None:
    def run(steps: int, interrupted_at: int | None) -> list[torch.Tensor]:
        model = make_model()
        settings = OptimSettings(optimizer=name, learning_rate=1e-2, max_grad_norm=0.5)
        optimizer = build_optimizer([model], settings)
        for step in range(steps):
            if step == interrupted_at:
                state = torch.load(_saved({"o": optimizer.state_dict(), "m": model.state_dict()}), weights_only=True)
                model = make_model(seed=9)
                model.load_state_dict(state["m"])
                optimizer = build_optimizer([model], settings)
                optimizer.load_state_dict(state["o"])
            model(input_ids=torch.tensor([[7, 8, 9 + step]]), labels=torch.tensor([[7, 8, 9]])).loss.backward()
            optimizer.clip()
            optimizer.step(0.5)
            optimizer.zero_grad()
        return list(model.parameters())

    for unbroken, resumed in zip(run(4, None), run(4, 2), strict=True):
        assert torch.equal(unbroken, resumed)


def _saved(state: object) -> io.BytesIO:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return buffer


def test_clipping(make_model: Callable[..., torch.nn.Module]) -> None:
    def norms(limit: float) -> tuple[float, float]:
        model = make_model()
        optimizer = build_optimizer([model], OptimSettings(max_grad_norm=limit))
        model(input_ids=torch.tensor([[7, 8, 9]]), labels=torch.tensor([[7, 8, 9]])).loss.backward()
        before = float(optimizer.clip())
        after = float(torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm())
        return before, after

    before, after = norms(0.1)
    assert before > 0.1
    assert after == pytest.approx(0.1, rel=1e-4)
    assert norms(0.0) == pytest.approx((before, before))
