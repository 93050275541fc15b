"""What two processes compute together, against the whole batch in one of them; started by torchrun.

    torchrun --standalone --nproc_per_node 2 tests/train/two_processes.py START OUT

Prints one JSON line: by method the largest difference of a gradient, and the two norms.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from objectives import MAKERS, ROWS

from arenaloop.config import SFTSettings
from arenaloop.errors import ConfigError, StoppedError
from arenaloop.train import sharding
from arenaloop.train.methods import training
from arenaloop.train.processes import joined, leave
from arenaloop.train.run import TrainingRun
from arenaloop.train.session import Job, Session

WHOLE = np.arange(ROWS - 1)  # an odd number of rows, in passes of two: one process has a pass more


def compared(method: str, start: Path, out: Path, spread: bool) -> dict[str, float]:
    """A step's gradient by both processes, and by this one alone."""
    model, objective, trained = MAKERS[method](start)
    for each in trained:
        each.module.double().eval()
    loss, statistics = objective.loss(model, WHOLE, WHOLE)
    loss.backward()
    parameters = [p for each in trained for p in each.module.parameters() if p.grad is not None]
    expected = [p.grad.clone() for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(expected)
    for each in trained:
        each.module.zero_grad()
    settings = SFTSettings(micro_batch=2, fsdp=spread)
    if spread:
        names = {id(p): name for name, p in model.module.named_parameters()}
        wanted = [names[id(p)] for p in parameters]
        model.spread(settings)
        named = dict(model.module.named_parameters())
        parameters = [named[name] for name in wanted]
    session = Session(
        Job(TrainingRun(out, "key"), settings, seed=0),
        model,
        total=1,
        also={str(at): each for at, each in enumerate(trained[1:])},
    )
    told = session._gradients(objective, WHOLE)
    found = [sharding.whole(p.grad) for p in parameters]
    assert max(float(each.abs().max()) for each in expected) > 1e-4
    figures = {"loss": loss.detach(), **statistics}
    return {
        "difference": max(float((one - other).abs().max()) for one, other in zip(found, expected, strict=True)),
        "figures": max(abs(float(told[name]) - float(value)) for name, value in figures.items()),
        "norm": float(sharding.whole(session._optimizer.clip())),
        "expected_norm": float(norm),
    }


ROWS_OF_SFT = [
    {"prompt": f"say {word} {n}", "completion": word[::-1]} for word in ("abc", "de", "fghij") for n in range(8)
]


class StopHereError(Exception):
    pass


def trained_twice(start: Path, out: Path, spread: bool) -> None:
    """A training that is interrupted between two checkpoints, in the first process alone, and goes on."""
    settings = SFTSettings(
        epochs=2,
        batch_size=7,
        learning_rate=1e-3,
        micro_batch=2,
        log_every=1,
        checkpoint_every=2,
        keep_every=5,
        fsdp=spread,
    )

    def stop(step: int, total: int, figures: Mapping[str, float]) -> None:
        if step == 5:
            raise StopHereError("here")

    with pytest.raises(StopHereError if joined().first else StoppedError, match=r"^here$"):
        training("sft", start, ROWS_OF_SFT, out, settings, seed=0, on_step=stop)
    done = training("sft", start, ROWS_OF_SFT, out, settings, seed=0)
    assert done.steps == 8
    assert training("sft", start, ROWS_OF_SFT, out, settings, seed=0) == done, "finished, as all of them know"


def refused(start: Path, out: Path) -> None:
    """Another training writes there: all of them say so."""
    held = TrainingRun(out, "another")
    held.begin()
    with pytest.raises(ConfigError, match="another training is writing here"):
        training("sft", start, ROWS_OF_SFT, out, SFTSettings(), seed=0)
    held.close()
    with pytest.raises(ConfigError, match="different rows, settings or seeds"):
        training("sft", start, ROWS_OF_SFT, out, SFTSettings(), seed=joined().rank)


def main(start: Path, out: Path) -> None:
    torch.set_num_threads(1)
    processes = joined()
    ones = torch.ones(())
    dist.all_reduce(ones)
    assert float(ones) == processes.world == 2, "a launcher that starts one process is found out here"
    found: dict[str, Any] = {"world": float(ones)}
    for method in MAKERS:
        found[method] = compared(method, start, out / "none", spread=False)
    for method in ("sft", "dpo", "reward_model"):
        found[f"{method}, spread"] = compared(method, start, out / "none", spread=True)
    for name in ("shared", "spread"):
        trained_twice(start, out / name, name == "spread")
    refused(start, out / "held")
    if processes.first:
        print("RESULT " + json.dumps(found), flush=True)
    leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
