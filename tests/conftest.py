"""What every test shares: one thread per process, and a fixed hypothesis profile."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
# a shell's background jobs ignore Ctrl-C, and so would what they start: tests of interrupts would wait for ever
signal.signal(signal.SIGINT, signal.default_int_handler)

# a busy machine is no failure: nothing is timed, and every run draws the same examples
settings.register_profile(
    "arenaloop", deadline=None, max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("arenaloop")
