"""Several processes that train one model together, each on a part of every optimiser batch.

They are started by ``torchrun`` or ``accelerate launch``, on one machine or several. Every process plans the whole of
every step from the same rows and seeds, takes its part, and the gradients are summed: what is computed is what one
process computes, but for the order of sums. The first process alone writes, prints, and asks the reward.

Modules are not wrapped for data parallelism. A loss here reads base model and output layer apart, a chunk at a time,
often of two models, and knows the counts of the whole batch; a wrapper that hooks into one module's forward pass would
see none of it, and divide by the number of processes besides. One sum after a step's last backward pass is exact and
has nothing that could hang but itself; what is lost is the overlap of that sum with the backward pass.

This module alone knows `accelerate` and `torch.distributed`; one process without trackers imports neither.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor

from arenaloop.errors import ArenaloopError, ConfigError, StoppedError, UserError
from arenaloop.models.checkpoint import torch_device
from arenaloop.models.reward import Reward

__all__ = ["Processes", "asks_to_spread", "first_to_fail", "joined", "leave", "wanted"]

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741

SYNC_MINUTES = 30
"""Within which all processes have to come to the sum of a step's gradients."""

WAIT_HOURS = 24
"""For which they wait for what the first one does alone: a judge that scores, a model that is saved."""


@dataclass(frozen=True, slots=True)
class Processes:
    """Those that train together, as one of them sees them.

    Attributes:
        rank: its number, from 0; the first one writes.
        world: how many there are.
        device: where it computes, where there are several.
        words: the group over which objects are sent, on CPUs.
    """

    rank: int = 0
    world: int = 1
    device: torch.device | None = None
    words: Any = None

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def device_of(self, name: str | None) -> torch.device:
        """The device that the settings name; of several processes each has its own.

        Raises:
            ConfigError: there is none of that name, or it names one device for all of them.
        """
        if self.device is None:
            found: torch.device = torch_device(name)
            return found
        wanted = torch.device(self.device.type if name is None else name)
        if wanted.type != self.device.type or wanted.index is not None:
            raise ConfigError(f"device {name}: {self.world} processes compute on {self.device.type}, each on its own")
        return self.device

    def once(self, work: Callable[[], T], most: float = math.inf) -> T:
        """What the first process does alone; all have its result, or its failure.

        Args:
            work: what it does.
            most: floats in a tensor that is sent; of larger ones the others have the shape, on the device ``meta``.

        Raises:
            UserError, StoppedError: it failed.
        """
        if self.world == 1:
            return work()
        if not self.first:
            return self._told()
        try:
            value = work()
        except BaseException as error:
            with _together("the first one's failure"):
                _send([str(error) or type(error).__name__, isinstance(error, UserError)], [], self.words, failed=True)
            raise
        tensors: list[Tensor] = []
        outline = _outline(value, tensors, most)
        with _together("the first one's result"):
            _send(outline, tensors, self.words)
        return value

    def reward(self, make: Callable[[], Reward]) -> Reward:
        """A reward, which the first process alone makes and asks."""
        made: list[Reward] = []

        def identity() -> str:
            made.append(make())
            return made[0].identity

        known = self.once(identity)
        return made[0] if made else Reward(lambda prompts, answers: [None] * len(answers), known)

    def _told(self) -> Any:
        import torch.distributed as dist

        with _together("what the first one does"):
            head: list[Any] = [None]
            dist.broadcast_object_list(head, src=0, group=self.words)
            failed, outline, shapes = head[0]
            if failed:
                text, refused = outline
                raise (ConfigError if refused else StoppedError)(text)
            tensors = [torch.empty(shape, dtype=dtype) for shape, dtype in shapes]
            for tensor in tensors:
                dist.broadcast(_bytes(tensor), src=0, group=self.words)
        return _filled(outline, tensors)

    def each(self, items: Sequence[I], work: Callable[[I], T]) -> list[T]:
        """Do something with every item, shared out among the processes; all have all results, in order.

        Every process does equally many, since a model that is spread over them needs all of them for every pass.
        """
        if self.world == 1:
            return [work(item) for item in items]
        last = len(items) - 1
        mine = [work(items[min(at + self.rank, last)]) for at in range(0, len(items), self.world)]
        found = self.gathered(mine)
        return [found[at % self.world][at // self.world] for at in range(len(items))]

    def gathered(self, value: T) -> list[T]:
        """The values of all processes, by rank."""
        if self.world == 1:
            return [value]
        import torch.distributed as dist

        found: list[Any] = [None] * self.world
        with _together("each other's results"):
            dist.all_gather_object(found, value, group=self.words)
        return found

    def any(self, flag: bool) -> bool:
        """Whether it is so in one of them."""
        if self.world == 1:
            return flag
        import torch.distributed as dist

        found = torch.tensor(float(flag))
        with _together("each other's memory"):
            dist.all_reduce(found, op=dist.ReduceOp.MAX, group=self.words)
        return bool(found)

    def agree(self, value: str, words: str) -> None:
        """Refuse processes that were given different things.

        Raises:
            ConfigError: they were.
        """
        different = [rank for rank, other in enumerate(self.gathered(value)) if other != value]
        if different:
            raise ConfigError(words)

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Make every gradient the sum of those of all processes.

        Which parameters have one is the same everywhere: all processes do equally many passes of the same objective.
        """
        if self.world > 1:
            self._sum([p.grad for p in parameters if p.grad is not None])

    def sum_figures(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The sums of scalars of the same names."""
        if self.world == 1 or not sums:
            return dict(sums)
        names = sorted(sums)
        every = torch.stack([sums[name].double() for name in names])
        self._sum([every])
        return {name: value.to(sums[name].dtype) for name, value in zip(names, every, strict=True)}

    def spread_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Make tensors what they are in the first process."""
        if self.world == 1:
            return
        import torch.distributed as dist

        with _together("the first one's weights"):
            for handle in [dist.broadcast(tensor.detach(), src=0, async_op=True) for tensor in tensors]:
                handle.wait()

    def _sum(self, tensors: Sequence[Tensor]) -> None:
        import torch.distributed as dist

        with _together("a step's gradients"):
            for handle in [dist.all_reduce(tensor, async_op=True) for tensor in tensors]:
                handle.wait()


def wanted() -> int:
    """How many processes the launcher has started."""
    return int(os.environ.get("WORLD_SIZE") or 1)


@cache
def joined() -> Processes:
    """The processes that this one was started with, which it joins at the first call; alone, it is the only one.

    Raises:
        ConfigError: they cannot find each other, or there are more than devices.
    """
    count = wanted()
    if count == 1:
        return Processes()
    import torch.distributed as dist
    from accelerate import PartialState

    try:
        # without `cpu` it takes a machine that has no GPU for one process, and says nothing
        cpu = not torch.accelerator.is_available() or os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true"
        state = PartialState(cpu=cpu, timeout=timedelta(minutes=SYNC_MINUTES))
        words = dist.new_group(backend="gloo", timeout=timedelta(hours=WAIT_HOURS))
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise ConfigError(f"the {count} processes cannot train together: {_line(error)}") from error
    if state.num_processes != count:
        raise ConfigError(f"{count} processes were started, and {state.num_processes} found each other")
    here = int(os.environ.get("LOCAL_WORLD_SIZE") or 1)
    if state.device.type != "cpu" and here > torch.accelerator.device_count():
        raise ConfigError(f"{here} processes on {torch.accelerator.device_count()} devices; start one for each")
    return Processes(state.process_index, state.num_processes, state.device, words)


def asks_to_spread() -> bool:
    """Whether the configuration of ``accelerate launch`` asks for FSDP."""
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"


def leave() -> None:
    """Part in order, at the end."""
    import torch.distributed as dist

    if joined.cache_info().currsize and dist.is_initialized():
        dist.destroy_process_group()
        joined.cache_clear()


def first_to_fail() -> bool:
    """Whether this process is the one that says why all of them stop: whoever asks first."""
    import torch.distributed as dist

    if not joined.cache_info().currsize:  # what is refused before they join is the same in all
        return wanted() == 1 or os.environ.get("RANK", "0") == "0"
    if not dist.is_initialized():
        return True
    try:
        store = dist.distributed_c10d._get_default_store()
        return int(store.add("arenaloop/failed", 1)) == 1
    except (RuntimeError, AttributeError):  # gone, with the process that kept it
        return True


@contextmanager
def _together(what: str) -> Iterator[None]:
    """What processes do with each other; where one is missing, the others stop in one line."""
    try:
        yield
    except ArenaloopError:
        raise
    except RuntimeError as error:
        raise StoppedError(
            f"another process of this training is gone, or {SYNC_MINUTES} minutes late (it was waited for with "
            f"{what}): {_line(error)}"
        ) from error


def _line(error: BaseException) -> str:
    """The first sentence of an error, without the place in somebody's source that it may begin with."""
    text = re.sub(r"^\[[^\]]*\.\w+:\d+\] ", "", str(error).strip())
    return (text or type(error).__name__).splitlines()[0].split(". ")[0][:200]


# ------------------------------------------------------------------ sending values


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in a value a tensor stood that is sent by itself, and not as an object."""

    at: int


def _outline(value: Any, tensors: list[Tensor], most: float) -> Any:
    """A value without its tensors, which are added to the list unless they are too large."""
    if isinstance(value, Tensor) and value.is_floating_point() and value.numel() > most:
        return torch.empty_like(value, device="meta")
    if isinstance(value, Tensor):
        tensors.append(value.detach().cpu().contiguous())
        return _Place(len(tensors) - 1)
    if isinstance(value, dict):
        return {name: _outline(each, tensors, most) for name, each in value.items()}
    if isinstance(value, list):
        return [_outline(each, tensors, most) for each in value]
    return value


def _filled(outline: Any, tensors: Sequence[Tensor]) -> Any:
    if isinstance(outline, _Place):
        return tensors[outline.at]
    if isinstance(outline, dict):
        return {name: _filled(each, tensors) for name, each in outline.items()}
    if isinstance(outline, list):
        return [_filled(each, tensors) for each in outline]
    return outline


def _send(outline: Any, tensors: Sequence[Tensor], group: Any, failed: bool = False) -> None:
    import torch.distributed as dist

    head = (failed, outline, [(each.shape, each.dtype) for each in tensors])
    dist.broadcast_object_list([head], src=0, group=group)
    for tensor in tensors:
        dist.broadcast(_bytes(tensor), src=0, group=group)


def _bytes(tensor: Tensor) -> Tensor:
    """The same memory, in a type that every group can send."""
    return tensor.view(-1).view(torch.uint8)
