"""Self-Rewarding and Meta-Rewarding on a tiny target, trained for real, whose judging is scripted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small_recipe
import torch
from small_self import META, SELF, Spoil, build, run, settings

from arenaloop.calls.progress import Tally
from arenaloop.config import MetaRewardingSettings
from arenaloop.errors import ConfigError, InputError, StoppedError
from arenaloop.jsonl import JsonRow, write_jsonl
from arenaloop.judges.pointwise import RubricJudge
from arenaloop.models.scripted import ScriptedModel
from arenaloop.recipes.observer import Observer
from arenaloop.recipes.self_rewarding import NoPairsError
from arenaloop.recipes.self_rewarding_calls import outline
from arenaloop.recipes.self_rewarding_costs import estimate_costs
from arenaloop.recipes.self_rewarding_plan import cut_slices
from arenaloop.recipes.stage import Result
from arenaloop.specs.recipes.self_rewarding import build_self_rewarding
from arenaloop.store import Store
from arenaloop.types import Completion, Request, Status, derive_seed

torch.set_num_threads(1)

ONE = ("iterations=1", "data.prompts=sandbox:prompts?n=8")


class Heard(Observer):
    """Notes what is said, and can stop a run at a phase or after some calls."""

    def __init__(self, stop_at: tuple[str, str] | None = None) -> None:
        self.notes: list[str] = []
        self._stop_at = stop_at

    def phase(self, stage: str, doing: str) -> None:
        if (stage, doing) == self._stop_at:
            raise KeyboardInterrupt

    def note(self, text: str) -> None:
        self.notes.append(text)


def rows_of(out: Path, stage: str) -> list[JsonRow]:
    return [json.loads(line) for line in (out / "data" / f"{stage}.jsonl").read_text("utf-8").splitlines()]


def lasting(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A summary without what depends on the clock or on the invocation."""
    plain = small_recipe.lasting(summary)
    return {key: plain[key] for key in ("stages", "tables", "battles_wanted", "battles_decided", "verdicts_ok")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result, list[Request], Heard]:
    """One unbroken run of Meta-Rewarding that the tests below look at and compare with."""
    out, heard = tmp_path_factory.mktemp("whole"), Heard()
    recipe, asked = build(settings(META), out)
    return out, run(out, recipe, heard), asked, heard


def test_every_iteration_has_prompts_of_its_own_and_learns_from_scores(
    whole: tuple[Path, Result, list[Request], Heard],
) -> None:
    out, result, asked, _ = whole
    assert [stage["name"] for stage in result.stages] == ["M1", "M2", "M3"]
    recipe, _ = build(settings(META), out)
    slices = [{prompt.id for prompt in some} for some in cut_slices(recipe)]
    assert len(slices) == 2
    assert not slices[0] & slices[1]
    with Store(out / "arena.db", readonly=True) as store:
        for stage, prompts in zip(("M2", "M3"), slices, strict=True):
            actor = [row for row in rows_of(out, stage) if "judgements" not in row]
            assert actor
            assert {row["prompt_id"] for row in actor} <= prompts
            for row in actor:
                found = [one for one in map(store.judgement, row["verdicts"]) if one is not None]
                assert len(found) == len(row["verdicts"])
                by_answer: dict[str, list[float]] = {}
                for one in found:
                    assert one.status is Status.OK
                    assert one.score is not None
                    by_answer.setdefault(one.response_hash, []).append(one.score)
                means = sorted(sum(scores) / len(scores) for scores in by_answer.values())
                assert row["margin"] == pytest.approx(means[1] - means[0])
                assert row["margin"] > 0
    assert len({request.key for request in asked}) == len(asked)


