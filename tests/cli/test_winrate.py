from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from arenaloop.arena.leaderboard import leaderboard
from arenaloop.cli import app as whole
from arenaloop.cli.winrate import winrate
from arenaloop.data.formats import read_battles, read_leaderboard
from arenaloop.errors import ConfigError, InputError
from arenaloop.ratings import length_control, win_rate
from arenaloop.ratings.rate_flags import FLAGS
from arenaloop.store import Store

app = typer.Typer()
app.command()(winrate)

FIELDS = [
    "model", "win_rate", "standard_error", "lower", "upper", "lc_win_rate", "lc_lower", "lc_upper", "lc_standard_error",
    "n_wins", "n_draws", "n_total", "avg_length", "flags", "n_undecided", "undecided_share", "worst", "best",
]  # fmt: skip


@pytest.fixture(name="annotations")
def written(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = []
    for m in range(6):
        for k in range(60):
            preference = float(np.clip(1 + rng.beta(0.4, 0.6) * (0.6 + m / 15), 1, 2))
            rows.append(
                {"instruction": f"i{k}", "output_1": "b" * int(rng.integers(50, 200)),
                 "output_2": "m" * int(rng.integers(20, 300)), "generator_1": "base", "generator_2": f"m{m}",
                 "preference": None if rng.random() < 0.05 else preference}
            )  # fmt: skip
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(rows))
    return path


def run(*arguments: str, code: int = 3) -> str:
    """Standard output; one annotation in twenty of the file failed, and the order of its models hangs on them."""
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stdout


def test_the_document_has_exactly_the_promised_fields(annotations: Path) -> None:
    document = json.loads(run(str(annotations), "--baseline", "base", "--json"))
    assert list(document) == ["baseline", "leaderboard", "order_depends_on_undecided", "skipped", "notes"]
    assert document["baseline"] == "base"
    rows = json.loads(annotations.read_text())
    for row in document["leaderboard"]:
        assert list(row) == FIELDS
        given = [r["preference"] - 1 for r in rows if r["generator_2"] == row["model"] and r["preference"] is not None]
        assert row["win_rate"] == pytest.approx(100 * np.mean(given))
        assert row["n_total"] == len(given)
        assert row["lower"] < row["win_rate"] < row["upper"]
        assert row["lc_win_rate"] is None
    shown = [row["win_rate"] for row in document["leaderboard"]]
    assert shown == sorted(shown, reverse=True)


def test_control_with_estimated_and_with_given_difficulty(annotations: Path, tmp_path: Path) -> None:
    arguments = [str(annotations), "--baseline", "base", "--control", "length", "--json", "--samples", "50"]
    estimated = json.loads(run(*arguments))["leaderboard"]
    gamma = tmp_path / "gamma.jsonl"
    rng = np.random.default_rng(1)
    gamma.write_text(
        "".join(json.dumps({"instruction": f"i{k}", "difficulty": float(rng.normal())}) + "\n" for k in range(50))
    )
    given = json.loads(run(*arguments, "--difficulty", str(gamma)))["leaderboard"]
    for one, two in zip(estimated, given, strict=True):
        assert one["lc_lower"] < one["lc_win_rate"] < one["lc_upper"]
        assert one["lc_win_rate"] != two["lc_win_rate"]
        assert "partial_difficulty" in two["flags"]
        assert "partial_difficulty" not in one["flags"]
    told = run(*(each for each in arguments if each != "--json"), "--difficulty", str(gamma))
    left_out = [int(number) for number in re.findall(r"m\d \((\d+) of \d+\)", told)]
    assert left_out
    assert all(number > 0 for number in left_out)


def test_the_table_shows_both_rates(annotations: Path) -> None:
    shown = run(str(annotations), "--baseline", "base", "--control", "length", "--samples", "20")
    for text in ("m0", "win rate", "percent against base on 60 prompts"):
        assert text in shown


def test_flags_are_told_in_plain_words(annotations: Path, tmp_path: Path) -> None:
    few = tmp_path / "few.json"
    rows = [row for row in json.loads(annotations.read_text()) if row["generator_2"] == "m0"][:6]
    few.write_text(json.dumps(rows))
    shown = " ".join(run(str(few), "--baseline", "base", "--control", "length", "--samples", "20").split())
    assert f"note: m0: {FLAGS['no_difficulty']}" in shown
    assert "no_difficulty" not in shown
    code = "".join(Path(one.__file__ or "").read_text() for one in (win_rate, length_control))
    assert {*re.findall(r'"([a-z_]+)"', " ".join(re.findall(r"flags.append\(.*\)", code)))} <= FLAGS.keys()
    assert FLAGS.keys() == {
        *re.findall(r"``([a-z_]+)``", code.partition("flags: what a reader")[2].partition("weights:")[0])
    }


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["--baseline", "bass"], InputError, "did you mean 'base'"),
        (["--baseline", "base", "--control", "style"], ConfigError, "must be length"),
        (["--baseline", "base", "--difficulty", "none.jsonl"], ConfigError, "with --control length only"),
        (["--baseline", "base", "--level", "95"], ConfigError, "between 0 and 1"),
    ],
)
def test_what_cannot_be_is_a_user_error(annotations: Path, arguments: list[str], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        run(str(annotations), *arguments)


def test_difficulty_of_other_prompts_is_an_error(annotations: Path, tmp_path: Path) -> None:
    gamma = tmp_path / "gamma.jsonl"
    gamma.write_text('{"instruction": "elsewhere", "difficulty": 1}\n')
    with pytest.raises(InputError, match="none of its instructions"):
        run(str(annotations), "--baseline", "base", "--control", "length", "--difficulty", str(gamma))


@pytest.mark.parametrize("value", ["inf", "1e999"])
def test_a_penalty_that_is_not_finite_is_refused(annotations: Path, value: str) -> None:
    arguments = [str(annotations), "--baseline", "base", "--control", "length", "--penalty", value]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, ConfigError)


