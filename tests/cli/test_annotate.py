"""`arenaloop annotate`: pairs, answers and samples labelled, paid once, in rows that others read; and fits."""

from __future__ import annotations

import json
import math
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from arenaloop.data.formats.labels import read_labels
from arenaloop.store import Store
from arenaloop.train.rows import preference, refuse_unread

Command = Callable[..., Any]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, some: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in some))


def pairs(count: int) -> list[dict[str, Any]]:
    who = {"generator_1": "new", "generator_2": "old"}
    return [
        {"instruction": f"question {n}", "output_1": f"good {n}", "output_2": f"bad {n}"} | who for n in range(count)
    ]


def choices(body: dict[str, Any]) -> str:
    """Prefers what is good."""
    found = re.findall(r"pair \d+ answer 1 ===\n(\w+)", body["messages"][0]["content"])
    return "Choices: " + " ".join("1" if word == "good" else "2" for word in found)


def said(done: Any) -> str:
    return " ".join(" ".join(done.lines).split())


def test_pairs_are_labelled_once_and_the_rows_are_what_trainers_read(
    arenaloop: Command, served: Any, tmp_path: Path
) -> None:
    served.answer = choices
    write(tmp_path / "pairs.jsonl", pairs(120))
    command = ("annotate", "pairs.jsonl", "--model", f"{served.url}#m", "--out", "out.jsonl")
    dry = arenaloop(*command, "--dry-run", "--json")
    assert (dry.code, served.heard) == (0, [])
    plan = json.loads(dry.out)
    assert plan["labels"] == 120
    assert "120 labels by people: $36.00 and 1.2 hours; 1,000 labels: $300 by people, price unknown here" in said(dry)
    assert not (tmp_path / "out.jsonl.db").exists()
    done = arenaloop(*command, "--json")
    assert done.code == 0, done.lines
    told = json.loads(done.out)
    assert len(served.heard) == told["calls"] == plan["calls_planned"] == plan["estimate"]["calls"]
    assert 0.35 < plan["calls_saved_by_noise"] / (plan["calls_planned"] + plan["calls_saved_by_noise"]) < 0.65
    labels = rows(tmp_path / "out.labels.jsonl")
    assert (len(labels), sum(label["noise"] for label in labels)) == (120, told["noise"])
    assert all(label["preference"] == 1 and label["seat"] in (1, 2) for label in labels if not label["noise"])
    assert {label["annotator"] for label in labels if label["noise"]} == {"noise"}
    kept = rows(tmp_path / "out.jsonl")
    assert len(kept) == told["rows"] == 120
    for at, row in enumerate(kept):
        refuse_unread(row, {"prompt", "chosen", "rejected"}, at)
        (asked,), (chosen,), (rejected,) = preference(row, at)
        assert asked["content"].startswith("question")
        assert row["noise"] or (chosen["content"][:4], rejected["content"][:3]) == ("good", "bad")
        assert row["status"] == "ok"
    before = (tmp_path / "out.jsonl").read_bytes()
    again = arenaloop(*command)
    assert (again.code, len(served.heard)) == (0, told["calls"])
    assert (tmp_path / "out.jsonl").read_bytes() == before


def test_two_files_of_answers_meet_and_win_rates_are_read_from_the_labels(
    arenaloop: Command, served: Any, tmp_path: Path
) -> None:
    served.answer = choices
    for name in ("good", "bad"):
        answers = [{"instruction": f"question {n}", "output": f"{name} {n}", "generator": name} for n in range(30)]
        (tmp_path / f"{name}.json").write_text(json.dumps(answers if name == "bad" else answers[:28]))
    command = (
        "annotate",
        "good.json",
        "bad.json",
        "--model",
        f"{served.url}#m",
        "--preset",
        "p_eval",
        "--out",
        "out.jsonl",
    )
    done = arenaloop(*command)
    assert done.code == 0, done.lines
    assert "p_label_flip 0 (uniform_flip) · seats both_orders" in said(done)
    rate = arenaloop("winrate", "out.labels.jsonl", "--baseline", "bad", "--control", "length", "--json")
    (row,) = json.loads(rate.out)["leaderboard"]
    assert (row["model"], row["win_rate"], row["n_total"]) == ("good", 100.0, 28)
    assert not any("columns" in note for note in json.loads(rate.out)["notes"])  # all of them are known
    lacking = arenaloop(*("annotate", "bad.json", "good.json", "--pool", "builtin:longest", "--out", "x.jsonl"))
    assert lacking.code == 2
    assert "good.json: no answer for 2 of 30 prompts" in said(lacking)
    some = arenaloop(
        *("annotate", "bad.json", "good.json", "--pool", "builtin:longest", "--out", "x.jsonl"), "--allow-missing"
    )
    assert some.code == 0
    assert "2 of 30 prompts without both answers left out" in said(some)


