"""What reports count in an arena file: verdicts of some judges, rows by model, the reasons of failures.

Judges are given by their fingerprints, of which none means that all verdicts count: rows of the first version do not
tell whose they are. Of each call the latest reading counts, and of verdicts those over two answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from arenaloop.store.reads import Usage, marks
from arenaloop.store.rows import from_stored
from arenaloop.store.store import Store

__all__ = [
    "FinalCall",
    "JudgeRow",
    "ModelRow",
    "ScorePair",
    "commonest_error",
    "failed_answers",
    "failure_reasons",
    "final_calls",
    "judge_usage",
    "judges",
    "last_judges",
    "models",
    "open_seatings",
    "samples",
    "score_pairs",
    "unpriced_calls",
    "unread_example",
    "verdicts_beside",
    "verdicts_of_others",
]


_CLIP = 80  # characters of a reply that are shown


class JudgeRow(NamedTuple):
    """One judge with one template: its final readings (`failed` ones, those of a later sample, and who won them)."""

    judge: str
    template_hash: str
    parser: str
    verdicts: int
    failed: int
    again: int
    first: int
    second: int
    ties: int


class ScorePair(NamedTuple):
    """How often a judge gave these scores to the first and the second seat."""

    judge_hash: str
    judge: str
    first: float
    second: float
    times: int


class FinalCall(NamedTuple):
    """A judge's reading of one seating."""

    prompt_id: str
    first_hash: str
    second_hash: str
    judge_hash: str
    judge: str
    key: str


class ModelRow(NamedTuple):
    """All stored rows of one model in one role, failed attempts included. Means are None where no row tells.

    Attributes:
        role: ``contestant``, ``judge`` or ``judge, other settings``; ``meta-judge`` and ``pointwise judge``.
        usd: None if the price of any call is unknown.
    """

    name: str
    role: str
    rows: int
    failed: int
    truncated: int
    empty: int
    calls: int
    mean_tokens: float | None
    mean_seconds: float | None
    usd: float | None


