"""Quantiles of Student's t.

scipy has them, too, but would add a third to what a plain install weighs, for this one function.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from arenaloop.ratings.arrays import FloatArray

__all__ = ["t_quantile", "t_quantiles"]


def t_quantile(level: float, dof: float) -> float:
    """Half-width in standard errors of a two-sided interval: see `t_quantiles`."""
    return float(t_quantiles(level, [dof])[0])


def t_quantiles(level: float, dof: npt.ArrayLike) -> FloatArray:
    """Half-widths in standard errors of two-sided intervals: Student's t, normal for infinite `dof`, of its shape.

    Hill 1970, "Algorithm 396: Student's t-quantiles"; good to about six digits.

    Raises:
        ValueError: `level` is not strictly between 0 and 1, or some of `dof` is below 1.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie strictly between 0 and 1, not {level}")
    n = np.asarray(dof, dtype=np.float64)
    if not (n >= 1.0).all():
        raise ValueError(f"dof must be at least 1, not {n.min()}")
    tail = 1.0 - level
    z = NormalDist().inv_cdf(tail / 2.0)
    exact = [1.0 / np.tan(tail * np.pi / 2.0), np.sqrt(2.0 / (tail * (2.0 - tail)) - 2.0), -z]
    between = (n != 1.0) & (n != 2.0) & (n <= 1e7)
    expanded = _hill(np.where(between, n, 3.0), tail, z)
    return np.asarray(np.select([n == 1.0, n == 2.0, n > 1e7], exact, expanded))


def _hill(n: FloatArray, tail: float, z: float) -> FloatArray:
    """Hill's two expansions, for `n` degrees of freedom from 1 to 1e7; `z` is the normal quantile of half the tail."""
    a = 1.0 / (n - 0.5)
    b = 48.0 / a**2
    c = ((20700.0 * a / b - 98.0) * a - 16.0) * a + 96.36
    d = ((94.5 / (b + c) - 3.0) / b + 1.0) * np.sqrt(a * np.pi / 2.0) * n
    y = (d * tail) ** (2.0 / n)
    far = (1.0 / (((n + 6.0) / (n * y) - 0.089 * d - 0.822) * (n + 2.0) * 3.0) + 0.5 / (n + 4.0)) * y - 1.0
    far = far * (n + 1.0) / (n + 2.0) + 1.0 / y
    square = z * z
    c = c + np.where(n < 5.0, 0.3 * (n - 4.5) * (z + 0.6), 0.0)
    c = (((0.05 * d * z - 5.0) * z - 7.0) * z - 2.0) * z + b + c
    near = (((((0.4 * square + 6.3) * square + 36.0) * square + 94.5) / c - square - 3.0) / b + 1.0) * z
    near = np.expm1(np.minimum(a * near * near, 700.0))
    return np.asarray(np.sqrt(n * np.where(y > 0.05 + a, near, far)))
