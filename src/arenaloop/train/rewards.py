"""A trained reward model: what its files hold, and the scores that it gives.

It is a sequence classifier of `transformers` with one label, read at the token that ends the answer's turn, an explicit
position. Its configuration says how a score is made of it:

    readout            ``last`` (every loader of classifiers reads it so), or ``mean`` over the answer's tokens
    prior              ``policy_logprob``: the log-probability per root of the tokens, of the model in ``prior/``, added
    mean, std          of the scores of answers that it was trained on (500 pairs); a score is ``(raw - mean) / std``
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from arenaloop.config import OptimSettings
from arenaloop.errors import InputError
from arenaloop.models.checkpoint import holds_model, require_reward_model, torch_threads
from arenaloop.train.batches import Batch, TokenTable, micro_batches
from arenaloop.train.dpo import reference_logprobs
from arenaloop.train.encoding import ChatEncoder, Encoded, Unfit
from arenaloop.train.heads import ScalarHead, load_head
from arenaloop.train.policy import Policy, load_policy
from arenaloop.train.processes import joined
from arenaloop.types import Message

__all__ = ["PRIOR", "Readout", "RewardModel", "likelihoods", "load_reward_model", "separate_pad"]

PRIOR = "prior"
"""The directory in a reward model's own that holds the frozen model of its prior."""

Readout = Literal["last", "mean"]


@dataclass(slots=True)
class RewardModel:
    """Scores of answers. Shapes: R rows.

    Attributes:
        head: the classifier.
        readout: where the score is read.
        prior: the model whose likelihood is added, or None.
        mean, std: of the raw scores of answers that it was trained on.
    """

    head: ScalarHead
    readout: Readout = "last"
    prior: Policy | None = None
    mean: float = 0.0
    std: float = 1.0

    def read(self, batch: Batch) -> Tensor:
        """What the head says of the rows of a batch with all their last tokens, without the prior: (B,) float32."""
        return self.head.scores(batch) if self.readout == "last" else self.head.answer_means(batch)

    def raw(self, table: TokenTable, settings: OptimSettings, likelihood: Tensor | None = None) -> Tensor:
        """Scores of all rows of a table as the loss sees them, on the CPU: (R,) float32.

        Args:
            table: the rows.
            settings: of the forward passes.
            likelihood: (R,) of the rows under the prior, where it is known already.
        """
        if likelihood is None and self.prior is not None:
            likelihood = likelihoods(self.prior, table, settings)
        out = torch.zeros(len(table)) if likelihood is None else likelihood.clone()
        parts = micro_batches(np.arange(len(table)), table.lengths, tokens=self.head.micro_tokens(settings))
        with torch_threads(self.head.threads(settings)), self.head.evaluating():
            found = joined().each(
                parts, lambda part: self.head.read(self.read, table.batch(part, whole=True).to(self.head.device)).cpu()
            )
        out[torch.from_numpy(np.concatenate(parts))] += torch.cat(found)
        return out

    def score(
        self, conversations: Sequence[tuple[list[Message], list[Message]]], settings: OptimSettings
    ) -> list[float | str]:
        """Score the answers of conversations, each a prompt's turns and an answer's; see `score_rows`.

        A conversation that cannot be scored comes back as the reason why: ``answer_too_long`` where the window would
        cut it, or one of `ChatEncoder.encode`.
        """
        encoder = self.encoder(settings)
        found: list[float | str] = []
        rows: list[Encoded] = []
        for at, (prompt, answer) in enumerate(conversations):
            row = encoder.encode(prompt, answer, "last", f"conversation {at}")
            if isinstance(row, Unfit):
                found.append(row.reason)
            elif row.truncated:
                found.append("answer_too_long")
            else:
                found.append(0.0)
                rows.append(row)
        scores = iter(self.score_rows(rows, settings))
        return [next(scores) if isinstance(each, float) else each for each in found]

    def rewards(
        self, conversations: Sequence[tuple[list[Message], list[Message]]], settings: OptimSettings
    ) -> list[float | str]:
        """The same in the units of the loss: differences are log-odds of being the better answer."""
        found = self.score(conversations, settings)
        return [each if isinstance(each, str) else each * self.std + self.mean for each in found]

    def score_rows(self, rows: Sequence[Encoded], settings: OptimSettings) -> list[float]:
        """Scores of tokenised answers that end with their end of turn, standardised: R floats."""
        if not rows:
            return []
        raw = self.raw(TokenTable(rows, self.head.pad_id), settings)
        return ((raw - self.mean) / self.std).tolist()

    def encoder(self, settings: OptimSettings) -> ChatEncoder:
        """The rules by which conversations become its tokens, in training as in scoring."""
        return self.head.encoder(settings)

    def standardise(self, raw: Tensor) -> None:
        """Take mean and standard deviation from these raw scores, and say them."""
        spread = float(raw.std(correction=0))
        self.mean, self.std = float(raw.mean()), spread if spread > 1e-6 else 1.0
        self.say()

    def say(self) -> None:
        """Write into the configuration how a score is made."""
        said: dict[str, object] = {"mean": self.mean, "std": self.std, "readout": self.readout}
        said["prior"] = "none" if self.prior is None else "policy_logprob"
        for name, value in said.items():
            setattr(self.head.module.config, name, value)


def likelihoods(policy: Policy, table: TokenTable, settings: OptimSettings) -> Tensor:
    """Log-probability of each row's answer, divided by the root of its tokens, on the CPU: (R,) float32."""
    return reference_logprobs(policy, table, settings) / torch.from_numpy(table.labelled).sqrt()


def separate_pad(head: ScalarHead) -> None:
    """Give a classifier a padding token that ends no turn: loaders look for the last token that is no padding.

    With padding and end of turn the same, `transformers` reads the token before the end.
    """
    tokenizer, ends = head.tokenizer, head.end_ids
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in ends:
        known = [tokenizer.unk_token_id, tokenizer.bos_token_id]
        fit = next((token for token in known if token is not None and token not in ends), None)
        if fit is None:
            tokenizer.add_special_tokens({"pad_token": "<|padding|>"})
            if len(tokenizer) > head.module.get_input_embeddings().weight.shape[0]:
                head.module.resize_token_embeddings(len(tokenizer))
        else:
            tokenizer.pad_token = tokenizer.convert_ids_to_tokens(fit)
    head.module.config.pad_token_id = tokenizer.pad_token_id


def load_reward_model(path: str | Path, settings: OptimSettings, revision: str | None = None) -> RewardModel:
    """Load a reward model that was trained here, or any sequence classifier with one label.

    Raises:
        InputError: it is no classifier with one label, its padding is an end of turn, or its prior is missing.
        ConfigError: the device is not there.
    """
    if Path(path).is_dir():
        require_reward_model(path)
    head = load_head(path, settings, revision)
    config = head.module.config
    if config.num_labels != 1:
        raise InputError(f"{path} is no reward model: it has {config.num_labels} labels, not one")
    if config.pad_token_id in head.end_ids:
        raise InputError(
            f"{path}: its padding token is its end of turn, so plain loaders read its score one token too early; "
            "set another pad_token_id in its config.json and tokenizer"
        )
    prior = None
    if getattr(config, "prior", "none") == "policy_logprob":
        if not holds_model(Path(path) / PRIOR):
            raise InputError(f"{path}: the model of its prior is missing from {PRIOR}/")
        prior = load_policy(Path(path) / PRIOR, settings)
    readout: Any = getattr(config, "readout", "last")
    return RewardModel(head, readout, prior, float(getattr(config, "mean", 0.0)), float(getattr(config, "std", 1.0)))
