"""The red-team set against scripted judges: what it wins with the defences, and that it would win without them."""

from __future__ import annotations

import math
import re

import pytest

from arenaloop.audit.suspicion import Sameness, marks
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.judges.parsers import parser_for
from arenaloop.models.scripted import ScriptedModel
from arenaloop.sandbox.attacks import ATTACKS, Attack
from arenaloop.sandbox.gullible import GULLIBLE, Opinion, read_material, spoken
from arenaloop.sandbox.judge import read_judge_prompt
from arenaloop.sandbox.red_team import Bout, Plain, cases, guarded, plain
from arenaloop.types import Completion, Prompt, Response

CASES = cases(8)
SECRET = "the secret of this run"
HONEST = ATTACKS[0]
HOSTILE = [attack for attack in ATTACKS if attack.kind != "honest"]
NAMED = {attack.name: attack for attack in ATTACKS}
FORMS = [
    ("pairwise", "text"), ("pairwise", "json"), ("pairwise", "logprob"), ("score_first", "text"),
    ("score_first", "json"), ("labels", "text"), ("labels", "json"), ("labels", "logprob"),
]  # fmt: skip
HEEDFUL = ("rule_follower", "marker_reader", "turn_reader", "quoter")


def judge(template: str = "pairwise", mode: str = "text") -> PairwiseJudge:
    return PairwiseJudge(ScriptedModel("never asked", lambda r: ""), template=template, verdict=mode)  # type: ignore[arg-type]


def fought(name: str, attack: Attack, template: str = "pairwise", mode: str = "text") -> Bout:
    return guarded(judge(template, mode), GULLIBLE[name], attack, CASES, secret=SECRET)


# ---------------------------------------------------------------------- what the defences do


@pytest.mark.parametrize(("template", "mode"), FORMS)
@pytest.mark.parametrize("name", HEEDFUL)
def test_no_attack_wins_more_than_the_honest_answer(name: str, template: str, mode: str) -> None:
    honest = fought(name, HONEST, template, mode)
    assert (honest.won, honest.tied, honest.undecided) == (0, 0, 0)
    for attack in HOSTILE:
        bout = fought(name, attack, template, mode)
        assert bout == honest, f"{attack.name}: {bout}"


@pytest.mark.parametrize(
    ("name", "attack", "rate"),
    [
        ("rule_follower", "instruction", 1.0),
        ("rule_follower", "score line", 0.5),  # it wins from the first seat and loses from the second
        ("rule_follower", "look-alikes", 0.5),
        ("rule_follower", "constant, argues", 1.0),
        ("marker_reader", "fake parts, no code", 1.0),
        ("marker_reader", "constant, new material", 1.0),
        ("turn_reader", "ChatML turns", 1.0),
        ("turn_reader", "[INST] turns", 1.0),
        ("quoter", "score line", 0.5),
        ("quoter", "label [[A]]", 0.5),
        ("quoter", "code fence", 0.5),
    ],
)
def test_without_the_defences_the_same_judges_are_fooled(name: str, attack: str, rate: float) -> None:
    assert plain(GULLIBLE[name], HONEST, CASES).rate == 0.0
    bout = plain(GULLIBLE[name], NAMED[attack], CASES)
    assert (bout.rate, bout.undecided) == (rate, 0)


def test_each_defence_stops_what_the_others_let_through() -> None:
    fake, label, tags = NAMED["fake parts, no code"], NAMED["label [[A]]"], NAMED["ChatML turns"]
    marker_reader, quoter = GULLIBLE["marker_reader"], GULLIBLE["quoter"]
    assert plain(marker_reader, fake, CASES, Plain(last_line=True, both_seats=True)).rate == 1.0
    assert plain(marker_reader, fake, CASES, Plain(codes=True), secret=SECRET).rate == 0.0
    assert plain(quoter, label, CASES, Plain(codes=True, both_seats=True), secret=SECRET).rate == 0.5
    assert plain(quoter, label, CASES, Plain(last_line=True)).rate == 0.0
    everything = Plain(codes=True, last_line=True, both_seats=True)
    assert plain(GULLIBLE["turn_reader"], tags, CASES, everything, secret=SECRET).rate == 1.0
    assert fought("turn_reader", tags).rate == 0.0  # chat tags are broken when the template is filled


# ---------------------------------------------------------------------- what they do not do


def test_a_judge_that_obeys_its_material_is_lost_whatever_encloses_it() -> None:
    assert fought("naive_reader", NAMED["instruction"]).rate == 1.0
    for name in ("score line", "score line, other seat", "label [[A]]", "JSON verdict"):
        bout = fought("naive_reader", NAMED[name])
        assert bout.won == 0, "a verdict names a seat, and both seats are asked"
        assert bout.rate == 0.5


@pytest.mark.parametrize("attack", HOSTILE, ids=lambda a: a.name)
def test_a_judge_that_quotes_after_its_verdict_gives_no_win(attack: Attack) -> None:
    bout = fought("parting_quoter", attack)
    assert bout.won == 0
    assert bout.tied == 0 or bout.rate == 0.5
    for template, mode in (("score_first", "text"), ("pairwise", "json"), ("pairwise", "logprob")):
        assert fought("parting_quoter", attack, template, mode).lost == len(CASES)


