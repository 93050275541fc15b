"""A session carries any method: several phases, several models, a controller, rows that come from the policy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from arenaloop.config import SFTSettings
from arenaloop.errors import StoppedError
from arenaloop.models.decoding import Continuation, decode
from arenaloop.train.batches import TokenTable
from arenaloop.train.encoding import Encoded, EncodedRows, encode_conversations
from arenaloop.train.heads import ScalarHead, load_head
from arenaloop.train.loop import run_epochs
from arenaloop.train.policy import Policy, load_policy
from arenaloop.train.run import TrainingRun
from arenaloop.train.session import Job, Session
from arenaloop.train.sft import SFTObjective
from arenaloop.types import derive_seed

SETTINGS = SFTSettings(batch_size=8, learning_rate=1e-2, threads=1, log_every=2, checkpoint_every=2)
WORDS = ["abc", "de", "f", "ghij", "kl", "mno"]
CHATS = [
    {"messages": [{"role": "user", "content": word}, {"role": "assistant", "content": word[::-1]}]}
    for word in WORDS * 4
]


class StopHereError(Exception):
    pass


def job(out: Path, stop: int | None = None) -> Job[SFTSettings]:
    def on_step(step: int, *_: object) -> None:
        if step == stop:
            raise StopHereError

    return Job(TrainingRun(out, "key"), SETTINGS, seed=1, on_step=on_step)


def lines(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def same(one: Any, other: Any) -> bool:
    return all(torch.equal(*pair) for pair in zip(one.parameters(), other.parameters(), strict=True))


def in_two_phases(start: Path, job: Job[SFTSettings]) -> tuple[Policy, Session, list[float]]:
    policy = load_policy(start, SETTINGS)
    rows = encode_conversations(policy.encoder(SETTINGS), CHATS).rows
    rates: list[float] = []
    with Session(job, policy, total=10) as session:
        for first, last, part in ((0, 5, rows[:16]), (5, 10, rows[4:])):
            run_epochs(session, SFTObjective(TokenTable(part, 0)), first=first, last=last)
            rates.append(session._optimizer.state_dict()[0]["state"][0]["step"].item())
    return policy, session, rates


@pytest.mark.parametrize("stop", [4, 5, 8])
def test_a_second_phase_goes_on_with_the_same_optimiser_and_schedule(start: Path, tmp_path: Path, stop: int) -> None:
    whole, session, steps = in_two_phases(start, job(tmp_path / "whole"))
    assert (session.steps, steps) == (10, [5, 10])
    logged = lines(tmp_path / "whole")
    assert [(line["step"], line["epoch"]) for line in logged] == [
        (2, 1),
        (4, 2),
        (5, 2.5),
        (6, 1 / 3),
        (8, 1),
        (10, 5 / 3),
    ]
    assert logged[3]["learning_rate"] < logged[2]["learning_rate"]
    with pytest.raises(StopHereError):
        in_two_phases(start, job(tmp_path / "broken", stop))
    resumed, _, _ = in_two_phases(start, job(tmp_path / "broken"))
    assert same(whole.module, resumed.module)
    assert lines(tmp_path / "broken") == logged


class Controller:
    """Counts what it has seen: a state that is no tensor of a model's."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = list(state["seen"])


class Reinforce:
    """Policy gradient with a learned baseline: the reward is the share of tokens below a half of all."""

    def __init__(self, value: ScalarHead, table: TokenTable, rewards: Tensor) -> None:
        self.value, self.table, self.rewards, self.lengths = value, table, rewards, table.lengths

    def loss(self, policy: Policy, rows: np.ndarray, whole: np.ndarray) -> tuple[Tensor, dict[str, Tensor]]:
        batch = self.table.batch(rows)
        returns = self.rewards[torch.from_numpy(rows)][batch.row]
        values, tokens = self.value.token_values(batch), int(self.table.labelled[whole].sum())
        gain = (policy.token_logprobs(batch) * (returns - values.detach())).sum() / tokens
        error = (values - returns).square().sum() / tokens
        return error - gain, {"value_error": error.detach()}


