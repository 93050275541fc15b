from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wizard_arena import wizard_arena

from arenaloop.ratings.agreement import (
    Scored,
    average_ranks,
    cohen_kappa,
    consistency,
    consistency_rates,
    fleiss_kappa,
    kendall,
    krippendorff_alpha,
    mean_spearman,
    percent_agreement,
    separation,
    spearman,
)


@pytest.mark.parametrize(
    ("column", "rows", "rho", "agreement", "differentiation", "opposite", "undecided"),
    [
        (1, 23, 98.7892, (219, 225), (247, 253), 2, 2),
        (2, 23, 98.8386, (221, 225), (245, 253), 1, 2),
        (1, 22, 98.6162, (197, 203), (225, 231), 2, 2),
        (2, 22, 98.6727, (199, 203), (223, 231), 1, 2),
    ],
)
def test_golden_a2_consistency_of_wizardarena_with_lmsys(
    column: int,
    rows: int,
    rho: float,
    agreement: tuple[int, int],
    differentiation: tuple[int, int],
    opposite: int,
    undecided: int,
) -> None:
    boards = wizard_arena()
    if rows == 22:
        for board in boards:
            del board["GPT-4o"]
    result = consistency(boards[column], boards[0])
    assert (result.models, result.pairs, result.reference_separated) == (rows, differentiation[1], agreement[1])
    assert result.spearman == pytest.approx(rho, abs=5e-5)
    assert result.human_agreement == pytest.approx(100 * agreement[0] / agreement[1])
    assert result.differentiation == pytest.approx(100 * differentiation[0] / differentiation[1])
    assert (result.opposite, result.undecided) == (opposite, undecided)
    assert result.wrongly_separated == pytest.approx(100 * opposite / (agreement[1] - undecided))


@pytest.mark.parametrize(("column", "agreement"), [(1, (218, 224)), (2, (220, 224))])
def test_golden_a2_needs_touching_intervals_of_the_reference_to_be_apart(
    column: int, agreement: tuple[int, int]
) -> None:
    """An interval that only touched would not separate: 97.32 and 98.21, which are not the published values."""
    boards = wizard_arena()
    reference = {name: Scored(row.rating, row.lower - 1e-6, row.upper + 1e-6) for name, row in boards[0].items()}
    result = consistency(boards[column], reference)
    assert (result.reference_separated, result.human_agreement) == (224, pytest.approx(100 * agreement[0] / 224))
    strict = {name: Scored(row.rating, row.lower - 1e-6, row.upper + 1e-6) for name, row in boards[column].items()}
    assert consistency(strict, boards[0]).differentiation == consistency(boards[column], boards[0]).differentiation


def test_published_averages() -> None:
    reference, diverse, hard = wizard_arena()
    assert consistency(diverse, reference).average == pytest.approx(97.92, abs=0.005)
    assert consistency(hard, reference).average == pytest.approx(97.97, abs=0.005)


def test_touching_counts_as_separated_and_equal_points_do_not() -> None:
    rows = [Scored(10, 9, 11), Scored(8, 7, 9), Scored(5, 5, 5), Scored(5, 5, 5), Scored(9.5, 8, 12)]
    assert separation(rows).tolist() == [
        [0, 1, 1, 1, 0],
        [-1, 0, 1, 1, 0],
        [-1, -1, 0, 0, -1],
        [-1, -1, 0, 0, -1],
        [0, 0, 1, 1, 0],
    ]


def test_undetermined_quantities_are_none_not_zero() -> None:
    wide = {name: Scored(value, 0.0, 100.0) for name, value in (("a", 10), ("b", 20), ("c", 30))}
    result = consistency(wide, wide)
    assert result.human_agreement is None
    assert result.average is None
    assert result.spearman == pytest.approx(100)
    two = {name: wide[name] for name in ("a", "b")}
    assert consistency(two, two).spearman is None
    assert consistency({}, wide).differentiation is None


