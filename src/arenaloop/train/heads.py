"""A scalar head on a backbone: the reward of a sequence, or the value of every state on the way."""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification

from arenaloop.config import OptimSettings
from arenaloop.models.checkpoint import no_progress_bars
from arenaloop.train.backbone import Backbone
from arenaloop.train.batches import Batch
from arenaloop.train.policy import Policy

__all__ = ["ScalarHead", "head_on", "load_head"]


@dataclass(slots=True)
class ScalarHead(Backbone):
    """A sequence classifier of `transformers` with one label: a backbone and a linear map from its last hidden state.

    Shapes: B rows, N labelled tokens. The batches that it is given are on its device.
    """

    def token_values(self, batch: Batch) -> Tensor:
        """The scalar at each position that a labelled token is predicted from: (N,) float32."""
        return self._scalars(batch)[:, -batch.keep :].flatten().index_select(0, batch.at)

    def scores(self, batch: Batch) -> Tensor:
        """The scalar at each row's last token, whatever it is: (B,) float32.

        Args:
            batch: with every row's last token among its inputs (``TokenTable.batch(rows, whole=True)``).
        """
        return self._scalars(batch).gather(1, batch.last[:, None])[:, 0]

    def begin_at_zero(self) -> None:
        """Make the head say 0 everywhere."""
        nn.init.zeros_(self.module.score.weight)

    def answer_means(self, batch: Batch) -> Tensor:
        """The mean of the scalars that each row's labelled tokens are predicted from: (B,) float32."""
        values = self.token_values(batch)
        sums = values.new_zeros(len(batch.inputs)).index_add(0, batch.row, values)
        return sums / torch.bincount(batch.row, minlength=len(batch.inputs)).clamp(min=1)

    def _scalars(self, batch: Batch) -> Tensor:
        """The scalar at every position: (B, T) float32."""
        with self.lower_precision():
            hidden = self.module.base_model(input_ids=self.wide(batch.inputs), use_cache=False).last_hidden_state
            hidden = hidden[:, : batch.inputs.shape[1]]
            # beside weights in bfloat16 the head is trained in float32
            return self.module.score(hidden.to(self.module.score.weight.dtype))[..., 0].float()


def head_on(policy: Policy) -> ScalarHead:
    """A new head that says 0 everywhere on a policy's weights, which are frozen below adapters and shared with it."""
    frozen = policy.frozen()
    config = copy.deepcopy(frozen.module.config)
    config.num_labels = 1
    with torch.device("meta"):
        module = AutoModelForSequenceClassification.from_config(config)
    module.score = nn.Linear(module.score.in_features, 1, bias=False, device=policy.device, dtype=frozen.module.dtype)
    setattr(module, module.base_model_prefix, frozen.module.base_model)
    for name in ("is_loaded_in_4bit", "is_loaded_in_8bit", "quantization_method", "hf_quantizer"):
        if hasattr(frozen.module, name):
            setattr(module, name, getattr(frozen.module, name))
    names = [each.name for each in fields(Backbone)]
    head = ScalarHead(**{**{name: getattr(frozen, name) for name in names}, "module": module.eval()})
    head.begin_at_zero()
    return head


def load_head(model: str | Path, settings: OptimSettings, revision: str | None = None) -> ScalarHead:
    """Load what a `ScalarHead` has saved, or a causal language model with a new head that says 0 everywhere.

    Errors are those of `Backbone.load`.
    """
    # what is missing in the checkpoint is drawn first, and reported
    with torch.random.fork_rng(devices=[]), no_progress_bars(errors_only=True):
        head = ScalarHead.load(model, settings, revision, kind="AutoModelForSequenceClassification", num_labels=1)
    if not any("SequenceClassification" in name for name in head.module.config.architectures or ()):
        head.begin_at_zero()
    return head
