"""Arena Learning on a tiny target, trained for real: stages, files, accounting, and resuming in the middle."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from small_recipe import lasting, rows, run, settings
from typer.testing import CliRunner

from arenaloop.calls.answers import Contestant
from arenaloop.cli import app
from arenaloop.errors import ConfigError, EndpointDownError, InputError, StorageError
from arenaloop.models.scripted import ScriptedModel
from arenaloop.recipes import arena_learning
from arenaloop.recipes.arena_learning import NoRowsError
from arenaloop.recipes.arena_learning_plan import ArenaLearning, plan_calls
from arenaloop.recipes.kept import kept_checkpoints
from arenaloop.recipes.stage import Result
from arenaloop.specs.recipes.arena_learning import build_arena_learning
from arenaloop.store import Store
from arenaloop.types import Completion, Prompt, Request

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """One unbroken run that the tests below look at and compare with."""
    out = tmp_path_factory.mktemp("whole")
    return out, run(out)


# ---------------------------------------------------------------------- one whole run


def test_stages_and_files(whole: tuple[Path, Result]) -> None:
    out, result = whole
    names = ["SFT-I0", "SFT-I1", "DPO-I1"]
    assert [stage["name"] for stage in result.stages] == names
    for name in names:
        assert (out / "checkpoints" / name / "model.safetensors").exists()
    selected = {f"{name}{end}.jsonl" for name in ("SFT-I1", "DPO-I1") for end in ("", ".dropped")}
    assert {p.name for p in (out / "data").iterdir()} == {"SFT-I0.jsonl"} | selected
    for name in ("battles.jsonl", "leaderboard.json", "summary.json"):
        assert (out / name).exists()
    assert json.loads((out / "summary.json").read_text()) == result.summary
    board = json.loads((out / "leaderboard.json").read_text())
    assert {row["model"] for row in board["leaderboard"]} == {*names, "scholar", "novice"}
    assert board["battles"] == 12 * 10


def test_the_summary_has_the_keys_of_the_contract(whole: tuple[Path, Result]) -> None:
    _, result = whole
    assert list(result.summary) == [
        "battles_wanted", "battles_decided", "verdicts_ok", "verdicts_failed", "flip_rate", "first_seat_win_rate",
        "calls", "cached", "tokens_in", "tokens_out", "usd", "usd_estimated", "calls_cut_off", "seconds", "seed",
        "stages", "prose", "tables", "curves", "best",
    ]  # fmt: skip
    for stage in result.stages:
        assert set(stage) - {"selection"} == {
            "name", "rating", "lower", "upper", "gold_accuracy", "gold_utility", "mean_length", "rows", "seconds",
            "calls", "tokens_in", "tokens_out", "usd",
        }  # fmt: skip
        assert stage["lower"] <= stage["rating"] <= stage["upper"]
        assert 0 <= stage["gold_accuracy"] <= 1
        assert 0 <= stage["gold_utility"] <= 1
    wanted = 2 * 20 * 3 + 12 * 10  # two slices of 20 prompts, three pairs each, then ten pairs on the test set
    assert (result.summary["battles_wanted"], result.summary["battles_decided"]) == (wanted, wanted)
    assert result.summary["verdicts_ok"] == 2 * wanted


def test_each_stage_tells_what_it_learned_from_and_paid(whole: tuple[Path, Result]) -> None:
    """The paper's tables of counts, in numbers that add up."""
    _, result = whole
    first, sft, dpo = result.stages
    assert "selection" not in first
    for stage in (sft, dpo):
        found = stage["selection"]
        assert (found["prompts"], found["k"]) == (20, 1.0)
        assert found["rows"] + sum(found["dropped"].values()) == 20
        assert found["rows"] == stage["rows"] == sum(found["chosen_by"].values())
        assert sum(found["credit"].values()) == pytest.approx(found["rows"])
        assert "difficulty" not in found  # nobody has rated these prompts
    assert sum(dpo["selection"]["rejected_by"].values()) == dpo["rows"]
    counts, chosen, rejected = result.summary["tables"][:3]
    assert [table["title"] for table in (counts, chosen, rejected)] == [
        "Counts",
        "Chosen, by model",
        "Rejected, by model",
    ]
    rows_of = {row[0]: dict(zip(counts["columns"], row, strict=True)) for row in counts["rows"]}
    assert list(rows_of) == ["SFT-I0", "SFT-I1", "DPO-I1", "leaderboard", "all"]
    assert rows_of["SFT-I1"]["rows selected"] == sft["rows"]
    for column, key in (("calls", "calls"), ("tokens in", "tokens_in"), ("tokens out", "tokens_out")):
        parts = [row[column] for name, row in rows_of.items() if name != "all"]
        assert sum(parts) == rows_of["all"][column] == result.summary[key]
        assert all(parts) or key != "calls"
    assert chosen["columns"] == ["", "SFT-I1", "DPO-I1", "all"]
    assert [sum(row[n] for row in chosen["rows"]) for n in (1, 2)] == pytest.approx([sft["rows"], dpo["rows"]], abs=0.3)
    assert rejected["columns"] == ["", "DPO-I1", "all"]


