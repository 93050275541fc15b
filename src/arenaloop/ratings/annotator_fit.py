"""What annotators are like, from their labels: noise, and biases of seat, length and list, each by itself and pooled.

The odds that annotator a prefers the first output of a pair are exp(eta), with

    eta = slope_a quality + seat_a s + length_a doublings + lists_a (list_1 - list_2)

s being 1 where the first output sat first, -1 where the second did, 0 where that is not known. ``quality`` is the
difference of what the outputs are worth, where somebody says so (in units of its root mean square); else it is a
standard normal number of each pair, whatever its lengths and lists, which several labels of one pair tell of, and which
is integrated out on Gauss-Hermite nodes. An annotator's four numbers are normal around the pooled ones, the spread
being estimated (empirical Bayes: EM over a Laplace approximation; Gelman et al., Bayesian Data Analysis, ch. 5 and 13),
so that somebody with few labels is taken to be like the others. Intervals of annotators are normal ones of the
curvature (Louis 1982 where quality is integrated out), the pooled values' uncertainty among it; pooled ones are
Student's, over the annotators.

Noise is told as the slope's reciprocal (how much more an output has to be worth for odds of e to 1), and as the flip
rate: how often a label contradicts the better output where nothing else tells the two apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from arenaloop.ratings.arrays import FloatArray, IntArray
from arenaloop.ratings.student import t_quantile

__all__ = ["MIN_LABELS", "AnnotatorFit", "Estimate", "LabelTable", "fit_annotators", "untold"]

MIN_LABELS = 20
_NODES = 15
_WEAK = 10.0  # standard deviation of the prior on pooled values, which keeps separated ones finite
_EM_STEPS = 60
_ONE_MORE = 0.5  # how far off one more annotator is taken to be: without it, spread of few ones is often put at 0
_REPEATED = 10  # pairs with two labels that tell of quality at least


@dataclass(frozen=True)
class LabelTable:
    """N labels, in the order of the two outputs as the file has them.

    Attributes:
        prefers_first: 1 where the first output is preferred, 0 the second, between them a soft label, shape (N,).
        annotator: code of who gave it, into `names`. `pair`: code of the pair.
        seat: 1 where the first output sat first, -1 the second, 0 unknown or both.
        doublings: log2 of the lengths' ratio, first over second. `lists`: 1 where the first alone holds a list, -1
            where the second does.
        worth: what the first is worth more than the second; None where nobody says.
    """

    prefers_first: FloatArray
    annotator: IntArray
    pair: IntArray
    seat: FloatArray
    doublings: FloatArray
    lists: FloatArray
    names: Sequence[str]
    worth: FloatArray | None = None


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; an end at infinity is None."""

    value: float | None
    lower: float | None
    upper: float | None


@dataclass(frozen=True)
class AnnotatorFit:
    """What was estimated.

    Attributes:
        pooled: by quantity: ``noise`` (only beside worth), ``flip_rate``, ``seat``, ``length``, ``lists``.
        annotators: the same of each.
        spread: standard deviation of each quantity's coefficient (``slope`` for noise) over annotators.
        labels: how many were used, of each annotator.
        missing: what could not be estimated, and why.
    """

    pooled: dict[str, Estimate]
    annotators: dict[str, dict[str, Estimate]]
    spread: dict[str, float]
    labels: dict[str, int]
    missing: dict[str, str] = field(default_factory=dict)


