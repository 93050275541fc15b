"""What every test shares: one thread, fixed examples, files in memory, and a command line that is built once."""

from __future__ import annotations

import functools
import gc
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
import typer.main
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

os.environ.setdefault("OMP_NUM_THREADS", "1")
# a shell's background jobs ignore Ctrl-C, and so would what they start: tests of interrupts would wait for ever
signal.signal(signal.SIGINT, signal.default_int_handler)

# runs force their files onto the disk, dozens of times each: the tests would wait for that more than they compute
MEMORY, ENOUGH = Path("/dev/shm"), 4 << 30
if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ENOUGH:
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)

# a busy machine is no failure: nothing is timed, and every run draws the same examples
settings.register_profile(
    "arenaloop", deadline=None, max_examples=25, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(  # HYPOTHESIS_PROFILE=long looks for what those do not meet
    "long", deadline=None, max_examples=100, derandomize=False, suppress_health_check=[HealthCheck.too_slow]
)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "arenaloop")
settings.load_profile(PROFILE)
if PROFILE == "arenaloop":  # one example in twenty is a constant of our modules: of those that happen to be loaded
    pytest.MonkeyPatch().setattr(providers, "_get_local_constants", lambda: providers._local_constants, raising=False)

# every call of the command reads all verbs' signatures anew; they do not change within a process
pytest.MonkeyPatch().setattr(typer.main, "get_command", functools.cache(typer.main.get_command))


# modules and tests live as long as the run: looking through them for garbage would be a fifth of collecting them
gc.disable()


def pytest_collection_finish() -> None:
    """From here on there is garbage, and what is there now is none."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: the workers share the rest, and none is left with a long test at the end.

    Of these, files with clusters before others, as they wait for processes more than they compute.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("cluster")}
    waiting = {item.path for item in items if item.get_closest_marker("cluster")}
    items.sort(key=lambda item: (item.path not in waiting, item.path not in slow))
