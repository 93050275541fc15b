"""`arenaloop export` as a user runs it: what is written, refused and counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from arenaloop.cli import app
from arenaloop.data.export import parts
from arenaloop.data.formats import read_battles, read_leaderboard
from arenaloop.data.formats.annotations import read_annotations
from arenaloop.data.formats.labels import read_labels
from arenaloop.data.formats.training_rows import read_conversation, read_preference
from arenaloop.errors import ConfigError, InputError

SFT: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "prompt_id": "p0"},
    {
        "prompt": [{"role": "user", "content": "c"}],
        "completion": [
            {"role": "assistant", "content": "d"},
            {"role": "user", "content": "e"},
            {"role": "assistant", "content": "f"},
        ],
        "margin": 2.5,
        "verdicts": ["k1", "k2"],
    },
]
PAIRS: list[dict[str, Any]] = [
    {
        "prompt": [{"role": "user", "content": "a"}],
        "chosen": [{"role": "assistant", "content": "a longer answer"}],
        "rejected": [{"role": "assistant", "content": "bad answer"}],
        "chosen_model": "=cmd()",
        "rejected_model": "r",
        "margin": 3.0,
        "prompt_id": "p0",
        "verdicts": ["k"],
    },
    {
        "prompt": [{"role": "user", "content": "c"}],
        "chosen": [
            {"role": "assistant", "content": "one"},
            {"role": "user", "content": "more?"},
            {"role": "assistant", "content": "two"},
        ],
        "rejected": [
            {"role": "assistant", "content": "eins"},
            {"role": "user", "content": "more?"},
            {"role": "assistant", "content": "zwei"},
        ],
    },
]


def export(*words: object) -> str:
    found = CliRunner().invoke(app, ["export", *map(str, words)], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


def refused(*words: object) -> str:
    found = CliRunner().invoke(app, ["export", *map(str, words)])
    assert isinstance(found.exception, ConfigError | InputError), found.exception
    return str(found.exception)


def write(path: Path, rows: list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A recipe's directory, as far as its training rows go."""
    write(tmp_path / "run/data/SFT-I1.jsonl", SFT)
    write(tmp_path / "run/data/DPO-I1.jsonl", PAIRS)
    write(tmp_path / "run/data/pool.dropped.jsonl", [{"messages": [], "step": "short"}])
    (tmp_path / "run/summary.json").write_text(json.dumps({"stages": [{"name": "SFT-I1"}, {"name": "DPO-I1"}]}))
    return tmp_path / "run"


def test_trl_rows_are_read_back_with_their_turns_and_lineage(run, tmp_path):
    export(run, "--to", "trl", "--kind", "preferences", "--out", tmp_path / "d.jsonl")
    rows = lines(tmp_path / "d.jsonl")
    for row, source in zip(rows, PAIRS, strict=True):
        read = read_preference(row)
        assert (read.prompt, read.chosen, read.rejected) == (source["prompt"], source["chosen"], source["rejected"])
    assert {row["stage"] for row in rows} == {"DPO-I1"}
    assert "verdicts" not in rows[0]  # which the second row lacks
    lineage = lines(tmp_path / "d.lineage.jsonl")
    assert lineage[1] == {"row": 1, "stage": "DPO-I1"}
    assert lineage[0]["verdicts"] == ["k"]

    (tmp_path / "one_out.lineage.jsonl").write_text("of an earlier export")
    one = [write(tmp_path / "one.jsonl", PAIRS[:1]), "--to", "trl", "--out", tmp_path / "one_out.jsonl"]
    assert "--force" in refused(*one)
    export(*one, "--force")
    (row,) = lines(tmp_path / "one_out.jsonl")
    assert (row["prompt_id"], row["judge_margin"], row["verdicts"]) == ("p0", 3.0, ["k"])
    assert "margin" not in row
    assert not (tmp_path / "one_out.lineage.jsonl").exists()

    export(run, "--to", "trl", "--stage", "SFT-I1", "--out", tmp_path / "s.jsonl")
    told = [read_conversation(row) for row in lines(tmp_path / "s.jsonl")]
    assert [one.prompt + one.completion for one in told] == [
        SFT[0]["messages"],
        SFT[1]["prompt"] + SFT[1]["completion"],
    ]
    assert len(told[1].completion) == 3


