"""Settings of test sets."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from arenaloop.config.judging import BatchSettings, JudgeSpec, ModelSettings, ModelSpec, RunSettings

__all__ = ["TestSetSettings"]


class TestSetSettings(RunSettings):
    """A test set of diverse and of hard prompts, drawn from the clusters of a pool."""

    __test__ = False  # for pytest it is no class of tests

    prompts: str
    """the pool: a prompt file, or sandbox:prompts?n=…"""
    judge: JudgeSpec | None = None
    """who rates how difficult prompts are, from 0 to 10; needed where some are to be hard"""
    embeddings: ModelSpec = ModelSettings(spec="tfidf")
    """what makes prompts comparable: tfidf (built in), st:PATH (sentence-transformers), openai:MODEL or
    http://HOST:PORT/v1#MODEL (an embeddings endpoint)"""
    dimensions: int = Field(128, ge=2)
    """of the built-in embeddings, at most"""
    clusters: int = Field(500, ge=1)
    """groups of similar prompts that k-means cuts the pool into"""
    diverse: int = Field(1000, ge=0)
    """prompts drawn at random, as many of each cluster"""
    hard: int = Field(1000, ge=0)
    """prompts that the judge rates most difficult"""
    rated: int | None = Field(None, ge=1)
    """prompts that the judge rates to find these, drawn as the diverse ones are; null = 20 for each cluster"""
    disjoint: bool = True
    """draw the hard ones among those that are not diverse; false = a prompt may be both"""
    categories: Literal["given", "judge"] = "given"
    """the prompts' own (a column category), or by the judge where they have none"""
    batch: BatchSettings | None = None
    """rate through batch files; null = call by call"""
    shard: str | None = None
    """I/N: only rate the I-th of N parts of the prompts, those whose hash says so; null = draw the set"""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not self.diverse + self.hard:
            raise ValueError("diverse and hard are both 0: there is nothing to draw")
        if self.rated is not None and self.hard > self.rated:
            raise ValueError(f"hard {self.hard} is more than rated {self.rated}: the hard prompts are among those")
        if self.judge is None and (self.hard or self.categories == "judge"):
            raise ValueError("a judge is needed to rate prompts (with hard 0 and given categories there is none)")
        return self
