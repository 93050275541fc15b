from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from rank_command import app, run
from typer.testing import CliRunner

from arenaloop.errors import ConfigError, InputError, MissingExtraError


def test_json_is_one_document(battles: Path) -> None:
    document = json.loads(run(str(battles), "--json"))
    assert document["battles"] == 400
    assert document["cluster"] == "prompt"
    assert [row["model"] for row in document["leaderboard"]] == ["m0", "m1", "m2", "m3"]


def test_the_table_shows_every_model_and_how_it_was_rated(battles: Path) -> None:
    shown = run(str(battles))
    for text in ("m0", "m3", "95 % interval", "●", "400 battles", "clustered by prompt"):
        assert text in shown


@pytest.mark.parametrize("method", ["bt", "elo"])
def test_anchor_bootstrap_and_elo(battles: Path, method: str) -> None:
    arguments = ["--method", method, "--interval", "bootstrap", "--samples", "50", "--anchor", "m2=1100", "--json"]
    document = json.loads(run(str(battles), *arguments))
    anchor = next(row for row in document["leaderboard"] if row["model"] == "m2")
    assert (anchor["rating"], anchor["lower"], anchor["upper"]) == pytest.approx((1100, 1100, 1100))
    assert (document["method"], document["interval"]) == (method, "bootstrap")
    assert document["leaderboard"][0]["model"] == "m0"


