"""Stages are worked once, known by their inputs and their weights; results of earlier versions are read."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from arenaloop.arena.pairings import Summary
from arenaloop.recipes.observer import Observer
from arenaloop.recipes.stage import StageResult, Stages, run_seconds
from arenaloop.store import Store
from arenaloop.types import content_hash

STORED: dict[str, Any] = {
    "selection": {"rows": 948, "dropped": {"gap below k": 1027}},
    "steps": 100,
    "rows_dropped": {"too long": 1},
    "metrics": {"loss": 0.25},
    "start": "SFT-I0",
    "checkpoint": None,
    "mean_length": 4.5,
    "gold_accuracy": 0.7,
    "validation_score": None,
    "rows": 1185,
    "seconds": 13.5,
    "judged": {
        "wanted": 3,
        "decided": 2,
        "ok": 5,
        "failed": {"unparsed": 1},
        "flips": 1,
        "first_wins": 2,
        "decisive": 4,
    },
    "verdicts": 5,
}  # fmt: skip
"""As the first version wrote it into the arena file."""


def test_a_stored_result_is_read_and_written_as_it_was() -> None:
    result = StageResult.of(STORED)
    assert (result.start, result.rows, result.steps, result.seconds) == ("SFT-I0", 1185, 100, 13.5)
    assert result.figures == {"mean_length": 4.5, "gold_accuracy": 0.7, "validation_score": None}
    assert (result.judged.wanted, result.judged.failed) == (3, {"unparsed": 1})
    since = {"judged": STORED["judged"] | {"both": 2}, "cpu_seconds": None}  # told apart, and known
    assert result.to_json() == STORED | since
    assert [name for name in result.to_json() if name in STORED] == list(STORED)


class Heard(Observer):
    def __init__(self) -> None:
        self.finished: list[str] = []

    def done(self, stage: str, result: Any) -> None:
        self.finished.append(stage)


def weights(folder: Path, content: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(f'{{"is": "{content}"}}')


def test_work_is_done_once_for_the_same_inputs_and_weights(tmp_path: Path) -> None:
    worked: list[str] = []
    heard = Heard()
    with Store(tmp_path / "arena.db") as store:
        stages = Stages(store, tmp_path, heard)
        assert stages.rows_file("one") == tmp_path / "data" / "one.jsonl"

        def work(content: str) -> StageResult:
            worked.append(content)
            stages.observer.step(1, 1, {})
            weights(stages.checkpoint("one"), content)
            return StageResult("base", rows=2, steps=1, judged=Summary(wanted=1, decided=1, ok=2))

        first = stages.once("one", "inputs", lambda: work("first"))
        assert first.checkpoint is not None
        assert first.seconds > 0
        assert stages.once("one", "inputs", lambda: work("again")) == first
        assert (worked, stages.found) == (["first"], 2)
        assert store.stage("one", content_hash("inputs", "one")) == first.to_json()
        stages.once("one", "others", lambda: work("others"))  # puts its own weights in their place
        again = stages.once("one", "inputs", lambda: work("first"))
        assert worked == ["first", "others", "first"]
        assert again.checkpoint == first.checkpoint
    assert heard.finished == ["one"] * 4


def test_what_comes_after_weights_of_others_is_worked_again_where_they_change(tmp_path: Path) -> None:
    worked: list[str] = []

    def work(name: str, told: dict[str, Any] | None) -> StageResult:
        worked.append(name)
        return StageResult("base", rows=2, steps=1, adopted=told)

    def run(store: Store, told: dict[str, Any] | None) -> None:
        stages = Stages(store, tmp_path, Observer())
        for name in ("one", "two"):
            if not stages.checkpoint(name).exists():
                weights(stages.checkpoint(name), name)
            stages.once(name, "inputs", lambda name=name: work(name, told if name == "one" else None))  # type: ignore[misc]

    with Store(tmp_path / "arena.db") as store:
        run(store, None)
        run(store, None)
        assert worked == ["one", "two"]
        for content in ("theirs", "others"):
            weights(tmp_path / "checkpoints" / "one", content)
            run(store, {"from": content})
            run(store, {"from": content})
        assert worked == ["one", "two"] * 3
        found = dict(store.stages())
        assert found["one"]["adopted"] == {"from": "others"}
        assert StageResult.of(found["one"]).to_json() == found["one"]
        assert "adopted" not in found["two"]


def test_work_that_fails_is_not_kept(tmp_path: Path) -> None:
    def fail() -> StageResult:
        raise RuntimeError("no")

    with Store(tmp_path / "arena.db") as store:
        stages = Stages(store, tmp_path, Observer())
        with pytest.raises(RuntimeError):
            stages.once("one", "inputs", fail)
        assert list(store.stages()) == []


def burn(seconds: float) -> None:
    """Use the processor for so long."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_a_stages_time_is_that_of_all_its_invocations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arenaloop.recipes.stage._BEAT", 0.0)

    def stopped() -> StageResult:
        burn(0.05)
        raise KeyboardInterrupt

    def killed(stages: Stages) -> StageResult:
        burn(0.05)
        stages.observer.step(1, 2, {})  # what is said on the way is kept
        monkeypatch.setattr(stages, "_keep", lambda: None)  # and nothing any more
        raise KeyboardInterrupt

    def whole() -> StageResult:
        burn(0.05)
        stages.observer.step(2, 2, {})
        return StageResult("base", rows=2, steps=1)

    with Store(tmp_path / "arena.db") as store:
        for work in (lambda _: stopped(), killed):
            stages = Stages(store, tmp_path, Observer())
            with pytest.raises(KeyboardInterrupt):
                stages.once("one", "inputs", partial(work, stages))
        stages = Stages(store, tmp_path, Observer())
        done = stages.once("one", "inputs", whole)
        other = stages.once("one", "other inputs", whole)
        assert other.cpu_seconds is not None
        assert done.cpu_seconds is not None
        assert 0.05 <= other.cpu_seconds < 0.15 <= done.cpu_seconds
        assert done.seconds >= done.cpu_seconds
        assert StageResult.of(done.to_json()) == done
        assert stages.once("one", "inputs", stopped) == done  # it has finished: nothing is added


def test_a_stages_time_does_not_depend_on_settings_that_changed_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained once and evaluated under several settings: one time, that of all of it; new weights begin anew."""
    clock = [100.0]
    monkeypatch.setattr("arenaloop.recipes.stage.time.monotonic", lambda: clock[0])

    def work(inputs: str, seconds: float, content: str) -> StageResult:
        clock[0] += seconds
        if inputs != "found":  # else neither training nor calls: all is there
            stages.observer.step(1, 1, {})
        weights(tmp_path / "checkpoints" / "one", content)
        return StageResult("base", rows=2, steps=1)

    with Store(tmp_path / "arena.db") as store:
        stages = Stages(store, tmp_path, Observer())
        told = [
            stages.once("one", inputs, lambda: work(inputs, seconds, content)).seconds  # noqa: B023 - called at once
            for inputs, seconds, content in [
                ("a", 40.0, "w"), ("b", 2.0, "w"), ("a", 99.0, "w"), ("b", 99.0, "w"),
                ("found", 5.0, "w"), ("c", 7.0, "v"),
            ]
        ]  # fmt: skip
        assert told == pytest.approx([40.0, 42.0, 42.0, 42.0, 42.0, 7.0])
        clock[0] += 5.0
        assert stages.seconds() == pytest.approx(59.0)
        assert run_seconds(store) == pytest.approx(59.0)
        assert Stages(store, tmp_path, Observer()).seconds() == pytest.approx(59.0)