def test_what_was_left_out_is_said_and_stands_in_the_document(annotations: Path) -> None:
    rows = json.loads(annotations.read_text())
    failed = sum(row["preference"] is None for row in rows)
    rows[7]["preference"] = "yes"
    rows[8]["generator_1"] = "another"
    annotations.write_text(json.dumps(rows))
    document = json.loads(run(str(annotations), "--baseline", "base", "--json"))
    unknown, empty = document["notes"]
    assert unknown.startswith(
        "1 of 360 rows without a preference (1, 2, 1.5, anything between, or 0 for a draw) left out"
    )
    assert "'yes' (1, first row 8)" in unknown
    assert empty == f"column preference: {failed} of 360 rows empty or failed"
    assert document["skipped"] == 1
    assert "note: 1 of 360 rows without a preference" in " ".join(run(str(annotations), "--baseline", "base").split())


def test_rows_count_by_their_weight_as_in_ratings(tmp_path: Path) -> None:
    """`A>>B` weighs three battles: the baseline won one, the model won three."""
    path = tmp_path / "games.jsonl"
    game = {"uid": "u", "model": "m", "baseline": "base", "games": [{"score": "A>B"}, {"score": "A>>B"}]}
    path.write_text(json.dumps(game) + "\n")
    (row,) = json.loads(run(str(path), "--baseline", "base", "--json", code=0))["leaderboard"]
    (rated,) = (r for r in leaderboard(read_battles(path)).rows if r.model == "m")
    assert row["win_rate"] == pytest.approx(75.0) == pytest.approx(100.0 * rated.win_rate)
    path.write_text(json.dumps(game | {"games": [{"score": "A<B"}, {"score": "A>B"}]}) + "\n")
    (row,) = json.loads(run(str(path), "--baseline", "base", "--json", code=0))["leaderboard"]
    assert (row["model"], row["win_rate"], row["n_total"]) == ("m", 100.0, 2)


@pytest.mark.parametrize("directory", [False, True])
def test_a_file_of_ours_that_was_put_behind_itself_counts_once(tmp_path: Path, directory: bool) -> None:
    rows = [
        {"prompt_id": f"p{n}", "model_a": "m", "model_b": "base", "winner": "model_a" if n % 3 else "model_b",
         "score_a": 5.0, "score_b": 3.0, "flipped": False, "judge": "judge", "verdicts": [f"v{n}"]}
        for n in range(40)
    ]  # fmt: skip
    path = tmp_path / "battles.jsonl"
    path.write_text(2 * "".join(json.dumps(row) + "\n" for row in rows))
    with Store(tmp_path / "arena.db") as store:
        store.flush()
    document = json.loads(run(str(tmp_path if directory else path), "--baseline", "base", "--json", code=0))
    assert document["leaderboard"][0]["n_total"] == 40
    assert "40 rows repeat a battle of this file and count once" in document["notes"]