def test_control_prints_a_coefficient_that_freezes(battles: Path) -> None:
    document = json.loads(run(str(battles), "--control", "length", "--json"))
    effect = document["coefficients"]["length"]
    assert effect["lower"] < effect["value"] < effect["upper"]
    assert effect["lower"] > 0
    frozen = json.loads(run(str(battles), "--control", f"length={effect['value']}:{effect['scale']}", "--json"))
    assert frozen["coefficients"]["length"]["frozen"]
    ratings = [[row["rating"] for row in one["leaderboard"]] for one in (document, frozen)]
    assert ratings[0] == pytest.approx(ratings[1], abs=1e-6)
    assert "nats per standard deviation" in run(str(battles), "--control", "length").replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["--anchor", "m9=1000"], ConfigError, "anchor 'm9' is not in the data"),
        (["--anchor", "m1"], ConfigError, "NAME=VALUE"),
        (["--method", "glicko"], ConfigError, "bt or elo"),
        (["--control", "tone"], InputError, "missing column tone_a, tone_b"),
        (["--control", "length", "--interval", "bootstrap"], ConfigError, "interval sandwich"),
        (["--plot", "board.gif"], ConfigError, r"\.png, \.svg or \.pdf"),
    ],
)
def test_what_cannot_be_is_a_user_error(battles: Path, arguments: list[str], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        run(str(battles), *arguments)


def test_a_plot_without_matplotlib_names_the_extra(
    battles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(MissingExtraError, match=r"arenaloop\[plot\]"):
        run(str(battles), "--plot", str(tmp_path / "board.png"))


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_plot_is_written(battles: Path, tmp_path: Path, ending: str) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"board.{ending}"
    run(str(battles), "--plot", str(path))
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending]
    assert path.read_bytes().startswith(start)
    assert path.stat().st_size > 3000


def test_a_length_that_the_models_themselves_tell_has_no_interval(tmp_path: Path) -> None:
    path = tmp_path / "same.csv"
    rows = "".join(f"x,y,{('model_a', 'model_b', 'tie')[i % 3]},{i},5,6\n" for i in range(30))
    path.write_text("model_a,model_b,winner,prompt_id,length_a,length_b\n" + rows)
    document = json.loads(run(str(path), "--control", "length", "--json"))
    assert document["coefficients"]["length"]["lower"] is None
    assert any("length cannot be told from the models" in note for note in document["notes"])
    assert "no interval" in " ".join(run(str(path), "--control", "length").split())


# ---------------------------------------------------------------------- battles without an outcome


def write_battles(path: Path, *told: tuple[str, str, str | None, int]) -> Path:
    rows = [
        {"model_a": a, "model_b": b, "winner": winner, "prompt_id": f"{a}{b}{winner}{n}"}
        for a, b, winner, times in told
        for n in range(times)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_an_order_that_hangs_on_unknown_outcomes_is_3_and_said(tmp_path: Path) -> None:
    """Two of three against one of three, and one unknown: lost, it would be even, and won by the other it is turned."""
    told = write_battles(
        tmp_path / "b.jsonl", ("x", "y", "model_a", 40), ("x", "y", "model_b", 39), ("x", "y", None, 2)
    )
    result = CliRunner().invoke(app, [str(told), "--json"], catch_exceptions=False)
    assert result.exit_code == 3
    document = json.loads(result.stdout)
    assert (document["undecided"], document["order_depends_on_undecided"], document["skipped"]) == (2, True, 2)
    first = document["leaderboard"][0]
    assert (first["model"], first["undecided"], first["undecided_share"]) == ("x", 2, 2 / 81)
    # by hand: half of 400 log10 of the odds, 40 to 41 at worst and 42 to 39 at best
    assert first["worst"] == pytest.approx(1000 + 200 * np.log10(40 / 41))
    assert first["best"] == pytest.approx(1000 + 200 * np.log10(42 / 39))
    shown = CliRunner().invoke(app, [str(told)], catch_exceptions=False)
    assert shown.exit_code == 3
    assert "the order depends on undecided battles: x is #1, #2 with its 2 lost" in " ".join(shown.stdout.split())


def test_an_order_that_holds_whatever_they_were_is_0(tmp_path: Path) -> None:
    told = write_battles(
        tmp_path / "b.jsonl", ("x", "y", "model_a", 60), ("x", "y", "model_b", 30), ("x", "y", None, 2)
    )
    document = json.loads(run(str(told), "--json"))
    assert (document["undecided"], document["order_depends_on_undecided"]) == (2, False)
    assert not any("depends" in note for note in document["notes"])


def test_a_policy_is_that_of_a_run_directory(battles: Path, tmp_path: Path) -> None:
    other = battles.rename(tmp_path / "other.jsonl")
    for arguments, says in (
        ([str(other), "--own-failure", "drop"], "goes with a run directory"),
        ([str(other), "--own-failure", "win"], "must be loss or drop, not 'win'"),
    ):
        with pytest.raises(ConfigError, match=says):
            CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.fixture
def votes(tmp_path: Path) -> Path:
    rng = np.random.default_rng(2)
    rows = []
    for t in range(600):
        a, b = rng.choice(4, 2, replace=False)
        won = rng.random() < 1 / (1 + np.exp(-0.8 * (b - a)))
        winner = "tie" if rng.random() < 0.15 else "model_a" if won else "model_b"
        rows.append(
            {"model_a": f"m{a}", "model_b": f"m{b}", "winner": winner, "voter_id": f"v{t % 60}",
             "language": "en" if t < 580 else "\x1b[31mfr"}
        )  # fmt: skip
    path = tmp_path / "votes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_what_the_order_is_worth_fits_eighty_columns(votes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = run(str(votes), "--by", "language")
    assert max(map(len, shown.splitlines())) <= 80
    for text in ("ranks", "tier", "all at once", "to separate, about", "first seat:", "triads run in a circle"):
        assert text in shown
    assert "clustered by voter" in " ".join(shown.split())
    assert "language: en" in shown
    assert "no board of language \\x1b[31mfr (20 battles" in shown


def test_of_hundreds_of_thin_parts_the_largest_are_named(tmp_path: Path) -> None:
    """All of them are in the document; nine are named one by one, as eight and one more would be no shorter."""
    for parts, named in ((9, 9), (40, 8)):
        rows = [{"model_a": "m", "model_b": "n", "winner": ("model_a", "model_b")[i % 2], "prompt_id": i,
                 "cluster": f"c{i % parts:02}"} for i in range(200)]  # fmt: skip
        path = tmp_path / f"{parts}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        shown = " ".join(run(str(path), "--by", "cluster").split())
        assert shown.count("fewer than 30") == named
        assert ("; and of 32 more (--json names all)" in shown) is (parts == 40)
        assert len(json.loads(run(str(path), "--by", "cluster", "--json"))["by"]["boards"]) == parts


def test_a_narrow_terminal_keeps_the_places_of_neighbours(votes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    shown = run(str(votes))
    assert "places  apart  all at once" in shown
    first = next(line for line in shown.splitlines() if line.startswith("1 – 2"))
    assert first.rstrip().endswith(("separated", "voters more"))  # nothing is cut


def test_long_names_take_the_place_of_tiers_and_places(votes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = votes.read_text()
    for code in range(4):
        text = text.replace(f'"m{code}"', f'"claude-3-5-sonnet-2024102{code}-think"')
    votes.write_text(text)
    shown = run(str(votes))
    header = shown.splitlines()[0]
    assert header.startswith("ranks")
    assert "tier" not in header
    assert max(map(len, shown.splitlines())) <= 80


def test_the_document_holds_slices_and_the_rule_for_ties(votes: Path) -> None:
    document = json.loads(run(str(votes), "--by", "language", "--ties", "davidson", "--json"))
    assert document["tie_rule"] == "davidson"
    assert document["cluster"] == "voter"
    assert document["by"]["column"] == "language"
    english, french = document["by"]["boards"]
    assert english["battles"] == 580
    assert english["leaderboard"][0]["rank_lower"] == 1
    assert "reason" in french
    dropped = json.loads(run(str(votes), "--ties", "drop", "--json"))
    assert dropped["ties"] + dropped["battles"] == 600
    assert dropped["differences"][0]["above"] == "m0"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ties", "half_win"], "ties must be half, davidson, rao_kupper or drop"),
        (["--ties", "davidson", "--interval", "bootstrap"], "works with method bt and interval sandwich"),
        (["--cluster", "prompt"], "carry no prompt_id"),
    ],
)
def test_rules_and_clusters_that_cannot_be_are_user_errors(votes: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(str(votes), *arguments)


# ---------------------------------------------------------------------- several files


def several(battles: Path, folder: Path) -> list[str]:
    """The battles in three parts, as a shell gives them for parts/*.jsonl."""
    folder.mkdir()
    lines = battles.read_text().splitlines(keepends=True)
    for n in range(3):
        (folder / f"p{n}.jsonl").write_text("".join(lines[n * 150 : (n + 1) * 150]))
    return [str(path) for path in sorted(folder.iterdir())]


def test_several_files_are_the_parts_of_one_table(battles: Path, tmp_path: Path) -> None:
    parts = several(battles, tmp_path / "parts")
    whole = json.loads(run(f"{tmp_path}/parts/*.jsonl", "--json"))
    assert whole["battles"] == 400
    assert json.loads(run(*parts, "--json")) == whole
    assert json.loads(run(*parts, "--control", "length", "--json"))["battles"] == 400
    streamed = json.loads(run(*parts, "--stream", "--json"))
    assert [row["model"] for row in streamed["leaderboard"]] == [row["model"] for row in whole["leaderboard"]]
    assert streamed["battles"] == 400
    for n, part in enumerate(parts):  # of runs, as files
        (tmp_path / f"run{n}").mkdir()
        Path(part).rename(tmp_path / f"run{n}" / "battles.jsonl")
    files = [str(tmp_path / f"run{n}" / "battles.jsonl") for n in range(3)]
    assert json.loads(run(*files, "--json"))["battles"] == 400


def test_files_that_do_not_go_together_are_user_errors(battles: Path, tmp_path: Path) -> None:
    parts = several(battles, tmp_path / "parts")
    there = tmp_path / "there"
    there.mkdir()
    (there / "arena.db").write_bytes(b"")
    other = tmp_path / "other.parquet"
    other.write_bytes(b"")
    for arguments, error, message in (
        ([*parts, "nowhere.jsonl"], InputError, "nowhere.jsonl: no such file"),
        ([*parts, str(there)], ConfigError, "p0.jsonl: is no run directory, and .*there is"),
        ([str(there), str(there), "--stream"], ConfigError, "--stream: run directories are read whole"),
        ([*parts, parts[0]], ConfigError, "p0.jsonl: named twice"),
        ([*parts, str(other)], InputError, "1 parts in Parquet .* beside 3 in JSONL .*'the parts of one kind'"),
        ([*parts, "--rule", "reliability"], ConfigError, "not several files"),
        ([*parts, "--own-failure", "drop"], ConfigError, "goes with a run directory"),
        ([*parts, "--stream", "--by", "x"], ConfigError, "--by needs all battles in memory"),
    ):
        with pytest.raises(error, match=message):
            run(*arguments)


def test_rows_are_chosen_by_their_columns(battles: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) | {"tag": {"odd": n % 2 == 1}} for n, line in enumerate(battles.open())]
    battles.write_text("".join(json.dumps(row) + "\n" for row in rows))
    odd = tmp_path / "odd.jsonl"
    odd.write_text("".join(json.dumps(row) + "\n" for row in rows[1::2]))
    chosen = json.loads(run(str(battles), "--where", "tag.odd=true", "--json"))
    assert chosen["where"] == ["tag.odd=true"]
    assert chosen["notes"][0] == "--where tag.odd=true: 200 of 400 rows"
    alone = json.loads(run(str(odd), "--json"))
    assert chosen["leaderboard"] == alone["leaderboard"]
    streamed = json.loads(run(str(battles), "--where", "tag.odd=true", "--stream", "--json"))
    ratings = [[row["rating"] for row in board["leaderboard"]] for board in (streamed, alone)]
    assert ratings[0] == pytest.approx(ratings[1])
    (tmp_path / "leaderboard.json").write_text("{}")  # now it is a run's
    for given in ([str(battles), "--rule", "reliability"], [str(battles)], [str(tmp_path)]):
        refused = CliRunner().invoke(app, [*given, "--where", "tag.odd=true"])
        assert isinstance(refused.exception, ConfigError)
        assert "--where" in str(refused.exception)