def fit_annotators(table: LabelTable, *, level: float = 0.95) -> AnnotatorFit:
    """Estimate all that the labels determine.

    Raises:
        ValueError: fewer than `MIN_LABELS` labels, or all of one value; says what cannot be estimated.
    """
    count = len(table.prefers_first)
    nothing = "so neither noise nor a bias of seat, length or list can be estimated"
    if count < MIN_LABELS:
        raise ValueError(f"{count} labels that prefer an output, fewer than {MIN_LABELS}, {nothing}")
    if np.ptp(table.prefers_first) == 0:
        which = "first" if table.prefers_first[0] > 0.5 else "second"
        raise ValueError(f"all {count:,} labels prefer the {which} output, {nothing}")
    columns, missing, scale = _columns(table)
    if not columns:
        raise ValueError(f"{'; '.join(missing.values())}: nothing can be estimated")
    latent = "slope" in columns and table.worth is None
    try:
        theta, mean, covariance, spread = _empirical_bayes(_Model(table, columns, latent=latent))
    except np.linalg.LinAlgError:  # no maximum: only the latent likelihood, which is not concave, can lack one
        del columns["slope"]
        missing["noise"] = "it cannot be told from these labels"
        if not columns:
            raise ValueError("noise cannot be told from these labels: nothing can be estimated") from None
        theta, mean, covariance, spread = _empirical_bayes(_Model(table, columns, latent=False))
    people, width = theta.shape
    normal = t_quantile(level, np.inf)
    over_people = t_quantile(level, people - 1) if people > 1 else normal
    errors = np.sqrt(np.diag(covariance))
    flip = _flip_rate(table, scale)

    def told(values: FloatArray, error: FloatArray, quantile: float) -> dict[str, Estimate]:
        out: dict[str, Estimate] = {}
        for name, value, wide in zip(columns, values, quantile * error, strict=True):
            if name != "slope":
                out[name] = Estimate(float(value), float(value - wide), float(value + wide))
                continue
            ends = [float(value), float(value + wide), float(value - wide)]
            if table.worth is not None:
                out["noise"] = Estimate(*(scale / end if end > 0 else None for end in ends))
            out["flip_rate"] = Estimate(*map(flip, ends))
        return out

    pooled = told(mean, errors[people * width :] if people > 1 else errors[:width], over_people)
    return AnnotatorFit(
        pooled,
        {name: told(theta[at], errors[at * width : (at + 1) * width], normal) for at, name in enumerate(table.names)},
        dict(zip(columns, spread.tolist(), strict=True)) if people > 1 else {},
        {name: int((table.annotator == at).sum()) for at, name in enumerate(table.names)},
        missing,
    )


def untold(found: Mapping[str, Estimate]) -> list[str]:
    """Quantities that the labels do not determine, of those of one annotator (or of all).

    As a chance, their interval is wider than half of the range: of the flip rate, from 0 to 1/2 (noise with it); of a
    bias, the chance of the favoured of two outputs that are worth the same, from 0 to 1.
    """
    out = []
    for name, one in found.items():
        if name == "noise":
            continue
        if (
            one.value is None
            or one.lower is None
            or one.upper is None
            or not np.isfinite([one.value, one.lower, one.upper]).all()
        ):
            out.append(name)
        elif name == "flip_rate":
            if one.upper - one.lower > 0.25:
                out.append(name)
        elif np.ptp(_sigmoid(np.array([one.lower, one.upper]))) > 0.5:
            out.append(name)
    return out


def _columns(table: LabelTable) -> tuple[dict[str, FloatArray], dict[str, str], float]:
    """What is estimated, with its column; what is not, and why; the standard deviation of worth (1 without one)."""
    columns: dict[str, FloatArray] = {}
    missing: dict[str, str] = {}
    scale = 1.0
    if table.worth is not None:
        scale = float(np.sqrt(np.mean(table.worth**2)))
        if scale > 0:
            columns["slope"] = table.worth / scale
        else:
            missing["noise"] = "all outputs are worth the same"
    else:
        several = int((np.bincount(table.pair) > 1).sum())
        if several >= _REPEATED:
            columns["slope"] = np.ones(len(table.pair))  # times the quality of the pair, at each node
        else:
            missing["noise"] = (
                f"{several} pairs have two labels or more (at least {_REPEATED} are needed), and nothing says what "
                "outputs are worth"
            )
    for name, column, why in (
        ("seat", table.seat, "which output sat first is not known"),
        ("length", table.doublings, "both outputs of every pair are as long"),
        ("lists", table.lists, "no pair has a list in one output alone"),
    ):
        if np.any(column):
            columns[name] = column
        else:
            missing[name] = why
    return columns, missing, scale


