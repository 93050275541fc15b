"""What goes to trackers of experiments: the lines of ``metrics.jsonl``, through the trackers of `accelerate`.

Figures that TRL logs too bear TRL's names, under ``train/`` as its trainers put them, so that one board shows both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from arenaloop.config import DPOSettings, OptimSettings
from arenaloop.errors import ConfigError, first_line
from arenaloop.types import content_hash

__all__ = ["Trackers", "require", "trl_names"]

PROJECT = "arenaloop"

_NAMES = {
    "token_accuracy": "mean_token_accuracy",
    "gap": "margin",
    "policy/clip_fraction": "policy/clipfrac_avg",
    "policy/policy_kl": "policy/approxkl_avg",
    "policy/entropy": "policy/entropy_avg",
    "policy/ratio": "val/ratio",
    "policy/loss": "loss/policy_avg",
    "val/loss": "loss/value_avg",
    "val/value_clip_fraction": "val/clipfrac_avg",
}
_DPO_NAMES = {"accuracy": "rewards/accuracies", "margin": "rewards/margins"}


def trl_names(figures: Mapping[str, float], settings: OptimSettings) -> dict[str, float]:
    """A line of metrics, less its step, under the names that TRL gives."""
    names = _NAMES | (_DPO_NAMES if isinstance(settings, DPOSettings) else {})
    return {f"train/{names.get(name, name)}": value for name, value in figures.items() if name != "step"}


def require(names: Sequence[str]) -> None:
    """Refuse trackers that are not installed.

    Raises:
        ConfigError: one is not.
    """
    if not names:
        return
    from accelerate.tracking import get_available_trackers

    there = {str(each) for each in get_available_trackers()}
    for name in names:
        if name not in there:
            raise ConfigError(f"report_to: {name} is not installed; pip install {name}")


class Trackers:
    """The trackers of one training, which they know by its directory; a resumed one goes on in the same run.

    MLflow begins another of the same name: it knows runs by ids of its own.

    Args:
        names: which.
        out: the training's directory; TensorBoard's files go to ``tensorboard`` in it.
        key: of the training.
        settings: told to the trackers.
        step: from which it goes on.
        note: told, once, that a tracker fails; the training goes on without it.

    Raises:
        ConfigError: one cannot begin.
    """

    def __init__(
        self, names: Sequence[str], out: Path, key: str, settings: OptimSettings, step: int, note: Callable[[str], None]
    ) -> None:
        self._settings, self._note = settings, note
        self._all: dict[str, Any] = {}
        if not names:
            return
        from accelerate import PartialState
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        PartialState()  # its trackers ask whether they are in the first process
        shown, known = out.resolve().name, content_hash(key, str(out.resolve()))[:16]
        own: dict[str, dict[str, Any]] = {
            "tensorboard": {"logging_dir": str(out), "purge_step": step + 1},
            "wandb": {"name": shown, "id": known, "resume": "allow", "dir": str(out)},
            "trackio": {"name": f"{shown}-{known[:6]}", "resume": "allow"},
            "mlflow": {"run_name": f"{shown}-{known[:6]}"},
        }
        told = {k: v for k, v in settings.model_dump().items() if isinstance(v, bool | int | float | str)}
        for name in names:
            try:
                tracker = LOGGER_TYPE_TO_CLASS[name]("tensorboard" if name == "tensorboard" else PROJECT, **own[name])
                tracker.start()
                if step == 0:
                    tracker.store_init_configuration(told)
            except Exception as error:  # of the trackers' own kinds
                raise ConfigError(f"report_to: {name} cannot begin: {first_line(error)[:200]}") from error
            self._all[name] = tracker

    def log(self, figures: Mapping[str, float]) -> None:
        """Send a line of metrics."""
        self._try(lambda tracker: tracker.log(trl_names(figures, self._settings), step=int(figures["step"])))

    def finish(self) -> None:
        """End in order."""
        self._try(lambda tracker: tracker.finish())
        self._all.clear()

    def _try(self, do: Callable[[Any], object]) -> None:
        for name, tracker in list(self._all.items()):
            try:
                do(tracker)
            except Exception as error:  # of the trackers' own kinds
                self._note(f"report_to: {name} fails, and is told nothing more: {first_line(error)[:200]}")
                del self._all[name]
