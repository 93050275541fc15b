"""`arenaloop trace` and `show`: every row of a real small run to its verdicts and back, and what they refuse."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_recipe import settings

from arenaloop.cli.directory import write_settings
from arenaloop.cli.looked_up import looked_up
from arenaloop.cli.trace import print_document
from arenaloop.cli.trace_run import trace
from arenaloop.jsonl import write_jsonl
from arenaloop.recipes import arena_learning
from arenaloop.recipes.arena_learning_plan import ArenaLearning
from arenaloop.recipes.lineage import trained_on
from arenaloop.specs.recipes.arena_learning import build_arena_learning
from arenaloop.store import Store
from arenaloop.types import Prompt

torch.set_num_threads(1)
Command = Callable[..., Any]
TWO_ROUNDS = (
    "rounds=2",
    "stages=[sft, dpo]",
    "sft_replay=0.5",
    "k_sft=[0.5, 1.0]",
    "data.prompts=sandbox:prompts?n=64",
)

SECOND = {"spec": "sandbox:judge", "name": "second", "options": {"seed": 7}}
WATCHED = (
    "rounds=2",
    "stages=[sft]",
    "k_sft=[6, 0.5]",
    "accumulate=reselect",
    "data.test=sandbox:prompts?n=4&split=test",
    "data.cleaning={lang: any, min_len: 0, decontam_k: 1, overlap: 0}",
    f"held_out={json.dumps({'judge': SECOND, 'prompts': 'sandbox:prompts?n=6&split=dev'})}",
    'guards={"judges_part": null, "length": null, "distinct": null, "same_answer": null}',
)


class Trained(dict[str, list[Mapping[str, Any]]]):
    """What each stage's training was given."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained]:
    """Two rounds of SFT and DPO in the small world, and the rows that each training was given."""
    out = tmp_path_factory.mktemp("lineage") / "run"
    return out, trained(out, *TWO_ROUNDS)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained]:
    """Rounds that select again what an earlier one dropped, of a cleaned pool, beside a held-out judge."""
    out = tmp_path_factory.mktemp("watched") / "run"
    return out, trained(out, *WATCHED, change=_repeated)


def _repeated(recipe: ArenaLearning) -> ArenaLearning:
    return replace(recipe, pool=[*recipe.pool, *(Prompt.of(f"{p.last_user}!!") for p in recipe.pool[:3])])


def trained(
    out: Path, *changes: str, change: Callable[[ArenaLearning], ArenaLearning] = lambda recipe: recipe
) -> Trained:
    """A run in a directory, and the rows that each training was given."""
    checked, given = settings(*changes), Trained()
    out.mkdir()
    write_settings(out, checked)
    real = vars(arena_learning)["train"]

    def noting(method: str, start: str, rows: Any, to: Path, *rest: Any, **more: Any) -> Any:
        given[to.name] = list(rows)
        return real(method, start, rows, to, *rest, **more)

    with pytest.MonkeyPatch.context() as patch, Store(out / "arena.db") as store:
        patch.setattr(arena_learning, "train", noting)
        arena_learning.run(change(build_arena_learning(checked, out)), store, out)
    return given


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_row_leads_to_its_verdicts_and_each_of_them_back(run: tuple[Path, Trained]) -> None:
    out, _ = run
    seen = 0
    with looked_up(out) as looked:
        for stage, path in looked.rows.items():
            for line, row in enumerate(rows_of(path), 1):
                found = trace(looked, f"{stage}:{line}", None, None)
                named = {v["key"] for battle in found["battles"] for v in battle["verdicts"] if v["counts"]}
                assert named == set(row.get("verdicts", ()))
                assert not found["notes"]  # the verdicts give the very margin that the row says
                for key in row.get("verdicts", ())[:2]:
                    back = trace(looked, key, None, None)
                    assert f"{stage}:{line}" in [one["row"] for one in back["rows"]]
                    seen += 1
    assert seen > 40


