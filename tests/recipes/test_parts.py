"""What recipes share: what none may begin with, an arena that holds what is recorded, samples, and scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted_battles import contestant

from arenaloop.arena.matchmaking import all_pairs
from arenaloop.arena.pairings import Summary
from arenaloop.calls.answers import Contestant
from arenaloop.calls.recorded import match_recorded
from arenaloop.config import DPOSettings, JudgedSettings, JudgeSettings, ModelSettings, validate
from arenaloop.data.selection import sft_rows
from arenaloop.errors import ConfigError
from arenaloop.judges.builtin import BuiltinJudge
from arenaloop.judges.pointwise import MeanScore, RubricJudge
from arenaloop.models.recorded import RecordedModel
from arenaloop.models.scripted import ScriptedModel
from arenaloop.recipes.observer import Observer
from arenaloop.recipes.parts import Arena, answer, battle, prompt_scores, record, score, train, vet
from arenaloop.recipes.parts import validate as validate_stage
from arenaloop.sandbox.judge import read_answer_prompt
from arenaloop.specs import contestant as build
from arenaloop.specs import judge, load_prompts
from arenaloop.specs.judges import pointwise
from arenaloop.store import Store
from arenaloop.types import Completion, Prompt, Request, Response, Status

JUDGE = BuiltinJudge("longest")
PROMPTS = load_prompts("sandbox:prompts?n=6", 0).prompts
WHO = JudgeSettings(spec="sandbox:judge")


def settings(**changes: Any) -> JudgedSettings:
    return validate(JudgedSettings, {"judge": "builtin:longest", **changes}, "test")


def priced(name: str, price: object) -> Contestant:
    one = contestant(name)
    one.model.price = price  # type: ignore[union-attr]
    return one


@pytest.mark.parametrize(
    ("names", "anchor", "says"),
    [
        (("a", "first"), None, "an opponent may not be called first: that is a stage's name"),
        (("a", "a"), None, "two opponents are called 'a': give one of them another name"),
        (("a",), ("frist", 1000.0), r"anchor 'frist' is no contestant .*'first'.*; there are first, second, a"),
    ],
)
def test_players_that_could_not_be_told_apart(
    names: tuple[str, ...], anchor: tuple[str, float] | None, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        vet(["first", "second"], [contestant(name) for name in names], JUDGE, settings(), anchor)


def test_dollars_need_prices() -> None:
    with pytest.raises(ConfigError, match="needs the price of 'a'"):
        vet(["first"], [priced("a", None)], JUDGE, settings(budget_usd=1))
    vet(["first"], [priced("a", None)], JUDGE, settings(budget_calls=1), ("first", 1000.0))
    vet(["first"], [priced("a", 1)], JUDGE, settings(budget_usd=1), ("a", 1000.0))


def test_recorded_answers_are_there_when_an_arena_opens(tmp_path: Path) -> None:
    prompts = [Prompt.of("one"), Prompt.of("two")]
    rows = [{"instruction": prompt.last_user, "output": f"{prompt.last_user}!"} for prompt in prompts]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    opponents = [Contestant("a", RecordedModel("a", tmp_path / "a.json"))]
    found = match_recorded(opponents, [*prompts, *prompts])
    with Store(tmp_path / "arena.db") as store:
        arena = Arena(store, JUDGE, settings(), found)
        arena.admit(prompts, opponents)
        answers = answer(arena, opponents[0], prompts)
        assert [one and one.texts for one in answers] == [("one!",), ("two!",)]
        with pytest.raises(ConfigError, match="a: its answers are recorded, but were not matched with the prompts"):
            answer(Arena(store, JUDGE, settings()), opponents[0], prompts)


# ---------------------------------------------------------------------- samples and scores


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    with Store(tmp_path / "arena.db") as store:
        store.add_prompts(PROMPTS)
        store.flush()
        yield Arena(store, judge(WHO), JudgedSettings(judge=WHO))


def calls(arena: Arena) -> int:
    arena.store.flush()
    return arena.store.usage().calls


def test_samples_of_one_contestant_are_asked_once(arena: Arena) -> None:
    poet = build(ModelSettings(spec="sandbox:poet"))
    found = answer(arena, poet, PROMPTS, samples=4)
    assert [one and one.prompt_id for one in found] == [prompt.id for prompt in PROMPTS for _ in range(4)]
    assert any(len({one.texts for one in found[at : at + 4] if one is not None}) > 1 for at in range(0, 24, 4))
    assert calls(arena) == 24
    assert answer(arena, poet, PROMPTS, samples=4) == found
    alone = answer(arena, poet, PROMPTS)
    assert [one and one.texts for one in alone] == [one and one.texts for one in found[::4]]
    assert calls(arena) == 24  # the first sample is the answer that battles


def test_scores_are_means_of_stored_votes(arena: Arena) -> None:
    said = answer(arena, build(ModelSettings(spec="sandbox:scholar")), PROMPTS)
    answers = [(p, one) for p, one in zip(PROMPTS, said, strict=True) if one is not None]
    before, who = calls(arena), pointwise(WHO)
    found = score(arena, who, answers, votes=3)
    assert [one.parsed for one in found] == [3] * len(PROMPTS)
    assert all(one.mean is not None and 0 <= one.mean <= 5 for one in found)
    assert (calls(arena), arena.cached) == (before + 18, 0)
    assert score(arena, who, answers, votes=3) == found
    assert (calls(arena), arena.cached) == (before + 18, 18)
    score(arena, who, answers, votes=4)
    assert calls(arena) == before + 24  # a further vote is all that is asked for


def test_what_cannot_be_read_is_left_out_and_never_0(arena: Arena) -> None:
    """Of three votes one is never readable, of one answer none is; each is asked again as often as the settings say."""
    heard: list[Request] = []

    def say(request: Request) -> str:
        heard.append(request)
        found = read_answer_prompt(request.messages[0]["content"])
        assert found is not None
        vote = len({r.key for r in heard if r.messages == request.messages and not r.sample})
        return "I would rather not say." if found[1] == ["mute"] or vote == 3 else f"Fine.\nScore: {vote + 2}"

    who = RubricJudge(ScriptedModel("judge", say, concurrency=1))
    answers = [(PROMPTS[0], response(PROMPTS[0], "mute")), (PROMPTS[1], response(PROMPTS[1], "fine"))]
    assert score(arena, who, answers, votes=3) == [MeanScore(None, 0), MeanScore(3.5, 2)]
    assert len(heard) == 3 * 3 + 2 + 3


def test_an_adopted_stage_says_that_its_settings_do_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"from": "theirs", "weights": "a" * 64}
    monkeypatch.setattr("arenaloop.recipes.parts.adopted", lambda _: told)
    notes: list[str] = []
    heard = Observer()
    monkeypatch.setattr(heard, "note", notes.append)
    out = tmp_path / "checkpoints" / "DPO-I1"
    assert train("dpo", "start", [], out, DPOSettings(beta=0.2), seed=0, observer=heard).adopted == told
    assert notes == [
        "DPO-I1: adopted from theirs (weights aaaaaaaaaaaa), not trained here: the settings of its training (dpo) "
        "change nothing of it"
    ]


def response(prompt: Prompt, text: str) -> Response:
    return Response(prompt.id, "m", (text,))


# ---------------------------------------------------------------------- battles that a contestant failed


def shy(name: str, refuses: Callable[[str], bool], text: str = "an answer") -> Contestant:
    """Refuses some prompts, by their text."""

    def script(request: Request) -> str | Completion:
        asked = request.messages[-1]["content"]
        return Completion(status=Status.REFUSED, usd=0.0) if refuses(asked) else text

    return Contestant(name, ScriptedModel(name, script))


LAST = PROMPTS[-1].last_user


@pytest.mark.parametrize(("own_failure", "score"), [("loss", 5 / 6), ("drop", 1.0)])
def test_a_validation_score_counts_what_the_contestant_refused(tmp_path: Path, own_failure: str, score: float) -> None:
    """The longest answer wins: it wins five prompts of six, and refuses the sixth."""
    one = shy("one", lambda asked: asked == LAST, "a rather long answer")
    other = shy("other", lambda _: False)
    with Store(tmp_path / "arena.db") as store:
        arena = Arena(store, JUDGE, settings(own_failure=own_failure))
        arena.admit(PROMPTS, [one, other])
        judged = Summary()
        assert validate_stage(arena, one, [other], PROMPTS, judged) == pytest.approx(score)
        assert judged.decided == 5
        plan = arena.plan([one, other], [p.id for p in PROMPTS], [("one", "other")])
        assert record(plan, store, "one", "other") == (5, 0, 1 if own_failure == "loss" else 0)
        assert record(plan, store, "other", "one") == (1 if own_failure == "loss" else 0, 0, 5)


@pytest.mark.parametrize("own_failure", ["loss", "drop"])
def test_an_opponent_that_fails_does_not_choose_what_is_learned_from(tmp_path: Path, own_failure: str) -> None:
    """Three meet; one refuses half of the prompts. Those it refused are scored without it, or by `drop` not at all."""
    refused = {p.last_user for p in PROMPTS[:3]}
    players = [
        shy("one", lambda asked: asked in refused, "the longest answer of all"),
        shy("two", lambda _: False, "a longer answer"),
        shy("three", lambda _: False),
    ]
    with Store(tmp_path / "arena.db") as store:
        arena = Arena(store, JUDGE, settings(own_failure=own_failure))
        arena.admit(PROMPTS, players)
        plan = battle(arena, players, [p.id for p in PROMPTS], all_pairs(["one", "two", "three"]))
        found = {item.prompt.last_user: item for item in prompt_scores(plan, store)}
    judged = {asked for asked, item in found.items() if not item.failed}
    assert judged == {p.last_user for p in PROMPTS[3:]}
    assert {asked for asked in found if asked not in judged} == (refused if own_failure == "loss" else set())
    for asked in refused & found.keys():
        assert found[asked].failed == {"one"}
        assert found[asked].scores == {"one": 0.0, "two": 1.0, "three": 0.0}  # built-in judges score 0 to 1
    rows = sft_rows(found.values(), target="one", k=0.5).rows
    assert [row["model"] for row in rows] == ["two"] * (3 if own_failure == "loss" else 0)
