"""How well two rankings, or two sets of labels, agree.

Rankings: Spearman, Kendall, and the consistency of a benchmark with a reference as in Arena Learning (arXiv 2407.10627,
section 4.3) and Arena-Hard (arXiv 2406.11939, section 3): agreement and differentiation at the intervals' level.
Labels: percent agreement, Cohen's and Fleiss' kappa, Krippendorff's alpha.

A quantity that the data do not determine is None, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from arenaloop.ratings.arrays import FloatArray, IntArray
from arenaloop.ratings.rates import Rate, resampled

__all__ = [
    "Consistency",
    "Scored",
    "average_ranks",
    "cohen_kappa",
    "consistency",
    "consistency_rates",
    "fleiss_kappa",
    "has_intervals",
    "kendall",
    "krippendorff_alpha",
    "mean_spearman",
    "percent_agreement",
    "separation",
    "spearman",
]


@dataclass(frozen=True, slots=True)
class Scored:
    """A model's score and interval on one leaderboard; an end that is open is infinite."""

    rating: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class Consistency:
    """A benchmark against a reference; shares and correlations in percent, None where undetermined.

    Attributes:
        models: models that both lists rate.
        pairs: pairs of them.
        reference_separated: pairs whose intervals the reference separates; None where it has none.
        spearman: rank correlation of the scores (needs 3 models).
        human_agreement: over the pairs that the reference separates, the mean of +1 (same order), -1 (opposite) and 0
            (the benchmark cannot tell).
        differentiation: share of all pairs that the benchmark separates. It is None where the benchmark has no
            intervals, and so is human agreement where either list has none.
        average: mean of the three.
        opposite, undecided: separated pairs of the reference that the benchmark orders the other way, or not at all.
        wrongly_separated: of the pairs that both separate, the share that the benchmark orders the other way: what a
            high differentiation may hide.
        kendall: tau-b of the scores.
    """

    models: int
    pairs: int
    reference_separated: int | None
    spearman: float | None
    human_agreement: float | None
    differentiation: float | None
    average: float | None
    opposite: int
    undecided: int
    wrongly_separated: float | None
    kendall: float | None


def consistency(benchmark: Mapping[str, Scored], reference: Mapping[str, Scored]) -> Consistency:
    """Compare the models that both lists hold.

    Raises:
        ValueError: an interval that does not hold its own score's order (lower above upper), or a score that is not
            finite.
    """
    ours, theirs = _columns(benchmark, reference)
    found = _compared(ours, theirs)
    apart, told = _pairs(ours), _pairs(theirs)
    both = apart[told != 0] * told[told != 0]
    known = _known(ours), _known(theirs)
    opposite, decided = int((both < 0).sum()), int((both != 0).sum())
    tau = kendall(ours[0], theirs[0])
    return Consistency(
        models=ours.shape[1],
        pairs=len(apart),
        reference_separated=len(both) if known[1] else None,
        spearman=found["spearman"],
        human_agreement=found["human_agreement"],
        differentiation=found["differentiation"],
        average=found["average"],
        opposite=opposite,
        undecided=len(both) - decided if all(known) else 0,
        wrongly_separated=100.0 * opposite / decided if decided else None,
        kendall=None if tau is None else 100.0 * tau,
    )


def consistency_rates(
    benchmark: Mapping[str, Scored], reference: Mapping[str, Scored], *, samples: int = 400, seed: int = 0
) -> dict[str, Rate]:
    """The four figures of `consistency` in percent, with 95 % intervals for new battles and votes of the same models.

    Both lists are drawn anew: every rating moves by a normal error of the size that its own 95 % interval tells, and
    takes the interval along (of one with an open end, the other end tells). The interval is the figure, give or take
    1.96 standard deviations of the draws, within what it can be: percentiles would lie too low, as a draw adds its
    noise to that of the ratings. It knows of chance only, and nothing of a judge that errs alike on every prompt.
    Where a list has no intervals, nobody knows how far its ratings are chance: what needs them has none either.

    Args:
        samples, seed: of the draws.

    Raises:
        ValueError: as `consistency` does.
    """
    found = consistency(benchmark, reference)
    rng = np.random.default_rng(seed)
    lists, blind = [], []
    for columns in _columns(benchmark, reference):
        blind.append(not _known(columns))
        rating, lower, upper = columns
        ends = np.stack([rating - lower, upper - rating])
        error = np.where(np.isfinite(ends), ends, ends[::-1]).mean(axis=0) / _TWO_SIDED
        error = np.where(np.isfinite(error), error, 0.0)
        lists.append(columns[None] + (rng.standard_normal((samples, len(rating))) * error)[:, None, :])
    drawn = [_compared(ours, theirs) for ours, theirs in zip(*lists, strict=True)]
    rates = {}
    for name in ("spearman", "human_agreement", "differentiation", "average"):
        value: float | None = getattr(found, name)
        known = [each for one in drawn if (each := one[name]) is not None]
        alone = blind[:1] if name == "differentiation" else blind
        if value is None or len(known) < samples / 2 or any(alone):
            rates[name] = Rate(value, n=found.pairs)
            continue
        error_ = float(np.std(known))
        half, least = _TWO_SIDED * error_, 0.0 if name == "differentiation" else -100.0
        rates[name] = Rate(value, max(least, value - half), min(100.0, value + half), error_, found.pairs)
    return rates


