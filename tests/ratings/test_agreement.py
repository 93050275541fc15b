from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.ratings.agreement import (
    Scored,
    average_ranks,
    cohen_kappa,
    consistency,
    fleiss_kappa,
    kendall,
    krippendorff_alpha,
    mean_spearman,
    percent_agreement,
    separation,
    spearman,
)

# Model | LMSYS reference | Diverse | Hard, each score +plus -minus (arXiv 2407.10627v1, main table)
ARENA_LEARNING = """
GPT-4o|1287 3 3|1420 5 5|1420 5 5
Claude 3.5 Sonnet|1246 4 7|1389 5 6|1378 6 6
Gemini 1.5 Pro|1235 5 4|1383 6 5|1373 5 5
GPT-4-1106-Preview|1232 3 4|1369 3 5|1376 6 4
Llama-3-70B-Instruct|1227 3 3|1366 5 5|1354 6 5
Command R+|1163 4 4|1351 9 6|1327 8 6
Claude 3 Haiku|1158 4 3|1340 4 5|1345 5 5
Qwen1.5-72B-Chat|1135 3 4|1332 9 7|1312 7 5
Qwen1.5-32B-Chat|1109 4 5|1298 7 8|1276 5 8
Starling-LM-7B-beta|1108 5 5|1275 6 4|1270 6 5
WizardLM-70B|1098 7 6|1184 6 6|1163 6 5
Llama-2-70B-Chat|1097 5 4|1100 0 0|1100 0 0
Tulu-2-DPO-70B|1091 8 10|1147 8 6|1181 5 6
Vicuna-33B|1086 6 5|1113 5 7|1076 7 5
Nous-Hermes-2-Mixtral|1078 9 8|1107 8 6|1121 7 7
OpenChat-3.5|1065 9 10|1042 7 5|1050 8 5
DeepSeek-67B|1065 12 10|991 7 7|1008 5 7
Llama-2-13B-Chat|1061 5 6|1052 5 6|1041 7 7
GPT-3.5-1106|1052 5 5|955 6 7|1004 6 7
Zephyr-7B-alpha|1040 17 13|905 7 6|967 6 8
Vicuna-13B|1029 6 5|934 6 7|923 8 5
Qwen-14B-Chat|1017 9 10|916 5 7|932 6 8
Mistral-7B-Instruct-v0.1|1009 7 7|883 6 7|904 6 9
"""


def published() -> tuple[dict[str, Scored], dict[str, Scored], dict[str, Scored]]:
    boards: tuple[dict[str, Scored], dict[str, Scored], dict[str, Scored]] = ({}, {}, {})
    for line in ARENA_LEARNING.strip().splitlines():
        name, *cells = line.split("|")
        for board, cell in zip(boards, cells, strict=True):
            score, plus, minus = map(float, cell.split())
            board[name] = Scored(score, score - minus, score + plus)
    return boards


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
    boards = published()
    if rows == 22:
        for board in boards:
            del board["GPT-4o"]
    result = consistency(boards[column], boards[0])
    assert (result.models, result.pairs, result.reference_separated) == (rows, differentiation[1], agreement[1])
    assert result.spearman == pytest.approx(rho, abs=5e-5)
    assert result.human_agreement == pytest.approx(100 * agreement[0] / agreement[1])
    assert result.differentiation == pytest.approx(100 * differentiation[0] / differentiation[1])
    assert (result.opposite, result.undecided) == (opposite, undecided)


def test_published_averages() -> None:
    reference, diverse, hard = published()
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
