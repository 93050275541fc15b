"""Settings of new prompts by self-instruct."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from arenaloop.config.base import Settings
from arenaloop.config.judging import ModelSpec, RunSettings

__all__ = ["NewPromptSettings", "SeededSettings", "SelfInstructSettings"]


class NewPromptSettings(Settings):
    """New prompts that a model writes after old ones: who writes, how many, and which are kept."""

    model: ModelSpec
    """who writes: its SPEC or YAML, with the decoding; without a decoding temperature 0.6 and top-p 0.9"""
    count: int = Field(1000, ge=1)
    """new prompts that are wanted"""
    against: tuple[str, ...] = ()
    """files of test prompts that no new prompt may be like"""
    each: int = Field(8, ge=1, le=100)
    """prompts asked for in a call"""
    calls_per_round: int = Field(32, ge=1)
    """calls that draw their examples from the same prompts; so many go on at once, at most"""
    rouge_max: float = Field(0.7, gt=0, le=1)
    """ROUGE-L with a prompt that is there, from which on a new one goes"""
    min_words: int = Field(3, ge=1)
    """shorter ones go"""
    max_words: int = Field(150, ge=1)
    """longer ones go"""
    keywords: tuple[str, ...] | None = None
    """words of prompts that ask for more than text, which go; null = image, graph, video and the like"""
    stop_below: float = Field(0.02, ge=0, le=1)
    """stop where a smaller share of what a round's calls wrote is new; 0 = where nothing is"""

    @model_validator(mode="after")
    def _some_length_is_left(self) -> Self:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words {self.min_words}: more than max_words {self.max_words}")
        return self


class SeededSettings(NewPromptSettings):
    """The same as a part of a recipe."""

    seeds: str
    """prompts of people: a prompt file, or sandbox:prompts?n=…"""


class SelfInstructSettings(NewPromptSettings, RunSettings):
    """The same as a run of its own."""

    prompts: str
    """seeds: a prompt file, or sandbox:prompts?n=…"""
