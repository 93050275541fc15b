"""Judgments that only a whole file, or a directory, tells: single scores, both kinds beside each other, no baseline."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arenaloop.data.formats import read_annotations, read_battles
from arenaloop.data.formats.single_scores import scored
from arenaloop.errors import InputError
from arenaloop.ratings.battles import Battles


def write(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def single(question: int, model: str, score: Any, turn: int = 1, judge: str = "gpt-4") -> dict[str, Any]:
    return {
        "question_id": question, "model": model, "judge": [judge, "single-v1"], "user_prompt": "p",
        "judgment": f"Rating: [[{score}]]", "score": score, "turn": turn, "tstamp": 1.5,
    }  # fmt: skip


def pair(question: int, one: str, two: str, winner: str, turn: int = 1) -> dict[str, Any]:
    return {
        "question_id": question, "model_1": one, "model_2": two, "g1_winner": winner, "g2_winner": winner,
        "judge": ["gpt-4", "pair-v2"], "turn": turn, "tstamp": 1.5,
    }  # fmt: skip


def told(battles: Battles) -> set[tuple[str, str, float]]:
    names = battles.models
    return {(names[a], names[b], float(s)) for a, b, s in zip(battles.a, battles.b, battles.score_a, strict=True)}


def test_single_scores_battle_by_prompt_turn_and_judge(tmp_path: Path) -> None:
    rows = [
        *(single(81, name, score) for name, score in (("a", 7), ("b", 7), ("c", 9.5))),
        single(81, "a", 3, turn=2),
        single(81, "b", 5, turn=2),
        single(82, "a", 8),
        single(82, "b", -1),  # failed
        single(83, "c", 1, judge="other"),
        single(83, "a", 10),  # another judge's: no battle
    ]
    battles = read_battles(write(tmp_path / "gpt-4_single.jsonl", rows))
    assert told(battles) == {("a", "b", 0.5), ("a", "c", 0.0), ("b", "c", 0.0), ("a", "b", 0.0)}
    assert battles.skipped == 1
    assert battles.cluster is not None
    assert len(np.unique(battles.cluster)) == 1  # both turns are one prompt's
    notes = "; ".join(battles.notes)
    assert "9 scores of single answers" in notes
    assert "column score: 1 of 9 scores empty or failed (below 0)" in notes
    rates = read_annotations(tmp_path / "gpt-4_single.jsonl", "a")
    assert (set(rates.models), len(rates.preference)) == ({"b", "c"}, 4)


def test_scores_that_contradict_each_other_or_are_none_are_left_out_or_refused(tmp_path: Path) -> None:
    many = [single(question, name, question % 3 + len(name)) for question in range(20) for name in ("a", "bb")]
    again = read_battles(write(tmp_path / "s.jsonl", [*many, many[0], {**many[1], "score": 10}]))
    assert len(again) + again.skipped == 19
    notes = "; ".join(again.notes)
    assert "1 score is there twice, and counted once" in notes
    assert "two different scores of one answer (1, first line 42)" in notes
    path = write(tmp_path / "t.jsonl", [single(1, "a", "good"), single(1, "b", 3)])
    with pytest.raises(InputError, match=r"t\.jsonl, line 1: column score: 'good'"):
        read_battles(path)


def test_a_directory_with_both_kinds_is_read_by_its_pairs(tmp_path: Path) -> None:
    write(tmp_path / "gpt-4_pair.jsonl", [pair(81, "a", "b", "model_1"), pair(81, "a", "b", "tie", 2)])
    write(tmp_path / "gpt-4_single.jsonl", [single(81, "a", 1), single(81, "b", 9)])
    battles = read_battles(tmp_path)
    assert told(battles) == {("a", "b", 1.0), ("a", "b", 0.5)}
    assert "2 scores of single answers make no battles beside judgments of pairs" in battles.notes
    scores: list[Any] = []
    assert told(read_battles(tmp_path, scores=scores)) == told(battles)
    assert [one.score for one in scored(scores)] == [1, 9]
    write(tmp_path / "odd_single.jsonl", [single(81, "a", "good")])
    assert "'good'" in read_battles(tmp_path, scores=[]).notes[-1]
    (tmp_path / "odd_single.jsonl").unlink()
    alone = read_battles(tmp_path / "*_single.jsonl")
    assert told(alone) == {("a", "b", 0.0)}
    rates = read_annotations(tmp_path, "a")
    assert sorted(rates.preference) == [1.0, 1.5]


def test_each_answers_score_is_given_once(tmp_path: Path) -> None:
    rows = [single(81, "a", 7), single(81, "a", 7), single(81, "b", -1), single(81, "b", 3, turn=2)]
    rows += [{**single(81, "c", 4), "turn": "2", "judge": "j"}, {**single(82, "c", 5), "turn": None, "judge": None}]
    many = [single(question, "d", 1) for question in range(40)]
    scores: list[Any] = []
    read_battles(write(tmp_path / "s.jsonl", [*rows, *many, {**many[3], "score": 2}]), scores=scores)
    assert [one for one in scored(scores) if one.model != "d"] == [
        ("gpt-4", "a", "81", 1, 7.0),
        ("gpt-4", "b", "81", 1, None),
        ("gpt-4", "b", "81", 2, 3.0),
        ("j", "c", "81", 2, 4.0),
        (None, "c", "82", None, 5.0),
    ]
    assert {one.question for one in scored(scores) if one.model == "d"} == {str(n) for n in range(40) if n != 3}


LABELS = {
    "A>>B": (1.0, 3.0), "A>B": (1.0, 1.0), "A=B": (0.5, 1.0), "B>A": (0.0, 1.0), "B>>A": (0.0, 3.0),
    "B<<A": (1.0, 3.0), "B<A": (1.0, 1.0), "B=A": (0.5, 1.0), "A<B": (0.0, 1.0), "A<<B": (0.0, 3.0),
}  # fmt: skip
"""What the first seat scores by each of Arena-Hard's ten labels, and what a label weighs."""