def test_llama_factory_adds_to_its_dataset_info_and_leaves_turns_out_by_a_reason(run, tmp_path):
    info = tmp_path / "data/dataset_info.json"
    info.parent.mkdir()
    info.write_text(json.dumps({"mine": {"file_name": "mine.json"}}))
    words = [str(run), "--to", "llama-factory", "--kind", "preferences", "--out", str(tmp_path / "data/dpo.jsonl")]
    account = json.loads(CliRunner().invoke(app, ["export", *words, "--json"], catch_exceptions=False).stdout)
    assert account["written"] == 1
    assert list(account["left_out"]) == ["answers of several turns: LLaMA-Factory takes one turn of a preference"]
    known = json.loads(info.read_text())
    assert list(known) == ["mine", "dpo"]
    assert known["dpo"]["ranking"] is True
    assert known["dpo"]["file_name"] == "dpo.jsonl"
    assert lines(tmp_path / "data/dpo.jsonl")[0]["chosen"] == PAIRS[0]["chosen"][0]


@pytest.mark.parametrize("to", ["trl", "llama-factory", "axolotl", "openrlhf", "nemo-rl"])
@pytest.mark.parametrize("kind", ["sft", "preferences", "prompts"])
def test_rows_without_lineage_in_front_of_rows_with_it_load_where_a_file_is_of_several_blocks(to, kind, tmp_path):
    if (to, kind) == ("axolotl", "prompts"):
        pytest.skip("axolotl takes no prompts")
    datasets = pytest.importorskip("datasets")
    text = "a word " * 30_000
    asked = [{"role": "user", "content": f"{n} {text}"} for n in range(64)]
    answer, other = ([{"role": "assistant", "content": word}] for word in ("an answer of one", "of another"))
    rows: list[dict[str, Any]] = [{"prompt": [turn], "chosen": answer, "rejected": other} for turn in asked]
    if kind == "sft":
        rows = [{"messages": [turn, *answer], "model": "m"} for turn in asked]
    for n, row in enumerate(rows[56:]):
        row |= {"prompt_id": "p", "margin": n / 2, "verdicts": ["k"], "preference": 0.9}
    for row in rows[:56]:
        row |= {"margin": 1, "verdicts": []}
    out = tmp_path / "o.jsonl"
    told = export(write(tmp_path / "in.jsonl", rows), "--to", to, "--kind", kind, "--out", out)
    assert out.stat().st_size > 12_000_000
    assert "prompt_id" in told or (kind == "preferences" and to == "axolotl")
    cache = str(tmp_path / "cache")
    loaded = datasets.load_dataset("json", data_files=str(out), split="train", cache_dir=cache)
    assert len(loaded) == 64
    if kind != "prompts" and (to, kind) != ("axolotl", "preferences"):
        assert loaded[57]["judge_margin"] == 0.5  # a whole number in the first block
    assert lines(tmp_path / "o.lineage.jsonl")[63]["prompt_id"] == "p"


def test_files_of_held_out_prompts_are_no_training_rows(run, tmp_path):
    for name in ("validation", "evaluation", "truth"):
        write(run / f"data/{name}.jsonl", [PAIRS[0] | {"prompt": [{"role": "user", "content": "held out"}]}])
    export(run, "--to", "trl", "--kind", "preferences", "--out", tmp_path / "d.jsonl")
    export(run, "--to", "trl", "--kind", "prompts", "--out", tmp_path / "p.jsonl")
    assert b"held out" not in (tmp_path / "d.jsonl").read_bytes() + (tmp_path / "p.jsonl").read_bytes()
    for name in ("validation", "evaluation", "truth", "pool.dropped"):
        assert "is not trained on" in refused(run, "--to", "trl", "--stage", name, "--out", tmp_path / "x.jsonl")
    assert not (tmp_path / "x.jsonl").exists()


