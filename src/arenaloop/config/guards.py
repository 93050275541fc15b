"""Settings of what watches a training: a judge and prompts that it never sees, and when it is stopped."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from arenaloop.config.base import Settings
from arenaloop.config.judging import JudgeSpec

__all__ = ["GuardSettings", "HeldOutSettings"]


class HeldOutSettings(Settings):
    """A second judge, and prompts that training never sees: every stage that answers is rated by it."""

    judge: JudgeSpec
    """of another family than the training judge: the same model is refused"""
    prompts: str
    """a prompt file, or sandbox:prompts?n=…&split=dev; those that ask a test or validation prompt are left out"""


class GuardSettings(Settings):
    """When a training is stopped before its last stage; null switches a rule off.

    Watched are the answers to the held-out prompts, or else to the validation prompts; without either, nothing is.
    """

    judges_part: float | None = Field(3.0, gt=0)
    """stop where the training judge's view rises and the held-out judge's does not, since the stage that the held-out
    judge rates best, by at least so many standard errors"""
    length: float | None = Field(2.0, gt=1)
    """stop where answers are longer than SFT-I0's by more than this factor"""
    distinct: float | None = Field(0.5, gt=0, lt=1)
    """stop where the share of pairs of words that differ (distinct-2) falls below this share of SFT-I0's"""
    same_answer: float | None = Field(0.25, gt=0, lt=1)
    """stop where the share of prompts that get one and the same answer exceeds SFT-I0's by more than this"""

    @model_validator(mode="before")
    @classmethod
    def _none_is_all_off(cls, value: Any) -> Any:
        return dict.fromkeys(cls.model_fields) if value is None else value
