from __future__ import annotations

from pathlib import Path
from typing import Any

from arenaloop.report.documents import Documents
from arenaloop.report.outcome import _listed, outcome, title
from arenaloop.report.shown_battles import Picks


def documents(board: list[dict[str, Any]], stages: list[dict[str, Any]] | None = None, **summary: Any) -> Documents:
    counts = {"battles_wanted": 10, "battles_decided": 10} | summary
    if stages is not None:
        counts["stages"] = stages
    return Documents(Path("x"), "", {"recipe": "arena_learning"}, {"leaderboard": board}, counts)


def row(name: str, rating: float | None, spread: float | None = 10.0, key: str = "model") -> dict[str, Any]:
    known = rating is not None and spread is not None
    ends = {"lower": rating - spread, "upper": rating + spread} if known else {}
    return {key: name, "rating": rating, **ends}


PICKS = Picks(battles=10, prompts=5, pairs={("a", "b"): [4, 2, 2], ("b", "a"): [0, 0, 2]})


def test_a_clear_lead_and_the_record_behind_it() -> None:
    done, ended = outcome(documents([row("a", 1100.0), row("b", 900.0)]), PICKS, ["j"])
    assert done == "2 models fought 10 battles on 5 prompts. j judged every pair from both seats."
    assert ended == (
        "a leads with a rating of 1100 (1090 to 1110), 200 points ahead of b; their intervals do not overlap, "
        "and in 10 battles with each other the leader scored 70 %."
    )


def test_overlap_missing_intervals_and_missing_battles_are_said() -> None:
    ended = outcome(documents([row("a", 1005.0), row("b", 995.0)], battles_decided=7), PICKS, [])[1]
    assert "their intervals overlap, and in 10 battles" in ended
    assert ended.endswith(
        "3 of 10 battles are undecided and count nowhere; the command that began this run asks for them again."
    )
    assert (
        "there is no interval to say how sure" in outcome(documents([row("a", 2.0, None), row("b", 1.0)]), PICKS, [])[1]
    )
    assert outcome(documents([row("a", None)]), PICKS, [])[1] == "Nothing could be rated."
    assert outcome(documents([row("a", 1.0), row("b", None)]), PICKS, [])[1] == "a leads with a rating of 1 (-9 to 11)."


def test_a_recipe_tells_itself_how_it_went() -> None:
    board = [row("s", 1000.0)]
    told = outcome(documents(board, [row("s", 1000.0, key="name")], prose=["done.", "ended."]), PICKS, ["j"])
    assert told == ["done. j judged every pair from both seats.", "ended."]
    missing = outcome(documents(board, prose=["all  of\nit."], battles_decided=9), PICKS, ["j"])
    assert missing == [
        "all of it. j judged every pair from both seats. 1 of 10 battles are undecided and count nowhere; the command "
        "that began this run asks for them again."
    ]
    nothings: list[Any] = [None, [], "text", {"a": 1}]
    for nothing in nothings:  # as in directories of the first version
        assert outcome(documents(board, prose=nothing), PICKS, [])[0].startswith("1 model fought 10 battles")


def test_titles() -> None:
    assert title(documents([row("a", 1.0)] * 3)) == "Battles of 3 models"
    assert title(documents([], [row("s", 1.0, key="name")])) == "Arena Learning"


def test_judges_are_listed_in_words() -> None:
    assert [_listed(list("abcdef")[:n]) for n in range(7)] == [
        "", "a", "a and b", "a, b and c", "a, b, c and d", "a, b, c and 2 more", "a, b, c and 3 more",
    ]  # fmt: skip


def test_a_run_judged_again_says_how_many_outcomes_moved() -> None:
    board = [row("a", 1005.0), row("b", 995.0)]
    told = {"compared": 2000, "moved": 60, "moved_share": 0.03}
    ended = outcome(documents(board, rejudged=told), PICKS, [])[1]
    assert ended.endswith("Of 2,000 battles that the first verdicts decided too, 60 moved (3.0 %).")
    for nothing in (None, "x", {}, told | {"compared": 0}, told | {"moved": "many"}):
        assert "moved" not in outcome(documents(board, rejudged=nothing), PICKS, [])[1]


def test_an_open_end_is_said_in_words() -> None:
    above = row("a", 1005.0) | {"upper": None}
    below = row("b", 995.0)
    told = outcome(documents([above, below]), PICKS, [])[1]
    assert "a leads with a rating of 1005 (at least 995)" in told
    assert "their intervals overlap" in told
    loose = row("a", 1005.0) | {"lower": None}
    told = outcome(documents([loose, below]), PICKS, [])[1]
    assert "a leads with a rating of 1005 (at most 1015)" in told
    assert "an interval that is open towards the other does not say how sure that is" in told
