"""Rewards for OpenRLHF, verl and TRL from an arenaloop reward server. This file needs Python alone; copy it anywhere.

    OpenRLHF   --reward.remote_url reward.py                        calls `reward_func`
    verl       reward.custom_reward_function.path=reward.py         calls `compute_score`, a coroutine
    TRL        --reward_funcs reward.arenaloop_reward               calls `arenaloop_reward`

The environment says where the server is:

    ARENALOOP_REWARD_URL    its endpoint; http://127.0.0.1:8010/get_reward where it is not set
    ARENALOOP_REWARD_KEY    the key that it asks for, if it asks for one
    ARENALOOP_MOST_FAILED   the share of flagged rows, of the last 400, above which the training is stopped; 0.05

A row that the server flags has no reward of its own. TRL is given None, and leaves the row out; OpenRLHF and verl
compute with a number, and are given the server's fallback and `failed` = 1 beside it, whose mean they log. Where the
server says that it can judge no more, cannot be reached, or flags too many rows, `RewardError` ends the training.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

__all__ = ["RewardError", "arenaloop_reward", "compute_score", "reward_func"]

BATCH = 32  # rows of one post
AT_ONCE = 64  # posts in flight
SECONDS = 300.0  # within which the server has to answer one
TRIES = 5  # of each, where the fault may pass
PAUSE = 1.0  # seconds before the second try; each further pause is twice as long
WINDOW, LEAST = 400, 100  # rows over which flags are counted, and from how many on
MAY_PASS = (408, 429, 500, 502, 504)


class RewardError(RuntimeError):
    """No rewards can be had, or too few: the training is not to go on."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The key goes nowhere else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class _Flags:
    """Which of the last rows were flagged."""

    def __init__(self) -> None:
        self._last: deque[str | None] = deque(maxlen=WINDOW)
        self._lock = threading.Lock()

    def note(self, flags: Sequence[str | None]) -> None:
        """Count, and stop where too many are."""
        most = float(os.environ.get("ARENALOOP_MOST_FAILED", "0.05"))
        with self._lock:
            self._last.extend(flags)
            failed = [flag for flag in self._last if flag]
            rows = len(self._last)
        if rows >= LEAST and len(failed) > most * rows:
            common = max(set(failed), key=failed.count)
            raise RewardError(
                f"{len(failed)} of the last {rows} rewards are missing, most often: {common}; "
                f"more than {most:.0%} (ARENALOOP_MOST_FAILED) are not trained on"
            )


_flags = _Flags()
_pools: dict[int, ThreadPoolExecutor] = {}  # by process, since threads do not survive a fork


def _pool() -> ThreadPoolExecutor:
    if os.getpid() not in _pools:
        _pools[os.getpid()] = ThreadPoolExecutor(AT_ONCE, "arenaloop reward")
    return _pools[os.getpid()]


def _post(body: dict[str, Any]) -> dict[str, Any]:
    """The server's reply to one batch."""
    url = os.environ.get("ARENALOOP_REWARD_URL", "http://127.0.0.1:8010/get_reward")
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("ARENALOOP_REWARD_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    near = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
    opener = urllib.request.build_opener(_NoRedirects, *([urllib.request.ProxyHandler({})] if near else []))
    data = json.dumps(body).encode()
    reason = ""
    for tried in range(TRIES):
        time.sleep(PAUSE * 2 ** (tried - 1) if tried else 0)
        try:
            request = urllib.request.Request(url, data, headers)  # noqa: S310 (the user's own URL)
            with opener.open(request, timeout=SECONDS) as answer:
                reply: dict[str, Any] = json.loads(answer.read())
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code}: {error.read(2000).decode('utf-8', 'replace')}"
            if error.code not in MAY_PASS:
                break
        except (OSError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
        else:
            _flags.note(reply["flags"])
            return reply
    raise RewardError(f"the reward server at {url.rpartition('@')[2]}: {reason}")


# ---------------------------------------------------------------------- OpenRLHF


def reward_func(queries: list[str], prompts: list[str], labels: list[str]) -> dict[str, Any]:
    """OpenRLHF's: it has threads of its own, and calls with one sample."""
    return _post({"query": list(queries), "prompts": list(prompts), "labels": list(labels)})


# ---------------------------------------------------------------------- verl


async def compute_score(
    data_source: str, solution_str: str, ground_truth: Any, extra_info: dict[str, Any] | None = None, **_: Any
) -> dict[str, float]:
    """verl's: many are awaited at once."""
    body = {"prompt_ids": [(extra_info or {}).get("prompt_id")], "answers": [solution_str]}
    reply = await asyncio.get_running_loop().run_in_executor(_pool(), _post, body)
    return {"score": reply["rewards"][0], "failed": reply["extra_logs"]["failed"][0]}


# ---------------------------------------------------------------------- TRL


def arenaloop_reward(
    prompts: Sequence[Any], completions: Sequence[Any], prompt_id: Sequence[str] | None = None, **columns: Any
) -> list[float | None]:
    """TRL's: prompts and completions are texts or lists of messages."""
    answers = [one if isinstance(one, str) else one[-1]["content"] for one in completions]
    names = [None] * len(answers) if prompt_id is None else list(prompt_id)

    def part(start: int) -> list[float | None]:
        some = slice(start, start + BATCH)
        reply = _post({"prompts": list(prompts[some]), "answers": answers[some], "prompt_ids": names[some]})
        return list(reply["scores"])

    rewards = [one for some in _pool().map(part, range(0, len(answers), BATCH)) for one in some]
    if rewards and (log := columns.get("log_metric")) is not None:
        log("arenaloop/failed", sum(one is None for one in rewards) / len(rewards))
    return rewards
