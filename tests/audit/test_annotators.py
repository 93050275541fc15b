"""People's labels as a table to fit: one way round for each pair, and nothing in silence."""

from __future__ import annotations

import numpy as np
import pytest

from arenaloop.audit.annotators import label_table, synthetic_members
from arenaloop.data.formats.labels import Label
from arenaloop.models.reward import Reward
from arenaloop.ratings.annotator_fit import AnnotatorFit, Estimate
from arenaloop.types import Prompt

PROMPT = Prompt.of("ask")
WORTH = {"good": 2.0, "bad": 0.5, "- a\n- list": None}
REWARD = Reward(lambda prompts, answers: [WORTH.get(answer) for answer in answers], "id")


def label(one: str, two: str, preference: float | None, annotator: str = "ann", seat: int | None = None) -> Label:
    return Label(PROMPT, ((one,), (two,)), preference, annotator, seat=seat)


def test_labels_of_one_pair_are_turned_as_its_first_one_is() -> None:
    table, notes = label_table(
        [label("good", "bad", 1), label("bad", "good", 2, "bob", 1), label("bad", "good", 1)], REWARD
    )
    assert table.names == ("ann", "bob")
    assert table.pair.tolist() == [0, 0, 0]
    assert table.prefers_first.tolist() == [1.0, 1.0, 0.0]
    assert table.seat.tolist() == [1.0, -1.0, -1.0]
    assert table.worth is not None
    assert table.worth.tolist() == [1.5, 1.5, 1.5]
    assert table.doublings == pytest.approx(np.log2(5 / 4) * np.ones(3))
    assert notes == ["the file does not tell who sat first: its first output is taken for that"]


def test_seats_are_those_that_the_file_tells() -> None:
    labels = [label("x", "y", 1, seat=seat) for seat in (1, 2, 0)]
    table, notes = label_table(labels)
    assert (table.seat.tolist(), table.worth, notes) == ([1.0, -1.0, 0.0], None, [])


def test_lists_and_soft_labels_are_kept_as_they_are() -> None:
    table, _ = label_table([label("- a\n- list", "bad", 1.25, seat=1), label("bad", "1. one", 2, seat=1)])
    assert table.prefers_first.tolist() == [0.75, 0.0]
    assert table.lists.tolist() == [1.0, -1.0]


def test_what_says_nothing_is_left_out_and_counted() -> None:
    labels = [
        label("good", "bad", 1.5), label("good", "bad", None), label("bad", "bad", 1), label("good", "- a\n- list", 2),
        label("good", "bad", 2, seat=2),
    ]  # fmt: skip
    table, notes = label_table(labels, REWARD)
    assert len(table.prefers_first) == 1
    assert notes == [
        "1 tie left out: annotators of the fitted kind choose",
        "1 label of the file left out: null",
        "1 label of two equal outputs left out",
        "1 label left out: the reward gives one of their outputs no score",
    ]
    assert label_table([], REWARD)[0].prefers_first.shape == (0,)


def test_members_are_what_was_estimated_and_who_shows_no_sense_has_much_noise() -> None:
    def told(noise: float | None) -> dict[str, Estimate]:
        return {"noise": Estimate(noise, None, None), "seat": Estimate(0.25, 0.0, 1.0)}

    fit = AnnotatorFit({}, {"a": told(0.5), "b": told(None)}, {}, {"a": 30, "b": 30})
    one, two = synthetic_members(fit, "sandbox:gold", 2.0)
    assert one == {"name": "a", "spec": "synthetic:sandbox:gold", "options": {"noise": 0.5, "seat": 0.25}}
    assert two["options"]["noise"] == 2000.0
