"""An experiment in this process, and the tiny model of the real lane."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
Run = Callable[..., list[str]]
HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole experiments are proofs that `make test` has no time for: `make test-slow` alone runs them."""
    for item in items:
        if item.path.is_relative_to(HERE) and item.path.name != "test_every_experiment.py":
            item.add_marker(pytest.mark.long)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(900))  # they take minutes where other work shares the machine


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs an experiment in this process and gives the lines that it printed."""

    def call(name: str, *arguments: object) -> list[str]:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        capsys.readouterr()
        code: object = None
        try:
            runpy.run_path(str(EXPERIMENTS / f"{name}.py"), run_name="__main__")
        except SystemExit as ended:
            code = ended.code
        assert not code, code
        return capsys.readouterr().out.splitlines()

    return call


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A random model in a GGUF file, as the real one comes; what it is converted to stays here."""
    from gguf_model import module, tokenizer, write_gguf

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tokens = tokenizer("smollm")
    return write_gguf(tmp_path / "tiny.gguf", module("llama", len(tokens), window=1024), tokens)
