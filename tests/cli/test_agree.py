from __future__ import annotations

import json
import random
import re
from pathlib import Path

import polars as pl
import pytest
import typer
from typer.testing import CliRunner
from wizard_arena import wizard_arena

from arenaloop.cli.agree import agree
from arenaloop.errors import InputError

FIGURES = ("spearman", "human_agreement", "differentiation", "average")

app = typer.Typer()
app.command()(agree)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def boards(tmp_path: Path) -> tuple[str, str]:
    ours, theirs = tmp_path / "ours.csv", tmp_path / "theirs.json"
    ours.write_text("model,rating,lower,upper\na,30,25,35\nb,20,15,24\nc,26,21,31\nd,1,0,2\n")
    rows = [
        {"model": m, "rating": r, "lower": r - 2, "upper": r + 2}
        for m, r in (("a", 30), ("b", 20), ("c", 10), ("x", 1))
    ]
    theirs.write_text(json.dumps({"leaderboard": rows}))
    return str(ours), str(theirs)


def test_the_document_has_exactly_the_promised_fields(boards: tuple[str, str]) -> None:
    document = json.loads(run(*boards, "--json"))
    ends = {f"{name}_{end}": document[f"{name}_{end}"] for name in FIGURES for end in ("lower", "upper")}
    assert document == {
        "models": 3,
        "pairs": 3,
        "reference_separated": 3,
        "spearman": pytest.approx(50.0),
        "human_agreement": pytest.approx(100 / 3),  # a above b; a and c, b and c overlap
        "differentiation": pytest.approx(100 / 3),
        "average": pytest.approx((50 + 200 / 3) / 3),
        "wrongly_separated": 0.0,
        **ends,
    }
    assert list(document) == [
        "models", "pairs", "reference_separated", *FIGURES, "wrongly_separated", *ends
    ]  # fmt: skip
    for name in FIGURES:
        assert -100 <= ends[f"{name}_lower"] <= document[name] <= ends[f"{name}_upper"] <= 100


def test_the_text_names_opposite_and_open_pairs(boards: tuple[str, str]) -> None:
    shown = run(*boards)
    assert "3 models in both" in shown
    assert "0 the other way and leaves 2 open" in shown
    assert "wrong of the pairs that both separate: 0.00" in shown
    assert re.search(r"^spearman +50\.00  +[-\d.]+ … [\d.]+$", shown, re.M)


@pytest.mark.parametrize("form", ["csv", "json"])
@pytest.mark.parametrize("rows", [23, 22])
@pytest.mark.parametrize(
    ("column", "published", "average", "without"),
    [
        (1, (98.79, 97.33, 97.63), 97.92, (98.62, 97.04, 97.40)),  # Offline-Diverse
        (2, (98.84, 98.22, 96.84), 97.97, (98.67, 98.03, 96.54)),  # Offline-Hard
    ],
)
def test_golden_a2_published_leaderboards_from_files(
    tmp_path: Path,
    column: int,
    published: tuple[float, ...],
    average: float,
    without: tuple[float, ...],
    rows: int,
    form: str,
) -> None:
    """What Arena Learning prints comes out of files as a user would write them, to the last printed digit."""
    boards = wizard_arena()
    paths = []
    for name, board in (("offline", boards[column]), ("lmsys", boards[0])):
        kept = {model: row for model, row in board.items() if rows == 23 or model != "GPT-4o"}
        table = [{"model": m, "rating": r.rating, "lower": r.lower, "upper": r.upper} for m, r in kept.items()]
        path = tmp_path / f"{name}.{form}"
        if form == "json":
            path.write_text(json.dumps({"leaderboard": table}))
        else:
            lines = [",".join(map(str, row.values())) for row in table]
            path.write_text("\n".join(["model,rating,lower,upper", *lines]) + "\n")
        paths.append(str(path))
    shown = run(*paths)
    figures = [
        float(re.findall(rf"^{name}[a-z]* +([\d.]+)", shown, re.M)[0]) for name in ("spearman", "human agr", "diff")
    ]
    assert figures == list(published if rows == 23 else without)
    pairs = rows * (rows - 1) // 2
    assert shown.startswith(f"{rows} models in both, {pairs} pairs, {225 if rows == 23 else 203} separated by B\n")
    assert f"A orders {3 - column} the other way and leaves 2 open" in shown
    if rows == 23:
        assert re.search(rf"^average +{average}", shown, re.M)