_TWO_SIDED = NormalDist().inv_cdf(0.975)


def has_intervals(board: Mapping[str, Scored]) -> bool:
    """Whether any of its models has an end that is not open."""
    return any(np.isfinite(end) for row in board.values() for end in (row.lower, row.upper))


def _known(columns: FloatArray) -> bool:
    """The same, of columns of shape (3, n)."""
    return bool(np.isfinite(columns[1:]).any()) or columns.shape[1] == 0


def _columns(benchmark: Mapping[str, Scored], reference: Mapping[str, Scored]) -> tuple[FloatArray, FloatArray]:
    """Rating, lower and upper end of the models that both lists hold, each of shape (3, n)."""
    shared = [model for model in benchmark if model in reference]
    for board in (benchmark, reference):
        for model in shared:
            row = board[model]
            if not np.isfinite(row.rating) or not row.lower <= row.upper:
                raise ValueError(f"{model}: {row.lower} to {row.upper} around {row.rating} is no interval")
    one, other = (
        np.array([(board[m].rating, board[m].lower, board[m].upper) for m in shared], dtype=np.float64).reshape(-1, 3).T
        for board in (benchmark, reference)
    )
    return one, other


def _compared(ours: FloatArray, theirs: FloatArray) -> dict[str, float | None]:
    """Spearman, human agreement, differentiation and their average, in percent, of columns of shape (3, n)."""
    apart, told = _pairs(ours), _pairs(theirs)
    rho = spearman(ours[0], theirs[0])
    able = _known(ours)
    shares = [
        None if rho is None else 100.0 * rho,
        100.0 * float((apart * told)[told != 0].mean()) if told.any() and able else None,
        100.0 * float((apart != 0).mean()) if len(apart) and able else None,
    ]
    known = [share for share in shares if share is not None]
    average = float(np.mean(known)) if len(known) == 3 else None
    return dict(zip(("spearman", "human_agreement", "differentiation", "average"), [*shares, average], strict=True))


def _pairs(columns: FloatArray) -> IntArray:
    """+1, -1 or 0 for every pair, as `separation` has it."""
    i, j = np.triu_indices(columns.shape[1], 1)
    return _above(columns[1], columns[2])[i, j]


def separation(rows: Sequence[Scored]) -> IntArray:
    """+1 where the row's interval lies above the column's, -1 below, 0 where they overlap; shape (n, n).

    Intervals that only touch count as separated (the published values need it on the reference side); two of no width
    at the same place do not.
    """
    lower = np.array([row.lower for row in rows], dtype=np.float64)
    upper = np.array([row.upper for row in rows], dtype=np.float64)
    return _above(lower, upper)


def _above(lower: FloatArray, upper: FloatArray) -> IntArray:
    above = lower[:, None] >= upper[None, :]
    return np.asarray(above.astype(np.int64) - above.T.astype(np.int64))


def average_ranks(values: npt.ArrayLike) -> FloatArray:
    """Ranks from 1, equal values sharing the mean of theirs, shape (n,)."""
    x = np.asarray(values, dtype=np.float64)
    _, where, counts = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2.0)[where], dtype=np.float64)


def spearman(x: npt.ArrayLike, y: npt.ArrayLike) -> float | None:
    """Pearson correlation of average ranks, in [-1, 1]; None for fewer than 3 pairs or without variation."""
    a, b = average_ranks(x), average_ranks(y)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} values against {len(b)}")
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    a, b = a - a.mean(), b - b.mean()
    return float((a @ b) / np.sqrt((a @ a) * (b @ b)))


def mean_spearman(
    first: FloatArray, second: FloatArray, *, samples: int = 1000, seed: int = 0, level: float = 0.95
) -> Rate:
    """Rank correlation of M models' mean scores under two evaluators, with a percentile interval over prompts.

    Each resample draws prompts, for both evaluators alike. It adds the noise of the draw to that of the means, so the
    interval reaches rather too far down.

    Args:
        first, second: scores, shape (M, P), NaN where there is none; every model needs one under each.
        samples, seed: of the bootstrap.
        level: of the interval.
    """
    if first.shape != second.shape:
        raise ValueError(f"{first.shape} scores against {second.shape}")
    known = [~np.isnan(scores) for scores in (first, second)]
    filled = [np.where(there, scores, 0.0) for there, scores in zip(known, (first, second), strict=True)]
    prompts = first.shape[1]

    def correlation(weight: FloatArray) -> float | None:
        sums = [(scores @ weight, there @ weight) for scores, there in zip(filled, known, strict=True)]
        if any((n == 0).any() for _, n in sums):
            return None
        return spearman(*(np.round(total / n, 12) for total, n in sums))

    value = correlation(np.ones(prompts))
    drawn = resampled(np.random.default_rng(seed), prompts, samples) if value is not None else np.zeros((0, prompts))
    found = [each for weight in drawn if (each := correlation(weight)) is not None]
    if value is None or len(found) < samples / 2:
        return Rate(value, n=prompts)
    tail = (1.0 - level) / 2.0
    lower, upper = (float(end) for end in np.quantile(found, [tail, 1.0 - tail]))
    return Rate(value, min(lower, value), max(upper, value), float(np.std(found)), prompts)