def test_a_baseline_without_answers_is_refused(arenaloop: Command, tmp_path: Path) -> None:
    (tmp_path / "new.json").write_text(json.dumps([{"instruction": "a", "output": "x"}]))
    (tmp_path / "old.json").write_text(json.dumps([{"instruction": "b", "output": "y"}]))
    (tmp_path / "none.json").write_text("[]")
    for other in ("old.json", "none.json"):
        for more in ((), ("--allow-missing",)):
            done = arenaloop("annotate", "new.json", other, "--pool", "builtin:longest", "--out", "out.jsonl", *more)
            assert (done.code, len(done.lines)) == (2, 1), done.lines
            assert "no answer" in done.lines[0] or "nothing in it" in done.lines[0] or "empty" in done.lines[0]
    assert not (tmp_path / "out.jsonl.db").exists()


def test_samples_of_one_model_meet_each_other(arenaloop: Command, tmp_path: Path) -> None:
    done = arenaloop(
        *(
            "sample",
            "--model",
            "sandbox:novice",
            "--prompts",
            "sandbox:prompts?n=20",
            "--samples",
            4,
            "--out",
            "s.jsonl",
        )
    )
    assert done.code == 0, done.lines
    done = arenaloop("annotate", "s.jsonl", "--pool", "synthetic", "--p-label-flip", 0, "--out", "out.jsonl")
    assert done.code == 0, done.lines
    labels = rows(tmp_path / "out.labels.jsonl")
    assert {(label["generator_1"], label["generator_2"]) for label in labels} == {("s", "s")}
    asked = Counter(label["instruction"] for label in labels)
    assert len(asked) == 20
    assert 1 < max(asked.values()) <= 4
    texts = {(row["prompt"][0]["content"], row["completion"][0]["content"]) for row in rows(tmp_path / "s.jsonl")}
    assert all((label["instruction"], label[side]) in texts for label in labels for side in ("output_1", "output_2"))
    assert all((label["output_1"] == label["output_2"]) == (label["preference"] == 1.5) for label in labels)
    again = arenaloop("annotate", "out.jsonl", "--pool", "synthetic", "--out", "x.jsonl")  # rows to train on are pairs
    assert (again.code, len(rows(tmp_path / "x.labels.jsonl"))) == (0, len(rows(tmp_path / "out.jsonl")))


def test_an_annotator_that_never_answers_leaves_failures_with_a_reason(
    arenaloop: Command, served: Any, tmp_path: Path
) -> None:
    served.answer = lambda body: "I would rather not say" if body["temperature"] == 0.5 else choices(body)
    (tmp_path / "pool.yaml").write_text(
        f"p_label_flip: 0\nmodel: {served.url}#m\nmembers:\n"
        "  - {name: mute, template: annotator_plain, batch: 3, sampling: {temperature: 0.5}, reask: 0}\n"
        "  - {name: fine, template: annotator_guideline, batch: 3}\n"
    )
    write(tmp_path / "pairs.jsonl", pairs(30))
    command = ("annotate", "pairs.jsonl", "--pool", "pool.yaml", "--out", "out.jsonl")
    done = arenaloop(*command)
    assert done.code == 3
    labels = rows(tmp_path / "out.labels.jsonl")
    failed = [label for label in labels if label["preference"] is None]
    assert {(label["annotator"], label["status"]) for label in failed} == {("mute", "unparsed")}
    assert f"{len(failed)} failed ({len(failed)} unparsed)" in said(done)
    assert f"warning: annotator mute answered none of its {len(failed)} pairs" in said(done)
    assert len(rows(tmp_path / "out.jsonl")) == 30 - len(failed)
    served.answer = choices
    before = len(served.heard)
    assert arenaloop(*command).code == 0
    about = [
        len(re.findall("pair \\d+ user prompt ===", body["messages"][0]["content"])) for body in served.heard[before:]
    ]
    assert sum(about) == len(failed)  # nobody else is asked again


