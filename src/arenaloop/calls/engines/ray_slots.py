"""The workers of a cluster: each has a slot, whose thread starts an actor, hears it, and replaces it when it is lost.

What a slot hears it tells by one function, in the order in which it happens.
"""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from typing import Any, NamedTuple

from arenaloop.calls.engines.ray_cluster import Versions
from arenaloop.calls.engines.ray_worker import News, Worker
from arenaloop.errors import ArenaloopError, ConfigError

__all__ = ["Gone", "Lost", "Slot", "Told", "Up", "why_lost"]

MOST_LOST = 6
"""Workers of one slot that may be lost in a row, none of them having brought a row, before it is given up."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0
_START = 90.0  # seconds that a worker has to start: a node may be busy, or yet to come
_SILENCE = 60.0  # seconds without a sign of life after which a worker is given up


class Up(NamedTuple):
    """A worker is there, on this node, and its orders get these numbers, of all plays together."""

    actor: Any
    node: str
    numbers: Iterator[int]


class Lost(NamedTuple):
    """It is not any more, and what it had in hand will not come."""

    why: str


class Gone(NamedTuple):
    """No other takes its place."""

    why: str
    error: ArenaloopError | None = None


Told = Up | News | Lost | Gone
"""What a slot tells."""


class Slot:
    """The place of one worker.

    Args:
        at: which one, from 0.
        tell: called from the slot's thread with itself and `Up`, `News`, `Lost` or `Gone`.

    Attributes:
        variables: environment variables that its workers must have.
    """

    def __init__(self, at: int, tell: Callable[[Slot, Told], None]) -> None:
        self.at, self._tell = at, tell
        self.variables: Sequence[str] = ()
        self._actor: Any = None
        self._heard = time.monotonic()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._live, name=f"ray worker {at}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self, seconds: float) -> None:
        """End the worker; no other takes its place. Its thread has ended on return, if it does in time."""
        self._closing.set()
        _kill(self._actor)
        if self._thread.is_alive():
            self._thread.join(seconds)

    def check(self) -> None:
        """Give a worker up that has been silent for too long."""
        if self._actor is not None and time.monotonic() - self._heard > _SILENCE:
            _kill(self._actor)

    def refusal(self, variables: Sequence[str]) -> ConfigError | None:
        """What the worker lacks to ask a model; None where nothing, or where there is no worker now. Blocking."""
        import ray

        if (actor := self._actor) is not None:
            try:
                told = ray.get([actor.hello.remote(), actor.lacks.remote(variables)], timeout=_START)
            except ray.exceptions.RayError:
                pass  # it is lost, and whoever takes its place is looked at then
            else:
                if (refused := _refused(self.at, *told)) is not None:
                    return refused
        self.variables = variables
        return None

    def _live(self) -> None:
        lost = 0
        while not self._closing.is_set():
            why = "it ended"
            try:
                actor = self._begin()
                for news in self._hear(actor):
                    if news.rows:
                        lost = 0
                    self._tell(self, news)
            except ArenaloopError as error:
                self._tell(self, Gone(str(error), error))
                return
            except Exception as error:  # of Ray, in whatever form it says that an actor or a node is not there any more
                why = why_lost(error)
            if self._closing.is_set():
                return
            actor, self._actor = self._actor, None
            _kill(actor)
            lost += 1
            self._tell(self, Lost(why))
            if lost >= MOST_LOST:
                self._tell(self, Gone(why))
                return
            self._closing.wait(min(_FIRST_PAUSE * 2 ** (lost - 1), _LONGEST_PAUSE))

    def _begin(self) -> Any:
        import ray

        actor_class: Any = ray.remote(Worker)
        # of a node whose cores are all taken nothing is wanted but a place: a worker waits for servers
        options = {"num_cpus": 0.001, "max_restarts": 0, "max_task_retries": 0, "scheduling_strategy": "SPREAD"}
        self._actor = actor = actor_class.options(**options).remote()
        told = ray.get([actor.hello.remote(), actor.lacks.remote(self.variables)], timeout=_START)
        if (refused := _refused(self.at, *told)) is not None:
            raise refused
        self._heard = time.monotonic()
        self._tell(self, Up(actor, told[0][1], count()))
        return actor

    def _hear(self, actor: Any) -> Iterator[News]:
        import ray

        while not self._closing.is_set():
            for reference in actor.stream.options(num_returns="streaming").remote():
                news: News = pickle.loads(ray.get(reference))  # noqa: S301 (of our own workers)
                self._heard = time.monotonic()
                yield news
                if self._closing.is_set():
                    return


def _refused(at: int, hello: tuple[Versions, str], lacking: Sequence[str]) -> ConfigError | None:
    versions, node = hello
    if versions != (here := Versions.here()):
        return ConfigError(f"ray worker {at + 1} on {node} has {versions}, and this process {here}: install the same")
    if lacking:
        return ConfigError(
            f"ray worker {at + 1} on {node} has no {' and no '.join(lacking)} in its environment: set it before "
            "`ray start` there; keys are not sent"
        )
    return None


def why_lost(error: Exception) -> str:
    """The first line of what Ray says of an actor that is lost."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if any("No module named 'arenaloop" in line for line in lines):
        return "arenaloop is not installed there"
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def _kill(actor: Any) -> None:
    if actor is None:
        return
    import ray

    with suppress(Exception):  # it is gone, or the cluster is
        ray.kill(actor)
