from __future__ import annotations

import numpy as np
import pytest

from arenaloop.ratings.arrays import FloatArray
from arenaloop.ratings.length_control import estimate_difficulty, length_controlled, standardised_length
from arenaloop.ratings.win_rate import Annotations, preference_from_logprobs, win_rates


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def world(models: int = 6, prompts: int = 400, seed: int = 0, effect: float = -1.5) -> tuple[Annotations, np.ndarray]:
    """Soft preferences of models that differ in strength and in length; also the prompts' difficulty."""
    rng = np.random.default_rng(seed)
    gamma = rng.standard_normal(prompts)
    gamma -= gamma.mean()
    model = np.repeat(np.arange(models), prompts)
    prompt = np.tile(np.arange(prompts), models)
    ours: FloatArray = 1000 + 150 * model + 300 * rng.standard_normal(len(model))
    theirs = np.full(len(model), 1200.0)
    z = np.concatenate([standardised_length((theirs - ours)[model == m]) for m in range(models)])
    strength = np.linspace(-2, 0.5, models)
    p = sigmoid(strength[model] + effect * z + gamma[prompt])
    preference = 1.0 + (rng.random(len(model)) < p).astype(np.float64)
    names = tuple(f"m{i}" for i in range(models))
    return Annotations("base", names, tuple(range(prompts)), model, prompt, preference, ours, theirs), gamma


def one_model(preference: list[float], ours: list[float], theirs: list[float]) -> Annotations:
    n = len(preference)
    return Annotations(
        "base", ("m",), tuple(range(n)), np.zeros(n, int), np.arange(n), np.array(preference, float),
        np.array(ours, float), np.array(theirs, float),
    )  # fmt: skip


def test_golden_e1_preference_from_log_probabilities() -> None:
    assert preference_from_logprobs(-0.1, -2.4) == pytest.approx(1.091123, abs=1e-6)
    assert preference_from_logprobs(-0.1, None) == 1.0
    assert preference_from_logprobs(None, -0.1) == 2.0
    assert preference_from_logprobs(None, None) is None
    assert preference_from_logprobs(-0.1, -2.4, switched=True) == pytest.approx(3 - 1.091123, abs=1e-6)


def test_golden_e2_length_control() -> None:
    delta = np.array([100.0, -50, 0, 250])
    assert delta.std(ddof=1) == pytest.approx(132.287566)
    z = standardised_length(delta)
    assert z == pytest.approx([0.638673, -0.360938, 0, 0.955358], abs=1e-6)
    gamma = np.array([-1, 0, 0.5, 2])
    assert length_controlled(gamma, b_diff=0.4, b_model=-0.3) == pytest.approx(46.371246, abs=1e-6)
    assert 100 * sigmoid(0.6 * z + 0.4 * gamma - 0.3).mean() == pytest.approx(50.383538, abs=1e-6)


def test_raw_win_rate_and_its_standard_error() -> None:
    row = win_rates(one_model([1, 2, 1.5, 1.8, 0, float("nan")], [5] * 6, [7] * 6))[0]
    y = np.array([0, 1, 0.5, 0.8, 0.5])  # the legacy 0 is a draw, the failed one is no preference
    assert row.win_rate == pytest.approx(100 * y.mean())
    assert row.standard_error == pytest.approx(100 * y.std(ddof=1) / np.sqrt(5))
    assert (row.n_wins, row.n_draws, row.n_total) == (2, 2, 5)
    assert row.avg_length == 5
    assert row.lc_win_rate is None
    assert set(row.flags) == {"failed_annotations", "constant_length"}
    assert row.lower is not None
    assert row.upper is not None
    assert row.lower < row.win_rate < row.upper


def test_several_votes_on_a_prompt_are_no_further_prompts() -> None:
    once = win_rates(one_model([1, 2, 2, 1, 2, 1.5], [5] * 6, [7] * 6))[0]
    votes = Annotations(
        "base", ("m",), tuple(range(6)), np.zeros(24, int), np.repeat(np.arange(6), 4),
        np.repeat([1, 2, 2, 1, 2, 1.5], 4).astype(float), np.full(24, 5.0), np.full(24, 7.0),
    )  # fmt: skip
    four = win_rates(votes)[0]
    assert (four.win_rate, four.standard_error) == pytest.approx((once.win_rate, once.standard_error))
    assert (four.lower, four.upper) == pytest.approx((once.lower, once.upper), abs=1.0)