def test_lineage_of_another_type_is_left_out_of_a_row_that_goes_out(tmp_path):
    odd = {"margin": "high", "preference": [1], "verdicts": "k", "prompt_id": 7, "model": "half \ud800"}
    source = write(tmp_path / "in.jsonl", [SFT[0] | odd])
    export(source, "--to", "verl", "--out", tmp_path / "o.parquet")
    info = pl.read_parquet(tmp_path / "o.parquet")["extra_info"].to_list()[0]
    assert (info["judge_margin"], info["preference"], info["verdicts"]) == (None, None, None)
    assert (info["prompt_id"], info["model"]) == ("7", "half \\ud800")
    export(source, "--to", "trl", "--out", tmp_path / "o.jsonl")
    assert set(lines(tmp_path / "o.jsonl")[0]) == {"prompt", "completion", "prompt_id", "model"}


@pytest.mark.parametrize("depth", [300, 800, 2_000, 200_000])
@pytest.mark.parametrize("name", ["verdicts", "margin", "prompt_id", "note", "weight", "prompt", "completion"])
def test_thousands_of_brackets_are_no_traceback(name, depth, tmp_path):
    deep = "[" * depth + "]" * depth
    (tmp_path / "in.jsonl").write_text(json.dumps({"prompt": "q", "completion": "a", name: 0}).replace("0", deep))
    words = ["export", str(tmp_path / "in.jsonl"), "--to", "trl", "--out", str(tmp_path / "o.jsonl")]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 0 or isinstance(found.exception, InputError), found.exception
    (tmp_path / "in.jsonl").write_text(json.dumps(SFT[0]) + "\n")
    (tmp_path / "dataset_info.json").write_text(f'{{"mine": {deep}}}')
    words[3] = "llama-factory"
    found = CliRunner().invoke(app, [*words, "--force"])
    assert found.exit_code == 0 or isinstance(found.exception, InputError), found.exception


def test_axolotl_marks_what_is_learned_and_keeps_lineage_beside(run, tmp_path):
    export(run, "--to", "axolotl", "--kind", "sft", "--out", tmp_path / "s.jsonl")
    marks = [[turn["train"] for turn in row["messages"]] for row in lines(tmp_path / "s.jsonl")]
    assert marks == [[False, True], [False, True, False, True]]
    export(run, "--to", "axolotl", "--kind", "preferences", "--out", tmp_path / "d.jsonl")
    assert [set(row) for row in lines(tmp_path / "d.jsonl")] == [{"messages", "chosen", "rejected"}]
    assert lines(tmp_path / "d.lineage.jsonl")[0] | {"row": 0} == {
        "row": 0,
        "stage": "DPO-I1",
        "chosen_model": "=cmd()",
        "rejected_model": "r",
        "judge_margin": 3.0,
        "prompt_id": "p0",
        "verdicts": ["k"],
    }


def test_nemo_rl_and_openrlhf_hold_answers_of_several_turns(run, tmp_path):
    export(run, "--to", "nemo-rl", "--kind", "preferences", "--out", tmp_path / "n.jsonl")
    ranks = [{one["rank"]: one["completion"] for one in row["completions"]} for row in lines(tmp_path / "n.jsonl")]
    assert ranks == [{0: row["chosen"], 1: row["rejected"]} for row in PAIRS]
    told = export(run, "--to", "openrlhf", "--kind", "sft", "--out", tmp_path / "o.jsonl")
    assert "--data.multiturn" in told


def test_verl_is_parquet_and_prompts_come_once(run, tmp_path):
    told = export(run, "--to", "verl", "--kind", "prompts", "--out", tmp_path / "p.parquet")
    assert "2 rows: later user turns, which follow an answer, are in no prompt" in told
    frame = pl.read_parquet(tmp_path / "p.parquet")
    assert [row[0]["content"] for row in frame["prompt"].to_list()] == ["a", "c"]  # of four rows
    assert frame["reward_model"].to_list() == [{"style": "model", "ground_truth": ""}] * 2
    export(run, "--to", "verl", "--kind", "sft", "--out", tmp_path / "s.parquet")
    rows = pl.read_parquet(tmp_path / "s.parquet").to_dicts()
    assert rows[1]["messages"] == SFT[1]["prompt"] + SFT[1]["completion"]
    assert rows[1]["extra_info"]["verdicts"] == ["k1", "k2"]
    assert "verl takes no preferences" in refused(run, "--to", "verl", "--kind", "preferences", "--out", "x.parquet")


