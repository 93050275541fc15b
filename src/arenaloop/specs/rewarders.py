"""SPEC → what a reward server makes rewards of; the SPECs are those of rewards."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from arenaloop.specs.opponents import Opponents, judge_settings

if TYPE_CHECKING:
    from arenaloop.config import JudgeSettings
    from arenaloop.serving.rewarder import Rewarder

__all__ = ["rewarder"]


def rewarder(spec: str, change: Callable[[JudgeSettings], JudgeSettings] = lambda settings: settings) -> Rewarder:
    """What a SPEC names, as of `specs.rewards.reward`; what is no judge has been probed.

    Args:
        spec: the SPEC.
        change: what becomes of a judge's settings before the judge is made of them.

    Raises:
        ConfigError, InputError: as of `specs.rewards.reward`.
    """
    from arenaloop.judges.scored import ScoredJudge
    from arenaloop.serving.rewarder import Rewarder
    from arenaloop.specs.judges import pointwise
    from arenaloop.specs.rewards import tried

    kind, _, rest = spec.partition(":")
    if kind == "judge":
        settings = change(judge_settings(spec, rest))
        return Rewarder(pointwise(settings), settings.reask)
    if kind == "battles":
        against = Opponents.read(spec, rest, change)
        return Rewarder(against.judge, against.settings.reask, against.of)
    return Rewarder(ScoredJudge(spec.partition("#")[0], tried(spec)))
