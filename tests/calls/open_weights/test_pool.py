"""Engines of one set of weights, without Ray: actors are objects of this process that can be made to die."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from arenaloop.calls.engines.ray_cluster import Versions
from arenaloop.calls.open_weights import pool as pools
from arenaloop.calls.open_weights.actors import Wanted
from arenaloop.calls.open_weights.base import Adapter, EngineSettings, Loaded
from arenaloop.calls.open_weights.holder import Told
from arenaloop.calls.open_weights.pool import Cause, Pool
from arenaloop.errors import ConfigError, EndpointDownError
from arenaloop.types import Completion, Request

Answers = Callable[["Actor", str], Told | Exception | None]


class Actor:
    """As much of an actor's handle as a pool uses."""

    def __init__(self, answers: Answers, load: Callable[[], Told | None]) -> None:
        self._answers, self._load = answers, load
        self.flying, self.most, self.killed = 0, 0, False
        self.hello = self._method(lambda: (Versions.here(), "node"))
        self.load = self._method(lambda: self._load())
        self.close = self._method(lambda: None)
        self.answer = self._method(self._answer)

    def _method(self, does: Callable[..., Any]) -> Any:
        def remote(*given: Any) -> Any:
            made: Future[Any] = Future()

            def end() -> None:
                self.flying -= 1
                if made.cancelled():
                    return
                found = ActorDiedError("The actor died.") if self.killed else does(*given)
                if isinstance(found, Exception):
                    made.set_exception(found)
                elif found is not NEVER:
                    made.set_result(found)

            self.flying += 1
            self.most = max(self.most, self.flying)
            asyncio.get_running_loop().call_later(0.005 if does == self._answer else 0.0, end)
            return SimpleNamespace(future=lambda: made)

        return SimpleNamespace(remote=remote)

    def _answer(self, request: Request, adapter: Adapter | None) -> Any:
        found = self._answers(self, request.messages[0]["content"])
        return NEVER if found is None else found


NEVER = object()


class ActorDiedError(Exception):
    """As Ray's."""


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(actor: Actor) -> None:
        actor.killed = True

    errors = SimpleNamespace(RayTaskError=type("RayTaskError", (Exception,), {}))
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(kill=kill, cancel=print, exceptions=errors))
    monkeypatch.setattr(pools, "_FIRST_PAUSE", 0.0)
    monkeypatch.setattr(pools, "_POOLS", [])


def made(
    tmp_path: Path, answers: Answers, load: Callable[[], Told | None] | None = None, **wanted: Any
) -> tuple[Pool, list[Actor]]:
    """A pool, and the actors that it has started."""
    actors: list[Actor] = []
    pool = Pool(Wanted(EngineSettings(str(tmp_path)), **wanted))
    pool._most = 5

    def start() -> Actor:
        actors.append(Actor(answers, load or (lambda: Told(Loaded("fake")))))
        return actors[-1]

    pool._made = start  # type: ignore[method-assign]
    return pool, actors


def asked(pool: Pool, texts: list[str]) -> list[tuple[Completion | Cause, int] | BaseException]:
    async def ask() -> Any:
        requests = [Request(({"role": "user", "content": text},)) for text in texts]
        return await asyncio.gather(*(pool.ask(request, None) for request in requests), return_exceptions=True)

    return asyncio.run(ask())


def said(text: str) -> Told:
    return Told(Completion(text=text))


def test_requests_go_where_least_is_in_flight(tmp_path: Path) -> None:
    pool, actors = made(tmp_path, lambda _, text: said(text), engines=2)
    assert [told[0].text for told in asked(pool, [f"{n}" for n in range(10)])] == [f"{n}" for n in range(10)]  # type: ignore[index,union-attr]
    # the second may come up later: it has its share of what is left
    assert all(0 < actor.most < 10 for actor in actors)


