"""Lineage: verdicts become the battles that they were, whatever their order, and rows are found by what they hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.data.lineage import (
    Merging,
    contestants,
    lines_with,
    meetings,
    prompt_id_of,
    row_at,
    row_files,
    row_prompt,
    row_texts,
    scores,
)
from arenaloop.data.selection import response_scores
from arenaloop.errors import InputError
from arenaloop.types import Battle, Outcome, Prompt, Response, Status, Verdict


def verdict(key: str, first: str, second: str, points: tuple[float, float] | None, sample: int = 0) -> Verdict:
    told: dict[str, Any] = {"status": Status.UNPARSED}
    if points is not None:
        outcome = Outcome.from_scores(*points)
        told = {"status": Status.OK, "score_first": points[0], "score_second": points[1], "outcome": outcome}
    return Verdict(key=key, prompt_id="p", first_hash=first, second_hash=second, judge="j", sample=sample, **told)


def test_both_seats_are_one_battle_and_the_call_asked_again_decides() -> None:
    told = [
        verdict("ab", "a", "b", None),
        verdict("ab2", "a", "b", (8, 4), sample=1),
        verdict("ba", "b", "a", (5, 7)),
    ]

    (meeting,) = meetings(told)

    (battle,) = meeting.battles
    assert (battle.model_a, battle.score_a, battle.score_b) == ("a", 7.5, 4.5)
    assert meeting.decisive == {"ab2", "ba"}
    assert [v.key for v in meeting.verdicts] == ["ab", "ab2", "ba"]


def test_a_lone_seat_is_a_battle_where_one_seat_was_asked() -> None:
    told = [verdict("ab", "a", "b", (8, 4))]

    assert meetings(told)[0].battles == ()
    assert len(meetings(told, Merging(lone=True))[0].battles) == 1
    failed = [*told, verdict("ba", "b", "a", None)]
    assert meetings(failed, Merging(lone=True))[0].battles == ()
    assert len(meetings(failed, Merging("mean", "use_one"))[0].battles) == 1


def test_judges_and_templates_are_kept_apart() -> None:
    told = [verdict("ab", "a", "b", (8, 4)), verdict("ba", "b", "a", (5, 7))]
    other = [
        Verdict(**{name: getattr(v, name) for name in Verdict.__dataclass_fields__} | {"judge": "k"}) for v in told
    ]

    assert [len(one.battles) for one in meetings([*told, *other])] == [1, 1]


POINTS = st.tuples(st.integers(1, 10), st.integers(1, 10))


@given(
    st.lists(st.sampled_from("xyz"), min_size=2, max_size=4),
    st.dictionaries(st.tuples(st.sampled_from("xyz"), st.sampled_from("xyz")), POINTS, min_size=9, max_size=9),
)
def test_scores_are_those_of_which_the_row_was_selected(texts: list[str], points: dict[Any, Any]) -> None:
    """Two ways to the same scores: battles of names, and battles of texts of which several names share one."""
    who = {f"m{at}": text for at, text in enumerate(texts)}
    told = {pair: verdict("".join(pair), pair[0], pair[1], some) for pair, some in points.items()}
    battles = []
    for a in who:
        for b in who:
            if a < b:
                (met,) = meetings({v.key: v for v in (told[who[a], who[b]], told[who[b], who[a]])}.values())
                (one,) = met.battles
                turned = one.model_a != who[a]
                sides = (one.score_b, one.score_a) if turned else (one.score_a, one.score_b)
                battles.append(Battle("p", a, b, one.winner, *sides, one.flipped, "j", one.verdicts))
    expected = response_scores(battles, list(who))

    used = set(who.values())
    asked = [v for pair, v in told.items() if set(pair) <= used]

    found = {name: score for name, (score, _) in scores(who, meetings(asked)).items()}
    assert expected is not None
    assert found == pytest.approx(expected)


def test_contestants_of_a_row_are_its_authors_and_those_whose_texts_were_judged() -> None:
    answers = [Response("p", name, (text,)) for name, text in (("a", "1"), ("b", "1"), ("c", "2"), ("a#1", "2"))]
    judged = {one.text_hash for one in answers}
    row = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "1"}], "model": "a"}
    own = {"prompt": "?", "chosen": "1", "rejected": "2", "chosen_model": "a#1", "rejected_model": "a#2"}

    assert list(contestants(row, judged, answers)) == ["a", "b", "c"]
    assert list(contestants(own, judged, answers)) == ["a#1", "a#2"]


def test_texts_and_prompts_of_each_form_of_row() -> None:
    user, one, two = ({"role": r, "content": c} for r, c in (("user", "q"), ("assistant", "1"), ("assistant", "2")))
    more = {"role": "user", "content": "and?"}

    assert [t.texts for t in row_texts({"messages": [user, one]})] == [("1",)]
    assert [t.texts for t in row_texts({"prompt": [user], "completion": [one, more, two]})] == [("1", "2")]
    pair = {"prompt": [user], "chosen": [one], "rejected": [two], "chosen_model": "a", "rejected_model": "b"}
    assert [(t.role, t.model, t.texts) for t in row_texts(pair)] == [
        ("chosen", "a", ("1",)),
        ("rejected", "b", ("2",)),
    ]
    assert row_texts({"prompt": [user], "prompt_id": "p"}) == []
    assert row_prompt({"messages": [user, one]}) == [user]
    assert prompt_id_of({"messages": [user, one]}) == Prompt.of("q").id


def test_lines_are_found_by_what_they_hold_as_json(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"text": 'say "hé"\n'}, {"text": "other"}, {"text": "hé"}]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

    assert [one.line for one in lines_with(path, ['"hé"\n'])] == [1]
    assert [one.line for one in lines_with(path, ["hé", "other"])] == [1, 2, 3]
    assert list(lines_with(tmp_path / "none.jsonl", ["x"])) == []
    assert row_at(path, 2).row == rows[1]
    with pytest.raises(InputError, match="no line 4; it has 3"):
        row_at(path, 4)
    with pytest.raises(InputError, match="no line 0"):
        row_at(path, 0)
    for text, told in (("root:x:0:0", "not JSON"), ("[1]", "no JSON object")):
        path.write_text(text)
        with pytest.raises(InputError, match=f"line 1: {told}$"):
            row_at(path, 1)


def test_rows_are_those_that_are_learned_from(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("SFT-I1", "SFT-I1.dropped", "pool.dropped", "pairs", "truth", "evaluation", "validation"):
        (tmp_path / "data" / f"{name}.jsonl").write_text("{}\n")

    assert list(row_files(tmp_path)) == ["SFT-I1", "pairs"]