def test_the_leaderboard_is_rated_as_rank_does(whole: tuple[Path, Result], tmp_path: Path) -> None:
    """The paper's procedure as a setting of the recipe, and as options of the command, on the same battles."""
    out = tmp_path / "copy"
    shutil.copytree(whole[0], out)
    again = run(out, "rating={interval: bootstrap, cluster: battle, score: median}", "anchor=[novice, 1100]")
    options = "--interval bootstrap --samples 100 --cluster battle --score median --anchor novice=1100 --json"
    told = CliRunner().invoke(app, ["rank", str(out), *options.split()])
    assert told.exit_code == 0
    written = json.loads((out / "leaderboard.json").read_text())
    assert json.loads(told.stdout) == written
    ratings = {row["model"]: row for row in written["leaderboard"]}
    assert (ratings["novice"]["rating"], ratings["novice"]["lower"], ratings["novice"]["upper"]) == (1100, 1100, 1100)
    assert ratings["SFT-I1"]["rating"] != ratings["SFT-I1"]["estimate"]
    assert ratings["SFT-I1"]["rating"] == pytest.approx(ratings["SFT-I1"]["estimate"], abs=30)
    assert "ratings are the medians of 100 resamples" in written["notes"]
    assert again.stages[1]["rating"] == ratings["SFT-I1"]["rating"]


def test_the_plan_is_what_happens(whole: tuple[Path, Result], tmp_path: Path) -> None:
    _, result = whole
    plan = plan_calls(build_arena_learning(settings(), tmp_path))
    assert plan == [("SFT-I1", 20, 120), ("DPO-I1", 20, 120), ("leaderboard", 12, 240)]
    assert sum(calls for _, _, calls in plan) == result.summary["verdicts_ok"]


def test_rows_are_what_the_target_lost(whole: tuple[Path, Result]) -> None:
    out, result = whole
    sft, dpo = rows(out / "data" / "SFT-I1.jsonl"), rows(out / "data" / "DPO-I1.jsonl")
    assert sft
    assert all(row["model"] in ("scholar", "novice") and row["margin"] >= 1 for row in sft)
    assert all(row["messages"][-1]["role"] == "assistant" for row in sft)
    assert dpo
    assert all(row["chosen"] != row["rejected"] and row["margin"] >= 1 for row in dpo)
    assert [stage["rows"] for stage in result.stages] == [96, len(sft), len(dpo)]
    assert not {row["prompt_id"] for row in sft} & {row["prompt_id"] for row in dpo}  # each stage has its own slice


def test_a_row_leads_to_its_verdicts_and_texts(whole: tuple[Path, Result]) -> None:
    """Lineage: each key is a stored verdict on this prompt, and the chosen text is one that was judged there."""
    out, _ = whole
    with Store(out / "arena.db", readonly=True) as store:
        for row in (*rows(out / "data" / "SFT-I1.jsonl"), *rows(out / "data" / "DPO-I1.jsonl")):
            verdicts = store.verdicts(row["verdicts"])
            # six verdicts a prompt, fewer where contestants said the same
            assert 0 < len(verdicts) == len(row["verdicts"]) <= 6
            assert {v.prompt_id for v in verdicts.values()} == {row["prompt_id"]}
            judged = {store.texts(h) for v in verdicts.values() for h in (v.first_hash, v.second_hash)}
            chosen = row["chosen"] if "chosen" in row else row["messages"]
            assert (chosen[-1]["content"],) in judged


