"""SPEC → reward: what scores a model's own answers while it is trained."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from arenaloop.config import OptimSettings
from arenaloop.errors import BudgetSpentError, ConfigError, InputError, StoppedError, nearest
from arenaloop.models.reward import Reward
from arenaloop.specs.asked_rewards import Scores, battled, judged, served
from arenaloop.specs.python_files import python_function
from arenaloop.types import Message, content_hash

if TYPE_CHECKING:
    from arenaloop.calls.budget import Budget
    from arenaloop.store import Store
    from arenaloop.train.rewards import RewardModel

__all__ = ["KINDS", "reward", "tried"]

KINDS = {
    "reward": "reward:PATH",
    "judge": "judge:FILE.yaml",
    "battles": "battles:JUDGE.yaml#ANSWERS.jsonl",
    "python": "python:FILE.py:FUNCTION",
    "http": "http://HOST:PORT/PATH",
    "https": "https://HOST/PATH",
    "sandbox": "sandbox:gold",
}
"""How the SPEC of each kind of reward is written."""


def reward(spec: str, arena: Path | Store | None = None, budget: Budget | None = None) -> Reward:
    """The reward that a SPEC names; who takes it lets it `probe` before anything is asked or trained.

    ``reward:PATH`` is a reward model; ``judge:FILE.yaml`` a judge that scores one answer;
    ``battles:JUDGE.yaml#ANSWERS.jsonl`` the lead over stored answers in battles; ``python:FILE.py:FUNCTION`` a function
    of lists of messages and of texts, ``FUNCTION(prompts, answers) -> list[float | None]``; a URL a server that takes
    ``{"prompts", "answers"}`` and gives ``{"scores"}``; ``sandbox:gold`` the sandbox's own utility.

    Args:
        spec: the SPEC.
        arena: the arena file that a judge's verdicts are kept in, or it as it is open; None where there is no place.
        budget: what a judge's verdicts may cost.

    Raises:
        ConfigError: an unknown kind, or a SPEC that lacks a part.
        InputError: what it names is not there; when it is probed, it cannot be loaded, or does not answer.
    """
    kind, _, rest = spec.partition(":")
    if kind not in KINDS:
        raise ConfigError(f"reward {spec!r}: expected one of {', '.join(KINDS.values())}{nearest(kind, list(KINDS))}")
    if kind in ("judge", "battles"):
        built = (judged if kind == "judge" else battled)(spec, rest, arena, budget)
    elif kind in ("http", "https"):
        built = served(spec)
    else:
        built = {"reward": _model, "python": _function, "sandbox": _sandbox}[kind](spec, rest)
    return replace(built, probe=functools.partial(_probe, spec, built, own=kind == "battles"))


def tried(spec: str, arena: Path | None = None, budget: Budget | None = None) -> Reward:
    """The same, when it has been probed."""
    built = reward(spec, arena, budget)
    built.probe()
    return built


def _model(spec: str, path: str) -> Reward:
    from arenaloop.models.checkpoint import checkpoint_fingerprint, require_reward_model

    if not path:
        raise ConfigError(f"reward {spec!r}: expected reward:PATH")
    require_reward_model(path)
    settings = OptimSettings()

    @functools.cache
    def loaded() -> RewardModel:
        from arenaloop.train.rewards import load_reward_model

        return load_reward_model(path, settings)

    def score(prompts: Sequence[list[Message]], answers: Sequence[str]) -> Scores:
        conversations = [
            (list(prompt), [{"role": "assistant", "content": answer}])
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        found = loaded().score(conversations, settings)
        return [None if isinstance(each, str) else each for each in found]

    parts = [Path(path), Path(path) / "prior"]
    return Reward(score, content_hash("reward", *(checkpoint_fingerprint(part) for part in parts if part.is_dir())))


def _function(spec: str, rest: str) -> Reward:
    path, name, function = python_function("reward", spec, rest)

    def score(prompts: Sequence[list[Message]], answers: Sequence[str]) -> Scores:
        try:
            given = list(function(prompts, answers))
        except (Exception, SystemExit) as error:  # whatever the user's function raises
            raise InputError(f"reward {spec!r}: {type(error).__name__}: {error}") from error
        if len(given) != len(answers):
            raise InputError(f"reward {spec!r}: {len(given)} scores for {len(answers)} answers")
        wrong = next((each for each in given if each is not None and not _is_number(each)), None)
        if wrong is not None:
            raise InputError(f"reward {spec!r}: gave {wrong!r}, which is neither a number nor None")
        return [None if each is None else float(each) for each in given]

    return Reward(score, content_hash("python", path.read_text("utf-8"), name))


def _sandbox(spec: str, rest: str) -> Reward:
    from arenaloop.sandbox.gold import utility

    if rest != "gold":
        raise ConfigError(f"reward {spec!r}: the small world's reward is called sandbox:gold")

    def score(prompts: Sequence[list[Message]], answers: Sequence[str]) -> Scores:
        return [utility(prompt[-1]["content"], answer) for prompt, answer in zip(prompts, answers, strict=True)]

    return Reward(score, content_hash("sandbox", "gold", 1))


def _is_number(value: object) -> bool:
    try:
        float(value)  # type: ignore[arg-type]  # numbers of numpy and torch too
    except (TypeError, ValueError):
        return False
    return not isinstance(value, str)


def _probe(spec: str, built: Reward, *, own: bool) -> None:
    """Ask once; `own` where the reward has a question of its own.

    Raises:
        InputError: it does not answer.
        BudgetSpentError: the budget does not reach for one question.
    """
    try:
        if own:
            built.probe()
        elif len(given := built.score([[{"role": "user", "content": "Say hello."}]], ["Hello."])) != 1:
            raise InputError(f"reward {spec!r}: {len(given)} scores for one answer")
    except BudgetSpentError:
        raise
    except StoppedError as error:
        raise InputError(f"{error} (asked once, before anything else)") from error
