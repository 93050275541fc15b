"""What a run is watched by: figures of every stage's answers, rules that stop it, and which stage was best.

Pure functions over figures. A judge that is trained against is a measure that becomes a target: its view goes on rising
where the truth has begun to fall (Gao et al. 2022, arXiv 2210.10760), by length, by phrases that it likes, or by one
answer for all prompts. A second judge that nothing is trained against tells the one rise from the other.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from arenaloop.config.guards import GuardSettings
from arenaloop.ratings.paired_rates import clustered_difference
from arenaloop.ratings.rates import clustered_rate

__all__ = ["LAST", "Best", "Stop", "View", "Watched", "best", "change", "commonest", "distinct", "rate", "stop"]

_Z = 1.959963984540054
"""of a 95 % interval"""
LAST = "last stage"
"""by what a run's result is told to be chosen where nothing was"""
_WORDS = 50
"""of an answer that count for `distinct`"""


def distinct(texts: Iterable[str], n: int = 2) -> float | None:
    """Share of n-grams of words that differ, over all texts (Li et al. 2016, arXiv 1510.03055); None of no word.

    Of each text the first 50 words count, as a long text repeats itself more than a short one does; a text of fewer
    than `n` words is one gram.
    """
    grams = Counter[tuple[str, ...]]()
    for text in texts:
        words = text.split()[:_WORDS]
        if words:
            grams.update(tuple(words[at : at + n]) for at in range(max(1, len(words) - n + 1)))
    return len(grams) / grams.total() if grams else None


def commonest(texts: Iterable[str]) -> float | None:
    """Share of the texts that are the most frequent one (space around them aside); None of no text."""
    counts = Counter(text.strip() for text in texts)
    return max(counts.values()) / counts.total() if counts else None


# ---------------------------------------------------------------------- a judge's view of a stage


View = Mapping[str, tuple[float, int]]
"""By prompt: battles won, a tie as half, and battles decided."""


class Rate(NamedTuple):
    """An estimate with its standard error and, of a share, the ends of its 95 % interval; None of too few prompts."""

    value: float
    error: float | None
    lower: float | None = None
    upper: float | None = None

    def to_json(self) -> dict[str, float | None]:
        """Of a share, with the ends of its interval."""
        return {"win_rate": self.value, "lower": self.lower, "upper": self.upper}


def rate(view: View) -> Rate | None:
    """Share of battles won; prompts are the clusters, as battles on one share an answer. None where none was decided.

    The error is that of a ratio of sums over prompts (linearised): ``sum over prompts (won - value * decided)²``; the
    interval is the score's, see `clustered_rate`.
    """
    parts = _parts(view)
    if parts is None:
        return None
    found = clustered_rate(*_columns(view, view), np.arange(len(view)))
    return Rate(parts[0], _error(parts[1].values()), found.lower, found.upper)


def change(before: View, after: View) -> Rate | None:
    """By how much the share of battles won rose; prompts that both have are paired."""
    one, two = _parts(before), _parts(after)
    if one is None or two is None:
        return None
    prompts = {**one[1], **two[1]}
    return Rate(two[0] - one[0], _error(two[1].get(p, 0.0) - one[1].get(p, 0.0) for p in prompts))


