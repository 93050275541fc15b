from __future__ import annotations

from pathlib import Path

from arenaloop.report.documents import read_documents
from arenaloop.report.learning import learned
from arenaloop.store import Store


def read(directory: Path):
    with Store(directory / "arena.db", readonly=True) as store:
        return learned(read_documents(directory), store)


def test_the_accounting_is_that_of_the_summary_and_not_of_other_settings(recipe_run: Path) -> None:
    first, second = read(recipe_run)
    assert (first.name, first.selected, first.trained_on, first.steps, first.start) == ("SFT-I0", None, 100, 8, "base")
    assert first.counts == []
    assert first.examples == ()
    assert (second.selected, second.trained_on, second.steps, second.start) == (21, 21, 4, "SFT-I0")
    assert second.counts == [
        ("Learned from", [("teacher", 20, 20 / 21), ("SFT-I0", 1, 1 / 21)]),
        ("Rejected", [("SFT-I0", 21, 1.0)]),
        ("Prompts dropped", [("gap below k", 7, 7 / 9), ("equal texts", 2, 2 / 9)]),
        ("Rows not fit for training", [("too long", 3, 1.0)]),
    ]
    assert second.gaps is not None
    assert [(bar.label, bar.counts) for bar in second.gaps.bars] == [
        ("0", (7,)), ("1", (2,)), ("2", (0,)), ("3", (21,)),
    ]  # fmt: skip
    assert second.metrics == [("accuracy", 0.94)]


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
    assert read(recipe_run)[1].selected == 21