def test_each_stage_starts_where_the_settings_say(whole: tuple[Path, Result]) -> None:
    out, _ = whole
    with Store(out / "arena.db", readonly=True) as store:
        starts = {name: result["start"] for name, result in store.stages()}
        accounts = {name: result["selection"] for name, result in store.stages()}
    assert starts["SFT-I0"].startswith("start")
    assert (starts["SFT-I1"], starts["DPO-I1"]) == ("SFT-I0", "SFT-I1")
    assert accounts["SFT-I0"] is None
    for name in ("SFT-I1", "DPO-I1"):
        counted = accounts[name]["rows"] + sum(accounts[name]["dropped"].values())
        assert counted == 20  # every prompt of the slice is a row, or dropped for a reason


def test_training_learned(whole: tuple[Path, Result]) -> None:
    """The loss on the demonstrations falls; and training moved the weights at every stage."""
    out, _ = whole
    from safetensors.torch import load_file

    losses = [row["loss"] for row in rows(out / "checkpoints" / "SFT-I0" / "metrics.jsonl")]
    assert len(losses) == 6
    assert losses[-1] < 0.9 * losses[0]
    with Store(out / "arena.db", readonly=True) as store:
        steps = {name: result["steps"] for name, result in store.stages()}
    assert steps["SFT-I0"] == 12
    weights = [load_file(out / "checkpoints" / n / "model.safetensors") for n in ("SFT-I0", "SFT-I1", "DPO-I1")]
    for before, after in pairwise(weights):
        assert any(not torch.equal(before[name], after[name]) for name in before)