def test_judge_rows_come_from_meta_verdicts_in_the_arena_file(
    whole: tuple[Path, Result, list[Request], Heard],
) -> None:
    out, result, _, heard = whole
    judge = [row for row in rows_of(out, "M2") if "judgements" in row]
    assert judge
    assert not any("judgements" in row for row in rows_of(out, "M3"))  # meta.iterations: 1
    with Store(out / "arena.db", readonly=True) as store:
        for row in judge:
            best, worst = (store.judgement(key) for key in row["judgements"])
            assert best is not None
            assert worst is not None
            assert (row["chosen"][0]["content"], row["rejected"][0]["content"]) == (best.raw, worst.raw)
            answer = store.texts(best.response_hash)
            assert answer is not None
            assert f"\n{answer[0]}\n" in row["prompt"][0]["content"]
            verdicts = [store.verdict(key) for key in row["verdicts"]]
            assert all(verdict is not None and verdict.kind == "meta" for verdict in verdicts)
    (meta,) = [table for table in result.summary["tables"] if table["title"] == "How the model judged its judgements"]
    (figures,) = meta["rows"]
    assert figures[0] == "M1"
    assert figures[meta["columns"].index("pairs")] == len(judge)
    assert any("of the rows are judgements; above 15 %" in note for note in heard.notes)
    titles = [curve["title"] for curve in result.summary["curves"]]
    assert "Judge against the truth" in titles


def test_a_finished_run_asks_nothing_again(whole: tuple[Path, Result, list[Request], Heard]) -> None:
    out, result, _, _ = whole
    recipe, asked = build(settings(META), out)
    assert lasting(run(out, recipe).summary) == lasting(result.summary)
    assert asked == []


@pytest.mark.parametrize(
    "at", [("M2", "scores"), ("M2", "judgements compared"), ("M2", "training"), ("M3", "answers"), ("M3", "training")]
)
def test_a_run_that_is_killed_comes_to_the_same(
    whole: tuple[Path, Result, list[Request], Heard], tmp_path: Path, at: tuple[str, str]
) -> None:
    _, result, asked, _ = whole
    first, heard = build(settings(META), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, first, Heard(stop_at=at))
    again, later = build(settings(META), tmp_path)
    assert lasting(run(tmp_path, again).summary) == lasting(result.summary)
    # delimiters hold the file's secret, so texts differ; how often is asked for what does not
    assert len(heard) + len(later) == len(asked)
    keys = Counter(request.key for request in (*heard, *later))
    assert max(keys.values()) == 1


# ---------------------------------------------------------------------- judgements that fail


def three_in_ten(request: Request) -> Completion | None:
    """Nine in ten calls fail, three in ten each way; what is cut, or refused, would read as five points, or as A."""
    lot = derive_seed("spoilt", request.key) % 10
    text = "It is perfect.\nScore: 5\nWinner: A"
    return {
        0: Completion(text="It is perfect, I would say.", finish_reason="stop"),
        1: Completion(text="Score: five", finish_reason="stop"),
        2: Completion(text="Winner: A or B\nScore: 5 or 4", finish_reason="stop"),
        3: Completion(text=text, status=Status.REFUSED),
        4: Completion(text=text, status=Status.REFUSED),
        5: Completion(text=text, status=Status.REFUSED),
        6: Completion(text=text, status=Status.TRUNCATED, finish_reason="length"),
        7: Completion(text=text, status=Status.TRUNCATED, finish_reason="length"),
        8: Completion(text=text, status=Status.TRUNCATED, finish_reason="length"),
    }.get(lot)


