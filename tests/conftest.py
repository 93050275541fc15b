"""What every test shares: one thread per process, a fixed hypothesis profile, and a command line that is built once."""

from __future__ import annotations

import functools
import os
import signal

import pytest
import typer.main
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
# a shell's background jobs ignore Ctrl-C, and so would what they start: tests of interrupts would wait for ever
signal.signal(signal.SIGINT, signal.default_int_handler)

# a busy machine is no failure: nothing is timed, and every run draws the same examples
for profile, examples in (("arenaloop", 25), ("long", 100)):  # HYPOTHESIS_PROFILE=long draws more
    settings.register_profile(
        profile, deadline=None, max_examples=examples, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "arenaloop"))

# every call of the command reads all verbs' signatures anew; they do not change within a process
pytest.MonkeyPatch().setattr(typer.main, "get_command", functools.cache(typer.main.get_command))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: the workers share the rest, and none is left with a long test at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
