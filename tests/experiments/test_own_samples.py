"""Learning from own answers: what pairs are made, and the three experiments that share their policies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import own_samples
import pytest
from printed_tables import difference, seeds_table, tables

Run = Callable[..., list[str]]


@pytest.mark.long
def test_learning_from_own_answers(run: Run, tmp_path: Path) -> None:
    """The three experiments share their policies; what is finished is not done again."""
    options = ("--seeds", 1, 2, "--split", "dev", "--small", "--out", tmp_path)
    lines = run("reward_model_gate", *options)
    utilities = [f"utility {name}" for name in ("of one", "of greedy", "by rm", "by log p")]
    shares = ["rm", "log p", "longest", "one", "greedy", "by rm", "by log p", "by gold"]
    figures = seeds_table(lines, ["trained on", "pairs", *shares, *utilities, "length"])
    assert all(count > 50 for name in ("trained on", "pairs") for count in figures[name])
    assert all(0.5 < share < 1 for name in ("rm", "log p") for share in figures[name])
    assert all(
        best >= other for name in shares[3:] for best, other in zip(figures["by gold"], figures[name], strict=True)
    )
    mean, _, _ = difference(lines, "rm - log p")
    assert mean == pytest.approx(100 * np.mean(np.subtract(figures["rm"], figures["log p"])), abs=0.151)
    assert run("reward_model_gate", *options) == lines  # from its files: the CPU seconds are the same, too

    lines = run("over_optimisation", *options)
    models = [f"{reading} {labels}" for reading in ("plain", "prior") for labels in ("clean", "flips")]
    figures = seeds_table(lines, ["one", *models, *(f"ppo last, {name}" for name in models)])
    curves, ppo = ({name: cells for name, *cells in table} for table in tables(lines)[1:])
    assert curves["best of n"] == ["1", "2", "4", "8", "16", "32", "64"]
    assert ppo["PPO, by roll-outs"] == ["first", "1-4"]
    for name in models:
        values = [float(cell) for cell in curves[f"gold by {name}"]]
        assert values[0] == pytest.approx(np.mean(figures["one"]), abs=2e-3)  # the best of one
        assert values[-1] == pytest.approx(np.mean(figures[name]), abs=2e-3)
        assert (np.diff([float(cell) for cell in curves[f"score by {name}"]]) > 0).all()
        assert float(ppo[f"gold, {name}"][-1]) == pytest.approx(np.mean(figures[f"ppo last, {name}"]), abs=2e-3)
        difference(lines, f"gold at the peak - at n = 64, {name}")
    assert len({ppo[f"gold, {name}"][0] for name in models}) == 1  # one policy's first answers
    assert len({ppo[f"score, {name}"][-1] for name in models}) == len(models)
    for reading in ("plain", "prior"):
        for place in ("n = 64", "PPO's last roll-outs"):
            difference(lines, f"gold at the peak - at {place}, {reading} flips less {reading} clean")
    assert (tmp_path / "over_optimisation.png").stat().st_size > 10_000

    lines = run("reinforcement", *options)
    figures = seeds_table(lines, ["start", "ppo", "ppo random", "rloo"])
    assert [row[0] for row in tables(lines)[1]] == ["arm", "start", "ppo", "ppo random", "rloo"]
    assert len({tuple(values) for name, values in figures.items() if name != "cpu_s"}) > 1
    difference(lines, "ppo - ppo random")


def test_pairs_of_own_samples() -> None:
    """All pairs that differ in gold, the better one chosen; a quarter of the labels turned, whichever is first."""
    answered = [own_samples.Answered(f"p{n}", ("a", "b", "b", "c"), (1.0, 0.2, 0.2, 1.0)) for n in range(500)]
    rows = own_samples.pairs(answered, 6, 0)
    assert len(rows) == 1000  # a-b and c-b: a and c are worth the same, the second b is the first
    assert {(row["chosen"], row["rejected"]) for row in rows} == {("a", "b"), ("c", "b")}
    assert len(own_samples.pairs(answered, 1, 0)) == 500
    turned = [own_samples.Answered(f"p{n}", (f"a{n}", f"b{n}"), (1.0, 0.2)) for n in range(4000)]
    wrong = own_samples.flipped(0.25, 3)
    share = np.mean([row["chosen"].startswith("b") for row in own_samples.pairs(turned, 1, 0, wrong)])
    assert share == pytest.approx(0.25, abs=0.03)
    assert all(wrong(a, b, 1.0, 0.2) != wrong(b, a, 0.2, 1.0) for one in turned for a, b in [one.texts])