def test_intervals_hold_what_new_battles_say_on_average() -> None:
    """Of forty draws of a benchmark nearly all intervals hold the mean of all, and none is wider than need be."""
    rng = np.random.default_rng(3)
    truth, error = np.linspace(-100, 100, 12), 15.0
    reference = {f"m{i}": Scored(x, x - 2, x + 2) for i, x in enumerate(truth)}
    boards = [
        {f"m{i}": Scored(x, x - 1.96 * error, x + 1.96 * error) for i, x in enumerate(row)}
        for row in truth + error * rng.standard_normal((40, 12))
    ]
    found = [consistency(board, reference) for board in boards]
    rates = [consistency_rates(board, reference, samples=100) for board in boards]
    for name, widest in (("spearman", 15.0), ("human_agreement", 30.0), ("differentiation", 30.0), ("average", 20.0)):
        mean = np.mean([getattr(one, name) for one in found])
        ends = [(rate[name].lower, rate[name].upper) for rate in rates]
        assert np.mean([lower is not None and lower <= mean <= upper for lower, upper in ends]) >= 0.9
        assert all(-100 <= lower <= upper <= 100 for lower, upper in ends)
        assert np.mean([upper - lower for lower, upper in ends]) < widest
        assert [rate[name].value for rate in rates] == [getattr(one, name) for one in found]


def test_intervals_of_open_ends_exact_lists_and_nothing() -> None:
    board = {name: Scored(v, v - 5, v + 5) for name, v in (("a", 10.0), ("b", 20.0), ("c", 30.0))}
    opened = consistency_rates({**board, "c": Scored(30, 25, np.inf)}, board)
    assert opened == consistency_rates({**board, "c": Scored(30, 25, np.inf)}, board)  # seeded
    assert opened["human_agreement"].lower is not None
    exact = {name: Scored(v, v, v) for name, v in (("a", 10.0), ("b", 20.0), ("c", 30.0))}
    assert [(rate.lower, rate.upper) for rate in consistency_rates(exact, exact).values()] == [(100.0, 100.0)] * 4
    assert {rate.value for rate in consistency_rates({}, board).values()} == {None}


def test_only_shared_models_count_and_broken_intervals_are_refused() -> None:
    board = {name: Scored(v, v - 1, v + 1) for name, v in (("a", 10.0), ("b", 20.0), ("c", 30.0))}
    assert consistency(board, {**board, "d": Scored(1, 2, 0)}).models == 3
    with pytest.raises(ValueError, match="b: 21"):
        consistency(board, {**board, "b": Scored(20, 21, 19)})
    with pytest.raises(ValueError, match="no interval"):
        consistency(board, {**board, "b": Scored(float("nan"), 1, 2)})


def test_average_ranks_share_ties() -> None:
    assert average_ranks([10, 20, 20, 5]).tolist() == [2, 3.5, 3.5, 1]


def test_rank_correlations_on_worked_examples() -> None:
    # Spearman: 1 - 6 * 194 / (10 * 99), the IQ and TV hours example of Wikipedia's "Spearman's rank correlation"
    iq = [106, 100, 86, 101, 99, 103, 97, 113, 112, 110]
    hours = [7, 27, 2, 50, 28, 29, 20, 12, 6, 17]
    assert spearman(iq, hours) == pytest.approx(-29 / 165)
    # tau-b with a tie: 4 concordant, 1 discordant of 6 pairs, one tied in x
    assert kendall([1, 2, 2, 3], [1, 3, 2, 0]) == pytest.approx((2 - 3) / np.sqrt(5 * 6))
    assert kendall([1, 1], [1, 2]) is None


@given(st.lists(st.floats(-100, 100), min_size=3, max_size=12, unique=True), st.randoms())
def test_correlations_are_symmetric_and_blind_to_monotone_maps(x: list[float], random: object) -> None:
    y = list(x)
    random.shuffle(y)  # type: ignore[attr-defined]
    assert spearman(x, y) == pytest.approx(spearman(y, x))
    assert spearman(average_ranks(x) ** 3, y) == pytest.approx(spearman(x, y))
    assert kendall(average_ranks(x) ** 3, y) == pytest.approx(kendall(x, y))
    assert spearman(x, x) == pytest.approx(1)
    assert kendall(x, [-v for v in x]) == pytest.approx(-1)