def test_nothing_is_scored_from_judgements_that_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # which calls fail hangs on how this processor rounds, and the first twenty may be among them
    monkeypatch.setattr("arenaloop.calls.run.MOST_UNREAD", 10**6)
    changes = (*ONE, "data.prompts=sandbox:prompts?n=24", "self_judge.votes=6", "self_judge.reask=0")
    recipe, asked = build(settings(META, *changes), tmp_path, three_in_ten)
    result = run(tmp_path, recipe)
    tables = {table["title"]: table for table in result.summary["tables"]}
    scores = tables["How the model judged answers"]
    unread = scores["rows"][0][scores["columns"].index("unread")]
    assert unread == pytest.approx(0.9, abs=0.1)
    with Store(tmp_path / "arena.db", readonly=True) as store:
        failed: Counter[str] = Counter()
        prompts = {prompt.id for some in cut_slices(recipe) for prompt in some}
        for one in (one for id_ in prompts for one in store.judgements_of(id_).values()):
            assert (one.score is None) == (one.status is not Status.OK)
            failed[one.status.value] += 1
            assert one.score is None or one.raw.startswith("It") is False or "perfect" not in one.raw
        total = sum(failed.values())
        assert all(
            failed[status] / total == pytest.approx(0.3, abs=0.1) for status in ("unparsed", "refused", "truncated")
        )
        used = {key for row in rows_of(tmp_path, "M2") for key in row.get("judgements", row["verdicts"])}
        assert used
        assert all((found := store.judgement(key)) is not None and found.status is Status.OK for key in used)
    assert sum(tables["Prompts dropped"]["rows"][i][1] for i in range(len(tables["Prompts dropped"]["rows"]))) > 0
    assert len(asked) == len({request.key for request in asked})


def always(text: str) -> Spoil:
    return lambda request: Completion(text=text, finish_reason="stop")


def test_a_judge_that_gives_one_score_always_stops_the_run(tmp_path: Path) -> None:
    recipe, _ = build(settings(SELF, *ONE), tmp_path, always("Fine.\nScore: 5"))
    with pytest.raises(
        NoPairsError, match=r"M2: stop rule no_pair \(limits\.no_pair\): all answers have equal scores on"
    ):
        run(tmp_path, recipe)
    off, _ = build(settings(SELF, *ONE, "limits.no_pair=null"), tmp_path, always("Fine.\nScore: 5"))
    with pytest.raises(StoppedError, match=r"no pair of answers to learn from .*equal scores"):
        run(tmp_path, off)


def test_answers_that_were_cut_are_counted_and_not_judged(tmp_path: Path) -> None:
    recipe, asked = build(settings(SELF, *ONE, "allow_truncated=false", "sampling.max_tokens=1"), tmp_path)
    with pytest.raises(NoPairsError, match=r"answers not judged: truncated: \d+, fewer than 2 answers: 8"):
        run(tmp_path, recipe)
    assert asked == []


def test_a_judge_whose_scores_crowd_is_not_learned_from(tmp_path: Path) -> None:
    """One score nearly always: the pairs of answers stay, those of judgements do not."""

    def crowded(request: Request) -> Completion | None:
        if "Winner: A" in request.messages[0]["content"]:
            return None
        lot = derive_seed("crowd", request.key) % 20
        return Completion(text=f"Reason {lot}.\nScore: {4 if lot == 0 else 5}", finish_reason="stop")

    heard = Heard()
    recipe, _ = build(settings(META, *ONE, "limits.no_pair=null"), tmp_path, crowded)
    run(tmp_path, recipe, heard)
    assert any("stop rule one_score:" in note and "of all scores are 5" in note for note in heard.notes)
    assert not any("judgements" in row for row in rows_of(tmp_path, "M2"))


# ---------------------------------------------------------------------- who judges, and what is learned


def test_a_reward_in_the_models_place(tmp_path: Path) -> None:
    checked = settings(SELF, *ONE, "reward=sandbox:gold", "reference=initial", "rho=0.3", "length_unit=tokens")
    recipe, asked = build(checked, tmp_path)
    result = run(tmp_path, recipe)
    assert asked == []  # nobody was asked to judge
    rows = rows_of(tmp_path, "M2")
    assert rows
    assert all(0 < row["margin"] <= 1 and row["verdicts"] == [] for row in rows)
    assert not any(table["title"] == "How the model judged answers" for table in result.summary["tables"])


