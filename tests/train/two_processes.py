"""What two processes compute together, against the whole batch in one of them; started by torchrun.

    torchrun --standalone --nproc_per_node 2 tests/train/two_processes.py START OUT

Prints one JSON line: by method the largest difference of a gradient, and the two norms.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from objectives import MAKERS, ROWS  # noqa: E402

from arenaloop.config import SFTSettings  # noqa: E402
from arenaloop.train import sharding  # noqa: E402
from arenaloop.train.methods import training  # noqa: E402
from arenaloop.train.processes import joined, leave  # noqa: E402
from arenaloop.train.run import TrainingRun  # noqa: E402
from arenaloop.train.session import Job, Session  # noqa: E402

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
    rows = [{"prompt": f"say {word}", "completion": word[::-1]} for word in ("abc", "de", "fghij", "k", "lm") * 5]
    settings = {"epochs": 2, "batch_size": 7, "learning_rate": 1e-3, "micro_batch": 2, "log_every": 1}
    for spread in (False, True):
        name = "spread" if spread else "shared"
        training("sft", start, rows, out / name, SFTSettings(**settings, fsdp=spread), seed=0)
    if processes.first:
        print("RESULT " + json.dumps(found), flush=True)
    leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
