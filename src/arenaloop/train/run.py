"""The directory of one training: what it was made from, its metrics, its checkpoint, its result.

    training.json       the key of this training (a hash of start, rows, method and seed), what it is made of in words,
                        and its result once finished
    metrics.jsonl       one line per `log_every` steps
    checkpoint.pt       the state that an interrupted training continues from, and, in checkpoint.previous.pt, the one
                        before, for the case that it is damaged; both are removed at the end
    NAME.pt             what a method keeps under a key of its own; DPO: the reference's log-probabilities
    policy-N/           the model after N steps (in reinforcement learning N roll-outs), where `keep_every` is set
    config.json, model*.safetensors, tokenizer*, …       the trained model, in Hugging Face form
    adapter/            of a training of adapters, its adapter; unmerged, that stands here in the model's place

Only what this module wrote is ever overwritten: a directory that holds someone else's model is refused. One process
trains in it at a time: it holds a lock on the directory itself, which goes with the process. Of several that train
together it is the first that reads, locks and writes here; the others wait for it, and have what it has read.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO

import torch

from arenaloop.errors import ConfigError, StorageError, first_line
from arenaloop.models.checkpoint import holds_model
from arenaloop.regular_files import read_regular, read_text, refuse_others
from arenaloop.train.backbone import ADAPTER, MARKS, Backbone
from arenaloop.train.gate import report_line
from arenaloop.train.processes import joined

__all__ = ["KEPT", "TrainResult", "TrainingRun"]

KEPT = "policy-"
"""What the directories of models begin with that are kept on the way."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training gave.

    Attributes:
        path: the trained model's directory.
        steps: optimiser steps.
        rows_used: rows (pairs) that were trained on.
        dropped: rows dropped, by reason.
        explained: what there is to say of the first of them, by reason.
        truncated: rows used although an answer was cut at the window.
        spelled: rows used in which a text spells a control token of the model; it was kept as text.
        earlier: rows used with earlier assistant turns, which were not learned.
        skipped_steps: steps whose loss or gradient was not finite; they moved nothing.
        metrics: means over the last logged steps.
        report: what the method measured of its result, each with the ends of its interval where it has one.
        seconds: wall time from loading the model to the saved checkpoint, interrupted runs up to their last checkpoint
            included.
    """

    path: Path
    steps: int
    rows_used: int
    dropped: dict[str, int] = field(default_factory=dict)
    explained: dict[str, str] = field(default_factory=dict)
    truncated: int = 0
    spelled: int = 0
    earlier: int = 0
    skipped_steps: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    report: dict[str, list[float | None]] = field(default_factory=dict)
    seconds: float = 0.0

    def remarks(self) -> list[str]:
        """What is to be said of the rows, beside their number: which were dropped, and which are not what they seem."""
        dropped = ", ".join(
            f"{n:,} {reason}" + (f" ({self.explained[reason]})" if reason in self.explained else "")
            for reason, n in self.dropped.items()
            if n
        )
        return [
            *([f"dropped: {dropped}"] if dropped else []),
            *([f"truncated at the window: {self.truncated:,}"] if self.truncated else []),
            *([f"control tokens in the text, kept as text: {self.spelled:,}"] if self.spelled else []),
            *(
                [f"earlier assistant turns not learned (assistant_turns: last): {self.earlier:,}"]
                if self.earlier
                else []
            ),
            *([report_line(self.report)] if self.report else []),
        ]


class TrainingRun:
    """The directory of a training, which keeps its state there; opening it writes nothing.

    Args:
        out: the directory; need not exist.
        key: content hash of everything that decides the trained weights.
        note: told, in one line each, what of the directory could not be used.
        made: what the training is made of, as a report says it: method, start, seed, settings.

    Attributes:
        result: the result, if a training with this key has finished here.
        note: told what the user ought to know, in one line each.

    Raises:
        ConfigError: `out` holds a model that was not trained here.
    """

    def __init__(
        self,
        out: Path,
        key: str,
        note: Callable[[str], None] | None = None,
        made: Mapping[str, Any] | None = None,
    ) -> None:
        self.out = out
        self.key = key
        self.made = dict(made or {})
        self.result: TrainResult | None = None
        self._processes = joined()
        self.note = note if note and self._processes.first else (lambda _: None)
        self._lock: _Lock | None = None
        self._record = out / "training.json"
        self._metrics = out / "metrics.jsonl"
        self._checkpoint = out / "checkpoint.pt"
        self._previous = out / "checkpoint.previous.pt"
        self._found, self._ours, self.result = self._processes.once(self._look)

    def _look(self) -> tuple[dict[str, Any] | None, bool, TrainResult | None]:
        """What the directory holds: its record, whether that is this training's, and its result."""
        record = _read_record(self._record)
        if record is None and holds_model(self.out):
            raise ConfigError(f"{self.out} already holds a model that was not trained here; choose another directory")
        ours = record is not None and record.get("key") == self.key
        return record, ours, self._finished(record) if ours and record and record.get("result") else None

    def _finished(self, record: Mapping[str, Any]) -> TrainResult | None:
        """The result in a record, unless files of its model are lost or cut."""
        wrong = [
            name
            for name, size in record.get("files", {"config.json": None}).items()
            if not (self.out / name).is_file() or size not in (None, (self.out / name).stat().st_size)
        ]
        if wrong or not any(self.out.glob("*.safetensors")):
            self.note(f"{self.out}: {', '.join(wrong) or 'the weights'} lost or cut; trained again")
            return None
        known = {each.name for each in fields(TrainResult)}
        return TrainResult(
            **{name: value for name, value in record["result"].items() if name in known} | {"path": self.out}
        )

    def begin(self) -> None:
        """Take the directory for this training, before anything is written: what another one left there goes.

        Raises:
            ConfigError: another training is writing here, or has written since this one was opened.
            StorageError: the directory cannot be made.
        """
        self._processes.once(self._begin)

    def _begin(self) -> None:
        if self._lock is not None:
            return
        with _storage(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
        self._lock = _Lock(self.out, self.note)
        if _read_record(self._record) != self._found:
            self.close()
            raise ConfigError(f"{self.out}: another training has written here meanwhile; run the command again")
        if self._ours:
            return
        if self._found is not None:
            self.note(f"{self.out}: another training stood here; this one takes its place{self._differences()}")
        with _storage(self.out):
            for stale in (*MARKS, self._checkpoint.name, self._previous.name, "metrics.jsonl"):
                (self.out / stale).unlink(missing_ok=True)
            if self._found is not None:  # else no training of ours was here
                for name in (ADAPTER, "prior"):
                    if holds_model(self.out / name):
                        shutil.rmtree(self.out / name)
                for other in (*self.out.glob(f"{KEPT}[0-9]*"), *self.out.glob("round-[0-9]*")):
                    shutil.rmtree(other)
                for answers in self.out.glob("rollouts/[0-9]*"):
                    answers.unlink()
            self._write_record({"key": self.key, **self.made})
        self._ours = True

    def _differences(self) -> str:
        """By what this training differs from the one before, as far as its record tells."""
        before = self._found or {}
        names = [
            name for name in self.made if name != "settings" and name in before and before[name] != self.made[name]
        ]
        settings, own = before.get("settings"), self.made.get("settings")
        if isinstance(settings, dict) and isinstance(own, dict) and "method" not in names:
            names += [name for name in own if own[name] != settings.get(name)]
        return f" (they differ in {', '.join(names)})" if names else ""

    def close(self) -> None:
        """Leave the directory to others."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def restore(self, most: float = math.inf) -> dict[str, Any] | None:
        """The state of the last checkpoint that is whole and this training's, on the CPU, or None.

        Metrics of later steps are taken back. `most` as in `Processes.once`.
        """
        return self._processes.once(self._restored, most)

    def _restored(self) -> dict[str, Any] | None:
        self._begin()
        state, troubles = None, []
        for path in (self._checkpoint, self._previous):
            if state is None and path.exists():
                content = _load(path)
                if isinstance(content, str):
                    troubles.append(f"{path.name} {content}")
                elif content.get("key", self.key) != self.key:  # those of earlier versions have none
                    troubles.append(f"{path.name} is another training's")
                else:
                    state = content
        step = state["step"] if state else 0
        if troubles:
            self.note(f"{self.out}: {', '.join(troubles)}; going on from " + (f"step {step}" if state else "the start"))
        if self._metrics.exists():
            with _storage(self.out):
                kept = [line for line in read_text(self._metrics).splitlines() if _step_of(line) <= step]
                with _replacing(self._metrics) as file:
                    file.write("".join(f"{line}\n" for line in kept).encode())
        return state

    def checkpoint(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint and keep the one before; after a crash the old or the new one is there, whole."""

        def write() -> None:
            if self._checkpoint.exists():
                self._previous.unlink(missing_ok=True)
                with suppress(OSError):  # a file system without links keeps one
                    os.link(self._checkpoint, self._previous)
            self._save(self._checkpoint, {**state, "key": self.key})

        self._processes.once(write)

    def log(self, metrics: Mapping[str, float]) -> None:
        """Append one line to the metrics."""

        def write() -> None:
            with _storage(self.out), self._metrics.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(dict(metrics)) + "\n")

        self._processes.once(write)

    def kept(self, name: str, key: str) -> Any | None:
        """What was kept as `name` under the same key, or None."""
        path = self.out / f"{name}.pt"

        def read() -> Any | None:
            content = _load(path) if path.exists() else {}
            if isinstance(content, str):
                self.note(f"{path} {content}; computed again")
                return None
            return content.get("value") if content.get("key") == key else None

        return self._processes.once(read)

    def keep(self, name: str, key: str, value: Any) -> None:
        """Keep what is dear to compute, for a resumed training or one with other settings.

        Args:
            name: of the file, without its suffix; one thing is kept under each.
            key: content hash of everything that decides the value.
            value: made of tensors on the CPU, numbers, texts, lists and mappings.
        """

        def write() -> None:
            self._begin()
            self._save(self.out / f"{name}.pt", {"key": key, "value": value})

        self._processes.once(write)

    def finish(self, model: Backbone, result: TrainResult) -> TrainResult:
        """Save the model, then say that the training is finished."""

        def write() -> TrainResult:
            told = {name: value for name, value in asdict(result).items() if name != "path"}
            with _storage(self.out):
                sizes = {file.name: file.stat().st_size for file in self.out.glob("*.safetensors")}
                marks = {name: None for name in MARKS if (self.out / name).is_file()}
                self._write_record({"key": self.key, **self.made, "result": told, "files": {**marks, **sizes}})
                self._checkpoint.unlink(missing_ok=True)
                self._previous.unlink(missing_ok=True)
            return result

        with _storage(self.out):
            model.save(self.out)
        self.result = self._processes.once(write)
        self.close()
        return self.result

    def _write_record(self, record: dict[str, Any]) -> None:
        with _replacing(self._record) as file:
            file.write(json.dumps(record, indent=1).encode())
        self._found = record

    def _save(self, path: Path, content: Mapping[str, Any]) -> None:
        with _storage(self.out), _replacing(path) as file:
            try:
                torch.save(dict(content), file)
            except RuntimeError as error:  # torch's way to say that a file took no more bytes
                earlier = error.__context__
                if earlier is not None and not isinstance(earlier, Exception):
                    raise earlier from None  # an interrupt amid the archive, which torch then cannot end as it should
                raise OSError(first_line(error)) from error


def _read_record(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(read_regular(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    return record if isinstance(record, dict) else {}


def _load(path: Path) -> dict[str, Any] | str:
    """What `TrainingRun._save` wrote, on the CPU; or in words why it cannot be used.

    Raises:
        StorageError: it cannot be read, which does not mean that it is damaged.
    """
    try:
        refuse_others([path])
        with zipfile.ZipFile(path) as archive:  # torch itself does not look at the tensors' check sums
            if archive.testzip() is not None:
                return "is damaged"
        content = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    except Exception:  # of the archive's, the pickle's and torch's own kinds, whose texts fill pages
        return "is damaged"
    return content if isinstance(content, dict) else "is damaged"


class _Lock:
    """A lock on a directory, for as long as this process lives or until it is released.

    Raises:
        ConfigError: another process holds it.
    """

    def __init__(self, directory: Path, note: Callable[[str], None]) -> None:
        self._handle = os.open(directory, os.O_RDONLY)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.release()
            raise ConfigError(
                f"{directory}: another training is writing here; wait for it, or choose another --out"
            ) from error
        except OSError as error:
            note(f"{directory} cannot be locked ({error.strerror}): let no other training write here")

    def release(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __del__(self) -> None:
        self.release()


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