def test_another_judge_in_the_models_place_and_perfect_answers(tmp_path: Path) -> None:
    recipe, asked = build(settings(SELF, *ONE, "learn=perfect", "self_judge.votes=1", scorer="sandbox:judge"), tmp_path)
    assert recipe.scorer is not None
    assert recipe.scorer.name == "sandbox-judge"

    def generous(request: Request) -> str:
        return f"Fine.\nScore: {4 + derive_seed('generous', request.key) % 2}"

    recipe = replace(recipe, scorer=RubricJudge(ScriptedModel("other", generous)))
    run(tmp_path, recipe)
    assert asked == []
    rows = rows_of(tmp_path, "M2")
    assert rows
    assert all(row["messages"][-1]["role"] == "assistant" for row in rows)
    with Store(tmp_path / "arena.db", readonly=True) as store:
        found = [store.judgement(key) for row in rows for key in row["verdicts"]]
    assert all(one is not None and one.score == 5 for one in found)


def test_it_learns_to_judge_from_judgements(tmp_path: Path) -> None:
    """EFT rows are put into the rubric with delimiters; M1 can be the target as it is, too."""
    turns = [{"role": "user", "content": "Say hi."}, {"role": "assistant", "content": "hi"}]
    said = [*turns, {"role": "user", "content": "Score it."}, {"role": "assistant", "content": "Good.\nScore: 4"}]
    file = tmp_path / "judgements.jsonl"
    write_jsonl(file, [{"messages": turns, "judgement": "Good.\nScore: 5"}, {"messages": said}])
    data = SELF["data"] | {"judgements": str(file)}
    recipe, _ = build(settings(SELF, *ONE, data=data), tmp_path)
    rows = recipe.filled(recipe.material.judgements, "a secret")
    assert [row["messages"][-1]["content"] for row in rows] == ["Good.\nScore: 5", "Good.\nScore: 4"]
    asked = rows[0]["messages"][0]["content"]
    assert "\nSay hi.\n" in asked
    assert "\nhi\n" in asked
    assert "Points from 0 to 5" in asked  # the rubric's own words
    assert recipe.filled(recipe.material.judgements, "another")[0] != rows[0]
    plain = {key: value for key, value in SELF["data"].items() if key != "demonstrations"}
    recipe, _ = build(settings(SELF, *ONE, data=plain), tmp_path / "plain")
    result = run(tmp_path / "plain", recipe)
    assert [stage["rows"] > 0 for stage in result.stages] == [False, True]


def test_it_learns_to_judge_from_replies_that_people_have_ranked(tmp_path: Path) -> None:
    """M0 judges them, and what puts them in people's order is learned from; what cannot be read is not."""
    trees = [
        {"prompt": {"text": f"Say {i}.", "lang": "en", "replies": [
            {"text": f"{i}", "rank": 0}, {"text": "what?", "rank": 1}, {"text": "no", "rank": 2},
        ]}} for i in range(12)
    ]  # fmt: skip
    foreign = {"prompt": {"text": "Dis.", "lang": "fr", "replies": trees[0]["prompt"]["replies"]}}
    write_jsonl(tmp_path / "trees.jsonl", [*trees, foreign])

    def fair(request: Request) -> Completion | None:
        text = request.messages[0]["content"]
        if "Say " not in text:
            return None
        points = {"\nwhat?\n": "Score: 3", "\nno\n": "I cannot tell"}
        said = next((score for reply, score in points.items() if reply in text), "Score: 5")
        wrong = "\nSay 3.\n" in text or "\nSay 5.\n" in text
        return Completion(text="Score: 4" if wrong else f"Because.\n{said}", finish_reason="stop")

    data = SELF["data"] | {"ranked": str(tmp_path / "trees.jsonl"), "ranked_demonstrations": 4, "most_of_score": 0.5}
    heard, out = Heard(), tmp_path / "run"
    recipe, _ = build(settings(SELF, *ONE, data=data), out, fair)
    assert len(recipe.demonstrations) == 96 + 4
    assert "1 left out of data.ranked: another language" in outline(recipe).facts
    result = run(out, recipe, heard)
    assert [stage["name"] for stage in result.stages] == ["M0", "M1", "M2"]
    (left_out,) = (table for table in result.summary["tables"] if table["title"] == "Left out of files")
    assert left_out["rows"] == [["data.ranked", "another language", 1]]
    rows = rows_of(out, "M1.judgements")
    judged = {one.prompt.last_user for one in recipe.material.ranked}
    wanted = len(judged - {"Say 3.", "Say 5."})
    assert len(rows) == 2 * wanted
    assert Counter(row["score"] for row in rows) == {5: wanted, 3: wanted}
    assert result.stages[1]["rows"] == 100 + len(rows)
    assert any(f"{len(rows)} judgements agree with people" in note for note in heard.notes)
    for there, calls in ((out, 0), (tmp_path / "fresh", 3 * 8)):  # M1 is through in the one
        parts = {(part.stage, part.what): part.calls for part in estimate_costs(recipe, there, None).parts}
        assert parts["M1", "ranked replies judged"] == calls
    few = data | {"ranked_demonstrations": 12}
    with pytest.raises(InputError, match=r"13 ranked prompts are needed, and there are 12: 1 are missing"):
        build(settings(SELF, *ONE, data=few), tmp_path / "few")