def test_where_nobody_can_answer_no_coins_are_written(arenaloop: Command, tmp_path: Path) -> None:
    """The synthetic pool knows the worth of small-world answers alone; of others nothing but noise would be left."""
    write(tmp_path / "pairs.jsonl", pairs(40))
    done = arenaloop("annotate", "pairs.jsonl", "--pool", "synthetic", "--out", "out.jsonl")
    assert done.code == 4
    assert re.search(
        r"no annotator gave a label: all (\d+) that were asked for failed \(\1 error; most often: an answer has no",
        said(done),
    )
    assert "nothing is written" in said(done)
    dry = arenaloop("annotate", "pairs.jsonl", "--pool", "synthetic", "--out", "dry.jsonl", "--dry-run")
    assert dry.code == 0
    told = r"and \d+ more: no label for any of the first \d+ pairs that would be asked about \(an answer has no worth"
    assert re.search(told, said(dry))
    assert not (tmp_path / "out.jsonl").exists()
    assert not (tmp_path / "out.labels.jsonl").exists()


def test_an_annotator_without_a_label_has_no_noise_either(arenaloop: Command, tmp_path: Path) -> None:
    write(tmp_path / "pairs.jsonl", pairs(60))
    write(tmp_path / "known.jsonl", [{"instruction": "x", "output_1": "a", "output_2": "b", "preference": 1}])
    (tmp_path / "pool.yaml").write_text(
        "p_label_flip: 0.25\nmembers:\n"
        "  - {name: mute, spec: 'labels:known.jsonl'}\n"
        "  - {name: fine, spec: 'builtin:longest'}\n"
    )
    dry = arenaloop("annotate", "pairs.jsonl", "--pool", "pool.yaml", "--out", "out.jsonl", "--dry-run")
    assert re.search(r"warning: mute: no label for any of the first \d+ pairs", said(dry))
    done = arenaloop("annotate", "pairs.jsonl", "--pool", "pool.yaml", "--out", "out.jsonl", "--json")
    assert done.code == 3
    told, labels = json.loads(done.out), rows(tmp_path / "out.labels.jsonl")
    silenced = [label for label in labels if label["noise"] and label["preference"] is None]
    noise = sum(label["noise"] and label["preference"] is not None for label in labels)
    asked = sum(label["annotator"] == "mute" for label in labels)
    assert 5 < len(silenced) < 25
    assert 5 < noise < 25
    assert {label["error"] for label in silenced} == {"noise in place of annotator mute, which gave no label"}
    assert (told["noise"], told["failed"]) == (noise, {"error": len(silenced) + asked})
    assert told["rows"] == len(rows(tmp_path / "out.jsonl")) == 60 - len(silenced) - asked
    assert f"warning: annotator mute answered none of its {asked} pairs" in said(done)
    assert "of the labels that were given are noise" not in said(done)  # what is left has its due share
    # and whoever reads the rows is told of it
    rate = arenaloop("winrate", "out.labels.jsonl", "--baseline", "old", "--json")
    assert f"{noise} of 60 rows are noise, which annotate drew without asking anybody" in json.loads(rate.out)["notes"]
    for name, count in (("out.jsonl", told["rows"]), ("out.labels.jsonl", 60)):
        export = arenaloop("export", name, "--to", "trl", "--out", "trl.jsonl", "--force")
        assert f"{name}: {noise} of {count} rows are noise" in said(export)


