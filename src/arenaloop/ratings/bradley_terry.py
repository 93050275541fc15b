"""Bradley–Terry ratings by maximum likelihood.

P(a beats b) = sigma(theta_a - theta_b). Battles collapse to a K x K matrix of wins first, a tie counting half a win for
each side, so that the fit costs the same for a thousand battles and for a billion. Newton's method then needs a handful
of steps. Strengths are finite on every input: what the data cannot rate is found before the fit, and the result says so
in its notes.

Sources: Bradley & Terry 1952; Hunter 2004 (when the maximum exists); the damping of the Newton step from Sun &
Tran-Dinh 2019, "Generalized self-concordant functions", eq. 12 with nu = 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from arenaloop.ratings.arrays import BoolArray, FloatArray, IntArray
from arenaloop.ratings.crossings import WHOLE, components, crossings, listed, pseudo_wins, separated_models, walks
from arenaloop.ratings.sums import BattleSums

__all__ = ["ELO_PER_NAT", "BradleyTerry", "count_wins", "fit", "fit_batch", "fit_wins", "newton_batch"]

ELO_PER_NAT = 400.0 / math.log(10.0)
"""Elo points per unit of theta: a model 400 points up wins ten times as often as it loses."""

_MET_NOBODY = "met nobody and has no rating"
_TOLERANCE = 1e-7
"""Last step in nats. Newton squares the error, so that what is left after it is of the order of 1e-14."""
_MAX_STEPS = 200


@dataclass(frozen=True, slots=True)
class BradleyTerry:
    """A fit, with the settings that made it.

    Attributes:
        models: K names.
        theta: strengths in nats, shape (K,), centred within each component; NaN for a model that met nobody.
        component: shape (K,); models with the same number can be compared, those with different ones cannot.
        wins: what was counted, shape (K, K); row beats column, ties half each.
        unit: weight of a whole battle of each model, shape (K,): sum w^2 / sum w over its battles.
        crossed: whole battles that the row won over the column across the narrowest cut between them, up to 1, shape
            (K, K); see `crossings`.
        pseudo: pseudo-wins that were added to keep every strength finite, shape (K, K), zero almost everywhere.
        l2: ridge on theta.
        separation: what was done about models that won or lost everything.
        steps: Newton steps taken.
        notes: what a reader should know, in plain words.
    """

    models: tuple[str, ...]
    theta: FloatArray
    component: IntArray
    wins: FloatArray
    unit: FloatArray
    crossed: FloatArray
    pseudo: FloatArray
    l2: float
    separation: str
    steps: int
    notes: tuple[str, ...]

    def ratings(
        self, *, anchor: tuple[str, float] | None = None, mean: float = 1000.0, origin: BoolArray | None = None
    ) -> FloatArray:
        """Strengths on the Elo scale, shape (K,); the arguments are those of `scales`."""
        elo = np.full(len(self.models), np.nan)
        for piece, reference, at in self.scales(anchor=anchor, mean=mean, origin=origin):
            elo[piece] = at + ELO_PER_NAT * (self.theta[piece] - self.theta[reference].mean())
        return elo

    def pair(self, first: str, second: str) -> tuple[int, int]:
        """Codes of two models that can be compared.

        Raises:
            ValueError: a name is not in the data, or the two never met, not even through others.
        """
        i, j = (anchor_code(self.models, (name, 0.0)) for name in (first, second))
        if self.component[i] != self.component[j]:
            raise ValueError(f"{first!r} and {second!r} never met, not even through others")
        return i, j

    def scales(
        self, *, anchor: tuple[str, float] | None = None, mean: float = 1000.0, origin: BoolArray | None = None
    ) -> Iterator[tuple[IntArray, IntArray, float]]:
        """What ratings are measured from: for each component its models, those of reference, and their mean rating.

        Args:
            anchor: a model and the rating that it shall have, the reference of its component.
            mean: the mean rating of the reference in every component that holds no anchor.
            origin: which models make up that reference, shape (K,); all by default, and in a component that has none.

        Raises:
            ValueError: the anchor is not in the data, or met nobody.
        """
        code = None if anchor is None else anchor_code(self.models, anchor)
        if anchor is not None and np.isnan(self.theta[code]):
            raise ValueError(f"anchor {anchor[0]!r} met nobody, so nothing can be measured from it")
        rated = ~np.isnan(self.theta)
        for c in np.unique(self.component[rated]):
            piece = np.flatnonzero(rated & (self.component == c))
            if anchor is not None and code in piece:
                yield piece, np.array([code]), anchor[1]
            else:
                chosen = piece if origin is None else piece[origin[piece]]
                yield piece, chosen if len(chosen) else piece, mean


def anchor_code(models: Sequence[str], anchor: tuple[str, float]) -> int:
    """Index of the anchor's model.

    Raises:
        ValueError: it is not among `models`, or its rating is not a finite number.
    """
    if anchor[0] not in models:
        import difflib

        close = difflib.get_close_matches(anchor[0], list(models), n=1, cutoff=0.5)
        hint = f" (did you mean {close[0]!r}?)" if close else f" (the {len(models)} models: {', '.join(models[:8])})"
        raise ValueError(f"anchor {anchor[0]!r} is not in the data{hint}")
    if not np.isfinite(anchor[1]):
        raise ValueError(f"anchor rating {anchor[1]} is not a finite number")
    return list(models).index(anchor[0])


def count_wins(battles: BattleSums) -> FloatArray:
    """Win weights, shape (K, K): entry (i, j) sums what i scored against j; a tie gives half to each."""
    won = battles.by_pair(lambda rows, _: rows.score_a if rows.mass is None else rows.score_a * rows.mass)
    total = battles.by_pair(lambda rows, _: rows.mass)
    return won + (total - won).T


def fit(battles: BattleSums, *, l2: float = 0.0, separation: str = "half_battle") -> BradleyTerry:
    """Maximum-likelihood strengths of all models in `battles`; see `fit_wins` for the settings."""
    unit = battles.whole_battles()
    fitted = fit_wins(count_wins(battles), battles.models, l2=l2, separation=separation, unit=unit)
    if not battles.weighted:
        return fitted
    fought, weighed = (battles.power_sums(power).sum(axis=1) > 0 for power in (0, 1))
    unweighed = [battles.models[i] for i in np.flatnonzero(fought & ~weighed)]
    said = {f"{name} {_MET_NOBODY}": name for name in unweighed}
    notes = (f"all battles of {said[n]} weigh 0: it has no rating" if n in said else n for n in fitted.notes)
    return replace(fitted, notes=tuple(notes))


def fit_wins(
    wins: npt.ArrayLike,
    models: Sequence[str] | None = None,
    *,
    l2: float = 0.0,
    separation: str = "half_battle",
    unit: FloatArray | None = None,
) -> BradleyTerry:
    """Maximise ``sum W_ab ln sigma(theta_a - theta_b) - l2/2 |theta|^2`` by Newton's method.

    Args:
        wins: win weights W, shape (K, K), not negative; the diagonal is ignored.
        models: K names; their positions by default.
        l2: ridge on theta. 0 is plain maximum likelihood.
        separation: what to do where the maximum lies at infinity, or hangs on less than half an upset, because one
            group of models won (or lost) every battle against the rest: ``"half_battle"`` adds half a win each way, or
            less, to every model that met others across such groups, spread over those opponents (see
            `crossings.pseudo_wins`), ``"ridge"`` uses l2 = 1e-3, ``"error"`` raises. With `l2` > 0 nothing needs to be
            done.
        unit: weight of a whole battle of each model, shape (K,). Without it upsets of any mass count as whole ones.

    Returns:
        Strengths that are finite for every model that met another one.

    Raises:
        ValueError: W is not a square matrix of finite numbers that are not negative, a setting does not exist, or the
            data are separable and `separation` is ``"error"``.
    """
    W = np.array(wins, dtype=np.float64)
    if W.ndim != 2 or W.shape[0] != W.shape[1]:
        raise ValueError(f"wins must be a square matrix, not of shape {W.shape}")
    if not np.isfinite(W).all() or (W < 0).any():
        raise ValueError("wins must be finite and not negative")
    if separation not in ("half_battle", "ridge", "error"):
        raise ValueError(f"separation must be half_battle, ridge or error, not {separation!r}")
    if not (np.isfinite(l2) and l2 >= 0):
        raise ValueError(f"l2 must be finite and not negative, not {l2}")
    np.fill_diagonal(W, 0.0)
    size = len(W)
    names = tuple(str(i) for i in range(size)) if models is None else tuple(models)

    notes: list[str] = []
    whole = np.ones(size) if unit is None else unit
    component = components(W)[0]
    crossed = walks(W > 0).astype(np.float64) if unit is None else crossings(W, whole)
    lonely = ~W.any(axis=0) & ~W.any(axis=1)
    notes += [f"{names[i]} {_MET_NOBODY}" for i in np.flatnonzero(lonely)]
    pieces = [np.flatnonzero(component == c) for c in dict.fromkeys(component[~lonely].tolist())]
    if len(pieces) > 1:
        parts = " | ".join(listed([names[i] for i in piece]) for piece in pieces)
        notes.append(f"the models fall into {len(pieces)} groups that never met; ratings compare within each: {parts}")

    pseudo = np.zeros_like(W)
    met = (W + W.T) > 0
    crossing = met & (np.minimum(crossed, crossed.T) < 0.5 * WHOLE)
    ridge = l2
    if crossing.any() and l2 == 0:
        onesided = [separated_models(W, whole, crossed, piece, names) for piece in pieces if crossing[piece].any()]
        if separation == "error":
            raise ValueError(f"no finite ratings: {'; '.join(onesided)}")
        if separation == "ridge":
            ridge = 1e-3
            notes += [f"{text}; kept finite by a ridge of {ridge:g}" for text in onesided]
        else:
            pseudo = pseudo_wins(W, whole, crossed)
            notes += [f"{text}; kept finite by half a pseudo-win each way, spread over opponents" for text in onesided]

    theta = np.full(size, np.nan)
    steps = 0
    for piece in pieces:
        block = np.ix_(piece, piece)
        theta[piece], taken = _newton((W + pseudo)[block], ridge)
        steps = max(steps, taken)
    return BradleyTerry(names, theta, component, W, whole, crossed, pseudo, ridge, separation, steps, tuple(notes))


def _newton(W: FloatArray, l2: float) -> tuple[FloatArray, int]:
    """Centred strengths of one strongly connected (or ridged) block, shape (k,), and the steps taken."""
    size = len(W)
    T = W + W.T
    won = W.sum(axis=1)
    # the log-odds of each model's win rate are nearer to the maximum than zero is
    theta = np.log((won + 0.5) / (T.sum(axis=1) - won + 0.5))
    theta -= theta.mean()
    diagonal = np.arange(size)
    steps = 0
    while steps < _MAX_STEPS:
        steps += 1
        weight = np.exp(theta - theta.max())
        p = weight[:, None] / (weight[:, None] + weight[None, :])
        gradient = won - (T * p).sum(axis=1) - l2 * theta
        Q = T * p * p.T
        H = -Q
        H[diagonal, diagonal] += Q.sum(axis=1) + l2
        # without a ridge H is singular along the shift; any weight on it leaves a centred step unchanged
        H += np.trace(H) / size**2
        delta = np.linalg.solve(H, gradient)
        delta -= delta.mean()
        span = float(delta.max() - delta.min())
        theta += delta * (np.log1p(span) / span if span > 0 else 1.0)
        if span < _TOLERANCE:
            break
    return theta - theta.mean(), steps


def fit_batch(wins: npt.ArrayLike, *, l2: float = 0.01) -> FloatArray:
    """Strengths of many small problems at once.

    The same objective as `fit_wins`; the ridge keeps problems finite in which someone won or lost everything (as the
    reward of judgements in Meta-Rewarding needs, arXiv 2407.19594 section 2.3).

    Args:
        wins: win weights, shape (..., K, K); diagonals are ignored.
        l2: ridge on theta, more than 0.

    Returns:
        Centred strengths in nats, shape (..., K).

    Raises:
        ValueError: `l2` is not positive, or the weights are negative or not finite.
    """
    W = np.array(wins, dtype=np.float64)
    if W.ndim < 2 or W.shape[-1] != W.shape[-2]:
        raise ValueError(f"wins must have shape (..., K, K), not {W.shape}")
    if not l2 > 0:
        raise ValueError(f"l2 must be positive, not {l2}: a judgement that never wins or loses has no finite strength")
    if not np.isfinite(W).all() or (W < 0).any():
        raise ValueError("wins must be finite and not negative")
    size = W.shape[-1]
    diagonal = np.arange(size)
    W[..., diagonal, diagonal] = 0.0
    theta = newton_batch(W.reshape(-1, size, size), l2)
    return (theta - theta.mean(axis=1, keepdims=True)).reshape(W.shape[:-1])


def newton_batch(W: FloatArray, l2: float, component: IntArray | None = None) -> FloatArray:
    """The iteration of `fit_wins` over a leading axis.

    Args:
        W: win weights with zero diagonals, shape (R, K, K); every problem must have a finite maximum.
        l2: ridge on theta; 0 needs `component`.
        component: which models can be compared, shape (K,), the same for all problems.

    Returns:
        Strengths in nats, shape (R, K), each component (or, with a ridge, the ridge) fixing its own origin.
    """
    size = W.shape[-1]
    diagonal = np.arange(size)
    T = W + W.transpose(0, 2, 1)
    won = W.sum(axis=2)
    theta = np.zeros((len(W), size))
    active = np.arange(len(W))
    tied = None if component is None else (component[:, None] == component[None, :]).astype(np.float64)
    for _ in range(_MAX_STEPS):
        now, Tn = theta[active], T[active]
        weight = np.exp(now - now.max(axis=1, keepdims=True))
        p = weight[:, :, None] / (weight[:, :, None] + weight[:, None, :])
        Tp = Tn * p
        gradient = won[active] - Tp.sum(axis=2) - l2 * now
        H = Tp
        H *= p.transpose(0, 2, 1)
        curvature = H.sum(axis=2) + l2
        np.negative(H, out=H)
        H[:, diagonal, diagonal] += curvature
        if tied is not None:
            H += (curvature.sum(axis=1) / size**2)[:, None, None] * tied
        delta = np.linalg.solve(H, gradient[:, :, None])[:, :, 0]
        span = delta.max(axis=1) - delta.min(axis=1)
        damping = np.log1p(span) / np.where(span > 0, span, 1.0)
        theta[active] = now + delta * np.where(span > 0, damping, 1.0)[:, None]
        active = active[span >= _TOLERANCE]
        if not active.size:
            break
    return theta
