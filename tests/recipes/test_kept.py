"""A directory's trainings of other settings move aside and come back; none is lost, finished or not."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from arenaloop.errors import StorageError
from arenaloop.models.kept_checkpoint import make_room, move_checkpoint
from arenaloop.recipes.kept import keep_settings, kept_checkpoints, kept_table

ONE, OTHER = "a" * 32, "b" * 32


def trained(folder: Path, key: str, **more: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "training.json").write_text(json.dumps({"key": key, "settings": {}, "rows": 3, **more}))
    (folder / "weights").write_text(key)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoints" / "SFT-I0"
    trained(folder, ONE, result={})
    return folder


def test_a_training_finds_what_it_left(out: Path) -> None:
    assert make_room(out, ONE) is None
    assert make_room(out.with_name("DPO-I1"), OTHER) is None  # nothing stands there
    keep_settings(out, {"k_sft": [1.0], "name": "x", "sft": {"epochs": 2}}, {"rows": 3, "steps": 5})
    told = make_room(out, OTHER)
    assert told == f"SFT-I0: what was trained there with other settings is kept in {out}.aaaaaaaa"
    assert not out.exists()
    trained(out, OTHER)  # not finished
    keep_settings(out, {"k_sft": [1.0], "name": "y", "sft": {"epochs": 1}}, {"rows": 3})
    (kept,) = kept_checkpoints(out.parent.parent)
    assert (kept.stage, kept.finished, kept.result) == ("SFT-I0", True, {"rows": 3})
    assert kept.differs == (("sft.epochs", 2, 1),)  # what decides nothing is not told
    back = make_room(out, ONE)
    assert back is not None
    assert back.endswith("; what was trained with these stands there again")
    assert (out / "weights").read_text() == ONE
    (other,) = kept_checkpoints(out.parent.parent)
    assert (other.path.name, other.finished) == ("SFT-I0.bbbbbbbb", False)
    (table,) = kept_table(out.parent.parent)
    assert table["rows"][0][1:] == ["checkpoints/SFT-I0.bbbbbbbb", "not finished", 3, "sft.epochs: 1, now 2"]


def test_settings_of_trainings_tell_where_the_recipe_does_not(out: Path) -> None:
    trained(out.with_name("SFT-I0.bbbbbbbb"), OTHER, settings={"beta": 0.1})
    trained(out, ONE, settings={"beta": 0.1})
    assert kept_table(out.parent.parent)[0]["rows"][0][-1] == "the same; what it starts from or learns from is other"
    trained(out.with_name("odd.name"), "other")  # nobody's
    assert len(kept_checkpoints(out.parent.parent)) == 1


def test_adapters_follow_the_model_that_they_belong_to(out: Path) -> None:
    config = out.with_name("DPO-I1") / "adapter_config.json"
    for base in (out, Path(os.path.relpath(out))):
        config.parent.mkdir(exist_ok=True)
        config.write_text(json.dumps({"base_model_name_or_path": str(base), "r": 8}))
        make_room(out, OTHER)
        assert json.loads(config.read_text()) == {"base_model_name_or_path": f"{out}.aaaaaaaa", "r": 8}
        make_room(out, ONE)
        assert json.loads(config.read_text())["base_model_name_or_path"] == str(out)


def test_what_cannot_be_moved_is_said(out: Path) -> None:
    trained(out.with_name("SFT-I0.aaaaaaaa"), ONE)
    with pytest.raises(StorageError, match="cannot be moved"):
        make_room(out, OTHER)
    assert (out / "weights").read_text() == ONE


def test_how_a_run_is_run_and_an_adopted_model_are_not_blamed_on_settings(out: Path) -> None:
    run = out.parent.parent
    plain = {"launch": None, "rating": {"anchor": None}, "elsewhere": [], "human": {"usd": 0.3}, "sft": {"epochs": 1}}
    keep_settings(out, plain, {})
    make_room(out, OTHER)
    trained(out, OTHER)
    (out / "stage.json").write_text(json.dumps({"settings": {"launch": {"nnodes": 2}, "sft": {"epochs": 2}}}))
    (table,) = kept_table(run)
    assert table["rows"][0][-1] == "sft.epochs: 1, now 2"
    assert "adopted" not in table["note"]
    (out / "adopted.json").write_text("{}")
    (table,) = kept_table(run)
    assert table["rows"][0][-1] == 'made by: "this run", now "another trainer (adopted)"'
    assert table["note"].endswith("; where an adopted model stands, once that is removed.")
    further = out.with_name(f"{out.name}.{'c' * 8}")
    trained(further, "c" * 64)
    (further / "stage.json").write_text(json.dumps({"settings": {"sft": {"epochs": 3}}}))
    (table,) = kept_table(run)
    assert [row[-1].partition("; ")[2] for row in table["rows"]] == ["sft.epochs: 1", "sft.epochs: 3"]


def test_adapters_follow_an_adopted_model_that_is_replaced(out: Path, tmp_path: Path) -> None:
    config = out.with_name("DPO-I1") / "adapter_config.json"
    config.parent.mkdir()
    config.write_text(json.dumps({"base_model_name_or_path": str(out)}))
    (tmp_path / "link").symlink_to(out.parent)
    move_checkpoint(tmp_path / "link" / out.name, tmp_path / "link" / "SFT-I0.replaced-1")
    told = json.loads(config.read_text())["base_model_name_or_path"]
    assert Path(told).resolve() == out.with_name("SFT-I0.replaced-1")
