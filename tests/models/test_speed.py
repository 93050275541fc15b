"""How fast a local model is, as it is measured, added up and told."""

from __future__ import annotations

from pathlib import Path

import pytest
from label_model import build_label_model

from arenaloop.calls.estimated import duration
from arenaloop.models.local import LocalModel
from arenaloop.models.speed import Speed
from arenaloop.types import Request, Sampling


def test_seconds_of_tokens() -> None:
    speed = Speed(read=1000, reading=10.0, written=50, writing=5.0, loading=3.0)
    assert speed.seconds(500, 20) == pytest.approx(3 + 5 + 2)
    assert speed.words() == "reads 100 tokens/s, writes 10.0"
    twice = speed.and_then(Speed(1000, 30.0, 50, 5.0))
    assert twice == Speed(2000, 40.0, 100, 10.0, 3.0)
    assert Speed(read=10, reading=1.0).seconds(10, 10) == pytest.approx(2.0)  # nothing was written yet
    assert Speed().seconds(1, 1) is None
    assert Speed.of(speed._asdict()) == speed
    assert Speed.of(None) is None
    assert Speed.of({"something": "else"}) is None


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.2, "1 s"), (40, "40 s"), (99.4, "99 s"), (100, "2 min"), (5400, "90 min"), (12600, "3.5 h")],
)
def test_durations(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_a_model_measures_every_chunk(tmp_path: Path) -> None:
    model = LocalModel(build_label_model(tmp_path / "m"), device="cpu")
    requests = [
        Request(({"role": "user", "content": "word " * (n + 1)},), Sampling(max_tokens=4), key=str(n)) for n in range(3)
    ]
    said = model.generate(requests)
    speed = model.speed_taken()
    assert speed.read == sum(one.tokens_in or 0 for one in said)
    assert speed.written == sum((one.tokens_out or 0) - 1 for one in said)
    assert min(speed.reading, speed.writing, speed.loading) > 0
    assert model.speed_taken() == Speed()
    model.generate(requests)
    assert model.speed_taken().loading == 0  # it was in memory
