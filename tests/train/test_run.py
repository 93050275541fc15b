"""The directory of a training: damaged, shared and foreign files in it."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch
from safetensors.torch import load_file

from arenaloop.config import DPOSettings, SFTSettings
from arenaloop.errors import ConfigError
from arenaloop.train import run
from arenaloop.train.methods import training
from arenaloop.train.run import TrainingRun

ROWS = [
    {"prompt": [{"role": "user", "content": w}], "chosen": [{"role": "assistant", "content": w}],
     "rejected": [{"role": "assistant", "content": "no"}], "completion": [{"role": "assistant", "content": w}]}
    for w in ["abc", "de", "fghi", "jk", "lm", "nop"] * 4
]  # fmt: skip
COMMON: dict[str, Any] = {"epochs": 2, "batch_size": 6, "learning_rate": 1e-3, "threads": 1, "checkpoint_every": 2}
train_sft = partial(training, "sft", settings=SFTSettings(**COMMON), seed=1)
train_dpo = partial(training, "dpo", settings=DPOSettings(**COMMON), seed=1)


class StopHereError(Exception):
    pass


def interrupt(step: int, *_: object) -> None:
    raise StopHereError


def weights(out: Path) -> dict[str, Any]:
    return load_file(out / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def unbroken(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "unbroken"
    train_sft(start, ROWS, out)
    return out


class Interrupting:
    """A file in which Ctrl-C comes at the write of one number."""

    def __init__(self, file: BinaryIO, at: int) -> None:
        self.file, self.at, self.writes = file, at, 0

    def write(self, part: bytes) -> int:
        self.writes += 1
        if self.writes == self.at:
            signal.raise_signal(signal.SIGINT)
        return self.file.write(part)

    def flush(self) -> None:
        self.file.flush()

    def fileno(self) -> int:
        return self.file.fileno()


def interrupted(start: Path, out: Path, rows: Any = ROWS, train: Any = train_sft) -> Path:
    """A training that stopped after its checkpoints at the steps 2, 4 and 6."""
    changed = train.keywords["settings"].model_copy(update={"log_every": 7})
    with pytest.raises(StopHereError):
        train(start, rows, out, settings=changed, on_step=interrupt)
    assert torch.load(out / "checkpoint.pt", weights_only=True)["step"] == 6
    return out


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF  # amid the tensors
    path.write_bytes(content)


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "other bytes": lambda path: path.write_bytes(os.urandom(5000)),
    "a flipped byte": flipped,
    "a hostile pickle": lambda path: path.write_bytes(pickle.dumps(Hostile())),
    "not a state": lambda path: torch.save([1], path),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(
    start: Path, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.chdir(tmp_path)
    out = interrupted(start, tmp_path / "out")
    DAMAGE[damage](out / "checkpoint.pt")
    notes: list[str] = []
    train_sft(start, ROWS, out, on_note=notes.append)
    assert notes == [f"{out}: checkpoint.pt is damaged; going on from step 4"]
    assert same(out, unbroken)
    assert not list(out.glob("checkpoint*")), "neither is left at the end"
    assert not (tmp_path / "executed").exists()


def test_where_both_are_damaged_it_starts_anew(start: Path, unbroken: Path, tmp_path: Path) -> None:
    out = interrupted(start, tmp_path / "out")
    for name in ("checkpoint.pt", "checkpoint.previous.pt"):
        DAMAGE["cut"](out / name)
    notes: list[str] = []
    train_sft(start, ROWS, out, on_note=notes.append)
    assert notes == [f"{out}: checkpoint.pt is damaged, checkpoint.previous.pt is damaged; going on from the start"]
    assert same(out, unbroken)


def test_a_checkpoint_of_another_training_is_not_continued_from(start: Path, unbroken: Path, tmp_path: Path) -> None:
    out, other = interrupted(start, tmp_path / "out"), interrupted(start, tmp_path / "other", ROWS[::-1])
    (other / "checkpoint.pt").replace(out / "checkpoint.pt")
    notes: list[str] = []
    train_sft(start, ROWS, out, on_note=notes.append)
    assert notes == [f"{out}: checkpoint.pt is another training's; going on from step 4"]
    assert same(out, unbroken)


def test_a_damaged_reference_is_computed_again(start: Path, tmp_path: Path) -> None:
    train_dpo(start, ROWS, tmp_path / "unbroken")
    out = interrupted(start, tmp_path / "out", train=train_dpo)
    DAMAGE["cut"](out / "reference.pt")
    notes: list[str] = []
    train_dpo(start, ROWS, out, on_note=notes.append)
    assert notes == [f"{out / 'reference.pt'} is damaged; computed again"]
    assert same(out, tmp_path / "unbroken")


HOLD = """
import sys
from pathlib import Path
from arenaloop.train.run import TrainingRun
run = TrainingRun(Path(sys.argv[1]), "theirs")
run.begin()
print("held", flush=True)
sys.stdin.read()
"""


def test_one_process_trains_in_a_directory(start: Path, unbroken: Path, tmp_path: Path) -> None:
    out, other_name = tmp_path / "out", tmp_path / "link"
    out.mkdir()
    other_name.symlink_to(out)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out)], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder:
        assert holder.stdout.readline() == b"held\n"
        before = sorted(out.iterdir())
        for name in (out, other_name):
            with pytest.raises(ConfigError, match="another training is writing here"):
                train_sft(start, ROWS, name)
        assert sorted(out.iterdir()) == before
        holder.stdin.close()
    train_sft(start, ROWS, out)  # the lock went with the process
    assert same(out, unbroken)


def test_who_finds_the_directory_changed_since_it_looked_does_not_write(start: Path, tmp_path: Path) -> None:
    late = TrainingRun(tmp_path / "out", "late")
    train_sft(start, ROWS, tmp_path / "out")
    with pytest.raises(ConfigError, match="has written here meanwhile"):
        late.begin()
    assert (tmp_path / "out" / "config.json").exists()


@pytest.mark.parametrize("lost", ["model.safetensors", "config.json"])
def test_a_finished_model_that_is_lost_or_cut_is_trained_again(
    start: Path, unbroken: Path, tmp_path: Path, lost: str
) -> None:
    out = tmp_path / "out"
    train_sft(start, ROWS, out)
    if lost == "config.json":
        (out / lost).unlink()
    else:
        DAMAGE["cut"](out / lost)
    notes: list[str] = []
    train_sft(start, ROWS, out, on_note=notes.append)
    assert notes == [f"{out}: {lost} lost or cut; trained again"]
    assert same(out, unbroken)


def test_a_record_of_another_version_is_read(start: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = train_sft(start, ROWS, out)
    record = json.loads((out / "training.json").read_text())
    record["result"]["of_a_later_version"] = 1
    del record["files"], record["result"]["spelled"], record["result"]["explained"]
    (out / "training.json").write_text(json.dumps(record))
    assert train_sft(start, ROWS, out) == first


def test_another_training_in_the_directory_leaves_no_rollouts_of_the_one_before(start: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train_sft(start, ROWS, out)
    (out / "rollouts").mkdir()
    (out / "rollouts" / "000000.jsonl.gz").write_bytes(b"answers of the training before")
    (out / "rollouts" / "notes.txt").write_text("mine")
    train_sft(start, ROWS[:6], out)
    assert [file.name for file in (out / "rollouts").iterdir()] == ["notes.txt"]


def test_a_training_that_takes_anothers_place_says_so_and_by_what_they_differ(start: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    train_sft(start, ROWS, tmp_path / "out")
    changed = SFTSettings(**{**COMMON, "learning_rate": 2e-3, "epochs": 1})
    training("sft", start, ROWS, tmp_path / "out", changed, seed=2, on_note=notes.append)
    [note] = notes
    assert note.endswith("this one takes its place (they differ in seed, learning_rate, epochs)")


@pytest.mark.parametrize("at", [1, 2, 9, 40])
def test_ctrl_c_while_a_checkpoint_is_written_is_an_interruption(
    start: Path, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """torch ends its archive on the way out, and complains that bytes are missing."""
    whole = run._replacing

    @contextmanager
    def torn(path: Path) -> Iterator[BinaryIO]:
        with whole(path) as file:
            yield Interrupting(file, at) if path.name == "checkpoint.pt" else file  # type: ignore[misc]

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(run, "_replacing", torn)
        with pytest.raises(KeyboardInterrupt):
            train_sft(start, ROWS, out)
    train_sft(start, ROWS, out)
    assert same(out, unbroken)
