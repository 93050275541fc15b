"""Scores and meta-rewards to rows: every reason for which something is dropped, and lineage."""

from __future__ import annotations

import numpy as np
import pytest

from arenaloop.data.self_pairs import Compared, Scored, actor_rows, distinct, judge_rows, limited, perfect_rows
from arenaloop.ratings.meta_rewards import meta_rewards
from arenaloop.types import Judgement, Prompt, Response, Status

PROMPT = Prompt.of("Say hello.")


def scored(text: str, *scores: float) -> Scored:
    return Scored(Response(PROMPT.id, "m", (text,)), scores, tuple(f"{text}{i}" for i in range(len(scores))))


def judgement(raw: str, score: float | None) -> Judgement:
    status = Status.UNPARSED if score is None else Status.OK
    return Judgement(f"key of {raw}", PROMPT.id, "h", "m", status, raw=raw, score=score)


def test_the_best_answer_against_the_worst() -> None:
    answers = [scored("fine", 4, 5), scored("bad", 1), scored("unread"), scored("good", 4.5, 4.5), scored("fine", 4)]
    found = actor_rows([(PROMPT, answers)], model="M1", rho=None)
    (row,) = found.rows
    assert row["chosen"] == [{"role": "assistant", "content": "fine"}]  # of equally good ones the first
    assert row["rejected"] == [{"role": "assistant", "content": "bad"}]
    assert row["prompt"] == [{"role": "user", "content": "Say hello."}]
    assert (row["margin"], row["chosen_model"], row["verdicts"]) == (3.5, "M1", ["fine0", "fine1", "bad0"])
    assert found.dropped == {"answers without a score": 1, "answers that repeat another one": 1}
    assert actor_rows([(PROMPT, answers)], model="M1", rho=0).rows[0]["chosen"][0]["content"] == "fine"
    shorter = [*answers, scored("ok", 4.4)]
    assert actor_rows([(PROMPT, shorter)], model="M1", rho=0.1).rows[0]["chosen"][0]["content"] == "ok"
    by_tokens = actor_rows([(PROMPT, shorter)], model="M1", rho=0.1, length=lambda answer: -len(answer.texts[0]))
    assert by_tokens.rows[0]["chosen"][0]["content"] == "fine"


@pytest.mark.parametrize(("rho", "chosen"), [(0.0, "even"), (None, "odd"), (0.1, "odd")])
def test_spreads_decide_between_equal_scores_with_a_rho_of_0_alone(rho: float | None, chosen: str) -> None:
    answers = [scored("odd", 3, 5), scored("even", 4, 4), scored("bad", 1)]
    (row,) = actor_rows([(PROMPT, answers)], model="M1", rho=rho, by_spread=True).rows
    assert row["chosen"][0]["content"] == chosen


@pytest.mark.parametrize(
    ("answers", "options", "reason"),
    [
        ([scored("a", 3), scored("b", 3)], {}, "equal scores"),
        ([scored("a", 3), scored("b")], {}, "fewer than 2 answers"),
        ([], {}, "fewer than 2 answers"),
        ([scored("a", 3), scored("b", 1)], {"min_scores": 2}, "fewer than 2 answers"),
        ([scored("aaaa", 3), scored("b", 1)], {"max_chosen": 3}, "chosen answer too long"),
        ([scored("a", 5), scored("bb", 2.6), scored("c", 0)], {"rho": 0.6, "allow_overlap": True}, None),
        ([scored("aaaa", 5), scored("bbb", 2.6), scored("c", 0)], {"rho": 0.6, "allow_overlap": True}, "one answer in"),
    ],
)
def test_prompts_without_a_pair(answers: list[Scored], options: dict[str, object], reason: str | None) -> None:
    found = actor_rows([(PROMPT, answers)], model="M1", **options)  # type: ignore[arg-type]
    assert len(found.rows) == (reason is None)
    assert reason is None or any(told.startswith(reason) for told in found.dropped)


