"""Trackers are told what `metrics.jsonl` holds, under TRL's names, and an interrupted training goes on in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from accelerate import tracking
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from arenaloop.config import METHODS, DPOSettings, PPOSettings, SFTSettings, override, validate
from arenaloop.errors import ConfigError
from arenaloop.train.methods import training
from arenaloop.train.trackers import trl_names

ROWS = [{"prompt": f"say {word} {n}", "completion": word[::-1]} for word in ("abc", "de", "fghij") for n in range(8)]
SETTINGS = SFTSettings(
    epochs=2, batch_size=6, learning_rate=1e-3, log_every=1, checkpoint_every=2, report_to=("tensorboard",)
)


class StopHereError(Exception):
    pass


def stop(step: int, *_: object) -> None:
    if step == 5:
        raise StopHereError


def told(out: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    return {name: [(each.step, each.value) for each in events.Scalars(name)] for name in events.Tags()["scalars"]}


def lines(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_tensorboard_holds_the_metrics_of_a_resumed_training_once(start: Path, tmp_path: Path) -> None:
    with pytest.raises(StopHereError):
        training("sft", start, ROWS, tmp_path, SETTINGS, seed=0, on_step=stop)
    assert [step for step, _ in told(tmp_path)["train/loss"]] == [1, 2, 3, 4, 5]
    training("sft", start, ROWS, tmp_path, SETTINGS, seed=0)
    found, written = told(tmp_path), lines(tmp_path)
    assert [line["step"] for line in written] == [1, 2, 3, 4, 5, 6, 7, 8]
    for name, theirs in [
        ("loss", "train/loss"),
        ("token_accuracy", "train/mean_token_accuracy"),
        ("epoch", "train/epoch"),
    ]:
        assert found[theirs] == [(line["step"], pytest.approx(line[name])) for line in written]
    assert len(found) == len(written[0]) - 1, "all but the step"


def test_figures_have_the_names_that_trl_gives_them() -> None:
    line = {"step": 3, "accuracy": 0.5, "margin": 1.0, "loss": 2.0}
    assert trl_names(line, DPOSettings()) == {
        "train/rewards/accuracies": 0.5,
        "train/rewards/margins": 1.0,
        "train/loss": 2.0,
    }
    assert trl_names({"accuracy": 0.5, "gap": 1.0}, METHODS["reward_model"]()) == {
        "train/accuracy": 0.5,
        "train/margin": 1.0,
    }
    assert trl_names({"val/loss": 1.0, "objective/kl": 2.0}, PPOSettings()) == {
        "train/loss/value_avg": 1.0,
        "train/objective/kl": 2.0,
    }


def test_an_uninstalled_tracker_is_refused_before_anything_is_written(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "get_available_trackers", lambda: ["tensorboard"])
    settings = SETTINGS.model_copy(update={"report_to": ("tensorboard", "wandb")})
    with pytest.raises(ConfigError, match=r"^report_to: wandb is not installed; pip install wandb$"):
        training("sft", start, ROWS, tmp_path / "out", settings, seed=0)
    assert not (tmp_path / "out").exists()


def test_a_tracker_that_fails_is_named_once_and_stops_nothing(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no such host\nmore words")

    monkeypatch.setattr(tracking.TensorBoardTracker, "log", fail)
    notes: list[str] = []
    training("sft", start, ROWS, tmp_path, SETTINGS, seed=0, on_note=notes.append)
    assert notes == ["report_to: tensorboard fails, and is told nothing more: no such host"]
    monkeypatch.setattr(tracking.TensorBoardTracker, "start", fail)
    with pytest.raises(ConfigError, match=r"^report_to: tensorboard cannot begin: no such host$"):
        training("sft", start, ROWS, tmp_path / "new", SETTINGS, seed=0)


@pytest.mark.parametrize(
    ("text", "names"),
    [("tensorboard", ("tensorboard",)), ("[wandb, mlflow]", ("wandb", "mlflow")), ("[]", ())],
)
def test_one_or_several_are_named(text: str, names: tuple[str, ...]) -> None:
    found: Any = validate(SFTSettings, override({}, [f"report_to={text}"]), "--set")
    assert found.report_to == names
    assert found.method() == SFTSettings().method(), "what is told to whom does not change what is trained"
