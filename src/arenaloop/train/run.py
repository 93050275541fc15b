"""The directory of one training: what it was made from, its metrics, its checkpoint, its result.

    training.json       the key of this training (a hash of start, rows, method and seed), and its result once finished
    metrics.jsonl       one line per `log_every` steps
    checkpoint.pt       the state that an interrupted training continues from; removed at the end
    NAME.pt             what a method keeps under a key of its own; DPO: the reference's log-probabilities
    config.json, model*.safetensors, tokenizer*, …       the trained model, in Hugging Face form

Only what this module wrote is ever overwritten: a directory that holds someone else's model is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from arenaloop.errors import ConfigError, StorageError
from arenaloop.train.backbone import Backbone

__all__ = ["TrainResult", "TrainingRun"]


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training gave.

    Attributes:
        path: the trained model's directory.
        steps: optimiser steps.
        rows_used: rows (pairs) that were trained on.
        dropped: rows dropped, by reason.
        truncated: rows used although an answer was cut at the window.
        skipped_steps: steps whose loss or gradient was not finite; they moved nothing.
        metrics: means over the last logged steps.
        seconds: wall time from loading the model to the saved checkpoint, interrupted runs up to their last checkpoint
            included.
    """

    path: Path
    steps: int
    rows_used: int
    dropped: dict[str, int] = field(default_factory=dict)
    truncated: int = 0
    skipped_steps: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


class TrainingRun:
    """The directory of a training, which keeps its state there; opening it writes nothing.

    Args:
        out: the directory; need not exist.
        key: content hash of everything that decides the trained weights.

    Attributes:
        result: the result, if a training with this key has finished here.

    Raises:
        ConfigError: `out` holds a model that was not trained here.
    """

    def __init__(self, out: Path, key: str) -> None:
        self.out = out
        self.key = key
        self.result: TrainResult | None = None
        self._record = out / "training.json"
        self._metrics = out / "metrics.jsonl"
        self._checkpoint = out / "checkpoint.pt"
        record = _read_record(self._record)
        if record is None and (out / "config.json").exists():
            raise ConfigError(f"{out} already holds a model that was not trained here; choose another directory")
        self._ours = record is not None and record.get("key") == key
        if self._ours and record and record.get("result") and (out / "config.json").exists():
            self.result = TrainResult(**{**record["result"], "path": out})

    def begin(self) -> None:
        """Make the directory this training's, before anything is written: what another training left there goes."""
        if self._ours:
            return
        with _storage(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
            for stale in ("config.json", "checkpoint.pt", "metrics.jsonl"):
                (self.out / stale).unlink(missing_ok=True)
            with _replacing(self._record) as file:
                file.write(json.dumps({"key": self.key}).encode())
        self._ours = True

    def restore(self) -> dict[str, Any] | None:
        """The last checkpoint's state on the CPU, or None; metrics of later steps are taken back."""
        self.begin()
        state: dict[str, Any] | None = None
        if self._checkpoint.exists():
            state = torch.load(self._checkpoint, map_location="cpu", weights_only=True)
        step = state["step"] if state else 0
        if self._metrics.exists():
            with _storage(self.out):
                kept = [line for line in self._metrics.read_text("utf-8").splitlines() if _step_of(line) <= step]
                with _replacing(self._metrics) as file:
                    file.write("".join(f"{line}\n" for line in kept).encode())
        return state

    def checkpoint(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint; after a crash either the old or the new one is there, whole."""
        self._save(self._checkpoint, state)

    def log(self, metrics: Mapping[str, float]) -> None:
        """Append one line to the metrics."""
        with _storage(self.out), self._metrics.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(dict(metrics)) + "\n")

    def kept(self, name: str, key: str) -> Tensor | None:
        """What was kept as `name` under the same key, or None."""
        path = self.out / f"{name}.pt"
        if not path.exists():
            return None
        content = torch.load(path, weights_only=True)
        return content.get("value") if content["key"] == key else None

    def keep(self, name: str, key: str, value: Tensor) -> None:
        """Keep what is dear to compute, for a resumed training or one with other settings.

        Args:
            name: of the file, without its suffix; one thing is kept under each.
            key: content hash of everything that decides the value.
            value: on the CPU.
        """
        self.begin()
        self._save(self.out / f"{name}.pt", {"key": key, "value": value})

    def finish(self, model: Backbone, result: TrainResult) -> TrainResult:
        """Save the model, then say that the training is finished."""
        with _storage(self.out):
            model.save(self.out)
            fields = {name: value for name, value in asdict(result).items() if name != "path"}
            with _replacing(self._record) as file:
                file.write(json.dumps({"key": self.key, "result": fields}, indent=1).encode())
            self._checkpoint.unlink(missing_ok=True)
        self.result = result
        return result

    def _save(self, path: Path, content: Mapping[str, Any]) -> None:
        with _storage(self.out), _replacing(path) as file:
            try:
                torch.save(dict(content), file)
            except RuntimeError as error:  # torch's way to say that a file took no more bytes
                raise OSError(str(error).strip().splitlines()[0]) from error


def _read_record(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    return record if isinstance(record, dict) else {}


def _step_of(line: str) -> float:
    """The step of a line of metrics; a line torn by a crash belongs to no step."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the path's place when the block ends; one that a crash left half written is taken again."""
    aside = path.with_suffix(".tmp")
    with aside.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


@contextmanager
def _storage(out: Path) -> Iterator[None]:
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"cannot write to {out}: {error.strerror or error}") from error
