"""Bradley–Terry with ties as an outcome of their own: Davidson's and Rao and Kupper's models.

Counting a tie as half a win for each side (the default of `bradley_terry`) estimates the same order, but says nothing
of how likely a tie is. These two do, by one parameter more:

* Davidson 1970: P(a wins) ∝ pi_a, P(b wins) ∝ pi_b, P(tie) ∝ nu sqrt(pi_a pi_b)
* Rao & Kupper 1967: P(a wins) = pi_a / (pi_a + eta pi_b), likewise for b, and a tie is the rest; eta >= 1

with pi = exp(theta). nu = 0 and eta = 1 are Bradley–Terry without ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from arenaloop.ratings.arrays import FloatArray, tally
from arenaloop.ratings.crossings import components
from arenaloop.ratings.sums import BattleSums

__all__ = ["TieModel", "count_outcomes", "fit_ties", "outcome_probabilities", "outcome_scores", "tie_information"]

_TOLERANCE = 1e-10
_GAIN = 1e-11  # of the log-likelihood, relative: the last step that gains less leaves an error of its square


@dataclass(frozen=True, slots=True)
class TieModel:
    """A fit with ties.

    Attributes:
        models: K names.
        theta: centred strengths in nats, shape (K,).
        tie: Davidson's nu or Rao and Kupper's eta.
        kind: ``"davidson"`` or ``"rao_kupper"``.
        log_likelihood: at the maximum.
    """

    models: tuple[str, ...]
    theta: FloatArray
    tie: float
    kind: str
    log_likelihood: float


def count_outcomes(battles: BattleSums) -> tuple[FloatArray, FloatArray]:
    """Decisive wins, row over column, and ties (symmetric, each counted once a pair), both of shape (K, K).

    Raises:
        ValueError: a score is not 0, 0.5 or 1.
    """
    if not all(np.isin(rows.score_a, (0.0, 0.5, 1.0)).all() for rows in battles.kinds()):
        raise ValueError("models with ties need outcomes of 0, 0.5 or 1, not soft scores")

    def counted(score: float) -> FloatArray:
        return battles.by_pair(lambda rows, _: (rows.score_a == score) * (1.0 if rows.mass is None else rows.mass))

    tied = counted(0.5)
    return counted(1.0) + counted(0.0).T, tied + tied.T


def outcome_probabilities(theta: FloatArray, tie: float, kind: str) -> tuple[FloatArray, FloatArray]:
    """P(row beats column) and P(tie), both of shape (K, K)."""
    d = theta[:, None] - theta[None, :]
    if kind == "davidson":
        # pi_a / (pi_a + pi_b + nu sqrt(pi_a pi_b)), divided through by sqrt(pi_a pi_b)
        total = np.exp(d / 2.0) + np.exp(-d / 2.0) + tie
        return np.asarray(np.exp(d / 2.0) / total), np.asarray(tie / total)
    win = 1.0 / (1.0 + tie * np.exp(-d))
    return np.asarray(win), np.asarray(1.0 - win - win.T)


def outcome_scores(theta: FloatArray, tie: float, kind: str) -> tuple[FloatArray, FloatArray]:
    """How the log-likelihood of one battle answers to the gap, and to tau, for each of its outcomes.

    Args:
        theta, tie, kind: as of `outcome_probabilities`. tau is ln nu, or ln(eta - 1).

    Returns:
        Two arrays of shape (3, K, K): derivatives in theta_row - theta_column, and in tau, where the row lost, tied,
        and won.
    """
    win, draw = outcome_probabilities(theta, tie, kind)
    loss = win.T
    if kind == "davidson":
        # natural parameters: statistic -1/2, 0, 1/2 for the gap, and whether it is a tie for tau
        mean = (win - loss) / 2.0
        gap = np.stack([-0.5 - mean, -mean, 0.5 - mean])
        return gap, np.stack([-draw, 1.0 - draw, -draw])
    share = (tie - 1.0) / tie  # d ln eta / d tau
    up, down = win * (1.0 - win), loss * (1.0 - loss)
    gap = np.stack([loss - 1.0, (down - up) / draw, 1.0 - win])
    return gap, share * np.stack([loss - 1.0, (up + down) / draw, win - 1.0])


def tie_information(model: TieModel, wins: FloatArray, ties: FloatArray) -> FloatArray:
    """Negative Hessian of the log-likelihood at a fit in theta and tau, shape (K + 1, K + 1)."""
    i, j = np.triu_indices(len(wins), 1)
    tau = float(np.log(model.tie - (model.kind == "rao_kupper")))
    return _derivatives(model.theta, tau, model.kind, i, j, wins[i, j], wins[j, i], ties[i, j])[1]


def fit_ties(
    wins: npt.ArrayLike, ties: npt.ArrayLike, models: Sequence[str] | None = None, *, kind: str = "davidson"
) -> TieModel:
    """Maximum-likelihood strengths and tie parameter by damped Newton.

    Args:
        wins: decisive wins, row over column, shape (K, K).
        ties: ties of each pair, symmetric, shape (K, K).
        models: K names; their positions by default.
        kind: ``"davidson"`` or ``"rao_kupper"``.

    Raises:
        ValueError: an unknown kind, matrices that do not fit, no battle that was won, no tie, or battles in which a
            group of models won everything against the rest (the maximum lies at infinity).
    """
    if kind not in ("davidson", "rao_kupper"):
        raise ValueError(f"kind must be davidson or rao_kupper, not {kind!r}")
    W, D = np.array(wins, dtype=np.float64), np.array(ties, dtype=np.float64)
    if W.ndim != 2 or W.shape[0] != W.shape[1] or D.shape != W.shape or not np.allclose(D, D.T):
        raise ValueError("wins must be square, and ties symmetric and of the same shape")
    if not (np.isfinite(W).all() and np.isfinite(D).all()) or (W < 0).any() or (D < 0).any():
        raise ValueError("wins and ties must be finite and not negative")
    np.fill_diagonal(W, 0.0)
    np.fill_diagonal(D, 0.0)
    if not W.any() or not D.any():
        raise ValueError("a model of ties needs decisive battles and ties, some of each")
    if len(set(components(W + D)[1].tolist())) > 1:
        raise ValueError("no finite ratings: a group of models won, or never met, all the others")
    size = len(W)
    # tau = ln nu, or ln(eta - 1): any real number is a legal parameter
    theta, tau = np.zeros(size), 0.0
    i, j = np.triu_indices(size, 1)
    n_win, n_loss, n_tie = W[i, j], W[j, i], D[i, j]
    value = -np.inf
    for _ in range(500):
        gradient, H, value = _derivatives(theta, tau, kind, i, j, n_win, n_loss, n_tie)
        H[:size, :size] += np.trace(H[:size, :size]) / size**2
        # the tie parameter's own curvature may be negative far from the maximum: a shift keeps the step uphill
        low = float(np.linalg.eigvalsh(H)[0])
        shift = 1e-8 - 2.0 * low if low < 1e-8 else 0.0
        step = np.linalg.solve(H + shift * np.eye(size + 1), gradient)
        reach = float(max(np.ptp(step[:size]), abs(step[size])))
        scale = np.log1p(reach) / reach if reach > 0 else 1.0
        for _ in range(40):
            new = theta + scale * step[:size], tau + scale * float(step[size])
            if _derivatives(*new, kind, i, j, n_win, n_loss, n_tie)[2] >= value - 1e-12 * abs(value):
                break
            scale /= 2.0
        theta, tau = new[0] - new[0].mean(), new[1]
        # where the maximum lies at infinity (a pair of wins and ties without a loss) a step never gets small, but
        # what is to be gained does: half of the Newton decrement
        if reach < _TOLERANCE or float(gradient @ step) < _GAIN * max(1.0, abs(value)):
            break
    names = tuple(str(k) for k in range(size)) if models is None else tuple(models)
    parameter = float(np.exp(tau)) + (1.0 if kind == "rao_kupper" else 0.0)
    return TieModel(names, theta, parameter, kind, value)


def _derivatives(
    theta: FloatArray,
    tau: float,
    kind: str,
    i: npt.NDArray[np.intp],
    j: npt.NDArray[np.intp],
    n_win: FloatArray,
    n_loss: FloatArray,
    n_tie: FloatArray,
) -> tuple[FloatArray, FloatArray, float]:
    """Gradient (K + 1,), negative Hessian (K + 1, K + 1) and log-likelihood in theta and tau."""
    size = len(theta)
    d = theta[i] - theta[j]
    n = n_win + n_loss + n_tie
    if kind == "davidson":
        nu = np.exp(tau)
        up, down = np.exp(d / 2.0), np.exp(-d / 2.0)
        total = up + down + nu
        p, q, t = up / total, down / total, nu / total
        value = float((n_win * np.log(p) + n_loss * np.log(q) + n_tie * np.log(t)).sum())
        # natural parameters: statistic (win - loss) / 2 for d, tie for tau
        mean = (p - q) / 2.0
        g_d = (n_win - n_loss) / 2.0 - n * mean
        g_t = float((n_tie - n * t).sum())
        h_dd = n * ((p + q) / 4.0 - mean**2)
        h_dt = -n * mean * t
        h_tt = float((n * t * (1.0 - t)).sum())
    else:
        eta = 1.0 + np.exp(tau)
        p, q = 1.0 / (1.0 + eta * np.exp(-d)), 1.0 / (1.0 + eta * np.exp(d))
        # P(tie) = (eta^2 - 1) p q: wins and ties both are sums of ln p and ln q
        a, b = n_win + n_tie, n_loss + n_tie
        ties = float(n_tie.sum())
        value = float((a * np.log(p) + b * np.log(q)).sum()) + ties * float(np.log(eta**2 - 1.0))
        share = np.exp(tau) / eta  # d ln eta / d tau
        g_d = a * (1.0 - p) - b * (1.0 - q)
        inner = a * (1.0 - p) + b * (1.0 - q)
        # d/dtau ln(eta^2 - 1) = 2 eta e^tau / (eta^2 - 1) = 2 eta / (eta + 1), as eta^2 - 1 = e^tau (eta + 1)
        g_t = -share * float(inner.sum()) + ties * 2.0 * eta / (eta + 1.0)
        h_dd = a * p * (1.0 - p) + b * q * (1.0 - q)
        h_dt = share * (b * q * (1.0 - q) - a * p * (1.0 - p))
        curve = share * (1.0 - share)  # d share / d tau
        h_tt = curve * float(inner.sum()) + share**2 * float(h_dd.sum()) - ties * 2.0 * np.exp(tau) / (eta + 1.0) ** 2
    gradient = np.append(tally(i, size, g_d) - tally(j, size, g_d), g_t)
    H = np.zeros((size + 1, size + 1))
    H[i, j] = H[j, i] = -h_dd
    at = np.arange(size)
    H[at, at] = tally(i, size, h_dd) + tally(j, size, h_dd)
    H[:size, size] = H[size, :size] = tally(i, size, h_dt) - tally(j, size, h_dt)
    H[size, size] = h_tt
    return gradient, H, value
