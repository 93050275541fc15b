"""What methods compute, in tokens, worked out by hand from their definitions."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from arenaloop.config import METHODS, LoraSettings, MachineSettings
from arenaloop.models.shape import Shape
from arenaloop.models.size import Size
from arenaloop.models.speed import Speed
from arenaloop.recipes.machine import Machine
from arenaloop.recipes.work import Work, work

H100 = {"memory": 80, "tflops": 989, "bandwidth": 3.35}
ROLLED: dict[str, Any] = {"iterations": 3, "rollout_batch": 8, "step_batch": 4, "samples": 2}


@pytest.mark.parametrize(
    ("method", "own", "expected"),
    [
        ("sft", {"epochs": 3}, Work(learned=3 * 100 * 30)),
        ("sft", {"max_steps": 5, "batch_size": 8}, Work(learned=5 * 8 * 30)),
        ("feedme", {"epochs": 2}, Work(learned=2 * 100 * 30)),
        ("reward_conditioning", {"epochs": 2}, Work(learned=2 * 200 * 30)),
        ("dpo", {"epochs": 2}, Work(read=2 * 100 * 30, learned=2 * 2 * 100 * 30)),
        ("reward_model", {"held_out": 0.2}, Work(read=2 * 20 * 30, learned=2 * 80 * 30)),
        ("reward_model", {"held_out": 0, "prior": "policy_logprob"}, Work(read=2 * 100 * 30, learned=2 * 100 * 30)),
        ("expert_iteration", {"samples": 4, "epochs": 1}, Work(400, 400 * 10, 400 * 20, learned=100 * 30)),
        # 24 answers; policy, reference and value network read them, policy and value network learn them twice
        ("ppo", ROLLED, Work(24, 240, 480, read=3 * 24 * 30, learned=2 * 2 * 24 * 30)),
        ("rloo", ROLLED, Work(24, 240, 480, read=2 * 24 * 30, learned=24 * 30)),
        ("quark", ROLLED | {"samples": 1}, Work(24, 240, 480, read=3 * 4 * 30, learned=3 * 4 * 30)),
        ("dpo", {"epochs": 1, "max_length": 16}, Work(read=2 * 100 * 16, learned=2 * 100 * 16)),
    ],
)
def test_tokens_of_each_method(method: str, own: dict[str, Any], expected: Work) -> None:
    assert work(method, METHODS[method](**own), 100, 10.0, 20.0) == pytest.approx(expected)


def test_as_many_roll_outs_as_ten_passes_take() -> None:
    found = work("ppo", METHODS["ppo"](), 20_000, 10.0, 20.0)
    assert found.answers == 390 * 512  # AlpacaFarm's 390 steps


def test_hours_are_operations_by_what_is_done_a_second() -> None:
    machine = Machine(MachineSettings(training_tflops=50, sampling_tflops=2), Size(1_000_000_000, "by its name"))
    plain, adapted = METHODS["sft"](), METHODS["sft"](lora=LoraSettings())
    learned = Work(learned=1e6)
    assert machine.learns(learned, plain) == pytest.approx(6e15 / 50e12)
    assert machine.learns(learned, adapted) == pytest.approx(4e15 / 50e12)
    assert machine.learns(learned, plain.model_copy(update={"gradient_checkpointing": True})) == pytest.approx(160.0)
    assert machine.learns(Work(read=1e6), plain) == pytest.approx(2e15 / 50e12)
    assert machine.samples(1e6, 1e6) == pytest.approx(4e15 / 2e12)
    machine.sampling = Speed(read=100, reading=1.0, written=10, writing=1.0, loading=9.0)
    assert machine.samples(1_000, 100) == pytest.approx(10 + 10)  # measured, and loaded once
    machine.training = 0.001
    assert machine.learns(learned, plain) == pytest.approx(1_000)


GPU = {"name": "card", "memory": 80, "tflops": 100, "bandwidth": 2}


def test_hours_of_a_gpu_are_those_of_its_data_sheet() -> None:
    """A model of 1,000 parameters in 16 bits, with 32 cached numbers a token; 40 answers in chunks of 8."""
    shape = Shape(layers=1, hidden=8, heads=2, kv_heads=2, head=8, inner=8, vocabulary=10)
    assert shape.cached == 32
    stated = MachineSettings(gpu=GPU, mfu=0.5, mbu=0.25, parameters=1000)
    machine = Machine(stated, None, shape, "bfloat16", rows=8)
    assert machine.learns(Work(learned=1e6), METHODS["sft"]()) == pytest.approx(6 * 1e6 * 1000 / 50e12)
    reading = 2 * 1000 * 4000 / 50e12
    # 5 chunks of 2 · 20 steps that read 2,000 bytes of weights, and on the mean half of 8 rows of (100 + 10) · 64 bytes
    writing = 5 * 2 * 20 * (2000 + 4 * 110 * 64) / 0.5e12
    assert machine.samples(4000, 800, 40) == pytest.approx(reading + writing)
    assert machine.samples(4000, 800, 40, shared=4) == pytest.approx(reading / 4 + writing)
    assert machine.samples(4000, 800, 40, shared=99) == pytest.approx(reading / 8 + writing)  # as many as a chunk has
    four = 2 * 20 * (2000 + 2 * 110 * 64) / 0.5e12
    assert machine.samples(400, 80, 4) == pytest.approx(reading / 10 + four)
    faster = dataclasses.replace(machine, stated=stated.model_copy(update={"sampling_tokens": 400.0}))
    assert faster.samples(4000, 800, 40) == 2.0
    stated = stated.model_copy(update={"sampling_tflops": 1.0, "training_tflops": 2.0})
    own = dataclasses.replace(machine, stated=stated)
    assert own.samples(4000, 800, 40) == pytest.approx(2 * 1000 * 4800 / 1e12)
    assert own.learns(Work(learned=1e6), METHODS["sft"]()) == pytest.approx(6e9 / 2e12)
    assert any("one card: 80 GB" in line and "50% (machine.mfu)" in line for line in machine.told())


def test_a_gpu_is_known_by_name_or_refused() -> None:
    assert MachineSettings(gpu="H100").gpu == MachineSettings(gpu={"name": "h100", **H100}).gpu
    with pytest.raises(ValueError, match=r"'h1000' is not known; known: l4, .*h200"):
        MachineSettings(gpu="h1000")


def test_what_nobody_has_told_is_unknown() -> None:
    for machine in (
        Machine(MachineSettings(), Size(1, "by its name")),
        Machine(MachineSettings(sampling_tflops=1), None),
    ):
        assert machine.samples(1, 1) is None
        assert machine.learns(Work(learned=1), METHODS["sft"]()) is None
