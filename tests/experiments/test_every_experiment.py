"""Every experiment has a test that runs it."""

from __future__ import annotations

from pathlib import Path

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def test_no_experiment_is_left_out() -> None:
    here = "".join(path.read_text() for path in Path(__file__).parent.rglob("test_*.py"))
    found = {path.relative_to(EXPERIMENTS).with_suffix("").as_posix() for path in EXPERIMENTS.rglob("*.py")}
    names = found - {"gold", "killing", "over_seeds", "own_samples", "arena_learning/bench"}
    names -= {"self_rewarding/bench", "self_rewarding/tables"}
    names -= {"board_worlds", "consistency_arena", "consistency_sandbox", "consistency_world"}
    names -= {"newcomers/steps", "newcomers/alpacaeval_user", "newcomers/arena_user", "newcomers/post_trainer"}
    names -= {"export_loaders"}  # it needs the projects whose loaders it runs
    assert {name for name in names if f'"{name}"' not in here and f'"{name}.py"' not in here} == set()