def test_an_interval_of_nothing_but_wins_has_width() -> None:
    row = win_rates(one_model([2] * 30, [5] * 30, [7] * 30), control="length", samples=50)[0]
    assert row.lower == pytest.approx(88.0, abs=1.0)  # Wilson's, 30 of 30
    assert row.upper == 100
    assert (row.lc_lower, row.lc_upper) == (None, None)
    assert "few_wins_or_losses" in row.flags


def test_one_win_is_too_few_for_a_length_controlled_interval() -> None:
    for wins, known in ((1, False), (2, True), (58, True), (59, False)):
        preferences = [2.0] * wins + [1.0] * (60 - wins)
        row = win_rates(one_model(preferences, [*range(60)], [30] * 60), control="length", samples=99)[0]
        assert (row.lc_lower is not None) == (row.lc_upper is not None) == known
        assert row.lower is not None


def test_draws_are_no_certainty() -> None:
    """Resamples of draws alone are all alike, as are nearly all of those of draws and one win."""
    cases: tuple[tuple[list[int], bool, bool], ...] = (
        ([], False, True),
        ([2], False, True),
        ([2, 1], True, True),
        ([2, 1] * 5, True, False),
    )
    for others, known, flagged in cases:
        preferences = [*others, *[1.5] * (40 - len(others))]
        row = win_rates(one_model(preferences, [*range(40)], [30] * 40), control="length", samples=99)[0]
        assert (row.lc_lower is not None) == (row.lc_upper is not None) == known
        assert ("few_wins_or_losses" in row.flags) == flagged
        assert row.upper - row.lower > 8


def test_few_wins_or_losses_are_flagged() -> None:
    for wins, flagged in ((9, True), (10, False), (50, False), (51, True)):
        preferences = [2.0] * wins + [1.0] * (60 - wins)
        row = win_rates(one_model(preferences, [*range(60)], [30] * 60), control="length", samples=9)[0]
        assert ("few_wins_or_losses" in row.flags) == flagged
        assert row.lc_lower is not None


def test_the_glm_fit_satisfies_its_score_equations() -> None:
    annotations, gamma = world()
    rows = win_rates(annotations, control="length", difficulty=dict(enumerate(gamma)), samples=2)
    for row in rows:
        assert row.weights is not None
        mine = annotations.model == annotations.models.index(row.model)
        z = standardised_length((annotations.length_baseline - annotations.length_model)[mine])
        fitted = sigmoid(row.weights["length"] * z + row.weights["difficulty"] * gamma + row.weights["model"])
        residual = annotations.preference[mine] - 1 - fitted
        assert np.array([residual @ z, residual @ gamma, residual.sum()]) == pytest.approx(np.zeros(3), abs=1e-5)
        expected = length_controlled(gamma, b_diff=row.weights["difficulty"], b_model=row.weights["model"])
        assert row.lc_win_rate == pytest.approx(expected)


def test_length_control_recovers_what_equal_lengths_would_give() -> None:
    annotations, gamma = world(prompts=3000)
    truth = {f"m{i}": 100 * sigmoid(s + gamma).mean() for i, s in enumerate(np.linspace(-2, 0.5, 6))}
    for row in win_rates(annotations, control="length", difficulty=dict(enumerate(gamma)), samples=200):
        assert row.lc_lower is not None
        assert row.lc_upper is not None
        error = (row.lc_upper - row.lc_lower) / 3.92
        assert error < 2.5
        assert row.lc_win_rate == pytest.approx(truth[row.model], abs=3.5 * error)
        assert row.win_rate is not None
        if row.model == "m5":  # writes far longer than the baseline, which these judges reward
            assert row.win_rate > row.lc_win_rate + 5


def test_rows_are_joined_by_prompt_and_not_by_position() -> None:
    annotations, gamma = world(models=2)
    order = np.random.default_rng(9).permutation(len(annotations.model))
    shuffled = Annotations(
        annotations.baseline, annotations.models, annotations.prompts, annotations.model[order],
        annotations.prompt[order], annotations.preference[order], annotations.length_model[order],
        annotations.length_baseline[order],
    )  # fmt: skip
    difficulty: dict[object, float] = dict(enumerate(gamma))
    for one, two in zip(
        win_rates(annotations, control="length", difficulty=difficulty, samples=50),
        win_rates(shuffled, control="length", difficulty=difficulty, samples=50),
        strict=True,
    ):
        assert one.lc_win_rate == pytest.approx(two.lc_win_rate)
        assert one.lc_lower == pytest.approx(two.lc_lower)


