"""`kill_and_resume`, killed once."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

Run = Callable[..., list[str]]


@pytest.mark.long
def test_kill_and_resume(run: Run) -> None:
    lines = run("kill_and_resume", "--kills", 1, "--small")
    whole = re.fullmatch(r"unbroken run: \d+ s, ([\d,]+) verdicts", lines[0])
    assert whole is not None
    assert sum(line.startswith("kill ") for line in lines) == 1
    resumed = [line for line in lines if line.startswith("resumed run ")]
    assert resumed
    for line in resumed:
        assert f"leaderboard equal True · {whole[1]} verdicts stored · asked twice: 0 verdicts" in line
