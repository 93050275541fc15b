"""What the flags of `win_rate.WinRate` mean, in plain words."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["FLAGS"]

FLAGS: Mapping[str, str] = {
    "baseline": "is the baseline itself",
    "no_preferences": "no annotation has an outcome, so there is no win rate",
    "failed_annotations": "some annotations have no outcome; the win rate is that of the others",
    "no_lengths": "the answers' lengths are not known, so length cannot be controlled",
    "no_length_variation": "all answers differ from the baseline's by the same length: there is nothing to control",
    "no_difficulty": "the length-controlled rate is a fit of few models without the difficulty of each instruction: on "
    "AlpacaEval's leaderboard such rates are 8 points too high on average, 22 at most; --difficulty FILE, or five "
    "models or more in the file, mend that",
    "partial_difficulty": "prompts of unknown difficulty are left out of the length-controlled rate",
    "penalised": "wins and losses separate completely, so a small ridge keeps the length-controlled fit finite",
    "constant_length": "all its answers have the same length",
    "uneven_weights": "a few heavy rows decide: all of them count as less than half as many alike ones",
    "few_wins_or_losses": "of too few wins or losses, or of hardly anything but draws, the length-controlled "
    "interval holds less often than it says",
    "repeated_outputs": "it gives the same answer to several prompts",
    "lc_far_from_raw": "the length-controlled rate lies implausibly far from the raw one: do not trust it",
}
"""By flag; a model's name stands before it."""
