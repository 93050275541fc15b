"""Settings of what stands between a model's own judgements and its training on them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from arenaloop.config.base import Settings

__all__ = ["CheckpointSettings", "GateSettings", "MetaGateSettings"]


class GateSettings(Settings):
    """Gates before each training; a gate is passed where the lower end of a share's 95 % interval exceeds its limit."""

    labelled: str | None = None
    """answers that people have labelled, on which the gates are measured: conversations that end with an answer and
    have a column `score` or `judgement`, message trees with ranked replies, or labelled pairs; null = by the truth,
    where that is known (sandbox:prompts)"""
    order: float | None = Field(0.5, ge=0, lt=1)
    """of pairs of answers: the limit of the share that is in the true order; null = off"""
    order_failed: Literal["warn", "stop"] = "warn"
    """what happens where they are not: a warning, or the run stops"""
    unmeasured: Literal["pass", "fail"] = "pass"
    """how a gate counts that cannot be measured"""


class MetaGateSettings(GateSettings):
    """The same, and of the model's verdicts on its judgements."""

    meta: float | None = Field(0.5, ge=0, lt=1)
    """the limit of the share of verdicts that name the judgement whose score is nearer to the truth; where it is not
    passed, judgements are not learned from in that iteration; null = off"""


class CheckpointSettings(Settings):
    """Which of an iteration's checkpoints is its model, where there are prompts for `data.validation`."""

    keep: int = Field(4, ge=1)
    """how many checkpoints of an iteration are tried, evenly spaced, the last among them"""
    by: Literal["judge", "self"] = "judge"
    """what decides: battles of each against the model that the iteration starts from, by `judge`; or the mean score of
    its answers by who scores answers in this iteration"""
