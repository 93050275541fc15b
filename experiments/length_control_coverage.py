"""How often 95 % intervals of length-controlled win rates hold the truth, where the truth is known.

    python experiments/length_control_coverage.py [--repeats 250]

One model against a baseline whose answers are 300 characters longer on average (sd 400): it wins with probability
sigma(-tanh(delta / 400) + b). Prints, by prompts and b: mean wins, coverage of the length-controlled rate (BCa) and of
the raw one (Wilson's interval), and how many of the boards carried the flag few_wins_or_losses.
"""

from __future__ import annotations

import argparse

import numpy as np

from arenaloop.ratings.arrays import FloatArray
from arenaloop.ratings.win_rate import Annotations, win_rates

REGIMES = ((20, -1.0), (60, -2.5), (60, -1.0), (60, 0.0), (200, -2.5), (805, -2.5))


def _sigmoid(x: FloatArray) -> FloatArray:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


def _drawn(rng: np.random.Generator, prompts: int, b: float) -> tuple[Annotations, FloatArray]:
    delta = rng.normal(-300.0, 400.0, prompts)
    won = (rng.random(prompts) < _sigmoid(-np.tanh(delta / 400.0) + b)).astype(np.float64)
    codes, lengths = np.arange(prompts), np.full(prompts, 1000.0)
    return Annotations("base", ("m",), tuple(codes), 0 * codes, codes, 1.0 + won, lengths - delta, lengths), won


def coverage(prompts: int, b: float, repeats: int, samples: int = 400) -> tuple[float, float, float, float]:
    """Mean wins, coverage of the controlled and of the raw rate, and the share of flagged boards."""
    many = np.random.default_rng(1).normal(-300.0, 400.0, 200_000)
    controlled, raw = 100.0 * float(_sigmoid(np.array(b))), 100.0 * float(_sigmoid(-np.tanh(many / 400.0) + b).mean())
    rng, wins, found = np.random.default_rng(11), 0.0, np.zeros(3)
    for repeat in range(repeats):
        annotations, won = _drawn(rng, prompts, b)
        row = win_rates(annotations, control="length", samples=samples, seed=repeat)[0]
        wins += float(won.sum())
        for i, (truth, ends) in enumerate(((controlled, (row.lc_lower, row.lc_upper)), (raw, (row.lower, row.upper)))):
            # an interval that is not given promises nothing
            found[i] += ends[0] is None or ends[1] is None or ends[0] <= truth <= ends[1]
        found[2] += "few_wins_or_losses" in row.flags
    controlled, raw, flagged = (float(n) / repeats for n in found)
    return wins / repeats, controlled, raw, flagged


def main(repeats: int) -> None:
    """Print the table."""
    print(f"{'prompts':>7} {'b':>5} {'wins':>6} {'LC':>6} {'raw':>6} {'flagged':>8}")
    for prompts, b in REGIMES:
        wins, controlled, raw, flagged = coverage(prompts, b, repeats)
        print(f"{prompts:7} {b:5.1f} {wins:6.1f} {controlled:6.1%} {raw:6.1%} {flagged:8.1%}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=250)
    main(parser.parse_args().repeats)