def test_failures_that_leave_more_noise_than_was_drawn_are_told(arenaloop: Command, tmp_path: Path) -> None:
    write(tmp_path / "pairs.jsonl", pairs(60))
    write(tmp_path / "known.jsonl", [row | {"preference": 1} for row in pairs(12)])
    done = arenaloop("annotate", "pairs.jsonl", "--pool", "labels:known.jsonl", "--out", "out.jsonl")
    assert done.code == 3
    labels = [label for label in rows(tmp_path / "out.labels.jsonl") if label["preference"] is not None]
    share = sum(label["noise"] for label in labels) / len(labels)
    assert share > 0.7
    assert f"{share:.0%} of the labels that were given are noise, where p_label_flip 0.25 draws 50%" in said(done)


def test_a_dead_server_ends_the_run_and_a_budget_stops_it(arenaloop: Command, served: Any, tmp_path: Path) -> None:
    write(tmp_path / "pairs.jsonl", pairs(40))
    (tmp_path / "dead.yaml").write_text("spec: http://127.0.0.1:9/v1#m\nretries: 0\n")
    dead = arenaloop("annotate", "pairs.jsonl", "--model", "dead.yaml", "--out", "dead.jsonl")
    assert dead.code == 4
    assert not (tmp_path / "dead.jsonl").exists()
    served.answer = choices
    command = ("annotate", "pairs.jsonl", "--model", f"{served.url}#m", "--out", "out.jsonl")
    stopped = arenaloop(*command, "--budget-calls", 3)
    assert (stopped.code, len(served.heard)) == (4, 3)
    assert arenaloop(*command).code == 0
    with Store("out.jsonl.db", readonly=True) as store:
        assert store.usage().calls == len(served.heard)
    seen = [body["messages"][0]["content"] for body in served.heard]
    asked = Counter(found for text in seen for found in re.findall(r"user prompt ===\n(question \d+)\n", text))
    assert set(asked.values()) == {1}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--p-label-flip", 0.6), "p_label_flip: Input should be less than or equal to 0.5"),
        (("--noise-model", "loud"), "noise_model"),
        (("--seat-mode", "left"), "seat_mode"),
        (("--preset", "p_train"), "preset"),
        (("--pool", "nobody"), "pool 'nobody'"),
        (("--pool", "alpaca_farm"), "give the pool a model"),
        (("--reward", "sandbox:gold"), "--reward goes with --fit"),
        (("--prompts", "pairs.jsonl"), "go with two files of answers"),
        (("--fit", "pairs.jsonl"), "labels nothing"),
        (("--budget-usd", 1, "--model", "http://127.0.0.1:9/v1#m", "--pool", "alpaca_farm"), "price"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(arenaloop: Command, tmp_path: Path, arguments, why: str) -> None:
    write(tmp_path / "pairs.jsonl", pairs(5))
    given = arguments if "--pool" in arguments else ("--pool", "synthetic", *arguments)
    done = arenaloop("annotate", "pairs.jsonl", "--out", "out.jsonl", *given)
    assert (done.code, len(done.lines)) == (2, 1), done.lines
    assert why in done.lines[0]
    assert not (tmp_path / "out.jsonl.db").exists()


def test_files_that_hold_no_pairs_are_refused(arenaloop: Command, tmp_path: Path) -> None:
    write(tmp_path / "prompts.jsonl", [{"instruction": "x"}])
    write(tmp_path / "broken.jsonl", [{"instruction": "x", "output_1": "a", "output_2": None}])
    write(tmp_path / "single.jsonl", [{"instruction": "x", "output": "a"}])
    for name in ("prompts", "broken", "single", "missing"):
        done = arenaloop("annotate", f"{name}.jsonl", "--pool", "builtin:longest", "--out", "out.jsonl")
        assert (done.code, len(done.lines)) == (2, 1), done.lines
        assert f"{name}.jsonl" in done.lines[0]


def test_a_pool_of_one_is_said_to_be_one(arenaloop: Command, tmp_path: Path) -> None:
    write(tmp_path / "pairs.jsonl", pairs(10))
    done = arenaloop("annotate", "pairs.jsonl", "--pool", "builtin:longest", "--p-label-flip", 0, "--out", "out.jsonl")
    assert done.code == 0
    assert "a pool of one annotator: nothing varies between annotators" in said(done)


def test_answers_of_several_turns_need_words_that_show_them(arenaloop: Command, tmp_path: Path) -> None:
    turns = [
        [
            {"role": role, "content": f"{name}{n}"}
            for n in (1, 2)
            for role, name in (("user", "ask"), ("assistant", side))
        ]
        for side in "ab"
    ]
    write(
        tmp_path / "pairs.jsonl",
        [{"conversation_a": turns[0], "conversation_b": turns[1], "model_a": "a", "model_b": "b"}],
    )
    refused = arenaloop("annotate", "pairs.jsonl", "--model", "http://127.0.0.1:9/v1#m", "--out", "out.jsonl")
    assert (refused.code, "answers of 2 turns: annotator strong_1" in refused.lines[0]) == (2, True)
    done = arenaloop("annotate", "pairs.jsonl", "--pool", "builtin:first", "--p-label-flip", 0, "--out", "out.jsonl")
    assert done.code == 0
    (row,) = rows(tmp_path / "out.jsonl")
    assert [turn["content"] for turn in row["chosen"]] in (["a1", "ask2", "a2"], ["b1", "ask2", "b2"])
    assert len(read_labels(tmp_path / "out.labels.jsonl")) == 1


def test_an_audit_of_its_labels_knows_who_sat_first(arenaloop: Command, tmp_path: Path) -> None:
    """A pool that takes whatever sits first, in half of the pairs the first output, and labels that agree with it."""
    write(tmp_path / "pairs.jsonl", pairs(60))
    command = (
        "annotate",
        "pairs.jsonl",
        "--pool",
        "builtin:first",
        "--p-label-flip",
        0,
        "--votes",
        2,
        "--out",
        "out.jsonl",
    )
    assert arenaloop(*command).code == 0
    labels = rows(tmp_path / "out.labels.jsonl")
    assert all(label["preference"] == label["seat"] for label in labels)
    write(tmp_path / "people.jsonl", [row | {"preference": 1} for row in pairs(60)])
    done = arenaloop("audit", "--judge", "labels:out.labels.jsonl", "--labels", "people.jsonl", "--json")
    assert done.code == 0, done.lines
    (found,) = json.loads(done.out)["leaderboard"]
    assert found["first_seat"] == 1.0
    assert 0.3 < found["first_output"] < 0.7
    assert found["variance"] > 20  # two votes, two seats


# ---------------------------------------------------------------------- fits


def people(path: Path, count: int = 250) -> None:
    """Two people on pairs whose worth is a number that the answers name: one sharp, one who likes the first seat."""
    draw, found = random.Random(4), []
    for n in range(count):
        worth = [draw.choice([0, 1, 2]), draw.choice([0, 1, 2])]
        texts = [f"worth {value} of {n}" + " and more" * draw.randrange(4) for value in worth]
        texts[1] += "!"
        for name, noise, seat in (("sharp", 0.5, 0.0), ("left", 1.5, 1.0)):
            first = draw.random() < 1 / (1 + math.exp(-((worth[0] - worth[1]) / noise + seat)))
            label: dict[str, Any] = {"annotator": name, "preference": 1 if first else 2}
            found.append({"instruction": f"question {n}", "output_1": texts[0], "output_2": texts[1]} | label)
    write(path, found)


WORTH = "def worth(prompts, answers):\n    return [float(answer.split()[1]) for answer in answers]\n"


def test_a_fit_finds_what_people_are_like_and_writes_a_pool_that_labels_like_them(
    arenaloop: Command, tmp_path: Path
) -> None:
    people(tmp_path / "people.jsonl")
    (tmp_path / "worth.py").write_text(
        WORTH.replace("answer.split()[1]) for", "answer.split()[1]) if answer.startswith('worth') else 0.0 for")
    )
    command = ("annotate", "--fit", "people.jsonl", "--reward", "python:worth.py:worth", "--out", "people.yaml")
    done = arenaloop(*command, "--json", "--level", 0.99)
    assert done.code == 0, done.lines
    found = json.loads(done.out)
    for name, noise, seat in (("sharp", 0.5, 0.0), ("left", 1.5, 1.0)):
        mine = found["annotators"][name]
        assert mine["labels"] == 250
        for what, planted in (("noise", noise), ("seat", seat), ("length", 0.0)):
            assert mine[what]["lower"] < planted < mine[what]["upper"], (name, what)
    assert "lists is not estimated: no pair has a list in one output alone" in said(done)
    pool = yaml.safe_load((tmp_path / "people.yaml").read_text())
    assert [member["name"] for member in pool["members"]] == ["sharp", "left"]
    assert pool["members"][0]["options"]["noise"] == pytest.approx(
        found["annotators"]["sharp"]["noise"]["value"], abs=1e-5
    )
    plain = arenaloop(*command)
    assert plain.code == 0
    assert re.search(r"left +250 ", plain.out)
    assert "in brackets 95 % intervals" in plain.out
    # who is simulated by it prefers as they do
    labelled = arenaloop(
        "annotate", "people.jsonl", "--pool", "people.yaml", "--votes", 8, "--seat-mode", "compat", "--out", "out.jsonl"
    )
    assert labelled.code == 0, labelled.lines
    again = arenaloop(
        *("annotate", "--fit", "out.labels.jsonl", "--reward", "python:worth.py:worth", "--out", "again.yaml"), "--json"
    )
    assert again.code == 0, again.lines
    refitted = json.loads(again.out)["annotators"]
    for name in ("sharp", "left"):
        for what in ("noise", "seat"):
            value = found["annotators"][name][what]["value"]
            assert refitted[name][what]["lower"] < value < refitted[name][what]["upper"]


def test_without_a_reward_several_labels_of_a_pair_tell_how_often_labels_turn(
    arenaloop: Command, tmp_path: Path
) -> None:
    people(tmp_path / "people.jsonl", 500)
    done = arenaloop("annotate", "--fit", "people.jsonl", "--out", "people.yaml")
    assert done.code == 0, done.lines
    pool = yaml.safe_load((tmp_path / "people.yaml").read_text())
    assert 0.05 < pool["p_label_flip"] < 0.45
    assert len(pool["members"]) == 13
    dry = arenaloop(
        "annotate", "people.jsonl", "--pool", "people.yaml", "--model", "sandbox:judge", "--out", "o.jsonl", "--dry-run"
    )
    assert dry.code == 0, dry.lines


@pytest.mark.parametrize(
    ("count", "prefers", "code", "why"),
    [
        (10, None, 2, "fewer than 20, so neither noise nor a bias of seat, length or list can be estimated"),
        (60, 1, 2, "all 60 labels prefer the first output"),
        (60, None, 3, "noise is not estimated: 0 pairs have two labels or more"),
    ],
)
def test_a_fit_says_what_it_cannot_estimate(arenaloop: Command, tmp_path: Path, count, prefers, code, why) -> None:
    labels = [row | {"preference": prefers or 1 + n % 2} for n, row in enumerate(pairs(count))]
    write(tmp_path / "labels.jsonl", labels)
    done = arenaloop("annotate", "--fit", "labels.jsonl", "--out", "pool.yaml")
    assert (done.code, why in said(done)) == (code, True), done.lines
    assert not (tmp_path / "pool.yaml").exists()


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("reward", [(), ("--reward", "python:worth.py:worth")])
@pytest.mark.parametrize("kind", ["longer", "random"])
def test_what_labels_do_not_tell_is_in_no_pool(
    arenaloop: Command, tmp_path: Path, kind: str, reward: tuple[str, ...]
) -> None:
    draw, labels = random.Random(3), []
    for n in range(29):
        one, two = (f"worth {draw.randrange(3)} " + "ka" * draw.randrange(1, 5) for _ in range(2))
        two += "s"
        for name in ("anna", "ben"):
            prefers = 1 + (len(two) > len(one)) if kind == "longer" else draw.choice([1, 2])
            row: dict[str, Any] = {"instruction": f"plural: ka{n}", "output_1": one, "output_2": two}
            labels.append(row | {"preference": prefers, "annotator": name})
    write(tmp_path / "labels.jsonl", labels)
    (tmp_path / "worth.py").write_text(WORTH)
    done = arenaloop("annotate", "--fit", "labels.jsonl", "--out", "pool.yaml", *reward)
    assert "cannot be told from these labels" in said(done)
    assert "nan" not in done.out
    if kind == "random" and reward:  # half of them turned is known well enough; a bias is not
        assert done.code == 0, done.lines
        assert re.search(r"ben\b[^:]*: the pool leaves length out", said(done))
        members = yaml.safe_load((tmp_path / "pool.yaml").read_text())["members"]
        assert all("length" not in member["options"] for member in members if member["name"] == "ben")
        return
    assert done.code == 3, done.lines
    assert not (tmp_path / "pool.yaml").exists()


def test_labels_for_answers_that_nobody_gave_are_refused(arenaloop: Command, tmp_path: Path) -> None:
    labels = [row | {"preference": 1 + n % 2, "output_2": None} for n, row in enumerate(pairs(40))]
    write(tmp_path / "labels.jsonl", labels)
    done = arenaloop("annotate", "--fit", "labels.jsonl", "--out", "pool.yaml")
    assert (done.code, len(done.lines)) == (2, 1)
    assert "column output_2: no value, where a text is expected" in done.lines[0]


def test_labels_that_are_not_its_own_are_not_written_over(arenaloop: Command, tmp_path: Path) -> None:
    write(tmp_path / "p.labels.jsonl", [row | {"preference": 1} for row in pairs(3)])
    before = (tmp_path / "p.labels.jsonl").read_bytes()
    done = arenaloop("annotate", "p.labels.jsonl", "--pool", "builtin:longest", "--out", "p.jsonl")
    assert (done.code, len(done.lines)) == (2, 1), done.lines
    assert "p.labels.jsonl: that is what is read" in done.lines[0]
    write(tmp_path / "other.jsonl", pairs(3))
    done = arenaloop("annotate", "other.jsonl", "--pool", "builtin:longest", "--out", "p.jsonl")
    assert (done.code, len(done.lines)) == (2, 1), done.lines
    assert "p.labels.jsonl is there without p.jsonl.db" in done.lines[0]
    assert (tmp_path / "p.labels.jsonl").read_bytes() == before


def test_what_is_read_is_not_written_over(arenaloop: Command, tmp_path: Path) -> None:
    write(tmp_path / "pairs.jsonl", pairs(3))
    (tmp_path / "pairs.jsonl.db").write_bytes(b"another command's")
    done = arenaloop("annotate", "pairs.jsonl", "--pool", "builtin:longest", "--out", "./pairs.jsonl")
    assert (done.code, len(done.lines)) == (2, 1), done.lines
    assert "that is what is read" in done.lines[0]
    done = arenaloop("sample", "--model", "sandbox:novice", "--prompts", "pairs.jsonl", "--out", "pairs.jsonl")
    assert (done.code, len(done.lines)) == (2, 1), done.lines
    assert rows(tmp_path / "pairs.jsonl") == pairs(3)


def test_labels_that_nobody_gave_are_nobodys_in_a_fit() -> None:
    from arenaloop.audit.annotators import label_table
    from arenaloop.data.formats.labels import Label
    from arenaloop.types import Prompt

    some = [
        Label(Prompt.of(f"q{n}"), ((f"a{n}",), (f"b{n}",)), 1.0, annotator="noise" if n % 3 else "ann")
        for n in range(30)
    ]
    numbers, notes = label_table(some)
    assert list(numbers.names) == ["ann"]
    assert "20 labels drawn by noise left out" in notes