def on_policy(start: Path, job: Job[SFTSettings], iterations: int = 20) -> tuple[Policy, ScalarHead, Controller]:
    """A method's own loop: sample from the policy as it is, then two steps on what it has said."""
    policy, value, controller = load_policy(start, SETTINGS), load_head(start, SETTINGS), Controller()
    session = Session(
        job, policy, total=2 * iterations, dropout=False, also={"value": value}, kept={"controller": controller}
    )
    with session:
        for iteration in range(session.steps // 2, iterations):
            rows = [
                Continuation(policy.tokenizer(word)["input_ids"], 6, 1.0, seed=derive_seed(job.seed, iteration, at))
                for at, word in enumerate(WORDS * 4)
            ]
            with policy.evaluating():
                decode(policy.module, rows, policy.end_ids)
            rewards = torch.tensor([np.mean(np.array(row.tokens) < len(policy.tokenizer) // 2) for row in rows]).float()
            controller.seen.append(rewards.mean().item())
            said = [
                Encoded([*row.prompt, *row.tokens], [False] * len(row.prompt) + [True] * len(row.tokens), False)
                for row in rows
            ]
            objective = Reinforce(value, TokenTable(said, policy.pad_id), rewards)
            for part in np.split(np.random.default_rng(iteration).permutation(len(rows)), 2):
                session.step(objective, part)
            session.log({"reward": controller.seen[-1]})
            session.checkpoint()
    session.finish(EncodedRows(source=list(range(len(WORDS)))))
    return policy, value, controller


@pytest.mark.parametrize("stop", [2, 22])
def test_an_on_policy_method_resumes_to_the_same_bits(start: Path, tmp_path: Path, stop: int) -> None:
    policy, value, controller = on_policy(start, job(tmp_path / "whole"))
    assert controller.seen[-1] > controller.seen[0] + 0.3, "it learns what is rewarded"
    assert not value.module.score.weight.eq(0).all()
    with pytest.raises(StopHereError):
        on_policy(start, job(tmp_path / "broken", stop))
    torch.rand(3)  # whatever the caller draws meanwhile
    again = on_policy(start, job(tmp_path / "broken"))
    assert same(policy.module, again[0].module)
    assert same(value.module, again[1].module)
    assert controller.seen == again[2].seen
    assert lines(tmp_path / "broken") == lines(tmp_path / "whole")
    assert TrainingRun(tmp_path / "broken", "key").result is not None


def test_the_callers_random_state_threads_and_modes_are_put_back(start: Path, tmp_path: Path) -> None:
    def states() -> Iterator[Any]:
        yield torch.get_rng_state().tolist()
        yield torch.get_num_threads()

    before = list(states())
    policy = load_policy(start, SETTINGS)
    session = Session(job(tmp_path), policy, total=3)
    with session:
        assert policy.module.training
        torch.rand(1)
    assert not policy.module.training
    assert list(states()) == before


@pytest.mark.parametrize("changes", [{"micro_tokens": 64}, {"micro_batch": 8}])
def test_a_step_that_does_not_fit_is_repeated_with_half_the_size(
    start: Path, tmp_path: Path, changes: dict[str, int]
) -> None:
    """A device that takes two rows at a time: the gradients, and so the weights, are those of a larger one."""
    settings = SETTINGS.model_copy(update=changes)
    told: list[str] = []

    def run(out: Path, most: int) -> Policy:
        policy = load_policy(start, settings)
        rows = encode_conversations(policy.encoder(settings), CHATS).rows

        class Small(SFTObjective):
            def loss(self, policy: Policy, rows: np.ndarray, whole: np.ndarray) -> Any:
                found = super().loss(policy, rows, whole)
                if len(rows) > most:
                    found[0].backward()  # what it leaves behind must not count
                    raise torch.OutOfMemoryError
                return found

        session_job = Job(TrainingRun(out, "key", told.append), settings, seed=1)
        with Session(session_job, policy, total=3, dropout=False) as session:
            run_epochs(session, Small(TokenTable(rows, 0)))
        return policy

    whole, parts = run(tmp_path / "whole", 100), run(tmp_path / "parts", 2)
    for one, other in zip(whole.module.parameters(), parts.module.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-4)
    assert told
    assert all("did not fit in memory" in line and "step 1 " in line for line in told)
    with pytest.raises(StoppedError, match="not even a single row fits"):
        run(tmp_path / "none", 0)