def test_no_common_model_is_an_error(boards: tuple[str, str], tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("model,rating,lower,upper\nq,1,0,2\n")
    with pytest.raises(InputError, match="no model in common"):
        run(boards[0], str(other))


def test_models_of_one_list_and_names_that_only_look_alike_are_told(boards: tuple[str, str], tmp_path: Path) -> None:
    assert "note: in A alone, not compared (1): d\nnote: in B alone, not compared (1): x\n" in run(*boards)
    other = tmp_path / "other.csv"
    other.write_text("model,rating,lower,upper\nA,3,2,4\nb ,2,1,3\nc,1,0,2\n")
    shown = run(str(other), boards[1])
    assert "1 model in both" in shown
    assert "'A' (A) and 'a' (B) look alike and are compared as different models" in shown
    assert "'b ' (A) and 'b' (B) look alike" in shown
    json.loads(run(str(other), boards[1], "--json"))  # notes are not in the way
    other.write_text("model,rating,lower,upper\nA,3,2,4\n")
    with pytest.raises(InputError, match=r"no model in common; 'A' \(A\) and 'a' \(B\) look alike"):
        run(str(other), boards[1])
    assert "note" not in run(boards[1], boards[1])


def _battles(folder: Path, seed: int, count: int = 600) -> list[dict[str, str]]:
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        a, b = rng.sample("abcde", 2)
        wins = rng.random() < 1 / (1 + 2.0 ** (ord(a) - ord(b)))
        winner = "tie" if rng.random() < 0.1 else "model_a" if wins else "model_b"
        rows.append({"prompt_id": f"p{number % 40}", "model_a": a, "model_b": b, "winner": winner})
    folder.mkdir()
    for part in range(3):
        lines = [json.dumps(row) + "\n" for row in rows[part::3]]
        (folder / f"part-{part}.jsonl").write_text("".join(lines))
    return rows


def test_battles_streamed_or_in_memory_agree_as_their_leaderboards_do(tmp_path: Path) -> None:
    """Three ways to the same figures: the boards that `rank` writes, battles in memory, and streamed from parts."""
    from arenaloop.arena.leaderboard import leaderboard

    one, other, boards = tmp_path / "one", tmp_path / "other", []
    for seed, folder in enumerate((one, other)):
        rows = _battles(folder, seed)
        table = {name: [row[name] for row in rows] for name in rows[0]}
        boards.append(str(tmp_path / f"{seed}.json"))
        Path(boards[-1]).write_text(json.dumps(leaderboard(table).to_dict()))
        pl.DataFrame(rows).write_parquet(tmp_path / f"{folder.name}.parquet")
    wanted = json.loads(run(*boards, "--json"))
    assert wanted["models"] == 5
    for pair in (
        (str(one), str(other)),
        (str(one), str(other), "--stream"),
        (str(one / "part-*.jsonl"), boards[1], "--stream"),
        (f"{tmp_path}/one.parquet", f"{tmp_path}/other.parquet"),
    ):
        found = json.loads(run(*pair, "--json"))
        assert {name: found[name] for name in wanted} == {
            name: value if value is None else pytest.approx(value, abs=1e-6) for name, value in wanted.items()
        }


def test_what_is_streamed_is_told_with_its_memory(tmp_path: Path) -> None:
    _battles(tmp_path / "one", 0)
    pair = (str(tmp_path / "one"), str(tmp_path / "one"), "--stream")
    result = CliRunner().invoke(app, list(pair), catch_exceptions=False)
    told = " ".join(result.stderr.split())
    assert told.count("streamed 600 battles of 3 parts, 5 models") == 2
    assert "at most" in told
    assert "600 battles, rated as rank does" in result.stdout


def test_battles_in_an_object_store(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    _battles(tmp_path / "one", 0)
    store = fsspec.filesystem("memory")
    for part in sorted((tmp_path / "one").iterdir()):
        store.pipe(f"/agree/{part.name}", part.read_bytes())
    local = json.loads(run(str(tmp_path / "one"), str(tmp_path / "one"), "--json"))
    assert json.loads(run("memory://agree", str(tmp_path / "one"), "--json")) == pytest.approx(local, abs=1e-6)


@pytest.mark.parametrize("controlled", [True, False])
def test_a_table_of_winrate_is_read(tmp_path: Path, controlled: bool) -> None:
    def row(name: str, raw: float, lc: float | None, *flags: str) -> dict[str, object]:
        ends = (None, None) if lc is None else (lc - 1, lc + 1)
        return {"model": name, "win_rate": raw, "lower": raw - 1, "upper": raw + 1, "lc_win_rate": lc,
                "lc_lower": ends[0], "lc_upper": ends[1], "standard_error": 0.5, "flags": flags}  # fmt: skip

    rows = [row("base", 50.0, 50.0 if controlled else None, "baseline")]
    rows += [row(name, raw, lc if controlled else None) for name, raw, lc in (("a", 30.0, 10.0), ("b", 20.0, 20.0))]
    (tmp_path / "wr.json").write_text(json.dumps({"baseline": "base", "leaderboard": rows, "notes": []}))
    (tmp_path / "theirs.csv").write_text("model,rating,lower,upper\na,9,8,10\nb,21,20,22\nbase,50,49,51\n")
    document = json.loads(run(str(tmp_path / "wr.json"), str(tmp_path / "theirs.csv"), "--json"))
    assert (document["models"], document["human_agreement"]) == (3, 100.0 if controlled else pytest.approx(100 / 3))
    told = run(str(tmp_path / "wr.json"), str(tmp_path / "theirs.csv"))
    assert ("lc_win_rate, the length-controlled rate, is the rating" in told) is controlled
    assert ("win_rate is the rating, as no model has" in told) is not controlled


def test_of_a_list_without_intervals_spearman_alone_is_known(boards: tuple[str, str], tmp_path: Path) -> None:
    bare = tmp_path / "elo.csv"
    bare.write_text("model,rating,votes\na,1100,5\nb,1000,9\nc,1050,1\nd,900,2\n")
    told = json.loads(run(boards[0], str(bare), "--json"))
    assert told["spearman"] == pytest.approx(100.0)
    unknown = ("reference_separated", "human_agreement", "average", "wrongly_separated", "spearman_lower")
    assert [told[name] for name in unknown] == [None] * 5
    assert told["differentiation"] == pytest.approx(400 / 6)
    assert told["differentiation_lower"] < told["differentiation"]
    told = json.loads(run(str(bare), boards[0], "--json"))
    assert (told["spearman"], told["differentiation"], told["human_agreement"]) == (pytest.approx(100.0), None, None)
    assert told["reference_separated"] == 4
    shown = run(boards[0], str(bare))
    assert "note: not known without intervals, of which B has none: human agreement, average" in shown
    assert "separate" not in shown


def test_the_column_of_the_rating_may_be_named(boards: tuple[str, str], tmp_path: Path) -> None:
    bare = tmp_path / "elo.csv"
    bare.write_text("model,rating,votes\na,1100,5\nb,1000,9\nc,1050,1\n")
    assert json.loads(run(boards[0], str(bare), "--rating", "votes", "--json"))["spearman"] == pytest.approx(-50.0)
    with pytest.raises(InputError, match=r"neither .*ours.csv nor .*theirs.json is a list with a column elo"):
        run(*boards, "--rating", "elo")