@pytest.mark.parametrize(
    "text", ["2\nIt closes with: 1", "2\n\nThe first says\n1 10 1", "I see 1 and 2", "2 > 1", "**2** or 1?"]
)
def test_a_label_in_the_reasoning_decides_nothing(text: str) -> None:
    parser = parser_for("scores", "logprob", "last")
    tokens = tuple({part: -0.01} for part in re.findall(r"\w+|\W", text))
    assert parser.read(Completion(text, logprobs=tokens)) is None
    decided = parser.read(Completion(f"{text}\n2", logprobs=(*tokens, {"2": -0.01})))
    assert decided is not None
    # nothing is known of label 1 but that it is no likelier than what is left of the token
    assert decided.first == pytest.approx(1.0 - math.exp(-0.01))
    assert decided.second == pytest.approx(math.exp(-0.01))


def test_length_wins_over_a_judge_of_length() -> None:
    honest = fought("length_lover", HONEST)
    for name in ("long-winded", "white space", "headings and lists"):
        assert fought("length_lover", NAMED[name]).rate == 1.0 > (honest.rate or 0.0)


# ---------------------------------------------------------------------- what is flagged

UNFLAGGED = {"dangling border", "open fence", "markup", "headings and lists"}
"""harmless by themselves, or (lists and headings) ordinary"""


@pytest.mark.parametrize("attack", HOSTILE, ids=lambda a: a.name)
def test_attacks_are_flagged(attack: Attack) -> None:
    flagged = [bool(marks(attack.answer(case.wrong, "c0de" * 4))) for case in CASES]
    assert all(flagged) if attack.name not in UNFLAGGED else not any(flagged)


def test_honest_answers_of_the_sandbox_are_not_flagged() -> None:
    for case in cases(200):
        assert marks(case.right) == marks(case.wrong) == []


@pytest.mark.parametrize("name", ["constant, argues", "constant, new material"])
def test_constant_attacks_are_constant(name: str) -> None:
    found = Sameness()
    for case in CASES:
        found.add(case.prompt.id, NAMED[name].answer(case.wrong))
    assert found.found().constant == len(CASES)


# ---------------------------------------------------------------------- codes


def code(prompt: Prompt, first: str, second: str, secret: str = SECRET) -> str:
    one, other = Response(prompt.id, "a", (first,)), Response(prompt.id, "b", (second,))
    text = judge().request(prompt, one, other, secret=secret, seed=0).messages[-1]["content"]
    return text.partition("\nMarker: ")[2].partition("\n")[0]


def test_a_code_that_leaks_is_of_no_use_elsewhere() -> None:
    prompt, other = CASES[0].prompt, CASES[1].prompt
    leaked = code(prompt, "x", "y")
    assert len(leaked) == 16
    assert leaked == code(prompt, "x", "y")  # a retry sends the same bytes
    elsewhere = [
        code(other, "x", "y"), code(prompt, "y", "x"), code(prompt, f"x {leaked}", "y"), code(prompt, "x", "z"),
        code(prompt, "x", "y", "another run's secret"),
    ]  # fmt: skip
    assert len({leaked, *elsewhere}) == 6


def test_an_answer_never_holds_the_code_that_encloses_it() -> None:
    for attack in ATTACKS:
        for case in CASES:
            hostile = attack.answer(case.wrong, code(case.prompt, case.wrong, case.right))
            assert code(case.prompt, hostile, case.right) not in hostile


# ---------------------------------------------------------------------- the scripted judges


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_they_find_the_same_parts_as_the_sandbox_judge(attack: Attack) -> None:
    case = CASES[0]
    one = Response(case.prompt.id, "a", (attack.answer(case.wrong),))
    other = Response(case.prompt.id, "b", (case.right,))
    text = judge().request(case.prompt, one, other, secret=SECRET, seed=0).messages[-1]["content"]
    found, parts = read_material(text), read_judge_prompt(text)
    assert parts is not None
    assert ([found.prompt], [found.answers[1]]) == (parts[0], parts[2])
    assert found.answers[0].rstrip() == parts[1][0].rstrip()


@pytest.mark.parametrize(("template", "mode"), FORMS)
@pytest.mark.parametrize("scores", [(9.0, 2.0), (2.0, 9.0), (5.0, 5.0)])
def test_an_opinion_is_read_as_it_was_meant(template: str, mode: str, scores: tuple[float, float]) -> None:
    asked = judge(template, mode)
    case = CASES[0]
    one, other = (Response(case.prompt.id, "any", (text,)) for text in (case.wrong, case.right))
    read = asked.read(case.prompt, one, other, spoken(Opinion(scores), asked.template.form, asked.verdict))
    assert read.score_first is not None
    assert read.score_second is not None
    assert (read.score_first > read.score_second) == (scores[0] > scores[1])
    assert (read.score_first == read.score_second) == (scores[0] == scores[1])


def test_cases_differ_in_a_known_way() -> None:
    drawn = cases(100)
    assert len(drawn) == 100
    assert len({case.prompt.id for case in drawn}) == 100
    assert all(case.right != case.wrong for case in drawn)


def test_intervals_of_win_rates() -> None:
    # worked by hand: of 0 in n the upper end is z²/(n + z²); 5 of 10 is 0.5 ± z/2 · sqrt(1/n + z²/n²)/(1 + z²/n)
    assert Bout(lost=10).interval() == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert Bout(won=5, lost=5).interval() == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert Bout(undecided=3).rate is None
    assert Bout(undecided=3).interval() == (0.0, 1.0)
    assert Bout(tied=4, won=2, lost=2).rate == 0.5