def test_cohen_on_the_worked_example() -> None:
    # Wikipedia, "Cohen's kappa": 50 grant proposals, 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no
    first = ["y"] * 25 + ["n"] * 25
    second = ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)
    assert percent_agreement(first, second) == pytest.approx(70)
    assert cohen_kappa([*first, None], [*second, "y"]) == pytest.approx(0.4)
    assert cohen_kappa(["y"] * 3, ["y"] * 3) is None
    assert percent_agreement([None], ["y"]) is None


def test_fleiss_on_the_worked_example() -> None:
    # Fleiss 1971 as given in Wikipedia, "Fleiss' kappa": 14 raters, 10 subjects, 5 categories
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert fleiss_kappa(counts) == pytest.approx(0.210, abs=5e-4)
    with pytest.raises(ValueError, match="same number of labels"):
        fleiss_kappa([[1, 1], [1, 2]])
    assert fleiss_kappa([[2, 0], [2, 0]]) is None


def test_krippendorff_on_the_worked_example() -> None:
    # Wikipedia, "Krippendorff's alpha": three coders, 15 units, gaps
    gap = np.nan
    coders = [
        [gap, gap, gap, gap, gap, 3, 4, 1, 2, 1, 1, 3, 3, gap, 3],
        [1, gap, 2, 1, 3, 3, 4, 3, gap, gap, gap, gap, gap, gap, gap],
        [gap, gap, 2, 1, 3, 4, 4, gap, 2, 1, 1, 3, 3, gap, 4],
    ]
    assert krippendorff_alpha(coders) == pytest.approx(0.691, abs=5e-4)
    assert krippendorff_alpha(coders, metric="interval") == pytest.approx(0.811, abs=5e-4)
    assert krippendorff_alpha(coders, metric="ordinal") == pytest.approx(0.807, abs=5e-4)
    assert krippendorff_alpha([[1, 1], [1, 1]]) is None
    with pytest.raises(ValueError, match="metric"):
        krippendorff_alpha(coders, metric="ratio")


def test_two_raters_without_gaps_krippendorff_tends_to_fleiss() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 3, 20_000)
    second = np.where(rng.random(20_000) < 0.6, first, rng.integers(0, 3, 20_000))
    counts = np.stack([(first == c).astype(int) + (second == c) for c in range(3)], axis=1)
    assert krippendorff_alpha([first, second]) == pytest.approx(fleiss_kappa(counts), abs=1e-4)


def test_mean_spearman_is_that_of_the_means_with_an_interval_around_it() -> None:
    rng = np.random.default_rng(0)
    strength = np.linspace(0.3, 0.7, 5)[:, None]
    first, second = (rng.binomial(1, strength, (5, 400)).astype(float) for _ in range(2))
    first[2, :50] = np.nan
    found = mean_spearman(first, second)
    assert found.value == pytest.approx(spearman(np.nanmean(first, axis=1), second.mean(axis=1)))
    assert found.lower is not None
    assert found.upper is not None
    assert found.lower <= found.value <= found.upper
    assert mean_spearman(first, second) == found  # seeded


def test_mean_spearman_of_pure_chance_has_a_wide_interval() -> None:
    rng = np.random.default_rng(1)
    found = mean_spearman(rng.random((6, 30)), rng.random((6, 30)))
    assert found.lower is not None
    assert found.upper is not None
    assert found.lower < 0 < found.upper


def test_mean_spearman_needs_a_score_of_every_model() -> None:
    scores = np.ones((4, 5))
    scores[1] = np.nan
    assert mean_spearman(scores, np.ones((4, 5))).value is None
    assert mean_spearman(np.ones((4, 5)), np.ones((4, 5))).value is None  # no ranking at all
    with pytest.raises(ValueError, match="against"):
        mean_spearman(scores, np.ones((4, 4)))
