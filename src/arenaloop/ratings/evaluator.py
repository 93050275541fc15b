"""How good a judge is: its votes on labelled pairs against people's, and against its own (AlpacaEval, `analyze.py`).

Labels are AlpacaEval's: 1 the first output is better, 2 the second, 1.5 a tie, anything between a soft label. The error
of two labels is the absolute value of their difference. Where several labels of a pair are equally frequent, the mode
is any of them, and an error against it is the mean over them: what a draw at random comes to on average, without the
draw. Agreement, bias and variance are in percent, every other share is a fraction. A quantity that the data do not
determine is None, never 0 or NaN.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from arenaloop.ratings.agreement import krippendorff_alpha, spearman
from arenaloop.ratings.arrays import BoolArray, FloatArray, IntArray
from arenaloop.ratings.length_preference import longer_at_matched_quality
from arenaloop.ratings.rates import UNKNOWN, Rate, clustered_rate, kappa_rate
from arenaloop.ratings.vote_agreement import setups

__all__ = [
    "Between",
    "Evaluation",
    "Humans",
    "Labels",
    "Panel",
    "Votes",
    "between",
    "error",
    "evaluate",
    "evaluate_humans",
    "modes",
    "weights_from_agreement",
]

Labels = tuple[float, ...]
"""The labels that one pair was given, in no order that matters."""

LENGTH_MARGIN = 30
"""Characters; outputs closer than this are of one length (AlpacaEval)."""
MIN_ROWS = 100
"""A generator's win rate counts in the correlation with more pairs than these (AlpacaEval)."""
_HARD = (1.0, 1.5, 2.0)


@dataclass(frozen=True)
class Panel:
    """P labelled pairs, and what people say about them.

    Attributes:
        cluster: code of each pair's prompt, shape (P,); intervals take pairs of one prompt as one observation.
        humans: people's labels of each pair; may be empty for some.
        length: characters of both outputs, shape (P, 2).
        lists: whether each output holds a list, shape (P, 2).
        generators: who wrote the outputs, codes into `names`, -1 unknown, shape (P, 2).
        names: of the generators.
    """

    cluster: IntArray
    humans: Sequence[Labels]
    length: FloatArray
    lists: BoolArray
    generators: IntArray | None = None
    names: Sequence[str] = ()


@dataclass(frozen=True)
class Votes:
    """One judge's votes on the pairs of a panel.

    Attributes:
        merged: of each pair, one label for each time that the judge decided it (both seats merged).
        first_seat: of each pair, what the first seat got in each decided seating that was really shown: 1, 0.5 or 0.
        one_seat: of each pair, the label that each decided seating gives by itself; recorded orders count.
        flips: of each pair, for each time both seats were decided, whether they named different winners.
        deterministic: asking again would give the same: its variance is 0, and one vote is as good as many.
    """

    merged: Sequence[Labels]
    first_seat: Sequence[Labels]
    one_seat: Sequence[Labels]
    flips: Sequence[Sequence[bool]]
    deterministic: bool = False


@dataclass(frozen=True)
class Evaluation:
    """One judge beside people. Rates carry their interval and count; see the module for units.

    Attributes:
        pairs: pairs with at least one decided vote. `votes`: decided votes.
        agreement: of single votes with the mode of all human labels.
        agreement_leave_one_out: of single votes with the mode of all human labels but one, averaged over which; what
            is comparable with people's own agreement.
        agreement_one_seat: of each seating by itself; with a judge that knows one order this is `agreement`.
        agreement_s1, agreement_s2: of single votes with single human labels, with ties and without (`vote_agreement`).
        kappa, kappa_linear: Cohen's kappa with the mode (tied modes count as a tie), plain and with linear weights.
        bias: error of the mode of the votes against the mode of the human labels.
        variance: error of one vote against the mode of the others.
        first_seat: share of seatings that the first seat won, ties half; 0.5 is fair.
        first_output: 2 minus the mean label: the preference for the file's first column.
        longer: share of decided votes for the longer output, where they differ by more than 30 characters.
        longer_matched: the same at matched quality, see `length_preference`.
        lists: where exactly one output holds a list, the share of decided votes for it.
        flips: share of votes whose two seats named different winners.
        spearman, pearson: of the generators' win rates by judge and by people, over `generators` of them.
    """

    pairs: int
    votes: int
    agreement: Rate = UNKNOWN
    agreement_leave_one_out: Rate = UNKNOWN
    agreement_one_seat: Rate = UNKNOWN
    agreement_s1: Rate = UNKNOWN
    agreement_s2: Rate = UNKNOWN
    kappa: Rate = UNKNOWN
    kappa_linear: Rate = UNKNOWN
    bias: Rate = UNKNOWN
    variance: Rate = UNKNOWN
    first_seat: Rate = UNKNOWN
    first_output: Rate = UNKNOWN
    longer: Rate = UNKNOWN
    longer_matched: Rate = UNKNOWN
    lists: Rate = UNKNOWN
    flips: Rate = UNKNOWN
    spearman: float | None = None
    pearson: float | None = None
    generators: int = 0