def test_odd_texts_go_out_as_they_are_and_half_a_pair_is_counted(tmp_path):
    odd = "\x00\x1b[2J\u202e\u2028\r\n=1+1\t𝔘"
    texts = [odd, "half \ud800", "word " * 100_000]
    source = write(tmp_path / "in.jsonl", [{"prompt": text, "completion": "x" + text} for text in texts])
    told = export(source, "--to", "trl", "--out", tmp_path / "o.jsonl")
    assert "1 row: half of a surrogate pair" in told
    assert [row["completion"][0]["content"] for row in lines(tmp_path / "o.jsonl")] == ["x" + odd, "x" + texts[2]]
    export(source, "--to", "verl", "--out", tmp_path / "o.parquet")
    kept = pl.read_parquet(tmp_path / "o.parquet")["messages"].to_list()
    assert [turns[1]["content"] for turns in kept] == ["x" + odd, "x" + texts[2]]


def test_labels_become_preferences(tmp_path):
    pairs = [("A", "B", 2), ("C", "D", 1.5), ("E", "F", 1.2), ("G", "H", None)]
    rows = [
        {"instruction": f"q{a}", "output_1": a, "output_2": b, "preference": p, "generator_1": "m", "generator_2": "n"}
        for a, b, p in pairs
    ]
    told = export(write(tmp_path / "l.jsonl", rows), "--to", "trl", "--out", tmp_path / "o.jsonl")
    assert "a tie" in told
    assert "a failed label" in told
    out = lines(tmp_path / "o.jsonl")
    assert [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in out] == [("B", "A"), ("E", "F")]
    assert out[0]["chosen_model"] == "n"
    assert "preference" not in out[0]
    lineage = lines(tmp_path / "o.lineage.jsonl")
    assert "preference" not in lineage[0]
    assert lineage[1]["preference"] == pytest.approx(0.8)


def test_what_is_refused_is_one_line_and_leaves_files_alone(run, tmp_path):
    out = tmp_path / "o.jsonl"
    assert "did you mean 'trl'" in refused(run, "--to", "trll", "--out", out)
    assert "choose with --kind" in refused(run, "--to", "trl", "--out", out)
    assert "did you mean 'SFT-I1'" in refused(run, "--to", "trl", "--stage", "SFT-1", "--out", out)
    assert "by its ending" in refused(run, "--to", "openrlhf", "--kind", "sft", "--out", tmp_path / "o.txt")
    assert "--baseline" in refused(run, "--to", "arena-hard", "--out", tmp_path / "dir")
    assert "no such file" in refused(tmp_path / "nowhere", "--to", "trl", "--out", out)
    source = write(tmp_path / "in.jsonl", [{"prompt": "q", "completion": "a", "weight": 0.5}])
    assert "nothing to export: 1 rows read, left out 1: the column 'weight'" in refused(
        source, "--to", "trl", "--out", out
    )
    assert not out.exists()
    out.write_text("mine")
    assert "--force" in refused(run, "--to", "trl", "--kind", "sft", "--out", out)
    assert out.read_text() == "mine"
    export(run, "--to", "trl", "--kind", "sft", "--out", out, "--force")
    stage = run / "data/SFT-I1.jsonl"
    assert "that is what is read" in refused(stage, "--to", "trl", "--out", stage, "--force")


