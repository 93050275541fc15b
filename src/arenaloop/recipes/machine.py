"""How fast things go on this machine and at servers: stated, stored in the run directory, or measured beforehand."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from arenaloop.calls.answers import Contestant
from arenaloop.calls.estimate import CHARACTERS_PER_TOKEN
from arenaloop.calls.estimated import RoleEstimate
from arenaloop.calls.speeds import PROBE, measured, stored_speed
from arenaloop.config import MachineSettings, OptimSettings, RecipeSettings, RowSettings, TargetServerSettings
from arenaloop.data.held_out import row_turns
from arenaloop.models.limits import AdaptiveLimit
from arenaloop.models.shape import Shape, shape_of
from arenaloop.models.size import Size
from arenaloop.models.speed import Speed
from arenaloop.recipes.memory import Memory, number_bytes, sampling_memory, training_memory
from arenaloop.recipes.work import Work
from arenaloop.regular_files import read_regular
from arenaloop.store import Store
from arenaloop.store.counts import models as model_counts
from arenaloop.types import Prompt, Request

__all__ = ["Machine", "count", "length_of", "machine_of", "measure_start"]

_WORTH_TELLING = 1e8
"""Parameters from which the memory that a model takes is of interest."""
_STEPS = 3
"""of fine-tuning, by which training is timed beforehand"""


@dataclass
class Machine:
    """How fast things go.

    Attributes:
        stated: by the settings.
        size: of the target; None where neither weights nor name tell.
        shape: of its layers; likewise.
        dtype, rows: of its weights while it answers, and how many rows do so at once.
        server: that answers in this process's place.
        sampling: the speed of a model of that size here, where it was measured.
        training: seconds of each token that SFT learned from here, where that was measured.
        per_token: characters to a token.
        call_seconds: by model, the mean of its stored calls.
    """

    stated: MachineSettings
    size: Size | None
    shape: Shape | None = None
    dtype: str = "auto"
    rows: int = 32
    server: TargetServerSettings | None = None
    sampling: Speed | None = None
    training: float | None = None
    per_token: float = CHARACTERS_PER_TOKEN
    call_seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def parameters(self) -> float | None:
        """Of the target."""
        told = self.stated.parameters or (None if self.size is None else float(self.size.parameters))
        return told if told is not None or self.shape is None else float(self.shape.parameters)

    def samples(self, tokens_in: float, tokens_out: float, calls: int = 0, shared: int = 1) -> float | None:
        """Seconds of answers that are sampled here.

        Args:
            tokens_in, tokens_out: of all of them.
            calls: how many they are; 0 where that is not known.
            shared: how many stand side by side that ask the same, whose prompt is read once.
        """
        read = tokens_in / max(1, min(shared, self.rows))
        if self.server is not None and self.stated.sampling_tokens is None:
            each, at_once = self.stated.call_seconds, self.server.concurrency or AdaptiveLimit().limit
            together = max(1, min(shared, self.server.samples_per_call))
            return None if each is None else calls / together * each / at_once
        if self.sampling is not None:
            return self.sampling._replace(loading=0.0).seconds(read, tokens_out)
        if self.stated.sampling_tokens is not None:
            return tokens_out / self.stated.sampling_tokens
        if self.parameters is None:
            return None
        if self.stated.sampling_tflops is not None:
            return 2 * self.parameters * (read + tokens_out) / (1e12 * self.stated.sampling_tflops)
        if (gpu := self.stated.gpu) is None:
            return None
        reading = 2 * self.parameters * read / (1e12 * gpu.tflops * self.stated.mfu)
        return reading + _writing(self, gpu.bandwidth * self.stated.mbu, tokens_in, tokens_out, calls or self.rows)

    def answers_in(self, tokens: float) -> Memory | None:
        """What it takes to answer as many rows as a chunk has, each of so many tokens; None where that is unknown."""
        if self.shape is None or self.server is not None:
            return None
        return sampling_memory(self.shape, self.dtype, self.rows, tokens)

    def learns_in(self, settings: OptimSettings) -> Memory | None:
        """What a training takes; None of an unknown shape."""
        return None if self.shape is None else training_memory(self.shape, settings)

    def learns(self, work: Work, settings: OptimSettings) -> float | None:
        """Seconds of passes forward and backward; adapters need no gradients of the weights that stay."""
        backward = (2 if settings.lora is not None else 4) + (2 if settings.gradient_checkpointing else 0)
        operations = 2 * work.read + (2 + backward) * work.learned  # for each parameter
        if self.training is not None:
            return operations / 6 * self.training
        tflops = self.stated.training_tflops
        if tflops is None and self.stated.gpu is not None:
            tflops = self.stated.gpu.tflops * self.stated.mfu
        if self.parameters is None or tflops is None:
            return None
        return self.parameters * operations / (1e12 * tflops)

    def calls(self, role: RoleEstimate, model: Any) -> tuple[float | None, str]:
        """Seconds of a role's calls to a server, and what was assumed; those of this process's scripts take none."""
        limits = getattr(model, "limits", None)
        if limits is None or not role.calls:
            return 0.0, ""
        each = self.call_seconds.get(role.name, self.stated.call_seconds)
        if each is None:
            return None, "how long a server's call takes is unknown: machine.call_seconds says it"
        at_once = limits.concurrency or AdaptiveLimit().limit
        told = f"{each:.2g} s a call, {at_once} at once{'' if limits.concurrency else ' to begin with'}"
        seconds = role.calls * each / at_once
        for most, count in ((limits.rpm, role.calls), (limits.tpm, role.tokens_in + role.tokens_out)):
            seconds = max(seconds, 60 * count / most if most else 0.0)
        return seconds, told

    def trained(self, directory: Path, done: Work) -> None:
        """Take the speed of training from a finished one, and what it has done; loading and saving are in it."""
        with suppress(OSError, ValueError, TypeError, KeyError):
            seconds = float(json.loads(read_regular(directory / "training.json"))["result"]["seconds"])
            if seconds > 0 and done.learned:
                self.training = seconds / done.learned

    def told(self) -> Iterator[str]:
        """On what its hours stand."""
        if self.parameters is None:
            yield "how many parameters the target has is unknown: machine.parameters says it"
        elif self.stated.parameters is not None or self.size is None:
            yield f"the target has {count(self.parameters)} parameters (machine.parameters)"
        else:
            yield f"the target has {count(self.parameters)} parameters ({self.size.told})"
        if self.server is not None and self.stated.sampling_tokens is None:
            each = (
                "unknown: machine.call_seconds says it" if (told := self.stated.call_seconds) is None else f"{told:g} s"
            )
            yield f"answers are written at {self.server.spec} (target.server), a call's time {each}"
        elif self.sampling is not None:
            yield f"sampling here: measured, {self.sampling.words()}"
        elif self.stated.sampling_tokens is not None:
            rate = self.stated.sampling_tokens
            yield f"sampling here: taken to write {rate:,.0f} tokens a second (machine.sampling_tokens)"
        elif self.stated.sampling_tflops is not None or self.stated.gpu is None:
            yield _assumed("sampling", self.stated.sampling_tflops)
        if self.training is not None:
            yield f"training here: measured, {1 / self.training:,.0f} tokens/s of SFT"
        elif self.stated.training_tflops is not None or self.stated.gpu is None:
            yield _assumed("training", self.stated.training_tflops)
        if (gpu := self.stated.gpu) is not None:
            yield (
                f"one {gpu.name}: {gpu.memory:g} GB; of its {gpu.tflops:g} · 10¹² operations a second training and "
                f"reading are taken to do {self.stated.mfu:.0%} (machine.mfu), of its {gpu.bandwidth:g} · 10¹² bytes "
                f"writing {self.stated.mbu:.0%} (machine.mbu), {self.rows} rows at once"
            )
        if self.shape is None and (self.parameters is None or self.parameters >= _WORTH_TELLING):
            yield "the memory is unknown, as the sizes of the target's layers are: machine.config names its config.json"


def _assumed(what: str, tflops: float | None) -> str:
    if tflops is None:
        return f"how fast {what} is here is unknown: machine.{what}_tflops says it, or --measure"
    return f"{what} here: taken to do {tflops:g} · 10¹² operations a second (machine.{what}_tflops)"


def _writing(machine: Machine, bandwidth: float, tokens_in: float, tokens_out: float, calls: int) -> float:
    """Seconds of writing, a token of all rows of a chunk at a time: each reads all weights, and what is cached.

    A chunk goes on as long as its longest row, which is taken to be twice as long as the mean one.

    Args:
        machine: whose model and chunks they are.
        bandwidth: 10¹² bytes a second that are sustained.
        tokens_in, tokens_out, calls: of all chunks.
    """
    rows, each = min(machine.rows, calls), tokens_out / calls
    weights = (machine.parameters or 0.0) * number_bytes(machine.dtype)
    cached = 0.0 if machine.shape is None else machine.shape.cached * number_bytes(machine.dtype)
    # of twice as many steps as a row has on the mean half are written by it, so the cache is read by half the rows
    read = 2 * each * weights + each * rows * cached * (tokens_in / calls + each / 2)
    return calls / rows * read / (1e12 * bandwidth)


def length_of(conversations: Iterable[Iterable[Any]], machine: Machine) -> float:
    """The tokens of a conversation on the mean, its turns being `held_out.Turn` or messages; 0 of none."""
    lengths = [sum(len(_content(turn)) for turn in turns) for turns in conversations]
    return sum(lengths) / len(lengths) / machine.per_token if lengths else 0.0


def _content(turn: Any) -> str:
    return str(turn["content"] if isinstance(turn, Mapping) else turn.text)


def machine_of(
    settings: RecipeSettings, start: str, size: Size | None, store: Store | None, first: Contestant
) -> Machine:
    """How fast things go: as stated, or as the arena file tells.

    Args:
        settings: the recipe's.
        start: the model that training starts from, by whose configuration or name its layers are known.
        size: of the target.
        store: the arena file, as far as there is one.
        first: the first trained model, whose speed may be stored.
    """
    target = settings.target
    shape = shape_of(settings.machine.config or start)
    machine = Machine(settings.machine, size, shape, target.dtype, target.chunk_size, target.server)
    if store is not None:
        machine.sampling = stored_speed(store, first.asked)
        seconds = {row.name: row.mean_seconds for row in model_counts(store, ())}
        machine.call_seconds = {name: each for name, each in seconds.items() if each is not None}
    return machine


def measure_start(
    machine: Machine,
    start: Contestant,
    prompts: Sequence[Prompt],
    rows: Sequence[Mapping[str, Any]],
    settings: RowSettings,
) -> None:
    """Load the model that training starts from, time a few of its answers and some steps of fine-tuning it.

    What is known from this directory is not measured again.

    Raises:
        InputError: it cannot be loaded.
    """
    model: Any = start.asked
    if machine.sampling is None and machine.server is None:
        requests = [Request(tuple(prompt.conversation(())), start.sampling) for prompt in prompts[:PROBE]]
        machine.sampling = measured(model, requests)
        characters = sum(len(message["content"]) for request in requests for message in request.messages)
        if machine.sampling is not None and machine.sampling.read:
            machine.per_token = characters / machine.sampling.read
    if machine.training is None:
        machine.training = _seconds_a_token(model.path, rows[: _STEPS * settings.batch_size], settings, machine)


def _seconds_a_token(
    start: str, rows: Sequence[Mapping[str, Any]], settings: RowSettings, machine: Machine
) -> float | None:
    """Of fine-tuning, by a few steps into a directory that goes; the first one warms up and does not count."""
    from arenaloop.train.methods import training  # needs torch

    steps = {
        "max_steps": _STEPS,
        "log_every": 1,
        "checkpoint_every": 0,
        "keep_every": 0,
        "report_to": (),
        "fsdp": False,
    }
    ends: list[float] = []

    def step(done: int, total: int, metrics: Mapping[str, float]) -> None:
        ends.append(time.perf_counter())

    with TemporaryDirectory() as folder:
        out = Path(folder) / "sft"
        training("sft", start, rows, out, settings.model_copy(update=steps), seed=0, on_step=step)
    tokens = length_of(map(row_turns, rows), machine) * min(settings.batch_size, len(rows))
    return (ends[-1] - ends[0]) / (len(ends) - 1) / tokens if len(ends) > 1 and tokens else None


def count(value: float) -> str:
    """A number for people: ``3,248``, ``20k``, ``3.685M``."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= (size if unit != "k" else 10_000):
            return f"{value / size:,.4g}{unit}"
    return f"{value:,.0f}"
