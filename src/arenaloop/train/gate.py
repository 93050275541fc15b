"""What a reward model is worth: its accuracy on pairs that it has not seen, beside judges that need no training.

Pure functions. Shapes: P pairs, the preferred answer of each first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from arenaloop.ratings.paired_rates import clustered_difference
from arenaloop.ratings.rates import clustered_rate

__all__ = ["RIGHT_AT", "pair_report", "report_line"]

Floats = npt.NDArray[np.float64]

_BINS = 10
RIGHT_AT = "right_at_"
"""What the names of shares that are right begin with, in a bin of claimed probabilities."""


def pair_report(
    scores: Floats, lengths: Floats, likelihoods: Floats, prompts: Sequence[str]
) -> dict[str, list[float | None]]:
    """Measure scores on held-out pairs.

    Args:
        scores: (P, 2), of the reward model.
        lengths: (P, 2), tokens of the answers.
        likelihoods: (P, 2), the start's own log-probability per root of the tokens.
        prompts: (P,), which pairs belong together: intervals take a prompt's pairs as one cluster.

    Returns:
        By name the figure and the two ends of its 95 % interval (None without one): ``pairs``, ``accuracy`` (an equal
        score is half right), ``accuracy_likelihood`` and ``accuracy_longest`` of the two baselines, ``over_likelihood``
        (the difference of the accuracies, paired), ``calibration_error`` (mean distance between the probability that
        the scores claim, ``sigma(difference)``, and the share that is right, over ten bins of equal width), of each
        bin ``right_at_`` the mean probability that is claimed in it, and ``length_correlation`` (of differences of
        scores with differences of lengths; None where either has no spread).
    """
    _, cluster = np.unique(np.asarray(prompts), return_inverse=True)
    right = {
        name: _right(values)
        for name, values in (
            ("accuracy", scores),
            ("accuracy_likelihood", likelihoods),
            ("accuracy_longest", lengths),
        )
    }
    report: dict[str, list[float | None]] = {"pairs": [float(len(scores))]}
    for name, each in right.items():
        rate = clustered_rate(each, np.ones(len(each)), cluster)
        report[name] = [rate.value, rate.lower, rate.upper]
    whole = np.ones(len(scores))
    over = clustered_difference(right["accuracy"], whole, right["accuracy_likelihood"], whole, cluster)
    report["over_likelihood"] = [over.value, over.lower, over.upper]
    claimed, bins = _claimed(scores[:, 0] - scores[:, 1])
    report["calibration_error"] = [_calibration_error(claimed, right["accuracy"], bins)]
    for number in np.unique(bins):
        some = bins == number
        rate = clustered_rate(right["accuracy"][some], np.ones(some.sum()), cluster[some])
        report[f"{RIGHT_AT}{claimed[some].mean():.3f}"] = [rate.value, rate.lower, rate.upper]
    report["length_correlation"] = [_correlation(scores[:, 0] - scores[:, 1], lengths[:, 0] - lengths[:, 1])]
    return report


def report_line(report: dict[str, list[float | None]]) -> str:
    """A report in one line: a reward model's, or other figures by their names."""
    if "pairs" not in report:
        return ", ".join(f"{name} {value:.4g}" for name, (value, *_) in report.items() if value is not None)

    def share(name: str) -> str:
        value, *ends = report[name]
        shown = "–" if value is None else f"{value:.3f}"
        low, high = ends if len(ends) == 2 else (None, None)
        return shown if low is None or high is None else f"{shown} [{low:.3f}, {high:.3f}]"

    return (
        f"accuracy on {int(report['pairs'][0] or 0):,} held-out pairs {share('accuracy')}; without a reward model: by "
        f"the start's likelihood {share('accuracy_likelihood')}, by length {share('accuracy_longest')}, a coin 0.500; "
        f"over the likelihood {share('over_likelihood')}; calibration error {share('calibration_error')}, correlation "
        f"with length {share('length_correlation')}"
    )


def _right(values: Floats) -> Floats:
    return 0.5 + 0.5 * np.sign(values[:, 0] - values[:, 1])


def _claimed(difference: Floats) -> tuple[Floats, npt.NDArray[np.intp]]:
    """The probability that the answer that is scored higher is the better one, and its bin."""
    claimed = 1 / (1 + np.exp(-np.abs(difference)))
    return claimed, np.minimum(((claimed - 0.5) * 2 * _BINS).astype(int), _BINS - 1)


def _calibration_error(claimed: Floats, right: Floats, bins: npt.NDArray[np.intp]) -> float:
    return float(np.abs(np.bincount(bins, claimed - right, minlength=_BINS)).sum() / len(claimed))


def _correlation(one: Floats, other: Floats) -> float | None:
    if one.std() < 1e-12 or other.std() < 1e-12:
        return None
    return float(np.corrcoef(one, other)[0, 1])
