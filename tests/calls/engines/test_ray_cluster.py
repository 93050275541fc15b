"""Ray is found, or refused in a line; none of this needs it."""

from __future__ import annotations

import socket
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from till import running_till

from arenaloop.calls.engines import ray_cluster
from arenaloop.calls.engines.ray_cluster import place, probe
from arenaloop.cli import main
from arenaloop.config import BattleSettings, validate
from arenaloop.errors import ConfigError, StoppedError


def battle(engine: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of a battle whose servers are never asked."""
    server = "http://127.0.0.1:1/v1"
    models = [f"--model={name}={server}#{name}" for name in "ab"]
    options = ["--prompts", "sandbox:prompts?n=2", "--judge", f"{server}#j", "--engine", engine, "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["arenaloop", "battle", *models, *options])
    with pytest.raises(SystemExit) as end:
        main()
    assert isinstance(end.value.code, int)
    return end.value.code


def told(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def test_without_ray_one_line_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: None if name == "ray" else find_spec(name))
    assert battle("ray", tmp_path / "run", monkeypatch) == 2
    assert told(capsys) == "arenaloop: engine ray needs an optional dependency: pip install 'arenaloop[ray]'"
    assert not (tmp_path / "run").exists()


def test_an_address_that_nobody_answers_stops_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: name)
    assert battle("ray:127.0.0.1:1", tmp_path / "run", monkeypatch) == 4
    assert "no Ray cluster answers at 127.0.0.1:1 (" in told(capsys)
    assert not (tmp_path / "run").exists()


def test_what_listens_there_may_be_no_cluster() -> None:
    def nothing(*_: Any) -> Any:
        raise AssertionError

    with running_till(nothing) as till, pytest.raises(StoppedError, match="what listens there is none"):
        probe(till.url.removeprefix("http://").removesuffix("/v1"))


def test_one_that_takes_connections_and_says_nothing_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(StoppedError, match="timed out"):
        probe(f"127.0.0.1:{silent.getsockname()[1]}", seconds=0.05)


def test_a_grpc_server_answers_by_its_settings() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            client, _ = server.accept()
            with client:
                client.recv(64)
                client.sendall(bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))

        threading.Thread(target=answer, daemon=True).start()
        probe(f"127.0.0.1:{server.getsockname()[1]}")


@pytest.mark.parametrize("address", ["host", "host:", "host:port", ":6379", "ray://host:10001", "host:0", "host:70000"])
def test_an_address_is_host_and_port(address: str) -> None:
    with pytest.raises(ConfigError, match="expected ray:HOST:PORT"):
        place(address)


def test_auto_is_the_cluster_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert place("auto") == "10.0.0.1:6379"
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(StoppedError, match="no Ray cluster runs on this machine"):
        place("auto")
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("10.0.0.2:6380\n")
    assert place("auto") == "10.0.0.2:6380"


@pytest.mark.parametrize("engine", ["spark", "ray:", "ray.auto", ""])
def test_other_engines_are_refused(engine: str) -> None:
    models = ({"spec": "file:a"}, {"spec": "file:b"})
    with pytest.raises(ConfigError, match="engine: expected local, ray, ray:auto or ray:HOST:PORT"):
        validate(BattleSettings, {"models": models, "prompts": "p", "judge": "builtin:first", "engine": engine}, "x")