def test_a_row_was_given_to_the_very_trainings_that_are_named(run: tuple[Path, Trained]) -> None:
    """The claim beside what the trainings were given: accumulated rows and replayed demonstrations among it."""
    out, given = run
    with looked_up(out) as looked:
        for stage, path in looked.rows.items():
            for line, row in enumerate(rows_of(path), 1):
                told = {one["stage"] for one in trace(looked, f"{stage}:{line}", None, None)["trained"]}
                asked = {name: value for name, value in row.items() if value != "demonstrations"}
                had = {name for name, rows in given.items() if any(asked == dict(one) for one in rows)}
                # the same demonstration may stand in D0 twice, and one of both be drawn
                assert told == had or (stage == "SFT-I0" and told <= had)
    replayed = sum(row not in rows_of(out / "data" / "SFT-I1.jsonl") for row in given["SFT-I1"])
    assert replayed > 0


def test_prompts_without_a_row_say_why(run: tuple[Path, Trained], arenaloop: Command) -> None:
    out, _ = run
    seen = 0
    for path in (out / "data").glob("*.dropped.jsonl"):
        stage = path.name.removesuffix(".dropped.jsonl")
        selected = json.loads(arenaloop("trace", out, stage, "--json").out)
        dropped = rows_of(path)
        assert sum(selected["dropped"].values()) == len(dropped)
        one = next((row for row in dropped if row.get("verdicts")), None)
        if one is None:
            continue
        seen += 1
        back = json.loads(arenaloop("trace", out, one["verdicts"][0], "--json").out)
        assert (stage, one["reason"]) in [(row["stage"], row["reason"]) for row in back["dropped"]]
        assert back["rows"] == []
        assert one["reason"] in arenaloop("trace", out, f"{stage}.dropped:{dropped.index(one) + 1}").out
    assert seen


def test_answers_and_prompts_lead_to_rows(run: tuple[Path, Trained], arenaloop: Command) -> None:
    out, _ = run
    row = rows_of(out / "data" / "DPO-I1.jsonl")[0]
    forward = json.loads(arenaloop("trace", out, "DPO-I1:1", "--json").out)
    by_role = {one["role"]: one for one in forward["scores"] if one["role"]}
    assert by_role["chosen"]["score"] - by_role["rejected"]["score"] == pytest.approx(row["margin"])

    for role in ("chosen", "rejected"):
        back = json.loads(arenaloop("trace", out, by_role[role]["response"], "--json").out)
        assert back["rows"][0]["as"].startswith(role)
        assert back["battles"]
    of_prompt = json.loads(arenaloop("trace", out, row["prompt_id"], "--json").out)
    assert {one["model"] for one in of_prompt["answers"]} >= {one["model"] for one in forward["scores"]}
    assert of_prompt["trained"] == ["DPO-I1", "DPO-I2"]


def test_a_row_is_found_by_its_texts(
    run: tuple[Path, Trained], arenaloop: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = run
    row = rows_of(out / "data" / "DPO-I1.jsonl")[0]
    bare = {name: row[name] for name in ("prompt", "chosen", "rejected")}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(bare)))
    assert json.loads(arenaloop("trace", out, "-", "--json").out)["row"] == "DPO-I1:1"

    asked = row["prompt"][-1]["content"]
    found = json.loads(arenaloop("trace", out, "--text", asked, "--json").out)
    assert found.get("row") == "DPO-I1:1" or "DPO-I1:1" in [one["row"] for one in found["rows"]]


def test_a_battle_reads_the_same_by_its_line_and_by_its_names(run: tuple[Path, Trained], arenaloop: Command) -> None:
    out, _ = run
    for line, row in list(enumerate(rows_of(out / "battles.jsonl"), 1))[::60]:
        by_line = json.loads(arenaloop("show", out, f"battles.jsonl:{line}", "--json").out)
        names = row["prompt_id"], row["model_b"], row["model_a"]
        turned = json.loads(arenaloop("show", out, *names, "--json").out)
        assert by_line["winner"] == row["winner"]
        assert turned == by_line
        assert {v["key"] for one in by_line["meetings"] for v in one["verdicts"]} == set(row["verdicts"])
        back = json.loads(arenaloop("trace", out, row["verdicts"][0], "--json").out)
        assert line in [one["line"] for one in back["battle_rows"]]


