"""A checkpoint behind a server: known by its weights, and served by a command where that is set."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from arenaloop.config import TargetSettings
from arenaloop.errors import EndpointDownError
from arenaloop.models.served import Loader, ServedModel, filled_in
from arenaloop.sandbox.target import build_target
from arenaloop.specs.served import server_of
from arenaloop.types import Request


def noting(file: Path, word: str) -> str:
    """A command that notes for which checkpoint it was run."""
    return f"sh -c 'echo {word} {{stage}} {{checkpoint}} >> \"{file}\"'"


def model(name: str, loader: Loader | None, weights: str = "w", **options: Any) -> ServedModel:
    class Answering(ServedModel):
        def _join(self) -> Any:
            endpoint = super()._join()

            async def post(*_: Any) -> tuple[int, dict[str, str], bytes]:
                await asyncio.sleep(0)
                choices = [{"message": {"content": self.name}, "finish_reason": "stop"}]
                return 200, {}, json.dumps({"choices": choices}).encode()

            endpoint.post = post  # type: ignore[method-assign, assignment]
            return endpoint

    return Answering(
        name, name, "http://127.0.0.1:9/v1", weights=weights, checkpoint=f"/c/{name}", loader=loader, **options
    )


def asked(*models: ServedModel, close: bool = True) -> list[str]:
    async def ask() -> list[str]:
        request = Request(({"role": "user", "content": "Hi."},))
        found = await asyncio.gather(*(one.complete(request) for one in models for _ in range(3)))
        if close:
            for one in models:
                await one.aclose()
        return [one.text for one in found]

    return asyncio.run(ask())


def test_a_checkpoint_is_loaded_once_and_unloaded_when_nobody_asks(tmp_path: Path) -> None:
    file = tmp_path / "said"
    loader = Loader(noting(file, "load"), noting(file, "unload"))
    one, two = model("M1", loader), model("M2", loader)
    assert asked(one) == ["M1"] * 3
    assert file.read_text().splitlines() == ["load M1 /c/M1", "unload M1 /c/M1"]
    assert sorted(asked(two, one)) == ["M1"] * 3 + ["M2"] * 3  # one after the other
    assert file.read_text().splitlines()[2:] == ["load M2 /c/M2", "load M1 /c/M1", "unload M1 /c/M1"]


def test_without_unload_it_stays(tmp_path: Path) -> None:
    file = tmp_path / "said"
    one = model("M1", Loader(noting(file, "load")))
    assert asked(one) == asked(one) == ["M1"] * 3
    assert file.read_text() == "load M1 /c/M1\n"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("sh -c 'echo no room for {stage} >&2; exit 3'", r"sh -c .* ended with 3: no room for M1$"),
        ("false", "false ended with 1: it said nothing"),
        ("./nowhere {checkpoint}", r"\./nowhere: No such file or directory \(target\.server\)"),
    ],
)
def test_a_command_that_fails_stops_the_run_resumably(command: str, says: str) -> None:
    with pytest.raises(EndpointDownError, match=says):
        asked(model("M1", Loader(command)), close=False)


def test_weights_and_not_the_url_are_what_answers_are_known_by(tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("again", 0), ("two", 1)):
        build_target(tmp_path / name, seed, width=32, layers=1, heads=4)

    def fingerprint(spec: str, directory: str, **more: Any) -> str:
        target = TargetSettings.model_validate({"model": "hf:x", "server": {"spec": spec, **more}})
        server = server_of(target)
        assert server is not None
        return server.model("M1", tmp_path / directory).fingerprint

    first = fingerprint("http://127.0.0.1:8000/v1#{stage}", "one")
    assert fingerprint("http://127.0.0.1:9000/v1#{checkpoint}", "again", samples_per_call=3) == first
    assert fingerprint("http://127.0.0.1:8000/v1#{stage}", "two") != first
    assert fingerprint("http://127.0.0.1:8000/v1#{stage}", "one", extra_body={"top_k": 1}) != first


def test_the_places_of_a_stage_are_filled_in(tmp_path: Path) -> None:
    assert filled_in("serve {checkpoint} --as {stage} {other}", "M2", "/a b") == "serve /a b --as M2 {other}"
    build_target(tmp_path / "weights", 0, width=32, layers=1, heads=4)
    target = TargetSettings.model_validate({"model": "hf:x", "server": "http://127.0.0.1:8000/v1#{checkpoint}"})
    server = server_of(target)
    assert server is not None
    made = server.model("M2", tmp_path / "weights")
    assert isinstance(made, ServedModel)
    assert (made.name, made.model, made.price is not None) == ("M2", str((tmp_path / "weights").resolve()), True)
    assert server_of(TargetSettings(model="hf:x")) is None


@pytest.mark.parametrize(
    ("server", "says"),
    [
        ("http://127.0.0.1:8000/v1#qwen", r"is the same for every stage: put \{stage\} or \{checkpoint\}"),
        ("hf:x", "expected http://HOST:PORT/v1#MODEL"),
        ({"spec": "http://127.0.0.1:8000/v1#{stage}", "unload": "true"}, "unload: load is missing"),
        ({"spec": "http://127.0.0.1:8000/v1#{stage}", "chunk_size": 4}, "chunk_size does nothing to a target's server"),
    ],
)
def test_settings_that_serve_nothing_are_refused(server: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TargetSettings.model_validate({"model": "hf:x", "server": server})
