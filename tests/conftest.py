"""What every test shares: one thread per process, a fixed hypothesis profile, and a command line that is built once."""

from __future__ import annotations

import functools
import os
import signal

import typer.main
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
# a shell's background jobs ignore Ctrl-C, and so would what they start: tests of interrupts would wait for ever
signal.signal(signal.SIGINT, signal.default_int_handler)

# a busy machine is no failure: nothing is timed, and every run draws the same examples
settings.register_profile(
    "arenaloop", deadline=None, max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("arenaloop")

# every call of the command reads all verbs' signatures anew; they do not change within a process
typer.main.get_command = functools.cache(typer.main.get_command)
