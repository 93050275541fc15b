"""Engine `ray` on two raylets of this machine, a small battle; nodes die in `tests/experiments/test_kill_ray.py`."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from till import Said, running_till, scores, usage

from arenaloop.calls.engines.ray_cluster import Versions
from arenaloop.calls.engines.ray_engine import RayEngine
from arenaloop.cli import main
from arenaloop.errors import ConfigError
from arenaloop.models.openai_api import OpenAIModel

KEY = "sk-canary-0123456789-abcdef"


def told(n: int, body: dict[str, Any], size: int) -> Said:
    """Scores that the two answers determine; answers that the question does."""
    seen = re.findall(r"answer \d+ of \w", json.dumps(body["messages"]))
    if body["model"] == "j":
        return Said(scores({"messages": seen}), size // 4, 15, usage(size // 4, 15))
    question = re.findall(r"number (\d+)", json.dumps(body["messages"]))[-1]
    return Said(f"answer {question} of {body['model']}", size // 4, 5, usage(size // 4, 5))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head and another node, whose environment holds the key."""
    pytest.importorskip("ray")
    small = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 80_000_000, "include_dashboard": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("CANARY_KEY", KEY)
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        from ray.cluster_utils import Cluster

        made = Cluster(initialize_head=True, head_node_args=small)
        made.add_node(wait=False, **small)
        yield made
        made.shutdown()


def battle(folder: Path, out: str, url: str, key: str, patch: pytest.MonkeyPatch, *more: str) -> int:
    """The exit code of a small battle."""
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"Question number {n}"}) + "\n" for n in range(20)))
    models = [f"--model={name}={url}#{name}?key_env={key}" for name in "ab"]
    line = ["--prompts", str(prompts), "--judge", f"{url}#j", "--out", str(folder / out), "--concurrency", "8", *more]
    patch.setattr("sys.argv", ["arenaloop", "battle", *models, *line])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


def test_workers_that_differ_or_lack_a_key_are_refused_before_the_first_call(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATE_KEY", KEY)  # set when the nodes ran already
    late = OpenAIModel("m", "m", "http://127.0.0.1:1/v1", key_env="LATE_KEY")
    engine = RayEngine(cluster.address, 1)
    try:
        asyncio.run(engine.open([]))
        assert engine.standing == "1 of 1 workers"
        with pytest.raises(ConfigError, match=r"ray worker 1 on \S+ has no LATE_KEY in its environment"):
            asyncio.run(engine.open([late]))
        monkeypatch.setattr(Versions, "here", lambda: Versions("9.9", "3.99"))
        other = OpenAIModel("m", "m", "http://127.0.0.1:1/v1", headers={"x": "LATE_KEY"}, key_env="CANARY_KEY")
        with pytest.raises(ConfigError, match=r"has arenaloop \S+ on Python 3\S+, and this process arenaloop 9\.9"):
            asyncio.run(engine.open([other]))
    finally:
        engine.close()


def test_two_nodes(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CANARY_KEY", KEY)
    by_ray = ("--engine", f"ray:{cluster.address}", "--workers", "2")
    with running_till(told) as till:
        assert battle(tmp_path, "local", till.url, "CANARY_KEY", monkeypatch) == 0
        asked, _ = till.calls, capsys.readouterr()
        assert battle(tmp_path, "ray", till.url, "CANARY_KEY", monkeypatch, *by_ray) == 0
        assert till.calls == 2 * asked == 2 * (40 + 40)
    for name in ("battles.jsonl", "leaderboard.json"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()
    assert KEY not in "".join(capsys.readouterr())
    session = Path(cluster.head_node.get_session_dir_path())
    assert not [path for path in session.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