@pytest.mark.parametrize("version", ["v0.1", "v2"])
def test_arena_hard_in_both_versions_with_all_ten_labels(tmp_path: Path, version: str) -> None:
    def row(model: str, number: int, label: str) -> dict[str, Any]:
        games = [{"score": label}, {"score": None} if number == 3 else {"score": "A=B"}]
        if version == "v2":
            named = {"uid": f"u{number}", "category": "hard_prompt", "baseline": "base"}
        else:
            named = {"question_id": f"u{number}"}
        return {**named, "model": model, "judge": "gpt", "games": games}

    for model in ("x", "y"):
        rows = [row(model, number, label) for number, label in enumerate(LABELS)]
        write(tmp_path / "model_judgment" / "gpt" / f"{model}.jsonl", rows)
    base = "base" if version == "v2" else "gpt-4-0314"
    battles = read_battles(tmp_path / "model_judgment")
    assert set(battles.models) == {base, "x", "y"}
    named = "rows name no baseline, as in Arena-Hard v0.1: taken for its own, gpt-4-0314"
    assert any(named in note for note in battles.notes) is (version == "v0.1")
    rates = read_annotations(tmp_path / "model_judgment", "mine" if version == "v0.1" else "base")
    first = [
        (2.0 - preference, weight)
        for model, preference, weight in zip(rates.model, rates.preference, rates.weight, strict=True)
        if rates.models[model] == "x"
    ]
    wanted = [
        game for number, of in enumerate(LABELS.values()) for game in (of, (float("nan") if number == 3 else 0.5, 1.0))
    ]
    np.testing.assert_array_equal(first, wanted)


def test_chatbot_arenas_kin_by_turn_and_one_hot(tmp_path: Path) -> None:
    votes = [
        {"question_id": 81, "model_a": "a", "model_b": "b", "winner": winner, "judge": "expert_1", "turn": turn}
        for turn, winner in ((1, "model_a"), (2, "model_b"))
    ]
    by_turn = read_battles(write(tmp_path / "mt_bench.jsonl", votes))
    assert told(by_turn) == {("a", "b", 1.0), ("a", "b", 0.0)}
    kaggle = tmp_path / "train.csv"
    head = "id,model_a,model_b,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie\n"
    rows = ['1,a,b,"[""q""]","[""x""]","[""y""]",1,0,0', '2,b,a,"[""r""]","[""x""]","[""y""]",0,0,1']
    kaggle.write_text(head + "\n".join(rows) + "\n")
    assert told(read_battles(kaggle)) == {("a", "b", 1.0), ("b", "a", 0.5)}