def test_difficulty_is_estimated_on_custom_prompts() -> None:
    annotations, gamma = world(models=20, prompts=300)
    z = np.concatenate(
        [
            standardised_length((annotations.length_baseline - annotations.length_model)[annotations.model == m])
            for m in range(20)
        ]
    )
    estimate = estimate_difficulty(annotations.model, annotations.prompt, annotations.preference - 1, z, 300)
    assert np.corrcoef(estimate, gamma)[0, 1] > 0.8
    assert estimate.mean() == pytest.approx(0, abs=1e-12)
    rows = win_rates(annotations, control="length", samples=2)
    assert not any("no_difficulty" in row.flags for row in rows)


def test_few_models_are_fitted_without_difficulty_and_say_so() -> None:
    annotations, _ = world(models=3)
    for row in win_rates(annotations, control="length", samples=2):
        assert "no_difficulty" in row.flags
        assert row.weights is not None
        assert row.weights["difficulty"] == 0


def test_equal_lengths_give_the_raw_rate_and_a_flag_instead_of_nan() -> None:
    row = win_rates(one_model([1, 2, 2, 1.5], [9] * 4, [5] * 4), control="length")[0]
    assert row.lc_win_rate == pytest.approx(row.win_rate)
    assert "no_length_variation" in row.flags


def test_unanimous_preferences_stay_finite_and_say_so() -> None:
    row = win_rates(one_model([2] * 30, list(range(30)), [10] * 30), control="length", samples=50)[0]
    assert row.win_rate == 100
    assert "penalised" in row.flags
    assert row.lc_win_rate is not None
    assert 95 < row.lc_win_rate < 100


def test_the_baseline_is_fifty_by_definition() -> None:
    annotations, _ = world(models=2)
    renamed = Annotations("m0", annotations.models, annotations.prompts, annotations.model, annotations.prompt,
                          annotations.preference, annotations.length_model, annotations.length_baseline)  # fmt: skip
    row = next(row for row in win_rates(renamed, control="length", samples=2) if row.model == "m0")
    assert (row.lc_win_rate, row.lc_lower, row.lc_upper) == (50, 50, 50)
    assert "baseline" in row.flags


def test_nothing_but_failures_is_null() -> None:
    row = win_rates(one_model([float("nan")] * 3, [1] * 3, [1] * 3), control="length")[0]
    assert (row.win_rate, row.lower, row.lc_win_rate, row.n_total) == (None, None, None, 0)
    assert "no_preferences" in row.flags


def test_regularizing_rows_pull_the_length_coefficient() -> None:
    annotations, _ = world(models=3, prompts=60)
    free = win_rates(annotations, control="length", samples=2)
    pinned = win_rates(annotations, control="length", samples=2, regularizers=["m2"])
    changed = [
        (one.weights["length"], two.weights["length"])
        for one, two in zip(free, pinned, strict=True)
        if one.model == "m0"
    ]
    assert changed[0][0] != pytest.approx(changed[0][1], abs=1e-6)
    with pytest.raises(ValueError, match="not among the models"):
        win_rates(annotations, control="length", regularizers=["base_verbose"])


def test_intervals_cover_the_truth() -> None:
    held = []
    for seed in range(60):
        annotations, gamma = world(models=1, prompts=150, seed=seed)
        row = win_rates(annotations, control="length", difficulty=dict(enumerate(gamma)), samples=200, seed=seed)[0]
        truth = 100 * sigmoid(-2 + np.random.default_rng(1).standard_normal(200_000)).mean()
        assert row.lc_lower is not None
        assert row.lc_upper is not None
        held.append(row.lc_lower <= truth <= row.lc_upper)
    assert 0.85 <= np.mean(held) <= 1.0


@pytest.mark.parametrize(("change", "message"), [({"control": "style"}, "control must be length")])
def test_impossible_settings_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        win_rates(world(models=1)[0], **change)
    with pytest.raises(ValueError, match="not between 1 and 2"):
        win_rates(one_model([2.5], [1], [1]))
