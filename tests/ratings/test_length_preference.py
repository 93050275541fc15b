"""Length at matched quality."""

from __future__ import annotations

import numpy as np
import pytest

from arenaloop.ratings.length_preference import longer_at_matched_quality


def simulate(b_len: float, b_people: float, *, people_like_length: float, n: int = 3000, seed: int = 0):
    rng = np.random.default_rng(seed)
    delta = rng.normal(0, 300, n)
    z = np.tanh(delta / delta.std(ddof=1))
    people = rng.random(n) < 1 / (1 + np.exp(-people_like_length * z))
    quality = people - 0.5
    judge = rng.random(n) < 1 / (1 + np.exp(-(b_len * z + b_people * quality)))
    return judge.astype(float), delta, quality, np.arange(n)


def test_a_known_effect_is_recovered() -> None:
    found = longer_at_matched_quality(*simulate(1.5, 1.0, people_like_length=0.5), samples=100)
    truth = 1 / (1 + np.exp(-1.5 * np.tanh(1.0)))
    assert found.value == pytest.approx(truth, abs=0.03)
    assert found.lower is not None
    assert found.upper is not None
    assert found.lower < truth < found.upper


def test_a_judge_that_follows_people_who_like_length_is_not_blamed() -> None:
    """It prefers the longer output in most pairs, and is fair where people find both equal."""
    preference, delta, quality, cluster = simulate(0.0, 4.0, people_like_length=2.0)
    raw = np.mean((preference > 0.5) == (delta > 0))
    found = longer_at_matched_quality(preference, delta, quality, cluster, samples=100)
    assert raw > 0.6
    assert found.lower is not None
    assert found.upper is not None
    assert found.lower < 0.5 < found.upper


def test_a_judge_of_length_alone_stays_finite() -> None:
    _, delta, quality, cluster = simulate(0.0, 0.0, people_like_length=0.0, n=60)
    found = longer_at_matched_quality((delta > 0).astype(float), delta, quality, cluster, samples=30)
    assert found.value is not None
    assert 0.97 < found.value <= 1.0
    turned = longer_at_matched_quality((delta < 0).astype(float), delta, quality, cluster, samples=30)
    assert turned.value == pytest.approx(1.0 - found.value, abs=1e-4)


def test_what_cannot_be_told_is_unknown() -> None:
    ones = np.ones(20)
    assert longer_at_matched_quality(ones, np.zeros(20), np.zeros(20), np.arange(20)).value is None
    assert longer_at_matched_quality(ones[:5], np.arange(5.0), np.zeros(5), np.arange(5)).value is None
    assert longer_at_matched_quality(ones * np.nan, np.arange(20.0), np.zeros(20), np.arange(20)).value is None
    assert longer_at_matched_quality(ones, np.arange(20.0), ones * np.nan, np.arange(20)).value is None
    together = longer_at_matched_quality(ones, np.arange(20.0), np.zeros(20), np.zeros(20, dtype=int))
    assert together.value is not None
    assert together.lower is None
