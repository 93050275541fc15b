"""Seatings are asked once, re-asked by the rule, and found again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from arenaloop.calls.judging import AskedJudge, InStore, JudgeUnit, attempts, decide
from arenaloop.calls.progress import Tally
from arenaloop.calls.reask import final
from arenaloop.calls.run import MOST_REFUSED, MOST_UNREAD
from arenaloop.errors import EndpointDownError, UnreadJudgeError
from arenaloop.judges.meta import MetaJudge, seated
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.judges.pointwise import RubricJudge, mean_score
from arenaloop.models.base import NOTICE
from arenaloop.models.scripted import ScriptedModel
from arenaloop.store import Store
from arenaloop.types import Completion, Prompt, Request, Response, Status, Verdict


class Script:
    """Answers in turn; counts what it was asked."""

    def __init__(self, answer: Callable[[int, Request], str | Completion]) -> None:
        self.answer = answer
        self.heard: list[Request] = []

    def __call__(self, request: Request) -> str | Completion:
        self.heard.append(request)
        return self.answer(len(self.heard) - 1, request)


class Seating(NamedTuple):
    """Two texts before a judge."""

    judge: PairwiseJudge
    prompt: Prompt
    first: Response
    second: Response
    reask: int


def units(wanted: list[Seating], store: Store) -> list[JudgeUnit]:
    asked: dict[int, AskedJudge] = {}
    for s in wanted:
        asked.setdefault(id(s.judge), AskedJudge(s.judge, store.secret, reask=s.reask))
    statuses = InStore(store.verdict)
    return [JudgeUnit(asked[id(s.judge)], (s.prompt, s.first, s.second), statuses) for s in wanted]


def stored(seating: Seating, store: Store) -> list[Verdict]:
    (unit,) = units([seating], store)
    return attempts(unit, store)


def seatings(script: Script, count: int, reask: int = 2) -> list[Seating]:
    judge = PairwiseJudge(ScriptedModel("j", script, concurrency=4))
    out = []
    for i in range(count):
        prompt = Prompt.of(f"p{i}")
        one, two = Response(prompt.id, "a", ("x",)), Response(prompt.id, "b", ("y",))
        out.append(Seating(judge, prompt, one, two, reask))
    return out


def play(wanted: list[Seating], path: Path) -> Tally:
    with Store(path) as store:
        return decide(lambda: units(wanted, store), store)


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    script = Script(lambda n, _: "Scores: 7 5")
    wanted = seatings(script, 20)
    tally = play(wanted + wanted, tmp_path / "arena.db")
    assert (len(script.heard), tally.verdicts, tally.cached, tally.calls, tally.failed) == (20, 40, 20, 20, 0)
    again = play(wanted, tmp_path / "arena.db")
    assert (len(script.heard), again.cached, again.calls) == (20, 20, 0)


def test_garbage_is_asked_again_warmer_and_both_stay(tmp_path: Path) -> None:
    script = Script(lambda n, _: "no idea" if n == 0 else "Scores: 7 5")
    (one,) = seatings(script, 1)
    tally = play([one], tmp_path / "arena.db")
    assert (len(script.heard), tally.failed) == (2, 0)
    assert [r.sampling.temperature for r in script.heard] == [0.0, 0.7]
    with Store(tmp_path / "arena.db", readonly=True) as store:
        assert [v.status for v in stored(one, store)] == [Status.UNPARSED, Status.OK]
        (unit,) = units([one], store)
        assert final(lambda sample: store.verdict(unit.key(sample)), unit.asked.reask) == stored(one, store)[-1]


def test_what_stays_undecided_is_asked_again_by_the_next_run(tmp_path: Path) -> None:
    good = False
    script = Script(lambda n, _: "Scores: 7 5" if good else "no idea")
    (one,) = seatings(script, 1)
    first = play([one], tmp_path / "arena.db")
    assert (len(script.heard), first.failed) == (3, 1)
    good = True
    second = play([one], tmp_path / "arena.db")
    assert (len(script.heard), second.failed, second.cached) == (4, 0, 0)
    with Store(tmp_path / "arena.db", readonly=True) as store:
        found = stored(one, store)[-1]
        assert found is not None
        assert found.status is Status.OK


def test_errors_are_not_asked_warmer(tmp_path: Path) -> None:
    script = Script(lambda n, _: Completion(status=Status.ERROR, error="broken"))
    tally = play(seatings(script, 1), tmp_path / "arena.db")
    assert (len(script.heard), tally.failed) == (1, 1)


def test_a_judge_whose_every_prompt_is_refused_stops_early(tmp_path: Path) -> None:
    script = Script(lambda n, _: Completion(status=Status.REFUSED, finish_reason="content_filter"))
    wanted = seatings(script, 60)
    for _ in range(2):  # and so does the next run
        script.heard.clear()
        with pytest.raises(EndpointDownError, match="judge j: the server refused to answer the first 30 calls"):
            play(wanted, tmp_path / "arena.db")
        assert MOST_REFUSED <= len(script.heard) < MOST_REFUSED + 10
    with Store(tmp_path / "arena.db", readonly=True) as store:
        assert sum(bool(stored(s, store)) for s in wanted) >= MOST_REFUSED  # what was paid for is kept


@pytest.mark.parametrize("answered", [0, 29])
def test_one_answer_among_refusals_is_enough_to_go_on(tmp_path: Path, answered: int) -> None:
    refused = Completion(status=Status.REFUSED, finish_reason="content_filter")
    script = Script(lambda n, _: "Scores: 7 5" if n == answered else refused)
    wanted = seatings(script, 60)
    assert play(wanted, tmp_path / "arena.db").failed == 59
    assert play(wanted, tmp_path / "arena.db").failed >= 58  # a resumed run holds nothing but refused prompts


@pytest.mark.parametrize(("reply", "vouched"), [("Scores: 7 5", 1), ("no idea", 1), (Status.ERROR, 0)])
def test_a_model_is_told_once_that_it_answered_in_an_earlier_run(
    tmp_path: Path, reply: str | Status, vouched: int
) -> None:
    class Vouched(ScriptedModel):
        told = 0

        def answered_before(self) -> None:
            self.told += 1

    failed = Completion(status=Status.ERROR, error="HTTP 400: no")
    script = Script(lambda n, _: failed if reply is Status.ERROR else str(reply))
    models = [Vouched("j", script, concurrency=4) for _ in range(2)]
    for model in models:
        judge = PairwiseJudge(model)
        wanted = [s._replace(judge=judge, reask=0) for s in seatings(script, 20)]
        play(wanted[:5] if model is models[0] else wanted[:15], tmp_path / "arena.db")
    assert [model.told for model in models] == [0, vouched]


def test_what_a_model_has_to_say_reaches_whoever_watches(tmp_path: Path) -> None:
    def answer(n: int, _: Request) -> str:
        notice = NOTICE.get()
        assert notice is not None
        notice(f"the server asks to wait {n}")
        return "Scores: 7 5"

    wanted, shown = seatings(Script(answer), 3), []

    def watch(tally: Tally) -> None:
        while tally.notices:
            shown.append(tally.notices.popleft())

    with Store(tmp_path / "arena.db") as store:
        decide(lambda: units(wanted, store), store, watch)
    assert shown == [f"the server asks to wait {n}" for n in range(3)]


def test_a_dead_server_stops_the_run_and_what_came_stays(tmp_path: Path) -> None:
    class Dying(PairwiseJudge):
        async def judge(self, *args: object, **kwargs: object):
            if len(script.heard) == 5:
                raise EndpointDownError("gone")
            return await super().judge(*args, **kwargs)  # type: ignore[arg-type]

    script = Script(lambda n, _: "Scores: 7 5")
    judge = Dying(ScriptedModel("j", script, concurrency=1))
    wanted = [s._replace(judge=judge) for s in seatings(script, 20)]
    with pytest.raises(EndpointDownError, match="gone"):
        play(wanted, tmp_path / "arena.db")
    with Store(tmp_path / "arena.db", readonly=True) as store:
        assert sum(bool(stored(s, store)) for s in wanted) == 5


def test_votes_on_one_answer_and_both_seats_of_their_judgements(tmp_path: Path) -> None:
    """What cannot be read is asked again within its vote; a meta-verdict is kept as a verdict of its kind."""
    script = Script(lambda n, _: "hm" if n == 1 else f"Score: {n}")
    judge = RubricJudge(ScriptedModel("j", script))
    meta_script = Script(lambda n, _: "Winner: A")
    meta = MetaJudge(ScriptedModel("m", meta_script))
    prompt = Prompt.of("p")
    answer = Response(prompt.id, "a", ("x",))
    with Store(tmp_path / "arena.db") as store:
        store.add_prompts([prompt])
        votes = [AskedJudge(judge.repeated(vote), store.secret) for vote in range(3)]
        scored = [JudgeUnit(asked, (prompt, answer), InStore(store.judgement)) for asked in votes]
        for wanted in (4, 0):  # the second time all is there
            before = len(script.heard)
            decide(lambda: scored, store, concurrency=1)
            assert len(script.heard) - before == wanted
        judgements = [store.judgement(unit.key(sample)) for unit in scored for sample in range(3)]
        assert mean_score(judgements) == ((0 + 2 + 3) / 3, 3)
        assert [r.sample for r in script.heard] == [0, 0, 1, 0]
        one, two = (seated(j) for j in judgements if j is not None and j.score in (0, 2))
        asked = AskedJudge(meta, store.secret)
        compared = [
            JudgeUnit(asked, (prompt, answer, *seats), InStore(store.verdict)) for seats in ((one, two), (two, one))
        ]
        decide(lambda: compared, store)
        verdicts = [store.verdict(unit.key()) for unit in compared]
    assert [(v.kind, v.first_hash) for v in verdicts if v] == [("meta", one.text_hash), ("meta", two.text_hash)]


def test_a_judge_whose_first_answers_cannot_be_read_stops_early(tmp_path: Path) -> None:
    """Re-asks count; what is in flight arrives and is kept, and the next run counts anew."""
    script = Script(lambda n, _: "Both have merits.\n[[A>B]]")
    wanted = seatings(script, 60)
    for run in (1, 2):
        with pytest.raises(UnreadJudgeError) as stopped:
            play(wanted, tmp_path / "arena.db")
        assert str(stopped.value) == (
            "judge j: none of its first 20 answers could be read; for example “[[A>B]]”, where a last line like "
            "“Scores: 7 5” was expected (template pairwise); template: labels reads such answers"
        )
        assert run * MOST_UNREAD <= len(script.heard) < run * (MOST_UNREAD + 4)
    with Store(tmp_path / "arena.db", readonly=True) as store:
        assert store.usage().calls == len(script.heard)


@pytest.mark.parametrize("readable", [0, 19])
def test_one_answer_that_can_be_read_is_enough_to_go_on(tmp_path: Path, readable: int) -> None:
    script = Script(lambda n, _: "Scores: 7 5" if n == readable else "no idea")
    wanted = seatings(script, 30, reask=0)
    assert play(wanted, tmp_path / "arena.db").failed == 29
    assert play(wanted, tmp_path / "arena.db").failed == 29  # a resumed run holds nothing but what was not read