def test_what_an_engine_had_in_hand_is_asked_again(tmp_path: Path) -> None:
    died: list[str] = []

    def answers(actor: Actor, text: str) -> Told | Exception:
        if not died:
            died.append(text)
            actor.killed = True
            return ActorDiedError("The actor died.\nWorker exit type: SYSTEM_ERROR")
        return said(text)

    pool, actors = made(tmp_path, answers)
    found = asked(pool, ["a", "b", "c"])
    assert [told for told in found if isinstance(told, tuple) and isinstance(told[0], Completion)] == found
    assert {told[1] for told in found} == {2}  # type: ignore[index]
    assert len(actors) == 2


def test_a_bad_request_is_its_own_failure_and_costs_no_engine(tmp_path: Path) -> None:
    pool, actors = made(tmp_path, lambda _, text: Told(why="ValueError: no") if text == "bad" else said(text))
    assert asked(pool, ["bad", "good"]) == [(Cause("ValueError: no"), 1), (Completion(text="good"), 1)]
    assert len(actors) == 1


def test_what_ends_engines_is_found_by_asking_it_alone(tmp_path: Path) -> None:
    pool, actors = made(tmp_path, lambda _, text: Told(why="gone", dead=True) if text == "bad" else said(text))
    bad, *others = asked(pool, ["bad", *"abcdef"])
    assert bad == (Cause("lost with 4 engines, the last of which had nothing else to do: gone"), 4)
    assert all(isinstance(told, tuple) and isinstance(told[0], Completion) for told in others)
    assert len(actors) == 4


def test_engines_that_are_lost_whatever_they_are_asked_stop_the_run(tmp_path: Path) -> None:
    pool, _ = made(tmp_path, lambda *_: Told(why="gone", dead=True), engines=2)
    found = asked(pool, [f"{n}" for n in range(6)])
    assert sum(isinstance(told, tuple) for told in found) == 2  # failed calls, before it is clear
    assert {str(told) for told in found if isinstance(told, EndpointDownError)} == {
        f"ray-vllm:{tmp_path}: engines are lost whatever they are asked: gone"
    }


def test_an_engine_that_hangs_on_load_is_tried_once_more(tmp_path: Path) -> None:
    pool, actors = made(tmp_path, lambda _, text: said(text), lambda: NEVER, load_seconds=0.01)  # type: ignore[arg-type,return-value]
    (found,) = asked(pool, ["a"])
    assert isinstance(found, EndpointDownError)
    assert str(found).endswith("engine 1 of 1 was lost again and again: it did not load on node within 0.01 s")
    assert len(actors) == 2


def test_a_silent_engine_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_LOOK_EVERY", 0.01)
    silent: list[Actor] = []

    def answers(actor: Actor, text: str) -> Told | None:
        if not silent:
            silent.append(actor)
        return None if actor is silent[0] else said(text)

    pool, actors = made(tmp_path, answers, silent_seconds=0.02)
    assert asked(pool, ["a"]) == [(Completion(text="a"), 2)]
    assert actors[0].killed


def test_an_environment_that_cannot_hold_the_engine_is_refused(tmp_path: Path) -> None:
    pool, _ = made(tmp_path, lambda _, text: said(text), lambda: Told(why="vllm is not installed", refused=True))
    (found,) = asked(pool, ["a"])
    assert isinstance(found, ConfigError)
    assert str(found) == f"ray-vllm:{tmp_path}: vllm is not installed"
    pool, _ = made(tmp_path, lambda _, text: said(text), lambda: Told(Loaded("fake", "other")))
    (found,) = asked(pool, ["a"])
    assert "the weights on node are not those that this process sees" in str(found)


def test_engines_outlive_an_event_loop(tmp_path: Path) -> None:
    pool, actors = made(tmp_path, lambda _, text: said(text))
    assert asked(pool, ["a"]) == asked(pool, ["a"]) == [(Completion(text="a"), 1)]
    assert len(actors) == 1


def test_idle_engines_make_room_for_others(tmp_path: Path) -> None:
    model = type("M", (), {})()
    first, actors = made(tmp_path, lambda _, text: said(text))
    pools._POOLS.append(first)
    first.join(model, None, 1)
    asked(first, ["a"])
    first.leave(model)
    assert first.idle
    second, _ = made(tmp_path, lambda _, text: said(text), engines=2)
    asked(second, ["a"])
    assert actors[0].killed
    assert not first.idle
