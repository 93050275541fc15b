"""Shares with intervals that know their clusters: several rows of one prompt are one observation, not several."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from statistics import NormalDist

import numpy as np

from arenaloop.ratings.arrays import FloatArray, IntArray
from arenaloop.ratings.student import t_quantile

__all__ = ["UNKNOWN", "Rate", "clustered_rate", "kappa", "kappa_rate", "resampled"]

_FEWEST_CLUSTERS = 1.5
"""Below it one cluster makes up more than four fifths of the rate."""
_GUARD = 2.0
"""Whole decided clusters that are added to the spread of clusters that vary less than rows that are all decided could:
so few may be decided that their own spread says little (1 win and 199 ties are no certainty)."""
_LINEAR = np.abs(np.subtract.outer(np.arange(3), np.arange(3))) / 2.0
"""Disagreement of the labels 1, 1.5 and 2 in kappa with linear weights."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A share or coefficient with its interval; None where the data do not determine it.

    Attributes:
        value: the estimate.
        lower, upper: of its interval; None with fewer than two clusters.
        standard_error: clustered; None with fewer than two clusters.
        n: pairs (rows) that were counted, however many votes each has.
    """

    value: float | None
    lower: float | None = None
    upper: float | None = None
    standard_error: float | None = None
    n: int = 0

    def scaled(self, factor: float) -> Rate:
        """The same in other units, e.g. percent."""
        return self._mapped(factor, 0.0)

    def complement(self, whole: float) -> Rate:
        """`whole` minus the rate."""
        turned = self._mapped(-1.0, whole)
        return replace(turned, lower=turned.upper, upper=turned.lower)

    def _mapped(self, factor: float, shift: float) -> Rate:
        value, lower, upper = (None if x is None else factor * x + shift for x in (self.value, self.lower, self.upper))
        error = None if self.standard_error is None else abs(factor) * self.standard_error
        return Rate(value, lower, upper, error, self.n)


UNKNOWN = Rate(None)
"""Nothing to tell."""


def clustered_rate(part: FloatArray, whole: FloatArray, cluster: IntArray, *, level: float = 0.95) -> Rate:
    """A share of sums, sum(part) / sum(whole), with an interval that takes rows of one cluster together.

    Wilson's interval at the effective sample size n* = p (1 - p) / v, where v is the variance of the ratio by
    linearisation over clusters, shrunk by (z / t)^2 with t of (clusters - 1) degrees of freedom (Korn and Graubard,
    "Confidence intervals for proportions with small expected number of positive counts estimated from survey data",
    1998; Dean and Pagano 2015). Where the clusters do not vary (p is 0 or 1), n* is the number of clusters. Clusters of
    unlike size count as Kish's effective number of them, (sum W)^2 / sum W^2; there is no interval where that is less
    than one and a half. The interval lies in [0, 1] and is never empty.

    n* may exceed the number of rows, as where nearly all are ties, by no more than v allows with `_GUARD` further
    clusters of mean square size in it, each half its size away from the rate.

    Args:
        part, whole: of each row, shape (N,), 0 <= part <= whole; rows with whole = 0 do not count.
        cluster: code of each row's cluster, shape (N,).
        level: of the interval.
    """
    total = float(whole.sum())
    if total <= 0.0:
        return UNKNOWN
    p = float(part.sum()) / total
    used = whole > 0
    _, codes = np.unique(cluster[used], return_inverse=True)
    clusters = int(codes.max()) + 1
    size = np.bincount(codes, whole[used])
    worth = total**2 / float(size @ size)
    if worth < _FEWEST_CLUSTERS:
        return Rate(p, n=int(used.sum()))
    residual = np.bincount(codes, part[used] - p * whole[used])
    scale = clusters / (clusters - 1.0) / total**2
    v = scale * float(residual @ residual)
    if v > 1e-15 and 1e-12 < p < 1.0 - 1e-12:
        guarded = v + scale * _GUARD * float(size @ size) / clusters / 4.0
        effective = min(p * (1.0 - p) / v, max(total, p * (1.0 - p) / guarded))
    else:
        effective = worth
    z = NormalDist().inv_cdf(0.5 + level / 2.0)
    effective *= (z / t_quantile(level, max(worth - 1.0, 1.0))) ** 2
    middle = (p + z * z / (2.0 * effective)) / (1.0 + z * z / effective)
    half = z * sqrt(p * (1.0 - p) / effective + (z / (2.0 * effective)) ** 2) / (1.0 + z * z / effective)
    return Rate(p, max(0.0, min(p, middle - half)), min(1.0, max(p, middle + half)), sqrt(v), int(used.sum()))


def resampled(rng: np.random.Generator, clusters: int, samples: int) -> FloatArray:
    """How often each cluster is drawn in each bootstrap resample, shape (samples, clusters)."""
    drawn = rng.integers(0, clusters, size=(samples, clusters)) + clusters * np.arange(samples)[:, None]
    return np.bincount(drawn.ravel(), minlength=samples * clusters).reshape(samples, clusters).astype(np.float64)


def kappa(tables: FloatArray, *, linear: bool) -> FloatArray:
    """Cohen's kappa of each table of counts, shape (…, 3, 3) → (…,); NaN where chance agreement is complete.

    Args:
        tables: rows one annotator's labels, columns the other's, in the order 1, 1.5, 2.
        linear: weigh disagreements by their distance (Cohen 1968), instead of all alike.
    """
    distance = _LINEAR if linear else (_LINEAR > 0).astype(np.float64)
    total = tables.sum(axis=(-2, -1))
    expected = tables.sum(axis=-1)[..., :, None] * tables.sum(axis=-2)[..., None, :]
    seen = (tables * distance).sum(axis=(-2, -1)) * total
    chance = (expected * distance).sum(axis=(-2, -1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(chance > 0, 1.0 - seen / chance, np.nan), dtype=np.float64)


def kappa_rate(
    tables: FloatArray, cluster: IntArray, *, linear: bool, level: float = 0.95, samples: int = 1000, seed: int = 0
) -> Rate:
    """Cohen's kappa over all rows, with a percentile interval from resampling whole clusters.

    Args:
        tables: counts of each row, shape (N, 3, 3), see `kappa`.
        cluster: code of each row's cluster, shape (N,).
        linear: see `kappa`.
        level, samples, seed: of the bootstrap; resamples in which kappa is undefined do not count.
    """
    used = tables.sum(axis=(1, 2)) > 0
    if not used.any():
        return UNKNOWN
    _, codes = np.unique(cluster[used], return_inverse=True)
    clusters = int(codes.max()) + 1
    count = int(used.sum())
    value = float(kappa(tables.sum(axis=0), linear=linear))
    if np.isnan(value):
        return Rate(None, n=count)
    if clusters < 2:
        return Rate(value, n=count)
    by_cluster = np.zeros((clusters, 9))
    np.add.at(by_cluster, codes, tables[used].reshape(-1, 9))
    rng = np.random.default_rng(seed)
    drawn: list[FloatArray] = []
    for start in range(0, samples, 100):  # in blocks, so that memory does not grow with clusters × samples
        times = resampled(rng, clusters, min(100, samples - start))
        drawn.append(kappa((times @ by_cluster).reshape(-1, 3, 3), linear=linear))
    found = np.concatenate(drawn)
    found = found[~np.isnan(found)]
    if len(found) < 2:
        return Rate(value, n=count)
    lower, upper = (float(q) for q in np.quantile(found, [0.5 - level / 2.0, 0.5 + level / 2.0]))
    return Rate(value, lower, upper, float(found.std(ddof=1)), count)
