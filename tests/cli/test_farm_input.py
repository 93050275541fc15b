"""What AlpacaFarm's verbs and its recipe are given that cannot be: one line each, before anything is paid."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_recipe import RECIPE, TRAINING

Command = Callable[..., Any]

PAIR = {
    "instruction": "q{n}",
    "output_1": "good {n}",
    "output_2": "bad {n}",
    "generator_1": "new",
    "generator_2": "old",
}
FARM: dict[str, Any] = {
    "recipe": "alpaca_farm",
    "target": RECIPE["target"],
    "judge": RECIPE["judge"],
    "labels": "gold",
    "data": {
        "sft": "sandbox:demonstrations?n=48",
        "preference": "sandbox:prompts?n=30",
        "unlabeled": "sandbox:prompts?n=8",
        "evaluation": "sandbox:prompts?n=6&split=test",
    },
    "sft": TRAINING | {"epochs": 1},
    "methods": {"DPO": {"method": "dpo", "training": TRAINING | {"epochs": 1}}},
}


def write(path: Path, count: int = 30, **more: Any) -> None:
    rows = [{name: value.format(n=n) for name, value in PAIR.items()} | more for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def answers(path: Path, name: str, asked: str, count: int = 4) -> None:
    rows = [{"instruction": f"{asked}{n}", "output": f"{name} {n}", "generator": name} for n in range(count)]
    path.write_text(json.dumps(rows))


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    write(tmp_path / "pairs.jsonl")
    write(tmp_path / "few.jsonl", 19, preference=1)
    write(tmp_path / "alike.jsonl", 40, preference=2)
    write(tmp_path / "null.jsonl", 40, preference=None)
    (tmp_path / "lacking.jsonl").write_text(
        '{"instruction": "q", "output_1": "a", "output_2": null, "preference": 1}\n'
    )
    answers(tmp_path / "new.json", "new", "q")
    answers(tmp_path / "old.json", "old", "another q")
    (tmp_path / "none.json").write_text("[]")
    (tmp_path / "flips.yaml").write_text("p_label_flip: 0.6\nmembers: ['builtin:longest']\n")
    (tmp_path / "nobody.yaml").write_text("members: []\n")
    (tmp_path / "twice.yaml").write_text("members: ['builtin:longest', 'builtin:longest']\n")
    (tmp_path / "farm.yaml").write_text(yaml.safe_dump(FARM))
    (tmp_path / "rubric.yaml").write_text("spec: http://127.0.0.1:9/v1#judge\n")


FIT, LABEL, RUN = ("annotate", "--fit"), ("annotate", "pairs.jsonl"), ("run", "farm.yaml", "--out", "out")
REFUSED: list[tuple[tuple[object, ...], str]] = [
    (
        (*LABEL, "--pool", "synthetic", "--p-label-flip", 0.51),
        "p_label_flip: Input should be less than or equal to 0.5",
    ),
    ((*LABEL, "--pool", "flips.yaml"), "p_label_flip: Input should be less than or equal to 0.5"),
    ((*LABEL, "--pool", "nobody.yaml"), "members: Tuple should have at least 1 item"),
    ((*LABEL, "--pool", "twice.yaml"), "a pool's members differ: the name 'longest' is there 2 times"),
    ((*LABEL, "--pool", "labels:missing.jsonl"), "missing.jsonl: no such file"),
    ((*FIT, "few.jsonl"), "19 labels that prefer an output, fewer than 20, so neither noise nor a bias of seat"),
    ((*FIT, "alike.jsonl"), "all 40 labels prefer the second output, so neither noise nor a bias of seat"),
    ((*FIT, "null.jsonl"), "0 labels that prefer an output"),
    (("annotate", "lacking.jsonl", "--pool", "builtin:longest"), "column output_2"),
    (("winrate", "lacking.jsonl", "--baseline", "b"), "lacking.jsonl"),
    (("annotate", "new.json", "old.json", "--pool", "builtin:longest"), "old.json: no answer for 4 of 4 prompts"),
    (("annotate", "new.json", "none.json", "--pool", "builtin:longest"), "none.json"),
    ((*RUN, "--set", "annotators.p_label_flip=0.6", "--set", "labels=simulated"), "annotators.p_label_flip"),
    ((*RUN, "--set", "opponents=[file:old.json]", "--set", "baseline=old"), "old.json: no answer for 6 of 6 prompts"),
    ((*RUN, "--set", "opponents=[file:none.json]", "--set", "baseline=none"), "none.json"),
    ((*RUN, "--set", "baseline=davinci"), "baseline 'davinci' is no contestant; there are SFT, DPO"),
    (
        (*RUN, "--set", "methods={P: {method: ppo, reward: 'reward:checkpoints/RM'}}"),
        "checkpoints/RM",
    ),
    ((*RUN, "--set", "labels=file", "--set", "data.preference=none.jsonl"), "none.jsonl"),
    (
        (*RUN, "--set", "methods={P: {method: ppo, training: {rollout_batch: 64, samples: 2}}}"),
        "data.unlabeled: P: there are 8 prompts, fewer than a roll-out's 32; lower rollout_batch",
    ),
    (
        (*RUN, "--set", "methods={B: {method: best_of_n, reward: 'judge:rubric.yaml'}}"),
        "here is no place for them: take a reward that is not paid for",
    ),
]


@pytest.mark.parametrize(("arguments", "why"), REFUSED, ids=[why for _, why in REFUSED])
def test_it_is_refused_in_one_line(arenaloop: Command, tmp_path: Path, arguments: tuple[object, ...], why: str) -> None:
    out: tuple[object, ...] = ()
    if arguments[0] == "annotate":
        out = "--out", "out.yaml" if "--fit" in arguments else "out.jsonl"
    done = arenaloop(*arguments, *out)
    assert (done.code, len(done.lines)) == (2, 1), done.lines
    assert why in done.lines[0]
    assert not list(tmp_path.glob("out*"))


def test_recorded_labels_of_answers_that_nobody_gave_label_nothing(arenaloop: Command, tmp_path: Path) -> None:
    """Labels are looked up by both texts: other answers to the same prompts have none, and each is counted."""
    rows = [{"instruction": f"q{n}", "output_1": "others", "output_2": "said this", "preference": 1} for n in range(30)]
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = arenaloop(*LABEL, "--pool", "labels:labels.jsonl", "--p-label-flip", 0, "--out", "out.jsonl", "--json")
    assert done.code == 4
    assert "all 30 that were asked for failed (30 error; most often: no label for this pair)" in " ".join(done.lines)
    assert not (tmp_path / "out.jsonl").exists()


def test_annotators_that_never_answer_stop_the_recipe_in_order_and_nothing_is_lost(
    arenaloop: Command, served: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arenaloop.calls.run.MOST_UNREAD", 1_000)  # who is never read would stop it before the last
    served.answer = lambda body: "I would rather not say."
    simulated = ("--set", "labels=simulated", "--set", f"annotators={{pool: '{served.url}#mute', p_label_flip: 0}}")
    stopped = arenaloop(*RUN, *simulated)
    assert stopped.code == 4, stopped.lines
    said = " ".join(" ".join(stopped.lines).split())
    assert "0 pairs labelled, 0 of them by noise without a call; without a label: " in said
    assert " unparsed" in said
    assert "no pair of the preference prompts has a label: there is nothing to learn from" in stopped.lines[-1]
    assert (tmp_path / "out" / "checkpoints" / "SFT" / "model.safetensors").exists()
    asked = len(served.heard)
    served.answer = lambda body: "Fine.\n\nScores: 8 3"
    done = arenaloop(*RUN, *simulated)
    assert done.code == 0, done.lines
    pairs = (tmp_path / "out" / "data" / "pairs.jsonl").read_text().splitlines()
    assert len(served.heard) - asked == len(pairs) > 10  # each pair once more, and nothing else
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["labels"]["pairs"] == len(pairs)