def _columns(view: View, prompts: Iterable[str]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Of each prompt the battles won and those decided, 0 where the view has none."""
    won, decided = zip(*(view.get(prompt, (0.0, 0)) for prompt in prompts), strict=True)
    return np.array(won, dtype=np.float64), np.array(decided, dtype=np.float64)


def _parts(view: View) -> tuple[float, dict[str, float]] | None:
    """The share of battles won, and each prompt's part of its error."""
    decided = sum(n for _, n in view.values())
    if not decided:
        return None
    share = sum(won for won, _ in view.values()) / decided
    return share, {prompt: (won - share * n) / decided for prompt, (won, n) in view.items()}


def _error(parts: Iterable[float]) -> float | None:
    known = list(parts)
    n = len(known)
    return math.sqrt(math.fsum(p * p for p in known) * n / (n - 1)) if n > 1 else None


# ---------------------------------------------------------------------- rules


@dataclass(frozen=True)
class Watched:
    """What was measured of one stage's answers to the prompts that are watched.

    Attributes:
        name: of the stage.
        length: mean length in characters. `distinct`, `commonest`: see these functions.
        training, held_out: the judges' views of the same battles; of a judge that is not asked, no prompt.
    """

    name: str
    length: float | None = None
    distinct: float | None = None
    commonest: float | None = None
    training: View = field(default_factory=dict)
    held_out: View = field(default_factory=dict)


class Stop(NamedTuple):
    """Why a run was stopped.

    Attributes:
        rule: the setting's name. `stage`: after which.
        why: in one sentence, figures included. `figures`: by name.
    """

    rule: str
    stage: str
    why: str
    figures: Mapping[str, float]


def stop(stages: Sequence[Watched], rules: GuardSettings) -> Stop | None:
    """The first rule that the last of some stages breaks; the first stage is what it is compared with."""
    if len(stages) < 2:
        return None
    for rule in (_judges_part, _length, _distinct, _same_answer):
        if (broken := rule(stages, rules)) is not None:
            return broken
    return None


def _judges_part(stages: Sequence[Watched], rules: GuardSettings) -> Stop | None:
    """A rise that only the training judge sees: that of each, and their difference, over the same prompts."""
    *earlier, last = stages
    limit, start = rules.judges_part, _highest(earlier)
    if limit is None or start is None:
        return None
    rise, held_out = change(start.training, last.training), change(start.held_out, last.held_out)
    if rise is None or held_out is None or held_out.value > _Z * (held_out.error or 0.0):
        return None  # it sees a rise, too
    error = _error_apart(start, last)
    if rise.error is None or error is None or rise.value < limit * rise.error or rise.value <= 0:
        return None
    apart = rise.value - held_out.value
    if apart < limit * error:
        return None
    figures = {
        "training_judge": rise.value,
        "held_out_judge": held_out.value,
        "difference": apart,
        "standard_error": error,
        "limit": limit,
    }
    went = (
        f"fell by {-100 * held_out.value:.1f} points"
        if held_out.value < 0
        else f"by {100 * held_out.value:.1f}, which is within its error"
    )
    why = (
        f"from {start.name} to {last.name} the training judge's view rose by {100 * rise.value:.1f} points and the "
        f"held-out judge's {went}: {apart / error:.1f} standard errors apart, the limit is {limit:g}"
        if error
        else f"from {start.name} to {last.name} only the training judge's view rose, by {100 * rise.value:.1f} points"
    )
    return Stop("judges_part", last.name, why, figures)


def _error_apart(before: Watched, after: Watched) -> float | None:
    """Standard error of the difference of both judges' rises, paired over prompts."""
    views = (before.training, after.training, before.held_out, after.held_out)
    parts = [found[1] if (found := _parts(view)) else {} for view in views]
    prompts = {prompt for one in parts for prompt in one}
    signs = (-1.0, 1.0, 1.0, -1.0)
    return _error(
        math.fsum(sign * one.get(prompt, 0.0) for sign, one in zip(signs, parts, strict=True))
        for prompt in sorted(prompts)
    )


def _length(stages: Sequence[Watched], rules: GuardSettings) -> Stop | None:
    first, last = stages[0].length, stages[-1].length
    if rules.length is None or not first or last is None or last <= rules.length * first:
        return None
    name = stages[-1].name
    why = (
        f"answers of {name} have {last:,.1f} characters on average, {last / first:.1f} times the {first:,.1f} of "
        f"{stages[0].name}; the limit is {rules.length:g} times"
    )
    return Stop("length", name, why, {"length": last, "start": first, "factor": last / first, "limit": rules.length})


def _distinct(stages: Sequence[Watched], rules: GuardSettings) -> Stop | None:
    first, last = stages[0].distinct, stages[-1].distinct
    if rules.distinct is None or not first or last is None or last >= rules.distinct * first:
        return None
    name = stages[-1].name
    why = (
        f"answers of {name} repeat each other: {100 * last:.0f} % of their pairs of words differ (distinct-2), "
        f"{100 * last / first:.0f} % of the share of {stages[0].name}; the limit is {100 * rules.distinct:g} %"
    )
    return Stop(
        "distinct", name, why, {"distinct": last, "start": first, "share": last / first, "limit": rules.distinct}
    )


def _same_answer(stages: Sequence[Watched], rules: GuardSettings) -> Stop | None:
    first, last = stages[0].commonest, stages[-1].commonest
    if rules.same_answer is None or first is None or last is None or last - first <= rules.same_answer:
        return None
    name = stages[-1].name
    why = (
        f"{name} gives one and the same answer to {100 * last:.0f} % of the prompts, {stages[0].name} to "
        f"{100 * first:.0f} %; the limit is {100 * rules.same_answer:g} points more"
    )
    return Stop("same_answer", name, why, {"commonest": last, "start": first, "limit": rules.same_answer})


# ---------------------------------------------------------------------- the result


class Best(NamedTuple):
    """The stage that is a run's result.

    Attributes:
        stage: its name. `by`: what decided: ``held_out``, ``validation`` or ``last``.
        rate: by that judge; None where nothing was measured.
        alike: stages that the same judge cannot tell from it: the 95 % interval of the paired difference holds 0.
    """

    stage: str
    by: str
    rate: Rate | None = None
    alike: Sequence[str] = ()


def best(stages: Sequence[Watched]) -> Best:
    """The stage of the highest view by the held-out judge, else by the training judge on the validation prompts.

    Of equal ones it is the earlier: the less it was trained, the less it can have been led astray. A stage without a
    decided battle is not it; where no judge has a view of any stage, the last stage is.
    """
    for by in ("held_out", "training"):
        views: dict[str, View] = {one.name: getattr(one, by) for one in stages}
        rates = {name: found for name, view in views.items() if (found := rate(view)) is not None}
        if rates:
            first = max(rates, key=lambda name: rates[name].value)
            alike = [name for name in rates if name != first and _indistinct(views[name], views[first])]
            return Best(first, "validation" if by == "training" else by, rates[first], alike)
    return Best(stages[-1].name, "last")


def _highest(stages: Sequence[Watched]) -> Watched | None:
    """Of some stages the one that the held-out judge rates best; the earlier of equals."""
    rated = [(found.value, -at) for at, one in enumerate(stages) if (found := rate(one.held_out)) is not None]
    return stages[-max(rated)[1]] if rated else None


def _indistinct(other: View, first: View) -> bool:
    """Whether Newcombe's interval of the paired difference holds 0."""
    prompts = {**other, **first}
    found = clustered_difference(*_columns(first, prompts), *_columns(other, prompts), np.arange(len(prompts)))
    return found.lower is None or found.lower <= 0
