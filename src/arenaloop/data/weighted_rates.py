"""Win rates by the judge's probabilities, beside the share of winners that a run's board has."""

from __future__ import annotations

from pathlib import Path

from arenaloop.data.probabilities import gives_probabilities
from arenaloop.data.run_battles import OwnFailure, read_failures, rows_that_count

__all__ = ["weighted_win_rates"]


def weighted_win_rates(directory: Path, own_failure: OwnFailure | None = None) -> dict[str, float]:
    """The mean of what each model scored in a run's battles, a fraction, by its name.

    A battle has the judge's probability, as `winrate` takes it: on a board against one baseline these are its rates.

    Args:
        directory: of the run; its ``battles.jsonl`` is there.
        own_failure: as of `read_failures`.

    Returns:
        Nothing where the judge gives no probabilities (`gives_probabilities`).

    Raises:
        InputError: as of `read_failures`.
    """
    if not gives_probabilities(directory):
        return {}
    won: dict[str, float] = {}
    fought: dict[str, int] = {}
    for _, row in rows_that_count(directory / "battles.jsonl", read_failures(directory, own_failure), shares=True):
        share = row["score_a"]
        if not isinstance(share, float):  # a winner that is not known
            continue
        for model, score in ((str(row["model_a"]), share), (str(row["model_b"]), 1.0 - share)):
            won[model] = won.get(model, 0.0) + score
            fought[model] = fought.get(model, 0) + 1
    return {model: won[model] / fought[model] for model in won}