def _flip_rate(table: LabelTable, scale: float) -> Callable[[float], float]:
    """From a slope to how often a label contradicts the better output of the pair, on the mean over pairs."""
    if table.worth is not None and scale > 0:
        first = np.unique(table.pair, return_index=True)[1]
        quality, weight = np.abs(table.worth[first]) / scale, np.full(len(first), 1.0 / len(first))
    else:
        nodes, weight = _nodes(101)
        quality = np.abs(nodes)
    return lambda slope: float(np.sum(weight * _sigmoid(-slope * quality)))


def _nodes(count: int) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights of a standard normal mean."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    return nodes, weights / weights.sum()


def _sigmoid(x: FloatArray) -> FloatArray:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


class _Model:
    """The likelihood of all labels: its value, gradient and curvature in the annotators' coefficients (J, d)."""

    def __init__(self, table: LabelTable, columns: dict[str, FloatArray], *, latent: bool) -> None:
        self.people, self.width = len(table.names), len(columns)
        self.y, self.who, self.latent = table.prefers_first, table.annotator, latent
        self.x = np.column_stack(list(columns.values()))  # (N, d)
        if latent:
            self.nodes, weight = _nodes(_NODES)
            self.log_weight = np.log(weight)
            order = np.argsort(table.pair, kind="stable")
            self.y, self.who, self.x = self.y[order], self.who[order], self.x[order]
            self.start = np.flatnonzero(np.diff(table.pair[order], prepend=-1))
            self.pair = np.cumsum(np.isin(np.arange(len(order)), self.start)) - 1

    def __call__(self, theta: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        """Log-likelihood, gradient (J d,), and information (J d, J d)."""
        return self._integrated(theta) if self.latent else self._plain(theta)

    def _plain(self, theta: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        eta = np.einsum("nd,nd->n", self.x, theta[self.who])
        mu = _sigmoid(eta)
        value = float(np.sum(self.y * eta - np.logaddexp(0.0, eta)))
        gradient = np.zeros((self.people, self.width))
        np.add.at(gradient, self.who, (self.y - mu)[:, None] * self.x)
        blocks = np.zeros((self.people, self.width, self.width))
        np.add.at(blocks, self.who, (mu * (1 - mu))[:, None, None] * self.x[:, :, None] * self.x[:, None, :])
        return value, gradient.ravel(), _block_diagonal(blocks)

    def _integrated(self, theta: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        mine = theta[self.who]
        rest = np.einsum("nd,nd->n", self.x[:, 1:], mine[:, 1:])
        eta = rest[:, None] + (self.x[:, 0] * mine[:, 0])[:, None] * self.nodes  # (N, K)
        mu = _sigmoid(eta)
        each = self.y[:, None] * eta - np.logaddexp(0.0, eta)
        joint = np.add.reduceat(each, self.start) + self.log_weight  # (P, K)
        top = joint.max(axis=1, keepdims=True)
        total = np.exp(joint - top)
        share = total / total.sum(axis=1, keepdims=True)
        value = float(np.sum(top[:, 0] + np.log(total.sum(axis=1))))
        # scores of each label at each node (N, K, d)
        x = np.repeat(self.x[:, None, :], len(self.nodes), axis=1)
        x[:, :, 0] *= self.nodes
        scores = (self.y[:, None] - mu)[:, :, None] * x
        weight = share[self.pair]
        expected = np.einsum("nk,nkd->nd", weight, scores)
        gradient = np.zeros((self.people, self.width))
        np.add.at(gradient, self.who, expected)
        blocks = np.zeros((self.people, self.width, self.width))
        np.add.at(blocks, self.who, np.einsum("nk,nkd,nke->nde", weight * mu * (1 - mu), x, x))
        information = _block_diagonal(blocks)
        # what is not known of quality takes away from it: the covariance of a pair's score over its nodes (Louis 1982)
        d, ends = self.width, np.append(self.start[1:], len(self.y))
        for pair, (a, b) in enumerate(zip(self.start, ends, strict=True)):
            score = scores[a:b].transpose(1, 0, 2).reshape(len(self.nodes), -1)
            centred = score - share[pair] @ score
            place = (self.who[a:b, None] * d + np.arange(d)).ravel()
            lost = (share[pair][:, None] * centred).T @ centred
            np.subtract.at(information, (place[:, None], place[None, :]), lost)
        return value, gradient.ravel(), information


def _block_diagonal(blocks: FloatArray) -> FloatArray:
    people, width, _ = blocks.shape
    out = np.zeros((people, width, people, width))
    out[np.arange(people), :, np.arange(people), :] = blocks
    return out.reshape(people * width, people * width)


def _empirical_bayes(model: _Model) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Coefficients of each annotator (J, d), pooled (d,), their joint covariance, and the spread over people (d,).

    Raises:
        LinAlgError: the curvature is not that of a maximum.
    """
    people, width = model.people, model.width
    size = people * width
    if people == 1:
        point, precision = _maximum(model, np.zeros(size), np.eye(size) / _WEAK**2)
        return point.reshape(1, width), point, _inverse(precision), np.zeros(width)
    point, spread = np.zeros(size + width), np.full(width, 0.5)
    if model.latent:
        point[0::width] = 1.0  # a slope's sign is that of the quality's; people mostly agree with each other
    covariance = _inverse(np.eye(size + width))
    for _ in range(_EM_STEPS):
        point, precision = _maximum(model, point, _prior(people, width, spread))
        covariance = _inverse(precision)
        theta, mean = point[:size].reshape(people, width), point[size:]
        variance = np.diag(covariance)
        own, pooled = variance[:size].reshape(people, width), variance[size:]
        both = np.array([[covariance[j * width + k, size + k] for k in range(width)] for j in range(people)])
        squares = np.sum((theta - mean) ** 2 + own - 2 * both + pooled, axis=0)
        new = np.sqrt((squares + _ONE_MORE**2) / (people + 1))
        done = np.max(np.abs(new - spread)) < 1e-3
        spread = new
        if done:
            break
    return point[:size].reshape(people, width), point[size:], covariance, spread


def _inverse(precision: FloatArray) -> FloatArray:
    np.linalg.cholesky(precision)  # raises where this is no maximum, and no variances
    return np.asarray(np.linalg.inv(precision), dtype=np.float64)


def _prior(people: int, width: int, spread: FloatArray) -> FloatArray:
    """Precision of annotators' and pooled coefficients, shape (J d + d, J d + d)."""
    size, tight = people * width, 1.0 / spread**2
    out = np.zeros((size + width, size + width))
    out[np.arange(size), np.arange(size)] = np.tile(tight, people)
    for j in range(people):
        at = np.arange(j * width, (j + 1) * width)
        out[at, size + np.arange(width)] = out[size + np.arange(width), at] = -tight
    out[size + np.arange(width), size + np.arange(width)] = people * tight + 1.0 / _WEAK**2
    return out


def _maximum(model: _Model, point: FloatArray, prior: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The most likely point under a normal prior around 0, by damped Newton steps; and the precision there."""
    size = model.people * model.width

    def at(where: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        value, gradient, information = model(where[:size].reshape(model.people, model.width))
        slope, precision = -prior @ where, prior.copy()
        slope[:size] += gradient
        precision[:size, :size] += information
        return value - 0.5 * float(where @ prior @ where), slope, precision

    value, slope, precision = at(point)
    for _ in range(50):
        step = _solved(precision, slope)
        for shrunk in range(30):
            trial = at(point + step * 0.5**shrunk)
            if trial[0] >= value - 1e-9:
                break
        point, (value, slope, precision) = point + step * 0.5**shrunk, trial
        if np.max(np.abs(step)) * 0.5**shrunk < 1e-6:
            break
    return point, precision


def _solved(precision: FloatArray, slope: FloatArray) -> FloatArray:
    """A step uphill: Newton's, or where the curvature is not that of a maximum, one with the least damping that is."""
    damping = 0.0
    while True:
        try:
            factor = np.linalg.cholesky(precision + damping * np.eye(len(slope)))
        except np.linalg.LinAlgError:
            damping = max(2.0 * damping, 1e-3)
            continue
        found: FloatArray = np.linalg.solve(factor.T, np.linalg.solve(factor, slope))
        return found
