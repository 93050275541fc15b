"""Any split of an optimiser batch into forward passes gives the gradient and the statistics of the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from objectives import MAKERS, ROWS, Made

from arenaloop.train.batches import micro_batches, shared_out


@pytest.fixture(scope="module", params=MAKERS)
def made(request: pytest.FixtureRequest, start: Path) -> Made:
    """An objective, its model, and all that is trained; in float64, so that rounding is no excuse."""
    found: Made = MAKERS[request.param](start)
    for model in found[2]:
        model.module.double().eval()
    return found


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    world=st.integers(1, 5),
    size=st.none() | st.integers(1, 4),
    tokens=st.integers(1, 90),
    by_length=st.booleans(),
)
def test_processes_share_a_batch_out(
    lengths: list[int], world: int, size: int | None, tokens: int, by_length: bool
) -> None:
    rows = np.arange(100, 100 + len(lengths))
    each = np.array(lengths)
    plan = shared_out(rows, each, world, size=size, tokens=tokens, by_length=by_length)
    assert len(plan) == world
    assert len({len(parts) for parts in plan}) == 1, "who does more passes than the others waits for them for ever"
    assert sorted(row for parts in plan for part, weight in parts if weight for row in part) == rows.tolist()
    for part, weight in (one for parts in plan for one in parts):
        assert len(part)
        assert weight in (0.0, 1.0)
        assert len(part) <= (size or len(part))
        assert size or len(part) == 1 or len(part) * max(each[part - 100]) <= tokens
        assert weight or each[part - 100].tolist() == [min(lengths)], "a filler is as cheap as can be"
    counts = [sum(len(part) for part, weight in parts if weight) for parts in plan]
    assert max(counts) - min(counts) <= 1
    if world == 1:
        assert [part.tolist() for part, _ in plan[0]] == [
            part.tolist() for part in micro_batches(rows, each, size=size, tokens=tokens, by_length=by_length)
        ]


def gradients(made: Made, parts: list[np.ndarray], whole: np.ndarray) -> tuple[list[torch.Tensor], dict[str, float]]:
    model, objective, trained = made
    parameters = [p for each in trained for p in each.module.parameters()]
    for parameter in parameters:
        parameter.grad = None
    sums: dict[str, float] = {}
    for part in parts:
        loss, statistics = objective.loss(model, part, whole)
        loss.backward()
        for name, value in {"loss": loss, **statistics}.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
    return [torch.zeros(()) if p.grad is None else p.grad.clone() for p in parameters], sums


@given(data=st.data())
@settings(max_examples=8)
def test_a_split_is_the_whole(made: Made, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(ROWS)))
    whole = np.array(sorted(order[: data.draw(st.integers(3, ROWS))]))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1), min_size=1)))
    parts = np.split(np.array(data.draw(st.permutations(whole.tolist()))), cuts)
    expected, told = gradients(made, [whole], whole)
    found, added = gradients(made, parts, whole)
    assert max(float(each.abs().max()) for each in expected) > 1e-4
    for one, other in zip(expected, found, strict=True):
        assert torch.allclose(one, other, atol=1e-6, rtol=1e-6)
    assert added == pytest.approx(told, rel=1e-6, abs=1e-6)
