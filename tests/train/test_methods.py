"""The registry of methods, and the prologue that they share: above all what identifies a training."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from arenaloop import config
from arenaloop.cli.train import train
from arenaloop.config import DPOSettings, SFTSettings
from arenaloop.errors import ConfigError
from arenaloop.models.checkpoint import checkpoint_fingerprint
from arenaloop.train.methods import METHODS, training
from arenaloop.train.run import TrainResult
from arenaloop.train.session import Job
from arenaloop.types import content_hash

CHAT = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
PAIR = {
    "prompt": [{"role": "user", "content": "a"}],
    "chosen": [{"role": "assistant", "content": "b"}],
    "rejected": [{"role": "assistant", "content": "c"}],
}


@pytest.mark.parametrize("name", METHODS)
def test_the_file_of_its_name_trains_a_method_by_its_settings(name: str) -> None:
    file, settings = import_module(f"arenaloop.train.{name}"), config.METHODS[name]
    hints = get_type_hints(file.train)
    assert (get_args(hints["job"]), hints["return"]) == ((settings,), TrainResult)
    assert (METHODS[name].settings, METHODS[name].columns) == (settings, file.COLUMNS)
    assert settings.TRAINED_ON != config.OptimSettings.TRAINED_ON
    told = f"{settings.TRAINED_ON} {train.__doc__}"
    untold = [column for form in file.COLUMNS for column in form if f"`{column}`" not in told]
    assert not untold, f"`arenaloop train --help` names no {untold}: name them in TRAINED_ON of {name}'s settings"


def test_only_what_is_read_identifies_a_row() -> None:
    assert METHODS["dpo"].read_from({**PAIR, "margin": 3, "verdicts": ["k"]}) == PAIR
    assert METHODS["dpo"].read_from({**PAIR, **CHAT}) == PAIR
    assert METHODS["sft"].read_from({**CHAT, "prompt": "x", "id": 1}) == CHAT
    given = {"prompt": PAIR["prompt"], "completion": PAIR["chosen"]}
    assert METHODS["sft"].read_from({**given, "chosen": "x"}) == given


@pytest.fixture
def keys(start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The keys of trainings that do nothing but begin."""

    def begin(job: Job[Any]) -> TrainResult:
        job.run.begin()
        return TrainResult(job.run.out, 0, 0)

    def key(method: str, row: dict[str, Any], settings: Any, seed: int = 0, **changes: Any) -> str:
        monkeypatch.setitem(METHODS, method, replace(METHODS[method], train=begin, **changes))
        training(method, start, [row], tmp_path / "out", settings, seed=seed)
        return json.loads((tmp_path / "out" / "training.json").read_text())["key"]

    return key


def test_the_key_is_of_start_rows_method_and_seed(keys: Any, start: Path) -> None:
    for method, row, settings in (("sft", CHAT, SFTSettings()), ("dpo", PAIR, DPOSettings())):
        expected = content_hash(method, checkpoint_fingerprint(start), [row], settings.method(), 3)
        assert keys(method, {**row, "note": "x"}, settings, 3) == expected
        assert keys(method, row, settings, 4) != expected


def test_a_label_that_is_read_identifies_a_training_though_no_text_differs(keys: Any) -> None:
    soft = (("prompt", "chosen", "rejected", "preference"),)
    labels = [{**PAIR, "preference": preference} for preference in (0.6, 0.9)]
    assert len({keys("dpo", row, DPOSettings()) for row in labels}) == 1
    assert len({keys("dpo", row, DPOSettings(), columns=soft) for row in [*labels, PAIR]}) == 3


def test_an_unknown_method_is_named(start: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training method 'stf' is not known \(did you mean 'sft'\?\)"):
        training("stf", start, [CHAT], tmp_path / "out", SFTSettings(), seed=0)
