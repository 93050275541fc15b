from __future__ import annotations

import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from arenaloop.arena.board import Leaderboard
from arenaloop.arena.leaderboard import leaderboard
from arenaloop.errors import ConfigError, InputError
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bootstrap import bootstrap
from arenaloop.ratings.bradley_terry import fit
from arenaloop.terminal import plain
from arenaloop.types import Battle


def columns(**changes: object) -> dict:
    rng = np.random.default_rng(3)
    rows: dict = {"model_a": [], "model_b": [], "winner": [], "prompt_id": []}
    names, strength = ["alpha", "beta", "gamma"], np.array([0.8, 0.0, -0.8])
    for t in range(600):
        i, j = rng.choice(3, 2, replace=False)
        rows["model_a"].append(names[i])
        rows["model_b"].append(names[j])
        p = 1 / (1 + np.exp(strength[j] - strength[i]))
        rows["winner"].append("tie" if rng.random() < 0.1 else "model_a" if rng.random() < p else "model_b")
        rows["prompt_id"].append(f"p{t % 150}")
    return {**rows, **changes}


def test_the_document_has_exactly_the_promised_fields() -> None:
    document = json.loads(leaderboard(columns()).to_json())
    assert list(document) == [
        "method", "interval", "level", "cluster", "battles", "ties", "skipped", "notes", "leaderboard",
        "tie_rule", "tiers", "differences", "seat", "cycles", "rank_percentiles", "flags",
    ]  # fmt: skip
    assert (document["method"], document["interval"], document["level"]) == ("bt", "sandwich", 0.95)
    assert (document["cluster"], document["battles"], document["skipped"]) == ("prompt", 600, 0)
    assert document["ties"] == columns()["winner"].count("tie")
    rows = document["leaderboard"]
    assert [row["model"] for row in rows] == ["alpha", "beta", "gamma"]
    assert [row["rank"] for row in rows] == [1, 2, 3]
    for row in rows:
        promised = ["rank", "model", "rating", "lower", "upper", "battles", "win_rate"]
        assert list(row) == [*promised, "rank_lower", "rank_upper", "tier"]
        assert row["rank_lower"] <= row["rank"] <= row["rank_upper"]
        assert row["lower"] < row["rating"] < row["upper"]
    assert sum(row["battles"] for row in rows) == 1200
    assert np.mean([row["rating"] for row in rows]) == pytest.approx(1000)


def test_golden_bt1_from_rows() -> None:
    rows = (
        [("A", "B", "model_a")] * 6
        + [("A", "B", "model_b")] * 4
        + [("A", "C", "model_a")] * 7
        + [("A", "C", "tie")] * 2
        + [("A", "C", "model_b")]
        + [("C", "B", "model_b")] * 6
        + [("B", "C", "tie (bothbad)")]
        + [("B", "C", "model_b")] * 3
    )
    a, b, winner = zip(*rows, strict=True)
    board = leaderboard({"model_a": a, "model_b": b, "winner": winner}, anchor=("C", 1100.0))
    assert [board[name].rating for name in "ABC"] == pytest.approx([1315.187, 1226.699, 1100], abs=1e-3)
    assert (board["C"].lower, board["C"].upper) == (1100, 1100)
    assert board["A"].win_rate == pytest.approx(14 / 20)
    assert board.cluster == "battle"
    assert "every battle as independent" in " ".join(board.notes)


def test_order_of_rows_does_not_matter() -> None:
    rows = columns()
    back = {name: values[::-1] for name, values in rows.items()}
    one, two = leaderboard(rows), leaderboard(back)
    for row in one.rows:
        assert two[row.model].rating == pytest.approx(row.rating, abs=1e-9)
        assert two[row.model].lower == pytest.approx(row.lower, abs=1e-9)


def test_battle_records_are_rated_too() -> None:
    rows = columns()
    records = [
        Battle(p, a, b, w, 1.0, 0.0, False, "judge", ())
        for a, b, w, p in zip(*(rows[c] for c in ("model_a", "model_b", "winner", "prompt_id")), strict=True)
    ]
    assert leaderboard(records).to_dict() == leaderboard(rows).to_dict()


def test_unknown_outcomes_are_skipped_not_ties() -> None:
    rows = columns()
    clean = leaderboard(rows)
    for name, value in (("model_a", "alpha"), ("model_b", "gamma"), ("winner", "error"), ("prompt_id", "p0")):
        rows[name] = [*rows[name], value, value if name != "winner" else None]
    board = leaderboard(rows)
    assert board.skipped == 2
    assert board.ties == clean.ties
    assert board["alpha"].rating == clean["alpha"].rating


