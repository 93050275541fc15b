"""What a plan finds of a recipe's stages: by what decides them, wherever they stand, and never too much."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from arenaloop.recipes.observer import Observer
from arenaloop.recipes.reused import Decides, Reused
from arenaloop.recipes.stage import StageResult, Stages
from arenaloop.store import Store


def decides(**settings: str) -> Decides:
    def decide(name: str, weights: Mapping[str, str | None]) -> object:
        return [settings.get(name, ""), dict(weights)]

    return decide


def trained(folder: Path, content: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text(content)
    (folder / "training.json").write_text(json.dumps({"key": content * 16, "result": {}}))


def run(store: Store, out: Path, settings: Decides, inputs: str, contents: dict[str, str]) -> None:
    stages = Stages(store, out, Observer(), {}, settings)
    for name, content in contents.items():

        def work(name: str = name, content: str = content) -> StageResult:
            if (place := stages.checkpoint(name)).exists():
                place.rename(place.with_name(f"{name}.{inputs * 8}"))
            trained(stages.checkpoint(name), content)
            if content == "cut":
                raise KeyboardInterrupt
            return StageResult("base", rows=1, steps=1)

        stages.once(name, inputs, work)


def found(out: Path, store: Store | None, settings: Decides, *unsettled: str) -> list[str | None]:
    reused = Reused(out, store, settings)
    places = [reused.find(name, settled=name not in unsettled) for name in ("one", "two")]
    return [None if place is None else place.name for place in places]


def test_stages_are_found_by_what_decides_them(tmp_path: Path) -> None:
    with Store(tmp_path / "arena.db") as store:
        assert found(tmp_path, None, decides()) == [None, None]
        run(store, tmp_path, decides(), "a", {"one": "x", "two": "y"})
        assert found(tmp_path, None, decides()) == ["one", "two"]
        assert found(tmp_path, None, decides(two="other")) == ["one", None]
        assert found(tmp_path, None, decides(one="other")) == [None, None]  # and so all that comes after it
        assert found(tmp_path, None, decides(), "two") == ["one", None]  # its rows may change
        run(store, tmp_path, decides(one="b", two="b"), "b", {"one": "v", "two": "w"})
        assert found(tmp_path, None, decides()) == ["one.bbbbbbbb", "two.bbbbbbbb"]  # it stands aside
        (tmp_path / "checkpoints" / "one.bbbbbbbb" / "model.safetensors").unlink()
        assert found(tmp_path, None, decides()) == [None, None]


def test_a_training_that_was_cut_off_before_its_stage_is_found_by_how_the_stage_began(tmp_path: Path) -> None:
    with Store(tmp_path / "arena.db") as store:
        with pytest.raises(KeyboardInterrupt):
            run(store, tmp_path, decides(), "a", {"one": "x", "two": "cut"})
        assert found(tmp_path, store, decides()) == ["one", "two"]
        assert found(tmp_path, store, decides(two="other")) == ["one", None]
        stages = Stages(store, tmp_path, Observer(), {}, decides(two="other"))
        assert stages.made is not None
        stages.made.weights["one"] = "x"
        stages.made.begin(store, "two", stages.checkpoint("two"))  # and was cut off before it trained
        assert found(tmp_path, store, decides(two="other")) == ["one", None]
