"""How well the judges did their work: rates, reasons and scores, over the verdicts of this run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from arenaloop.report.charts import Bars, bars
from arenaloop.report.documents import Documents, number
from arenaloop.report.scope import Scope
from arenaloop.report.shown_battles import Picks
from arenaloop.report.texts import one_line
from arenaloop.store import Store
from arenaloop.store.counts import ScorePair, failure_reasons, judges, samples, score_pairs
from arenaloop.types import Status

__all__ = ["benches", "failures", "judge_health", "scores"]


class Metric(NamedTuple):
    """One figure of the judge's health.

    Attributes:
        share: a fraction, or None where nothing was counted.
        of: what it is a share of, in words.
        state: ``"good"``, ``"look"`` (worth a look) or ``""`` (no value is healthy or not in itself).
        healthy: what a healthy value looks like.
    """

    name: str
    share: float | None
    of: str
    state: str
    healthy: str


_FAILURES = {
    "unparsed": "No verdict could be read. Near 0; above 2 % the judge does not follow the template.",
    "refused": "The server says that the judge refused. Near 0; look at the prompts that it refuses.",
    "truncated": "The judge ran into its token limit. Near 0; if not, raise max_tokens.",
    "empty": "No text came back. 0.",
    "error": "The call failed after its retries. 0; run again to ask again.",
}


def judge_health(documents: Documents, store: Store, picks: Picks, scope: Scope) -> list[Metric]:
    """The judge's rates over the whole run (the last two: over the rated battles), and what is healthy."""
    summary, board = documents.summary, documents.board
    decided = int(summary["battles_decided"])
    ok = int(summary["verdicts_ok"])
    failed = {s.value: int(summary["verdicts_failed"].get(s.value) or 0) for s in Status if s is not Status.OK}
    total = ok + sum(failed.values())
    flip, first = number(summary.get("flip_rate")), number(summary.get("first_seat_win_rate"))
    asked, again = samples(store, scope.hashes)
    return [
        Metric(
            "Flip rate",
            flip,
            f"of {decided:,} decided battles",
            _state(flip, 0.15),
            "The two seats named opposite winners. Below 15 %; 0 would be a judge that ignores the seats.",
        ),
        Metric(
            "First-seat win rate",
            first,
            "of verdicts with a winner",
            "" if first is None else "good" if 0.45 <= first <= 0.55 else "look",
            "Near 50 %. "
            + (
                "Every pair is judged from one drawn seat, so a lean averages out over many prompts only."
                if documents.one_seat
                else "Every pair is judged from both seats, so a lean costs sharpness, not fairness."
            ),
        ),
        *(
            Metric(
                status.capitalize(),
                share := _share(failed[status], total),
                f"{failed[status]:,} of {total:,}",
                _state(share, 0.02 if status in ("unparsed", "refused", "truncated") else 0.0),
                healthy,
            )
            for status, healthy in _FAILURES.items()
        ),
        Metric(
            "Asked more than once",
            _share(again, asked),
            f"{again:,} of {asked:,} stored seatings",
            _state(_share(again, asked), 0.05),
            "An unreadable verdict is asked again, warmer. Below 5 %; each one costs another call.",
        ),
        Metric(
            "Ties",
            _share(board["ties"], board["battles"]),
            f"{board['ties']:,} of {board['battles']:,} rated battles",
            "",
            "No value is healthy in itself. Many: the answers are alike, or the judge's scale is too coarse for them.",
        ),
        Metric(
            "Identical answers",
            None if documents.one_seat else _share(picks.same, picks.battles),  # they share one verdict of both seats
            f"{picks.same:,} of {picks.battles:,} rated battles",
            "",
            f"Such battles only tie. {picks.same_flipped:,} of the {picks.flipped:,} flips among rated battles are on "
            "them: there the judge can only have followed the seat.",
        ),
    ]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _state(share: float | None, limit: float) -> str:
    return "" if share is None else "good" if share <= limit else "look"


