"""An experiment in this process, and the tiny model of the real lane."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
Run = Callable[..., list[str]]


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
