from __future__ import annotations

import json
from pathlib import Path

from arenaloop.report.documents import read_documents
from arenaloop.report.learning import Learned, learned


def read(directory: Path) -> list[Learned]:
    return learned(read_documents(directory))


def test_the_accounting_is_that_of_the_summary_and_not_of_other_settings(recipe_run: Path) -> None:
    first, second = read(recipe_run)
    assert first.name == "SFT-I0"
    assert first.notes == ["trained on 100 demonstrations in 8 steps, starting from base."]
    assert first.shares == []
    assert first.examples == ()
    assert second.notes == ["21 rows selected from battles; trained on 21 rows in 4 steps, starting from SFT-I0."]
    assert [(one.title, one.rows) for one in second.shares] == [
        ("Learned from", [("teacher", 20, 20 / 21), ("SFT-I0", 1, 1 / 21)]),
        ("Rejected", [("SFT-I0", 21, 1.0)]),
        ("Prompts dropped", [("gap below k", 7, 7 / 9), ("equal texts", 2, 2 / 9)]),
        ("Rows not fit for training", [("too long", 3, 1.0)]),
    ]
    ((_, gaps),) = second.histograms
    assert [(bar.label, bar.counts) for bar in gaps.bars] == [
        ("0", (7,)), ("1", (2,)), ("2", (0,)), ("3", (21,)),
    ]  # fmt: skip
    assert [(one.title, one.rows) for one in second.tables] == [("At the end of training", [["accuracy", 0.94]])]


def test_a_stage_may_have_charts_and_tables_of_any_kind(recipe_run: Path) -> None:
    path = recipe_run / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8"))
    summary["tables"] = [{"title": "t", "stage": "SFT-I0", "columns": ["a", "b", "c"], "rows": [["x", 1, None]]}]
    series = [{"name": "s", "points": [{"x": 1, "value": 0.5}]}]
    summary["curves"] = [{"title": "c", "stage": "SFT-I0", "series": series}]
    path.write_text(json.dumps(summary), encoding="utf-8")
    first, second = read(recipe_run)
    assert [one.title for one in first.tables] == ["t"]
    assert [one.title for one in first.charts] == ["c"]
    assert (second.tables, second.charts, second.notes) == ([], [], ["trained on 21 rows."])


def test_a_directory_of_the_first_version_shows_what_it_has(recipe_run: Path) -> None:
    path = recipe_run / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8"))
    for key in ("prose", "tables", "curves"):
        del summary[key]
    path.write_text(json.dumps(summary), encoding="utf-8")
    first, second = read(recipe_run)
    assert (first.notes, second.notes) == (["trained on 100 rows."], ["trained on 21 rows."])
    assert len(second.examples) == 3


def test_examples_are_drawn_and_stay_the_same(recipe_run: Path) -> None:
    examples = read(recipe_run)[1].examples
    assert len(examples) == 3
    assert len({e.prompt_id for e in examples}) == 3
    for example in examples:
        i = example.prompt_id.removeprefix("id")
        assert [(role, text.head) for role, text in example.turns] == [("user", f"pool {i}")]
        assert [(heading, turns[0][1].head) for heading, turns in example.columns] == [
            ("chosen: teacher", f"better {i}"),
            ("rejected: SFT-I0", f"worse {i}"),
        ]
        assert example.margin == 3.0
    assert read(recipe_run)[1].examples == examples


def test_a_broken_or_missing_data_file_costs_only_the_examples(recipe_run: Path) -> None:
    path = recipe_run / "data" / "DPO-I1.jsonl"
    path.write_text("nonsense\n", encoding="utf-8")
    assert read(recipe_run)[1].examples == []
    path.unlink()
    assert read(recipe_run)[1].examples == ()
    assert read(recipe_run)[1].notes[0].startswith("21 rows selected from battles;")