@dataclass(frozen=True)
class Humans:
    """People beside themselves: the ceiling.

    Attributes:
        pairs, votes: labelled pairs, and labels on them.
        agreement: of one label with the mode of the pair's others (leave one out).
        agreement_s1, agreement_s2: of two labels of one pair, with ties and without (`vote_agreement`).
        variance: 100 minus `agreement`.
        alpha: Krippendorff's alpha of the labels on an interval scale.
        first_output, longer, lists: as of a judge.
    """

    pairs: int
    votes: int
    agreement: Rate = UNKNOWN
    agreement_s1: Rate = UNKNOWN
    agreement_s2: Rate = UNKNOWN
    variance: Rate = UNKNOWN
    alpha: float | None = None
    first_output: Rate = UNKNOWN
    longer: Rate = UNKNOWN
    lists: Rate = UNKNOWN


@dataclass(frozen=True)
class Between:
    """Two judges' votes on the same pairs: mean of 1 minus the error, over all combinations of their votes."""

    agreement: Rate = UNKNOWN
    kappa: Rate = UNKNOWN


@dataclass
class _Share:
    """A rate in the making: of each pair, how much of how many."""

    size: int
    part: FloatArray = field(init=False)
    whole: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        self.part, self.whole = np.zeros(self.size), np.zeros(self.size)

    def add(self, pair: int, values: Sequence[float]) -> None:
        self.part[pair] += sum(values)
        self.whole[pair] += len(values)

    def rate(self, cluster: IntArray, level: float, scale: float = 1.0) -> Rate:
        return clustered_rate(self.part, self.whole, cluster, level=level).scaled(scale)


def modes(labels: Labels) -> Labels:
    """The most frequent labels, all of them where several are; the median alone where a label is soft."""
    if any(label not in _HARD for label in labels):
        return (float(median(labels)),)
    counts = Counter(labels)
    most = max(counts.values(), default=0)
    return tuple(label for label, count in counts.items() if count == most)


def error(labels: Labels, others: Labels) -> float:
    """Mean absolute difference over all combinations; both must hold something."""
    return sum(abs(a - b) for a in labels for b in others) / (len(labels) * len(others))


def _without(labels: Labels, index: int) -> Labels:
    return labels[:index] + labels[index + 1 :]


def _left_out(labels: Labels) -> list[float]:
    """Error of each label against the mode of the others."""
    return [error((label,), modes(_without(labels, i))) for i, label in enumerate(labels)]


def _equal_counts(votes: Sequence[Labels]) -> list[Labels]:
    """Votes cut to the smallest count among the pairs that have two or more; the rest are left empty."""
    several = [len(v) for v in votes if len(v) > 1]
    return [v[: min(several)] if len(v) > 1 else () for v in votes] if several else [() for _ in votes]


