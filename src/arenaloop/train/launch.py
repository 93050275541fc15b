"""A run's training by several processes: they are started, watched, answered, and ended with the run.

The run itself trains nothing here. It writes what is to be trained into a folder (`errand`), starts ``torchrun`` or
``accelerate launch``, tells its own observer how far the first process is, scores the answers that a method asks about,
and has the result when all have ended. On several nodes the folder is on a file system that all of them see.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from arenaloop.config import LaunchSettings, OptimSettings
from arenaloop.errors import ArenaloopError, ConfigError, InputError, StoppedError, UserError
from arenaloop.jsonl import write_jsonl
from arenaloop.models.kept_checkpoint import RECORD, document
from arenaloop.models.reward import Reward
from arenaloop.train.errand import Errand, Folder
from arenaloop.train.preparing import preparing

if TYPE_CHECKING:
    from arenaloop.train.run import TrainResult

__all__ = ["command_line", "launched"]

_RENEW = 5.0  # seconds between signs of life
_LOOK = 0.1  # seconds between looks at what the processes have written
_ENDING = 45.0  # seconds that a launcher has to end its processes, of which torchrun takes up to 30
_OTHERS = 30.0  # seconds that processes of a run that was killed have to notice that another one has begun
_SHOWN = 200  # characters of a log's last line

OnStep = Callable[[int, int, Mapping[str, float]], None]


def command_line(launch: LaunchSettings, folder: Path) -> list[str]:
    """The line that starts the processes of one node; within ``launch.command``, those of all.

    Args:
        launch: how.
        folder: that says what is to be trained.
    """
    program = ["-m", "arenaloop.train.launched", str(folder)]
    if launch.launcher == "torchrun":
        meet = (
            ["--standalone"]
            if launch.rdzv_endpoint is None
            else ["--rdzv-backend", "c10d", "--rdzv-endpoint", launch.rdzv_endpoint, "--rdzv-id", folder.name]
        )
        nodes = ["--nnodes", str(launch.nnodes), "--nproc-per-node", str(launch.nproc_per_node)]
        own = [sys.executable, "-m", "torch.distributed.run", *nodes, *meet, "--max-restarts", "0"]
    else:
        own = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines", str(launch.nnodes)]
        own += ["--num_processes", str(launch.world), "--max_restarts", "0"]
        if launch.world > 1:
            own.append("--multi_gpu")
        if launch.rdzv_endpoint is not None:
            host, _, port = launch.rdzv_endpoint.rpartition(":")
            own += ["--rdzv_backend", "c10d", "--main_process_ip", host, "--main_process_port", port]
            own += ["--machine_rank", "0"]
    own += [*launch.arguments, *program]
    if launch.command is None:
        return own
    line: list[str] = []
    for part in shlex.split(launch.command):
        line += own if part == "{command}" else [part.replace("{command}", shlex.join(own))]
    return line


def launched(
    launch: LaunchSettings,
    folder: Path,
    method: str,
    start: str | Path,
    rows: Sequence[Mapping[str, Any]],
    out: Path,
    settings: OptimSettings,
    *,
    seed: int,
    on_step: OnStep,
    on_note: Callable[[str], None],
    revision: str | None = None,
    reward: Reward | None = None,
    keep_other: bool = False,
) -> TrainResult:
    """Train by several processes, as `methods.training` does by one; the same call goes on after an interruption.

    Args:
        launch: how they are started.
        folder: where they are told what to do; what an earlier start left there goes.
        method, start, rows, out, settings, seed, on_step, on_note, revision, reward, keep_other: as of
            `methods.training`.

    Of a training that is through nothing is started.

    Raises:
        ConfigError: the launcher cannot be started, or a process refuses what it is given.
        StoppedError: a process has ended early; the message has its last line, and names its log.
    """
    errand = Errand(
        method=method,
        start=str(Path(start).resolve()) if Path(start).is_dir() else str(start),
        out=str(out.resolve()),
        settings=settings.model_dump(mode="json"),
        seed=seed,
        revision=revision,
        reward=None if reward is None else reward.identity,
        keep_other=keep_other,
        world=launch.world,
        word=secrets.token_hex(8),
    )
    if isinstance(document(out / RECORD).get("result"), dict):  # else nothing needs torch here
        from arenaloop.train.methods import finished

        done = finished(method, start, rows, out, settings, seed=seed, revision=revision, reward=reward)
        if done is not None:  # processes would find the same, after a minute or in a queue
            return done
    place = Folder(folder.resolve())
    _end_earlier(place, errand, out)
    write_jsonl(place.rows, rows)
    place.steps.touch()
    place.put(errand)
    _let_go_of_devices()
    line = command_line(launch, place.path)
    if launch.nnodes > 1 and launch.command is None:
        on_note(f"{out.name}: start this on each further node: {shlex.join(line)}")
    with _renewing(place, errand.word), _started(line, place) as process, place.steps.open(encoding="utf-8") as steps:
        answered = 0
        while True:
            ended = _has_ended(process)
            _tell(steps, on_step, on_note)
            if reward is not None and (question := place.read(f"ask-{answered + 1}.json")) is not None:
                answered += 1
                place.write(f"told-{answered}.json", _scored(reward, question))
            if ended:
                break
    result = place.read("result.json")
    if process.returncode != 0 or result is None:
        raise _failure(place, launch, line, process.returncode, out.name)
    from arenaloop.train.run import TrainResult

    return TrainResult(**{**result, "path": out})


def _end_earlier(place: Folder, errand: Errand, out: Path) -> None:
    """Have processes of a run that was killed leave the training, and empty the folder.

    Raises:
        ConfigError: one of them, or another training, stays.
    """
    if place.path.is_dir():
        place.renew(errand.word, 0)  # whoever reads another's word ends
        for found in place.path.iterdir():
            if found.name != "alive" and found.is_file():
                found.unlink()
    place.path.mkdir(parents=True, exist_ok=True)
    place.renew(errand.word, 0)
    if not out.is_dir():
        return
    handle = os.open(out, os.O_RDONLY)
    try:
        for _ in range(int(_OTHERS / _LOOK)):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                threading.Event().wait(_LOOK)
            except OSError:  # a file system without locks: the processes will say so
                return
            else:
                return
    finally:
        os.close(handle)
    raise ConfigError(f"{out}: another training is writing here; wait for it, or choose another --out")


@contextmanager
def _renewing(place: Folder, word: str) -> Iterator[None]:
    """Renew the run's word, also while it scores answers for hours; it goes at the end, and with it who reads it."""
    over = threading.Event()

    def renew() -> None:
        beat = 0
        while not over.wait(_RENEW):
            beat += 1
            with suppress(ArenaloopError, OSError):  # a full disk is the training's to tell
                place.renew(word, beat)

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        (place.path / "alive").unlink(missing_ok=True)