def test_a_finished_run_repeats_nothing(whole: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch) -> None:
    out, result = whole

    def trained(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    with monkeypatch.context() as patch:
        patch.setattr("arenaloop.train.methods.training", trained)
        again = run(out)
    assert again.summary["calls"] == result.summary["calls"]
    assert again.summary["cached"] == again.summary["verdicts_ok"]
    assert again.stages == result.stages
    assert again.summary == {**result.summary, "cached": again.summary["cached"]}


# ---------------------------------------------------------------------- stopped in the middle


def stop_at(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Let one of the parts fail as it may in life."""
    if where == "training":  # in the third optimiser step of SFT-I1
        from arenaloop.train import methods

        real = methods.training

        def dying(method: str, start: Any, data: Any, out: Path, *rest: Any, **options: Any) -> Any:
            def step(number: int, *_: Any) -> None:
                if out.name == "SFT-I1" and number >= 1:
                    raise StorageError("disk full")

            return real(method, start, data, out, *rest, **(options | {"on_step": step}))

        monkeypatch.setattr(methods, "training", dying)
    elif where == "battles":  # in the battles of DPO-I1
        count = 0
        real_add = Store.add_records

        def add(self: Store, verdict: Any) -> None:
            nonlocal count
            count += 1
            if count > 150:
                raise EndpointDownError("server gone")
            real_add(self, verdict)

        monkeypatch.setattr(Store, "add_records", add)
    else:  # after DPO-I1 was trained, before its result is stored
        real_put = Store.put_stage

        def put(self: Store, name: str, key: str, result: dict[str, Any]) -> None:
            if name == "DPO-I1":
                raise KeyboardInterrupt
            real_put(self, name, key, result)

        monkeypatch.setattr(Store, "put_stage", put)


@pytest.mark.parametrize(
    ("where", "error"),
    [("training", StorageError), ("battles", EndpointDownError), ("storing", KeyboardInterrupt)],
)
def test_a_stopped_run_resumes_to_the_same_result(
    whole: tuple[Path, Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    error: type[BaseException],
) -> None:
    out, result = whole
    with monkeypatch.context() as patch:
        stop_at(patch, where)
        with pytest.raises(error):
            run(tmp_path)
    assert not (tmp_path / "leaderboard.json").exists()
    resumed = run(tmp_path)
    assert lasting(resumed.summary) == lasting(result.summary)
    assert resumed.leaderboard == result.leaderboard
    for name in ("SFT-I1.jsonl", "DPO-I1.jsonl"):
        assert (tmp_path / "data" / name).read_bytes() == (out / "data" / name).read_bytes()


@pytest.mark.parametrize("damage", ["lost", "cut", "foreign"])
def test_rows_are_derived_from_battles_not_read_from_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """What stands in data/ may be lost at any time: a later round trains on the same rows of earlier ones."""
    changes = ("rounds=2", "stages=[sft]", "k_sft=[0.5]", "data.test=sandbox:prompts?n=4&split=test")
    result = run(tmp_path / "unbroken", *changes)
    out, real_put = tmp_path / "broken", Store.put_stage
    with monkeypatch.context() as patch:

        def stop(self: Store, name: str, key: str, result: dict[str, Any]) -> None:
            real_put(self, name, key, result)
            if name == "SFT-I1":
                raise KeyboardInterrupt

        patch.setattr(Store, "put_stage", stop)
        with pytest.raises(KeyboardInterrupt):
            run(out, *changes)
    file = out / "data" / "SFT-I1.jsonl"
    written = file.read_bytes()
    lines = written.splitlines(keepends=True)
    if damage == "lost":
        file.unlink()
    else:
        file.write_bytes(b"".join(lines[:1]) + b'{"mess' if damage == "cut" else b"{}\n" * len(lines))
    resumed = run(out, *changes)
    assert file.read_bytes() == written
    assert resumed.leaderboard == result.leaderboard
    weights = [one / "checkpoints" / "SFT-I2" / "model.safetensors" for one in (out, tmp_path / "unbroken")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    file.unlink()
    again = run(out, *changes)  # nothing is left to train, and the file is written again all the same
    assert file.read_bytes() == written
    assert again.summary["calls"] == resumed.summary["calls"]


# ---------------------------------------------------------------------- other settings


def test_target_against_each(tmp_path: Path) -> None:
    """The cheaper mode: each opponent meets the target alone, and rows come of it all the same."""
    result = run(tmp_path, "battle_mode=target_vs_each", "stages=[sft]", "sft_replay=0.5", "k_sft=[0.5]")
    new = rows(tmp_path / "data" / "SFT-I1.jsonl")
    assert new
    assert result.stages[1]["rows"] == len(new) + round(0.5 * len(new))
    assert result.summary["battles_wanted"] == 40 * 2 + 12 * 6


def test_each_prompt_may_be_one_opponents(tmp_path: Path) -> None:
    """The paper's ablation of the battle mode: rows come of both opponents' shares, and every battle is played once."""
    result = run(tmp_path, "battle_mode=split", "stages=[sft]", "k_sft=[0.5]")
    new = rows(tmp_path / "data" / "SFT-I1.jsonl")
    assert {row["model"] for row in new} == {"scholar", "novice"}
    assert result.summary["battles_wanted"] == 40 + 12 * 6
    with Store(tmp_path / "arena.db", readonly=True) as store:
        selection = dict(store.stages())["SFT-I1"]["selection"]
        assert all(len(row["verdicts"]) <= 2 for row in new)
    assert selection["rows"] + sum(selection["dropped"].values()) == 40


def test_rounds_may_learn_from_other_opponents(tmp_path: Path) -> None:
    changes = ("rounds=2", "stages=[sft]", "k_sft=[0.5]", "opponents_by_round=[[novice], [scholar]]")
    result = run(tmp_path, *changes, "data.test=sandbox:prompts?n=4&split=test")
    by_round = [{row["model"] for row in rows(tmp_path / "data" / f"SFT-I{n}.jsonl")} for n in (1, 2)]
    assert by_round == [{"novice"}, {"scholar"}]
    assert result.summary["battles_wanted"] == 2 * 20 + 4 * 10
    assert {row.model for row in result.leaderboard.rows} == {"SFT-I0", "SFT-I1", "SFT-I2", "scholar", "novice"}


def test_rows_of_earlier_rounds_may_be_selected_anew(tmp_path: Path) -> None:
    """A lower threshold in round 2 takes more of round 1's battles, where `reselect` says so."""
    changes = ("rounds=2", "stages=[sft]", "k_sft=[7, 0.5]", "data.test=sandbox:prompts?n=4&split=test")
    kept = run(tmp_path / "kept", *changes).stages
    anew = run(tmp_path / "anew", *changes, "accumulate=reselect").stages
    assert kept[1]["rows"] == anew[1]["rows"]
    new = len(rows(tmp_path / "kept" / "data" / "SFT-I2.jsonl"))
    assert kept[2]["rows"] == kept[1]["rows"] + new
    assert anew[2]["rows"] > kept[2]["rows"]


def test_a_cleaned_pool_tells_what_went(tmp_path: Path) -> None:
    def repeated(recipe: ArenaLearning) -> ArenaLearning:
        return replace(recipe, pool=[*recipe.pool, *(Prompt.of(f"{p.last_user}!!") for p in recipe.pool[:5])])

    cleaning = "data.cleaning={lang: any, min_len: 0, decontam_k: 1, overlap: 0}"
    result = run(tmp_path, "stages=[sft]", "k_sft=[0.5]", cleaning, change=repeated)
    gone = rows(tmp_path / "data" / "pool.dropped.jsonl")
    assert [row["dropped"]["step"] for row in gone].count("prefix") == 5
    (table,) = (table for table in result.summary["tables"] if table["title"] == "Cleaning of the pool")
    assert [row[0] for row in table["rows"]] == ["min_len", "prefix", "minhash", "held_out", "nearest"]
    assert [row[2:] for row in table["rows"]][1] == [45, 5, 40]
    assert sum(row[3] for row in table["rows"]) == len(gone)
    left = table["rows"][-1][-1]
    assert result.summary["battles_wanted"] == left * 3 + 12 * 6


def test_no_rows_names_k_and_the_gaps(tmp_path: Path) -> None:
    with pytest.raises(NoRowsError) as caught:
        run(tmp_path, "k_sft=[9]")  # the widest gap on a scale of 1 to 10
    message = str(caught.value)
    assert message.startswith("SFT-I1: ")
    assert "k_sft = 9 " in message
    assert "gaps" in message
    assert sum(int(part.split(": ")[1]) for part in message.split("points: ")[1].split(")")[0].split(", ")) == 20
    assert caught.value.exit_code == 4
    assert not (tmp_path / "leaderboard.json").exists()
    dropped = rows(tmp_path / "data" / "SFT-I1.dropped.jsonl")
    assert {row["reason"] for row in dropped} <= {"gap below k", "target is best"}
    assert len(dropped) == 20
    assert rows(tmp_path / "data" / "SFT-I1.jsonl") == []


def test_a_lower_k_goes_on_from_there(whole: tuple[Path, Result], tmp_path: Path) -> None:
    """What was paid for and trained until then is not paid for or trained again."""
    with pytest.raises(NoRowsError):
        run(tmp_path, "k_sft=[9]")
    with Store(tmp_path / "arena.db", readonly=True) as store:
        spent = store.usage().calls
    weights = tmp_path / "checkpoints" / "SFT-I0" / "model.safetensors"
    trained = weights.stat().st_mtime_ns
    result = run(tmp_path)
    assert weights.stat().st_mtime_ns == trained
    assert lasting(result.summary) == lasting(whole[1].summary)
    assert result.summary["calls"] == whole[1].summary["calls"] > spent > 0


def test_undecided_battles_are_counted_and_do_not_stop_it(tmp_path: Path) -> None:
    result = run(tmp_path, "judge.options.unparsed_rate=0.3", "judge.reask=0", "stages=[sft]")
    summary = result.summary
    assert summary["verdicts_failed"]["unparsed"] > 0
    assert summary["verdicts_ok"] + summary["verdicts_failed"]["unparsed"] == 2 * summary["battles_wanted"]
    assert summary["battles_decided"] < summary["battles_wanted"]
    with Store(tmp_path / "arena.db", readonly=True) as store:
        selection = dict(store.stages())["SFT-I1"]["selection"]
    assert selection["dropped"]["battles undecided"] > 0
    assert selection["rows"] + sum(selection["dropped"].values()) == 40


def test_recorded_opponents(tmp_path: Path) -> None:
    """An opponent may be a file of answers, to learn from a model that cannot be asked any more."""
    prompts = build_arena_learning(settings(), tmp_path)
    answers = [
        {"instruction": p.last_user, "output": f"recorded {p.last_user[-3:]}"} for p in (*prompts.pool, *prompts.test)
    ]
    (tmp_path / "gone.json").write_text(json.dumps(answers))
    changes = (f"opponents.1=file:{tmp_path / 'gone.json'}", "stages=[sft]", "k_sft=[0]")
    result = run(tmp_path / "out", *changes)
    assert "gone" in {row.model for row in result.leaderboard.rows}
    assert result.summary["battles_decided"] == result.summary["battles_wanted"]
    (tmp_path / "gone.json").write_text(json.dumps(answers[5:]))
    with pytest.raises(InputError, match="no answer for 5 of"):
        run(tmp_path / "other", *changes)
    assert not (tmp_path / "other").exists()
    some = run(tmp_path / "other", *changes, "allow_missing=true")
    wanted, decided = some.summary["battles_wanted"], some.summary["battles_decided"]
    assert wanted == result.summary["battles_wanted"]
    in_test = sum(answer["instruction"] in {p.last_user for p in prompts.test} for answer in answers[:5])
    assert wanted - decided == 2 * (5 - in_test) + 3 * in_test  # battles of the target and the other opponents


def test_a_validation_set_picks_the_best_stage(tmp_path: Path) -> None:
    result = run(tmp_path, "data.validation=sandbox:prompts?n=6&split=dev", "rounds=0")
    with Store(tmp_path / "arena.db", readonly=True) as store:
        (score,) = (found["validation_score"] for _, found in store.stages())
    assert score is not None
    assert 0 <= score <= 1
    assert result.summary["battles_wanted"] == 6 * 2 + 12 * 3


def test_settings_changed_and_changed_back_give_the_first_result(tmp_path: Path) -> None:
    """A finished stage is known by its weights: those that other settings left under its name are not taken for it."""
    weights = tmp_path / "checkpoints" / "SFT-I0" / "model.safetensors"
    first = run(tmp_path, "rounds=0")
    before, made = weights.read_bytes(), weights.stat().st_ino
    other = run(tmp_path, "rounds=0", "sft_init_training.epochs=1", "seed=0")
    assert weights.read_bytes() != before
    (kept,) = kept_checkpoints(tmp_path)
    assert (kept.stage, kept.finished, kept.differs) == ("SFT-I0", True, (("sft_init_training.epochs", 2.0, 1.0),))
    assert (kept.path / "model.safetensors").read_bytes() == before
    told = next(table for table in other.summary["tables"] if table["title"] == "Checkpoints of other settings")
    assert told["rows"][0][-1] == "sft_init_training.epochs: 2.0, now 1.0"
    again = run(tmp_path, "rounds=0")
    assert (weights.read_bytes(), weights.stat().st_ino) == (before, made)  # not trained again
    assert again.leaderboard == first.leaderboard
    assert [one.differs for one in kept_checkpoints(tmp_path)] == [(("sft_init_training.epochs", 1.0, 2.0),)]


def test_another_seed_starts_from_other_weights(tmp_path: Path) -> None:
    """A directory that is used again with another seed must not train the first seed's start."""
    one, two = (build_arena_learning(settings(f"seed={seed}"), tmp_path) for seed in (0, 1))
    assert one.fingerprint != two.fingerprint
    assert one.start != two.start
    tmp_path.joinpath("checkpoints").mkdir()
    for recipe in (one, two):
        recipe.prepare()
    first, second = (Path(r.start, "model.safetensors").read_bytes() for r in (one, two))
    assert first != second


def test_run_checks_too(tmp_path: Path) -> None:
    """Recipes take objects, not SPECs: who builds them by hand gets the same refusals."""
    recipe = build_arena_learning(settings(), tmp_path)
    clash = Contestant("DPO-I1", ScriptedModel("x", lambda _: ""))
    with Store(tmp_path / "arena.db") as store:
        with pytest.raises(ConfigError, match="DPO-I1"):
            arena_learning.run(replace(recipe, opponents=[clash]), store, tmp_path)
        assert list(store.prompts()) == []


def test_a_dead_opponent_is_no_silent_tie(tmp_path: Path) -> None:
    """One that fails every call loses, or has no battle decided; then there are too few for scores, and it says so."""

    def dead(request: Request) -> Completion:
        raise RuntimeError("gone")

    def change(recipe: ArenaLearning) -> ArenaLearning:
        return replace(recipe, opponents=[Contestant("dead", ScriptedModel("dead", dead)), recipe.opponents[0]])

    with pytest.raises(NoRowsError, match="SFT-I1"):
        run(tmp_path / "drop", "stages=[sft]", "own_failure=drop", change=change)
    result = run(tmp_path / "loss", "stages=[sft]", change=change)
    last = result.leaderboard.rows[-1]
    assert (last.model, last.win_rate, last.own_failures) == ("dead", 0.0, last.battles)
    assert set(result.summary["losses_by_own_failure"]) == {"dead"}
    with Store(tmp_path / "loss" / "arena.db", readonly=True) as store:
        selection = dict(store.stages())["SFT-I1"]["selection"]
    assert selection["rows"] > 0
    assert "dead" not in selection["chosen_by"]


def test_one_seat_is_asked_once_a_battle(tmp_path: Path) -> None:
    summary = run(tmp_path, "rounds=0", "seats=seeded").summary
    assert summary["verdicts_ok"] == summary["battles_decided"] == 12 * 3
    assert summary["flip_rate"] is None