def game_row(question: int, model: str, label: str, judge: str = "gpt", **more: Any) -> dict[str, Any]:
    return {
        "question_id": f"u{question}", "model": model, "judge": judge, "games": [{"score": label}, {"score": "A=B"}]
    } | more  # fmt: skip


def test_a_baseline_that_no_row_names_cannot_be_one_that_was_judged_or_never_answered(tmp_path: Path) -> None:
    folder = tmp_path / "bench" / "model_judgment"
    for model in ("x", "y"):
        write(folder / "gpt" / f"{model}.jsonl", [game_row(number, model, "A>B") for number in range(4)])
    rates = read_annotations(folder, "gpt-4-0314")
    assert "8 rows name no baseline, as in Arena-Hard v0.1: taken for its own, gpt-4-0314" in rates.notes
    with pytest.raises(InputError, match=r"name no baseline, and 'y' is one of the models judged .* with gpt-4-0314"):
        read_annotations(folder, "y")
    other = read_annotations(folder, "gpt-4-1106")  # nothing tells that it is none
    assert other.notes[0].endswith("taken for gpt-4-1106, as given; its own is gpt-4-0314")
    for model in ("x", "y", "gpt-4-0314", "gpt-4-1106-preview"):
        write(tmp_path / "bench" / "model_answer" / f"{model}.jsonl", [])
    with pytest.raises(InputError, match=r"'gpt-4-1106' has no answers in model_answer .*mean 'gpt-4-1106-preview'"):
        read_annotations(folder, "gpt-4-1106")
    assert read_annotations(folder, "gpt-4-1106-preview").baseline == "gpt-4-1106-preview"
    write(folder / "gpt" / "z.jsonl", [game_row(1, "gpt-4-0314", "A>B")])
    with pytest.raises(InputError, match=r"that of Arena-Hard v0\.1, gpt-4-0314, was judged itself"):
        read_battles(folder)


def test_judges_are_named_where_they_are_pooled_and_one_is_chosen(tmp_path: Path) -> None:
    folder = tmp_path / "model_judgment"
    for judge, label in (("gpt", "A>B"), ("gemini", "B>A")):
        rows = [game_row(number, "x", label, judge, baseline="b") for number in range(5)]
        write(folder / judge / "x.jsonl", rows)
    both = read_battles(folder, by="judge")
    assert len(both) == 20
    assert both.notes == (
        "judgments of 2 judges are pooled: gemini (5 rows), gpt (5 rows); "
        "--judge NAME takes one, --by judge shows each",
    )
    assert both.tags == ("gemini", "gpt")
    one = read_battles(folder, judges=["gpt"])
    assert (len(one), one.notes) == (10, ())
    assert told(one) == {("b", "x", 1.0), ("x", "b", 0.5)}
    assert len(read_annotations(folder, "b", judges=["gpt", "gemini"]).preference) == 20
    with pytest.raises(InputError, match=r"no judge 'gemin' \(did you mean 'gemini'\?\) \(there are gemini \(5 rows\)"):
        read_battles(folder, judges=["gemin"])
    pairs = [pair(81, "a", "b", "model_1"), {**pair(81, "a", "b", "model_2"), "judge": ["other", "pair-v2"]}]
    path = write(tmp_path / "pairs.jsonl", pairs)
    assert told(read_battles(path, judges=["other"])) == {("a", "b", 0.0)}
    assert read_battles(path, by="judge").tags == ("gpt-4", "other")
    votes = [{"model_a": "a", "model_b": "b", "winner": "model_a", "judge": f"expert {i}"} for i in range(4)]
    people = write(tmp_path / "votes.jsonl", votes)
    assert read_battles(people).notes == ()  # people
    assert len(read_battles(people, judges=["expert 1"])) == 1
    with pytest.raises(InputError, match="its rows name no judge"):
        read_battles(write(tmp_path / "v.jsonl", [{"model_a": "a", "model_b": "b", "winner": "tie"}]), judges=["x"])


def test_a_benchmark_is_told_where_its_judgments_are(tmp_path: Path) -> None:
    write(tmp_path / "ah" / "question.jsonl", [{"uid": "u1", "category": "arena-hard-v0.1", "prompt": "p"}])
    write(tmp_path / "ah" / "model_judgment" / "gpt" / "x.jsonl", [game_row(1, "x", "A>B")])
    with pytest.raises(InputError, match=r"in question.jsonl; the judgments are in .*ah.model_judgment"):
        read_battles(tmp_path / "ah")