@contextmanager
def _started(line: Sequence[str], place: Folder) -> Iterator[subprocess.Popen[bytes]]:
    """The launcher, in a session of its own; it and its processes do not outlive the block.

    Raises:
        ConfigError: there is no such program.
    """
    own = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "GROUP_RANK"}
    environment = {name: value for name, value in os.environ.items() if name not in own}
    with place.launcher_log.open("wb") as log:
        try:
            process = subprocess.Popen(  # noqa: S603 - no shell, and the line is the user's own
                line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        except OSError as error:
            raise ConfigError(f"launch: {line[0]} cannot be started ({error.strerror})") from None
    try:
        yield process
    finally:
        for number, seconds in ((signal.SIGTERM, _ENDING), (signal.SIGKILL, None)):
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(seconds)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether the launcher has; waits a moment for it."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(_LOOK)
        return True
    return False


def _tell(steps: TextIO, on_step: OnStep, on_note: Callable[[str], None]) -> None:
    """Pass on what the first process has said since; of a line that is being written, nothing yet."""
    while True:
        at = steps.tell()
        line = steps.readline()
        if not line.endswith("\n"):
            steps.seek(at)
            return
        said = json.loads(line)
        if "note" in said:
            on_note(said["note"])
        elif "doing" in said:
            preparing(said["doing"], said["done"], said["of"])
        else:
            on_step(said["step"], said["total"], said["figures"])


def _scored(reward: Reward, question: Mapping[str, Any]) -> dict[str, Any]:
    """What a reward says; what the user has to know of it is said by the process that asked."""
    try:
        if question.get("probe"):
            reward.probe()
            return {"scores": []}
        given = reward.score(question["prompts"], question["answers"])
    except ArenaloopError as error:
        return {"error": str(error), "refused": isinstance(error, UserError)}
    return {"scores": [None if each is None else float(each) for each in given]}


def _let_go_of_devices() -> None:
    """Give memory of the GPU back that this process only keeps for later: the others need it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


# ------------------------------------------------------------------ why it ended early


def _failure(place: Folder, launch: LaunchSettings, line: Sequence[str], code: int | None, name: str) -> ArenaloopError:
    """The one line that says which process ended first, and why."""
    found = place.processes()
    told = [each for each in found if each.get("end") in ("refused", "stopped", "failed")]
    if told:
        first = min(told, key=lambda each: float(each["ended"]))
        if first["end"] != "failed":
            return (InputError if first["end"] == "refused" else StoppedError)(str(first["text"]))
        return StoppedError(
            f"{name}: process {first['rank']} of {launch.world} failed: {first['text']} (its log: "
            f"{place.log(first['rank'])}); the same command goes on from the last checkpoint"
        )
    log = _read(place.launcher_log)
    if not found:
        last = _last_line(log) or "without a word"
        said = f"{name}: {Path(line[0]).name} ended with exit code {code} before a process had begun: {last}"
        return StoppedError(f"{said} (all of it: {place.launcher_log})")
    dead = [each for each in found if "end" not in each]
    cause = re.search(r"Root Cause.*?rank\s*:\s*(\d+).*?exitcode\s*:\s*(-?\d+)", log, re.S)
    rank = int(cause[1]) if cause else int(dead[0]["rank"]) if dead else 0
    how = "is gone"
    if cause is not None and int(cause[2]) < 0:
        with suppress(ValueError):
            how = f"was killed ({signal.Signals(-int(cause[2])).name})"
    host = next((each["host"] for each in found if each["rank"] == rank), None)
    last = _last_line(_read(place.log(rank)))
    return StoppedError(
        f"{name}: process {rank} of {launch.world}{f' on {host}' if host and launch.nnodes > 1 else ''} {how}"
        f"{f'; the end of its log: {last}' if last else ', without a word'} ({place.log(rank)}); the same command "
        "goes on from the last checkpoint"
    )


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text("utf-8", errors="replace")
    return ""


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:_SHOWN] if lines else ""