# ---------------------------------------------------------------------- refusals and the plan


@pytest.mark.parametrize(
    ("base", "changes", "says"),
    [
        (SELF, ("samples=1",), "samples: Input should be greater than or equal to 2"),
        (SELF, ("self_judge.min_scores=4",), r"min_scores 4: more than there are votes \(3\)"),
        (META, ("self_judge.votes=1",), r"self_judge\.votes: one judgement .* has no other one"),
        (META, ("rho=[0.0, 0.6]",), r"rho 0\.6: above 0\.5 the best and the worst answers overlap"),
        (META, ("meta.pairs=0",), r"meta\.pairs: expected all, tournament, or a whole number of at least 1, not 0$"),
        (META, ("meta.pairs=swiss",), r"meta\.pairs: expected all, tournament, .* not 'swiss'$"),
        (META, ("meta.l2=0",), "meta.l2: Input should be greater than 0"),
        (META, ("reward=sandbox:gold",), "compares the model's own judgements"),
        (SELF, ("reward=sandbox:gold", "scorer=sandbox:judge"), "scorer and reward both stand"),
        (SELF, ("reward=sandbox:gold", "learn=perfect"), "no score of it is perfect"),
        (META, ("meta.iterations=3",), r"meta\.iterations 3: there are 2 iterations; set meta\.iterations=2$"),
        (META, ("iterations=1", "meta.iterations=2"), r"meta\.iterations 2: there is 1 iteration; set"),
        (SELF, ("prompts_per_iteration=12",), r"2 iterations of 12 prompts need 24, and there are 16: 8 are missing"),
        (SELF, ("data.prompts=sandbox:prompts?n=1",), r"need 2, and there are 1: 1 are missing"),
        (SELF, ("judge=builtin:nobody",), "nobody"),
    ],
)
def test_refusals_before_anything_is_paid(
    base: dict[str, Any], changes: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    with pytest.raises((ConfigError, InputError), match=says):
        build(settings(base, *changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_a_file_leaves_out_is_as_the_recipe_has_it() -> None:
    plain = {key: META[key] for key in ("recipe", "target", "judge", "data")}
    own = settings(plain, "self_judge.reask=1", "dpo.max_steps=3", "sft={epochs: 2}")
    assert (own.self_judge.votes, own.self_judge.sampling.temperature, own.self_judge.sampling.top_p) == (11, 0.8, 0.95)
    assert (own.dpo.max_steps, own.dpo.beta, own.dpo.learning_rate, own.dpo.batch_size) == (3, 0.1, 5e-6, 32)
    assert (own.sft.epochs, own.sft.learning_rate) == (2, 5e-8)
    other = settings(plain | {"recipe": "self_rewarding"}, "self_judge.reask=1", "dpo.max_steps=3")
    assert (other.self_judge.votes, other.self_judge.sampling.temperature) == (3, 0.7)
    assert (other.dpo.beta, other.dpo.learning_rate, other.dpo.epochs) == (0.1, 1e-6, 1)
    given = settings(plain, "self_judge.sampling={max_tokens: 9}")  # a decoding is given as a whole
    assert (given.self_judge.votes, given.self_judge.sampling.temperature) == (11, 0.0)


@pytest.mark.parametrize(
    ("first", "words", "refused"),
    [
        ("parser: score", "How good is it?", True),
        ("parser: score", "Give the response a score from 0 to 5, as a bare number.", True),
        ("parser: score", "End with the line **Score**: 3.", False),
        ("parser: score", "The last line is\nscore = 3", False),
        ("verdict_pattern: .*\\[\\[(?P<score>[0-9]+)\\]\\]\nparser: pattern", "Rate it: [[5]].", False),
    ],
)
def test_a_template_that_asks_for_no_score_is_refused(first: str, words: str, refused: bool, tmp_path: Path) -> None:
    file = tmp_path / "mine.jinja"
    file.write_text(
        f'{{# {first}, layout: answer\n#}}\n{words}\n{{% include "layout" %}}\n{{% include "material" %}}\n'
    )
    write_jsonl(
        tmp_path / "labelled.jsonl",
        [
            {
                "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": said}],
                "judgement": f"[[{score}]]" if "pattern" in first else f"Score: {score}",
            }
            for said, score in (("a", 1), ("b", 2))
        ],
    )
    mine = settings(SELF, f"self_judge.template={file}", f"gates.labelled={tmp_path / 'labelled.jsonl'}")
    if refused:
        with pytest.raises(ConfigError, match=r"mine\.jinja: asks for no line 'Score: …'"):
            build(mine, tmp_path)
        return
    recipe, _ = build(mine, tmp_path)
    assert recipe.labelled is not None
    assert recipe.labelled.scores == [1, 2]


def test_a_template_of_another_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="layout"):
        build(settings(SELF, "self_judge.template=pairwise"), tmp_path)


