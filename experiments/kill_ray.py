"""Battles by engine `ray` on three raylets while nodes and the driver are killed, compared with the local engine's.

    python experiments/kill_ray.py [--battles 2000] [--node-kills 3] [--driver-kills 5] [--concurrency 32] [--seed 0]

The judge is the loopback server of `chaos.py`, a fifth of whose answers are faults. The cluster is a head, where the
driver connects and no worker runs, and two nodes with a worker each. At random moments a node is killed, with what it
has in hand, and another joins; at others the driver is killed by SIGKILL, and the same command goes on.

Checked: every battle is decided or recorded as undecided; no key is stored twice; the server gave no more readable
answers than there are seatings and calls were in flight at the deaths; battles and leaderboard are those of the local
engine, byte for byte but for the names of verdicts (a seating whose first answer was lost with a worker may be decided
by its first sample, where it took two). Exits with 1 if anything else is found.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from chaos import MODELS, Server, fate, outcomes_of, rows, start, write_inputs

PATIENCE = 10.0  # seconds of a call: a machine that starts raylets is busy
WORKERS = 2


class Nodes:
    """Raylets on this machine: a head without workers, and nodes that come and go."""

    def __init__(self, nodes: int = WORKERS) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **_SMALL})
        self._nodes = [self._join() for _ in range(nodes)]

    @property
    def address(self) -> str:
        """HOST:PORT of the head."""
        return str(self._cluster.address)

    def _join(self) -> Any:
        return self._cluster.add_node(wait=False, num_cpus=1, **_SMALL)

    def kill(self, rng: random.Random) -> None:
        """Kill one of the nodes, not in order."""
        self._cluster.remove_node(self._nodes.pop(rng.randrange(len(self._nodes))), allow_graceful=False)

    def replace(self) -> None:
        """Have another join."""
        self._nodes.append(self._join())

    def close(self) -> None:
        """End all."""
        self._cluster.shutdown()


_SMALL = {"object_store_memory": 80_000_000, "include_dashboard": False, "num_gpus": 0}


class Deaths:
    """What was in flight when something was killed."""

    def __init__(self, out: Path, server: Server) -> None:
        self._out, self._server = out, server
        self.flying: list[int] = []

    def note(self, what: str, killed: float, show: bool) -> None:
        """Count calls that the server had then, and answers that were not stored yet."""
        events = self._server.ask("/events")
        numbers = {number for _, number in rows(self._out).values()}
        begun = [e for e in events if e["began"] < killed and e["what"] == "ok"]
        flying = sum(e["ended"] is None or e["ended"] > killed or e["number"] not in numbers for e in begun)
        self.flying.append(flying)
        if show:
            print(f"{what} killed: {len(numbers):,} rows stored, {flying} calls in flight or not stored", flush=True)


def _wait(server: Server, process: subprocess.Popen[bytes], seatings: int) -> None:
    while server.ask("/events?count") < seatings and process.poll() is None:
        time.sleep(0.005)


def broken(
    folder: Path, nodes: Nodes, concurrency: int, kills: list[tuple[int, str]], rng: random.Random, show: bool
) -> tuple[Path, list[dict[str, Any]], list[int]]:
    """The run whose nodes and driver are killed; the kills are (after so many seatings were answered, of what)."""
    out, server = folder / "ray", Server()
    deaths = Deaths(out, server)
    options = ("--engine", f"ray:{nodes.address}", "--workers", str(WORKERS))

    def begin() -> subprocess.Popen[bytes]:
        return start(folder, out, server.port, concurrency, *options, timeout=PATIENCE)

    process = begin()
    try:
        for moment, what in kills:
            _wait(server, process, moment)
            if process.poll() is not None:
                sys.exit(f"the run ended by itself: {out.with_suffix('.log').read_text()[-2000:]}")
            killed = time.monotonic()
            if what == "node":
                nodes.kill(rng)
                deaths.note(what, killed, show)
                nodes.replace()
            else:
                process.send_signal(signal.SIGKILL)
                process.wait()
                deaths.note(what, killed, show)
                process = begin()
        code = process.wait()
        events = server.ask("/events")
    finally:
        if process.poll() is None:
            process.kill()
        server.close()
    if code != 3:
        sys.exit(f"the run by Ray ended with {code}: {out.with_suffix('.log').read_text()[-2000:]}")
    return out, events, deaths.flying


def local(folder: Path, concurrency: int) -> Path:
    """The run by the local engine, unbroken."""
    out, server = folder / "local", Server()
    try:
        code = start(folder, out, server.port, concurrency, timeout=PATIENCE).wait()
    finally:
        server.close()
    if code != 3:
        sys.exit(f"the local run ended with {code}: {out.with_suffix('.log').read_text()[-2000:]}")
    return out


def kill_ray(
    folder: Path, battles: int, node_kills: int, driver_kills: int, concurrency: int, seed: int, show: bool = False
) -> dict[str, Any]:
    """Both runs, figures, and whether each promise was kept."""
    questions = -(-battles // (MODELS * (MODELS - 1) // 2))
    write_inputs(folder, questions)
    seatings = [(q, a, b) for q in range(questions) for a in range(MODELS) for b in range(MODELS) if a != b]
    rng = random.Random(seed)
    moments = sorted(rng.sample(range(1, int(0.9 * len(seatings))), node_kills + driver_kills))
    whats = ["node"] * node_kills + ["driver"] * driver_kills
    rng.shuffle(whats)
    whole = local(folder, concurrency)
    nodes = Nodes()
    try:
        out, events, flying = broken(folder, nodes, concurrency, list(zip(moments, whats, strict=True)), rng, show)
    finally:
        nodes.close()
    never = {s for s in seatings if fate(s)[0] == "permanent"}
    undecided = {(q, min(a, b), max(a, b)) for q, a, b in never}
    readable = Counter(tuple(e["seating"]) for e in events if e["sent"] is not None and e["what"] == "ok")
    again = sum(count - 1 for count in readable.values())
    stored = rows(out)
    decided = Counter(key for (key, _), (status, _) in stored.items() if status == "ok")
    summary = json.loads((out / "summary.json").read_text())
    checks = {
        "every battle is decided or recorded as undecided": summary["battles_wanted"] == len(seatings) // 2
        and summary["battles_decided"] == len(seatings) // 2 - len(undecided)
        and sum(summary["verdicts_failed"].values()) == len(never),
        "no key is stored twice": max(decided.values()) == 1,
        "no more is asked again than was in flight at the deaths": again <= sum(flying),
        "the battles are those of the local engine": outcomes_of(out) == outcomes_of(whole),
        "the leaderboard is the local engine's, byte for byte": (out / "leaderboard.json").read_bytes()
        == (whole / "leaderboard.json").read_bytes(),
    }
    return {
        "battles": len(seatings) // 2,
        "decided": summary["battles_decided"],
        "requests": len(events),
        "faults": sum(e["what"] != "ok" for e in events),
        "readable": sum(readable.values()),
        "seatings": len(seatings) - len(never),
        "again": again,
        "flying": flying,
        "checks": checks,
    }


def main() -> None:
    """Run both, print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--battles", type=int, default=2000)
    parser.add_argument("--node-kills", type=int, default=3)
    parser.add_argument("--driver-kills", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    with tempfile.TemporaryDirectory() as folder:
        found = kill_ray(
            Path(folder),
            options.battles,
            options.node_kills,
            options.driver_kills,
            options.concurrency,
            options.seed,
            show=True,
        )
    print(
        f"{found['decided']:,} of {found['battles']:,} battles decided · {found['requests']:,} requests, "
        f"{found['faults']:,} of them met a fault · {found['readable']:,} readable answers to {found['seatings']:,} "
        f"seatings: {found['again']} asked again, {sum(found['flying'])} in flight at {len(found['flying'])} deaths"
    )
    for check, kept in found["checks"].items():
        print(f"{'yes' if kept else 'NO '}  {check}")
    sys.exit(not all(found["checks"].values()))


if __name__ == "__main__":
    main()
