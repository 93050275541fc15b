"""Arena Learning before it runs: stages, slices, what is held out, thresholds, and what its results depend on."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from small_recipe import settings

from arenaloop.calls.answers import Contestant
from arenaloop.errors import ConfigError, InputError
from arenaloop.models.scripted import ScriptedModel
from arenaloop.recipes.arena_learning_costs import estimate_costs
from arenaloop.recipes.arena_learning_plan import (
    check,
    cut_slices,
    fights,
    inputs_key,
    opponents_of,
    outline,
    plan_calls,
)
from arenaloop.recipes.arena_learning_stages import plan_stages, slice_count
from arenaloop.specs.recipes.arena_learning import build_arena_learning
from arenaloop.types import Message, Prompt


def test_stages_in_order() -> None:
    assert [(s.name, s.kind, s.round, s.slice) for s in plan_stages(settings("rounds=2"))] == [
        ("SFT-I0", "sft", 0, None),
        ("SFT-I1", "sft", 1, 0),
        ("DPO-I1", "dpo", 1, 1),
        ("SFT-I2", "sft", 2, 2),
        ("DPO-I2", "dpo", 2, 3),
    ]


def test_a_reward_model_and_ppo_share_a_slice() -> None:
    stages = plan_stages(settings("rounds=2", "stages=[sft,dpo,ppo]"))
    assert [(s.name, s.kind, s.slice, s.answers) for s in stages[3:6]] == [
        ("RM-I1", "reward_model", 2, False),
        ("PPO-I1", "ppo", 2, True),
        ("SFT-I2", "sft", 3, True),
    ]
    assert slice_count(settings("rounds=3", "stages=[sft,dpo,ppo]")) == 9  # D1 … D9 of the paper


@pytest.mark.parametrize(("pairs", "battles"), [("both", 3 + 2), ("battles", 3), ("own", 2)])
def test_what_a_reward_model_asks_of_the_judge(tmp_path: Path, pairs: str, battles: int) -> None:
    """Two seats a battle; three pairs of three contestants, and two pairs of the target's four samples."""
    changed = settings("stages=[sft,dpo,ppo]", f"rm_pairs={pairs}", "rm_samples=4")
    calls = {what: (prompts, asked) for what, prompts, asked in plan_calls(build_arena_learning(changed, tmp_path))}
    assert calls["RM-I1"] == (13, 2 * battles * 13)
    assert "PPO-I1" not in calls
    assert calls["leaderboard"] == (12, 2 * 12 * 15)  # four stages that answer, and two opponents


def test_a_split_slice_is_dealt_to_the_opponents(tmp_path: Path) -> None:
    """The paper's "a third of D1 each": even shares, no prompt twice, another deal for another seed."""
    recipe = build_arena_learning(
        settings("battle_mode=split", "stages=[sft,dpo,ppo]", "rm_samples=2", "data.prompts=sandbox:prompts?n=61"),
        tmp_path,
    )
    slices = cut_slices(recipe, 3)
    target = Contestant("DPO-I1", ScriptedModel("target", lambda _: ""))
    sft, reward_model = (s for s in plan_stages(recipe.settings) if s.name in ("SFT-I1", "RM-I1"))
    fought = fights(recipe, sft, target, slices[0])
    assert [one.pairs for one in fought] == [[("DPO-I1", "scholar")], [("DPO-I1", "novice")]]
    assert [len(one.prompt_ids) for one in fought] == [11, 10]
    assert sorted(i for one in fought for i in one.prompt_ids) == sorted(slices[0])
    own = fights(recipe, reward_model, target, slices[2])[2]
    assert (own.pairs, own.prompt_ids) == ([("DPO-I1#1", "DPO-I1#2")], slices[2])
    assert fights(recipe, sft, target, slices[0][:1])[1:] == []
    calls = {what: asked for what, _, asked in plan_calls(recipe)}
    assert (calls["SFT-I1"], calls["RM-I1"]) == (2 * 21, 2 * 2 * 20)
    counted: Counter[str] = Counter()
    for part in estimate_costs(recipe, tmp_path, None).parts:
        counted[part.stage] += part.calls if part.what == "verdicts" else 0
    assert +counted == calls


