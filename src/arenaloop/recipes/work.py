"""What a training computes, in tokens: sampled, read by forward passes alone, and learned from."""

from __future__ import annotations

from typing import NamedTuple

from arenaloop.config import (
    DPOSettings,
    ExpertIterationSettings,
    OptimSettings,
    PPOSettings,
    QuarkSettings,
    RewardModelSettings,
    RolloutSettings,
    RowSettings,
)

__all__ = ["Work", "visits", "work"]


class Work(NamedTuple):
    """Of one training.

    Attributes:
        answers: that it samples, reading `tokens_in` and writing `tokens_out`; each is scored once.
        read: tokens of forward passes alone: of references, value networks and reward models.
        learned: tokens of passes forward and backward.
    """

    answers: int = 0
    tokens_in: float = 0.0
    tokens_out: float = 0.0
    read: float = 0.0
    learned: float = 0.0


def visits(rows: int, settings: RowSettings) -> int:
    """How many rows a training on fixed rows sees, each as often as its passes are."""
    if settings.max_steps is not None:
        return settings.max_steps * min(settings.batch_size, rows)
    return round(rows * settings.epochs)


def work(method: str, settings: OptimSettings, rows: int, prompt: float, answer: float) -> Work:
    """What a method computes.

    Args:
        method: its name.
        settings: of the method's own class.
        rows: conversations, pairs or prompts that it is given.
        prompt, answer: tokens of each, on the mean.
    """
    both = min(prompt + answer, settings.max_length)
    if isinstance(settings, ExpertIterationSettings):
        answers = rows * settings.samples * settings.rounds
        return Work(
            answers, answers * prompt, answers * answer, learned=settings.rounds * visits(rows, settings) * both
        )
    if isinstance(settings, RolloutSettings):
        return _rolled_out(settings, rows, prompt, answer)
    assert isinstance(settings, RowSettings)
    if isinstance(settings, RewardModelSettings):
        kept = round(rows * (1 - settings.held_out))
        learned = visits(kept, settings) * 2 * both
        prior = learned if settings.prior == "policy_logprob" else 0.0
        return Work(read=(rows - kept) * 2 * both + prior, learned=learned)
    if isinstance(settings, DPOSettings):  # the reference reads every pair once
        return Work(read=rows * 2 * both, learned=visits(rows, settings) * 2 * both)
    if method == "reward_conditioning":  # both answers of each pair
        rows *= 2
    return Work(learned=visits(rows, settings) * both)


def _rolled_out(settings: RolloutSettings, rows: int, prompt: float, answer: float) -> Work:
    """Of each answer: itself, its log-probabilities under policy and reference, and the steps on it."""
    settings = settings.sized(rows)
    iterations = settings.roll_outs(rows)
    answers = iterations * settings.rollout_batch
    sampled = answers, answers * prompt, answers * answer
    both = min(prompt + answer, settings.max_length)
    if isinstance(settings, QuarkSettings):
        learned = iterations * settings.steps_each * settings.step_batch * both
        return Work(*sampled, read=learned, learned=learned)
    networks = 2 if isinstance(settings, PPOSettings) and settings.lora is None else 1  # a value network of its own
    passes = settings.steps_each * settings.step_batch / settings.rollout_batch
    return Work(*sampled, read=answers * both * (1 + networks), learned=answers * both * passes * networks)
