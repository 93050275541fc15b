"""Every way to train, by name, and the one prologue that they share."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from arenaloop import config
from arenaloop.config import OptimSettings, SampleSettings
from arenaloop.data.formats.training_rows import compared, contradiction, form_of
from arenaloop.errors import ConfigError, nearest
from arenaloop.models import adapters
from arenaloop.models.checkpoint import checkpoint_fingerprint
from arenaloop.models.kept_checkpoint import RECORD, make_room
from arenaloop.train.processes import asks_to_spread, joined
from arenaloop.train.rows import refuse_unread
from arenaloop.train.run import TrainingRun, TrainResult
from arenaloop.train.session import Job, OnStep, Reward
from arenaloop.train.trackers import require
from arenaloop.types import content_hash

__all__ = ["METHODS", "Method", "finished", "training"]


@dataclass(frozen=True, slots=True)
class Method:
    """One way to train.

    Attributes:
        settings: its settings.
        columns: the columns of a row that it reads, in one or more forms; a row is of the first form whose first column
            it has. They identify a training, so all that is read stands here: labels and weights too.
        train: does it.
    """

    settings: type[OptimSettings]
    columns: tuple[tuple[str, ...], ...]
    train: Callable[[Job[Any]], TrainResult]

    def read_from(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The part of a row that this method reads."""
        return {name: row[name] for name in form_of(row, self.columns)}


def _method(name: str, settings: type[OptimSettings]) -> Method:
    """A method of `config.METHODS`; its file says which columns it reads, and trains."""
    file = import_module(f"arenaloop.train.{name}")
    return Method(settings, file.COLUMNS, file.train)


METHODS = {name: _method(name, settings) for name, settings in config.METHODS.items()}


SPREAD = ("sft", "dpo", "reward_model")
"""Methods whose every forward pass is of one model, so that it can be spread over processes."""


def training(
    method: str,
    start: str | Path,
    rows: Sequence[Mapping[str, Any]],
    out: str | Path,
    settings: OptimSettings,
    *,
    seed: int,
    on_step: OnStep | None = None,
    on_note: Callable[[str], None] | None = None,
    revision: str | None = None,
    reward: Reward | None = None,
    keep_other: bool = False,
) -> TrainResult:
    """Train a model by one of `METHODS` and save the result to `out`.

    A finished training with the same start, rows, method and seed is returned at once; an interrupted one continues
    from its last checkpoint; anything else starts anew.

    Args:
        method: its name.
        start: the model to start from: a directory in Hugging Face form or of an adapter, or a hub id.
        rows: what is trained on; the method's `COLUMNS` say what it reads, other columns are ignored.
        out: the directory to write; see `run`.
        settings: of the method's own class.
        seed: decides the order of the rows.
        on_step: told about progress.
        on_note: told, in one line each, what of an earlier training in `out` could not be used.
        revision: of a hub id.
        reward: scores the model's own answers, for methods that learn from them.
        keep_other: what another training left in `out` moves aside and is kept (`models.kept_checkpoint`).

    Raises:
        ConfigError: an unknown method, one that needs a reward without one, or a reward that it does not use; `out` is
            not ours to write, another training writes there, or the tokenizer has no chat template.
        InputError: a malformed row, no row left, or a model that cannot be loaded.
        StoppedError: the training diverged, or the disk is full.
    """
    started = time.perf_counter()
    if method not in METHODS:
        raise ConfigError(f"training method {method!r} is not known{nearest(method, list(METHODS))}")
    known, out = METHODS[method], Path(out)
    if Path(start).resolve() == out.resolve():
        raise ConfigError(f"{out} is the model to start from; the trained one needs another directory")
    if issubclass(known.settings, SampleSettings) != (reward is not None):
        raise ConfigError(
            f"{method} learns from a reward; name one with --reward"
            if reward is None
            else f"{method} learns from rows; a reward does nothing there"
        )
    processes = joined()
    if asks_to_spread():
        settings = settings.model_copy(update={"fsdp": True})
    if settings.fsdp and method not in SPREAD:
        raise ConfigError(f"{method} cannot spread its model over processes; fsdp is for {', '.join(SPREAD)}")
    if settings.fsdp and processes.world == 1:
        raise ConfigError("fsdp spreads a model over several processes, and there is one; start it with torchrun")
    if settings.fsdp and settings.optimizer == "muon":
        raise ConfigError("muon needs whole matrices, and fsdp spreads them; take the optimizer adamw")
    require(settings.report_to)
    fingerprint = processes.once(lambda: checkpoint_fingerprint(start, revision))
    read = _read(known, rows)
    key = _key(method, fingerprint, read, settings, seed, reward)
    processes.agree(key, "the processes of this training were given different rows, settings or seeds")
    if keep_other and (moved := processes.once(partial(make_room, out, key))) is not None and on_note is not None:
        on_note(moved)
    made = {"method": method, "start": str(start), "rows": len(rows), "seed": seed}
    run = TrainingRun(out, key, on_note, {**made, "settings": settings.model_dump(mode="json")})
    if run.result is not None:
        return run.result
    if adapters.is_adapter(start):
        run.note(
            f"{start} is an adapter; it is merged into {adapters.base_of(start)[0]}, and training starts from both"
        )
    try:
        return known.train(Job(run, settings, seed, start, revision, fingerprint, rows, on_step, reward, started))
    finally:
        run.close()


def finished(
    method: str,
    start: str | Path,
    rows: Sequence[Mapping[str, Any]],
    out: Path,
    settings: OptimSettings,
    *,
    seed: int,
    revision: str | None = None,
    reward: Reward | None = None,
) -> TrainResult | None:
    """The result of a training that is through in `out`, whoever did it; nothing is loaded, moved or written.

    Args:
        method, start, rows, out, settings, seed, revision, reward: as of `training`.
    """
    if not (out / RECORD).is_file():
        return None
    read = _read(METHODS[method], rows)
    key = _key(method, checkpoint_fingerprint(start, revision), read, settings, seed, reward)
    return TrainingRun(out, key).result


def _key(method: str, fingerprint: str, read: object, settings: OptimSettings, seed: int, reward: Reward | None) -> str:
    """Content hash of everything that decides the trained weights."""
    scored = () if reward is None else (reward.identity,)  # keys of those without one stay what they were
    return content_hash(method, fingerprint, read, settings.method(), seed, *scored)


def _read(method: Method, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What a method reads of its rows, to know a training by: also why a row is not trained on though it is read."""
    read = []
    for at, row in enumerate(rows):
        part = method.read_from(row)
        refuse_unread(row, {*part, *compared(row)}, at)
        doubt = contradiction(row, method.columns)
        read.append({**part, "contradiction": doubt} if doubt else part)
    return read