def test_a_board_of_hostile_names_is_no_formula_tag_or_row(tmp_path):
    names = ["=cmd|' /C calc'!A0", " +1", "a|b\n<img src=x onerror=alert(1)>[x](http://y)", "plain"]
    rows = [
        {"rank": n, "model": name, "rating": 1000.0 - n, "lower": 990.0 - n, "upper": 1010.0 - n, "battles": 3}
        | {"win_rate": 0.5}
        for n, name in enumerate(names, 1)
    ]
    board = tmp_path / "leaderboard.json"
    board.write_text(json.dumps({"level": 0.95, "notes": [], "leaderboard": rows}))
    assert "name it" in refused(board, "--to", "csv", "--out", tmp_path / "b.xlsx")
    assert not (tmp_path / "b.xlsx").exists()
    export(board, "--to", "csv", "--out", tmp_path / "b.csv")
    read = read_leaderboard(tmp_path / "b.csv")
    assert [one.rating for one in read.values()] == [row["rating"] for row in rows]
    assert list(read)[:2] == ["'=cmd|' /C calc'!A0", "' +1"]
    assert list(read)[3] == "plain"
    export(board, "--to", "markdown", "--out", tmp_path / "b.md")
    text = (tmp_path / "b.md").read_text()
    assert len(text.splitlines()) == 2 + len(names)
    assert not any(part in text for part in ("<img", "://", " [x]"))
    assert r"a\|b" in text


ROW = {"rank": 1, "model": "m", "rating": 1000.0, "lower": 990.0, "upper": None, "battles": 3, "win_rate": 0.5}


@pytest.mark.parametrize(
    "change",
    [
        *({name: "=cmd()"} for name in ("rank", "rating", "lower", "win_rate", "battles", "estimate", "own_failures")),
        {"rating": True},
        {"win_rate": 10**400},
        {"worst": [1]},
        {"model": None},
    ],
)
def test_a_board_whose_figures_are_no_numbers_is_refused(change, tmp_path):
    board = tmp_path / "leaderboard.json"
    board.write_text(json.dumps({"leaderboard": [ROW, ROW | change]}))
    for to in ("csv", "markdown"):
        told = refused(board, "--to", to, "--out", tmp_path / "b")
        assert f"row 2: {next(iter(change))} is no" in told
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    "change", [{"level": "high"}, {"notes": [["deep"]]}, {"notes": 3}, {"leaderboard": {"a": ROW}}]
)
def test_a_board_of_another_shape_is_refused(change, tmp_path):
    board = tmp_path / "leaderboard.json"
    board.write_text(json.dumps({"leaderboard": [ROW]} | change))
    assert "no leaderboard.json" in refused(board, "--to", "markdown", "--out", tmp_path / "b")


def test_a_median_boards_estimate_goes_out(tmp_path):
    board = tmp_path / "leaderboard.json"
    board.write_text(json.dumps({"leaderboard": [ROW | {"estimate": 1003.25}]}))
    export(board, "--to", "csv", "--out", tmp_path / "b.csv")
    head, row = (tmp_path / "b.csv").read_text().splitlines()
    assert dict(zip(head.split(","), row.split(","), strict=True))["estimate"] == "1003.25"