def test_answers_that_every_judgement_found_perfect() -> None:
    answers = [scored("a", 5, 5), scored("b", 5, 4), scored("c", 5), scored("d"), scored("a", 5)]
    found = perfect_rows([(PROMPT, answers), (PROMPT, [scored("b", 1)])], model="M1", most=5)
    assert [row["messages"][-1]["content"] for row in found.rows] == ["a", "c"]
    assert found.dropped["no answer with a perfect score"] == 1


def compared(*judgements: Judgement) -> Compared:
    response = Response(PROMPT.id, "m", ("hello",))
    return Compared(PROMPT, response, [{"role": "user", "content": "Score it."}], judgements, ["v1", "v2"])


def outcomes(n: int, best: int, worst: int) -> np.ndarray:
    """The best beats all, the worst loses to all, from either seat."""
    found = np.zeros((n, n), dtype=int)
    for i in range(n):
        for won, lost in ((best, i), (i, worst)):
            if won != lost:
                found[won, lost], found[lost, won] = 1, -1
    return found


def test_the_best_judgement_against_the_worst() -> None:
    one = compared(judgement("Wrong.\nScore: 1", 1), judgement("Right.\nScore: 4", 4), judgement("So so.\nScore: 4", 4))
    (row,) = judge_rows([one], meta_rewards([outcomes(3, 1, 0)]), model="M1").rows
    assert row["prompt"] == [{"role": "user", "content": "Score it."}]
    assert row["chosen"][0]["content"] == "Right.\nScore: 4"
    assert row["rejected"][0]["content"] == "Wrong.\nScore: 1"
    assert row["judgements"] == ["key of Right.\nScore: 4", "key of Wrong.\nScore: 1"]
    assert (row["verdicts"], row["prompt_id"]) == (["v1", "v2"], PROMPT.id)
    assert row["margin"] > 1
    same = judge_rows([one], meta_rewards([outcomes(3, 1, 2)]), model="M1")
    assert (len(same.rows), same.tied_best) == (1, 1)
    strict = judge_rows([one], meta_rewards([outcomes(3, 1, 2)]), model="M1", require_score_diff=True)
    assert (strict.rows, strict.dropped) == ([], {"equal scores": 1})
    short = judge_rows([one], meta_rewards([outcomes(3, 1, 0)]), model="M1", max_chosen=10)
    assert (short.rows, short.dropped) == ([], {"chosen judgement too long": 1})


def test_answers_without_a_pair_of_judgements() -> None:
    two = compared(judgement("a", 1), judgement("b", 2))
    nothing = meta_rewards(np.zeros((1, 2, 2)))
    assert judge_rows([two], nothing, model="M1").dropped == {"equal rewards": 1}
    assert judge_rows([compared(judgement("a", 1))], nothing, model="M1").dropped == {
        "fewer than 2 different judgements": 1
    }
    equal = compared(judgement("a", 1), judgement("a", 1))
    assert judge_rows([equal], meta_rewards([outcomes(2, 0, 1)]), model="M1").dropped == {"equal texts": 1}
    # a third that met nobody has a reward of 0, and is neither the best nor the worst
    third = np.zeros((1, 3, 3), dtype=int)
    third[0, :2, :2] = outcomes(2, 0, 1)
    three = compared(judgement("a", 1), judgement("b", 2), judgement("c", 3))
    (row,) = judge_rows([three], meta_rewards(third), model="M1").rows
    assert {row["chosen"][0]["content"], row["rejected"][0]["content"]} == {"a", "b"}


def test_judgements_that_differ() -> None:
    found = distinct([judgement("a", 1), judgement("?", None), judgement("a", 1), judgement("b", 1)])
    assert [one.raw for one in found] == ["a", "b"]


@pytest.mark.parametrize(("share", "kept"), [(None, 50), (1.0, 50), (0.5, 50), (0.2, 25), (0.15, 17), (0.0, 0)])
def test_share_of_judge_rows(share: float | None, kept: int) -> None:
    actor, judge = [{"a": i} for i in range(100)], [{"j": i} for i in range(50)]
    rows, left_out = limited(actor, judge, share, seed=3)
    assert (len(rows), left_out) == (kept, 50 - kept)
    assert share is None or kept <= share * (100 + kept) + 1e-9
    assert limited(actor, judge, share, seed=3) == (rows, left_out)
    assert not any(row in actor for row in rows)