def test_a_window_that_cannot_hold_the_question_is_refused(tmp_path: Path) -> None:
    from arenaloop.sandbox.target import build_target

    build_target(tmp_path / "weights", 0, width=32, layers=1, heads=4)
    config = json.loads((tmp_path / "weights" / "config.json").read_text())
    (tmp_path / "weights" / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 512}))
    target = META["target"] | {"model": f"hf:{tmp_path / 'weights'}", "options": {}}
    few = ("self_judge.sampling.max_tokens=56", "meta.sampling.max_tokens=64", "sampling.max_tokens=12")
    narrow, _ = build(settings(META, *few, target=target), tmp_path / "run")
    assert not narrow.notes
    with pytest.raises(ConfigError, match=r"its context window is 512 tokens, and a judge's template takes"):
        build(settings(META, "self_judge.template=rubric", target=target), tmp_path / "run")
    fresh = r"target sandbox:target: its context window is 2,048 tokens, and a judge's template takes"
    with pytest.raises(ConfigError, match=fresh):  # of weights that are still to be drawn
        build_self_rewarding(settings(META, "meta.template=meta"), tmp_path / "fresh", dry=True)
    assert not (tmp_path / "fresh").exists()


@pytest.mark.parametrize("setting", ["self_judge.sampling.max_tokens", "meta.sampling.max_tokens"])
def test_a_window_that_cannot_hold_what_a_judge_may_write_is_refused(setting: str, tmp_path: Path) -> None:
    says = rf"window is 2,048 tokens, .* takes \d+: {setting} 4,000 is more than the 1,\d+ that are left"
    for dry in (False, True):
        with pytest.raises(ConfigError, match=says):
            build_self_rewarding(settings(META, f"{setting}=4000"), tmp_path / "run", dry=dry)
    assert not (tmp_path / "run").exists()


def test_the_plan_tells_that_long_texts_may_not_fit(tmp_path: Path) -> None:
    def told(*changes: str) -> list[str]:
        recipe = build_self_rewarding(settings(META, *changes), tmp_path / "run", dry=True)
        return [fact for fact in outline(recipe).facts if fact.startswith("long texts may not fit")]

    few = ("self_judge.sampling.max_tokens=100", "meta.sampling.max_tokens=100")
    assert told(*few) == []
    (judging,) = told("self_judge.sampling.max_tokens=1000", "meta.sampling.max_tokens=100")
    assert "sampling.max_tokens + 2 × self_judge.sampling.max_tokens and meta.sampling.max_tokens come" in judging
    assert len(told(*few, "sampling.max_tokens=2000")) == 2