def evaluate(
    panel: Panel, votes: Votes, *, level: float = 0.95, samples: int = 1000, seed: int = 0, min_rows: int = MIN_ROWS
) -> Evaluation:
    """Compare one judge with the human labels of a panel.

    Args:
        panel, votes: the same pairs in the same order.
        level: of all intervals.
        samples, seed: of the bootstrap over prompts behind the intervals of kappa and of `longer_matched`.
        min_rows: generators with no more pairs than these are left out of the correlations.
    """
    size = len(panel.humans)
    truth = [modes(labels) for labels in panel.humans]
    agree, left, single, bias, variance = (_Share(size) for _ in range(5))
    seat, flips = _Share(size), _Share(size)
    several = votes.merged if votes.deterministic else _equal_counts(votes.merged)
    for i, (merged, human) in enumerate(zip(votes.merged, truth, strict=True)):
        seat.add(i, votes.first_seat[i])
        flips.add(i, [float(flip) for flip in votes.flips[i]])
        if several[i] and not votes.deterministic:
            variance.add(i, _left_out(several[i]))
        if not human:
            continue
        agree.add(i, [1.0 - error((vote,), human) for vote in merged])
        single.add(i, [1.0 - error((vote,), human) for vote in votes.one_seat[i]])
        if len(panel.humans[i]) > 1:
            rest = [modes(_without(panel.humans[i], k)) for k in range(len(panel.humans[i]))]
            left.add(i, [1.0 - sum(error((vote,), m) for m in rest) / len(rest) for vote in merged])
        if several[i]:
            bias.add(i, [error(modes(several[i]), human)])
    s1, s2 = setups(votes.merged, panel.humans, panel.cluster, level=level)
    tables = _tables(votes.merged, panel.humans)
    rho, r, count = _correlations(panel, votes.merged, min_rows)
    preference = np.array([np.mean(v) - 1.0 if v else np.nan for v in votes.merged])
    quality = np.array([np.mean(h) - 1.5 if h else np.nan for h in panel.humans])
    shapes = _columns(panel, votes.merged, level)
    fixed = Rate(0.0, 0.0, 0.0, 0.0, sum(1 for v in votes.merged if v))  # by what it is, not by what was seen
    return Evaluation(
        pairs=sum(1 for v in votes.merged if v),
        votes=sum(len(v) for v in votes.merged),
        agreement=agree.rate(panel.cluster, level, 100.0),
        agreement_leave_one_out=left.rate(panel.cluster, level, 100.0),
        agreement_one_seat=single.rate(panel.cluster, level, 100.0),
        agreement_s1=s1,
        agreement_s2=s2,
        kappa=kappa_rate(tables, panel.cluster, linear=False, level=level, samples=samples, seed=seed),
        kappa_linear=kappa_rate(tables, panel.cluster, linear=True, level=level, samples=samples, seed=seed),
        bias=bias.rate(panel.cluster, level, 100.0),
        variance=fixed if votes.deterministic and fixed.n else variance.rate(panel.cluster, level, 100.0),
        first_seat=seat.rate(panel.cluster, level),
        first_output=shapes[0],
        longer=shapes[1],
        longer_matched=longer_at_matched_quality(
            preference,
            panel.length[:, 1] - panel.length[:, 0],
            quality,
            panel.cluster,
            level=level,
            samples=min(samples, 300),
            seed=seed,
        ),
        lists=shapes[2],
        flips=flips.rate(panel.cluster, level),
        spearman=rho,
        pearson=r,
        generators=count,
    )


def evaluate_humans(panel: Panel, *, level: float = 0.95) -> Humans:
    """People against themselves: one label of a pair against the mode of its others."""
    size = len(panel.humans)
    agree = _Share(size)
    for i, labels in enumerate(panel.humans):
        if len(labels) > 1:
            agree.add(i, [1.0 - e for e in _left_out(labels)])
    agreement = agree.rate(panel.cluster, level, 100.0)
    width = max((len(labels) for labels in panel.humans), default=0)
    alpha = None
    if width > 1:
        table = np.full((width, size), np.nan)
        for i, labels in enumerate(panel.humans):
            table[: len(labels), i] = labels
        alpha = krippendorff_alpha(table, metric="interval")
    s1, s2 = setups(panel.humans, None, panel.cluster, level=level)
    first_output, longer, lists = _columns(panel, panel.humans, level)
    return Humans(
        pairs=sum(1 for labels in panel.humans if labels),
        votes=sum(len(labels) for labels in panel.humans),
        agreement=agreement,
        agreement_s1=s1,
        agreement_s2=s2,
        variance=agreement.complement(100.0),
        alpha=alpha,
        first_output=first_output,
        longer=longer,
        lists=lists,
    )


def between(
    a: Sequence[Labels],
    b: Sequence[Labels],
    cluster: IntArray,
    *,
    same: bool = False,
    level: float = 0.95,
    samples: int = 1000,
    seed: int = 0,
) -> Between:
    """How far two judges' votes agree, pair by pair; with `same`, one judge's different votes among themselves."""
    share = _Share(len(a))
    tables = np.zeros((len(a), 3, 3))
    for i, (one, two) in enumerate(zip(a, b, strict=True)):
        met = [(x, y) for m, x in enumerate(one) for n, y in enumerate(two) if not (same and m == n)]
        share.add(i, [1.0 - abs(x - y) for x, y in met])
        for x, y in met:
            tables[i, _code(x), _code(y)] += 1.0
    return Between(
        share.rate(cluster, level, 100.0),
        kappa_rate(tables, cluster, linear=False, level=level, samples=samples, seed=seed),
    )


