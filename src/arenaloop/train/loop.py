"""Epochs over fixed rows, on top of a session.

The order of the data depends on the seed and the epoch alone, so the step number says where in the data a training
stands.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from arenaloop.train.backbone import Backbone
from arenaloop.train.batches import optimiser_batches, total_steps
from arenaloop.train.session import Job, Objective, Session

__all__ = ["fit", "run_epochs"]


def fit(job: Job[Any], model: Backbone, objective: Objective, *, dropout: bool = True) -> Session:
    """Train a model in place on an objective's rows, as long as the settings say; the session as it ended.

    Raises:
        StoppedError: three steps in a row had no finite loss or gradient.
        StorageError: the disk does not take metrics or checkpoints.
    """
    settings = job.settings
    total = total_steps(len(objective.lengths), settings.batch_size, settings.epochs, settings.max_steps)
    with Session(job, model, total=total, dropout=dropout) as session:
        run_epochs(session, objective)
    return session


def run_epochs(session: Session, objective: Objective, *, first: int = 0, last: int | None = None) -> None:
    """Do the steps `first` to `last` of a session (by default all) that are not done yet, as epochs over the rows."""
    settings, rows = session.job.settings, len(objective.lengths)
    per_epoch = math.ceil(rows / settings.batch_size)
    last = session.total if last is None else last
    batches: list[np.ndarray] = []
    while session.steps < last:
        epoch, at = divmod(session.steps - first, per_epoch)
        if not batches or at == 0:
            batches = optimiser_batches(rows, settings.batch_size, session.job.seed, epoch)
        session.step(objective, batches[at])
        if session.steps % settings.log_every == 0 or session.steps == last:
            session.log({"epoch": (session.steps - first) / per_epoch})
        if settings.keep_every and session.steps % settings.keep_every == 0:
            session.keep(session.steps)
        every = settings.checkpoint_every
        if every and session.steps % every == 0 and session.steps < session.total:
            session.checkpoint()