def kendall(x: npt.ArrayLike, y: npt.ArrayLike) -> float | None:
    """Kendall's tau-b, in [-1, 1]; None for fewer than 2 pairs or without variation."""
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} values against {len(b)}")
    i, j = np.triu_indices(len(a), 1)
    s, t = np.sign(a[i] - a[j]), np.sign(b[i] - b[j])
    scale = np.sqrt((s @ s) * (t @ t))
    return float((s @ t) / scale) if scale > 0 else None


def percent_agreement(first: Sequence[object], second: Sequence[object]) -> float | None:
    """Share of equal labels in percent, over the items that both labelled (None means no label)."""
    both = _labelled(first, second)
    return 100.0 * float(np.mean([a == b for a, b in both])) if both else None


def cohen_kappa(first: Sequence[object], second: Sequence[object]) -> float | None:
    """Cohen's kappa of two annotators (Cohen 1960), over the items that both labelled.

    None without such items, or where chance agreement is complete (both gave one and the same label throughout).
    """
    both = _labelled(first, second)
    if not both:
        return None
    labels = list(dict.fromkeys(label for pair in both for label in pair))
    table = np.zeros((len(labels), len(labels)))
    for a, b in both:
        table[labels.index(a), labels.index(b)] += 1.0
    table /= table.sum()
    chance = float(table.sum(axis=1) @ table.sum(axis=0))
    return (float(np.trace(table)) - chance) / (1.0 - chance) if chance < 1.0 else None


def fleiss_kappa(counts: npt.ArrayLike) -> float | None:
    """Fleiss' kappa of many annotators (Fleiss 1971).

    Args:
        counts: labels of each category for each item, shape (items, categories); every item has the same number (at
            least 2) of labels.

    Returns:
        Kappa, or None where chance agreement is complete.

    Raises:
        ValueError: items with different numbers of labels, or with fewer than two.
    """
    table = np.asarray(counts, dtype=np.float64)
    raters = table.sum(axis=1)
    if len(table) == 0 or (raters != raters[0]).any() or raters[0] < 2:
        raise ValueError("every item needs the same number of labels, two or more (see krippendorff_alpha otherwise)")
    n = raters[0]
    observed = float(((table * table).sum(axis=1) - n).mean() / (n * (n - 1.0)))
    share = table.sum(axis=0) / table.sum()
    chance = float(share @ share)
    return (observed - chance) / (1.0 - chance) if chance < 1.0 else None


def krippendorff_alpha(labels: npt.ArrayLike, *, metric: str = "nominal") -> float | None:
    """Krippendorff's alpha for any number of annotators with gaps (Krippendorff 2011, "Computing alpha").

    Args:
        labels: shape (annotators, items), NaN where there is no label.
        metric: ``"nominal"`` (codes), ``"ordinal"`` or ``"interval"``.

    Returns:
        Alpha, or None where fewer than two values can be paired or all of them are equal.

    Raises:
        ValueError: the metric does not exist.
    """
    if metric not in ("nominal", "ordinal", "interval"):
        raise ValueError(f"metric must be nominal, ordinal or interval, not {metric!r}")
    table = np.asarray(labels, dtype=np.float64)
    values = np.unique(table[~np.isnan(table)])
    coincidence = np.zeros((len(values), len(values)))
    for item in table.T:
        given = item[~np.isnan(item)]
        if len(given) < 2:
            continue
        tally = (given[:, None] == values[None, :]).sum(axis=0).astype(np.float64)
        coincidence += (np.outer(tally, tally) - np.diag(tally)) / (len(given) - 1.0)
    n_c = coincidence.sum(axis=1)
    n = n_c.sum()
    if metric == "nominal":
        distance = 1.0 - np.eye(len(values))
    elif metric == "interval":
        distance = (values[:, None] - values[None, :]) ** 2
    else:
        # the span of ranks between two values, each end counted half
        below = np.cumsum(n_c) - n_c / 2.0
        distance = (below[:, None] - below[None, :]) ** 2
    expected = float(n_c @ distance @ n_c)
    if n < 2 or expected == 0:
        return None
    return 1.0 - (n - 1.0) * float((coincidence * distance).sum()) / expected


def _labelled(first: Sequence[object], second: Sequence[object]) -> list[tuple[object, object]]:
    if len(first) != len(second):
        raise ValueError(f"{len(first)} labels against {len(second)}")
    return [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