def _code(label: float) -> int:
    return 0 if label < 1.5 else 2 if label > 1.5 else 1


def _tables(votes: Sequence[Labels], humans: Sequence[Labels]) -> FloatArray:
    """Of each pair, the judge's labels (columns) at the humans' mode (row); shape (P, 3, 3)."""
    out = np.zeros((len(votes), 3, 3))
    for i, (mine, theirs) in enumerate(zip(votes, humans, strict=True)):
        if not theirs:
            continue
        most = modes(theirs)
        row = 1 if len(most) > 1 else _code(most[0])  # tied modes are a tie, between a preference and a tie too
        for vote in mine:
            out[i, row, _code(vote)] += 1.0
    return out


def _columns(panel: Panel, votes: Sequence[Labels], level: float) -> tuple[Rate, Rate, Rate]:
    """Preference for the first output, for the longer one, and for the one with a list."""
    first, longer, lists = (_Share(len(votes)) for _ in range(3))
    for i, mine in enumerate(votes):
        first.add(i, [2.0 - vote for vote in mine])
        decided = [vote for vote in mine if vote != 1.5]
        shorter_by = panel.length[i, 1] - panel.length[i, 0]
        if abs(shorter_by) > LENGTH_MARGIN:
            longer.add(i, [float((vote > 1.5) == (shorter_by > 0)) for vote in decided])
        if panel.lists[i, 0] != panel.lists[i, 1]:
            lists.add(i, [float((vote > 1.5) == panel.lists[i, 1]) for vote in decided])
    return tuple(share.rate(panel.cluster, level) for share in (first, longer, lists))  # type: ignore[return-value]


def _correlations(panel: Panel, votes: Sequence[Labels], min_rows: int) -> tuple[float | None, float | None, int]:
    """Spearman and Pearson of the generators' win rates by judge and by people, on the pairs that both labelled."""
    if panel.generators is None:
        return None, None, 0
    rows: dict[int, list[tuple[float, float]]] = {}
    for (one, two), mine, theirs in zip(panel.generators, votes, panel.humans, strict=True):
        if not mine or not theirs or one == two:
            continue
        judge, people = sum(mine) / len(mine) - 1.0, sum(theirs) / len(theirs) - 1.0
        for generator, pair in ((one, (1.0 - judge, 1.0 - people)), (two, (judge, people))):
            if generator >= 0:
                rows.setdefault(int(generator), []).append(pair)
    rates = np.array([np.mean(found, axis=0) for found in rows.values() if len(found) > min_rows])
    if len(rates) < 3:
        return None, None, len(rates)
    x, y = rates[:, 0], rates[:, 1]
    flat = np.ptp(x) == 0 or np.ptp(y) == 0
    return spearman(x, y), None if flat else float(np.corrcoef(x, y)[0, 1]), len(rates)


def weights_from_agreement(agreement: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """What each judge's vote should weigh: the log odds of its agreement, shrunk to what the data can tell apart.

    Log odds decide best for judges that err independently (Nitzan and Paroush 1982, "Optimal decision rules in
    uncertain dichotomous choice situations"). One agreement and one disagreement are added to what was counted. Each is
    then drawn to their mean by tau^2 / (tau^2 + s^2), where s is its standard error and tau^2 what the judges differ by
    beyond their errors (empirical Bayes, Morris 1983): judges that cannot be told apart weigh the same, so that
    chance does not choose among them. No weight is below 0.

    Args:
        agreement: by judge, how much of how many pairs agreed.
    """
    if not agreement:
        return {}
    part, whole = np.array(list(agreement.values()), dtype=np.float64).T
    odds = np.log((part + 1.0) / (whole - part + 1.0))
    noise = 1.0 / (part + 1.0) + 1.0 / (whole - part + 1.0)
    spread = max(0.0, float(odds.var(ddof=1) - noise.mean())) if len(odds) > 1 else 0.0
    mean = float(odds.mean())
    shrunk = mean + spread / (spread + noise) * (odds - mean)
    return {name: max(0.0, float(weight)) for name, weight in zip(agreement, shrunk, strict=True)}
