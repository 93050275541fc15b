"""What an interrupted training goes on with: all that a checkpoint holds is needed, and with it no bit differs."""

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from arenaloop import config
from arenaloop.train.methods import training
from arenaloop.train.session import Reward, Session

METHODS: dict[str, Any] = dict(config.METHODS)
PROMPTS = [{"prompt": f"say {'abcdefgh'[n % 8]} {n}"} for n in range(40)]
SETTINGS: dict[str, Any] = {
    "iterations": 5,
    "rollout_batch": 32,
    "step_batch": 16,
    "samples": 4,
    "max_new_tokens": 8,
    "max_length": 64,
    "learning_rate": 1e-3,
    "warmup_steps": 1,
    "kl_target": 1.0,
    "checkpoint_every": 2,
    "threads": 1,
}
ALL_PARTS: dict[str, Any] = {"best_only": False, "reset_pool": False, "grad_steps_per_rollout": 2}
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "ppo": ("ppo", {}),
    "rloo": ("rloo", {}),
    "quark": ("quark", {}),
    "quark, all parts": ("quark", ALL_PARTS),
}


class StopHereError(Exception):
    pass


def ends_early(prompts: Sequence[Any], answers: Sequence[str]) -> list[float | None]:
    """From 1 for an a at the end to 0 for a t."""
    return [1 - (ord(x[-1]) - 97) / 19 if x[-1:].isalpha() and x[-1] < "u" else 0 for x in answers]


def run(way: str, talker: Path, out: Path, on_step: Any = None) -> None:
    method, own = WAYS[way]
    settings = METHODS[method](**SETTINGS, **own)
    training(method, talker, PROMPTS, out, settings, seed=1, reward=Reward(ends_early, "early"), on_step=on_step)


def kept(out: Path) -> list[Any]:
    """Weights, unpacked roll-outs, and metrics without seconds."""
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    packed = sorted((out / "rollouts").glob("*.gz"))
    return [
        (out / "model.safetensors").read_bytes(),
        [gzip.decompress(path.read_bytes()) for path in packed],
        [{name: value for name, value in row.items() if "seconds" not in name} for row in rows],
    ]


@pytest.fixture(scope="module")
def whole(talker: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Any]]:
    """What an unbroken training leaves."""
    done: dict[str, list[Any]] = {}

    def found(way: str) -> list[Any]:
        if way not in done:
            out = tmp_path_factory.mktemp("whole") / "out"
            run(way, talker, out)
            done[way] = kept(out)
        return done[way]

    return found


@pytest.mark.parametrize(
    ("way", "left_out"),
    [
        ("ppo", None), ("ppo", "optimizer"), ("ppo", "watch"), ("ppo", "value"),
        ("rloo", None), ("rloo", "optimizer"), ("rloo", "watch"),
        ("quark", None), ("quark", "optimizer"), ("quark", "watch"),
        ("quark, all parts", None), ("quark, all parts", "pool"),
    ],
)  # fmt: skip
def test_the_bits_are_the_same_with_all_of_the_checkpoint_and_no_less(
    talker: Path,
    whole: Callable[[str], list[Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    left_out: str | None,
) -> None:
    """`watch` holds the weight of the KL penalty, which `kl_target` adapts."""

    def stop(step: int, total: int, figures: dict[str, float]) -> None:
        if figures["iteration"] == 3:
            raise StopHereError

    restore = Session._restore

    def forgetful(session: Any) -> None:
        part = session._optimizer if left_out == "optimizer" else session._kept.get(left_out)
        before = None if part is None else copy.deepcopy(part.state_dict())
        restore(session)
        assert session.steps > 0
        if part is not None:
            part.load_state_dict(before)

    weights, rollouts, metrics = whole(way)
    with pytest.raises(StopHereError):
        run(way, talker, tmp_path / "out", stop)
    monkeypatch.setattr(Session, "_restore", forgetful)
    run(way, talker, tmp_path / "out")
    assert len({row["objective/kl_coef"] for row in metrics}) > 1
    found = kept(tmp_path / "out")
    assert (found == [weights, rollouts, metrics]) is (left_out is None)
    assert (found[0] == weights) is (left_out is None)