def _query(store: Store, query: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
    """Rows of a query, texts as they were."""
    for row in store._reader.execute(query, values):
        yield tuple(map(from_stored, row))


def _of_judges(hashes: Sequence[str]) -> str:
    """A condition on ``verdicts AS v``: rows of these judges over two answers, each call's latest reading."""
    last = "v.kind = 'pairwise' AND v.attempt = (SELECT MAX(attempt) FROM verdicts AS w WHERE w.key = v.key)"
    return f"{last} AND v.judge_hash IN ({marks(hashes)})" if hashes else last


# ---------------------------------------------------------------------- whose verdicts there are


def last_judges(store: Store) -> set[str]:
    """Fingerprints of the judges that the last invocation with a verdict asked."""
    query = """SELECT DISTINCT judge_hash FROM verdicts
        WHERE kind = 'pairwise' AND run = (SELECT MAX(run) FROM verdicts WHERE kind = 'pairwise')"""
    return {judge_hash for (judge_hash,) in _query(store, query)}


def verdicts_of_others(store: Store, hashes: Sequence[str]) -> int:
    """How many verdicts, earlier attempts included, other judges gave."""
    query = f"SELECT COUNT(*) FROM verdicts WHERE kind = 'pairwise' AND judge_hash NOT IN ({marks(hashes)})"  # noqa: S608
    return int(next(_query(store, query, hashes))[0])


def verdicts_beside(store: Store, hashes: Sequence[str], models: Collection[str]) -> tuple[int, list[str]]:
    """How many readings of these judges are about an answer that none of some models gave, and who gave such.

    Args:
        models: names; a best-of-n model's samples (``NAME#1``) are its own.
    """
    others = [name for name in store.answers_by_model() if not {name, name.rpartition("#")[0]} & {*models}]
    if not others:
        return 0, []
    beside = f"SELECT prompt_id, text_hash FROM responses WHERE model IN ({marks(others)})"  # noqa: S608
    own = f"SELECT prompt_id, text_hash FROM responses WHERE model NOT IN ({marks(others)})"  # noqa: S608
    sides = " OR ".join(
        f"((prompt_id, {side}_hash) IN (SELECT * FROM beside) AND (prompt_id, {side}_hash) NOT IN (SELECT * FROM own))"  # noqa: S608
        for side in ("first", "second")
    )
    query = f"""WITH beside AS ({beside}), own AS ({own})
        SELECT COUNT(*) FROM verdicts AS v WHERE {_of_judges(hashes)} AND ({sides})"""  # noqa: S608
    return int(next(_query(store, query, [*others, *others, *hashes]))[0]), others


# ---------------------------------------------------------------------- how judges did


def samples(store: Store, hashes: Sequence[str]) -> tuple[int, int]:
    """Seatings that were judged, and how many of them were asked for a second sample."""
    query = f"SELECT SUM(sample = 0), SUM(sample = 1) FROM verdicts AS v WHERE {_of_judges(hashes)}"  # noqa: S608
    asked, again = next(_query(store, query, hashes))
    return asked or 0, again or 0


def judges(store: Store, hashes: Sequence[str], limit: int) -> list[JudgeRow]:
    """Up to `limit` judges in the order of their first verdict, members of a jury each by itself."""
    query = f"""SELECT judge, MAX(template_hash), MAX(parser), COUNT(*), SUM(status != 'ok'), SUM(sample > 0),
        COALESCE(SUM(outcome = 'A'), 0), COALESCE(SUM(outcome = 'B'), 0), COALESCE(SUM(outcome = 'TIE'), 0)
        FROM verdicts AS v WHERE {_of_judges(hashes)} GROUP BY judge_hash, judge ORDER BY MIN(id) LIMIT {limit}"""  # noqa: S608
    return [JudgeRow(*row) for row in _query(store, query, hashes)]


def failure_reasons(store: Store, hashes: Sequence[str], limit: int) -> list[tuple[str, str | None, int]]:
    """The `limit` commonest (status, reason, verdicts) of calls without an outcome, later samples included."""
    query = f"""SELECT status, COALESCE(error, CASE WHEN finish_reason != 'stop' THEN finish_reason END), COUNT(*)
        FROM verdicts AS v WHERE status != 'ok' AND {_of_judges(hashes)}
        GROUP BY 1, 2 ORDER BY COUNT(*) DESC, 1, 2 LIMIT {limit}"""  # noqa: S608
    return list(_query(store, query, hashes))


def score_pairs(store: Store, hashes: Sequence[str]) -> list[ScorePair]:
    """How often each judge gave which two scores; none of judges that give no scores."""
    query = f"""SELECT judge_hash, judge, score_first, score_second, COUNT(*) FROM verdicts AS v
        WHERE status = 'ok' AND score_first IS NOT NULL AND score_second IS NOT NULL AND {_of_judges(hashes)}
        GROUP BY 1, 2, 3, 4"""  # noqa: S608
    return [ScorePair(*row) for row in _query(store, query, hashes)]


# ---------------------------------------------------------------------- what has no outcome


def open_seatings(store: Store, hashes: Sequence[str], limit: int = -1) -> Iterator[tuple[str, str, str]]:
    """(prompt id, text in the first seat, text in the second) of seatings that a judge left without an outcome.

    Streamed; at most `limit` where it is not negative.
    """
    query = f"""SELECT prompt_id, first_hash, second_hash FROM verdicts AS v WHERE {_of_judges(hashes)}
        GROUP BY prompt_id, first_hash, second_hash, judge_hash, judge HAVING SUM(status = 'ok') = 0
        LIMIT {limit}"""  # noqa: S608
    return _query(store, query, hashes)


def final_calls(store: Store, hashes: Sequence[str], prompt_ids: Sequence[str]) -> Iterator[FinalCall]:
    """All readings of the seatings on some prompts, those with an outcome last, and then by age."""
    query = f"""SELECT prompt_id, first_hash, second_hash, judge_hash, judge, key FROM verdicts AS v
        WHERE prompt_id IN ({marks(prompt_ids)}) AND {_of_judges(hashes)} ORDER BY status = 'ok', id"""  # noqa: S608
    return (FinalCall(*row) for row in _query(store, query, [*prompt_ids, *hashes]))


def failed_answers(store: Store) -> Iterator[tuple[str, str, str, str | None]]:
    """(prompt id, model, status, error) of turns whose latest attempt brought no answer, streamed."""
    query = """SELECT prompt_id, model, status, error FROM responses AS r WHERE status IN ('error', 'refused')
        AND attempt = (SELECT MAX(attempt) FROM responses AS s WHERE s.key = r.key AND s.turn = r.turn)"""
    return _query(store, query)


def commonest_error(store: Store) -> str | None:
    """The reason that most failed calls of this invocation have in common; None if none failed with one."""
    store.flush()
    errors = " UNION ALL ".join(
        f"SELECT error FROM {table} WHERE run = {store.run}"  # noqa: S608
        for table in ("responses", "verdicts", "judgements")
    )
    query = f"""SELECT error FROM ({errors}) WHERE error IS NOT NULL
        GROUP BY error ORDER BY COUNT(*) DESC, error LIMIT 1"""  # noqa: S608
    return next((error for (error,) in _query(store, query)), None)


def unread_example(store: Store) -> str | None:
    """How a verdict of this invocation ends that could not be read: its last line; None if all were read."""
    store.flush()
    query = f"""SELECT raw FROM verdicts WHERE run = {store.run} AND status = 'unparsed' AND raw != ''
        ORDER BY rowid LIMIT 1"""  # noqa: S608
    raw = next((raw for (raw,) in _query(store, query)), "").strip()
    last = " ".join(raw.rsplit("\n", 1)[-1].split())
    return (last if len(last) <= _CLIP else f"…{last[-_CLIP:]}") or None


# ---------------------------------------------------------------------- what was paid


def judge_usage(store: Store, hashes: Collection[str]) -> Usage:
    """What verdicts of some judges have cost in all invocations."""
    usage = store._usage_of(("verdicts",), f"judge_hash IN ({marks(hashes)})", list(hashes))
    return usage._replace(seconds=float(usage.seconds))


class UnpricedModel(NamedTuple):
    """Calls of one model that had no price: of `told` ones the tokens are known, of `untold` ones not."""

    name: str
    told: int
    untold: int
    tokens_in: int
    tokens_out: int

    @property
    def calls(self) -> int:
        """All of them."""
        return self.told + self.untold


class UnpricedCalls(NamedTuple):
    """What an arena file has cost as far as prices were known, and the calls that had none.

    Attributes:
        usd: of the calls that had a price; `usd_estimated`: the part of it that no server has told.
        models: by name. `cut_off`: requests without a price of which nothing came back.
    """

    usd: float
    usd_estimated: float
    models: tuple[UnpricedModel, ...]
    cut_off: int


def unpriced_calls(store: Store) -> UnpricedCalls:
    """Calls of all invocations whose price was not known when they were made."""
    answered, counts = Counter[int](), dict[str, list[int]]()
    usd = estimated = 0.0
    told = "tokens_in IS NOT NULL AND tokens_out IS NOT NULL"
    for table, name in (("responses", "model"), ("verdicts", "judge"), ("judgements", "judge")):
        query = f"""SELECT {name}, run, SUM(calls), SUM(COALESCE(usd, 0)), SUM(usd_estimated),
            SUM(CASE WHEN usd IS NULL AND {told} THEN calls ELSE 0 END),
            SUM(CASE WHEN usd IS NULL AND NOT ({told}) THEN calls ELSE 0 END),
            SUM(CASE WHEN usd IS NULL AND {told} THEN tokens_in ELSE 0 END),
            SUM(CASE WHEN usd IS NULL AND {told} THEN tokens_out ELSE 0 END)
            FROM {table} WHERE calls != 0 GROUP BY 1, 2"""  # noqa: S608
        for model, run, calls, cost, guessed, *unpriced in _query(store, query):
            answered[run] += calls
            usd, estimated = usd + cost, estimated + guessed
            if unpriced[0] or unpriced[1]:
                before = counts.get(model, [0, 0, 0, 0])
                counts[model] = [one + more for one, more in zip(before, unpriced, strict=True)]
    _, lost, cut_off = store._cut_off(answered)
    return UnpricedCalls(
        usd + lost, estimated + lost, tuple(UnpricedModel(name, *each) for name, each in counts.items()), cut_off
    )


def models(store: Store, hashes: Sequence[str]) -> list[ModelRow]:
    """Rows of every contestant and judge: of contestants first, by name, then of judges by role and name.

    Rows of judges that are not among `hashes`, those of the run, have a role of their own.
    """
    own = f"CASE WHEN judge_hash IN ({marks(hashes)}) THEN 'judge' ELSE 'judge, other settings' END"
    own = own if hashes else "'judge'"
    verdict = f"CASE WHEN kind = 'meta' THEN 'meta-judge' ELSE {own} END"
    rows: list[ModelRow] = []
    for table, name, role, values in (
        ("responses", "model", "'contestant'", ()),
        ("verdicts", "judge", verdict, hashes),
        ("judgements", "judge", "'pointwise judge'", ()),
    ):
        query = f"""SELECT {name}, {role}, COUNT(*), SUM(status IN ('error', 'refused')), SUM(status = 'truncated'),
            SUM(status = 'empty'), SUM(calls), AVG(tokens_out), AVG(CASE WHEN calls > 0 THEN seconds END),
            CASE WHEN SUM(usd IS NULL AND calls > 0) > 0 THEN NULL ELSE SUM(COALESCE(usd, 0)) END
            FROM {table} GROUP BY 1, 2 ORDER BY 2, 1"""  # noqa: S608
        rows += [ModelRow(*row) for row in _query(store, query, values)]
    return rows