class Bench(NamedTuple):
    """One judge with one template: what it was asked and how it answered. Shares are None where nothing was counted.

    Attributes:
        template, parser: how it was asked and read; empty for a judge that fills no template.
        verdicts: seatings (its final reading of each call, re-asked ones included); `failed`: without an outcome.
        first: share of its verdicts with a winner that went to the first seat; `ties`: of its verdicts.
    """

    name: str
    template: str
    parser: str
    verdicts: int
    failed: int
    again: int
    first: float | None
    ties: float | None


def benches(store: Store, scope: Scope, labels: Mapping[str, str]) -> list[Bench]:
    """The judges of the run, members of a jury each by itself; `labels` names templates by their hashes."""
    return [
        Bench(
            name=one_line(row.judge),
            template=labels.get(row.template_hash, row.template_hash[:12]),
            parser=one_line(row.parser, 40),
            verdicts=row.verdicts,
            failed=row.failed,
            again=row.again,
            first=_share(row.first, row.first + row.second),
            ties=_share(row.ties, row.first + row.second + row.ties),
        )
        for row in judges(store, scope.hashes, limit=12)
    ]


class Failure(NamedTuple):
    """Verdicts that failed in the same way: a status, the reason in words, and how many."""

    status: str
    reason: str
    calls: int


def failures(store: Store, scope: Scope) -> list[Failure]:
    """The commonest reasons why calls brought no verdict, later samples included."""
    return [
        Failure(status, one_line(reason, 240) if reason else "", n)
        for status, reason, n in failure_reasons(store, scope.hashes, limit=8)
    ]


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores that one judge gave, by seat: a histogram and the means."""

    judge: str
    histogram: Bars
    mean_first: float
    mean_second: float
    count: int


_HISTOGRAMS = 6
"""judges of a jury whose scores are shown"""


def scores(store: Store, scope: Scope) -> list[Scores]:
    """Histograms of the run's scores by seat, one a judge: each has its own scale. None for judges that give none."""
    by_judge: dict[tuple[str, str], list[ScorePair]] = {}
    for pair in score_pairs(store, scope.hashes):
        by_judge.setdefault((pair.judge_hash if scope.hashes else "", pair.judge), []).append(pair)
    shown = sorted((one_line(judge), pairs) for (_, judge), pairs in by_judge.items())[:_HISTOGRAMS]
    return [_scores(judge, pairs) for judge, pairs in shown]


def _scores(judge: str, pairs: Sequence[ScorePair]) -> Scores:
    count = sum(pair.times for pair in pairs)
    low, width, labels = _bins([pair.first for pair in pairs] + [pair.second for pair in pairs])
    seats = [[0] * len(labels), [0] * len(labels)]
    for pair in pairs:
        for seat, value in zip(seats, (pair.first, pair.second), strict=True):
            seat[min(len(labels) - 1, max(0, int((value - low) / width + 1e-9)))] += pair.times
    mean_first = sum(pair.first * pair.times for pair in pairs) / count
    mean_second = sum(pair.second * pair.times for pair in pairs) / count
    return Scores(judge, bars(labels, seats), mean_first, mean_second, count)


def _bins(values: Sequence[float]) -> tuple[float, float, list[str]]:
    """Lowest edge, width and names of the bins.

    Scores from 1 to 10 by points or half points, a label's shares by quarters, others (probabilities, rewards) by
    twentieths; a bin begins at its name.
    """
    low, high = min(values), max(values)
    if low >= 0.0 and high <= 1.0:
        quarters = all(v * 4 == int(v * 4) for v in values)
        width = 0.25 if quarters else 0.05
        return 0.0, width, [f"{i * width:.2g}" for i in range(5 if quarters else 20)]
    if low >= 1.0 and high <= 10.0:
        width = 1.0 if all(v == int(v) for v in values) else 0.5
        return 1.0, width, [f"{1.0 + i * width:g}" for i in range(int(9 / width) + 1)]
    width = (high - low) / 20 or 1.0
    return low, width, [f"{low + i * width:.3g}" for i in range(20)]