@pytest.mark.parametrize(
    ("rows", "note", "unrated"),
    [
        ([("a", "b", "model_a")] * 4, "a won every battle, b lost every battle", []),
        ([("a", "b", "model_a"), ("a", "b", "model_b"), ("c", "d", "tie")], "2 groups that never met", []),
        ([("a", "a", "tie"), ("b", "c", "tie")], "1 battle of a model against itself left out", ["a"]),
        ([("a", "b", "tie")], "only one battle", []),
        ([("a", "a", "tie")], "a met nobody", ["a"]),
        ([], "", []),
    ],
)
def test_what_cannot_be_rated_is_noted_and_never_nan(rows: list, note: str, unrated: list) -> None:
    a, b, winner = ([row[i] for row in rows] for i in range(3))
    board = leaderboard({"model_a": a, "model_b": b, "winner": winner})
    assert note in " | ".join(board.notes)
    assert "NaN" not in board.to_json()
    assert [row.model for row in board.rows if row.rating is None] == unrated
    for row in board.rows:
        if row.rating is not None:
            lower = -np.inf if row.lower is None else row.lower
            upper = np.inf if row.upper is None else row.upper
            assert lower < row.rating < upper


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"anchor": ("alpah", 1100.0)}, "did you mean 'alpha'"),
        ({"method": "glicko"}, "method must be bt or elo"),
        ({"interval": "jackknife"}, "interval must be sandwich or bootstrap"),
        ({"cluster": "judge"}, "cluster must be prompt, voter or battle"),
        ({"level": 95}, "level must lie strictly between 0 and 1"),
    ],
)
def test_impossible_settings_are_user_errors(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        leaderboard(columns(), **settings)


def test_missing_columns_are_named_with_what_was_found() -> None:
    with pytest.raises(InputError, match=r"missing column model_b, winner \(found: model_a, opponent\)"):
        leaderboard({"model_a": ["x"], "opponent": ["y"]})


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_bad_weights_are_refused(weight: float) -> None:
    rows = columns()
    with pytest.raises(InputError, match="row 1: column weight: "):
        leaderboard({**rows, "weight": [weight] + [1.0] * 599})


def test_hostile_names_cannot_reach_the_terminal() -> None:
    evil = "\x1b[31mevil\x07\u202egnp[bold]x[/bold]"
    rows = columns()
    rows["model_a"] = [evil if name == "alpha" else name for name in rows["model_a"]]
    rows["model_b"] = [evil if name == "alpha" else name for name in rows["model_b"]]
    console = Console(width=120, file=open("/dev/null", "w"), record=True)  # noqa: SIM115
    console.print(leaderboard(rows).table())
    shown = console.export_text()
    assert not any(c in shown for c in "\x1b\x07\u202e")
    assert "\\x1b[31mevil\\x07\\u202egnp[bold]x[/bold]" in shown.replace("\n", "")


def test_plain_keeps_ordinary_names() -> None:
    assert plain("Llama-3 70B é 模型") == "Llama-3 70B é 模型"


ROW = st.tuples(
    st.sampled_from("abcd"),
    st.sampled_from("abcd"),
    st.sampled_from(["model_a", "model_a", "model_b", "tie", "error", None]),
    st.sampled_from([1, 2, 3, None]),
    st.sampled_from([0.0, 1.0, 2.5]),
    st.sampled_from([0, 10, 500, None]),
)


@given(st.lists(ROW, max_size=14), st.sampled_from(["sandwich", "bootstrap", "elo", "length"]), st.booleans())
def test_whatever_battles_come_the_board_is_whole(rows: list, how: str, by_prompt: bool) -> None:
    names = ("model_a", "model_b", "winner", "prompt_id", "weight", "length_a")
    table = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    table["length_b"] = [20] * len(rows)
    settings: dict = {"cluster": "prompt" if by_prompt else "battle", "samples": 12}
    settings |= {"interval": how} if how in ("sandwich", "bootstrap") else {}
    settings |= {"method": "elo"} if how == "elo" else {"controls": ["length"]} if how == "length" else {}
    if rows and not any(table["weight"]):
        with pytest.raises(InputError, match="all weights are 0"):
            leaderboard(table, **settings)
        return
    try:
        board = leaderboard(table, **settings)
    except ConfigError as error:
        # the only two refusals: resamples that fall apart, and a control that no battle has
        assert ("keep losing the connection" in str(error)) or ("no battle has a known length" in str(error))  # noqa: PT017
        return
    document = json.loads(board.to_json())  # to_json refuses NaN
    assert sorted(row["model"] for row in document["leaderboard"]) == sorted({*table["model_a"], *table["model_b"]})
    assert document["battles"] + document["skipped"] == len(rows)
    for row in document["leaderboard"]:
        lower, rating, upper = row["lower"], row["rating"], row["upper"]
        if how != "bootstrap":
            assert lower is None or lower <= rating
            assert upper is None or rating <= upper
        if rating is None:
            assert lower is upper is None
        elif lower is None or upper is None:
            assert row["model"] in " ".join(document["notes"])
        counted = [
            r for r in rows if row["model"] in r[:2] and r[0] != r[1] and r[2] not in ("error", None) and r[4] > 0
        ]
        assert (row["win_rate"] is None) == (not counted)
    Console(file=io.StringIO(), width=80).print(board.table(width=80))


def test_no_battles_at_all_are_said() -> None:
    board = leaderboard({"model_a": [], "model_b": [], "winner": []})
    assert (board.rows, board.notes) == ((), ("no battle could be rated",))


def test_a_champion_is_shown_with_one_end_and_the_others_with_two() -> None:
    rows = columns()
    for t in range(60):
        for name, value in (
            ("model_a", "champion"),
            ("model_b", ("alpha", "beta", "gamma")[t % 3]),
            ("winner", "model_a"),
            ("prompt_id", f"p{t}"),
        ):
            rows[name] = [*rows[name], value]
    board = leaderboard(rows)
    document = json.loads(board.to_json())
    champion, *others = document["leaderboard"]
    assert champion["model"] == "champion"
    assert champion["upper"] is None
    assert champion["lower"] < champion["rating"]
    assert all(row["lower"] < row["rating"] < row["upper"] for row in others)
    assert np.mean([row["rating"] for row in others]) == pytest.approx(1000)  # of those the battles place
    assert "the interval of champion is one-sided, open above" in " ".join(document["notes"])
    shown = _text(board)
    assert f"{champion['lower']:.0f} … open" in shown
    assert "→" in shown
    anchored = leaderboard(rows, anchor=("champion", 0.0))
    assert [(row.lower is None, row.upper is None) for row in anchored.rows] == [(False, False), *[(True, False)] * 3]
    assert f"open … {anchored['beta'].upper:.0f}" in _text(anchored)
    assert "←" in _text(anchored)


def _text(board: Leaderboard) -> str:
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(board.table(width=120))
    return console.export_text()


def test_elo_that_has_not_settled_is_said_beside_what_the_fit_has() -> None:
    few = {"model_a": ["x"] * 60, "model_b": ["y"] * 60, "winner": ["model_a"] * 52 + ["model_b"] * 8}
    (note,) = [note for note in leaderboard(few, method="elo", samples=20).notes if "settled" in note]
    assert "by Bradley–Terry 325," in note  # 400 log10(52 / 8)
    assert "a model wants about 519 battles, the fewest here are 60" in note
    many = {name: cells * 50 for name, cells in few.items()}
    assert not any("settled" in note for note in leaderboard(many, method="elo", samples=20).notes)
    even = few | {"winner": ["model_a"] * 30 + ["model_b"] * 30}
    assert not any("settled" in note for note in leaderboard(even, method="elo", samples=20).notes)


def test_the_papers_procedure_takes_medians_and_plain_percentiles() -> None:
    """Arena Learning, section 3.1: 100 bootstraps of battles, the median, 2.5 and 97.5 percent, an anchor."""
    table = Battles.from_columns(columns())
    paper = {"interval": "bootstrap", "samples": 100, "cluster": "battle", "anchor": ("gamma", 1100.0)}
    board = leaderboard(table, score="median", **paper)  # type: ignore[arg-type]
    plain_board = leaderboard(table, **paper)  # type: ignore[arg-type]
    draws = bootstrap(table, fit(table), samples=100, cluster="battle").draws
    for at, name in enumerate(table.models):
        rows = 1100.0 + 400.0 / np.log(10.0) * (draws[:, at] - draws[:, table.models.index("gamma")])
        row = board[name]
        assert row.rating == pytest.approx(np.median(rows))
        assert (row.lower, row.upper) == pytest.approx(tuple(np.quantile(rows, [0.025, 0.975])), abs=1.5)
        assert (row.lower, row.upper) == (plain_board[name].lower, plain_board[name].upper)
        assert row.estimate == plain_board[name].rating
        assert plain_board[name].estimate is None
    assert list(board.to_dict()["leaderboard"][0])[2:4] == ["rating", "estimate"]
    assert "ratings are the medians of 100 resamples" in board.notes


def test_a_median_needs_resamples() -> None:
    with pytest.raises(ConfigError, match="score median is that of a bootstrap"):
        leaderboard(columns(), score="median")
    with pytest.raises(ConfigError, match="score must be estimate or median"):
        leaderboard(columns(), score="mode")
