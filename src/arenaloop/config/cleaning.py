"""Settings of how a pool of prompts is cleaned."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from arenaloop.config.base import Settings

__all__ = ["CleaningSettings"]


class CleaningSettings(Settings):
    """A pool without toxic, short, repeated, contaminated and foreign prompts: Arena Learning's order, our numbers."""

    toxic: str | None = None
    """your own filter, python:FILE.py:FUNCTION: given conversations, it says of each whether it goes; null = none"""
    min_len: int = Field(10, ge=0)
    """shorter prompts go, by all their user turns; 0 = none"""
    min_len_unit: Literal["char", "word", "token"] = "char"
    """what min_len counts"""
    tokenizer: str | None = None
    """a model's folder or hub id, whose tokens are counted; null = none"""
    prefix: int = Field(10, ge=0)
    """of prompts that begin alike for so long the first stays; shorter ones go where they are equal; 0 = off"""
    prefix_unit: Literal["word", "char"] = "word"
    """what prefix counts"""
    ngram: int = Field(5, ge=0)
    """words that follow each other, by which near-duplicates are found; 0 = off"""
    perms: int = Field(128, ge=8, le=4096)
    """slots of a MinHash signature"""
    jaccard: float = Field(0.7, gt=0, le=1)
    """share of their n-grams that near-duplicates have in common, at least; the first of them stays"""
    against: tuple[str, ...] = ()
    """files of test prompts that nothing that stays may be like; a recipe adds its own test and validation prompts"""
    decontam_k: int = Field(5, ge=0)
    """prompts that go for each test prompt: those most like it, however little they are; 0 = off"""
    embeddings: str = "tfidf"
    """what tells how alike: tfidf (built in) or st:PATH (sentence-transformers)"""
    overlap: int = Field(8, ge=0)
    """words that follow each other in a prompt and a test prompt; 0 = off"""
    overlap_share: float = Field(0.5, gt=0, le=1)
    """of a test prompt's words, within such runs, from which on a prompt goes"""
    lang: str = "en"
    """the language that stays (ISO 639-1); any = all"""
    lang_sure: float = Field(0.5, ge=0, le=1)
    """how probable another language must be for a prompt to go"""

    @model_validator(mode="after")
    def _tokens_have_a_tokenizer(self) -> Self:
        if (self.min_len_unit == "token") != (self.tokenizer is not None):
            raise ValueError("tokenizer and min_len_unit token go together")
        return self
