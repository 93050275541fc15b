"""`arenaloop train` and `report`: what they write, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from arenaloop.sandbox.target import build_target

torch.set_num_threads(1)

Command = Callable[..., Any]

FAST = ["epochs=4", "batch_size=4", "optimizer=muon", "learning_rate=0.01", "max_length=64", "device=cpu", "threads=1"]
SET = [part for setting in [*FAST, "log_every=1"] for part in ("--set", setting)]
ALL_TURNS = ["--set", "assistant_turns=all"]
CHATS = [
    {"messages": [{"role": "user", "content": f"say {n}"}, {"role": "assistant", "content": f"{n}{n}"}]}
    for n in range(8)
]
PAIRS = [
    {
        "prompt": [{"role": "user", "content": f"say {n}"}],
        "chosen": [{"role": "assistant", "content": f"{n}{n}"}],
        "rejected": [{"role": "assistant", "content": "no"}],
    }
    for n in range(8)
]


@pytest.fixture
def start(tmp_path: Path) -> Path:
    return build_target(tmp_path / "start", 0, width=16, layers=1, heads=2)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_every_method_is_listed_without_torch() -> None:
    from arenaloop.config import METHODS
    from arenaloop.train import methods

    assert list(METHODS) == list(methods.METHODS)


@pytest.mark.parametrize(("method", "rows"), [("sft", CHATS), ("dpo", PAIRS)])
def test_it_trains_and_repeats_nothing(
    arenaloop: Command, start: Path, tmp_path: Path, method: str, rows: list[dict[str, Any]]
) -> None:
    data = write(tmp_path / "rows.jsonl", rows)
    command = ["train", method, "--model", f"hf:{start}", "--data", data, "--out", "new", *SET]
    result = arenaloop(*command)
    assert result.code == 0, result.lines
    assert "8 steps on 8 rows" in result.out
    losses = [json.loads(line)["loss"] for line in (tmp_path / "new" / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0]
    weights = tmp_path / "new" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    again = arenaloop(*command)
    assert again.code == 0
    assert "finished before" in again.out
    assert "finished before" not in result.out
    assert weights.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["stf", "--model", "hf:start", "--data", "rows.jsonl"], "did you mean 'sft'"),
        (["sft", "--model", "openai:gpt-4o", "--data", "rows.jsonl"], "hf:ID_OR_PATH"),
        (["sft", "--model", "hf:", "--data", "rows.jsonl"], "hf:ID_OR_PATH"),
        (["sft", "--model", "hf:./nowhere", "--data", "rows.jsonl"], "nowhere"),
        (["sft", "--model", "hf:start", "--data", "none.jsonl"], "none.jsonl: no such file"),
        (["sft", "--model", "hf:start", "--data", "empty.jsonl"], "empty.jsonl"),
        (["sft", "--model", "hf:start", "--data", "broken.jsonl"], "broken.jsonl, line 2"),
        (["dpo", "--model", "hf:start", "--data", "rows.jsonl"], "rows.jsonl, line 1"),
        (["sft", "--model", "hf:start", "--data", "rows.jsonl", "--set", "epocs=1"], "did you mean 'epochs'"),
        (["sft", "--model", "hf:start", "--data", "rows.jsonl", "--set", "epochs=0"], "epochs"),
        (["sft", "--model", "hf:start", "--data", "rows.jsonl", "--set", "beta=1"], "beta"),
    ],
)
def test_refused_in_one_line_and_nothing_written(
    arenaloop: Command, start: Path, tmp_path: Path, arguments: list[str], says: str
) -> None:
    write(tmp_path / "rows.jsonl", CHATS)
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "broken.jsonl").write_text(json.dumps(CHATS[0]) + "\n{\n")
    before = set(tmp_path.rglob("*"))
    result = arenaloop("train", *arguments, "--out", "new")
    assert result.code == 2, result
    assert len(result.lines) == 1, result.lines
    assert says in result.lines[0]
    assert set(tmp_path.rglob("*")) == before


def test_a_model_without_a_chat_template(arenaloop: Command, start: Path, tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", CHATS)
    (start / "chat_template.jinja").unlink()
    result = arenaloop("train", "sft", "--model", f"hf:{start}", "--data", "rows.jsonl", "--out", "new")
    assert (result.code, len(result.lines)) == (2, 1)
    assert "chat template" in result.lines[0]
    assert not (tmp_path / "new").exists()


def test_report_of_a_run(arenaloop: Command, tmp_path: Path) -> None:
    models = ["--model", "a=sandbox:scholar", "--model", "b=sandbox:novice"]
    assert (
        arenaloop(
            "battle", *models, "--prompts", "sandbox:prompts?n=5", "--judge", "sandbox:judge", "--out", "out"
        ).code
        == 0
    )
    result = arenaloop("report", "out")
    assert result.code == 0
    page = tmp_path / "out" / "report.html"
    assert result.out.strip() == str(Path("out") / "report.html")
    assert "scholar" in page.read_text() or ">a<" in page.read_text()


@pytest.mark.parametrize("directory", ["nowhere", "empty"])
def test_report_of_nothing(arenaloop: Command, tmp_path: Path, directory: str) -> None:
    (tmp_path / "empty").mkdir()
    result = arenaloop("report", directory)
    assert (result.code, len(result.lines)) == (2, 1)
    assert directory in result.lines[0]
    assert {p.name for p in tmp_path.rglob("*")} == {"empty"}


def test_what_was_dropped_cut_or_kept_as_text_is_printed(arenaloop: Command, start: Path, tmp_path: Path) -> None:
    tokens = json.loads((start / "tokenizer_config.json").read_text())
    spelled = tokens["eos_token"] if isinstance(tokens["eos_token"], str) else tokens["eos_token"]["content"]
    more = [
        {"messages": [{"role": "user", "content": "say"}, {"role": "assistant", "content": "1" * 200}]},
        {"messages": [{"role": "user", "content": f"{spelled} ends"}, {"role": "assistant", "content": "1"}]},
        {"messages": [{"role": "user", "content": "say"}, {"role": "assistant", "content": " "}]},
        {"messages": [{"role": role, "content": "2"} for role in ("user", "assistant") * 2]},
    ]
    data = write(tmp_path / "rows.jsonl", [*CHATS, *more])
    for _ in range(2):
        result = arenaloop("train", "sft", "--model", f"hf:{start}", "--data", data, "--out", "new", *SET)
        assert result.code == 0, result.lines
        said = (
            "; dropped: 1 empty_response; truncated at the window: 1; control tokens in the text, kept as text: 1"
            "; earlier assistant turns not learned (assistant_turns: last): 1"
        )
        assert "on 11 rows" in result.out
        assert result.out.rstrip().endswith(said)
    told = json.loads((tmp_path / "new" / "training.json").read_text())["result"]
    assert (told["truncated"], told["spelled"], told["earlier"]) == (1, 1, 1)
    assert told["dropped"] == {"empty_response": 1}
    whole = arenaloop("train", "sft", "--model", f"hf:{start}", "--data", data, "--out", "all", *SET, *ALL_TURNS)
    assert "not learned" not in whole.out


def test_a_row_that_is_refused_is_named_by_its_line(arenaloop: Command, start: Path, tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", [*CHATS, {"question": "q", "answer": "a"}])
    result = arenaloop("train", "sft", "--model", f"hf:{start}", "--data", "rows.jsonl", "--out", "new")
    assert (result.code, len(result.lines)) == (2, 1)
    assert "rows.jsonl, line 9: there is no column 'messages', " in result.lines[0]
    assert result.lines[0].endswith("; found: question, answer")


def test_columns_that_are_not_read_are_named_once(arenaloop: Command, start: Path, tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", [{**row, "source": "x", "id": n, "split": None} for n, row in enumerate(CHATS)])
    result = arenaloop("train", "sft", "--model", f"hf:{start}", "--data", "rows.jsonl", "--out", "new", *SET)
    assert result.code == 0, result.lines
    told = [line for line in result.lines if "columns not used" in line]
    assert told == ["rows.jsonl: columns not used: source, id"]
    write(tmp_path / "rows.jsonl", CHATS)
    result = arenaloop("train", "sft", "--model", f"hf:{start}", "--data", "rows.jsonl", "--out", "other", *SET)
    assert not any("not used" in line for line in result.lines)
