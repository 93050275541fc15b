"""Settings of simulated annotators."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from arenaloop.config.base import Settings
from arenaloop.config.judging import BatchSettings, HumanSettings, JudgeSettings, RunSettings, from_text

__all__ = ["AnnotateSettings", "AnnotatorSettings", "PoolSettings"]


class AnnotatorSettings(JudgeSettings):
    """One simulated annotator: a judge, its words (template, and criteria that say who it is), and its habits."""

    batch: int = Field(1, ge=1)
    """pairs in one call, at most; above 1 the template is one of layout pairs (annotator_guideline, say)"""


class PoolSettings(Settings):
    """Simulated annotators, and how pairs come to them."""

    members: Annotated[tuple[AnnotatorSettings, ...], Field(min_length=1)]
    """the annotators; each pair is seen by one of them, which the seed draws"""
    preset: Literal["p_sim", "p_eval"] = "p_sim"
    """labels to learn from (p_sim: a quarter turned, one seat) or to score with (p_eval: none turned, both seats)"""
    p_label_flip: float | None = Field(None, ge=0, le=0.5)
    """how often a label is turned; twice as often it is drawn without a call; null = 0.25 of p_sim, 0 of p_eval"""
    noise_model: Literal["uniform_flip", "length", "difficulty"] = "uniform_flip"
    """what a drawn label says: uniform_flip, a coin; length, the longer answer; difficulty, a coin, thrown more often
    the more alike the answers are"""
    seat_mode: Literal["both_orders", "seeded", "compat"] | None = None
    """which seats are asked: both_orders; seeded, one that texts and seed draw; compat, one that instruction and seed
    draw, as AlpacaFarm does; null = seeded of p_sim, both_orders of p_eval"""

    @model_validator(mode="before")
    @classmethod
    def _members_of_one_model(cls, values: Any) -> Any:
        """``model`` stands for the SPEC, or the settings, of members that have no spec of their own."""
        if not isinstance(values, dict) or "members" not in values:
            return values
        values = dict(values)
        model = from_text(values.pop("model", None))
        members = values["members"]
        if not isinstance(members, list | tuple):
            return values
        whole = []
        for member in map(from_text, members):
            if isinstance(member, dict) and not (member.get("spec") or member.get("jury")):
                if not isinstance(model, dict):
                    raise ValueError("its members name no spec: give the pool a model (--model SPEC)")
                member = {**model, **member}
            whole.append(member)
        return values | {"members": whole}

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for member in self.members:
            if member.jury:
                raise ValueError("a jury is no annotator: name its members as the pool's")
        return self

    @property
    def flips(self) -> float:
        """`p_label_flip`, or the preset's."""
        return (0.25 if self.preset == "p_sim" else 0.0) if self.p_label_flip is None else self.p_label_flip

    @property
    def seats(self) -> Literal["both_orders", "seeded", "compat"]:
        """`seat_mode`, or the preset's."""
        return self.seat_mode or ("seeded" if self.preset == "p_sim" else "both_orders")


class AnnotateSettings(RunSettings):
    """Labels of simulated annotators."""

    pool: PoolSettings
    """who labels"""
    votes: int = Field(1, ge=1)
    """labels of each pair; the n-th is drawn with the seed + n, as by somebody else"""
    batch: BatchSettings | None = None
    """label through batch files, each pair in a request by itself; null = call by call"""
    human: HumanSettings = HumanSettings()
    """what people's labels cost"""
    shard: str | None = None
    """I/N: ask the I-th of N parts of the plan alone, the calls whose first prompt's hash says so; null = all"""
