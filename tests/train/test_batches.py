from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.train.batches import TokenTable, micro_batches, optimiser_batches, total_steps
from arenaloop.train.encoding import Encoded


def row(ids: list[int], labelled: str) -> Encoded:
    return Encoded(ids, [mark == "x" for mark in labelled], truncated=False)


def test_a_batch_worked_by_hand() -> None:
    table = TokenTable([row([5, 6, 7, 8], "..xx"), row([9, 4], ".x"), row([1, 2, 3], ".x.")], pad_id=0)
    batch = table.batch(np.array([0, 1]))
    # the last token of the longest row is predicted, never read; the shorter row is padded on the right
    assert batch.inputs.tolist() == [[5, 6, 7], [9, 4, 0]]
    assert batch.keep == 3  # row 1 already predicts at its first position
    assert batch.at.tolist() == [1, 2, 3]
    assert batch.targets.tolist() == [7, 8, 4]
    assert batch.row.tolist() == [0, 0, 1]
    alone = table.batch(np.array([0]))
    assert (alone.keep, alone.at.tolist(), alone.targets.tolist()) == (2, [0, 1], [7, 8])
    whole = table.batch(np.array([0, 1]), whole=True)
    assert whole.inputs.tolist() == [[5, 6, 7, 8], [9, 4, 0, 0]]
    assert (whole.last.tolist(), whole.keep, whole.at.tolist()) == ([3, 1], 4, [1, 2, 4])
    assert torch.equal(whole.targets, batch.targets)
    assert table.labelled.tolist() == [2, 1, 1]
    assert table.lengths.tolist() == [4, 2, 3]


encoded = st.integers(2, 12).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(1, 50), min_size=n, max_size=n),
        st.lists(st.booleans(), min_size=n - 1, max_size=n - 1).filter(any),
    )
)


@given(st.lists(encoded, min_size=1, max_size=8), st.randoms())
def test_every_labelled_token_is_predicted_once_from_the_one_before(
    rows: list[tuple[list[int], list[bool]]], r
) -> None:
    table = TokenTable([Encoded(ids, [False, *on], truncated=False) for ids, on in rows], pad_id=0)
    chosen = np.array(r.choices(range(len(rows)), k=5))
    batch = table.batch(chosen)
    offset = batch.inputs.shape[1] - batch.keep
    found = [
        (int(b), int(batch.inputs[b, offset + int(at) % batch.keep]), int(target))
        for b, at, target in zip(batch.row, batch.at, batch.targets, strict=True)
    ]
    assert [int(at) // batch.keep for at in batch.at] == batch.row.tolist()
    expected = [
        (b, rows[i][0][t], rows[i][0][t + 1]) for b, i in enumerate(chosen) for t, on in enumerate(rows[i][1]) if on
    ]
    assert found == expected


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 5), st.integers(0, 3))
def test_an_epoch_holds_every_row_once(rows: int, size: int, seed: int, epoch: int) -> None:
    batches = optimiser_batches(rows, size, seed, epoch)
    assert sorted(np.concatenate(batches)) == list(range(rows))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert len(batches) == total_steps(rows, size, 1.0, None)


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = [tuple(optimiser_batches(50, 50, seed, epoch)[0]) for seed in range(3) for epoch in range(3)]
    assert len(set(orders)) == 9
    assert orders[4] == tuple(optimiser_batches(50, 50, 1, 1)[0])


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=40),
    st.one_of(st.none(), st.integers(1, 9)),
    st.integers(1, 90),
    st.booleans(),
)
def test_micro_batches_cut_the_batch_within_their_bounds(
    lengths: list[int], size: int | None, tokens: int, by_length: bool
) -> None:
    rows = np.arange(100, 100 + len(lengths))
    parts = micro_batches(rows, np.array(lengths), size=size, tokens=tokens, by_length=by_length)
    assert sorted(np.concatenate(parts)) == list(rows)
    for part in parts:
        if size is not None:
            assert len(part) <= size
        elif len(part) > 1:
            assert len(part) * max(lengths[at - 100] for at in part) <= tokens
    if by_length:
        ordered = [lengths[at - 100] for part in parts for at in part]
        assert ordered == sorted(lengths, reverse=True)
    else:
        assert list(np.concatenate(parts)) == list(rows)


def test_total_steps() -> None:
    assert total_steps(100, 32, 3, None) == 12
    assert total_steps(100, 32, 0.5, None) == 2
    assert total_steps(100, 32, 0.01, None) == 1
    assert total_steps(100, 32, 3, 5) == 5


def test_moving_to_the_same_device_copies_nothing() -> None:
    batch = TokenTable([row([1, 2], ".x")], 0).batch(np.array([0]))
    assert batch.to(torch.device("cpu")) is batch
    meta = batch.to(torch.device("meta"))
    assert (meta.inputs.device.type, meta.keep) == ("meta", batch.keep)


def test_lengths_are_counted_in_tokens() -> None:
    table = TokenTable([row([1] * n, "." * (n - 1) + "x") for n in (3, 9, 4)], 0)
    assert len(table) == 3
    with pytest.raises(IndexError):
        table.batch(np.array([3]))
