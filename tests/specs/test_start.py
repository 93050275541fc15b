"""Where training starts, and what is made of a checkpoint: contestants and judges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from arenaloop.arena.battles import play
from arenaloop.arena.matchmaking import Schedule
from arenaloop.arena.pairings import pairings
from arenaloop.arena.plan import BattlePlan
from arenaloop.calls.answers import Contestant
from arenaloop.config import JudgeSettings, SamplingSettings, TargetSettings
from arenaloop.errors import ConfigError, InputError
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.models.scripted import ScriptedModel
from arenaloop.sandbox.target import build_target
from arenaloop.specs.judges import judge, pointwise
from arenaloop.specs.start import contestant_of, judge_of, start
from arenaloop.store import Store
from arenaloop.types import Prompt, Status

TINY: dict[str, Any] = {"width": 16, "layers": 1, "heads": 2}


def target(model: str, **more: object) -> TargetSettings:
    return TargetSettings.model_validate({"model": model, "device": "cpu", **more})


def test_a_fresh_target_is_named_by_what_it_is_made_from_and_made_once(tmp_path: Path) -> None:
    one, same, other = (start(target("sandbox:target", options=TINY), seed, tmp_path) for seed in (0, 0, 1))
    one.check()
    assert (one.path, one.fingerprint) == (same.path, same.fingerprint)
    assert one.path != other.path
    assert not Path(one.path).exists()
    one.prepare()
    made = (Path(one.path) / "model.safetensors").stat().st_mtime_ns
    same.prepare()
    assert (Path(one.path) / "model.safetensors").stat().st_mtime_ns == made
    with pytest.raises(ConfigError, match="widht"):
        start(target("sandbox:target", options={"widht": 3}), 0, tmp_path).check()


def test_weights_that_are_there_are_taken_as_they_are(tmp_path: Path) -> None:
    build_target(tmp_path / "weights", 0, **TINY)
    there = start(target(f"hf:{tmp_path / 'weights'}"), 0, tmp_path)
    there.check()
    there.prepare()
    assert there.path == str(tmp_path / "weights")
    assert there.fingerprint
    with pytest.raises(InputError, match="nowhere"):
        start(target("hf:./nowhere"), 0, tmp_path).check()
    for spec in ("gpt-4o", "hf:", "sandbox:scholar"):
        with pytest.raises(ConfigError, match=r"target\.model"):
            start(target(spec), 0, tmp_path)


def test_a_checkpoint_answers_and_judges(tmp_path: Path) -> None:
    """One model in both parts; an untrained judge says nothing that could be read, which is data."""
    build_target(tmp_path / "weights", 0, **TINY)
    settings = JudgeSettings.model_validate(
        {"spec": "itself", "name": "ignored", "device": "cpu", "reask": 0, "sampling": SamplingSettings(max_tokens=4)}
    )
    itself = judge_of(settings, judge)("M1", tmp_path / "weights")
    assert isinstance(itself, PairwiseJudge)
    assert itself.name == "M1"
    assert itself.sampling.max_tokens == 4
    again = judge_of(settings, judge)("M2", tmp_path / "weights")
    assert again.fingerprint == itself.fingerprint  # weights decide, not the name
    scorer = judge_of(settings, pointwise)("M1", tmp_path / "weights")
    assert (scorer.name, scorer.model.fingerprint) == ("M1", itself.model.fingerprint)
    actor = contestant_of(target("hf:x", sampling={"max_tokens": 4}))("M1", tmp_path / "weights")
    prompt = Prompt.of("upper: cat")
    with Store(tmp_path / "arena.db") as store:
        store.add_prompts([prompt])
        store.flush()
        other = Contestant("other", ScriptedModel("other", lambda request: "CAT"))
        plan = BattlePlan([actor, other], itself, [prompt.id], Schedule((("M1", "other"),)), reask=0)
        play(plan, store)
        [pairing] = pairings(plan, store)
    assert pairing.a_first is not None
    assert pairing.a_first.status in (Status.UNPARSED, Status.TRUNCATED)