def test_the_plan_counts_calls(tmp_path: Path) -> None:
    """Of the paper: 7 answers, 77 judgements and 110 verdicts of each prompt, then 84."""
    checked = settings(
        META,
        "samples=7",
        "self_judge.votes=11",
        "iterations=4",
        "meta.iterations=2",
        "data.prompts=sandbox:prompts?n=40",
    )
    recipe, _ = build(checked, tmp_path)
    costs = estimate_costs(recipe, tmp_path, None)
    calls = {(part.stage, part.what): part.calls for part in costs.parts}
    assert [calls[f"M{i}", "samples"] for i in (2, 3, 4, 5)] == [70] * 4
    assert [calls[f"M{i}", "scores"] for i in (2, 3, 4, 5)] == [770] * 4
    assert [calls.get((f"M{i}", "judgements compared"), 0) for i in (2, 3, 4, 5)] == [1100, 1100, 0, 0]
    assert {stage: n for stage, _, n in outline(recipe).calls if stage in ("M2", "M5")} == {"M2": 1870, "M5": 770}
    fewer, _ = build(settings(META, "self_judge.votes=11", "meta.pairs=4"), tmp_path)
    assert {p.calls for p in estimate_costs(fewer, tmp_path, None).parts if p.what == "judgements compared"} == {8 * 44}
    swiss, _ = build(settings(META, "self_judge.votes=11", "meta.pairs=tournament"), tmp_path)
    assert {p.calls for p in estimate_costs(swiss, tmp_path, None).parts if p.what == "judgements compared"} == {8 * 40}


@pytest.mark.parametrize("pairs", ["tournament", "2"])
def test_fewer_pairs_of_judgements_are_asked_about(tmp_path: Path, pairs: str) -> None:
    def varied(request: Request) -> Completion | None:
        if "Winner: A" in request.messages[0]["content"]:
            return None
        lot = derive_seed("varied", request.key)
        return Completion(text=f"Reason {lot % 97}.\nScore: {lot % 6}", finish_reason="stop")

    recipe, asked = build(settings(META, *ONE, "self_judge.votes=6", f"meta.pairs={pairs}"), tmp_path, varied)
    run(tmp_path, recipe)
    verdicts = [request for request in asked if "Winner: A" in request.messages[0]["content"]]
    prompts = 8
    assert 0 < len(verdicts) <= prompts * {"tournament": 2 * 3 * 3, "2": 2 * 6}[pairs] < prompts * 30


def test_a_budget_stops_it_and_the_same_call_resumes(tmp_path: Path) -> None:
    recipe, heard = build(settings(SELF, *ONE, "budget_calls=50"), tmp_path)
    with pytest.raises(StoppedError, match="budget"):
        run(tmp_path, recipe)
    again, later = build(settings(SELF, *ONE), tmp_path)
    run(tmp_path, again)
    assert heard
    assert max(Counter(request.key for request in (*heard, *later)).values()) == 1


def test_progress_is_told(tmp_path: Path) -> None:
    seen: list[int] = []

    class Watching(Observer):
        def tally(self, counts: Tally) -> None:
            seen.append(counts.verdicts)

    recipe, _ = build(settings(SELF, *ONE), tmp_path)
    run(tmp_path, recipe, Watching())
    assert max(seen) > 0


def test_judgements_are_learned_from_in_no_more_iterations_than_there_are() -> None:
    free = META | {"meta": {"template": META["meta"]["template"]}}
    for changes, learned in (((), 2), (("iterations=1",), 1), (("meta.begin=2",), 1), (("iterations=4",), 2)):
        checked = settings(free, *changes)
        assert isinstance(checked, MetaRewardingSettings)
        assert checked.meta.iterations == learned
