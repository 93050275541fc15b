"""Expert iteration (Anthony et al. 2017; AlpacaFarm, Dubois et al. 2023): fine-tuning on the best of n own samples.

A round samples n answers to every prompt, keeps the one of each that the reward likes most, and learns these as
supervised fine-tuning does. The first samples are the start's; a later round's are those of the model of the round
before, which stands in ``round-N/``, a whole training of its own. What is learned are the tokens that were sampled.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from arenaloop.config import ExpertIterationSettings
from arenaloop.data.formats.training_rows import PROMPT_COLUMNS
from arenaloop.errors import StoppedError
from arenaloop.models.best_of_n import choose
from arenaloop.models.checkpoint import checkpoint_fingerprint
from arenaloop.train import rollouts
from arenaloop.train.batches import TokenTable
from arenaloop.train.encoding import Encoded, EncodedRows
from arenaloop.train.loop import fit
from arenaloop.train.policy import load_policy, refuse_grown
from arenaloop.train.processes import joined
from arenaloop.train.rollouts import Rollout
from arenaloop.train.run import TrainingRun, TrainResult
from arenaloop.train.session import Job
from arenaloop.train.sft import SFTObjective
from arenaloop.types import content_hash, derive_seed

__all__ = ["COLUMNS", "Winners", "train"]

COLUMNS = PROMPT_COLUMNS
"""A row is a prompt, in any of the forms of `data.formats.training_rows`; the reward is the training's own."""

_PART = 64
"""Prompts that are sampled, scored and kept together; what was kept is not sampled again."""


