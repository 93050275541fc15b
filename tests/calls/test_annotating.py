"""Labels of a pool: several pairs a call, batches split, noise that costs nothing, and nothing paid twice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from arenaloop.calls.annotating import Annotation, AnnotationPlan, annotate, estimate_annotations, planned_calls
from arenaloop.calls.budget import Budget
from arenaloop.errors import BudgetSpentError
from arenaloop.judges.annotators import Pair, PairsJudge, Pool
from arenaloop.judges.builtin import BuiltinJudge
from arenaloop.models.scripted import ScriptedModel
from arenaloop.store import Store
from arenaloop.types import Completion, Prompt, Request, Response, Sampling, Status


def made(count: int) -> list[Pair]:
    """Pairs whose better answer says so, now the first and now the second."""
    pairs = []
    for n in range(count):
        prompt = Prompt.of(f"question {n}")
        texts = ("better", "worse") if n % 3 else ("worse", "better")
        one, two = (Response(prompt.id, name, (f"{text} {n}",)) for name, text in zip("ab", texts, strict=True))
        pairs.append(Pair(prompt, one, two, prompt.last_user))
    return pairs


def truth(pair: Pair) -> float:
    return 1.0 if pair.one.texts[0].startswith("better") else 2.0


def asked_about(request: Request) -> list[tuple[str, str]]:
    """The answers in the first and in the second seat of each pair of a call."""
    text = request.messages[0]["content"]
    answers = re.findall(r"=== \w+ pair \d+ answer [12] ===\n(.*)", text)
    return list(zip(answers[::2], answers[1::2], strict=True))


def right(request: Request) -> str:
    return "Choices: " + " ".join("1" if one.startswith("better") else "2" for one, _ in asked_about(request))


class Heard:
    """A model that counts what it is asked, about how many pairs each time."""

    def __init__(self, say: Callable[[Request], str | Completion] = right, name: str = "m") -> None:
        self.say, self.sizes = say, list[int]()
        self.model = ScriptedModel(name, self)

    def __call__(self, request: Request) -> str | Completion:
        self.sizes.append(len(asked_about(request)))
        return self.say(request)


def pool(heard: Heard, batch: int = 4, p: float = 0.0, **changed) -> Pool:
    judge = PairsJudge(heard.model, template="annotator_plain", batch=batch, sampling=Sampling(1.0, max_tokens=50))
    return Pool([judge], p, patience=[2], **changed)


def labelled(plan: AnnotationPlan, path: Path, budget: Budget | None = None) -> list[Annotation]:
    with Store(path) as store:
        return annotate(plan, store, budget=budget)


def paid(path: Path) -> int:
    with Store(path, readonly=True) as store:
        return store.usage().calls


@pytest.mark.parametrize("seats", ["seeded", "both_orders", "compat"])
def test_labels_are_those_of_the_pairs_whoever_sits_first(tmp_path: Path, seats) -> None:
    heard, pairs = Heard(), made(22)
    labels = labelled(AnnotationPlan(pairs, pool(heard, seat_mode=seats)), tmp_path / "a.db")
    assert [label.preference for label in labels] == [truth(pair) for pair in pairs]
    calls = 12 if seats == "both_orders" else 6
    assert (len(heard.sizes), max(heard.sizes), sum(heard.sizes)) == (calls, 4, 22 * calls // 6)
    assert paid(tmp_path / "a.db") == calls
    firsts = Counter(label.first for label in labels)
    assert firsts.keys() == ({None} if seats == "both_orders" else {1, 2})
    assert all(len(label.verdicts) == (2 if seats == "both_orders" else 1) for label in labels)


def test_seats_that_disagree_are_a_tie(tmp_path: Path) -> None:
    heard = Heard(lambda request: "Choices: " + " ".join("1" for _ in asked_about(request)))
    labels = labelled(AnnotationPlan(made(6), pool(heard, seat_mode="both_orders")), tmp_path / "a.db")
    assert {label.preference for label in labels} == {1.5}


def test_half_of_the_calls_are_saved_by_noise(tmp_path: Path) -> None:
    heard, pairs = Heard(), made(1000)
    plan = AnnotationPlan(pairs, pool(heard, batch=1, p=0.25))
    labels = labelled(plan, tmp_path / "a.db")
    noise = [label for label in labels if label.noise]
    assert len(heard.sizes) == planned_calls(plan) == 1000 - len(noise)
    assert abs(len(noise) / 1000 - 0.5) < 0.05
    turned = sum(label.preference != truth(pair) for label, pair in zip(labels, pairs, strict=True))
    assert abs(turned / 1000 - 0.25) < 0.05
    assert all(label.preference == truth(pairs[label.pair]) for label in labels if not label.noise)
    assert all(label.annotator is None and not label.verdicts for label in noise)


def test_a_finished_run_asks_nothing_and_gives_the_same(tmp_path: Path) -> None:
    heard = Heard()
    plan = AnnotationPlan(made(30), pool(heard, p=0.25), votes=2)
    first = labelled(plan, tmp_path / "a.db")
    asked = len(heard.sizes)
    assert labelled(plan, tmp_path / "a.db") == first
    assert len(heard.sizes) == asked
    more = labelled(AnnotationPlan(made(30), plan.pool, votes=3), tmp_path / "a.db")
    assert more[:60] == first
    assert sum(heard.sizes[asked:]) == sum(1 for label in more[60:] if not label.noise)


def test_further_pairs_are_asked_about_alone(tmp_path: Path) -> None:
    heard, judges = Heard(), made(9)
    labelled(AnnotationPlan(judges[:6], pool(heard)), tmp_path / "a.db")
    asked = len(heard.sizes)
    labels = labelled(AnnotationPlan(judges, pool(heard)), tmp_path / "a.db")
    assert sum(heard.sizes[asked:]) == 3
    assert [label.preference for label in labels] == [truth(pair) for pair in judges]


def test_a_call_that_cannot_be_read_is_split_and_not_given_up(tmp_path: Path) -> None:
    def short(request: Request) -> str:
        """Reads two pairs at most, and of pair 5 nothing the first time."""
        pairs = asked_about(request)
        if len(pairs) > 2 or (any("5" in one for one, _ in pairs) and (len(pairs) > 1 or not request.sample)):
            return "I lost count."
        return right(request)

    heard, pairs = Heard(short), made(8)
    labels = labelled(AnnotationPlan(pairs, pool(heard, batch=8)), tmp_path / "a.db")
    assert [label.preference for label in labels] == [truth(pair) for pair in pairs]
    # 8 → 4 4 → 2 2 2 2, of which the one with pair 5 → 1 1, and pair 5 once more
    assert sorted(heard.sizes, reverse=True) == [8, 4, 4, 2, 2, 2, 2, 1, 1, 1]
    assert paid(tmp_path / "a.db") == 10
    again = labelled(AnnotationPlan(pairs, pool(heard, batch=8)), tmp_path / "a.db")
    assert (again, len(heard.sizes)) == (labels, 10)


def test_pairs_that_only_a_later_sample_decided_are_not_asked_about_again(tmp_path: Path) -> None:
    heard = Heard(lambda request: right(request) if request.sample else "Hm.")
    plan = AnnotationPlan(made(6), pool(heard, batch=3))
    first = labelled(plan, tmp_path / "a.db")
    assert all(label.preference for label in first)
    asked = len(heard.sizes)
    assert (labelled(plan, tmp_path / "a.db"), len(heard.sizes)) == (first, asked)


def test_only_the_pair_that_is_refused_fails(tmp_path: Path) -> None:
    def filtered(request: Request) -> Completion:
        if any("3" in one for one, _ in asked_about(request)):
            return Completion(status=Status.REFUSED, error="content filter", usd=0.0)
        return Completion(right(request), usd=0.0)

    pairs = made(8)
    labels = labelled(AnnotationPlan(pairs, pool(Heard(filtered), batch=8)), tmp_path / "a.db")
    assert [label.pair for label in labels if label.preference is None] == [3]
    assert (labels[3].status, labels[3].error, labels[3].annotator) == (Status.REFUSED, "content filter", "m")


def test_annotators_that_never_answer_leave_rows_with_a_reason(tmp_path: Path) -> None:
    heard = Heard(lambda request: "no idea")
    labels = labelled(AnnotationPlan(made(5), pool(heard, batch=2)), tmp_path / "a.db")
    assert {(label.preference, label.status) for label in labels} == {(None, Status.UNPARSED)}
    assert Counter(heard.sizes) == {2: 2, 1: 3 * 5}  # each pair alone, and twice more
    before = len(heard.sizes)
    heard.say = right
    assert all(label.preference for label in labelled(AnnotationPlan(made(5), pool(heard, batch=2)), tmp_path / "a.db"))
    assert len(heard.sizes) == before + 3


def test_a_budget_stops_before_the_next_call_and_what_was_paid_stays(tmp_path: Path) -> None:
    heard = Heard()
    plan = AnnotationPlan(made(20), pool(heard, batch=2))
    with pytest.raises(BudgetSpentError, match="4 of 4 calls"):
        labelled(plan, tmp_path / "a.db", Budget(calls=4))
    assert sum(heard.sizes) == 8
    again = labelled(plan, tmp_path / "a.db", Budget(calls=10))
    assert (len(heard.sizes), sum(heard.sizes)) == (10, 20)
    assert again == labelled(plan, tmp_path / "unbroken.db")


def test_judges_of_any_kind_are_members(tmp_path: Path) -> None:
    members = [BuiltinJudge("longest"), BuiltinJudge("shortest")]
    labels = labelled(AnnotationPlan(made(40), Pool(members, 0.0)), tmp_path / "a.db")
    by_length = {"longest": 0, "shortest": 0}
    for label in labels:
        pair = made(40)[label.pair]
        longer = 1.0 if len(pair.one.texts[0]) > len(pair.two.texts[0]) else 2.0
        by_length[label.annotator] += label.preference == longer
    assert by_length["shortest"] == 0
    assert by_length["longest"] == sum(label.annotator == "longest" for label in labels) > 0
    assert paid(tmp_path / "a.db") == 0


def test_the_estimate_counts_calls_and_what_is_stored(tmp_path: Path) -> None:
    heard = Heard()
    plan = AnnotationPlan(made(40), pool(heard, p=0.25))
    assert estimate_annotations(plan, None).calls == planned_calls(plan)
    labelled(plan, tmp_path / "a.db")
    assert len(heard.sizes) == planned_calls(plan)
    with Store(tmp_path / "a.db", readonly=True) as store:
        assert estimate_annotations(plan, store).calls == 0
