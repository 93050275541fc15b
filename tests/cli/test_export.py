"""`arenaloop export` as a user runs it: what is written, refused and counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from arenaloop.cli import app
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
    assert rows[0]["verdicts"] == ["k"]
    assert rows[0]["stage"] == "DPO-I1"
    assert rows[0]["judge_margin"] == 3.0
    assert "margin" not in rows[0]

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
    export(run, "--to", "verl", "--kind", "prompts", "--out", tmp_path / "p.parquet")
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
    assert out[1]["preference"] == pytest.approx(0.8)


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
    assert row["uid"] == "0"
    assert row["category"] == "c"
    assert len(games["third"]) == 3
    assert len(read_battles(next((tmp_path / "ah").iterdir()))) == 12
    export(run, "--to", "arena-hard-v0.1", "--baseline", "other", "--strong", 0.5, "--out", tmp_path / "a1")
    old = next(lines(path) for path in (tmp_path / "a1").rglob("third.jsonl"))
    assert old[0]["games"][0]["score"] == "A>>B"
    assert old[0]["question_id"] == "0"

    export(run, "--to", "chatbot-arena", "--out", tmp_path / "ca.jsonl")
    labels = read_labels(tmp_path / "ca.jsonl")
    assert len(labels) == 9
    assert max(label.prompt.turns for label in labels) == 2
    assert {label.preference for label in labels} <= {1.0, 2.0}
    assert "no model 'othr' battled" in refused(
        run, "--to", "arena-hard", "--baseline", "othr", "--out", tmp_path / "no"
    )
    assert not (tmp_path / "no").exists() or not any((tmp_path / "no").rglob("*.jsonl"))
