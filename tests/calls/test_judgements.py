"""Judgements of one answer, and meta-verdicts on two of them, go the way of verdicts: once, stored, re-asked."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import pytest

from arenaloop.calls.judging import AskedJudge, InStore, JudgeUnit, decide
from arenaloop.calls.progress import Tally
from arenaloop.judges.meta import MetaJudge, seated
from arenaloop.judges.pointwise import RubricJudge, mean_score
from arenaloop.models.scripted import ScriptedModel
from arenaloop.store import Store
from arenaloop.types import Completion, Judgement, Prompt, Request, Response, Status

PROMPTS = [Prompt.of(f"question {n}") for n in range(5)]
ANSWERS = [Response(p.id, "m", (f"answer to {p.last_user}",)) for p in PROMPTS]
VOTES = 3


class Heard:
    """A judging model that counts what it is asked; `say` may be changed by a test."""

    def __init__(self, say: Callable[[Request], str | Completion]) -> None:
        self.say = say
        self.requests: list[Request] = []
        self.model = ScriptedModel("judge", self)

    def __call__(self, request: Request) -> str | Completion:
        self.requests.append(request)
        return self.say(request)


def score(request: Request) -> str:
    return f"Reasons.\nScore: {request.seed % 6}"


def judged(path: Path, heard: Heard, reask: int = 2) -> tuple[Tally, list[list[Judgement | None]]]:
    """Every answer is judged three times; the final sample of every vote."""
    judge = RubricJudge(heard.model)
    votes = [judge.repeated(n) for n in range(VOTES)]

    def units(store: Store) -> list[JudgeUnit]:
        asked = [AskedJudge(vote, store.secret, reask=reask) for vote in votes]
        statuses = InStore(store.judgement)
        return [JudgeUnit(one, (p, a), statuses) for p, a in zip(PROMPTS, ANSWERS, strict=True) for one in asked]

    with Store(path) as store:
        store.add_prompts(PROMPTS)
        tally = decide(lambda: units(store), store, closing=votes)
        found = []
        for p, a in zip(PROMPTS, ANSWERS, strict=True):
            of_answer = []
            for vote in votes:
                samples = [store.judgement(vote.key(p, a, n)) for n in range(reask + 1)]
                asked = [sample for sample in samples if sample is not None]
                of_answer.append(next((s for s in asked if s.status is Status.OK), asked[-1] if asked else None))
            found.append(of_answer)
    return tally, found


def test_votes_on_one_answer_are_rows_of_their_own(tmp_path: Path) -> None:
    heard = Heard(score)
    tally, found = judged(tmp_path / "arena.db", heard)
    assert (tally.verdicts, tally.calls, tally.failed, len(heard.requests)) == (15, 15, 0, 15)
    assert len({r.seed for r in heard.requests}) == 15
    scores = [[vote.score for vote in votes if vote is not None] for votes in found]
    assert all(len(some) == VOTES for some in scores)
    assert any(len(set(some)) > 1 for some in scores)
    assert mean_score(found[0]).mean == pytest.approx(sum(s for s in scores[0] if s is not None) / 3)
    again, same = judged(tmp_path / "arena.db", heard)
    assert (again.cached, again.calls, same) == (15, 0, found)
    with Store(tmp_path / "arena.db", readonly=True) as store:
        assert store.usage().calls == 15
        assert not store.rulings_of(PROMPTS[0].id)  # no verdict on a pair
        assert len(store.judgements_of(PROMPTS[0].id)) == VOTES


def test_an_unread_judgement_is_asked_again_and_is_never_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arenaloop.calls.run.MOST_UNREAD", 1_000)  # a judge that is never read would stop it
    heard = Heard(lambda request: "I like it." if request.sample == 0 else score(request))
    tally, found = judged(tmp_path / "arena.db", heard)
    assert (len(heard.requests), tally.failed) == (30, 0)
    assert {(v.sample, v.status) for votes in found for v in votes if v is not None} == {(1, Status.OK)}
    heard.say = lambda request: "I like it."
    unread, none = judged(tmp_path / "unread.db", heard, reask=1)
    assert unread.failed == 15
    assert [mean_score(votes).mean for votes in none] == [None] * 5


def test_meta_verdicts_are_verdicts_with_judgements_in_their_seats(tmp_path: Path) -> None:
    judge_heard = Heard(score)
    _, found = judged(tmp_path / "arena.db", judge_heard)
    heard = Heard(
        lambda request: f"The {'AB'[request.seed % 2]} one applies the rubric.\nWinner: {'AB'[request.seed % 2]}"
    )
    meta = MetaJudge(heard.model)

    def units(store: Store) -> list[JudgeUnit]:
        asked, statuses = AskedJudge(meta, store.secret), InStore(store.verdict)
        return [
            JudgeUnit(asked, (p, a, seated(one), seated(two)), statuses)
            for p, a, votes in zip(PROMPTS, ANSWERS, found, strict=True)
            for one, two in permutations([vote for vote in votes if vote is not None], 2)
        ]

    with Store(tmp_path / "arena.db") as store:
        wanted = units(store)
        different = len({unit.key() for unit in wanted})
        tally = decide(lambda: units(store), store)
        assert (tally.verdicts, tally.calls, tally.failed) == (30, different, 0)
        verdicts = store.verdicts([unit.key() for unit in wanted])
        assert {v.kind for v in verdicts.values()} == {"meta"}
        hashes = {vote.text_hash for votes in found for vote in votes if vote is not None}
        assert {v.first_hash for v in verdicts.values()} | {v.second_hash for v in verdicts.values()} <= hashes
        assert not store.rulings_of(PROMPTS[0].id)  # and none of a battle
        again = decide(lambda: units(store), store)
        assert (again.cached, again.calls) == (30, 0)


def test_the_key_of_a_meta_verdict_covers_the_answer() -> None:
    meta = MetaJudge(Heard(score).model)
    one, two = (Response(PROMPTS[0].id, "j", (text,)) for text in ("first", "second"))
    keys = {meta.key(PROMPTS[0], answer, one, two) for answer in ANSWERS}
    assert len(keys) == len(ANSWERS)
    assert meta.about(ANSWERS[0]).key(PROMPTS[0], one, two) in keys