def test_a_battle_that_was_trained_on_is_shown_from_its_verdicts(run: tuple[Path, Trained], arenaloop: Command) -> None:
    out, _ = run
    row = rows_of(out / "data" / "DPO-I1.jsonl")[0]
    names = row["chosen_model"], row["rejected_model"]
    found, turned = (
        json.loads(arenaloop("show", out, row["prompt_id"], *some, "--json").out) for some in (names, names[::-1])
    )
    assert (found["score_a"], found["score_b"]) == (turned["score_b"], turned["score_a"])
    assert {found["winner"], turned["winner"]} in ({"model_a", "model_b"}, {"tie"})
    assert found["answers"][0]["texts"] == [row["chosen"][-1]["content"]]


def test_the_pages_say_what_there_is(run: tuple[Path, Trained], arenaloop: Command) -> None:
    out, _ = run
    row = rows_of(out / "data" / "SFT-I1.jsonl")[0]
    page = " ".join(arenaloop("trace", out, "SFT-I1:1").out.split())
    for said in ("k_sft = 0.5", "the target is SFT-I0", "trained on by SFT-I2"):
        assert said in page
    shown = arenaloop("show", out, "SFT-I1:1").out
    assert row["messages"][-1]["content"] in shown
    assert "margin" in shown
    overview = arenaloop("show", out).out
    assert "76 prompts" in overview  # the test's among them
    assert "SFT-I1" in overview
    key = row["verdicts"][0]
    assert "the judge" in arenaloop("show", out, key[:8]).out
    assert key in arenaloop("show", out, key[:8], "--full").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["SFT-I9:1"], "no rows of a stage 'SFT-I9' (did you mean"),
        (["SFT-I1:9999"], "no line 9,999"),
        (["SFT-I9"], "no stage or key 'SFT-I9' (did you mean"),
        (["ab"], "too short for a key"),
        (["zzzzzzzz"], "no prompt, response, verdict or judgement 'zzzzzzzz'"),
        ([], "trace wants WHAT"),
        (["--text", " "], "--text wants a text"),
        (["scholar"], "'scholar' is a contestant, not a stage or key"),
        (["../outside.jsonl:1"], "nothing outside of it is read"),
        (["data/../../outside.jsonl:1"], "nothing outside of it is read"),
        (["--text", "nobody said this"], "no training row holds the text"),
        (["SFT-I1:99999999999999999999"], "no line 999999999999999999…"),
        (["SFT-I1:" + "9" * 5000], "no line 999999999999999999…"),
        (["x" * 5000 + ":3"], "no rows of a stage 'xxx"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(
    run: tuple[Path, Trained], arenaloop: Command, words: list[str], message: str
) -> None:
    (run[0].parent / "outside.jsonl").write_text('{"messages": [{"role": "user", "content": "?"}]}\n')
    result = arenaloop("trace", run[0], *words)

    assert (result.code, result.out, len(result.lines)) == (2, "", 1)
    assert message in result.lines[0]


def test_the_nearest_key_is_named_and_several_are_listed(
    run: tuple[Path, Trained], arenaloop: Command, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(run[0], out, ignore=shutil.ignore_patterns("checkpoints"))
    key = rows_of(out / "data" / "DPO-I1.jsonl")[0]["verdicts"][0]
    wrong = key[:10] + ("0" if key[10] != "0" else "1")
    assert f"the nearest is {key}" in arenaloop("trace", out, wrong).lines[0]
    with Store(out / "arena.db") as store:
        verdict = store.verdict(key)
        assert verdict is not None
        twin = key[:-1] + ("0" if key[-1] != "0" else "1")
        store.add_verdict(
            type(verdict)(**{n: getattr(verdict, n) for n in verdict.__dataclass_fields__} | {"key": twin})
        )
    result = arenaloop("show", out, key[:12])
    assert result.code == 2
    assert key in result.lines[0]
    assert twin in result.lines[0]


def test_an_answer_of_a_roll_out_leads_to_the_battles_on_its_prompt(
    run: tuple[Path, Trained], arenaloop: Command, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(run[0], out, ignore=shutil.ignore_patterns("checkpoints"))
    row = rows_of(out / "data" / "DPO-I1.jsonl")[0]
    kept = out / "checkpoints" / "DPO-I2" / "rollouts" / "000003.jsonl.gz"
    write_jsonl(kept, [{"prompt": row["prompt"], "text": "mine", "tokens": 2, "ended": True, "score": 1.25}])

    page = " ".join(arenaloop("trace", out, "checkpoints/DPO-I2/rollouts/000003.jsonl.gz:1").out.split())

    for said in ("mine", "score of its reward: 1.25", "gave: DPO-I1:1", "trained on by DPO-I2"):
        assert said in page


def test_prompts_that_a_later_round_selected_again_name_its_training(
    watched: tuple[Path, Trained], arenaloop: Command
) -> None:
    """The claim of each dropped prompt beside the rows that the later training was given."""
    out, given = watched
    taken = {row["prompt_id"] for row in given["SFT-I2"]}
    dropped = rows_of(out / "data" / "SFT-I1.dropped.jsonl")
    seen = []
    with looked_up(out) as looked:
        for line, row in enumerate(dropped, 1):
            found = trace(looked, f"SFT-I1.dropped:{line}", None, None)
            back = trace(looked, row["prompt_id"], None, None)
            told = [(one["stage"], one["how"]) for one in found["again"]]
            assert told == ([("SFT-I2", "selected again at K = 0.5")] if row["prompt_id"] in taken else [])
            assert back["trained"] == [stage for stage, _ in told]
            seen.append(len(told))
    assert sum(seen) > 0
    page = " ".join(arenaloop("trace", out, f"SFT-I1.dropped:{seen.index(1) + 1}").out.split())
    assert "trained on by SFT-I2 (selected again at K = 0.5); the row is in no file" in page


def test_a_battle_of_two_judges_has_no_winner_but_each_judges(
    watched: tuple[Path, Trained], arenaloop: Command
) -> None:
    out, _ = watched
    with Store(out / "arena.db", readonly=True) as store:
        held_out = next(key for kind, key in store.keys_like("", 1000) if kind == "verdict" and _by(store, key))
        verdict = store.verdict(held_out)
    assert verdict is not None
    assert "or it guarded one" in " ".join(arenaloop("trace", out, held_out).out.split())

    words = verdict.prompt_id, "SFT-I1", "scholar"
    found = json.loads(arenaloop("show", out, *words, "--json").out)
    assert "winner" not in found
    assert {one["judge"] for one in found["meetings"]} == {"second", "sandbox-judge"}
    page = arenaloop("show", out, *words).out
    assert "by second" in page
    assert "several judges" in page


def _by(store: Store, key: str) -> bool:
    verdict = store.verdict(key)
    return verdict is not None and verdict.judge == "second"


def test_a_prompt_that_cleaning_dropped_says_by_which_step(watched: tuple[Path, Trained], arenaloop: Command) -> None:
    out, _ = watched
    gone = rows_of(out / "data" / "pool.dropped.jsonl")
    line = next(at for at, row in enumerate(gone, 1) if row["dropped"]["step"] == "prefix")
    page = " ".join(arenaloop("trace", out, f"pool.dropped:{line}").out.split())
    told = gone[line - 1]
    for said in ("pool: prefix", told["dropped"]["why"], told["messages"][0]["content"], "like id"):
        assert said in page


def test_a_target_that_failed_by_itself_counts_as_the_least(
    run: tuple[Path, Trained], arenaloop: Command, tmp_path: Path
) -> None:
    """A row whose target was never judged: no verdict is over its text."""
    out = tmp_path / "run"
    shutil.copytree(run[0], out, ignore=shutil.ignore_patterns("checkpoints"))
    forward = json.loads(arenaloop("trace", out, "SFT-I1:1", "--json").out)
    (target,) = (one for one in forward["scores"] if one["target"])
    ours = [one for one in forward["battles"] if "SFT-I0" not in one["one"] + one["two"]]
    path = out / "data" / "SFT-I1.jsonl"
    row, *rest = rows_of(path)
    best = max(one[f"score_{side}"] for one in ours for side in ("one", "two") if row["model"] in one[side])
    kept = [v["key"] for one in ours for v in one["verdicts"]]
    write_jsonl(path, [row | {"verdicts": kept, "margin": best - 1.0}, *rest])

    found = json.loads(arenaloop("trace", out, "SFT-I1:1", "--json").out)

    assert found["notes"] == ["the target failed by itself and counts as the least score"]
    assert found["selected"]["target"] == "SFT-I0"
    (least,) = (one for one in found["scores"] if one["target"])
    assert (least["score"], least["role"], least["text"]) == (1.0, "failed", target["text"])


def test_a_text_that_quotes_a_key_names_nothing(run: tuple[Path, Trained], arenaloop: Command, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(run[0], out, ignore=shutil.ignore_patterns("checkpoints"))
    path = out / "data" / "DPO-I1.jsonl"
    rows = rows_of(path)
    words = rows[0]["prompt_id"], rows[0]["verdicts"][0]
    before = [json.loads(arenaloop("trace", out, word, "--json").out)["rows"] for word in words]
    quoted = [*rows[1]["prompt"][:-1], {"role": "user", "content": " ".join(words)}]
    write_jsonl(path, [*rows, rows[1] | {"prompt": quoted}])
    assert [json.loads(arenaloop("trace", out, word, "--json").out)["rows"] for word in words] == before


def test_files_that_were_lost_or_cut_since_are_named(
    run: tuple[Path, Trained], arenaloop: Command, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(run[0], out, ignore=shutil.ignore_patterns("checkpoints"))
    whole = json.loads(arenaloop("show", out, "--json").out)["stages"]
    path, gone = out / "data" / "SFT-I1.jsonl", out / "data" / "SFT-I1.dropped.jsonl"
    count = len(rows_of(path))
    write_jsonl(path, rows_of(path)[:1])
    key = next(row["verdicts"][0] for row in rows_of(gone) if row.get("verdicts"))
    for name in ("SFT-I1.dropped", "SFT-I0", "DPO-I1"):
        (out / "data" / f"{name}.jsonl").unlink()

    overview = json.loads(arenaloop("show", out, "--json").out)
    assert overview["notes"] == [f"SFT-I1: the file has 1 row of {count:,}: it was cut"]
    assert [one["dropped"] for one in overview["stages"]] == [one["dropped"] for one in whole]
    page = " ".join(arenaloop("trace", out, "SFT-I1").out.split())
    assert f"the file has 1 row of {count:,}: it was cut" in page
    told = json.loads(arenaloop("trace", out, key, "--json").out)["notes"]
    assert told == ["no row names it; data/SFT-I1.dropped.jsonl is missing; the command that began the run writes it"]
    assert "SFT-I0 was trained on demonstrations; data/SFT-I0.jsonl" in arenaloop("trace", out, "SFT-I0:1").lines[0]
    assert "data/DPO-I1.jsonl is missing" in arenaloop("trace", out, "DPO-I1:1").lines[0]


def test_a_stage_of_which_no_prompt_gave_a_row_is_told_of(tmp_path: Path, arenaloop: Command) -> None:
    out = tmp_path / "run"
    with pytest.raises(arena_learning.NoRowsError):
        trained(out, "rounds=1", "stages=[sft]", "k_sft=[9]")
    page = " ".join(arenaloop("trace", out, "SFT-I1").out.split())
    dropped = rows_of(out / "data" / "SFT-I1.dropped.jsonl")
    below = sum(row["reason"] == "gap below k" for row in dropped)
    for said in ("stopped: no row", f"no row: gap below k {below}"):
        assert said in page
    assert json.loads(arenaloop("show", out, "--json").out)["stages"][-1]["dropped"] == len(dropped)


def test_of_equally_good_texts_it_is_said_that_a_lot_decides(run: tuple[Path, Trained], arenaloop: Command) -> None:
    out, _ = run
    shared = []
    for stage in ("SFT-I1", "DPO-I1", "SFT-I2", "DPO-I2"):
        told = json.loads(arenaloop("trace", out, stage, "--json").out)
        shared.append(told["credit"] != told["chosen_by"])
        page = " ".join(arenaloop("trace", out, stage).out.split())
        assert ("as written; of equally good ones a lot decides" in page) == shared[-1]
    assert 0 < sum(shared) < len(shared)


def test_files_that_hold_no_rows_are_refused_in_one_line(
    run: tuple[Path, Trained], arenaloop: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = '{"messages": ' + "[" * 100_000 + "]" * 100_000 + "}"
    (tmp_path / "deep.jsonl").write_text(deep)
    (tmp_path / "votes.jsonl").write_text('{"model_a": "a", "model_b": "b", "winner": "a"}\n{"n": 1}\n')
    monkeypatch.setattr(sys, "stdin", io.StringIO(deep))
    for word in ("votes.jsonl:1", "votes.jsonl:2", "deep.jsonl:1", "-"):
        for command in ("trace", "show") if word != "-" else ("trace",):
            result = arenaloop(command, run[0], word)
            assert (result.code, result.out, len(result.lines)) == (2, "", 1)


def test_judgements_that_a_stage_learned_from_are_its_rows() -> None:
    row = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "judgement": "5"}
    (told,) = trained_on(None, "M1.judgements", row, {"M1": {}})
    assert (told.stage, told.finished) == ("M1", True)
    assert trained_on(None, "M2.judgements", row, {"M1": {}}) == []


def test_json_on_a_terminal_is_ascii(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    document: dict[str, object] = {"text": "\x9b2J \u202e é"}
    print_document(document, full=False, as_json=True)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    piped = capsys.readouterr().out
    print_document(document, full=False, as_json=True)
    shown = capsys.readouterr().out
    assert not piped.isascii()
    assert shown.isascii()
    assert json.loads(piped) == json.loads(shown) == document


def test_directories_that_are_none(tmp_path: Path, arenaloop: Command) -> None:
    assert "no such run directory" in arenaloop("trace", tmp_path / "none", "x").lines[0]
    assert "no arena.db" in arenaloop("show", tmp_path).lines[0]


def test_texts_of_models_move_nothing_and_a_run_under_way_is_read(tmp_path: Path, arenaloop: Command) -> None:
    """A plain battle with hostile texts, read while its writer is open, and what was judged again beside it."""
    for name, said in (("a", "\x1b]0;owned\x07 [red]x[/red]\r" + "long " * 400), ("b", "\u202eb"), ("c", "\u202eb")):
        rows = [{"instruction": f"q{at}", "output": said} for at in range(2)]
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    (tmp_path / "p.jsonl").write_text('{"instruction": "q0"}\n{"instruction": "q1"}\n')
    models = [word for name in "abc" for word in ("--model", f"{name}=file:{name}.json")]
    asked = ("battle", *models, "--prompts", "p.jsonl", "--judge", "builtin:longest", "--out", "run")
    assert arenaloop(*asked).code == 0
    assert arenaloop("rejudge", "run", "--judge", "builtin:first").code == 0

    with Store(tmp_path / "run" / "arena.db"):
        page = arenaloop("show", "run", "battles.jsonl:1").out
    assert "\\x1b]0;owned\\x07 [red]x[/red]\\r" in page
    assert not {"\x1b", "\r", "\u202e"} & set(page)
    assert "more characters (--full)" in page
    assert "more characters" not in arenaloop("show", "run", "battles.jsonl:1", "--full").out

    equal = next(row for row in rows_of(tmp_path / "run" / "battles.jsonl") if row["model_a"] == "b")
    found = json.loads(arenaloop("show", "run", equal["prompt_id"], "b", "c", "--json").out)
    assert found["winner"] == "tie"
    assert [one["model"] for one in found["answers"]] == ["b", "c"]  # one answer, stored under the first's name
    again = rows_of(tmp_path / "run" / "rejudged" / "first" / "battles.jsonl")[0]["verdicts"][0]
    for directory in ("run", "run/rejudged/first"):
        back = json.loads(arenaloop("trace", directory, again, "--json").out)
        assert len(back["battle_rows"]) == 2  # b and c said the same: their battles with a share a verdict
        assert "rejudged/first" in back["battle_rows"][0]["file"]
