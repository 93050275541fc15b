"""What every test shares: one thread per process, and a fixed hypothesis profile."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")

# a busy machine is no failure: nothing is timed, and every run draws the same examples
settings.register_profile(
    "arenaloop", deadline=None, max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("arenaloop")