def test_opponents_may_differ_by_round(tmp_path: Path) -> None:
    """The last entry serves all later rounds; who is named nowhere is rated all the same."""
    changed = settings("rounds=3", "stages=[sft]", "opponents_by_round=[[novice], [novice, scholar]]")
    recipe = build_arena_learning(changed, tmp_path)
    assert [[one.name for one in opponents_of(recipe, n)] for n in (1, 2, 3)] == [
        ["novice"], ["scholar", "novice"], ["scholar", "novice"],
    ]  # fmt: skip
    prompts = {what: (n, calls) for what, n, calls in plan_calls(recipe)}
    assert prompts["SFT-I1"] == (14, 2 * 1 * 14)
    assert prompts["SFT-I2"] == (13, 2 * 3 * 13)
    assert prompts["leaderboard"] == (12, 2 * 15 * 12)
    facts = outline(recipe).facts
    assert {"learns from novice in round 1", "learns from novice, scholar from round 2 on"} < {*facts}
    plain = build_arena_learning(settings("rounds=3", "stages=[sft]"), tmp_path)
    assert inputs_key(plain) != inputs_key(recipe)
    with pytest.raises(ConfigError, match=r"round 2 names 'scholr', which is no opponent \(did you mean 'scholar'"):
        build_arena_learning(settings("opponents_by_round=[[novice], [scholr]]"), tmp_path)
    with pytest.raises(ConfigError, match="opponents_by_round"):
        settings("opponents_by_round=[[]]")


def test_a_reward_model_cannot_be_an_anchor_nor_ppo_have_too_few_prompts(tmp_path: Path) -> None:
    changes = ("stages=[sft,dpo,ppo]", "data.prompts=sandbox:prompts?n=40")
    with pytest.raises(ConfigError, match="anchor 'RM-I1' is no contestant"):
        build_arena_learning(settings(*changes, "anchor=[RM-I1, 1000]"), tmp_path)
    with pytest.raises(ConfigError, match="may not be called RM-I1"):
        build_arena_learning(settings(*changes, "opponents.0.name=RM-I1"), tmp_path)
    with pytest.raises(InputError, match="PPO-I1: there are 13 prompts, fewer than a roll-out's 100"):
        build_arena_learning(settings(*changes, "ppo.rollout_batch=200", "ppo.step_batch=8"), tmp_path)


