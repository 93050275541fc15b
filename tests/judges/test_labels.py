"""Recorded labels as a judge."""

from __future__ import annotations

import asyncio

import pytest

from arenaloop.judges.base import Judge
from arenaloop.judges.labels import LabelsJudge, RecordedVote, material, recorded
from arenaloop.judges.repeats import own_votes, repeated
from arenaloop.judges.seats import merge_seats
from arenaloop.types import Outcome, Prompt, Response, Status, Verdict

PROMPT = Prompt.of("which?")


def judge_of(*votes: RecordedVote, first: str = "one", second: str = "two") -> LabelsJudge:
    return LabelsJudge("gpt4", {material(PROMPT, [first], [second]): votes})


def decide(judge: Judge, first: str, second: str, prompt: Prompt = PROMPT) -> Verdict:
    sides = (Response(prompt.id, "a", (first,)), Response(prompt.id, "b", (second,)))
    return asyncio.run(judge.judge(prompt, *sides, secret="s", seed=1))


@pytest.mark.parametrize(
    ("preference", "there", "back"),
    [
        (1, Outcome.A, Outcome.B),
        (2, Outcome.B, Outcome.A),
        (1.5, Outcome.TIE, Outcome.TIE),
        (1.25, Outcome.A, Outcome.B),
    ],
)
def test_the_other_seat_is_the_mirror(preference: float, there: Outcome, back: Outcome) -> None:
    judge = judge_of(RecordedVote(preference, 0.02, 3.0))
    one, two = decide(judge, "one", "two"), decide(judge, "two", "one")
    assert (one.outcome, two.outcome) == (there, back)
    assert (one.score_first, one.score_second) == (two.score_second, two.score_first)
    assert (one.calls, one.usd, two.calls, two.usd) == (0, 0.0, 0, 0.0)
    behind, mirror = recorded(one), recorded(two)
    assert behind == {"preference": preference, "usd": 0.02, "seconds": 3.0, "mirrored": False}
    assert mirror is not None
    assert mirror["mirrored"] is True
    battle = merge_seats("a", "b", one, two)
    assert battle is not None
    assert not battle.flipped


def test_an_order_of_its_own_comes_before_a_mirror() -> None:
    judge = LabelsJudge(
        "both",
        {material(PROMPT, ["one"], ["two"]): [RecordedVote(1)], material(PROMPT, ["two"], ["one"]): [RecordedVote(1)]},
    )
    one, two = decide(judge, "one", "two"), decide(judge, "two", "one")
    assert (one.outcome, two.outcome) == (Outcome.A, Outcome.A)
    found = recorded(two)
    assert found is not None
    assert found["mirrored"] is False


def test_a_pair_without_a_label_is_an_error_and_no_tie() -> None:
    verdict = decide(judge_of(RecordedVote(1)), "one", "other")
    assert (verdict.status, verdict.outcome, verdict.error) == (Status.ERROR, None, "no label for this pair")
    assert recorded(verdict) is None


def test_a_verdict_of_the_template_labels_is_no_recorded_label() -> None:
    written = Verdict("k", "p", "f", "s", "judge", Status.UNPARSED, raw="So ...", parser="labels:1", template_hash="t")
    assert recorded(written) is None


def test_a_recorded_failure_is_unparsed() -> None:
    verdict = decide(judge_of(RecordedVote(None)), "one", "two")
    assert (verdict.status, verdict.outcome) == (Status.UNPARSED, None)


def test_a_system_message_of_the_prompt_does_not_matter() -> None:
    asked = Prompt(({"role": "system", "content": "be brief"}, *PROMPT.messages))
    assert decide(judge_of(RecordedVote(2)), "one", "two", asked).outcome is Outcome.B


def test_several_votes_are_several_judges() -> None:
    judge = judge_of(RecordedVote(1), RecordedVote(2))
    assert own_votes(judge) == 2
    votes = [decide(repeated(judge, n), "one", "two") for n in range(3)]
    assert [v.outcome for v in votes] == [Outcome.A, Outcome.B, None]
    assert len({v.key for v in votes}) == 3
    assert judge.count(PROMPT, Response(PROMPT.id, "b", ("two",)), Response(PROMPT.id, "a", ("one",))) == 2


def test_other_labels_are_another_judge() -> None:
    assert judge_of(RecordedVote(1)).fingerprint == judge_of(RecordedVote(1)).fingerprint
    assert judge_of(RecordedVote(1)).fingerprint != judge_of(RecordedVote(2)).fingerprint
    assert isinstance(judge_of(RecordedVote(1)), Judge)
