"""The card of a test set as a page: its figures, and whatever stands in prompts, names and tags."""

from __future__ import annotations

from typing import Any

import numpy as np
from parsed_page import EVERYTHING, HOSTILE, Page, assert_only_ours

from arenaloop.arena.test_set_card import card
from arenaloop.arena.test_set_plan import TestSet, TestSetPlan
from arenaloop.data.clusters import Clusters
from arenaloop.judges.prompts import PromptJudge
from arenaloop.models.scripted import ScriptedModel
from arenaloop.report.test_set import render_test_set
from arenaloop.types import Judgement, Prompt, Status


def judgement(prompt: Prompt, score: float | None) -> Judgement:
    status = Status.UNPARSED if score is None else Status.OK
    return Judgement(prompt.id, prompt.id, "", "j", status, raw="", score=score)


def document(prompts: list[Prompt], scores: dict[int, float | None], judge: str = "j", **more: Any) -> dict[str, Any]:
    """Of a set whose first two prompts are diverse, and whose hard ones are those with a score of 7 or more."""
    k = 3
    rater = PromptJudge(ScriptedModel(judge, lambda request: ""))
    plan = TestSetPlan(prompts, "tfidf 128", clusters=k, diverse=2, hard=2, rated=len(scores), judge=rater)
    labels = np.array([at % k for at in range(len(prompts))], np.int32)
    nearest = np.array([[at, at + k, -1] for at in range(k)], np.int32)
    clusters = Clusters(labels, nearest, np.array([[0, 0], [1, 2], [-3, 1]], np.float32))
    hard = sorted((at for at, score in scores.items() if score and score >= 7), key=lambda at: -(scores[at] or 0))
    rated = {at: judgement(prompts[at], score) for at, score in scores.items()}
    categories = {at: prompts[at].tags.get("category") for at in (0, 1, *hard)}
    test = TestSet(plan, clusters, [0, 1], hard, rated, categories)
    usage = {"calls": 5, "tokens_in": 10, "tokens_out": 5, "usd": None, "seconds": 1.0}
    return card(test) | {"duplicates": 1, "prompts_file": "pool.jsonl"} | usage | more


def test_figures_worked_by_hand() -> None:
    prompts = [Prompt.of(f"prompt {n}", category="math" if n == 5 else None) for n in range(9)]
    prompts[5] = Prompt(prompts[5].messages, ("and then",), tags=prompts[5].tags)
    told = document(prompts, {2: 3.0, 3: None, 4: 7.0, 5: 9.5, 8: 7.9})
    assert told["pool"] == {"prompts": 9, "multi_turn": 1, "mean_characters": (9 * 8 + 10) / 9}
    hard = told["sets"]["hard"]
    assert (hard["prompts"], hard["clusters"], hard["mean_difficulty"]) == (3, 2, (7.0 + 9.5 + 7.9) / 3)
    assert (told["sets"]["diverse"]["mean_difficulty"], told["sets"]["mix"]["prompts"]) == (None, 5)
    difficulty = told["difficulty"]
    assert (difficulty["rated"], difficulty["with_score"], difficulty["failed"]) == (5, 4, {"unparsed": 1})
    assert (difficulty["cut"], difficulty["at_cut"], difficulty["at_cut_chosen"]) == (7.0, 1, 1)
    counts = {row["difficulty"]: (row["rated"], row["hard"]) for row in difficulty["histogram"]}
    assert {one: count for one, count in counts.items() if any(count)} == {3: (1, 0), 7: (2, 2), 9: (1, 1)}
    assert told["categories"] == [
        {"category": "math", "diverse": 0, "hard": 1}, {"category": "unknown", "diverse": 2, "hard": 2}
    ]  # fmt: skip
    second = told["map"][1]
    assert (second["prompts"], second["diverse"], second["hard"], second["mean_difficulty"]) == (3, 1, 1, 7.0)
    assert (second["x"], second["y"], second["examples"]) == (1.0, 2.0, ["prompt 1", "prompt 4"])
    page = Page(render_test_set(told).decode())
    assert_only_ours(page, forms=0, script="")
    for words in ("A test set of 5 prompts", "3", "of 2 wanted", "price unknown", "The cut is at 7", "1 unparsed"):
        assert words in page.text
    bubbles = [attrs for tag, attrs in page.elements if tag == "circle"]
    assert len(bubbles) == 3
    # clusters 0 and 1 have no or middling ratings: the least is 5.25 of cluster 2, the most 7 of cluster 1
    assert sorted(str(one["class"]).strip() for one in bubbles) == ["bubble", "bubble d0", "bubble d10"]


def test_whatever_prompts_hold_nothing_but_ours_is_on_the_page() -> None:
    prompts = [Prompt.of(f"{n} {EVERYTHING}", category=HOSTILE[n % len(HOSTILE)]) for n in range(9)]
    told = document(prompts, {4: 8.0, 5: 7.0}, judge=EVERYTHING, prompts_file=EVERYTHING, embeddings=EVERYTHING)
    page = Page(render_test_set(told).decode())
    assert_only_ours(page, forms=0, script="")
    assert "<script>alert(1)</script>" in page.text


def test_a_set_without_ratings_has_a_page() -> None:
    told = document([Prompt.of(f"prompt {n}") for n in range(9)], {})
    page = Page(render_test_set(told).decode())
    assert_only_ours(page, forms=0, script="")
    assert told["difficulty"] is None
    assert "No prompt was rated." in page.text
    assert {str(attrs["class"]).strip() for tag, attrs in page.elements if tag == "circle"} == {"bubble"}