def test_rates_by_part_one_note_for_each_flag_and_what_weighs(tmp_path: Path) -> None:
    path = tmp_path / "model_judgment" / "judge.jsonl"
    path.parent.mkdir()
    rows = [
        {
            "uid": f"u{k}", "category": "few" if k < 5 else "many", "judge": "j", "model": name, "baseline": "base",
            "games": [{"score": ("A>>B", "B>A", "A=B")[(k + at) % 3]}, {"score": None if k == 7 else "A>B"}],
        }
        for at, name in enumerate(("x", "y"))
        for k in range(30)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = (str(path), "--baseline", "base", "--by", "category")
    shown = " ".join(run(*arguments).split())
    assert re.search(rf"note: [xy] \(1\), [xy] \(1\): {re.escape(FLAGS['failed_annotations'])}", shown)
    assert "note: rows weigh 1, 3: win rates are by weight; wins, draws and n count rows" in shown
    assert "category: many" in shown
    assert "no rates of category few (20 rows: 10 of the median model, fewer than 30)" in shown
    document = json.loads(run(*arguments, "--json"))
    many, few = document["by"]["boards"]
    assert (few["value"], few["annotations"], "leaderboard" in few) == ("few", 20, False)
    alone = tmp_path / "alone.jsonl"
    alone.write_text("".join(json.dumps(row) + "\n" for row in rows if row["category"] == "many"))
    assert many["leaderboard"] == json.loads(run(str(alone), "--baseline", "base", "--json", code=0))["leaderboard"]


def test_how_far_two_models_are_apart_in_one_file_and_in_two(annotations: Path, tmp_path: Path) -> None:
    document = json.loads(run(str(annotations), "--baseline", "base", "--difference", "m5", "m0", "--json"))
    rows = json.loads(annotations.read_text())
    scored = {m: {r["instruction"]: r["preference"] for r in rows if r["generator_2"] == m} for m in ("m5", "m0")}
    both = [k for k, y in scored["m5"].items() if None not in (y, scored["m0"][k])]
    apart = np.array([scored["m5"][k] - scored["m0"][k] for k in both])
    found = document["difference"]
    assert found["models"] == ["m5", "m0"]
    assert (found["prompts"], found["left_out"]) == (len(both), 60 - len(both))
    assert found["win_rate"] == pytest.approx(100 * apart.mean())
    assert found["standard_error"] == pytest.approx(100 * apart.std(ddof=1) / np.sqrt(len(both)))
    table = run(str(annotations), "--baseline", "base", "--difference", "m5", "m0", "--control", "length")
    assert re.search(rf"m5 less m0 +points.*\n *win rate +\+{found['win_rate']:.2f}", table)
    assert "LC win rate" in table
    assert f"paired over {len(both)} prompts; {60 - len(both)} prompts without an outcome of both left out" in table
    for name, models in (("first", ("m5", "m1")), ("second", ("m0", "m2"))):
        (tmp_path / f"{name}.json").write_text(json.dumps([r for r in rows if r["generator_2"] in models]))
    two = [str(tmp_path / name) for name in ("first.json", "second.json")]
    again = json.loads(run(*two, "--baseline", "base", "--difference", "m5", "m0", "--json", code=0))
    assert again["difference"] == found
    assert len(again["leaderboard"]) == 4
    for more, why in ((("m5", "m9"), "no model 'm9'"), (("m5", "base"), "'base' is the baseline")):
        with pytest.raises(InputError, match=why):
            run(str(annotations), "--baseline", "base", "--difference", *more)
    with pytest.raises(ConfigError, match="--difference needs all battles in memory"):
        run(str(annotations), "--baseline", "base", "--difference", "m5", "m0", "--stream")


def test_rates_go_out_as_alpaca_evals_leaderboard(annotations: Path, tmp_path: Path) -> None:
    out = tmp_path / "board.csv"
    more = ("--baseline", "base", "--control", "length", "--samples", "50")
    rates = json.loads(run(str(annotations), *more, "--csv", str(out), "--json"))["leaderboard"]
    head, *lines = [line.split(",") for line in out.read_text().splitlines()]
    for row, cells in zip(rates, lines, strict=True):
        told = dict(zip(head, cells, strict=True))
        assert told.pop("model") == row["model"]
        figures = {name: float(cell) for name, cell in told.items()}
        assert figures["length_controlled_winrate"] == row["lc_win_rate"]
        assert figures["n_wins"] + figures["n_wins_base"] + figures["n_draws"] == row["n_total"]
        assert figures["discrete_win_rate"] == 100 * (row["n_wins"] + row["n_draws"] / 2) / row["n_total"]
        for name in ("win_rate", "standard_error", "lc_standard_error", "avg_length"):
            assert figures[name] == row[name] is not None
        assert 0.15 < row["lc_standard_error"] / (row["lc_upper"] - row["lc_lower"]) < 0.45  # about a quarter
    board = read_leaderboard(out)
    assert {name: one.rating for name, one in board.items()} == {row["model"]: row["win_rate"] for row in rates}


def test_two_runs_with_one_baseline_are_read_as_one(tmp_path: Path) -> None:
    texts = {"base": "xxx", "one": "xxxx", "two": "xx"}
    for name, text in texts.items():
        answers = [{"instruction": f"q{n}", "output": text if n % 4 else "xxx" + "x" * n} for n in range(12)]
        (tmp_path / f"{name}.json").write_text(json.dumps(answers))
    base = ["--model", f"base=file:{tmp_path}/base.json", "--prompts", f"{tmp_path}/base.json"]
    for name in ("one", "two"):
        model = ["--model", f"{name}=file:{tmp_path}/{name}.json", "--judge", "builtin:longest"]
        done = CliRunner().invoke(whole, ["battle", *base, *model, "--out", f"{tmp_path}/run-{name}"])
        assert done.exit_code == 0, done.output
    runs = [f"{tmp_path}/run-{name}" for name in ("one", "two")]
    found = json.loads(run(*runs, "--baseline", "base", "--difference", "one", "two", "--json", code=0))
    assert [(row["model"], row["win_rate"]) for row in found["leaderboard"]] == [("one", 87.5), ("two", 12.5)]
    assert (found["difference"]["win_rate"], found["difference"]["prompts"]) == (75.0, 12)
    with pytest.raises(ConfigError, match="is no run directory"):
        run(runs[0], f"{tmp_path}/base.json", "--baseline", "base")