def battle_run(tmp_path: Path) -> Path:
    prompts: list[dict[str, Any]] = [{"prompt": "q1"}, {"prompt": "q2"}, {"prompt": ["m1", "m2"]}]
    asked = write(
        tmp_path / "q.jsonl",
        [
            {"question_id": n, "category": "c", "turns": p["prompt"] if n == 2 else [p["prompt"]]}
            for n, p in enumerate(prompts)
        ],
    )
    for name, pad in (("base", "xx"), ("other", "xxxx"), ("third", "x")):
        answers = [
            {
                "question_id": n,
                "model_id": name,
                "choices": [{"index": 0, "turns": [f"{pad}{n}"] * (2 if n == 2 else 1)}],
            }
            for n in range(3)
        ]
        write(tmp_path / f"{name}.jsonl", answers)
    models = [w for name in ("base", "other", "third") for w in ("--model", f"{name}=file:{tmp_path / name}.jsonl")]
    words = ["battle", *models, "--prompts", str(asked), "--judge", "builtin:longest", "--out", str(tmp_path / "b")]
    found = CliRunner().invoke(app, words, catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return tmp_path / "b"


def test_battles_for_alpaca_eval_arena_hard_and_chatbot_arena(tmp_path):
    run = battle_run(tmp_path)
    base = "base"
    told = export(run, "--to", "alpaca-eval", "--baseline", base, "--out", tmp_path / "ae")
    assert "AlpacaEval has one instruction" in told
    rows = json.loads((tmp_path / "ae/annotations.json").read_text())
    assert {(row["instruction"], row["generator_2"], row["preference"]) for row in rows} == {
        ("q1", "other", 2.0),
        ("q2", "other", 2.0),
        ("q1", "third", 1.0),
        ("q2", "third", 1.0),
    }
    assert all(row["generator_1"] == base and row["output_1"].startswith("xx") for row in rows)
    read = read_annotations(tmp_path / "ae/annotations.json", base)
    assert sorted(read.models) == ["other", "third"]
    outputs = json.loads((tmp_path / "ae/model_outputs/other.json").read_text())
    assert [row["output"] for row in outputs] == ["xxxx0", "xxxx1"]

    export(run, "--to", "arena-hard", "--baseline", "other", "--out", tmp_path / "ah")
    games = {path.stem: lines(path) for path in (tmp_path / "ah").rglob("*.jsonl")}
    row = games["third"][0]
    assert [game["score"] for game in row["games"]] == ["A>B", "B>A"]
    assert row["baseline"] == "other"
    assert row["uid"] == 0  # a number, as it was given
    assert row["category"] == "c"
    assert len(games["third"]) == 3
    assert len(read_battles(next((tmp_path / "ah").iterdir()))) == 12
    export(run, "--to", "arena-hard-v0.1", "--baseline", "other", "--strong", 0.5, "--out", tmp_path / "a1")
    old = next(lines(path) for path in (tmp_path / "a1").rglob("third.jsonl"))
    assert old[0]["games"][0]["score"] == "A>>B"
    assert old[0]["question_id"] == 0

    export(run, "--to", "chatbot-arena", "--out", tmp_path / "ca.jsonl")
    assert {(row["question_id"], row["category"], row["turn"]) for row in lines(tmp_path / "ca.jsonl")} == {
        (0, "c", 1),
        (1, "c", 1),
        (2, "c", 2),
    }
    labels = read_labels(tmp_path / "ca.jsonl")
    assert len(labels) == 9
    assert max(label.prompt.turns for label in labels) == 2
    assert {label.preference for label in labels} <= {1.0, 2.0}
    assert "no model 'othr' battled" in refused(
        run, "--to", "arena-hard", "--baseline", "othr", "--out", tmp_path / "no"
    )
    assert not (tmp_path / "no").exists() or not any((tmp_path / "no").rglob("*.jsonl"))


def test_battles_in_parts_are_ranked_as_the_run_is(tmp_path, monkeypatch):
    run = battle_run(tmp_path)
    undecided = {"prompt_id": "q9", "model_a": "base", "model_b": "third", "own_failure": None}
    write(run / "undecided.jsonl", [undecided])
    monkeypatch.setattr(parts.write_parts, "__kwdefaults__", {"rows": 4})
    told = export(run, "--to", "parquet", "--out", tmp_path / "battles")
    assert "10 of 10 rows as parquet" in told
    assert [path.name for path in sorted((tmp_path / "battles").iterdir())] == [
        f"part-0000{n}.parquet" for n in range(3)
    ]
    whole, found = (
        json.loads(CliRunner().invoke(app, ["rank", str(path), *more, "--json"]).stdout)
        for path, more in ((run, []), (tmp_path / "battles", ["--stream"]))
    )
    assert found["leaderboard"] == whole["leaderboard"]
    assert found["leaderboard"][0]["undecided"] == 0
    assert "--force writes over it" in refused(run, "--to", "parquet", "--out", tmp_path / "battles")
    export(run, "--to", "parquet", "--out", tmp_path / "battles", "--force")
    (tmp_path / "battles/mine.txt").write_text("x")
    assert "other files" in refused(run, "--to", "parquet", "--out", tmp_path / "battles", "--force")
    assert "needs a run directory" in refused(run / "battles.jsonl", "--to", "parquet", "--out", tmp_path / "b2")


@pytest.mark.parametrize("way", ["arena.db", "config.yaml", "data/new.csv", "link.csv", "folder/arena.db", "out.csv"])
@pytest.mark.parametrize("source", ["", "leaderboard.json"])
def test_nothing_is_written_into_the_run_that_is_read(way, source, run, tmp_path):
    (run / "leaderboard.json").write_text(json.dumps({"leaderboard": [ROW]}))
    for name in ("arena.db", "config.yaml"):
        (run / name).write_text("kept")
    (tmp_path / "link.csv").symlink_to(run / "arena.db")
    (tmp_path / "folder").symlink_to(run)
    (run / "out.csv").symlink_to(tmp_path / "elsewhere.csv")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    out = tmp_path / way if way.startswith(("link", "folder")) else run / way
    told = refused(run / source, "--to", "csv", "--out", out, "--force")
    assert "inside the run directory" in told
    assert "\n" not in told
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_files_beside_the_rows_do_not_lead_into_the_run_either(run, tmp_path):
    for name, to in (("o.lineage.jsonl", "trl"), ("dataset_info.json", "llama-factory")):
        (tmp_path / name).symlink_to(run / "summary.json")
        told = refused(run, "--to", to, "--kind", "sft", "--out", tmp_path / "o.jsonl", "--force")
        assert "inside the run directory" in told
        (tmp_path / name).unlink()


def test_an_arena_file_is_never_written_over(run, tmp_path):
    other = tmp_path / "other.jsonl"
    other.write_bytes(b"SQLite format 3\x00 and its pages")
    assert "an arena file" in refused(run, "--to", "trl", "--kind", "sft", "--out", other, "--force")
    assert other.read_bytes().endswith(b"pages")


def test_a_stage_without_a_rows_file_is_not_taken_for_a_misspelt_one(run, tmp_path):
    (run / "summary.json").write_text(json.dumps({"stages": [{"name": "SFT-I0"}, {"name": "SFT-I1"}]}))
    told = refused(run, "--to", "trl", "--stage", "SFT-I0", "--out", tmp_path / "o.jsonl")
    assert "'SFT-I0' has no rows file (data/SFT-I0.jsonl)" in told
    assert "did you mean" not in told


def test_columns_that_are_not_used_are_named(tmp_path):
    rows = [{"prompt": "q", "answer_a": "x", "answer_b": "y", "winner": "a", "empty": ""}]
    source = write(tmp_path / "in.jsonl", rows)
    told = export(source, "--to", "trl", "--out", tmp_path / "o.jsonl")
    assert "note: in.jsonl: columns not used: answer_a, answer_b, winner\n" in told
    assert lines(tmp_path / "o.jsonl") == [{"prompt": [{"role": "user", "content": "q"}]}]
    told = refused(source, "--to", "trl", "--kind", "preferences", "--out", tmp_path / "p.jsonl")
    assert "a row of prompts, not of preferences (its columns: prompt, answer_a, answer_b, winner, empty)" in told


def test_nothing_of_a_runs_own_rows_is_called_unused(run, tmp_path):
    for kind in ("sft", "preferences", "prompts"):
        assert "not used" not in export(run, "--to", "trl", "--kind", kind, "--out", tmp_path / f"{kind}.jsonl")


@pytest.mark.parametrize("words", [[], ["--kind", "prompts"]])
def test_prompts_of_turns_are_read_as_battles_read_them(words, tmp_path):
    rows = [{"turns": ["one", "two"], "question_id": 7}, {"turns": [{"content": "three"}]}, {"turns": []}]
    source = write(tmp_path / "q.jsonl", rows)
    told = export(source, "--to", "trl", *words, "--out", tmp_path / "o.jsonl")
    assert [row["prompt"][0]["content"] for row in lines(tmp_path / "o.jsonl")] == ["one", "three"]
    assert "1 row: later user turns" in told
    assert "1 row: turns is not a list of the user's texts" in told
    assert "not every row has question_id: they stand in o.lineage.jsonl" in told
    assert [row.get("question_id") for row in lines(tmp_path / "o.lineage.jsonl")] == ["7", None]


@pytest.mark.parametrize("to", ["trl", "llama-factory", "axolotl", "openrlhf", "verl", "nemo-rl"])
def test_sft_rows_that_answer_nothing_are_left_out(to, tmp_path):
    source = write(tmp_path / "in.jsonl", [{"prompt": f"q{n}", "completion": text} for n, text in enumerate("a\n ")])
    told = export(source, "--to", to, "--out", tmp_path / ("o.parquet" if to == "verl" else "o.jsonl"))
    assert "2 rows: an empty answer" in told
    assert "1 of 3 rows" in told
    if to == "trl":
        export(source, "--to", to, "--kind", "prompts", "--out", tmp_path / "p.jsonl")
        assert len(lines(tmp_path / "p.jsonl")) == 3


def test_a_run_without_a_leaderboard_has_not_finished(run, tmp_path):
    out = ["--to", "csv", "--out", tmp_path / "b.csv"]
    assert refused(run, *out) == f"{run}: no run directory (no leaderboard.json)"
    (run / "config.yaml").write_text("")
    told = f"{run}: no leaderboard.json; the run has not finished: the command that began it resumes it"
    assert refused(run, *out) == told
    found = CliRunner().invoke(app, ["agree", str(run), str(run)])
    assert isinstance(found.exception, InputError)
    assert str(found.exception) == told


@pytest.mark.parametrize("text", ['{"a": 1}\n{"a": 2}\n', "", "[1]", '{"leaderboard": [1]}', '"x"', "\x00"])
def test_what_is_no_leaderboard_is_refused_in_plain_words(text, tmp_path):
    (tmp_path / "x.jsonl").write_text(text)
    told = refused(tmp_path / "x.jsonl", "--to", "csv", "--out", tmp_path / "b.csv")
    assert "no leaderboard.json" in told
    assert not any(word in told for word in ("Extra data", "Expecting", "indices", "argument", "\n"))


def test_a_prompts_own_id_and_its_category_go_out_with_the_rows(tmp_path):
    told = {"prompt_id": "p", "question_id": 163, "category": "Explain", "score_chosen": 8, "score_rejected": 3.5}
    pair = {"prompt": "x", "chosen": "good", "rejected": "bad", "margin": 4.5, **told}
    source = write(tmp_path / "p.jsonl", [pair])
    text = told | {"question_id": "163", "score_chosen": 8.0}
    for to, name in (
        ("trl", "o.jsonl"),
        ("openrlhf", "o.jsonl"),
        ("llama-factory", "o.jsonl"),
        ("axolotl", "o.lineage.jsonl"),
    ):
        (tmp_path / to).mkdir()
        export(source, "--to", to, "--out", tmp_path / to / "o.jsonl")
        (row,) = lines(tmp_path / to / name)
        assert {key: row[key] for key in told} == text
    export(source, "--to", "verl", "--kind", "prompts", "--out", tmp_path / "o.parquet")
    (info,) = pl.read_parquet(tmp_path / "o.parquet")["extra_info"].to_list()
    assert (info["question_id"], info["category"]) == ("163", "Explain")


def test_blank_answers_are_told_or_left_out(tmp_path):
    pairs = [{"prompt": "x", "chosen": "good", "rejected": rejected} for rejected in ("bad", "  ", "\u200b\n")]
    source = write(tmp_path / "p.jsonl", pairs)
    for to in ("trl", "openrlhf", "llama-factory"):
        told = export(source, "--to", to, "--out", tmp_path / "o.jsonl", "--force")
        assert "note: 2 of 3 pairs reject a blank answer" in " ".join(told.split())
    told = export(source, "--to", "axolotl", "--out", tmp_path / "a.jsonl")
    assert "2 rows: an empty answer" in told
    assert "blank answer" not in told
    assert lines(tmp_path / "a.jsonl")[0]["rejected"]["content"] == "bad"
