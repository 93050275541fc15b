"""Battles chosen while they are fought: as many as wanted, none twice, the same after any interruption."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted_battles import summarise

from arenaloop.arena.adaptive import Played, chosen_battles, play_adaptively
from arenaloop.arena.matchmaking import all_pairs, schedule
from arenaloop.arena.pairings import pairings
from arenaloop.arena.plan import BattlePlan
from arenaloop.arena.tournament import run_tournament
from arenaloop.calls.answers import Contestant
from arenaloop.calls.budget import Budget
from arenaloop.calls.progress import Tally
from arenaloop.errors import EndpointDownError, StoppedError
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.models.scripted import ScriptedModel
from arenaloop.sandbox.judge import read_judge_prompt
from arenaloop.store import Store
from arenaloop.types import Completion, Prompt, Request, Sampling, Status, content_hash

PROMPTS = [Prompt.of(f"question {n}") for n in range(60)]
SKILLS = {"a": 0, "b": 2, "c": 9, "d": 11, "e": 20}

Script = Callable[[Request], str | Completion]
Battle = tuple[str, str, str]


def luck(*parts: object) -> int:
    return int(content_hash(*parts)[:8], 16)


def contestant(name: str, skill: int) -> Contestant:
    """Says how good its answer is: its skill, and as much luck as makes upsets happen."""
    return Contestant(
        name,
        ScriptedModel(name, lambda request: str(skill + luck(name, request.messages[-1]["content"]) % 12)),
        Sampling(),
    )


def better(request: Request) -> str:
    """The higher number wins."""
    found = read_judge_prompt(request.messages[0]["content"])
    assert found is not None
    _, (first,), (second,) = found
    one, two = int(first), int(second)
    return f"Scores: {5 + (one > two)} {5 + (two > one)}"


def make_plan(
    pairs: str, judging: Script = better, names: Sequence[str] = tuple(SKILLS), prompts: Sequence[Prompt] = PROMPTS
) -> BattlePlan:
    ids = [p.id for p in prompts]
    contestants = [contestant(name, SKILLS[name]) for name in names]
    return BattlePlan(contestants, PairwiseJudge(ScriptedModel("judge", judging)), ids, schedule(pairs, names, ids, 0))


def open_store(path: Path) -> Store:
    store = Store(path)
    store.add_prompts(PROMPTS)
    store.flush()
    return store


def fight(path: Path, plan: BattlePlan, budget: Budget | None = None) -> Played:
    with open_store(path) as store:
        return play_adaptively(plan, store, budget=budget)


def fought(plan: BattlePlan) -> list[Battle]:
    return sorted((*sorted(pair), i) for i in plan.prompt_ids for pair in plan.schedule.on(i))  # type: ignore[misc]


def test_as_many_battles_as_wanted_and_none_twice(tmp_path: Path) -> None:
    played = fight(tmp_path / "arena.db", make_plan("optimal:430"))
    battles = fought(played.plan)
    assert len(battles) == len(set(battles)) == played.plan.battles == 430
    assert played.tally.verdicts == played.tally.verdicts_total == 860
    assert 0 < played.steered < 430
    assert f"{played.steered} of 430 battles" in played.note


def test_near_models_meet_more_often_once_it_steers(tmp_path: Path) -> None:
    played = fight(tmp_path / "arena.db", make_plan("optimal:500"))
    often = Counter((a, b) for a, b, _ in fought(played.plan))
    assert often["a", "b"] > often["a", "e"] + 10
    assert min(often[pair] for pair in all_pairs(tuple(SKILLS))) >= 20  # a share goes on uniformly
    used = Counter(i for _, _, i in fought(played.plan))
    assert max(used.values()) - min(used.values()) <= 2
    assert len(used) == len(PROMPTS)


def test_all_there_is_where_more_is_wanted(tmp_path: Path) -> None:
    plan = make_plan("optimal:100000", names="ab", prompts=PROMPTS[:7])
    played = fight(tmp_path / "arena.db", plan)
    assert len(fought(played.plan)) == plan.battles == 7
    assert played.steered == 0
    assert "uniform throughout" in played.note


def test_the_order_of_names_and_prompts_is_of_no_account(tmp_path: Path) -> None:
    one = fight(tmp_path / "1.db", make_plan("optimal:330"))
    two = fight(tmp_path / "2.db", make_plan("optimal:330", names="edcba", prompts=PROMPTS[::-1]))
    assert fought(one.plan) == fought(two.plan)


@pytest.mark.parametrize("stop", [1, 199, 200, 431, 700])
def test_a_stopped_run_goes_on_with_its_plan(tmp_path: Path, stop: int) -> None:
    """Stopped after so many verdicts, in the first batch, at its end or later, and played again: as if unbroken."""
    whole = fight(tmp_path / "whole.db", make_plan("optimal:400"))

    class Dies(ScriptedModel):
        heard = 0

        async def complete(self, request: Request) -> Completion:
            self.heard += 1
            if self.heard > stop:
                raise EndpointDownError("gone")
            return await super().complete(request)

    with pytest.raises(EndpointDownError):
        fight(tmp_path / "part.db", replace(make_plan("optimal:400"), judge=PairwiseJudge(Dies("judge", better))))
    again: list[Request] = []

    def counts(request: Request) -> str:
        again.append(request)
        return better(request)

    rest = fight(tmp_path / "part.db", make_plan("optimal:400", counts))
    assert fought(rest.plan) == fought(whole.plan)
    assert (rest.steered, rest.note) == (whole.steered, whole.note)
    assert len(again) <= 800 - stop + 64  # those in flight are asked again, no others


def test_what_failed_and_is_decided_later_changes_no_plan(tmp_path: Path) -> None:
    """In the first run every eighth verdict fails; the second run decides them, on the plan that was stored."""

    def flaky(request: Request) -> str | Completion:
        if luck("flaky", request.key) % 8 == 0:
            return Completion(status=Status.ERROR, error="no")
        return better(request)

    first = fight(tmp_path / "arena.db", make_plan("optimal:400", flaky))
    with open_store(tmp_path / "arena.db") as store:
        assert 0 < summarise(list(pairings(first.plan, store))).decided < 400
        second = play_adaptively(make_plan("optimal:400"), store)
        assert fought(second.plan) == fought(first.plan)
        assert summarise(list(pairings(second.plan, store))).decided == 400
        assert second.tally.cached > 600


def test_a_larger_number_goes_on_where_a_smaller_one_stopped(tmp_path: Path) -> None:
    few = fight(tmp_path / "one.db", make_plan("optimal:250"))
    more = fight(tmp_path / "one.db", make_plan("optimal:420"))
    assert set(fought(few.plan)) < set(fought(more.plan))
    assert fought(more.plan) == fought(fight(tmp_path / "two.db", make_plan("optimal:420")).plan)
    assert fought(fight(tmp_path / "two.db", make_plan("optimal:250")).plan) == fought(few.plan)


def test_another_judge_or_seed_has_a_plan_of_its_own(tmp_path: Path) -> None:
    plan = make_plan("optimal:150")
    fight(tmp_path / "arena.db", plan)
    other = replace(plan, judge=PairwiseJudge(ScriptedModel("other judge", better)))
    with open_store(tmp_path / "arena.db") as store:
        assert chosen_battles(plan, store).battles(len(PROMPTS)) == 150
        assert chosen_battles(other, store).battles(len(PROMPTS)) == 0
        assert chosen_battles(replace(plan, seed=1), store).battles(len(PROMPTS)) == 0


def test_what_was_chosen_is_read_back(tmp_path: Path) -> None:
    plan = make_plan("optimal:230")
    played = fight(tmp_path / "arena.db", plan)
    with Store(tmp_path / "arena.db", readonly=True) as store:
        assert chosen_battles(plan, store) == played.plan.schedule


def test_a_model_that_always_fails_does_not_draw_the_battles_to_itself(tmp_path: Path) -> None:
    def refuses(request: Request) -> str | Completion:
        found = read_judge_prompt(request.messages[0]["content"])
        assert found is not None
        return Completion(status=Status.REFUSED) if any(int(t[0]) >= 20 for t in found[1:]) else better(request)

    played = fight(tmp_path / "arena.db", make_plan("optimal:600", refuses))  # nothing of e's is decided
    often = Counter(name for a, b, _ in fought(played.plan) for name in (a, b))
    assert played.steered > 0
    assert often["e"] <= 2.2 * min(often[name] for name in "abcd")
    assert sum(often.values()) == 1200  # it is not replaced either


def test_a_contestant_that_refuses_is_chosen_for_as_one_that_loses(tmp_path: Path) -> None:
    """By own_failure: loss its battles are decided where the next are chosen, as they are in the ratings."""

    def played(name: str, e: Script, **policy: Any) -> list[Battle]:
        plan = make_plan("optimal:430")
        last = Contestant("e", ScriptedModel("e", e), Sampling())
        plan = replace(plan, contestants=[*(c for c in plan.contestants if c.name != "e"), last], **policy)
        return fought(fight(tmp_path / name, plan).plan)

    loses = played("loses.db", lambda _: "-100")
    assert played("refuses.db", lambda _: Completion(status=Status.REFUSED)) == loses
    assert played("drops.db", lambda _: Completion(status=Status.REFUSED), own_failure="drop") != loses


def test_a_budget_holds_over_all_batches(tmp_path: Path) -> None:
    heard: list[Request] = []

    def counts(request: Request) -> str:
        heard.append(request)
        return better(request)

    budget = Budget(calls=900)
    with pytest.raises(StoppedError):
        fight(tmp_path / "arena.db", make_plan("optimal:500", counts), budget)
    assert 100 < len(heard) < 900
    assert budget.spent_calls <= 900
    rest = fight(tmp_path / "arena.db", make_plan("optimal:500"))
    assert fought(rest.plan) == fought(fight(tmp_path / "whole.db", make_plan("optimal:500")).plan)


def test_progress_counts_over_all_batches(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    def listen(tally: Tally) -> None:
        told.append((tally.verdicts, tally.verdicts_total))

    with open_store(tmp_path / "arena.db") as store:
        play_adaptively(make_plan("optimal:300"), store, listen)
    assert told == sorted(told)
    assert told[-1] == (600, 600)


def test_a_tournament_says_that_pairs_were_chosen(tmp_path: Path) -> None:
    with open_store(tmp_path / "arena.db") as store:
        result = run_tournament(make_plan("optimal:300"), store, tmp_path)
    assert result.summary.wanted == result.summary.decided == 300
    board = json.loads((tmp_path / "leaderboard.json").read_text())
    assert any("battles were chosen by earlier results" in note for note in board["notes"])
    assert [row["model"] for row in board["leaderboard"]] == ["e", "d", "c", "b", "a"]
    assert len((tmp_path / "battles.jsonl").read_text().splitlines()) == 300