@dataclass
class Winners:
    """The best answers so far, and what is counted of all.

    Attributes:
        done: prompts that were sampled.
        prompts: how many tokens of each winner's row are the prompt's; `rows`: all its tokens; `ended`: whether the
            answer ended by itself; `best`: its score.
        dropped: prompts without a winner, by reason.
        answers: how many were sampled; `repeated`: those that say what an earlier one to their prompt says; `unscored`:
            those without a score.
        scores: the sum of all scores.
    """

    done: int = 0
    prompts: list[int] = field(default_factory=list)
    rows: list[list[int]] = field(default_factory=list)
    ended: list[bool] = field(default_factory=list)
    best: list[float] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    answers: int = 0
    repeated: int = 0
    unscored: int = 0
    scores: float = 0.0

    def take(self, rollout: Rollout, samples: int, *, drop_truncated: bool) -> list[int]:
        """Choose among each prompt's `samples` answers, which stand side by side; the indices of the winners."""
        found: list[int] = []
        for first in range(0, len(rollout.texts), samples):
            group = range(first, first + samples)
            counts = [rollout.weights[at] > 0 and bool(rollout.ended[at] or not drop_truncated) for at in group]
            best = choose([float(rollout.scores[at]) if yes else None for at, yes in zip(group, counts, strict=True)])
            self.repeated += samples - len({rollout.texts[at] for at in group})
            if best is None:
                self._drop("no_score" if not rollout.weights[group].any() else "all_cut")
            elif not rollout.texts[first + best].strip():
                self._drop("empty_response")
            else:
                self._add(rollout, first + best)
                found.append(first + best)
        self.done += len(rollout.texts) // samples
        self.answers += len(rollout.texts)
        self.unscored += int((rollout.weights == 0).sum())
        self.scores += float(rollout.scores.sum())
        return found

    def _add(self, rollout: Rollout, at: int) -> None:
        asked = rollout.asked[at]
        self.prompts.append(len(asked.ids))
        self.rows.append(rollout.table.row(at).ids)
        self.ended.append(bool(rollout.ended[at]))
        self.best.append(float(rollout.scores[at]))

    def _drop(self, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def encoded(self, dropped: dict[str, int]) -> EncodedRows:
        """The winners as rows of which the answers are learned, a cut one without an end; with what was dropped.

        Raises:
            StoppedError: there is none.
        """
        all_dropped = Counter(dropped) + Counter(self.dropped)
        if not self.rows:
            raise StoppedError(f"no answer is left to learn from, of {self.answers:,} samples: {dict(all_dropped)}")
        rows = [
            Encoded(ids, [False] * n + [True] * (len(ids) - n), truncated=not ended)
            for ids, n, ended in zip(self.rows, self.prompts, self.ended, strict=True)
        ]
        return EncodedRows(rows, list(range(len(rows))), dropped=all_dropped)

    def report(self) -> dict[str, list[float | None]]:
        """What there is to say of the choice."""
        scored = self.answers - self.unscored
        return {
            "mean score of the samples": [self.scores / scored if scored else None],
            "of the best": [sum(self.best) / len(self.best)],
            "share of the best that were cut": [sum(not ended for ended in self.ended) / len(self.ended)],
            "of samples that repeat another": [self.repeated / self.answers],
            "of samples without a score": [self.unscored / self.answers],
        }


def train(job: Job[ExpertIterationSettings]) -> TrainResult:
    """Fine-tune on the best of the model's own answers, as often as the settings say; see `methods.training`."""
    settings, out = job.settings, job.run.out
    sampler, revision, fingerprint = job.start, job.revision, job.fingerprint
    for number in range(1, settings.rounds):
        key = content_hash(job.run.key, "round", number)
        run = TrainingRun(out / f"round-{number}", key, job.run.note, {**job.run.made, "round": number})
        if run.result is None:
            try:
                _round(replace(job, run=run), sampler, revision, fingerprint, number)
            finally:
                run.close()
        sampler, revision, fingerprint = run.out, None, joined().once(partial(checkpoint_fingerprint, run.out))
    return _round(job, sampler, revision, fingerprint, settings.rounds)


def _round(
    job: Job[ExpertIterationSettings], sampler: str | Path, revision: str | None, fingerprint: str, number: int
) -> TrainResult:
    """Learn the best of what the model `sampler` says."""
    settings = job.settings
    winners, dropped = _sampled(job, sampler, revision, fingerprint, number)
    data = winners.encoded(dropped)
    if settings.init == "sft":
        policy = load_policy(job.start, settings, job.revision)
    else:
        policy = load_policy(sampler, settings, revision)
    session = fit(job, policy, SFTObjective(TokenTable(data.rows, policy.pad_id)))
    return session.finish(data, winners.report())


def _sampled(
    job: Job[ExpertIterationSettings], sampler: str | Path, revision: str | None, fingerprint: str, number: int
) -> tuple[Winners, dict[str, int]]:
    """The best of what the model `sampler` says to all prompts, and the prompts dropped, by reason."""
    settings, run = job.settings, job.run
    key = content_hash(run.key, "winners", fingerprint)
    kept: Any = run.kept("winners", key)
    winners = Winners() if kept is None else Winners(**kept)
    policy = load_policy(sampler, settings, revision)
    refuse_grown(policy)
    encoder = policy.encoder(settings)
    settings = settings.within(encoder.max_length)
    prompts = rollouts.encode_prompts(encoder, job.rows, settings)
    if winners.done < len(prompts.asked):
        joined().once(job.scored_by().probe)
    run.begin()  # nothing is written before what can be refused has been looked at
    seed = derive_seed(job.seed, "expert iteration", number)
    while winners.done < len(prompts.asked):
        part = winners.done // _PART
        asked = prompts.asked[winners.done : winners.done + _PART]
        rollout = rollouts.sample(policy, asked, settings, derive_seed(seed, part))
        rollout = rollouts.score(rollout, job.scored_by(), settings)
        won = winners.take(rollout, settings.samples, drop_truncated=settings.drop_truncated)
        best = rollout.weights * 0.0
        best[won] = 1.0
        rollouts.write(rollout, run.out, part, {"best": best})
        run.keep("winners", key, vars(winners))
        if job.on_step is not None:
            told = (winners.done, len(prompts.asked), {"objective/scores": winners.scores / winners.answers})
            joined().once(partial(job.on_step, *told))
    return winners, prompts.dropped
