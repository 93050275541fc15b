"""Audits of judges whose faults are known."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from arenaloop.audit.plan import AuditPlan, ask, ingest
from arenaloop.audit.read import Audit, JudgeAudit, read
from arenaloop.data.formats.labels import LabelledPair
from arenaloop.judges.base import Judge
from arenaloop.judges.builtin import BuiltinJudge
from arenaloop.judges.labels import LabelsJudge, RecordedVote, material
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.judges.synthetic import holds_list
from arenaloop.models.scripted import ScriptedModel
from arenaloop.sandbox.judge import SandboxJudge
from arenaloop.store import Store
from arenaloop.types import Completion, Prompt, Request, Status


def pairs_of(votes: list[list[float]]) -> list[LabelledPair]:
    """Pairs of which the second output is twice as long."""
    return [
        LabelledPair(Prompt.of(f"p{i}"), ((f"{i} " + "a" * 50,), (f"{i} " + "b" * 100,)), ("old", "new"), list(v))
        for i, v in enumerate(votes)
    ]


def run(path: Path, pairs: list[LabelledPair], *judges: Judge, **settings: object) -> Audit:
    plan = AuditPlan(pairs, judges, **settings)  # type: ignore[arg-type]
    with Store(path / "arena.db") as store:
        ingest(plan, store)
        ask(plan, store)
        return read(plan, store, samples=50)


def row(audit: Audit, name: str) -> JudgeAudit:
    return next(one for one in audit.rows if one.name == name)


def always(text: str, name: str = "scripted") -> PairwiseJudge:
    return PairwiseJudge(ScriptedModel(name, lambda _: text))


def test_baselines(tmp_path: Path) -> None:
    votes = [[2.0]] * 6 + [[1.0]] * 4
    found = run(tmp_path, pairs_of(votes), BuiltinJudge("longest"), BuiltinJudge("shortest"), BuiltinJudge("first"))
    longest, shortest, first = (row(found, name) for name in ("longest", "shortest", "first"))
    assert longest.evaluation.agreement.value == pytest.approx(60.0)
    assert shortest.evaluation.agreement.value == pytest.approx(40.0)
    assert first.evaluation.agreement.value == pytest.approx(50.0)  # both seats contradict: ties
    assert (longest.evaluation.longer.value, shortest.evaluation.longer.value) == (1.0, 0.0)
    assert (longest.evaluation.first_seat.value, first.evaluation.first_seat.value) == (0.5, 1.0)
    assert (longest.evaluation.flips.value, first.evaluation.flips.value) == (0.0, 1.0)
    assert longest.evaluation.variance.value == 0.0
    assert longest.evaluation.bias.value == pytest.approx(40.0)
    assert (longest.cost.usd, longest.undecided, found.undecided) == (0.0, 0, 0)
    assert [r.name for r in found.rows if not r.members] == ["longest", "first", "shortest"]


def test_recorded_labels_have_votes_prices_and_no_flips(tmp_path: Path) -> None:
    pairs = pairs_of([[2.0], [1.0], [2.0]])
    labels = {
        material(p.prompt, *p.outputs): [RecordedVote(v, 0.01, 2.0) for v in votes]
        for p, votes in zip(pairs, ([2.0, 2.0, 1.0, 2.0], [1.0, 1.0, 1.0, 1.0], [1.0]), strict=True)
    }
    found = row(run(tmp_path, pairs, LabelsJudge("gpt4", labels)), "gpt4")
    assert found.wanted == 9
    assert found.evaluation.votes == 9
    assert found.evaluation.agreement.value == pytest.approx(100 * 7 / 9)
    assert found.evaluation.variance.value == pytest.approx(100 * (0.25 + 0) / 2)
    assert (found.evaluation.flips.value, found.evaluation.first_seat.value) == (None, None)
    assert (found.cost.usd, found.cost.seconds) == (pytest.approx(10.0), pytest.approx(2000.0))


def test_pairs_without_a_label_are_undecided_and_no_ties(tmp_path: Path) -> None:
    pairs = pairs_of([[2.0], [1.0]])
    judge = LabelsJudge("half", {material(pairs[0].prompt, *pairs[0].outputs): [RecordedVote(2.0)]})
    audit = run(tmp_path, pairs, judge, BuiltinJudge("longest"))
    half = row(audit, "half")
    assert (half.undecided, half.failed, audit.undecided) == (1, {"error": 2}, 1)
    assert half.evaluation.agreement.value == 100.0
    assert half.evaluation.agreement.n == 1
    # beside the others on what all decided
    assert (row(audit, "longest").evaluation.agreement.value, row(audit, "longest").shared.value) == (50.0, 100.0)
    assert half.cost.usd is None


def test_further_votes_of_a_model_are_asked_once_each(tmp_path: Path) -> None:
    heard: list[Request] = []

    def answer(request: Request) -> str:
        heard.append(request)
        return "Scores: 7 5" if random.Random(request.seed).random() < 0.5 else "Scores: 5 7"

    judge = PairwiseJudge(ScriptedModel("coin", answer))
    pairs = pairs_of([[1.0], [2.0], [1.0], [2.0]] * 5)
    first = run(tmp_path, pairs, judge, votes=4)
    assert len(heard) == 20 * 4 * 2
    assert len({r.key for r in heard}) == 20 * 2  # the model sees four times the same question
    coin = row(first, "coin").evaluation
    assert coin.votes == 80
    assert coin.variance.value is not None
    assert coin.variance.value > 20
    again = run(tmp_path, pairs, judge, votes=4)
    assert len(heard) == 20 * 4 * 2
    assert again == first


def test_unread_answers_are_re_asked_counted_and_never_ties(tmp_path: Path) -> None:
    def answer(request: Request) -> str | Completion:
        if "p0" in request.messages[0]["content"]:
            return "no idea"
        if "p1" in request.messages[0]["content"] and request.sample == 0:
            return "hm"
        return "Scores: 5 5"

    audit = run(tmp_path, pairs_of([[1.0], [1.0], [1.0]]), PairwiseJudge(ScriptedModel("j", answer)))
    found = row(audit, "j")
    assert found.unparsed.value == pytest.approx(2 / 3)
    assert (found.undecided, found.failed) == (1, {"unparsed": 2})
    assert found.evaluation.agreement.n == 2


def test_costs_count_what_was_asked_again(tmp_path: Path) -> None:
    def answer(request: Request) -> Completion:
        text = "Scores: 5 7" if request.sample or "p0" in request.messages[0]["content"] else "hm"
        return Completion(text=text, usd=0.002, seconds=0.5, status=Status.OK)

    found = row(run(tmp_path, pairs_of([[1.0], [1.0]]), PairwiseJudge(ScriptedModel("j", answer))), "j")
    assert found.cost.usd == pytest.approx(3.0)  # p0 once, p1 twice: six calls on four seatings
    assert found.cost.seconds == pytest.approx(750.0)


def test_juries(tmp_path: Path) -> None:
    """Two good judges outvote a bad one, and measured weights silence it."""
    rng = random.Random(0)
    truth = [rng.choice([1.0, 2.0]) for _ in range(120)]
    pairs = pairs_of([[t] for t in truth])

    def recorded(name: str, right: float) -> LabelsJudge:
        return LabelsJudge(
            name,
            {
                material(p.prompt, *p.outputs): [RecordedVote(t if rng.random() < right else 3.0 - t)]
                for p, t in zip(pairs, truth, strict=True)
            },
        )

    judges = [recorded("good", 0.9), recorded("fair", 0.7), recorded("bad", 0.3)]
    audit = run(tmp_path, pairs, *judges, BuiltinJudge("random"))
    weighted, majority = row(audit, "jury:weighted"), row(audit, "jury:majority")
    assert weighted.members == ("good", "fair", "bad")  # baselines do not sit
    assert weighted.evaluation.agreement.value is not None
    assert majority.evaluation.agreement.value is not None
    assert weighted.evaluation.agreement.value > majority.evaluation.agreement.value
    assert weighted.evaluation.agreement.value >= 85
    assert audit.weights["good"] > audit.weights["fair"] > 0
    assert audit.weights["bad"] == 0
    assert any("no jury by mean" in note for note in audit.notes)


def test_a_jury_by_mean_where_members_score_alike(tmp_path: Path) -> None:
    audit = run(tmp_path, pairs_of([[1.0], [2.0]]), always("Scores: 9 1", "one"), always("Scores: 4 5", "two"))
    mean = row(audit, "jury:mean")
    # 'one' always takes the first seat by 8, 'two' the second by 1: the two seats cancel out
    assert mean.evaluation.agreement.value == 50.0
    assert mean.evaluation.flips.value == 1.0
    assert mean.evaluation.first_seat.value == 1.0


def test_one_judge_beside_a_baseline_is_no_jury(tmp_path: Path) -> None:
    audit = run(tmp_path, pairs_of([[1.0], [2.0]]), always("Scores: 9 1"), BuiltinJudge("longest"))
    assert [one.members for one in audit.rows] == [(), ()]


def test_judges_against_each_other(tmp_path: Path) -> None:
    audit = run(
        tmp_path, pairs_of([[1.0], [2.0]]), BuiltinJudge("longest"), BuiltinJudge("shortest"), BuiltinJudge("random"),
        votes=2,
    )  # fmt: skip
    met = {(a, b): found.agreement.value for a, b, found in audit.between}
    assert met["longest", "shortest"] == 0.0
    assert ("longest", "longest") not in met
    assert ("random", "random") in met


def test_the_sandboxs_judge_shows_its_built_in_faults(tmp_path: Path) -> None:
    """With a strong seat bias and outputs of one quality, the first seat wins more often than not."""
    biased = PairwiseJudge(ScriptedModel("biased", SandboxJudge(seat_bias=3.0).complete))
    fair = PairwiseJudge(ScriptedModel("fair", SandboxJudge(seat_bias=0.0).complete))
    audit = run(tmp_path, pairs_of([[1.0], [2.0]] * 40), biased, fair)
    one, two = (row(audit, name).evaluation for name in ("biased", "fair"))
    assert one.first_seat.lower is not None
    assert one.first_seat.lower > 0.6
    assert two.first_seat.value is not None
    assert one.first_seat.value is not None
    assert one.first_seat.value > two.first_seat.value + 0.15
    assert one.flips.value is not None
    assert two.flips.value is not None
    assert one.flips.value > two.flips.value


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Sure:\n- one\n- two", True),
        ("1. one", True),
        ("  2) two", True),
        ("a) first", True),
        ("• dot", True),
        ("It is 1.5 metres - or so.", False),
        ("-5 degrees", False),
        ("no list\n\nat all", False),
        ("", False),
    ],
)
def test_lists(text: str, found: bool) -> None:
    assert holds_list(text) is found