def test_slices(tmp_path: Path) -> None:
    """Even, the first ones larger; disjoint; nothing held out; the same for a seed, whatever the order of the pool."""
    recipe = build_arena_learning(settings(), tmp_path)
    pool = recipe.pool[:11]
    held = replace(recipe, pool=pool, test=pool[:1], validation=pool[1:2])
    slices = cut_slices(held, 2)
    assert [len(s) for s in slices] == [5, 4]
    assert sorted(i for s in slices for i in s) == sorted(p.id for p in pool[2:])
    assert cut_slices(replace(held, pool=(*pool, *pool)), 2) == slices  # duplicates collapse
    other = replace(held, settings=settings("seed=1"))
    assert cut_slices(other, 2) != slices
    few = replace(held, settings=settings("data.max_prompts_per_slice=3"))
    assert cut_slices(few, 2) == [s[:3] for s in slices]
    assert cut_slices(held, 0) == []
    with pytest.raises(InputError, match=r"9 prompts .* for 10 slices"):
        cut_slices(held, 10)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["opponents.0.name=SFT-I1"], "may not be called SFT-I1"),
        (["opponents.0.name=novice"], "two opponents are called 'novice'"),
        (["anchor=[scholr, 1000]"], "did you mean 'scholar'"),
        (["data.test=sandbox:prompts?n=0"], "test set"),
        (["data.prompts=sandbox:prompts?n=1"], "for 2 slices"),
        (["target.model=gpt-4o"], "target.model"),
        (["target.model=hf:./nowhere"], "nowhere"),
        (["opponents.0.spec=sandbox:scholr"], "did you mean 'scholar'"),
        (["judge.template=pairwse"], "did you mean 'pairwise'"),
        (["data.demonstrations=nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_what_cannot_run_to_its_end_is_refused_first(tmp_path: Path, changes: list[str], says: str) -> None:
    out = tmp_path / "out"
    with pytest.raises((ConfigError, InputError)) as caught:
        build_arena_learning(settings(*changes), out)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not out.exists()


def test_one_seat_halves_the_plan_and_is_an_input(tmp_path: Path) -> None:
    both, seeded = (build_arena_learning(settings(f"seats={seats}"), tmp_path) for seats in ("both", "seeded"))
    assert [calls for _, _, calls in plan_calls(seeded)] == [60, 60, 120]
    assert inputs_key(both) == inputs_key(build_arena_learning(settings(), tmp_path)) != inputs_key(seeded)


def test_how_fast_it_runs_is_no_input(tmp_path: Path) -> None:
    """Another concurrency, threads or budget must not train every stage again; another threshold must."""
    plain = inputs_key(build_arena_learning(settings(), tmp_path))
    other = settings("concurrency=7", "sft.threads=2", "budget_calls=9")
    assert inputs_key(build_arena_learning(other, tmp_path)) == plain
    assert inputs_key(build_arena_learning(settings("k_sft=[0.5]"), tmp_path)) != plain


# ---------------------------------------------------------------------- what is held out


def test_held_out_prompts_are_trained_on_in_no_writing(tmp_path: Path) -> None:
    recipe = build_arena_learning(settings(), tmp_path)
    test, validation, pool = recipe.test[:3], recipe.pool[:2], list(recipe.pool[2:12])

    def asked(prompt: Prompt) -> Message:
        return {"role": "user", "content": f" {prompt.last_user.upper()}!\n"}

    answer: Message = {"role": "assistant", "content": "so"}
    brief: Message = {"role": "system", "content": "Be brief."}
    leaks = [Prompt((brief, asked(p))) for p in (*test, *validation)]
    longer = [Prompt((asked(test[0]), answer, {"role": "user", "content": "and then?"}))]
    taught = [{"messages": [brief, asked(p), answer]} for p in (*test, *validation)]
    honest = list(recipe.demonstrations[:4])
    clean = replace(recipe, test=test, validation=validation, pool=pool, demonstrations=honest)
    leaky = replace(
        clean,
        validation=[*validation, Prompt((asked(test[1]),))],
        pool=[*leaks, *pool, *longer],
        demonstrations=[*taught, *honest],
    )
    none = {"demonstrations": 0, "pool": 0, "validation": 0}
    assert leaky.material[:5] == (
        honest,
        pool,
        list(validation),
        {"demonstrations": 5, "pool": 6, "validation": 1},
        none,
    )
    assert clean.material.left_out == none
    assert cut_slices(leaky, 2) == cut_slices(clean, 2)
    facts = outline(leaky).facts
    assert {"4 demonstrations", "10 prompts in the pool", "2 validation prompts"} < {*facts}
    assert [fact for fact in facts if "left out" in fact] == [
        "5 left out of demonstrations: held-out prompts",
        "6 left out of pool: held-out prompts",
        "1 left out of validation: held-out prompts",
    ]
    assert inputs_key(leaky) != inputs_key(clean)


def test_rows_that_contain_a_held_out_prompt_are_told_apart(tmp_path: Path) -> None:
    recipe = build_arena_learning(settings(), tmp_path)
    long = "Tell me why the river that crosses this town freezes so rarely."
    told: Message = {"role": "user", "content": "Go on."}
    row = {"messages": [{"role": "system", "content": f"An example: {long} No."}, told, {**told, "role": "assistant"}]}
    leaky = replace(recipe, test=[*recipe.test, Prompt.of(long)], demonstrations=[row, *recipe.demonstrations])
    assert leaky.material.left_out == {"demonstrations": 1, "pool": 0, "validation": 0} == leaky.material.contained
    assert leaky.material.demonstrations == recipe.material.demonstrations
    assert "1 left out of demonstrations: held-out prompts (1 of them within other text)" in outline(leaky).facts


# ---------------------------------------------------------------------- cleaning


def test_the_pool_is_cleaned_where_settings_say_so(tmp_path: Path) -> None:
    plain = build_arena_learning(settings(), tmp_path)
    assert plain.cleaned is None
    recipe = build_arena_learning(settings("data.cleaning={lang: any, min_len: 0, decontam_k: 2}"), tmp_path)
    test, pool = recipe.test[:1], list(recipe.pool[:9])
    copies = [Prompt.of(f"{prompt.last_user.upper()}!") for prompt in (*pool[:3], *test)]
    dirty = replace(recipe, pool=[*pool, *copies], test=test)
    cleaned = dirty.cleaned
    assert cleaned is not None
    assert [one.step for one in cleaned.account.steps] == [
        "min_len", "prefix", "minhash", "held_out", "overlap", "nearest",
    ]  # fmt: skip
    assert cleaned.account.told() == "3 prefix, 1 held_out, 2 nearest"  # the copy of the test prompt, and others
    partners = [row["dropped"] for row in cleaned.dropped]
    assert [(one["id"], one["partner"]["id"]) for one in partners[:3]] == [
        (copy.id, prompt.id) for copy, prompt in zip(copies[:3], pool[:3], strict=True)
    ]
    assert {"id": copies[3].id, "partner": {"set": "test", "id": test[0].id}}.items() <= partners[3].items()
    assert [one["step"] for one in partners] == ["prefix"] * 3 + ["held_out"] + ["nearest"] * 2
    assert dirty.material.pool == cleaned.pool
    assert len(cleaned.pool) == 7
    assert dirty.material.left_out["pool"] == 0
    assert sorted(i for s in cut_slices(dirty, 2) for i in s) == sorted(p.id for p in cleaned.pool)
    facts = outline(dirty).facts
    assert "cleaning leaves 7 of 13: 3 prefix, 1 held_out, 2 nearest gone" in facts
    assert any("no filter for illegal or toxic prompts" in fact for fact in facts)
    assert inputs_key(dirty) != inputs_key(replace(dirty, cleaner=None))


def test_held_out_prompts_stay_out_whatever_cleaning_does(tmp_path: Path) -> None:
    off = "data.cleaning={lang: any, min_len: 0, decontam_k: 0, overlap: 0, prefix: 0, ngram: 0}"
    recipe = build_arena_learning(settings(off), tmp_path)
    leaky = replace(recipe, pool=[*recipe.pool, *recipe.test])
    assert leaky.cleaned is not None
    assert leaky.cleaned.account.told() == f"{len(recipe.test)} held_out"
    without = replace(leaky, cleaner=None)
    assert without.material.left_out["pool"] == len(recipe.test)
    assert without.material.pool == leaky.material.pool


def test_cleaning_that_leaves_too_little_is_named(tmp_path: Path) -> None:
    few = build_arena_learning(settings("data.cleaning={lang: any, decontam_k: 0}"), tmp_path)
    repeated = replace(few, pool=[Prompt.of(f"{few.pool[0].last_user}{'!' * n}") for n in range(30)])
    says = "the pool has 1 prompts (held-out ones left out; cleaning left 1 of 30: 29 prefix gone) for 2 slices"
    with pytest.raises(InputError, match=re.escape(says)):
        check(repeated)
    with pytest.raises(InputError, match=r"n=40: cleaning leaves none of 40 rows: step min_len .*dropped the last 40"):
        build_arena_learning(settings("data.cleaning={lang: any, min_len: 1000}"), tmp_path)


def test_cleaning_keeps_other_benchmarks_out(tmp_path: Path) -> None:
    pool = build_arena_learning(settings(), tmp_path).pool
    others = tmp_path / "benchmark.jsonl"
    others.write_text(json.dumps({"prompt": pool[3].last_user}) + "\n")
    said = f"data.cleaning={{lang: any, min_len: 0, decontam_k: 0, against: [{others}]}}"
    recipe = build_arena_learning(settings(said), tmp_path)
    assert recipe.cleaned is not None
    assert [row["dropped"]["partner"] for row in recipe.cleaned.dropped] == [{"file": str(others), "line": 1}]
    assert pool[3] not in recipe.material.pool


@pytest.mark.parametrize("shared", [6, 12])
def test_validation_is_not_the_test_set(tmp_path: Path, shared: int) -> None:
    recipe = build_arena_learning(settings("data.validation=sandbox:prompts?n=5&split=dev"), tmp_path)
    check(replace(recipe, validation=[*recipe.validation, *recipe.test[:5]]))
    with pytest.raises(InputError, match=f"{shared} of {shared + 5} validation prompts are test prompts too"):
        check(replace(recipe, validation=[*recipe.validation, *recipe.test[:shared]]))


def test_demonstrations_of_held_out_prompts_alone_are_refused(tmp_path: Path) -> None:
    recipe = build_arena_learning(settings(), tmp_path)
    taught = [{"messages": [*p.messages, {"role": "assistant", "content": "so"}]} for p in recipe.test]
    with pytest.raises(InputError, match="every demonstration answers a test or validation prompt"):
        check(replace(recipe, demonstrations=taught))


# ---------------------------------------------------------------------- thresholds in the judge's unit

JURY = (
    "judge={jury: [{spec: 'sandbox:judge', name: a, options: {seed: 1}}, {spec: 'sandbox:judge', name: b}], rule: %s}"
)


@pytest.mark.parametrize(
    ("judge", "thresholds", "says"),
    [
        (
            "judge.template=labels",
            "k_sft=[3, 1]",
            "k_sft: 3 can never be reached: judge sandbox-judge scores from 0 to",
        ),
        ("judge.template=labels", "k_dpo=[1.1]", "k_dpo: [0.12]"),
        ("judge.template=labels", "k_dpo=[1.0]", None),
        ("judge.verdict=logprob", "k_sft=[2]", "k_sft: 2 can never"),
        ("judge=builtin:longest", "k_sft=[2]", "judge longest scores from 0 to 1"),
        (JURY % "majority", "k_dpo=[2]", "judge a+b scores from 0 to 1"),
        (JURY % "mean", "k_dpo=[2]", None),
        ("judge.template=pairwise", "k_dpo=[9]", None),
        ("judge.template=pairwise", "k_dpo=[9.5]", "k_dpo: 9.5 can never be reached"),
        ("stages=[sft]", "k_dpo=[99]", None),  # not used
        ("rounds=1", "k_sft=[1, 99]", None),
    ],
)
def test_thresholds_that_no_gap_can_reach_are_refused(
    tmp_path: Path, judge: str, thresholds: str, says: str | None
) -> None:
    changed = settings("k_sft=[1]", "k_dpo=[1]", judge, thresholds)
    if says is None:
        assert build_arena_learning(changed, tmp_path)
        return
    with pytest.raises(ConfigError) as caught:
        build_arena_learning(changed, tmp_path)
    assert says in str(caught.value)
